//! What providers and issuers of tokens have in common: addresses that are safe to ask, and how the
//! claims they send are read.

use serde_json::{Map, Value};

use super::problem::Problem;
use super::scalars::{Flag, Texts};
use super::template;
use super::url::{Scheme, Url};

/// What a proxy can verify (`verify_signature`): RSA with PKCS #1 and ECDSA, each with SHA-256.
const ALGORITHMS: [&str; 2] = ["RS256", "ES256"];

/// How an issuer's claims are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRules {
    /// Whether `email` counts without `email_verified: true`.
    pub trust_email: bool,
    /// The claim with the groups; `groups` when absent.
    pub groups_claim: Option<String>,
}

impl ClaimRules {
    pub(super) fn resolve(
        field: &str,
        trust_email: Option<Flag>,
        groups_claim: Option<String>,
    ) -> Result<Self, Problem> {
        if let Some(claim) = groups_claim.as_ref().filter(|claim| !is_claim(claim)) {
            let expected = "a claim, for example cognito:groups, or a JSON pointer (RFC 6901), \
                for example /realm_access/roles";
            return Err(Problem::given(&format!("{field}.groups_claim"), claim, expected));
        }
        Ok(Self { trust_email: trust_email.is_some_and(|flag| flag.0), groups_claim })
    }

    /// Adds what differs from the filter's defaults.
    pub fn add_to(&self, object: &mut Map<String, Value>) {
        if self.trust_email {
            object.insert("trust_email".to_owned(), true.into());
        }
        if let Some(claim) = &self.groups_claim {
            object.insert("groups_claim".to_owned(), claim.as_str().into());
        }
    }
}

/// An issuer, exactly as it was written: it is compared with what tokens say, where a slash more is
/// another issuer (OpenID Connect Core, 3.1.3.7; RFC 8414, 4).
pub(super) fn issuer(field: &str, text: String) -> Result<String, Problem> {
    let expected = "the issuer exactly as its tokens have it: https, or http on loopback, \
        without a query, for example https://login.example.com";
    safe(field, &text, expected)?;
    Ok(text)
}

/// An endpoint, exactly as it was written; it may have a query.
pub(super) fn endpoint(field: &str, text: String, example: &str) -> Result<String, Problem> {
    let expected = format!("an https address, or http on loopback, for example {example}");
    let (address, query) = text.split_once('?').unwrap_or((&text, ""));
    safe(field, address, &expected)?;
    match query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        true => Ok(text),
        false => Err(Problem::given(field, text, &expected)),
    }
}

/// Whoever can listen on the way could answer in the issuer's place.
fn safe(field: &str, text: &str, expected: &str) -> Result<Url, Problem> {
    let url = Url::parse(field, text, expected)?;
    match url.scheme == Scheme::Https || url.is_loopback() {
        true => Ok(url),
        false => Err(Problem::given(field, url, expected)),
    }
}

/// Whether it was written for plain http, which only [`issuer`] and [`endpoint`] on loopback may be.
pub(crate) fn is_plain_http(address: &str) -> bool {
    address.starts_with("http://")
}

/// `scheme://host[:port]` of an address that [`endpoint`] has taken.
pub(super) fn origin(address: &str) -> String {
    address.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

/// The algorithms that are accepted; the filter's own when empty.
pub(super) fn algorithms(field: &str, list: Option<Texts>) -> Result<Vec<String>, Problem> {
    let list = list.map_or_else(Vec::new, |list| list.0);
    match list.iter().find(|name| !ALGORITHMS.contains(&name.as_str())) {
        Some(odd) => Err(Problem::given(
            &format!("{field}.algorithms"),
            odd,
            "what a proxy can verify: RS256, ES256 or both",
        )),
        None => Ok(list),
    }
}

/// Scopes as RFC 6749, 3.3 has them.
pub(super) fn scopes(field: &str, list: Option<Texts>) -> Result<Vec<String>, Problem> {
    let list = list.map_or_else(Vec::new, |list| list.0);
    let token = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    match list.iter().find(|scope| scope.is_empty() || !scope.bytes().all(token)) {
        Some(odd) => Err(Problem::given(
            &format!("{field}.scopes"),
            odd,
            "a list of scopes, for example [openid, email, profile]",
        )),
        None => Ok(list),
    }
}

/// A claim's name, or a JSON Pointer into the claims where it begins with `/`.
pub(super) fn is_claim(text: &str) -> bool {
    is_line(text) && (!text.starts_with('/') || template::is_pointer(text))
}

/// Text of one line that is not empty.
pub(super) fn is_line(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control)
}
