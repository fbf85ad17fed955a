//! The door in front of everything that may stand behind it: pages, a group's pages, an API for another
//! origin, webhooks, and the queue with its playback.

use serde_json::{Value, json};

use crate::builder::Builder;
use crate::door::{door_config, door_stack, public_url};
use crate::hostile_provider::HostileProvider;
use crate::http1::{Request, Response};
use crate::oidc_provider::CLIENT_ID;
use crate::stack::Stack;
use crate::user_agent::{Page, UserAgent};

/// The audience of tokens for this door.
pub const AUDIENCE: &str = "https://door.e2e.example";
/// The origin whose pages may call `/api`.
pub const OTHER_ORIGIN: &str = "https://dashboard.example.com";

/// The headers that say who somebody is, each with the claim in it. The last one's claim is nobody's.
pub const IDENTITY: [(&str, &str); 6] = [
    ("x-lockgate-subject", "sub"),
    ("x-lockgate-email", "email"),
    ("x-user-email", "email"),
    ("x-auth-request-groups", "groups"),
    ("remote-user", "sub"),
    ("x-user-department", "department"),
];

/// A configuration in which this provider signs people in, and its tokens for [`AUDIENCE`] and its
/// opaque ones, by tokeninfo, let programs in. Everybody it knows may come in, but only `admins` to
/// `/admin`, and the group `staff` may read `/reports` and not write them.
///
/// Routes, in this order: `/slack` (Slack's signature, to the queue), `/public` (open), `/admin`,
/// `/api` (for [`OTHER_ORIGIN`], too), `/zapier` and `/wal` (to the queue), `/wal-playback` (the
/// queue's own), and everything else.
pub fn guarded_config(provider: &HostileProvider, change: impl FnOnce(&mut Value)) -> String {
    door_config(provider.issuer(), |config| {
        config["log"] = json!({
            "topic": "${PUBSUB_TOPIC}",
            "dead_letter_topic": "${DEAD_LETTER_TOPIC}",
            "key": {"env": "LOG_KEY"},
            "push": {
                "audience": "${PUSH_AUDIENCE}",
                "service_account": "${PUSH_SERVICE_ACCOUNT}",
                "issuer": "${PUSH_ISSUER}",
                "jwks_uri": "${GOOGLE_API_BASE}/oauth2/v3/certs",
            },
        });
        config["sign_in"]["headers"] = IDENTITY.into_iter().collect();
        config["sign_in"]["tokens"] = json!({
            "jwt": [{"issuer": provider.issuer(), "audiences": [AUDIENCE]}],
            "google": {"client_ids": [CLIENT_ID], "tokeninfo": provider.url("/tokeninfo"), "cache": "1s"},
        });
        config["sign_in"]["policies"] = json!([
            {"effect": "allow", "anyone": true},
            {"effect": "deny", "match": {"path_prefix": "/reports"}, "actions": ["write"],
             "groups": ["staff"]},
        ]);
        config["routes"] = json!([
            {"name": "slack", "match": {"path_prefix": "/slack"}, "guard": "slack",
             "enqueue": {"reply": "empty"}},
            {"name": "public", "match": {"path_prefix": "/public"}, "guard": "public"},
            {"name": "admin", "match": {"path_prefix": "/admin"}, "guard": "oidc",
             "allow": [{"groups": ["admins"]}]},
            {"name": "api", "match": {"path_prefix": "/api"}, "guard": "oidc",
             "cors": {"origins": [OTHER_ORIGIN], "credentials": true, "max_age": "10m"}},
            {"name": "zapier", "match": {"path_prefix": "/zapier"}, "guard": "oidc", "adapter": {"$ptr": ""},
             "enqueue": {"strip_prefix": "/zapier", "reply": "accepted"}},
            {"name": "wal", "match": {"path_prefix": "/wal"}, "guard": "oidc",
             "enqueue": {"strip_prefix": "/wal", "reply": "accepted"}},
            {"name": "wal-playback", "match": {"path": "/wal-playback", "methods": ["POST"]},
             "guard": "push"},
            {"name": "rest", "match": {"path_prefix": "/"}, "guard": "oidc"},
        ]);
        change(config);
    })
}

/// A stack of [`guarded_config`].
pub fn guarded_stack(provider: &HostileProvider, change: impl FnOnce(&mut Value)) -> Builder {
    door_stack(&guarded_config(provider, change))
}

/// A browser in which whoever the provider names has signed in.
///
/// # Panics
/// When nobody has.
pub async fn signed_in(stack: &Stack) -> UserAgent {
    let mut agent = UserAgent::new();
    let page = sign_in(stack, &mut agent).await;
    assert_eq!(page.response.status, 302, "{}: {}", page.url, page.response.text());
    agent
}

/// Signs in with this browser, at a provider that asks nothing, and returns the door's answer to the
/// way back: a redirect to `/`, which is not followed, or a refusal.
pub async fn sign_in(stack: &Stack, agent: &mut UserAgent) -> Page {
    let start = format!("{}/_lockgate/sign-in", public_url(stack));
    agent.follow_until(&start, |url| url.path() == "/").await
}

/// A request as a browser makes it to show a page.
pub fn navigation(target: &str) -> Request {
    Request::get(target)
        .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
        .header("sec-fetch-site", "none")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
}

/// The same request with a bearer token.
pub fn with_token(request: Request, token: &str) -> Request {
    request.header("authorization", format!("Bearer {token}"))
}

/// The same request with a browser's cookies for the door.
pub fn with_cookies(stack: &Stack, agent: &UserAgent, request: Request) -> Request {
    let url = crate::url::Url::parse(&format!("{}{}", public_url(stack), "/"));
    match agent.jar.header(&url) {
        Some(cookies) => request.header("cookie", cookies),
        None => request,
    }
}

/// What is wrong with an answer that must tell a program to fetch another token: RFC 6750, section 3.
pub fn no_invalid_token(answer: &Response) -> Option<String> {
    let challenges = answer.headers.all("www-authenticate");
    let fits = |value: &&[u8]| {
        value.starts_with(b"Bearer ") && crate::http1::contains(value, "error=\"invalid_token\"")
    };
    let good = answer.status == 401 && challenges.len() == 1 && challenges.iter().all(fits);
    (!good).then(|| format!("{} {:?} {}", answer.status, answer.headers, answer.text()))
}

/// Lines of the gateway's log, from a position on, that say that a filter's machine has ended.
pub fn traps(stack: &Stack, since: usize) -> Vec<String> {
    let trapped = |line: &String| {
        ["panicked", "Function: proxy_on", "VM failed", "[critical]", "Uncaught RuntimeError"]
            .iter()
            .any(|t| line.contains(t))
    };
    stack.gateway_log().since(since).into_iter().filter(trapped).collect()
}
