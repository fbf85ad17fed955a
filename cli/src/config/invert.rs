//! Routes whose requests an agent fetches: the backend behind them has no address that the proxy could reach.

use std::time::Duration;

use serde::Deserialize;

use super::budgets::{Limits, seconds};
use super::login::COOKIE;
use super::problem::{Problem, Problems};
use super::raw::RawGuard;
use super::resolved::{Guard, Route};
use super::scalars::{Span, Texts};
use super::url::PublicUrl;

/// What a route has to do with an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invert {
    /// Its requests wait for the agent of a backend.
    Client(Client),
    /// Its requests are an agent's, for these backends.
    Agent(Vec<String>),
}

/// Requests that wait for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The backend's id, as the agent gives it.
    pub backend: String,
    /// What clients hold in the place of the backend's cookies.
    pub session_cookie: Option<String>,
    /// Longest time until the agent fetches one.
    pub fetch: Duration,
    /// Longest time from then until it brings the answer.
    pub response: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {backend: reports} or {agent_of: [reports]}")]
pub(super) struct RawInvert {
    backend: Option<String>,
    agent_of: Option<Texts>,
    session_cookie: Option<String>,
    fetch: Option<Span>,
    response: Option<Span>,
}

impl RawInvert {
    pub(super) fn is_client(&self) -> bool {
        self.backend.is_some()
    }

    /// Whoever is taken for the agent reads the requests of others and answers them, so its route says who
    /// that is: it has `allow`.
    pub(super) fn resolve(self, field: &str, guard: RawGuard, allows: bool) -> Result<Invert, Problem> {
        let at = |name: &str| format!("{field}.{name}");
        match (self.backend, self.agent_of) {
            (Some(backend), None) => {
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
                if !matches!(guard, RawGuard::Oidc | RawGuard::Public) {
                    return Err(Problem::new(field, "expected only beside guard: oidc or public"));
                }
                Ok(Invert::Client(Client {
                    backend: id(backend, &at("backend"))?,
                    session_cookie: self
                        .session_cookie
                        .map(|name| cookie(name, &at("session_cookie")))
                        .transpose()?,
                    fetch: span("fetch", self.fetch, 30, 300)?,
                    response: span("response", self.response, 60, 3_300)?,
                }))
            }
            (None, Some(Texts(ids)))
                if !ids.is_empty()
                    && self.session_cookie.is_none()
                    && self.fetch.is_none()
                    && self.response.is_none() =>
            {
                if guard != RawGuard::Oidc || !allows {
                    let expected = "expected guard: oidc and allow beside agent_of, for example \
                                    allow: [{emails: [agent@my-project.iam.gserviceaccount.com]}]";
                    return Err(Problem::new(field, expected));
                }
                let ids = ids.into_iter().map(|text| id(text, &at("agent_of")));
                Ok(Invert::Agent(ids.collect::<Result<_, _>>()?))
            }
            _ => {
                let expected = "expected backend (with session_cookie, fetch and response, if wanted), or agent_of alone, \
                                for example {backend: reports} or {agent_of: [reports]}";
                Err(Problem::new(field, expected))
            }
        }
    }
}

fn id(text: String, field: &str) -> Result<String, Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match (1..=100).contains(&text.len()) && text.bytes().all(plain) {
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

/// What the routes together must be.
pub(super) fn check(routes: &[Route], public_url: PublicUrl<'_>, limits: &Limits, problems: &mut Problems) {
    sessions(routes, public_url, problems);
    let served = |backend: &String| {
        routes.iter().any(|route| matches!(&route.invert, Some(Invert::Agent(ids)) if ids.contains(backend)))
    };
    for (index, route) in routes.iter().enumerate() {
        if let Some(Invert::Client(client)) = &route.invert
            && !served(&client.backend)
        {
            let expected = "a backend that another route is agent_of, for example \
                            {match: {path_prefix: /agent}, guard: oidc, allow: [...], invert: {agent_of: [reports]}}";
            problems.push(Problem::given(
                &format!("routes[{index}].invert.backend"),
                &client.backend,
                expected,
            ));
        }
    }
    if routes.iter().any(|route| route.invert.is_some()) && limits.heap < 16 * limits.response {
        let expected = "at most a sixteenth of limits.heap, for example 8MiB";
        problems.push(Problem::given("limits.response", format!("{} bytes", limits.response), expected));
    }
}

/// A client holds one cookie of a name. Where it were known on one route and a stranger on the other, each would begin
/// a session of its own and end the other's.
fn sessions(routes: &[Route], public_url: PublicUrl<'_>, problems: &mut Problems) {
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
