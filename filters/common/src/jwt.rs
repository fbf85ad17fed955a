//! Checks a signed token: its form, its claims against what is expected, and its signature by a key
//! of the issuer's set, computed by the proxy (RFC 7515, 7518, 7519; RFC 8725 for what to refuse).

use std::rc::Rc;

use crate::encoding::from_base64url;
use crate::fetch::Shared;
use crate::host::Host;
use crate::json::{Document, Json};
use crate::jwks::{Algorithm, Key, Keys};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Seconds by which two clocks may differ.
pub const LEEWAY_S: u64 = 30;

/// Why a token is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Not three base64url parts of JSON with the fields every token has.
    Malformed,
    /// An algorithm other than RS256 or ES256, or one that does not fit the key.
    Algorithm,
    /// No key of that id, at least not yet.
    UnknownKey,
    /// The signature is not this key's.
    Signature,
    /// Expired, or without `exp`.
    Expired,
    /// Not valid yet.
    NotYet,
    /// Another issuer.
    Issuer,
    /// Another audience.
    Audience,
    /// Whether it is good cannot be known: the keys cannot be had, or the proxy cannot verify signatures.
    Unverifiable,
}

/// A token taken apart; nothing in it is to be believed before [`Token::verify`].
pub struct Token {
    algorithm: Algorithm,
    kind: Option<String>,
    key_id: Option<String>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    claims: Document,
}

impl Token {
    /// Takes a token apart. `jku`, `jwk`, `x5c` and `crit` are never used; a token that needs
    /// `crit` to be understood is refused (RFC 7515, 4.1.11).
    pub fn parse(token: &[u8]) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let signed = token.get(..header.len() + 1 + payload.len()).unwrap_or_default().to_vec();
        let decode = |part| from_base64url(part).ok_or(TokenError::Malformed);
        let (header, claims, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        let header = Json::parse(&header).map_err(|_| TokenError::Malformed)?;
        if header.field("crit").is_some() {
            return Err(TokenError::Malformed);
        }
        let algorithm = match text(header, "alg")?.as_str() {
            "RS256" => Algorithm::Rs256,
            "ES256" => Algorithm::Es256,
            _ => return Err(TokenError::Algorithm),
        };
        let (kind, key_id) = (optional_text(header, "typ")?, optional_text(header, "kid")?);
        let claims = Document::parse(claims).map_err(|_| TokenError::Malformed)?;
        Ok(Self { algorithm, kind, key_id, signed, signature, claims })
    }

    /// Checks issuer, audience and times. Cheap, so it comes before the signature.
    pub fn expect(&self, issuers: &[String], audience: &str, now_ms: u64) -> Result<(), TokenError> {
        self.expect_issuer(issuers)?;
        self.expect_audience(&[audience])?;
        self.expect_times(now_ms)
    }

    /// Checks `iss` (RFC 7519, 4.1.1).
    pub fn expect_issuer(&self, issuers: &[String]) -> Result<(), TokenError> {
        if issuers.contains(&text(self.claims(), "iss")?) { Ok(()) } else { Err(TokenError::Issuer) }
    }

    /// Checks that `aud` names one of `audiences` (RFC 7519, 4.1.3).
    pub fn expect_audience(&self, audiences: &[&str]) -> Result<(), TokenError> {
        let given = unique(self.claims(), "aud")?.ok_or(TokenError::Audience)?;
        let fits = |json: Json<'_>| json.str().is_some_and(|text| audiences.contains(&&*text));
        if fits(given) || given.elements().any(fits) { Ok(()) } else { Err(TokenError::Audience) }
    }

    /// Checks `exp`, which must be there, `nbf` and `iat`.
    pub fn expect_times(&self, now_ms: u64) -> Result<(), TokenError> {
        let claims = self.claims();
        let now = now_ms / 1_000;
        if self.expires_s()? + LEEWAY_S <= now {
            return Err(TokenError::Expired);
        }
        for not_before in ["nbf", "iat"] {
            if seconds(claims, not_before)?.is_some_and(|time| time > now + LEEWAY_S) {
                return Err(TokenError::NotYet);
            }
        }
        Ok(())
    }

    /// Verifies the signature by the key the token names.
    pub fn verify(&self, keys: &Keys, host: &dyn Host) -> Result<(), TokenError> {
        let key = keys.find(self.key_id.as_deref(), self.algorithm).ok_or(TokenError::UnknownKey)?;
        if key.algorithm != self.algorithm {
            return Err(TokenError::Algorithm);
        }
        verify(host, key, &self.signed, &self.signature)
    }

    /// The same with the issuer's published keys, waiting for them until `deadline` (ms since 1970). A key id
    /// that is not known may be new: they are then fetched once more, as often as the throttle allows.
    pub async fn verify_published(
        &self,
        keys: &Shared<Rc<Keys>>,
        host: &dyn Host,
        deadline: u64,
    ) -> Result<(), TokenError> {
        let known = keys.value(deadline).await.map_err(|_| TokenError::Unverifiable)?;
        match self.verify(&known, host) {
            Err(TokenError::UnknownKey) => match keys.newer(deadline).await {
                Ok(Some(newer)) => self.verify(&newer, host),
                Ok(None) => Err(TokenError::UnknownKey),
                Err(_) => Err(TokenError::Unverifiable),
            },
            result => result,
        }
    }

    /// `alg`.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `typ`, as it came (RFC 7515, 4.1.9).
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The claims.
    pub fn claims(&self) -> Json<'_> {
        self.claims.root()
    }

    /// `exp`, in seconds since 1970.
    pub fn expires_s(&self) -> Result<u64, TokenError> {
        seconds(self.claims(), "exp")?.ok_or(TokenError::Expired)
    }
}

/// A claim that must be a text, and stand once: two readers of a repeated name may believe
/// different ones.
pub fn text(json: Json<'_>, name: &str) -> Result<String, TokenError> {
    unique(json, name)?.and_then(Json::str).map(|text| text.into_owned()).ok_or(TokenError::Malformed)
}

fn optional_text(json: Json<'_>, name: &str) -> Result<Option<String>, TokenError> {
    match unique(json, name)? {
        None => Ok(None),
        Some(value) => value.str().map(|text| Some(text.into_owned())).ok_or(TokenError::Malformed),
    }
}

fn unique<'a>(json: Json<'a>, name: &str) -> Result<Option<Json<'a>>, TokenError> {
    json.unique_field(name).map_err(|_| TokenError::Malformed)
}

/// A NumericDate (RFC 7519, section 2); a fraction is cut off.
pub fn seconds(claims: Json<'_>, name: &str) -> Result<Option<u64>, TokenError> {
    let Some(json) = unique(claims, name)? else {
        return Ok(None);
    };
    let whole = json.text().split(|byte| *byte == b'.').next().unwrap_or_default();
    let digits = std::str::from_utf8(whole).ok().and_then(|text| text.parse().ok());
    digits.map(Some).ok_or(TokenError::Malformed)
}

fn verify(host: &dyn Host, key: &Key, signed: &[u8], signature: &[u8]) -> Result<(), TokenError> {
    let der;
    let signature = match key.algorithm {
        Algorithm::Rs256 => signature,
        Algorithm::Es256 => {
            der = ecdsa_der(signature).ok_or(TokenError::Signature)?;
            &der
        }
    };
    // VerifySignatureArguments of Envoy's foreign function: hash_function, public_key, signature, text.
    let argument = arguments(&[(1, b"sha256".as_slice()), (2, &key.spki), (3, signature), (4, signed)]);
    match host.foreign("verify_signature", &argument) {
        // VerifySignatureResult: field 1 is true, and proto3 leaves a false one out.
        Ok(result) if result.starts_with(&[0x08, 0x01]) => Ok(()),
        Ok(_) => Err(TokenError::Signature),
        Err(_) => Err(TokenError::Unverifiable),
    }
}

/// A message of the proxy's functions about signatures: numbered fields of bytes, each with its length.
pub(crate) fn arguments(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, bytes) in fields {
        message.push((number << 3) | 2);
        push_varint(&mut message, bytes.len());
        message.extend_from_slice(bytes);
    }
    message
}

fn push_varint(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        out.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// r‖s as tokens carry it (RFC 7518, 3.4) → the DER that the proxy's verifier reads (RFC 3279, 2.2.3).
fn ecdsa_der(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() != 64 {
        return None;
    }
    let (r, s) = raw.split_at_checked(32)?;
    let mut integers = Vec::new();
    for number in [r, s] {
        let first = number.iter().position(|byte| *byte != 0).unwrap_or(31);
        crate::jwks::push_integer(&mut integers, number.get(first..)?);
    }
    let mut der = Vec::new();
    crate::jwks::push_der(&mut der, 0x30, &integers);
    Some(der)
}
