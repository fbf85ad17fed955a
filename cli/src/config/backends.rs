//! Backends that are more than a name in a route: whose requests each of them gets, whose account its agent has,
//! and how it is looked at. What can be meant is decided by the filter's own functions.

use std::time::Duration;

use inverting_proxy::definition::{is_email, is_id, is_prefix, is_user};
use inverting_proxy::health::is_target;
use inverting_proxy::registry::MAX_BACKENDS;
use serde::Deserialize;

use super::budgets::seconds;
use super::problem::Problem;
use super::resolve::Context;
use super::scalars::{Count, Span, Texts};

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// As its agent gives it.
    pub id: String,
    /// Absent where routes alone say whose requests it gets.
    pub terms: Option<Terms>,
    /// Absent where it is not looked at.
    pub health: Option<Health>,
}

/// Whose requests a backend gets, and who brings them there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// An e-mail address, or `allUsers`.
    pub end_user: String,
    /// The e-mail address of its agent's account.
    pub backend_user: String,
    /// Whole segments.
    pub path_prefixes: Vec<String>,
}

/// How a backend is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked for.
    pub path: String,
    /// From one request to the next, and for its answer at most.
    pub interval: Duration,
    /// Failures in a row.
    pub unhealthy_after: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with backends")]
pub(super) struct RawInvertingProxy {
    #[serde(default)]
    backends: Vec<RawBackend>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with id, end_user, backend_user and path_prefixes")]
struct RawBackend {
    id: Option<String>,
    end_user: Option<String>,
    backend_user: Option<String>,
    path_prefixes: Option<Texts>,
    health: Option<RawHealth>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object such as {path: /health, interval: 10s, unhealthy_after: 2}"
)]
struct RawHealth {
    path: Option<String>,
    interval: Option<Span>,
    unhealthy_after: Option<Count>,
}

pub(super) fn resolve(raw: RawInvertingProxy, context: &Context<'_>) -> Result<Vec<Backend>, Problem> {
    if raw.backends.len() > MAX_BACKENDS {
        let expected = format!("at most {MAX_BACKENDS}");
        return Err(Problem::given("inverting_proxy.backends", raw.backends.len(), &expected));
    }
    let mut backends: Vec<Backend> = Vec::new();
    for (index, raw) in raw.backends.into_iter().enumerate() {
        let field = format!("inverting_proxy.backends[{index}]");
        let backend = backend(raw, &field, context)?;
        if backends.iter().any(|other| other.id == backend.id) {
            return Err(Problem::given(&format!("{field}.id"), backend.id, "each id once"));
        }
        backends.push(backend);
    }
    Ok(backends)
}

fn backend(raw: RawBackend, field: &str, context: &Context<'_>) -> Result<Backend, Problem> {
    let at = |name: &str| format!("{field}.{name}");
    let checked = |name: &str, text: String, fits: fn(&str) -> bool, expected: &str| match fits(&text) {
        true => Ok(text),
        false => Err(Problem::given(&at(name), text, expected)),
    };
    let id = context.required(&at("id"), raw.id, "reports")?;
    let id = checked("id", id, is_id, "letters, digits, - _ and . alone, for example reports")?;
    let health = raw.health.map(|raw| health(raw, &at("health"), context)).transpose()?;
    let terms = match (raw.end_user, raw.backend_user, raw.path_prefixes) {
        (None, None, None) if health.is_some() => None,
        (end_user, backend_user, path_prefixes) => {
            let end_user = context.required(&at("end_user"), end_user, "alice@example.com")?;
            let agent = "agent@my-project.iam.gserviceaccount.com";
            let backend_user = context.required(&at("backend_user"), backend_user, agent)?;
            let Texts(path_prefixes) = context.required(&at("path_prefixes"), path_prefixes, "[/]")?;
            if !(1..=32).contains(&path_prefixes.len()) {
                let expected = "1 to 32 paths, for example [/]";
                return Err(Problem::given(&at("path_prefixes"), path_prefixes.join(", "), expected));
            }
            let expected = "whole segments without a slash behind, for example /reports";
            let prefixes =
                path_prefixes.into_iter().map(|path| checked("path_prefixes", path, is_prefix, expected));
            let users = "an e-mail address or allUsers, for example alice@example.com";
            let account = "the e-mail address of its agent's account, for example \
                           agent@my-project.iam.gserviceaccount.com";
            Some(Terms {
                end_user: checked("end_user", end_user, is_user, users)?,
                backend_user: checked("backend_user", backend_user, is_email, account)?,
                path_prefixes: prefixes.collect::<Result<_, _>>()?,
            })
        }
    };
    Ok(Backend { id, terms, health })
}

fn health(raw: RawHealth, field: &str, context: &Context<'_>) -> Result<Health, Problem> {
    let at = |name: &str| format!("{field}.{name}");
    let path = context.required(&at("path"), raw.path, "/health")?;
    if !is_target(&path) {
        return Err(Problem::given(&at("path"), path, "the path of a GET request, for example /health"));
    }
    let interval = raw.interval.map_or(Duration::from_secs(10), |span| span.0);
    if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&interval) {
        let expected = "between 1s and 10m, for example 10s";
        return Err(Problem::given(&at("interval"), seconds(interval), expected));
    }
    let unhealthy_after = raw.unhealthy_after.map_or(2, |count| count.0);
    if !(1..=100).contains(&unhealthy_after) {
        return Err(Problem::given(&at("unhealthy_after"), unhealthy_after, "1 to 100, for example 2"));
    }
    Ok(Health { path, interval, unhealthy_after })
}
