//! Routes whose requests an agent fetches: the backend behind them has no address that the proxy could reach.

use std::time::Duration;

use inverting_proxy::definition::is_id;
use serde::Deserialize;

use super::backends::Backend;
use super::budgets::{Limits, seconds};
use super::login::COOKIE;
use super::problem::{Problem, Problems};
use super::raw::RawGuard;
use super::resolved::{Guard, Route};
use super::scalars::{Flag, Span, Texts};
use super::url::PublicUrl;

/// What a route has to do with an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invert {
    /// Its requests wait for the agent of a backend.
    Client(Client),
    /// Its requests are agents'.
    Agent(Agents),
    /// Its requests are administrators', who list, create and delete backends.
    Admin,
}

/// Requests that wait for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Which backend they are for.
    pub to: To,
    /// What they hold in the place of its cookies.
    pub session_cookie: Option<String>,
    /// Longest time until the agent fetches one.
    pub fetch: Duration,
    /// Longest time from then until it brings the answer.
    pub response: Duration,
}

/// Which backend clients' requests are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// That of this id, as its agent gives it.
    Backend(String),
    /// One that is chosen by who sends it, and by its path.
    ByUser,
}

/// Whom agents may speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agents {
    /// For these backends.
    Of(Vec<String>),
    /// For each backend that has their account.
    Registered,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {backend: reports} or {agent_of: [reports]}")]
pub(super) struct RawInvert {
    backend: Option<String>,
    choose: Option<String>,
    agent_of: Option<Texts>,
    agents: Option<String>,
    admin: Option<Flag>,
    session_cookie: Option<String>,
    fetch: Option<Span>,
    response: Option<Span>,
}

impl RawInvert {
    pub(super) fn is_client(&self) -> bool {
        self.backend.is_some() || self.choose.is_some()
    }

    /// Pages of other sites have no business there.
    pub(super) fn is_admin(&self) -> bool {
        self.admin.is_some()
    }

    /// Whoever is taken for the agent reads the requests of others and answers them, and administrators say who
    /// that is, so their routes say who may: they have `allow`.
    pub(super) fn resolve(self, field: &str, guard: RawGuard, allows: bool) -> Result<Invert, Problem> {
        let at = |name: &str| format!("{field}.{name}");
        let word = |name: &str, text: &str, only: &str| match text == only {
            true => Ok(()),
            false => Err(Problem::given(&at(name), text, only)),
        };
        let for_some = |name: &str, example: &str| match guard == RawGuard::Oidc && allows {
            true => Ok(()),
            false => {
                let expected = format!(
                    "expected guard: oidc and allow beside {name}, for example allow: [{{emails: [{example}]}}]"
                );
                Err(Problem::new(field, expected))
            }
        };
        const AGENT: &str = "agent@my-project.iam.gserviceaccount.com";
        let of_clients = self.session_cookie.is_some() || self.fetch.is_some() || self.response.is_some();
        let client = |to: To| {
            let span = |name: &str, span: Option<Span>, default: u64, most: u64| {
                let span = span.map_or(Duration::from_secs(default), |span| span.0);
                match (Duration::from_millis(100)..=Duration::from_secs(most)).contains(&span) {
                    true => Ok(span),
                    false => {
                        let expected = format!("between 0.1s and {most}s, for example {default}s");
                        Err(Problem::given(&at(name), seconds(span), &expected))
                    }
                }
            };
            Ok(Invert::Client(Client {
                to,
                session_cookie: self
                    .session_cookie
                    .map(|name| cookie(name, &at("session_cookie")))
                    .transpose()?,
                fetch: span("fetch", self.fetch, 30, 300)?,
                response: span("response", self.response, 60, 3_300)?,
            }))
        };
        match (self.backend, self.choose, self.agent_of, self.agents, self.admin) {
            (Some(backend), None, None, None, None) => {
                if !matches!(guard, RawGuard::Oidc | RawGuard::Public) {
                    return Err(Problem::new(field, "expected only beside guard: oidc or public"));
                }
                client(To::Backend(id(backend, &at("backend"))?))
            }
            (None, Some(choose), None, None, None) => {
                word("choose", &choose, "by_user")?;
                if guard != RawGuard::Oidc {
                    let expected = "expected guard: oidc beside choose, which knows who it is";
                    return Err(Problem::new(field, expected));
                }
                client(To::ByUser)
            }
            (None, None, Some(Texts(ids)), None, None) if !ids.is_empty() && !of_clients => {
                for_some("agent_of", AGENT)?;
                let ids = ids.into_iter().map(|text| id(text, &at("agent_of")));
                Ok(Invert::Agent(Agents::Of(ids.collect::<Result<_, _>>()?)))
            }
            (None, None, None, Some(agents), None) if !of_clients => {
                word("agents", &agents, "registered")?;
                for_some("agents", AGENT)?;
                Ok(Invert::Agent(Agents::Registered))
            }
            (None, None, None, None, Some(Flag(true))) if !of_clients => {
                for_some("admin", "alice@example.com")?;
                Ok(Invert::Admin)
            }
            _ => {
                let expected = "expected backend or choose (with session_cookie, fetch and response, if wanted), or agent_of, \
                                agents or admin alone, for example {backend: reports} or {agent_of: [reports]}";
                Err(Problem::new(field, expected))
            }
        }
    }
}

fn id(text: String, field: &str) -> Result<String, Problem> {
    match is_id(&text) {
        true => Ok(text),
        false => Err(Problem::given(field, text, "letters, digits, - _ and . alone, for example reports")),
    }
}

/// As the door's own, and never taken for one of those, which the door keeps from the backend.
fn cookie(name: String, field: &str) -> Result<String, Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with("__");
    match fits && !name.to_ascii_lowercase().starts_with(COOKIE) {
        true => Ok(name),
        false => {
            let expected = format!(
                "at most 64 letters, digits, - and _, beginning with neither __ nor {COOKIE}, for example \
                 reports_session"
            );
            Err(Problem::given(field, name, &expected))
        }
    }
}

/// What the routes and the backends together must be.
pub(super) fn check(routes: &[Route], backends: &[Backend], limits: &Limits, problems: &mut Problems) {
    let inverts =
        |fits: &dyn Fn(&Invert) -> bool| routes.iter().any(|route| route.invert.as_ref().is_some_and(fits));
    let served =
        |id: &String| inverts(&|invert| matches!(invert, Invert::Agent(Agents::Of(ids)) if ids.contains(id)));
    let registered = inverts(&|invert| *invert == Invert::Agent(Agents::Registered));
    let agents = "a route for registered agents beside it, for example \
                  {match: {path_prefix: /registered/agent}, guard: oidc, allow: [...], invert: {agents: registered}}";
    for (index, route) in routes.iter().enumerate() {
        let field = |name: &str| format!("routes[{index}].invert.{name}");
        match &route.invert {
            Some(Invert::Client(Client { to: To::Backend(id), .. })) => {
                let of_account = backends.iter().any(|backend| backend.id == *id && backend.terms.is_some());
                if !served(id) && !of_account {
                    let expected = "a backend that another route is agent_of, for example {match: {path_prefix: \
                                    /agent}, guard: oidc, allow: [...], invert: {agent_of: [reports]}}";
                    problems.push(Problem::given(&field("backend"), id, expected));
                }
            }
            Some(Invert::Client(Client { to: To::ByUser, .. })) if !registered => {
                problems.push(Problem::given(&field("choose"), "by_user", agents));
            }
            Some(Invert::Admin) if !registered => {
                problems.push(Problem::given(&field("admin"), true, agents));
            }
            Some(_) | None => {}
        }
    }
    for (index, backend) in backends.iter().enumerate() {
        let field = |name: &str| format!("inverting_proxy.backends[{index}].{name}");
        match &backend.terms {
            // Its agent is the one of its account, and of no other way in.
            Some(terms) if served(&backend.id) => {
                let expected = "none for a backend that a route is agent_of";
                problems.push(Problem::given(&field("backend_user"), &terms.backend_user, expected));
            }
            Some(terms) if !registered => {
                problems.push(Problem::given(&field("backend_user"), &terms.backend_user, agents));
            }
            None if !served(&backend.id) => {
                let expected =
                    "a backend that a route is agent_of, or end_user, backend_user and path_prefixes";
                problems.push(Problem::given(&field("id"), &backend.id, expected));
            }
            Some(_) | None => {}
        }
    }
    if inverts(&|_| true) && limits.heap < 16 * limits.response {
        let expected = "at most a sixteenth of limits.heap, for example 8MiB";
        problems.push(Problem::given("limits.response", format!("{} bytes", limits.response), expected));
    }
}

/// A client holds one cookie of a name. Where it were known on one route and a stranger on the other, each would begin
/// a session of its own and end the other's.
pub(super) fn check_sessions(routes: &[Route], public_url: PublicUrl<'_>, problems: &mut Problems) {
    let sessions: Vec<(String, &str, bool)> = routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| {
            let Some(Invert::Client(client)) = &route.invert else { return None };
            let field = format!("routes[{index}].invert.session_cookie");
            Some((field, client.session_cookie.as_deref()?, route.guard == Guard::Public))
        })
        .collect();
    if matches!(public_url, PublicUrl::Absent)
        && let Some((field, ..)) = sessions.first()
    {
        let message = format!(
            "is missing, and says whether the cookie of {field} is Secure; expected for example \
             https://app.example.com"
        );
        problems.push(Problem::new("public_url", &message));
    }
    for (at, (field, name, public)) in sessions.iter().enumerate() {
        if sessions.iter().take(at).any(|(_, other, open)| other == name && open != public) {
            let expected = "a name that no route with another guard has";
            problems.push(Problem::given(field, name, expected));
        }
    }
}
