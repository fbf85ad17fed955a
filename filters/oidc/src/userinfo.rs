//! Claims that the ID token leaves out, from the userinfo endpoint (OpenID Connect Core, 5.3), and what
//! of all claims a session keeps.

use std::rc::Rc;

use lockgate_common::json::{Json, Kind, write_string};
use lockgate_common::runtime::Runtime;

use crate::discovery::Discovery;
use crate::provider::CALL_MS;

/// The most that a session keeps of its claims, in bytes: they travel with each request.
const MAX_CLAIMS_BYTES: usize = 8 * 1024;

/// Why there are no claims to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimsError {
    /// The endpoint did not answer, or not for this subject.
    Unavailable,
    /// A claim stands twice, and two readers of it may believe different ones.
    Repeated,
    /// They are more than a session can hold.
    TooLarge,
}

/// The wanted claims of an ID token, completed from the userinfo endpoint where a needed one is missing and
/// there is one. For tasks of the root.
pub async fn complete(
    runtime: &Rc<Runtime>,
    discovery: &Discovery,
    id_token: Json<'_>,
    access_token: Option<&str>,
    needed: &[String],
    wanted: &[String],
) -> Result<String, ClaimsError> {
    let missing = needed.iter().any(|name| id_token.field(top(name)).is_none());
    let (Some(endpoint), Some(access_token), true) = (&discovery.userinfo_endpoint, access_token, missing)
    else {
        return merge(wanted, &[id_token]);
    };
    let mut call = endpoint.anonymous_get("");
    call.timeout_ms = CALL_MS;
    call.headers.push(("authorization", ["Bearer ", access_token].concat()));
    call.headers.push(("accept", "application/json".to_owned()));
    let answer = runtime.call(call).await;
    let userinfo =
        Json::parse(&answer.body).ok().filter(|_| answer.is_success()).ok_or(ClaimsError::Unavailable)?;
    // Of another subject it must not be used (Core, 5.3.2).
    let subject = |json: Json<'_>| {
        json.unique_field("sub").ok().flatten().and_then(|sub| Some(sub.str()?.into_owned()))
    };
    match subject(userinfo) {
        Some(sub) if Some(&sub) == subject(id_token).as_ref() => merge(wanted, &[id_token, userinfo]),
        _ => Err(ClaimsError::Unavailable),
    }
}

/// A claim's top-level member: claims may be named by a JSON Pointer.
fn top(name: &str) -> &str {
    name.strip_prefix('/').map_or(name, |pointer| pointer.split('/').next().unwrap_or_default())
}

/// One object of the wanted claims, each from the first of `sources` that has it.
fn merge(wanted: &[String], sources: &[Json<'_>]) -> Result<String, ClaimsError> {
    let mut out = b"{".to_vec();
    let names: Vec<&str> = wanted.iter().map(|name| top(name)).collect();
    for (at, name) in names.iter().enumerate() {
        if names.iter().take(at).any(|earlier| earlier == name) {
            continue;
        }
        let mut found = None;
        for (at, source) in sources.iter().enumerate() {
            // What userinfo says twice is no answer of it; what the ID token says twice, no ID token.
            let error = if at == 0 { ClaimsError::Repeated } else { ClaimsError::Unavailable };
            found = found.or(source.unique_field(name).map_err(|_| error)?);
        }
        let Some(value) = found else { continue };
        if value.kind() == Kind::Null {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        write_string(&mut out, name);
        out.push(b':');
        out.extend_from_slice(value.text());
    }
    out.push(b'}');
    let text = String::from_utf8(out).map_err(|_| ClaimsError::Repeated)?;
    if text.len() > MAX_CLAIMS_BYTES { Err(ClaimsError::TooLarge) } else { Ok(text) }
}
