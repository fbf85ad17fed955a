//! Slack's signature, version v0 (docs.slack.dev/authentication/verifying-requests-from-slack):
//! HMAC-SHA256 over `v0:`, the timestamp's bytes, `:`, the raw body.

use lockgate_common::encoding::from_hex;
use lockgate_common::hmac::Key;
use lockgate_common::http::{Headers, Repeated};
use lockgate_common::secret::Secret;

/// Signing secrets that are tried at most: two are enough for a rotation.
const MAX_SECRETS: usize = 8;

/// What a request says of its own signature.
pub struct Signed<'a> {
    timestamp: &'a [u8],
    signature: &'a [u8],
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// One of the two headers is missing.
    Missing,
    /// One of them stands twice.
    Repeated,
    /// The timestamp is not a number of seconds.
    Timestamp,
    /// The timestamp is too old, or too far ahead.
    Stale,
    /// No key gives this signature.
    Mismatch,
}

impl<'a> Signed<'a> {
    /// Takes the two headers; `None` when neither is there.
    pub fn from_headers(headers: &'a Headers) -> Result<Option<Self>, SignatureError> {
        let one = |name| headers.single(name).map_err(|Repeated| SignatureError::Repeated);
        match (one("x-slack-request-timestamp")?, one("x-slack-signature")?) {
            (Some(timestamp), Some(signature)) => Ok(Some(Self { timestamp, signature })),
            (None, None) => Ok(None),
            _ => Err(SignatureError::Missing),
        }
    }

    /// Checks the time, both ways: a clock that is ahead would otherwise make a replay good for longer.
    pub fn check_time(&self, now_s: u64, tolerance_s: u64) -> Result<(), SignatureError> {
        let digits =
            (1..=12).contains(&self.timestamp.len()) && self.timestamp.iter().all(u8::is_ascii_digit);
        let time: u64 = std::str::from_utf8(self.timestamp)
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse().ok())
            .ok_or(SignatureError::Timestamp)?;
        if time.abs_diff(now_s) > tolerance_s { Err(SignatureError::Stale) } else { Ok(()) }
    }

    /// Verifies the raw body by any of the keys, in constant time for each.
    pub fn verify(&self, body: &[u8], keys: &[Key]) -> Result<(), SignatureError> {
        let tag = self.tag().ok_or(SignatureError::Mismatch)?;
        let signed: [&[u8]; 4] = [b"v0:", self.timestamp, b":", body];
        if keys.iter().any(|key| key.verify(&signed, &tag)) {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }

    /// `v0=` and 64 lower-case hexadecimal digits.
    fn tag(&self) -> Option<[u8; 32]> {
        from_hex(self.signature.strip_prefix(b"v0=")?)
    }
}

/// The keys of configured secrets, separated by commas; `None` when one is empty or there are too many.
pub fn keys(secrets: &Secret) -> Option<Vec<Key>> {
    let secrets = || secrets.expose().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let good = secrets().count() <= MAX_SECRETS && secrets().all(|secret| !secret.is_empty());
    good.then(|| secrets().map(Key::new).collect())
}
