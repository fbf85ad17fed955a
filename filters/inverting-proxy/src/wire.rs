//! Messages as they go over the wire of HTTP/1.1 (RFC 9112): a client's request as the agent reads it, a
//! backend's answer as the agent wrote it.

use lockgate_common::encoding::push_decimal;
use lockgate_common::http::{Headers, is_token_byte};

/// Headers of the protocol between proxy and agent begin with it. A client's are no business of the agent's.
pub const PROTOCOL: &str = "x-inverting-proxy-";

/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Most headers of an answer.
const MAX_HEADERS: usize = 256;

/// Headers of one connection (RFC 9110, 7.6.1), and two that frame a message on it.
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A backend's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// From 200 to 599.
    pub status: u16,
    /// Its headers, but for those of the connection.
    pub headers: Headers,
    /// Its body, whole.
    pub body: Vec<u8>,
}

/// A request as the agent reads it; none where it would not be read as the one that came.
pub fn request(method: &str, target: &str, host: &str, headers: &Headers, body: &[u8]) -> Option<Vec<u8>> {
    let graphic = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !method.bytes().all(is_token_byte) || method.is_empty() || method == "CONNECT" {
        return None;
    }
    if !target.starts_with('/') || !graphic(target) || !graphic(host) {
        return None;
    }
    let mut out = Vec::with_capacity(1_024 + body.len());
    let mut line = |parts: [&[u8]; 3]| {
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.extend_from_slice(b"\r\n");
    };
    line([method.as_bytes(), &[b" ", target.as_bytes()].concat(), b" HTTP/1.1"]);
    line([b"host", b": ", host.as_bytes()]);
    let own = |name: &str| name.starts_with(':') || name == "host" || name.starts_with("x-envoy-");
    for (name, value) in end_to_end(headers).filter(|(name, _)| !own(name) && !name.starts_with(PROTOCOL)) {
        if !is_header(name, value) {
            return None;
        }
        line([name.as_bytes(), b": ", value]);
    }
    if !body.is_empty() || headers.first("content-length").is_some() {
        let mut length = String::new();
        push_decimal(&mut length, body.len() as u64);
        line([b"content-length", b": ", length.as_bytes()]);
    }
    line([b"", b"", b""]);
    out.extend_from_slice(body);
    Some(out)
}

/// An answer that the agent wrote, `to_head` for a HEAD request; none where it is none, or is not whole. The
/// agent ends a message as usual when its backend breaks off, so only the framing tells.
pub fn response(bytes: &[u8], to_head: bool) -> Option<Response> {
    let (status_line, mut rest) = line(bytes)?;
    let status = status(status_line)?;
    let (mut headers, mut count) = (Headers::default(), 0);
    loop {
        let (line, behind) = line(rest)?;
        rest = behind;
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > MAX_HEADERS || bytes.len() - rest.len() > MAX_HEAD {
            return None;
        }
        let (name, value) = header(line)?;
        headers.push(&name, value);
    }
    let body = match framing(&headers)? {
        _ if to_head || matches!(status, 204 | 304) => Vec::new(),
        Framing::Chunked => unchunked(rest)?,
        Framing::Length(length) if length == rest.len() => rest.to_vec(),
        Framing::Length(_) => return None,
        Framing::Rest => rest.to_vec(),
    };
    let mut kept: Headers =
        end_to_end(&headers).filter(|(name, _)| !name.starts_with("x-lockgate-")).collect();
    // It tells how long the body is that a GET would have had.
    if let (true, Some(length)) = (to_head, headers.first("content-length")) {
        kept.push("content-length", length);
    }
    Some(Response { status, headers: kept, body })
}

/// The headers that are not of one connection: neither by their name, nor because `connection` names them.
fn end_to_end(headers: &Headers) -> impl Iterator<Item = (&str, &[u8])> {
    let named = |name: &str| {
        headers.iter().filter(|(other, _)| *other == "connection").any(|(_, value)| {
            value
                .split(|byte| *byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        })
    };
    headers.iter().filter(move |(name, _)| !HOP_BY_HOP.contains(name) && !named(name))
}

fn is_header(name: &str, value: &[u8]) -> bool {
    !name.is_empty() && name.bytes().all(is_token_byte) && !value.iter().any(|byte| b"\r\n\0".contains(byte))
}

/// The text up to a CRLF, and what is behind it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes.get(..end)?.strip_suffix(b"\r")?;
    Some((line, bytes.get(end + 1..)?))
}

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (code, reason) = rest.split_at_checked(3)?;
    let status = std::str::from_utf8(code).ok()?.parse().ok()?;
    let ends = reason.is_empty() || reason.starts_with(b" ");
    (ends && (200..600).contains(&status)).then_some(status)
}

fn header(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(line.get(..colon)?).ok()?.to_ascii_lowercase();
    let value = line.get(colon + 1..)?.trim_ascii();
    is_header(&name, value).then_some((name, value))
}

enum Framing {
    Chunked,
    Length(usize),
    /// To the end of what the agent wrote.
    Rest,
}

/// How long the body is (RFC 9112, 6.3). Two that could be read differently are none.
fn framing(headers: &Headers) -> Option<Framing> {
    let coding = headers.single("transfer-encoding").ok()?;
    let length = headers.single("content-length").ok()?;
    match (coding, length) {
        (Some(coding), None) => coding.eq_ignore_ascii_case(b"chunked").then_some(Framing::Chunked),
        (None, Some(length)) => number(length, 10).map(Framing::Length),
        (None, None) => Some(Framing::Rest),
        (Some(_), Some(_)) => None,
    }
}

/// A chunked body (RFC 9112, 7.1), whole. Trailers are read and left out.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(rest.len());
    loop {
        let (size, behind) = line(rest)?;
        let size = number(size.split(|byte| *byte == b';').next()?.trim_ascii(), 16)?;
        rest = behind;
        if size == 0 {
            break;
        }
        let (chunk, behind) = rest.split_at_checked(size)?;
        body.extend_from_slice(chunk);
        rest = behind.strip_prefix(b"\r\n")?;
    }
    loop {
        let (trailer, behind) = line(rest)?;
        rest = behind;
        if trailer.is_empty() {
            return rest.is_empty().then_some(body);
        }
        header(trailer)?;
    }
}

/// Digits and nothing else, at most ten.
fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    usize::from_str_radix(text, radix).ok().filter(|_| plain)
}
