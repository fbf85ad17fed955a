//! A rule's settings as written → as used.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::http::is_token_byte;
use lockgate_common::public_url::PublicUrl;
use lockgate_common::rules::Match;

use crate::parked::Limits;
use crate::sessions::{self, SessionCookie};

/// What a rule does with the requests that meet it.
pub struct Settings {
    /// Whose requests they are.
    pub role: Role,
    /// Properties that must be there: the marks of the filters that must have let the request pass.
    pub marks: Vec<String>,
    /// What its clients hold in the place of the backend's own cookies.
    pub session_cookie: Option<SessionCookie>,
    /// Largest body, in bytes: of a client's request, or of the message in which an agent brings an answer.
    pub max_body_bytes: usize,
    /// Longest time until an agent fetches a request, in milliseconds.
    pub fetch_ms: u64,
    /// Longest time from then until it brings the answer, in milliseconds.
    pub response_ms: u64,
    /// Longest time that an agent's question for requests waits, in milliseconds.
    pub poll_ms: u64,
}

/// Whose requests a rule is for.
pub enum Role {
    /// Of clients, for this backend.
    Client(String),
    /// Of agents, which may speak for these backends.
    Agent(Vec<String>),
}

/// The fields of a rule.
pub const SETTINGS: &[&str] = &[
    "match",
    "backend",
    "agent_of",
    "after",
    "session_cookie",
    "max_body_bytes",
    "fetch_ms",
    "response_ms",
    "poll_ms",
];

/// The fields of `limits`.
const LIMITS: &[&str] = &["parked", "parked_bytes", "polls", "sessions", "session_bytes"];

/// Reads `limits`. Together they stay below what may wait for the root of a worker.
pub fn limits(document: &Fields<'_>) -> Result<Limits, ConfigError> {
    let fields = document.object("limits", LIMITS)?;
    Ok(Limits {
        parked: fields.number("parked", 1, 384, 256)? as usize,
        parked_bytes: fields.number("parked_bytes", 1, 256 << 20, 32 << 20)? as usize,
        polls: fields.number("polls", 1, 96, 64)? as usize,
    })
}

/// Reads what of `limits` is about sessions.
pub fn session_limits(document: &Fields<'_>) -> Result<sessions::Limits, ConfigError> {
    let fields = document.object("limits", LIMITS)?;
    Ok(sessions::Limits {
        sessions: fields.number("sessions", 1, 10_000, 1_000)? as usize,
        bytes: fields.number("session_bytes", 64 << 10, 64 << 20, 16 << 20)? as usize,
    })
}

/// Reads all rules.
pub fn rules(document: &Fields<'_>) -> Result<Vec<(Match, Settings)>, ConfigError> {
    let mut rules = Vec::new();
    for (path, rule) in document.list("rules")? {
        let fields = Fields::new(rule, &path, SETTINGS)?;
        let matches =
            Match::from_config(fields.required("match", "what the rule is for")?, &fields.join("match"))?;
        let after = fields.texts("after")?;
        let agent = fields.texts("agent_of")?;
        let role = match (fields.optional_text("backend")?, agent.is_empty()) {
            (Some(backend), true) => Role::Client(backend),
            (None, false) => Role::Agent(agent),
            _ => return Err(fields.error("backend", "exactly one of backend and agent_of")),
        };
        let (field, names): (_, &[String]) = match &role {
            Role::Client(backend) => ("backend", std::slice::from_ref(backend)),
            Role::Agent(backends) => ("agent_of", backends),
        };
        if !names.iter().all(|name| is_backend_id(name)) {
            return Err(fields.error(field, "ids of backends: letters, digits and -_. alone, at most 100"));
        }
        // Whoever is taken for the agent reads the requests of others and answers them.
        if matches!(role, Role::Agent(_)) && after.is_empty() {
            return Err(fields.error("after", "the filter that knows the agent, as [\"oidc\"]"));
        }
        let session_cookie = match &role {
            Role::Client(_) => session_cookie(document, &fields)?,
            Role::Agent(_) if fields.optional("session_cookie").is_none() => None,
            Role::Agent(_) => return Err(fields.error("session_cookie", "none beside agent_of")),
        };
        let settings = Settings {
            role,
            session_cookie,
            marks: after.iter().map(|filter| mark(filter)).collect(),
            max_body_bytes: fields.number("max_body_bytes", 1, 64 << 20, 1 << 20)? as usize,
            fetch_ms: fields.number("fetch_ms", 100, 300_000, 30_000)?,
            response_ms: fields.number("response_ms", 100, 3_600_000, 60_000)?,
            poll_ms: fields.number("poll_ms", 100, 50_000, 30_000)?,
        };
        rules.push((matches, settings));
    }
    served(document, &rules)?;
    one_session(document, &rules)?;
    Ok(rules)
}

/// A name of ours that a prefix of the browsers' begins would not be taken from everywhere.
fn session_cookie(document: &Fields<'_>, fields: &Fields<'_>) -> Result<Option<SessionCookie>, ConfigError> {
    let Some(name) = fields.optional_text("session_cookie")? else { return Ok(None) };
    let url = PublicUrl::from_config(document, true)?;
    let expected =
        "a cookie name of at most 64 letters, digits, hyphens and underscores, not __ at its start";
    match url.cookie_name(&name).filter(|_| name.len() <= 64 && !name.starts_with("__")) {
        Some(name) => Ok(Some(SessionCookie { name, secure: url.secure })),
        None => Err(fields.error("session_cookie", expected)),
    }
}

/// A client holds one cookie of a name. Where it opened sessions of two owners in turn, each answer of the one
/// would end the other.
fn one_session(document: &Fields<'_>, rules: &[(Match, Settings)]) -> Result<(), ConfigError> {
    for (index, (_, settings)) in rules.iter().enumerate() {
        let clash = |(_, other): &(Match, Settings)| {
            let same =
                matches!((&settings.role, &other.role), (Role::Client(one), Role::Client(two)) if one == two);
            settings.session_cookie.is_some()
                && settings.session_cookie == other.session_cookie
                && !(same && settings.marks == other.marks)
        };
        if rules.iter().take(index).any(clash) {
            let expected =
                "a session_cookie of its own for each backend, and for the same with and without after";
            return Err(document.error("rules", expected));
        }
    }
    Ok(())
}

/// A backend that no agent may speak for would keep its clients waiting for nothing.
fn served(document: &Fields<'_>, rules: &[(Match, Settings)]) -> Result<(), ConfigError> {
    let served = |name: &String| {
        rules.iter().any(|(_, other)| matches!(&other.role, Role::Agent(names) if names.contains(name)))
    };
    for (_, settings) in rules {
        if let Role::Client(name) = &settings.role
            && !served(name)
        {
            return Err(document.error("rules", &["a rule with agent_of: [\"", name, "\"]"].concat()));
        }
    }
    Ok(())
}

/// An id as it stands in a header and in a log line.
fn is_backend_id(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name
            .bytes()
            .all(|byte| is_token_byte(byte) && (byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)))
}

/// The property by which a filter says that it let a request pass.
fn mark(filter: &str) -> String {
    ["lockgate_", &filter.replace('-', "_")].concat()
}

#[cfg(test)]
mod tests {
    use lockgate_common::config::document;
    use lockgate_common::json::Json;

    use super::*;

    fn line(text: &str) -> String {
        let url = r#""public_url":"https://app.example.com","#;
        let text = [r#"{"version":1,"#, url, r#""rules":["#, text, "]}"].concat();
        let document = document(Json::parse(text.as_bytes()).unwrap(), &["limits", "public_url"]).unwrap();
        rules(&document).err().map_or_else(String::new, |error| error.line())
    }

    const AGENT: &str = r#"{"match":{"path_prefix":"/agent"},"agent_of":["a"],"after":["oidc"]}"#;

    #[test]
    fn a_backend_has_an_agent_and_an_agent_has_a_guard() {
        let client = r#"{"match":{"path_prefix":"/"},"backend":"a"}"#;
        assert_eq!(line(&[AGENT, ",", client].concat()), "");
        assert!(line(client).ends_with(r#"expected a rule with agent_of: ["a"]"#), "{}", line(client));
        let open = r#"{"match":{"path_prefix":"/agent"},"agent_of":["a"]}"#;
        assert!(line(open).starts_with("rules[0].after: "), "{}", line(open));
    }

    #[test]
    fn a_session_cookie_has_a_plain_name_and_one_owner() {
        let client = |path: &str, more: &str| {
            [r#"{"match":{"path_prefix":""#, path, r#""},"backend":"a""#, more, "}"].concat()
        };
        let said = |rules: &[String]| line(&[&[AGENT.to_owned()], rules].concat().join(","));
        assert_eq!(said(&[client("/", r#","session_cookie":"a_session""#)]), "");
        for name in ["", "a.b", "a b", "a;b", "__Host-a", &"x".repeat(65)] {
            let said = said(&[client("/", &[r#","session_cookie":""#, name, "\""].concat())]);
            assert!(said.starts_with("rules[1].session_cookie: "), "{said}");
        }
        let rule = AGENT.replace("}}", "}").replace(r#""after""#, r#""session_cookie":"s","after""#);
        assert!(line(&rule).starts_with("rules[0].session_cookie: "), "{}", line(&rule));

        let (open, guarded) = (r#","session_cookie":"s""#, r#","session_cookie":"s","after":["oidc"]"#);
        assert_eq!(said(&[client("/a", open), client("/b", open)]), "");
        assert_eq!(said(&[client("/a", guarded), client("/b", guarded)]), "");
        assert!(said(&[client("/a", open), client("/b", guarded)]).contains("a session_cookie of its own"));
        let other = client("/b", open).replace(r#""backend":"a""#, r#""backend":"b""#);
        let agents = AGENT.replace(r#"["a"]"#, r#"["a","b"]"#);
        assert!(line(&[agents, client("/a", open), other].join(",")).contains("a session_cookie of its own"));
    }

    #[test]
    fn a_session_cookie_needs_to_know_the_scheme() {
        for (url, name) in [
            (r#""public_url":"https://app.example.com","#, Some(("__Host-s", true))),
            (r#""public_url":"http://127.0.0.1:8080","#, Some(("s", false))),
            (r#""public_url":"http://app.example.com","#, None),
            ("", None),
        ] {
            let rule = r#"{"match":{"path":"/"},"backend":"a","session_cookie":"s"}"#;
            let text = [r#"{"version":1,"#, url, r#""rules":["#, AGENT, ",", rule, "]}"].concat();
            let document =
                document(Json::parse(text.as_bytes()).unwrap(), &["limits", "public_url"]).unwrap();
            match (rules(&document), name) {
                (Ok(rules), Some((name, secure))) => {
                    let cookie = SessionCookie { name: name.to_owned(), secure };
                    assert_eq!(rules[1].1.session_cookie, Some(cookie), "{url}");
                }
                (Err(error), None) => assert_eq!(error.field, "public_url"),
                _ => panic!("{url}"),
            }
        }
    }

    #[test]
    fn a_rule_is_for_clients_or_for_agents() {
        for rule in [
            r#"{"match":{"path":"/"},"backend":"a","agent_of":["a"],"after":["oidc"]}"#,
            r#"{"match":{"path":"/"},"after":["oidc"]}"#,
            r#"{"match":{"path":"/"},"backend":"a b"}"#,
        ] {
            assert!(line(rule).starts_with("rules[0].backend: "), "{}", line(rule));
        }
    }
}
