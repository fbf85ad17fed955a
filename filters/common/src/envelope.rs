//! The envelope, version 1: a request as a Pub/Sub message's data. One line of JSON, a newline, the
//! body as it came. Attributes cannot hold it: a value is at most 1,024 bytes, a message has at most
//! 100 (cloud.google.com/pubsub/quotas#resource_limits).

use std::borrow::Cow;

use crate::encoding::{base64, from_base64, push_hex};
use crate::hmac;
use crate::json::{Json, Kind, write_string};
use crate::secret::Secret;

/// The version this code writes, and the newest it reads.
pub const VERSION: u64 = 1;

/// Bytes of an envelope beside the body's at most: headers are at most 60 KiB at Envoy's default, and
/// escaping may double them.
pub const MAX_HEAD_BYTES: usize = 128 * 1024;

/// The largest push of an envelope whose body has at most `body` bytes: base64, and Pub/Sub's own
/// fields and attributes around it. A playback that takes less cannot restore what was stored.
pub const fn push_bytes(body: usize) -> usize {
    (body + MAX_HEAD_BYTES) / 3 * 4 + 64 * 1024
}

/// A request as it is stored. Texts are those of the request, or of the data that it was read from,
/// wherever they stand there as they are.
pub struct Envelope<'a> {
    /// Minted at enqueue, UUID version 7; the upstream's idempotency key.
    pub id: Cow<'a, str>,
    /// The sender's own stable id.
    pub dedup: Option<Cow<'a, str>>,
    /// When it was received, RFC 3339.
    pub received_at: Cow<'a, str>,
    /// The name of the route that took it.
    pub route: Cow<'a, str>,
    /// Method.
    pub method: Cow<'a, str>,
    /// Path with query, as the upstream will see it.
    pub path: Cow<'a, str>,
    /// Headers, in order.
    pub headers: Vec<Header<'a>>,
    /// Who was verified, as JSON text.
    pub principal: Option<Cow<'a, str>>,
    /// The trace or correlation id it came with.
    pub trace: Option<Cow<'a, str>>,
}

/// A header's name, lower case, and value.
pub type Header<'a> = (Cow<'a, str>, Cow<'a, [u8]>);

/// Why an envelope cannot be played back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    /// It was never an envelope, or a field is missing or of the wrong type.
    Malformed,
    /// Of a version newer than this code; a rolling upgrade is under way.
    Newer,
    /// There is a log key, and the envelope is not sealed by it.
    Unsealed,
    /// Sealed with a key that is not here, at least not yet.
    UnknownKey,
    /// Sealed, and changed since.
    Forged,
}

/// The keys that seal envelopes, newest first.
pub struct LogKeys(Vec<LogKey>);

struct LogKey {
    id: String,
    key: hmac::Key,
}

impl LogKeys {
    /// Reads base64 values of 32 bytes, separated by commas, newest first.
    pub fn parse(secret: &Secret) -> Option<Self> {
        let text = std::str::from_utf8(secret.expose()).ok()?;
        let key = |text: &str| {
            let bytes = from_base64(text.trim().as_bytes()).filter(|key| key.len() == 32)?;
            let key = hmac::Key::new(&bytes);
            let mut id = String::new();
            push_hex(&mut id, key.sign(&[b"lockgate log key id"]).get(..4)?);
            Some(LogKey { id, key })
        };
        text.split(',').map(key).collect::<Option<Vec<_>>>().map(Self)
    }
}

impl<'a> Envelope<'a> {
    /// The data of a message; sealed with the newest key where there are keys.
    #[inline(never)]
    pub fn encode(&self, body: &[u8], keys: Option<&LogKeys>) -> Vec<u8> {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>();
        let mut line = Vec::with_capacity(self.path.len() + headers + body.len() + 512);
        line.extend_from_slice(b"{\"v\":1");
        let texts = [
            ("id", Some(&self.id)),
            ("dedup", self.dedup.as_ref()),
            ("received_at", Some(&self.received_at)),
            ("route", Some(&self.route)),
            ("method", Some(&self.method)),
            ("path", Some(&self.path)),
        ];
        for (name, text) in texts {
            push_text(&mut line, name, text);
        }
        push_name(&mut line, "headers");
        push_headers(&mut line, &self.headers);
        if let Some(principal) = &self.principal {
            push_name(&mut line, "principal");
            line.extend_from_slice(principal.as_bytes());
        }
        push_text(&mut line, "trace", self.trace.as_ref());
        if let Some(LogKey { id, key }) = keys.and_then(|keys| keys.0.first()) {
            let mac = key.sign(&[&line, b"\n", body]);
            line.extend_from_slice(MAC.as_bytes());
            write_string(&mut line, id);
            line.extend_from_slice(b",\"hs256\":");
            write_string(&mut line, &base64(&mac));
            line.push(b'}');
        }
        line.extend_from_slice(b"}\n");
        line.extend_from_slice(body);
        line
    }

    /// Takes data apart: the envelope and the body. With keys, what is not sealed by one is an error.
    #[inline(never)]
    pub fn decode(data: &'a [u8], keys: Option<&LogKeys>) -> Result<(Self, &'a [u8]), EnvelopeError> {
        let malformed = EnvelopeError::Malformed;
        let end = data.iter().position(|byte| *byte == b'\n').ok_or(malformed)?;
        let (line, body) = data.split_at_checked(end).ok_or(malformed)?;
        let body = body.get(1..).unwrap_or_default();
        let json = Json::parse(line).map_err(|_| malformed)?;
        match json.unique_field("v").map_err(|_| malformed)?.and_then(Json::u64) {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => return Err(EnvelopeError::Newer),
            _ => return Err(malformed),
        }
        if let Some(keys) = keys {
            check_seal(keys, json, line, body)?;
        }
        let optional = |name: &str| -> Result<Option<Cow<'a, str>>, EnvelopeError> {
            match json.unique_field(name).map_err(|_| malformed)? {
                None => Ok(None),
                Some(json) => json.str().map(Some).ok_or(malformed),
            }
        };
        let text = |name: &str| optional(name)?.filter(|text| !text.is_empty()).ok_or(malformed);
        let principal = json.field("principal").map(|json| String::from_utf8_lossy(json.text()));
        let envelope = Self {
            id: text("id")?,
            dedup: optional("dedup")?,
            received_at: text("received_at")?,
            route: text("route")?,
            method: text("method")?,
            path: text("path")?,
            headers: headers(json.unique_field("headers").map_err(|_| malformed)?.ok_or(malformed)?)?,
            // Whoever may publish to the topic may write anything here; only the seal says who did.
            principal: principal.filter(|_| keys.is_some()),
            trace: optional("trace")?,
        };
        Ok((envelope, body))
    }
}

/// The seal is the last member, so what it seals is the line up to here.
const MAC: &str = ",\"mac\":{\"key\":";

fn check_seal(keys: &LogKeys, json: Json<'_>, line: &[u8], body: &[u8]) -> Result<(), EnvelopeError> {
    let unsealed = EnvelopeError::Unsealed;
    let mac = json.unique_field("mac").map_err(|_| unsealed)?.ok_or(unsealed)?;
    let id = mac.field("key").and_then(Json::str).ok_or(unsealed)?;
    let tag = mac.field("hs256").and_then(Json::str).and_then(|tag| from_base64(tag.as_bytes()));
    let key = keys.0.iter().find(|key| key.id == id).ok_or(EnvelopeError::UnknownKey)?;
    let mut seal = MAC.as_bytes().to_vec();
    write_string(&mut seal, &id);
    let sealed = line
        .windows(seal.len())
        .rposition(|window| window == seal)
        .and_then(|end| line.get(..end))
        .ok_or(EnvelopeError::Forged)?;
    if key.key.verify(&[sealed, b"\n", body], &tag.unwrap_or_default()) {
        Ok(())
    } else {
        Err(EnvelopeError::Forged)
    }
}

fn push_name(line: &mut Vec<u8>, name: &str) {
    line.push(b',');
    write_string(line, name);
    line.push(b':');
}

fn push_text(line: &mut Vec<u8>, name: &str, text: Option<&Cow<'_, str>>) {
    if let Some(text) = text {
        push_name(line, name);
        write_string(line, text);
    }
}

/// Pairs of name and value; a value that is not UTF-8 is `{"base64": …}`.
fn push_headers(line: &mut Vec<u8>, headers: &[Header<'_>]) {
    line.push(b'[');
    for (index, (name, value)) in headers.iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        line.push(b'[');
        write_string(line, name);
        line.push(b',');
        match std::str::from_utf8(value) {
            Ok(text) => write_string(line, text),
            Err(_) => {
                line.extend_from_slice(b"{\"base64\":");
                write_string(line, &base64(value));
                line.push(b'}');
            }
        }
        line.push(b']');
    }
    line.push(b']');
}

fn headers(json: Json<'_>) -> Result<Vec<Header<'_>>, EnvelopeError> {
    let malformed = EnvelopeError::Malformed;
    if json.kind() != Kind::Array {
        return Err(malformed);
    }
    let mut headers = Vec::new();
    for pair in json.elements() {
        let mut pair = pair.elements();
        let name = pair.next().and_then(Json::str).ok_or(malformed)?;
        let value = pair.next().ok_or(malformed)?;
        let bytes = match value.str() {
            Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
            None => value
                .field("base64")
                .and_then(Json::str)
                .and_then(|text| from_base64(text.as_bytes()))
                .map(Cow::Owned)
                .ok_or(malformed)?,
        };
        headers.push((name, bytes));
    }
    Ok(headers)
}
