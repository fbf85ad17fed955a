//! Attacks on session cookies: nothing but what the door has sealed for this name, whole and once, is
//! a session, and no cookie of the door's goes further than the door.

use lockgate_e2e::siege::{Siege, Turn};
use lockgate_e2e::user_agent::UserAgent;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

#[path = "attacks_e_sessions/keys.rs"]
mod keys;
#[path = "attacks_e_sessions/refresh.rs"]
mod refresh;
#[path = "attacks_e_sessions/tampering.rs"]
mod tampering;
#[path = "attacks_e_sessions/upstream.rs"]
mod upstream;

/// The door of this file.
async fn door() -> Turn {
    static DOOR: OnceCell<Siege> = OnceCell::const_new();
    Turn::at(&DOOR, Siege::start(2, |_| {})).await
}

/// A person with so many bytes of groups.
fn person(subject: &str, bytes: usize) -> Value {
    let groups: Vec<_> = (0..bytes / 50).map(|number| format!("{subject}-{number:0>40}")).collect();
    json!({"sub": subject, "email": format!("{subject}@example.com"), "email_verified": true, "groups": groups})
}

/// The cookies of a session of this person, as pairs; the login's is not among them.
async fn session_of(door: &Siege, person: Value) -> Vec<(String, String)> {
    door.provider.set_person(person);
    let agent = door.signed_in().await;
    session_in(&agent)
}

/// The session's cookies in a browser, in order.
fn session_in(agent: &UserAgent) -> Vec<(String, String)> {
    let cookies = agent.jar.cookies().filter(|cookie| !cookie.name.starts_with("lockgate-login-"));
    let mut pairs: Vec<_> = cookies.map(|cookie| (cookie.name.clone(), cookie.value.clone())).collect();
    pairs.sort();
    pairs
}

/// As a `Cookie` header has them.
fn header<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let pairs: Vec<_> =
        pairs.iter().map(|(name, value)| format!("{}={}", name.as_ref(), value.as_ref())).collect();
    pairs.join("; ")
}
