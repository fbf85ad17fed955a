//! How a refusal reaches whoever asked: a page for a browser that shows one, a sentence for anybody
//! else, and the challenge that tells a program to bring another token (RFC 6750, section 3).

use lockgate_common::flow::{Stream, Verdict};
use lockgate_common::http::{Refusal, Reply};

use crate::navigation;
use crate::pages;
use crate::site::OWN_PREFIX;

/// The answer to a refused request.
pub fn verdict(stream: &Stream, refusal: Refusal) -> Verdict {
    with_cookies(stream, refusal, Vec::new())
}

/// The same with `Set-Cookie` lines.
pub fn with_cookies(stream: &Stream, refusal: Refusal, lines: Vec<String>) -> Verdict {
    let mut reply = if navigation::wants_html(stream.headers()) {
        page(stream, &refusal)
    } else {
        let mut reply = refusal.reply();
        reply.headers.push(("cache-control", "no-store".to_owned()));
        reply
    };
    if let Some(challenge) = challenge(&refusal) {
        reply.headers.push(("www-authenticate", challenge));
    }
    reply.headers.extend(lines.into_iter().map(|line| ("set-cookie", line)));
    Verdict::RefuseWith(refusal, reply)
}

fn page(stream: &Stream, refusal: &Refusal) -> Reply {
    let own = stream.text(":path").starts_with(OWN_PREFIX);
    let (heading, link) = match refusal.status {
        401 => ("Please sign in", Some(("Sign in", "/_lockgate/sign-in"))),
        403 if refusal.reason == "not_allowed" || refusal.reason == "denied" => {
            ("Not allowed", Some(("Sign in as somebody else", "/_lockgate/sign-out")))
        }
        403 => ("Not allowed", None),
        503 => ("Not now", None),
        _ if own => ("The sign-in did not work", Some(("Try again", "/"))),
        _ => ("The request cannot be taken", None),
    };
    pages::refusal(refusal.status, heading, refusal.sentence, link, &stream.request_id())
}

/// Only `invalid_token` makes a program refresh; a plain challenge says that a token is wanted at all.
fn challenge(refusal: &Refusal) -> Option<String> {
    let error = match (refusal.status, refusal.reason) {
        (401, "no_credentials" | "no_session") => "",
        (401, _) => ", error=\"invalid_token\"",
        (403, "missing_scope") => ", error=\"insufficient_scope\"",
        _ => return None,
    };
    Some(["Bearer realm=\"lockgate\"", error].concat())
}

/// A token that is not good here.
pub fn invalid_token(reason: &'static str) -> Refusal {
    Refusal { status: 401, reason, sentence: "The token is not valid here." }
}

/// Nothing came that says who it is.
pub const NO_CREDENTIALS: Refusal =
    Refusal { status: 401, reason: "no_credentials", sentence: "Please sign in, or bring a token." };

/// A form of a session that is over. It is not sent on, and not to the provider either.
pub const NO_SESSION: Refusal = Refusal {
    status: 401,
    reason: "no_session",
    sentence: "Your session has ended, and what you sent was not taken. Please sign in and send it again.",
};

/// Two headers that each say who it is.
pub const REPEATED_HEADER: Refusal =
    Refusal { status: 401, reason: "repeated_header", sentence: "The authorization header stands twice." };

/// Two session cookies.
pub const REPEATED_COOKIE: Refusal =
    Refusal { status: 400, reason: "repeated_cookie", sentence: "The session cookie stands twice." };

/// No token is taken here.
pub const NO_TOKENS: Refusal =
    Refusal { status: 401, reason: "tokens_not_accepted", sentence: "Tokens are not accepted here." };

/// A token that names nobody.
pub const NO_SUBJECT: Refusal =
    Refusal { status: 401, reason: "token_subject", sentence: "The token is not valid here." };

/// A rule or policy denies.
pub const DENIED: Refusal =
    Refusal { status: 403, reason: "denied", sentence: "You are signed in, but you may not do this." };

/// No rule or policy allows.
pub const NOT_ALLOWED: Refusal =
    Refusal { status: 403, reason: "not_allowed", sentence: "You are signed in, but you may not do this." };

/// The token would do, but for its scopes.
pub const MISSING_SCOPE: Refusal =
    Refusal { status: 403, reason: "missing_scope", sentence: "The token's scopes do not allow this." };

/// A path that is another one to some upstreams.
pub const AMBIGUOUS_PATH: Refusal =
    Refusal { status: 400, reason: "ambiguous_path", sentence: "The path cannot be resolved." };

/// A page of another site asks for a change.
pub const CROSS_ORIGIN: Refusal = Refusal {
    status: 403,
    reason: "cross_origin",
    sentence: "This must be asked from this site's own page.",
};

/// An address of the door's that does not exist.
pub const NO_PAGE: Refusal = Refusal { status: 404, reason: "no_page", sentence: "There is no such page." };

/// A method that an address of the door's does not take.
pub const WRONG_METHOD: Refusal =
    Refusal { status: 405, reason: "wrong_method", sentence: "This address does not take that method." };

/// Discovery, keys or tokens of a provider cannot be had.
pub const PROVIDER_DOWN: Refusal = Refusal {
    status: 503,
    reason: "provider_unavailable",
    sentence: "The sign-in service does not answer right now. Please try again.",
};

/// Introspection or tokeninfo cannot be had.
pub const ISSUER_DOWN: Refusal =
    Refusal { status: 503, reason: "issuer_unavailable", sentence: "Tokens cannot be checked right now." };

/// Keys for tokens cannot be had.
pub const NO_KEYS: Refusal =
    Refusal { status: 503, reason: "no_keys", sentence: "Tokens cannot be checked right now." };

/// The cookie secret cannot be had.
pub const NO_SECRET: Refusal =
    Refusal { status: 503, reason: "no_secret", sentence: "Sessions cannot be checked right now." };

/// The proxy has no randomness.
pub const NO_RANDOM: Refusal =
    Refusal { status: 503, reason: "no_randomness", sentence: "Signing in is not possible right now." };

/// That a session is over cannot be written down.
pub const NO_STORE: Refusal =
    Refusal { status: 503, reason: "not_revoked", sentence: "Signing out is not possible right now." };

/// The assertion cannot be signed.
pub const NO_ASSERTION: Refusal =
    Refusal { status: 503, reason: "no_assertion", sentence: "The request cannot be passed on right now." };
