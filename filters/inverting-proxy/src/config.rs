//! A rule's settings as written → as used.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::http::is_token_byte;
use lockgate_common::rules::Match;

use crate::parked::Limits;

/// What a rule does with the requests that meet it.
pub struct Settings {
    /// Whose requests they are.
    pub role: Role,
    /// Properties that must be there: the marks of the filters that must have let the request pass.
    pub marks: Vec<String>,
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
pub const SETTINGS: &[&str] =
    &["match", "backend", "agent_of", "after", "max_body_bytes", "fetch_ms", "response_ms", "poll_ms"];

/// Reads `limits`. Together they stay below what may wait for the root of a worker.
pub fn limits(document: &Fields<'_>) -> Result<Limits, ConfigError> {
    let fields = document.object("limits", &["parked", "parked_bytes", "polls"])?;
    Ok(Limits {
        parked: fields.number("parked", 1, 384, 256)? as usize,
        parked_bytes: fields.number("parked_bytes", 1, 256 << 20, 32 << 20)? as usize,
        polls: fields.number("polls", 1, 96, 64)? as usize,
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
        let settings = Settings {
            role,
            marks: after.iter().map(|filter| mark(filter)).collect(),
            max_body_bytes: fields.number("max_body_bytes", 1, 64 << 20, 1 << 20)? as usize,
            fetch_ms: fields.number("fetch_ms", 100, 300_000, 30_000)?,
            response_ms: fields.number("response_ms", 100, 3_600_000, 60_000)?,
            poll_ms: fields.number("poll_ms", 100, 50_000, 30_000)?,
        };
        rules.push((matches, settings));
    }
    served(document, &rules)?;
    Ok(rules)
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
        let text = [r#"{"version":1,"rules":["#, text, "]}"].concat();
        let document = document(Json::parse(text.as_bytes()).unwrap(), &["limits"]).unwrap();
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
