//! An issuer's key set (RFC 7517), each key as the SubjectPublicKeyInfo that the proxy's verifier
//! reads, and its shared fetch.

use std::rc::Rc;

use crate::encoding::from_base64url;
use crate::fetch::{FetchError, Fetched, Shared};
use crate::json::Json;
use crate::runtime::{Runtime, Story};
use crate::services::Service;

/// A used key set is fetched again after this long, in milliseconds.
const REFRESH_MS: u64 = 3_600_000;

/// Through an outage the last good keys are used this long, in milliseconds. Google rotates its
/// keys about weekly and publishes them days ahead.
const KEEP_MS: u64 = 24 * 3_600_000;

/// Time for a key set to arrive, in milliseconds.
const TIMEOUT_MS: u64 = 3_000;

/// Keys of a set that are read; a set with more is not an identity provider's.
const MAX_KEYS: usize = 100;

/// The smallest RSA modulus, in bytes: 2,048 bits (NIST SP 800-131A).
const MIN_RSA_BYTES: usize = 256;

/// A signature algorithm that the proxy can verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

/// One key.
pub struct Key {
    id: Option<String>,
    /// What it signs with. A key that names no algorithm has the one its type implies.
    pub algorithm: Algorithm,
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
}

/// A key set.
pub struct Keys(Vec<Key>);

impl Keys {
    /// Reads a set. Keys of other types or uses, and RSA keys under 2,048 bits, are passed over.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let json = Json::parse(text).ok()?;
        let keys: Vec<Key> = json.field("keys")?.elements().take(MAX_KEYS).filter_map(key).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The key of that id. A token may leave the id out where the set has one key of its algorithm
    /// (OpenID Connect Core, 10.1).
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let Some(id) = id else {
            let mut fitting = self.0.iter().filter(|key| key.algorithm == algorithm);
            return fitting.next().filter(|_| fitting.next().is_none());
        };
        self.0.iter().find(|key| key.id.as_deref() == Some(id))
    }
}

/// The keys published by `service`, fetched by the root.
pub fn shared(runtime: &Rc<Runtime>, service: Service) -> Shared<Rc<Keys>> {
    shared_at(runtime, Box::new(move || Box::pin(std::future::ready(Some(service.clone())))))
}

/// Says where a key set is: where that has to be found out, none if it cannot be.
pub type Address = Box<dyn Fn() -> Story<Option<Service>>>;

/// The keys published at `address`, fetched by the root.
pub fn shared_at(runtime: &Rc<Runtime>, address: Address) -> Shared<Rc<Keys>> {
    let fetching = runtime.clone();
    Shared::new(
        runtime,
        "signing keys",
        Box::new(move || {
            let (runtime, address) = (fetching.clone(), address());
            Box::pin(async move {
                let mut call = address.await.ok_or(FetchError::Unavailable)?.anonymous_get("");
                call.timeout_ms = TIMEOUT_MS;
                runtime.count(&["key_fetches"]);
                let answer = runtime.call(call).await;
                let keys = answer.is_success().then(|| Keys::parse(&answer.body)).flatten();
                let now = runtime.host().now_ms();
                keys.map(|keys| Fetched {
                    value: Rc::new(keys),
                    refresh_ms: now + REFRESH_MS,
                    expires_ms: now + KEEP_MS,
                })
                .ok_or(FetchError::Unavailable)
            })
        }),
    )
}

fn key(json: Json<'_>) -> Option<Key> {
    let text = |name: &str| json.field(name).and_then(Json::str);
    let bytes = |name: &str| from_base64url(text(name)?.as_bytes());
    if text("use").is_some_and(|usage| usage != "sig") {
        return None;
    }
    let (algorithm, name, spki) = match text("kty")?.as_ref() {
        "RSA" => (Algorithm::Rs256, "RS256", rsa_spki(&bytes("n")?, &bytes("e")?)?),
        "EC" if text("crv")? == "P-256" => {
            (Algorithm::Es256, "ES256", p256_spki(&bytes("x")?, &bytes("y")?)?)
        }
        _ => return None,
    };
    if text("alg").is_some_and(|given| given != name) {
        return None;
    }
    Some(Key { id: text("kid").map(|id| id.into_owned()), algorithm, spki })
}

/// RSAPublicKey in SubjectPublicKeyInfo (RFC 8017, A.1.1; RFC 3279, 2.3.1).
fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    const RSA_ENCRYPTION: &[u8] =
        &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let modulus = modulus.get(modulus.iter().position(|byte| *byte != 0)?..)?;
    if modulus.len() < MIN_RSA_BYTES || exponent.is_empty() || exponent.len() > 8 {
        return None;
    }
    let mut numbers = Vec::new();
    push_integer(&mut numbers, modulus);
    push_integer(&mut numbers, exponent);
    let mut key = vec![0];
    push_der(&mut key, 0x30, &numbers);
    let mut info = RSA_ENCRYPTION.to_vec();
    push_der(&mut info, 0x03, &key);
    let mut spki = Vec::new();
    push_der(&mut spki, 0x30, &info);
    Some(spki)
}

/// An uncompressed point in SubjectPublicKeyInfo (RFC 5480, section 2).
fn p256_spki(x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    const EC_P256: &[u8] = &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    (x.len() == 32 && y.len() == 32).then(|| [EC_P256, x, y].concat())
}

/// Appends an unsigned big-endian number as a DER INTEGER.
pub(crate) fn push_integer(out: &mut Vec<u8>, number: &[u8]) {
    let mut content = Vec::with_capacity(number.len() + 1);
    if number.first().is_none_or(|first| *first > 0x7f) {
        content.push(0);
    }
    content.extend_from_slice(number);
    push_der(out, 0x02, &content);
}

/// Appends a DER value of less than 64 KiB.
pub(crate) fn push_der(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len();
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend_from_slice(&[0x81, length as u8]),
        _ => out.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(content);
}
