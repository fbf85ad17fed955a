//! Attacks by header at the door: what it says to the upstream, nobody else can say; what it decides

use std::sync::OnceLock;

use lockgate_e2e::guarded_routes::{AUDIENCE, IDENTITY, guarded_stack, signed_in};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Recorded, Shared, Stack};
use serde_json::json;
use tokio::sync::OnceCell;

#[path = "attacks_b_door/credentials.rs"]
mod credentials;
#[path = "attacks_b_door/forged.rs"]
mod forged;
#[path = "attacks_b_door/ways.rs"]
mod ways;

fn provider() -> &'static HostileProvider {
    static PROVIDER: OnceLock<HostileProvider> = OnceLock::new();
    PROVIDER.get_or_init(HostileProvider::start)
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let builder = guarded_stack(provider(), |config| config["limits"] = json!({"header_count": 1024}));
    Shared::of(&STACK, builder).await
}

async fn staff(stack: &Stack) -> UserAgent {
    static AGENT: OnceCell<UserAgent> = OnceCell::const_new();
    AGENT.get_or_init(|| signed_in(stack)).await.clone()
}

/// A token of a program that has no group and no e-mail address.
fn program_token() -> String {
    provider().mint_access_token(AUDIENCE, "program-1").compact()
}

/// Every header by which the upstream is told something, and others of the same prefix.
fn told() -> Vec<&'static str> {
    let others = [
        "x-lockgate-assertion",
        "x-lockgate-principal",
        "x-lockgate-groups",
        "x-lockgate-message-id",
        "x-lockgate-delivery-attempt",
        "x-lockgate-oidc",
        "x-lockgate-",
    ];
    IDENTITY.iter().map(|(name, _)| *name).chain(others).collect()
}

/// What of a request at the upstream a client has made up: header fields that say or look like saying
/// who somebody is, but for those of `expected`.
fn made_up(request: &Recorded, expected: &[(&str, &str)]) -> Vec<String> {
    let plain = |name: &str| -> String {
        let sign = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        name.chars().map(sign).collect()
    };
    let fields = request.headers.pairs().map(|(name, value)| {
        (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned())
    });
    let suspicious = |name: &str| {
        plain(name).starts_with("x-lockgate-") || IDENTITY.iter().any(|(told, _)| plain(name) == *told)
    };
    let known = |name: &str, value: &str| {
        name == "x-lockgate-principal" || expected.iter().any(|(n, v)| *n == name && *v == value)
    };
    let mut made_up: Vec<String> = fields
        .filter(|(name, value)| suspicious(name) && !known(name, value) || value.contains("forged"))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    for (name, value) in expected {
        if request.headers.all(name) != [value.as_bytes()] {
            made_up.push(format!("{name} is {:?}", request.headers.all(name)));
        }
    }
    made_up
}

/// What the upstream is told of the provider's person.
const PERSON: [(&str, &str); 5] = [
    ("x-lockgate-subject", "person-1"),
    ("x-lockgate-email", "person@example.com"),
    ("x-user-email", "person@example.com"),
    ("x-auth-request-groups", "staff"),
    ("remote-user", "person-1"),
];
