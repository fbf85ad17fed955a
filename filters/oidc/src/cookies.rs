//! Our cookies among those of the application (RFC 6265): a session cut into chunks that browsers
//! take, read back strictly, and taken out of what the upstream sees.
//!
//! The session's first cookie is `NAME=COUNT.PAYLOAD`; where one does not hold it, `NAME.1`, `NAME.2` and
//! so on carry the rest, so that `COUNT` cookies in all are needed.

use std::str;

use lockgate_common::encoding;
use lockgate_common::http::Headers;

/// The most cookies that one session is cut into.
pub const MAX_CHUNKS: usize = 8;

/// What a login cookie's name goes on with, behind the session cookie's name.
const LOGIN_SUFFIX: &str = "-login-";

/// What its name ends with: the beginning of its value, so that tabs opened at the same instant, none of
/// which has a cookie yet, do not overwrite each other's.
const LOGIN_NAME_BYTES: usize = 6;

/// The longest `Set-Cookie` line, in bytes. Browsers need not take a cookie of more than 4,096
/// (RFC 6265, 6.1, counting name, value and attributes).
const MAX_LINE: usize = 4_000;

/// The longest value of one of our cookies that is read, in bytes.
const MAX_VALUE: usize = 4_096;

/// Chunk cookies from this index on are nobody's concern: we never set them.
const MAX_PRESENT: usize = 32;

/// How long a browser may take from the beginning of a sign-in to its end, in seconds.
const LOGIN_MAX_AGE_S: u64 = 600;

/// Why our cookies cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieError {
    /// A cookie that is needed stands twice. Even where both are equal: "the first valid one wins" is
    /// how checks are bypassed.
    Repeated,
    /// A chunk is missing, the count is none, or a value is empty, too long or not base64url.
    Broken,
}

/// What differs between the attributes of our cookies. All have `Path=/; HttpOnly; SameSite=Lax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Sent by the browser over https only. The prefix `__Host-` demands it (RFC 6265bis, 4.1.3.2).
    pub secure: bool,
    /// Kept by the browser for this long, in seconds.
    pub max_age_s: u64,
}

/// The session's payload as [`set`] was given it, joined from the cookie `name` and its chunks. None
/// where there is no cookie `name`. Chunks beyond the count are left over from a longer session, and
/// ignored.
pub fn session_value(headers: &Headers, name: &str) -> Result<Option<String>, CookieError> {
    let Some(first) = one(headers, name.as_bytes())? else {
        return Ok(None);
    };
    let [digit @ b'1'..=b'9', b'.', payload @ ..] = first else {
        return Err(CookieError::Broken);
    };
    let count = usize::from(digit - b'0');
    if count > MAX_CHUNKS || first.len() > MAX_VALUE {
        return Err(CookieError::Broken);
    }
    let mut joined = text(payload)?.to_owned();
    for index in 1..count {
        let chunk = one(headers, chunk_name(name, index).as_bytes())?.ok_or(CookieError::Broken)?;
        joined.push_str(text(chunk)?);
    }
    Ok(Some(joined))
}

/// The values of the login cookies: one as a rule, several where tabs were opened at the same instant. Any
/// of them shows that this browser began a login.
pub fn logins<'a>(headers: &'a Headers, base: &str) -> Vec<&'a str> {
    let login = |(name, value): (&'a [u8], &'a [u8])| {
        let end = name.strip_prefix(base.as_bytes())?.strip_prefix(LOGIN_SUFFIX.as_bytes())?;
        text(value).ok().filter(|value| value.as_bytes().get(..LOGIN_NAME_BYTES) == Some(end))
    };
    cookies(headers).filter_map(login).collect()
}

/// How many chunk cookies of `name` a browser may hold: the highest index among those that came, and
/// one; `name` itself has index 0. At most 32.
pub fn present(headers: &Headers, name: &str) -> usize {
    let indices = cookies(headers).filter_map(|(cookie, _)| chunk_index(cookie, name));
    indices.max().map_or(0, |index| index + 1)
}

/// The values of the `cookie` headers without ours, which are `base`, `base.DIGITS` and `base-login-…`.
/// None when there are none of ours: the headers may stay as they are. An empty list: there is nothing
/// else, and the header goes.
///
/// Every other cookie stays byte for byte what it was, however odd; only the white space behind the
/// separator goes with a cookie of ours that was the first.
pub fn without(headers: &Headers, base: &str) -> Option<Vec<Vec<u8>>> {
    let mut found = false;
    let mut kept = Vec::new();
    for value in headers.all("cookie") {
        match rest(value, base) {
            None if value.is_empty() => {}
            None => kept.push(value.to_vec()),
            Some(rest) => {
                found = true;
                if rest.iter().any(|byte| *byte != b';' && !byte.is_ascii_whitespace()) {
                    kept.push(rest);
                }
            }
        }
    }
    found.then_some(kept)
}

/// The `Set-Cookie` lines for a session: at most [`MAX_CHUNKS`] of at most 4,000 bytes each, and one for
/// every chunk below `present` (see [`present`]) that must go.
///
/// None when `payload` is too long for that, empty, or not base64url.
pub fn set(name: &str, payload: &str, attributes: Attributes, present: usize) -> Option<Vec<String>> {
    let tail = tail(attributes);
    // The first has `1.` behind its name's end where the others have `.1` before it.
    let around = chunk_name(name, 1).len() + "=".len() + tail.len();
    let room = MAX_LINE.checked_sub(around).filter(|room| *room > 0)?;
    let count = payload.len().div_ceil(room);
    if count > MAX_CHUNKS || !is_base64url(payload) {
        return None;
    }
    let mut lines = Vec::with_capacity(count.max(present.min(MAX_PRESENT)));
    for (index, chunk) in payload.as_bytes().chunks(room).enumerate() {
        let mut line = chunk_name(name, index);
        line.push('=');
        if index == 0 {
            encoding::push_decimal(&mut line, count as u64);
            line.push('.');
        }
        line.push_str(str::from_utf8(chunk).ok()?);
        line.push_str(&tail);
        lines.push(line);
    }
    delete_chunks(&mut lines, name, attributes.secure, count..present);
    Some(lines)
}

/// The `Set-Cookie` lines that delete the cookie `name` and its chunks below `present`
/// (RFC 6265, 3.1: the same name and path, and a time that is over).
pub fn delete(name: &str, secure: bool, present: usize) -> Vec<String> {
    let mut lines = Vec::new();
    delete_chunks(&mut lines, name, secure, 0..present.max(1));
    lines
}

/// The `Set-Cookie` line of a login cookie with this value.
pub fn set_login(base: &str, value: &str, secure: bool) -> String {
    let end = value.get(..LOGIN_NAME_BYTES).unwrap_or(value);
    let tail = tail(Attributes { secure, max_age_s: LOGIN_MAX_AGE_S });
    [base, LOGIN_SUFFIX, end, "=", value, &tail].concat()
}

fn delete_chunks(lines: &mut Vec<String>, name: &str, secure: bool, indices: std::ops::Range<usize>) {
    let tail = tail(Attributes { secure, max_age_s: 0 });
    for index in indices.start..indices.end.min(MAX_PRESENT) {
        lines.push([&chunk_name(name, index), "=", &tail].concat());
    }
}

fn tail(attributes: Attributes) -> String {
    let mut tail = String::from("; Path=/; HttpOnly; SameSite=Lax; Max-Age=");
    encoding::push_decimal(&mut tail, attributes.max_age_s);
    if attributes.secure {
        tail.push_str("; Secure");
    }
    tail
}

fn chunk_name(name: &str, index: usize) -> String {
    let mut chunk = name.to_owned();
    if index > 0 {
        chunk.push('.');
        encoding::push_decimal(&mut chunk, index as u64);
    }
    chunk
}

/// The index that `cookie` is a chunk of `name` with, in the one spelling that [`chunk_name`] has for it.
fn chunk_index(cookie: &[u8], name: &str) -> Option<usize> {
    let digit = |byte: &u8| usize::from(*byte - b'0');
    match cookie.strip_prefix(name.as_bytes())? {
        [] => Some(0),
        [b'.', one @ b'1'..=b'9'] => Some(digit(one)),
        [b'.', ten @ b'1'..=b'9', one @ b'0'..=b'9'] => Some(10 * digit(ten) + digit(one)),
        _ => None,
    }
    .filter(|index| *index < MAX_PRESENT)
}

/// Whether a cookie belongs to the session of `base`, in any spelling.
fn is_ours(cookie: &[u8], base: &str) -> bool {
    match cookie.strip_prefix(base.as_bytes()) {
        Some([]) => true,
        Some([b'.', digits @ ..]) => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        Some(suffix) => suffix.strip_prefix(LOGIN_SUFFIX.as_bytes()).is_some_and(is_login_end),
        None => false,
    }
}

fn is_login_end(end: &[u8]) -> bool {
    end.len() == LOGIN_NAME_BYTES
        && end.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
}

/// A `cookie` header's value without our cookies; None where it has none.
fn rest(value: &[u8], base: &str) -> Option<Vec<u8>> {
    let mut found = false;
    let mut rest: Option<Vec<u8>> = None;
    for piece in value.split(|byte| *byte == b';') {
        if pair(piece).is_some_and(|(name, _)| is_ours(name, base)) {
            found = true;
            continue;
        }
        match &mut rest {
            Some(rest) => {
                rest.push(b';');
                rest.extend_from_slice(piece);
            }
            // What stood before it is gone, and the space between them with it.
            None if found => rest = Some(piece.trim_ascii_start().to_vec()),
            None => rest = Some(piece.to_vec()),
        }
    }
    found.then(|| rest.unwrap_or_default())
}

/// The value of the cookie `name`, which may stand once.
fn one<'a>(headers: &'a Headers, name: &[u8]) -> Result<Option<&'a [u8]>, CookieError> {
    let mut found = cookies(headers).filter(|(cookie, _)| *cookie == name).map(|(_, value)| value);
    let first = found.next();
    match found.next() {
        Some(_) => Err(CookieError::Repeated),
        None => Ok(first),
    }
}

/// Names and values, in order. RFC 6265, 5.4 has clients send them as `name=value; name=value`; HTTP/1.1
/// clients that send several headers are understood too.
fn cookies(headers: &Headers) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.all("cookie").flat_map(|value| value.split(|byte| *byte == b';')).filter_map(pair)
}

/// Name and value, without white space around either. None without `=`.
fn pair(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = piece.iter().position(|byte| *byte == b'=')?;
    let (name, value) = piece.split_at_checked(at)?;
    Some((name.trim_ascii(), value.strip_prefix(b"=")?.trim_ascii()))
}

fn text(value: &[u8]) -> Result<&str, CookieError> {
    let text = str::from_utf8(value).map_err(|_| CookieError::Broken)?;
    if text.len() > MAX_VALUE || !is_base64url(text) {
        return Err(CookieError::Broken);
    }
    Ok(text)
}

fn is_base64url(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests;
