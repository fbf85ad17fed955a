//! A short-lived signed statement of who a request is from, which an upstream can check by itself: a
//! JWT (RFC 7519) in the form of ES256 (RFC 7518, 3.4), signed by the proxy.

use std::cell::RefCell;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::config::{ConfigError, Fields};
use crate::encoding::{base64url, push_decimal};
use crate::host::Host;
use crate::json::{write_string, write_strings};
use crate::pem;
use crate::runtime::Runtime;
use crate::secret::{Secret, SecretSource};
use crate::services::Services;
pub use crate::sign::SignError;
use crate::sign::{is_possible, sign};

/// Keys at most: one that signs, and those that upstreams may still know or are to learn.
const MAX_KEYS: usize = 8;

/// Assertions that are kept, in one worker. A signature takes the proxy 70 to 110 µs.
const MAX_KEPT: usize = 256;

/// The header that carries an assertion.
pub const HEADER: &str = "x-lockgate-assertion";

/// Private keys on P-256, the one that signs first.
pub struct AssertionKeys(Vec<SigningKey>);

struct SigningKey {
    /// PKCS #8, DER: the one form that the proxy takes without PEM.
    pkcs8: Vec<u8>,
    /// The public point's coordinates, base64url (RFC 7518, 6.2.1).
    x: String,
    y: String,
    id: String,
}

impl AssertionKeys {
    /// Reads private keys in PEM (RFC 7468), newest first: PKCS #8 (RFC 5958) or SEC 1 (RFC 5915),
    /// with their public part, which is what every common tool writes. Line breaks may be missing,
    /// or be the two characters `\n`, as in environment variables. `None` where anything else stands
    /// there, or more than eight keys.
    pub fn parse(secret: &Secret) -> Option<Self> {
        let mut keys = Vec::new();
        for (label, body) in pem::blocks(secret.expose())? {
            match label.as_slice() {
                b"PRIVATEKEY" => keys.push(pkcs8(&body)?),
                b"ECPRIVATEKEY" => keys.push(sec1(&body, false)?),
                // `openssl ecparam -genkey` writes the curve before the key.
                b"ECPARAMETERS" => {}
                _ => return None,
            }
        }
        (1..=MAX_KEYS).contains(&keys.len()).then_some(Self(keys))
    }

    /// The public keys as a key set (RFC 7517).
    pub fn jwks(&self) -> String {
        let mut out = String::from("{\"keys\":[");
        for (index, key) in self.0.iter().enumerate() {
            out.push_str(if index > 0 { ",{" } else { "{" });
            let members = [
                "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"",
                &key.x,
                "\",\"y\":\"",
                &key.y,
                "\",\"use\":\"sig\",\"alg\":\"ES256\",\"kid\":\"",
                &key.id,
                "\"}",
            ];
            members.into_iter().for_each(|member| out.push_str(member));
        }
        out.push_str("]}");
        out
    }

    /// Signs claims, the text of a JSON object, with the newest key: a compact JWS (RFC 7515, 7.1).
    pub fn sign(&self, host: &dyn Host, claims: &[u8]) -> Result<String, SignError> {
        self.0.first().ok_or(SignError::NoKeys)?.sign(host, claims)
    }

    /// Tries every key: for a configuration, which is not to find out with the first request.
    pub fn can_sign(&self, host: &dyn Host) -> Result<(), SignError> {
        self.0.iter().try_for_each(|key| key.sign(host, b"{}").map(drop))
    }
}

impl SigningKey {
    fn new(scalar: &[u8], point: &[u8]) -> Option<Self> {
        // PrivateKeyInfo with an ECPrivateKey in it (RFC 5958, section 2; RFC 5915, section 3) up to
        // the scalar, and from there up to the coordinates of the uncompressed point.
        const HEAD: &[u8] = &[
            0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
            0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
            0x01, 0x01, 0x04, 0x20,
        ];
        const MIDDLE: &[u8] = &[0xa1, 0x44, 0x03, 0x42, 0x00, 0x04];
        let (x, y) = point.split_at_checked(32)?;
        if scalar.len() != 32 || y.len() != 32 {
            return None;
        }
        let pkcs8 = [HEAD, scalar, MIDDLE, point].concat();
        let (x, y) = (base64url(x), base64url(y));
        // The thumbprint (RFC 7638): the required members in the order of their names.
        let members = ["{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"", &x, "\",\"y\":\"", &y, "\"}"].concat();
        let id = base64url(&Sha256::digest(members.as_bytes()));
        Some(Self { pkcs8, x, y, id })
    }

    fn sign(&self, host: &dyn Host, claims: &[u8]) -> Result<String, SignError> {
        let header = ["{\"alg\":\"ES256\",\"kid\":\"", &self.id, "\",\"typ\":\"JWT\"}"].concat();
        let mut token = base64url(header.as_bytes());
        token.push('.');
        token.push_str(&base64url(claims));
        let signature = sign(host, &self.pkcs8, token.as_bytes())?;
        let signature = raw(&signature).ok_or(SignError::Refused)?;
        token.push('.');
        token.push_str(&base64url(&signature));
        Ok(token)
    }
}

/// Who is asserted.
pub struct Identity<'a> {
    /// Who knows the subject: `idp` in the assertion.
    pub issuer: &'a str,
    /// `sub`.
    pub subject: &'a str,
    /// `email`.
    pub email: Option<&'a str>,
    /// `groups`.
    pub groups: &'a [String],
}

impl Identity<'_> {
    /// An object's beginning, up to the last of the identity's members.
    fn members(&self) -> Vec<u8> {
        let mut out = b"{\"sub\":".to_vec();
        write_string(&mut out, self.subject);
        push_text(&mut out, "idp", self.issuer);
        if let Some(email) = self.email {
            push_text(&mut out, "email", email);
        }
        if !self.groups.is_empty() {
            out.extend_from_slice(b",\"groups\":");
            write_strings(&mut out, self.groups);
        }
        out
    }
}

/// Assertions for one audience. Each is kept until the last fifth of its life, up to 256 of them in
/// each worker; the one not used for longest makes room.
pub struct Assertions {
    issuer: String,
    audience: String,
    lifetime_s: u64,
    keys: Source,
    /// Last used first.
    kept: RefCell<Vec<Kept>>,
}

enum Source {
    Fixed(Rc<AssertionKeys>),
    Fetched(SecretSource),
}

struct Kept {
    members: Vec<u8>,
    token: Rc<str>,
    issued_s: u64,
}

/// What ends every error about keys.
const FORM: &str = "P-256 private keys in PEM, at most 8, newest first; one is made by: \
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt";

impl Assertions {
    /// Reads `keys`, `audience` and `lifetime_s` (30 to 3,600, by default 300) of an object; `issuer`
    /// is what the assertions name as theirs. Keys from the environment are tried; that the proxy can
    /// sign at all is known for those of Secret Manager too.
    #[inline(never)]
    pub fn from_config(
        fields: &Fields<'_>,
        issuer: &str,
        runtime: &Rc<Runtime>,
        services: &Rc<Services>,
    ) -> Result<Self, ConfigError> {
        let audience = fields.text("audience", "who is to accept the assertion, as https://upstream")?;
        let lifetime_s = fields.number("lifetime_s", 30, 3_600, 300)?;
        let keys = fields.required("keys", "{\"env\": NAME} or {\"sm\": VERSION}")?;
        if !is_possible(runtime.host()) {
            return Err(fields.error("keys", "Envoy 1.37 or newer: this one has no function \"sign\""));
        }
        let keys = match SecretSource::from_config(keys, &fields.join("keys"), runtime, services)? {
            source @ SecretSource::Fetched(_) => Source::Fetched(source),
            SecretSource::Fixed(secret) => {
                let keys = AssertionKeys::parse(&secret).ok_or_else(|| fields.error("keys", FORM))?;
                let refused = |_| fields.error("keys", &["keys that the proxy signs with: ", FORM].concat());
                keys.can_sign(runtime.host()).map_err(refused)?;
                Source::Fixed(Rc::new(keys))
            }
        };
        let kept = RefCell::default();
        Ok(Self { issuer: issuer.to_owned(), audience, lifetime_s, keys, kept })
    }

    /// Whether the keys are there; asked for where they are not.
    pub fn is_ready(&self) -> bool {
        match &self.keys {
            Source::Fixed(_) => true,
            Source::Fetched(source) => source.prefetch(),
        }
    }

    /// The keys, waiting until `deadline` (ms since 1970) where they have to be fetched.
    pub async fn keys(&self, deadline: u64) -> Result<Rc<AssertionKeys>, SignError> {
        match &self.keys {
            Source::Fixed(keys) => Ok(keys.clone()),
            Source::Fetched(source) => {
                let secret = source.value(deadline).await.map_err(|_| SignError::NoKeys)?;
                AssertionKeys::parse(&secret).map(Rc::new).ok_or(SignError::NoKeys)
            }
        }
    }

    /// The value of the header for an identity: kept from before, or signed now.
    pub async fn header(
        &self,
        identity: &Identity<'_>,
        host: &dyn Host,
        deadline: u64,
    ) -> Result<Rc<str>, SignError> {
        let members = identity.members();
        if let Some(token) = self.kept(&members, host.now_ms() / 1_000) {
            return Ok(token);
        }
        let keys = self.keys(deadline).await?;
        let issued_s = host.now_ms() / 1_000;
        let token: Rc<str> = keys.sign(host, &self.claims(&members, issued_s))?.into();
        self.keep(Kept { members, token: token.clone(), issued_s });
        Ok(token)
    }

    /// What was kept for an identity. What is too old, or of the future because the clock was set back,
    /// goes.
    fn kept(&self, members: &[u8], now_s: u64) -> Option<Rc<str>> {
        let mut all = self.kept.borrow_mut();
        let index = all.iter().position(|other| other.members == members)?;
        let kept = all.remove(index);
        drop(all);
        if now_s < kept.issued_s || now_s >= kept.issued_s + self.lifetime_s / 5 * 4 {
            return None;
        }
        let token = kept.token.clone();
        self.keep(kept);
        Some(token)
    }

    fn keep(&self, used: Kept) {
        let mut all = self.kept.borrow_mut();
        all.truncate(MAX_KEPT - 1);
        all.insert(0, used);
    }

    fn claims(&self, members: &[u8], issued_s: u64) -> Vec<u8> {
        let mut out = members.to_vec();
        push_text(&mut out, "iss", &self.issuer);
        push_text(&mut out, "aud", &self.audience);
        let mut times = String::from(",\"iat\":");
        push_decimal(&mut times, issued_s);
        times.push_str(",\"exp\":");
        push_decimal(&mut times, issued_s + self.lifetime_s);
        times.push('}');
        out.extend_from_slice(times.as_bytes());
        out
    }
}

fn push_text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.push(b',');
    write_string(out, name);
    out.push(b':');
    write_string(out, text);
}

/// A signature in DER (RFC 3279, 2.2.3) → r‖s (RFC 7518, 3.4).
fn raw(mut der: &[u8]) -> Option<Vec<u8>> {
    let mut numbers = take(&mut der, 0x30)?;
    let mut raw = Vec::with_capacity(64);
    for end in [32_usize, 64] {
        let number = take(&mut numbers, 0x02)?;
        let first = number.iter().position(|byte| *byte != 0)?;
        let number = number.get(first..)?;
        let start = end.checked_sub(number.len()).filter(|start| *start >= raw.len())?;
        raw.resize(start, 0);
        raw.extend_from_slice(number);
    }
    Some(raw)
}

/// Object identifier 1.2.840.10045.3.1.7, the curve's (RFC 5480, 2.1.1.1).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Object identifier 1.2.840.10045.2.1: a key on the curve that follows (RFC 5480, 2.1.1).
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// PrivateKeyInfo (RFC 5958, section 2).
fn pkcs8(mut der: &[u8]) -> Option<SigningKey> {
    let mut info = take(&mut der, 0x30)?;
    take(&mut info, 0x02)?;
    let on_p256 = take(&mut info, 0x30)?.strip_prefix(EC_PUBLIC_KEY)? == P256;
    let key = take(&mut info, 0x04)?;
    if der.is_empty() && on_p256 { sec1(key, true) } else { None }
}

/// ECPrivateKey (RFC 5915, section 3). It may leave the curve out where that was told before.
fn sec1(mut der: &[u8], on_p256: bool) -> Option<SigningKey> {
    let mut key = take(&mut der, 0x30)?;
    let version = take(&mut key, 0x02)?;
    let scalar = take(&mut key, 0x04)?;
    let on_p256 = take(&mut key, 0xa0).map_or(on_p256, |curve| curve == P256);
    let mut public = take(&mut key, 0xa1)?;
    let point = take(&mut public, 0x03)?;
    if !der.is_empty() || version != [1] || !on_p256 {
        return None;
    }
    // No unused bits, and an uncompressed point (SEC 1, 2.3.3).
    SigningKey::new(scalar, point.strip_prefix(&[0x00, 0x04])?)
}

/// Takes a DER value of that tag off the front: its content (X.690, 8.1). Where there is none,
/// nothing is taken.
fn take<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (length, rest) = match *der {
        [first, length @ 0..=0x7f, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x81, length, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x82, high, low, rest @ ..] if *first == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some(content)
}
