//! Which headers a stored request may carry, asked when it is stored and again when it is restored:
//! whoever may publish to the topic may not thereby speak in another's name.

/// How a header is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Stored and restored.
    Keep,
    /// The sender's signature: of no use later, since it covers a time. Left out unless named.
    Signature,
    /// Says who somebody is. Left out unless named; in an envelope where it was not, a forgery.
    Credential,
    /// The proxy's own, or of one connection (RFC 9110, 7.6.1). Never stored; in an envelope, a
    /// forgery.
    Never,
}

/// The policy for a header, by its lower-case name.
pub fn policy(name: &str) -> Policy {
    const NEVER: &[&str] = &[
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    const CREDENTIALS: &[&str] = &[
        "authorization",
        "cookie",
        "proxy-authenticate",
        "proxy-authorization",
        "x-serverless-authorization",
        "x-goog-iap-jwt-assertion",
        "x-original-url",
        "x-rewrite-url",
    ];
    const SIGNATURES: &[&str] = &[
        "stripe-signature",
        "svix-signature",
        "svix-timestamp",
        "webhook-signature",
        "webhook-timestamp",
        "x-hub-signature",
        "x-hub-signature-256",
        "x-slack-request-timestamp",
        "x-slack-signature",
    ];
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let is_one_of = |names: &[&str]| names.iter().any(|other| other.len() == name.len() && *other == name);
    if is_one_of(NEVER) || starts(&[":", "x-envoy-", "x-forwarded-", "x-lockgate-"]) {
        Policy::Never
    } else if is_one_of(CREDENTIALS) || starts(&["x-goog-authenticated-user-"]) {
        Policy::Credential
    } else if is_one_of(SIGNATURES) {
        Policy::Signature
    } else {
        Policy::Keep
    }
}
