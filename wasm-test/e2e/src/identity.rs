//! A stack whose upstream only known accounts may call, and what such an upstream is shown.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::Call;
use crate::builder::Builder;
use crate::http1::Request;
use crate::stack::{CONFIG, Stack};

/// For whom the token is.
pub const AUDIENCE: &str = "https://private-abc123-ew.a.run.app";

/// The account of the local services' metadata server.
pub const ACCOUNT: &str = "lockgate@lockgate-local.iam.gserviceaccount.com";

/// The default configuration with an identity for the upstream; `more` are further fields of it, as
/// `, header: x-serverless-authorization`.
pub fn config(more: &str) -> String {
    let line = "  url: ${UPSTREAM_URL}\n";
    assert!(CONFIG.contains(line));
    CONFIG.replacen(line, &format!("{line}  identity: {{audience: \"{AUDIENCE}\"{more}}}\n"), 1)
}

/// A stack with it.
pub fn builder(more: &str) -> Builder {
    Stack::builder().config(&config(more))
}

/// The claims of the bearer token in a header, where there is one.
pub fn claims(request: &Request, header: &str) -> Option<Value> {
    let token = request.headers.text(header)?.strip_prefix("Bearer ")?.to_owned();
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// Checks that a request that reached the upstream shows the proxy's own account, once, and nobody else's.
///
/// # Panics
/// When it does not.
pub fn assert_shown(request: &Request) {
    assert_eq!(request.headers.all("authorization").len(), 1, "{request:?}");
    let claims = claims(request, "authorization").unwrap_or_else(|| panic!("no token: {request:?}"));
    assert_eq!((&claims["aud"], &claims["email"]), (&AUDIENCE.into(), &ACCOUNT.into()));
    assert!(!request.headers.contains("x-serverless-authorization"), "{request:?}");
}

/// Whether a call asks the metadata server for an identity token.
pub fn is_identity(request: &Request) -> bool {
    request.path().contains("/service-accounts/default/identity")
}

/// The calls for identity tokens so far.
pub fn asked(stack: &Stack) -> Vec<Call> {
    stack.proxy().calls().matching(|call| is_identity(&call.request))
}
