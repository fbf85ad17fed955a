//! An envelope → the request that the upstream will see. Whoever may publish to the topic writes
//! envelopes, so nothing in one chooses where it goes or who it speaks for.

use lockgate_common::envelope::Envelope;
use lockgate_common::header_policy::{Policy, policy};
use lockgate_common::http::{Headers, is_plain_target, is_restorable_method, is_token_byte};

use crate::push::Push;

/// Why an envelope that could be read is not played back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// Not a method.
    Method,
    /// Not a path on the upstream: not absolute, or one that would be resolved to another.
    Path,
    /// A header that is never stored, or one that is not a header.
    Header,
    /// It has been played back before.
    Loop,
}

impl RestoreError {
    /// The word for it in a dead letter.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Method => "bad_method",
            Self::Path => "bad_path",
            Self::Header => "forbidden_header",
            Self::Loop => "loop",
        }
    }
}

/// Builds the whole header map: pseudo-headers, what was stored, what the upstream is told. `keep`
/// names the headers that routes store beyond their kind.
#[inline(never)]
pub fn headers(
    envelope: &Envelope<'_>,
    push: &Push,
    keep: &[String],
    pushed: &Headers,
) -> Result<Headers, RestoreError> {
    if !is_restorable_method(&envelope.method) {
        return Err(RestoreError::Method);
    }
    if !is_plain_target(&envelope.path) {
        return Err(RestoreError::Path);
    }
    let mut headers = Headers::default();
    headers.push(":method", envelope.method.as_bytes());
    headers.push(":path", envelope.path.as_bytes());
    // The proxy finds no route for a request without x-forwarded-proto.
    for name in [":scheme", ":authority", "x-forwarded-proto"] {
        headers.push(name, pushed.first(name).unwrap_or_default());
    }
    let (mut has_request_id, mut loops) = (false, String::new());
    for (name, value) in envelope.headers.iter().map(|(name, value)| (&**name, &**value)) {
        if !is_header(name, value) {
            return Err(RestoreError::Header);
        }
        let named = keep.iter().any(|other| other == name);
        match policy(name) {
            Policy::Never => return Err(RestoreError::Header),
            Policy::Credential if !named => return Err(RestoreError::Header),
            Policy::Signature if !named => continue,
            _ => {}
        }
        match name {
            // Told below, from the envelope's own id.
            "webhook-id" => continue,
            "cdn-loop" => {
                let value = String::from_utf8_lossy(value);
                if value.split(',').any(|entry| id_of(entry).eq_ignore_ascii_case("lockgate")) {
                    return Err(RestoreError::Loop);
                }
                loops.push_str(&value);
                loops.push_str(", ");
                continue;
            }
            "x-request-id" => has_request_id = true,
            _ => {}
        }
        headers.push(name, value);
    }
    if !has_request_id {
        headers.push("x-request-id", pushed.first("x-request-id").unwrap_or_default());
    }
    loops.push_str("lockgate");
    tell(&mut headers, envelope, push, &loops)?;
    Ok(headers)
}

/// The upstream's idempotency key is the envelope's id, never Pub/Sub's message id, which changes
/// when a dead letter is replayed.
fn tell(headers: &mut Headers, envelope: &Envelope<'_>, push: &Push, loops: &str) -> Result<(), RestoreError> {
    let mut attempt = String::new();
    if let Some(number) = push.delivery_attempt {
        lockgate_common::encoding::push_decimal(&mut attempt, number);
    }
    let told = [
        ("cdn-loop", loops),
        ("webhook-id", &envelope.id),
        ("x-lockgate-message-id", &envelope.id),
        ("x-lockgate-delivery-attempt", &attempt),
        ("x-lockgate-publish-time", &push.publish_time),
        ("x-lockgate-received-at", &envelope.received_at),
        ("x-lockgate-dedup-id", envelope.dedup.as_deref().unwrap_or_default()),
        ("x-lockgate-principal", envelope.principal.as_deref().unwrap_or_default()),
    ];
    for (name, value) in told {
        if !is_header(name, value.as_bytes()) {
            return Err(RestoreError::Header);
        }
        if !value.is_empty() {
            headers.push(name, value.as_bytes());
        }
    }
    Ok(())
}

fn id_of(entry: &str) -> &str {
    entry.split(';').next().unwrap_or_default().trim()
}

/// A lower-case token, and a value that cannot end its line (RFC 9110, 5.5).
fn is_header(name: &str, value: &[u8]) -> bool {
    let lower = |byte: u8| is_token_byte(byte) && !byte.is_ascii_uppercase();
    (name.starts_with(':') || (!name.is_empty() && name.bytes().all(lower)))
        && !value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n'))
}
