//! The rules' settings and the list of backends as written → as used.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::rules::Match;

use crate::definition::{self, CONFIGURED, Definition, Terms, is_id};
use crate::health::Check;
use crate::parked::Limits;
use crate::registry::MAX_BACKENDS;
use crate::session_cookie::SessionCookie;
use crate::sessions;

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
    /// Of clients.
    Client(To),
    /// Of agents.
    Agent(Agents),
    /// Of administrators.
    Admin,
}

/// Which backend clients' requests are for.
pub enum To {
    /// This one.
    Backend(String),
    /// One that is chosen by who sends it, and by its path.
    ByUser,
}

/// Whom agents may speak for.
pub enum Agents {
    /// For these backends.
    Of(Vec<String>),
    /// For each backend that has their account.
    Registered,
}

/// The fields of a rule.
pub const SETTINGS: &[&str] = &[
    "match",
    "backend",
    "choose",
    "agent_of",
    "agents",
    "admin",
    "after",
    "session_cookie",
    "max_body_bytes",
    "fetch_ms",
    "response_ms",
    "poll_ms",
];

/// The fields of a backend.
pub const BACKEND: &[&str] = &["id", "end_user", "backend_user", "path_prefixes", "health"];

/// The fields of `limits`.
const LIMITS: &[&str] = &["parked", "parked_bytes", "polls", "sessions", "session_bytes"];

type Rule = (Match, Settings);

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

/// The cookies that clients may hold for sessions.
pub fn session_cookies(rules: &[Rule]) -> Vec<String> {
    rules.iter().filter_map(|(_, settings)| Some(settings.session_cookie.as_ref()?.name.clone())).collect()
}

/// Reads all rules, and all backends: those that are listed, and those that rules alone name.
pub fn read(document: &Fields<'_>) -> Result<(Vec<Rule>, Vec<Definition>), ConfigError> {
    let rules = rules(document)?;
    let mut backends = backends(document, &rules)?;
    served(document, &rules, &backends)?;
    for (_, settings) in &rules {
        let ids: &[String] = match &settings.role {
            Role::Client(To::Backend(id)) => std::slice::from_ref(id),
            Role::Agent(Agents::Of(ids)) => ids,
            Role::Client(To::ByUser) | Role::Agent(Agents::Registered) | Role::Admin => &[],
        };
        for id in ids {
            if !backends.iter().any(|backend| backend.id == *id) {
                backends.push(Definition { id: id.clone(), terms: None, check: None });
            }
        }
    }
    if backends.len() > MAX_BACKENDS {
        return Err(document.error("backends", "at most 256 with those that rules name"));
    }
    Ok((rules, backends))
}

fn rules(document: &Fields<'_>) -> Result<Vec<Rule>, ConfigError> {
    let mut rules = Vec::new();
    for (path, rule) in document.list("rules")? {
        let fields = Fields::new(rule, &path, SETTINGS)?;
        let matches =
            Match::from_config(fields.required("match", "what the rule is for")?, &fields.join("match"))?;
        let after = fields.texts("after")?;
        let role = role(&fields)?;
        // Whoever is taken for the agent reads the requests of others and answers them.
        if !matches!(role, Role::Client(To::Backend(_))) && after.is_empty() {
            return Err(fields.error("after", "the filter that knows who it is, as [\"oidc\"]"));
        }
        let session_cookie = SessionCookie::read(document, &fields)?;
        if !matches!(role, Role::Client(_)) && session_cookie.is_some() {
            return Err(fields.error("session_cookie", "none but beside backend or choose"));
        }
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
    one_session(document, &rules)?;
    Ok(rules)
}

/// A client holds one cookie of a name. Where it were known on one way and a stranger on the other, each would begin
/// a session of its own and end the other's.
fn one_session(document: &Fields<'_>, rules: &[Rule]) -> Result<(), ConfigError> {
    let clashes = |(index, (_, settings)): (usize, &Rule)| {
        settings.session_cookie.is_some()
            && rules.iter().take(index).any(|(_, other)| {
                other.session_cookie == settings.session_cookie && other.marks != settings.marks
            })
    };
    match rules.iter().enumerate().any(clashes) {
        true => Err(document.error("rules", "another session_cookie for rules with another after")),
        false => Ok(()),
    }
}

fn role(fields: &Fields<'_>) -> Result<Role, ConfigError> {
    let word = |name: &str, only: &str| match fields.optional_text(name)? {
        Some(text) if text != only => Err(fields.error(name, only)),
        text => Ok(text.is_some()),
    };
    let (backend, agent_of) = (fields.optional_text("backend")?, fields.texts("agent_of")?);
    let mut roles = Vec::new();
    if word("choose", "by_user")? {
        roles.push(Role::Client(To::ByUser));
    }
    if word("agents", "registered")? {
        roles.push(Role::Agent(Agents::Registered));
    }
    if fields.flag("admin", false)? {
        roles.push(Role::Admin);
    }
    let ids = "ids of backends: letters, digits and -_. alone, at most 100";
    if let Some(id) = backend {
        if !is_id(&id) {
            return Err(fields.error("backend", ids));
        }
        roles.push(Role::Client(To::Backend(id)));
    }
    if !agent_of.is_empty() {
        if !agent_of.iter().all(|id| is_id(id)) {
            return Err(fields.error("agent_of", ids));
        }
        roles.push(Role::Agent(Agents::Of(agent_of)));
    }
    match (roles.pop(), roles.is_empty()) {
        (Some(role), true) => Ok(role),
        _ => Err(fields.error("backend", "exactly one of backend, choose, agent_of, agents and admin")),
    }
}

fn backends(document: &Fields<'_>, rules: &[Rule]) -> Result<Vec<Definition>, ConfigError> {
    let mut backends: Vec<Definition> = Vec::new();
    for (path, backend) in document.list("backends")? {
        let fields = Fields::new(backend, &path, BACKEND)?;
        let id = definition::id(&fields)?;
        if backends.iter().any(|other| other.id == id) {
            return Err(fields.error("id", "each id once"));
        }
        let registered = CONFIGURED.iter().any(|name| fields.optional(name).is_some());
        let terms = registered.then(|| Terms::read(&fields, &CONFIGURED)).transpose()?;
        let check = Check::read(&fields)?;
        if terms.is_none() && check.is_none() {
            return Err(fields.error("end_user", "end_user, backend_user and path_prefixes, or health"));
        }
        // Its agent is the one of its account, and of no other way in.
        if terms.is_some() && has_agent(rules, &id) {
            return Err(fields.error("backend_user", "none for a backend that a rule is agent_of"));
        }
        backends.push(Definition { id, terms, check });
    }
    Ok(backends)
}

/// Whether a rule is for agents of just this backend.
fn has_agent(rules: &[Rule], id: &String) -> bool {
    rules.iter().any(|(_, rule)| matches!(&rule.role, Role::Agent(Agents::Of(ids)) if ids.contains(id)))
}

/// A backend that no agent may speak for would keep its clients waiting for nothing.
fn served(document: &Fields<'_>, rules: &[Rule], backends: &[Definition]) -> Result<(), ConfigError> {
    let registered = rules.iter().any(|(_, rule)| matches!(rule.role, Role::Agent(Agents::Registered)));
    let of_account =
        |id: &String| backends.iter().any(|backend| backend.id == *id && backend.terms.is_some());
    let agent_of =
        |id: &str| Err(document.error("rules", &["a rule with agent_of: [\"", id, "\"]"].concat()));
    for (_, settings) in rules {
        match &settings.role {
            Role::Client(To::Backend(id)) if !has_agent(rules, id) && !of_account(id) => return agent_of(id),
            Role::Client(To::ByUser) | Role::Admin if !registered => return no_agents(document),
            Role::Client(_) | Role::Agent(_) | Role::Admin => {}
        }
    }
    for backend in backends {
        match &backend.terms {
            Some(_) if !registered => return no_agents(document),
            None if !has_agent(rules, &backend.id) => return agent_of(&backend.id),
            Some(_) | None => {}
        }
    }
    Ok(())
}

fn no_agents(document: &Fields<'_>) -> Result<(), ConfigError> {
    Err(document.error("rules", "a rule with agents: registered"))
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
        listed(text, "[]")
    }

    fn listed(text: &str, backends: &str) -> String {
        let url = r#""public_url":"https://app.example.com","#;
        let text =
            [r#"{"version":1,"#, url, r#""rules":["#, text, r#"],"backends":"#, backends, "}"].concat();
        let document =
            document(Json::parse(text.as_bytes()).unwrap(), &["limits", "backends", "public_url"]).unwrap();
        read(&document).err().map_or_else(String::new, |error| error.line())
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
    fn a_session_cookie_is_one_for_clients_that_are_known_alike() {
        let client = |path: &str, more: &str| {
            [r#"{"match":{"path_prefix":""#, path, r#""},"backend":"a""#, more, "}"].concat()
        };
        let said = |rules: &[String]| line(&[&[AGENT.to_owned()], rules].concat().join(","));
        let rule = AGENT.replace(r#""after""#, r#""session_cookie":"s","after""#);
        assert!(line(&rule).starts_with("rules[0].session_cookie: "), "{}", line(&rule));
        let (open, guarded) = (r#","session_cookie":"s""#, r#","session_cookie":"s","after":["oidc"]"#);
        assert_eq!(said(&[client("/a", open), client("/b", open), client("/c", r#","after":["oidc"]"#)]), "");
        assert_eq!(said(&[client("/a", guarded), client("/b", guarded)]), "");
        assert!(said(&[client("/a", open), client("/b", guarded)]).contains("another session_cookie"));
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

    const REGISTERED: &str =
        r#"{"match":{"path_prefix":"/mine/agent"},"agents":"registered","after":["oidc"]}"#;
    const CHOOSE: &str = r#"{"match":{"path_prefix":"/"},"choose":"by_user","after":["oidc"]}"#;
    const TERMS: &str = r#"{"id":"evas","end_user":"eva@example.com","backend_user":"agent@example.com","path_prefixes":["/"]}"#;

    #[test]
    fn what_depends_on_who_it_is_has_a_guard_and_agents() {
        assert_eq!(listed(&[REGISTERED, ",", CHOOSE].concat(), &["[", TERMS, "]"].concat()), "");
        let admin = r#"{"match":{"path_prefix":"/api/backends"},"admin":true,"after":["oidc"]}"#;
        assert_eq!(line(&[REGISTERED, ",", CHOOSE, ",", admin].concat()), "");
        for rule in [REGISTERED, CHOOSE, admin] {
            let open = rule.replace(r#","after":["oidc"]"#, "");
            assert!(line(&open).starts_with("rules[0].after: "), "{}", line(&open));
        }
        for rule in [CHOOSE, admin] {
            assert!(line(rule).ends_with("expected a rule with agents: registered"), "{}", line(rule));
        }
        let said = listed(AGENT, &["[", TERMS, "]"].concat());
        assert!(said.ends_with("expected a rule with agents: registered"), "{said}");
        assert!(
            line(&CHOOSE.replace("by_user", "by_mood")).starts_with("rules[0].choose: given \"by_mood\"")
        );
    }

    #[test]
    fn a_listed_backend_says_whose_it_is_or_how_it_is_looked_at() {
        let rules = [REGISTERED, ",", AGENT].concat();
        let checked = r#"{"id":"a","health":{"path":"/"}}"#;
        assert_eq!(listed(&rules, &["[", TERMS, ",", checked, "]"].concat()), "");
        for (backend, expected) in [
            (r#"{"id":"a"}"#, "backends[0].end_user: given nothing, expected end_user, "),
            (
                r#"{"id":"a","end_user":"allUsers"}"#,
                "backends[0].backend_user: given nothing, expected the e-mail",
            ),
            (r#"{"id":"a b","health":{"path":"/"}}"#, "backends[0].id: given \"a b\", expected letters"),
            (&TERMS.replace("evas", "a"), "backends[0].backend_user: "),
            (&[TERMS, ",", TERMS].concat(), "backends[1].id: given \"evas\", expected each id once"),
            (r#"{"id":"b","health":{"path":"/"}}"#, "rules: "),
        ] {
            let said = listed(&rules, &["[", backend, "]"].concat());
            assert!(said.starts_with(expected), "{said}");
        }
        let many = (0..256).map(|n| TERMS.replace("evas", &n.to_string())).collect::<Vec<_>>().join(",");
        assert_eq!(listed(REGISTERED, &["[", &many, "]"].concat()), "");
        assert!(listed(&rules, &["[", &many, "]"].concat()).contains("expected at most 256"));
    }

    #[test]
    fn a_route_may_lead_to_a_backend_that_has_an_account() {
        let route = r#"{"match":{"path_prefix":"/"},"backend":"evas"}"#;
        assert_eq!(listed(&[REGISTERED, ",", route].concat(), &["[", TERMS, "]"].concat()), "");
        assert!(line(&[REGISTERED, ",", route].concat()).ends_with(r#"agent_of: ["evas"]"#));
    }
}
