//! The route list. Routes whose group is absent are left out, so that the door behind them closes.

use std::collections::BTreeSet;

use super::access::{self, Access, Effect};
use super::invert::RawInvert;
use super::problem::{Problem, Problems};
use super::raw::{NamedReply, RawEnqueue, RawGuard, RawHeaders, RawReply, RawRoute};
use super::resolve::Context;
use super::resolved::{Enqueue, Guard, HeaderPolicy, Reply, Rewrite, Route};
use super::who::Issuers;
use super::{Match, PathMatch};

/// Every kind of Slack request, as slack-signature sorts them.
const SLACK_KINDS: [&str; 15] = [
    "command",
    "event_callback",
    "app_rate_limited",
    "block_actions",
    "interactive_message",
    "message_action",
    "shortcut",
    "view_submission",
    "view_closed",
    "block_suggestion",
    "dialog_submission",
    "dialog_cancellation",
    "dialog_suggestion",
    "unknown",
    "default",
];

/// Which groups are there.
pub(super) struct Groups {
    pub(super) slack: bool,
    pub(super) log: bool,
    pub(super) door: Door,
}

/// What stands behind `guard: oidc`.
pub(super) enum Door {
    /// Nobody comes in.
    Closed,
    /// The sign-in group has a problem, which is enough to say.
    Unknown,
    /// The sign-in filter.
    Known {
        /// Whose word is taken.
        issuers: Issuers,
        /// Whether a policy lets somebody in.
        allows: bool,
    },
}

pub(super) fn resolve(
    raw: Vec<RawRoute>,
    groups: &Groups,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Vec<Route> {
    let (slack, log) = (groups.slack, groups.log);
    let mut names = BTreeSet::new();
    let mut routes = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let field = format!("routes[{index}]");
        let wanted = match raw.guard {
            RawGuard::Slack => slack,
            RawGuard::Push => log,
            RawGuard::Public | RawGuard::Oidc => raw.enqueue.is_none() || log,
        };
        let Some(route) = problems.keep(route(raw, &field, &groups.door, context)) else { continue };
        if !names.insert(route.name.clone()) {
            problems.push(Problem::given(
                &format!("{field}.name"),
                &route.name,
                "a name that no other route has",
            ));
        }
        if wanted && route.enqueue.is_some() && !log {
            problems.push(Problem::new(
                &format!("{field}.enqueue"),
                "needs the log, which is not set: PUBSUB_TOPIC, DEAD_LETTER_TOPIC, PUSH_AUDIENCE and PUSH_SERVICE_ACCOUNT, \
                 for example PUBSUB_TOPIC=projects/my-project/topics/lockgate",
            ));
        }
        if let (Guard::Oidc(Access { allow: None, .. }), Door::Known { allows: false, .. }, true) =
            (&route.guard, &groups.door, wanted)
        {
            problems.push(Problem::new(
                &field,
                "lets nobody in; expected allow, or a policy that allows, for example allow: [{domains: [example.com]}]",
            ));
        }
        if wanted {
            routes.push(route);
        }
    }
    let pushes = routes.iter().filter(|route| route.guard == Guard::Push).count();
    if log && pushes != 1 {
        problems.push(Problem::given(
            "routes",
            format!("{pushes} routes"),
            "exactly one route with guard: push, for example /wal-playback",
        ));
    }
    routes
}

fn route(raw: RawRoute, field: &str, door: &Door, context: &Context<'_>) -> Result<Route, Problem> {
    let at = |name: &str| format!("{field}.{name}");
    let name = raw.name.unwrap_or_default();
    if name.is_empty()
        || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        return Err(Problem::given(
            &at("name"),
            name,
            "lower-case letters, digits and hyphens, for example slack-command",
        ));
    }
    let matching = raw.matching.resolve(&at("match"))?;
    if reserved(&matching) {
        let given = matching.to_json();
        return Err(Problem::given(
            &at("match"),
            given,
            "a path outside /_lockgate/, which is the door's own",
        ));
    }
    let enqueue = raw
        .enqueue
        .map(|enqueue| self::enqueue(enqueue, &at("enqueue"), raw.guard, &matching))
        .transpose()?;
    if raw.guard == RawGuard::Push && (enqueue.is_some() || raw.adapter.is_some()) {
        return Err(Problem::new(
            field,
            "expected neither enqueue nor adapter beside guard: push; see log.restored",
        ));
    }
    if raw.guard != RawGuard::Slack && !raw.slack_kinds.is_empty() {
        return Err(Problem::new(&at("slack_kinds"), "expected only beside guard: slack"));
    }
    let forward_token = raw.forward_token.is_some_and(|flag| flag.0);
    if raw.guard != RawGuard::Oidc {
        let given =
            [("allow", raw.allow.is_some()), ("deny", raw.deny.is_some()), ("forward_token", forward_token)];
        if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
            return Err(Problem::new(&at(name), "expected only beside guard: oidc"));
        }
    }
    if forward_token && enqueue.is_some() {
        return Err(Problem::new(
            &at("forward_token"),
            "expected only without enqueue: tokens are never stored",
        ));
    }
    if raw.cors.is_some() && !matches!(raw.guard, RawGuard::Oidc | RawGuard::Public) {
        return Err(Problem::new(&at("cors"), "expected only beside guard: oidc or public"));
    }
    let cors = raw.cors.map(|cors| cors.resolve(&at("cors"), &matching, context)).transpose()?;
    if raw.invert.is_some() && matches!(door, Door::Closed) {
        return Err(Problem::new(&at("invert"), "needs sign_in, by which the agent is known"));
    }
    let allows = raw.allow.is_some();
    if cors.is_some() && raw.invert.as_ref().is_some_and(RawInvert::is_admin) {
        return Err(Problem::new(&at("cors"), "expected none beside invert: {admin: true}"));
    }
    let invert = raw.invert.map(|invert| invert.resolve(&at("invert"), raw.guard, allows)).transpose()?;
    let guard = match raw.guard {
        RawGuard::Slack => Guard::Slack(slack_kinds(raw.slack_kinds, &at("slack_kinds"), enqueue.is_some())?),
        RawGuard::Push => Guard::Push,
        RawGuard::Public => Guard::Public,
        RawGuard::Oidc => Guard::Oidc(match door {
            Door::Known { issuers, .. } => {
                let list = |name, effect, raw| access::list(&at(name), effect, raw, issuers, context);
                let allow = raw.allow.map(|raw| list("allow", Effect::Allow, raw)).transpose()?;
                let deny = raw.deny.map(|raw| list("deny", Effect::Deny, raw)).transpose()?;
                Access { allow, deny: deny.unwrap_or_default(), forward_token }
            }
            Door::Closed | Door::Unknown => Access::default(),
        }),
    };
    let adapter =
        raw.adapter.map(|adapter| adapter.resolve(&at("adapter"), context.directory)).transpose()?;
    if invert.is_some() && (enqueue.is_some() || adapter.is_some()) {
        return Err(Problem::new(&at("invert"), "expected neither enqueue nor adapter beside it"));
    }
    Ok(Route { name, matching, guard, adapter, enqueue, cors, invert, access_log: raw.access_log })
}

fn reserved(matching: &Match) -> bool {
    let (PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Pattern(path)) = &matching.path;
    path == "/_lockgate" || path.starts_with("/_lockgate/")
}

/// Without a log behind the route, everything that Slack does not need answered at once goes to the
/// upstream too.
fn slack_kinds(
    raw: impl IntoIterator<Item = (String, String)>,
    field: &str,
    enqueues: bool,
) -> Result<Vec<(String, String)>, Problem> {
    let mut kinds = Vec::new();
    for (kind, action) in raw {
        if !SLACK_KINDS.contains(&kind.as_str()) {
            return Err(Problem::given(field, kind, &format!("kinds of: {}", SLACK_KINDS.join(", "))));
        }
        if !matches!(action.as_str(), "enqueue" | "pass" | "answer") || (action == "enqueue" && !enqueues) {
            let expected = "enqueue (beside enqueue), pass or answer, for example {view_submission: pass}";
            return Err(Problem::given(&format!("{field}.{kind}"), action, expected));
        }
        kinds.push((kind, action));
    }
    if !enqueues && !kinds.iter().any(|(kind, _)| kind == "default") {
        kinds.push(("default".to_owned(), "pass".to_owned()));
    }
    Ok(kinds)
}

fn enqueue(raw: RawEnqueue, field: &str, guard: RawGuard, matching: &Match) -> Result<Enqueue, Problem> {
    let at = |name: &str| format!("{field}.{name}");
    let rewrite = match (raw.path, raw.strip_prefix) {
        (None, None) => None,
        (Some(path), None)
            if path.starts_with('/')
                && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) =>
        {
            Some(Rewrite::Path(path))
        }
        (Some(path), None) => {
            return Err(Problem::given(
                &at("path"),
                path,
                "the path at the upstream without a query, for example /engine-rest/signal",
            ));
        }
        (None, Some(prefix)) if matching.path == PathMatch::Prefix(prefix.clone()) && prefix != "/" => {
            Some(Rewrite::StripPrefix(prefix))
        }
        (None, Some(prefix)) => {
            return Err(Problem::given(
                &at("strip_prefix"),
                prefix,
                "the route's own path_prefix, for example /wal",
            ));
        }
        (Some(_), Some(_)) => return Err(Problem::new(field, "expected either path or strip_prefix")),
    };
    let headers = raw.headers.map(|headers| header_policy(headers, &at("headers"))).transpose()?;
    let default = if guard == RawGuard::Slack { NamedReply::Empty } else { NamedReply::Accepted };
    let reply = reply(raw.reply.unwrap_or(RawReply::Named(default)), &at("reply"))?;
    Ok(Enqueue { rewrite, headers, reply })
}

fn header_policy(raw: RawHeaders, field: &str) -> Result<HeaderPolicy, Problem> {
    match (raw.only, raw.keep) {
        (Some(names), None) => Ok(HeaderPolicy::Only(header_names(&format!("{field}.only"), names)?)),
        (None, Some(names)) => Ok(HeaderPolicy::Keep(header_names(&format!("{field}.keep"), names)?)),
        _ => Err(Problem::new(
            field,
            "expected exactly one of only and keep, for example {keep: [x-my-header]}",
        )),
    }
}

pub(super) fn header_names(field: &str, names: Vec<String>) -> Result<Vec<String>, Problem> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match names.iter().find(|name| name.is_empty() || !name.bytes().all(plain)) {
        Some(odd) => {
            Err(Problem::given(field, odd, "header names in lower case, for example [content-type]"))
        }
        None => Ok(names),
    }
}

fn reply(raw: RawReply, field: &str) -> Result<Reply, Problem> {
    let json = |status: u16, body: &str| Reply {
        status,
        content_type: Some("application/json".to_owned()),
        body: Some(body.to_owned()),
    };
    match raw {
        RawReply::Named(NamedReply::SlackInChannel) => Ok(json(200, r#"{"response_type":"in_channel"}"#)),
        RawReply::Named(NamedReply::Accepted) => Ok(json(202, r#"{"id":"{id}"}"#)),
        RawReply::Named(NamedReply::Empty) => Ok(Reply { status: 200, content_type: None, body: None }),
        RawReply::Written(reply) => {
            let status = u16::try_from(reply.status.0).ok().filter(|status| (200..300).contains(status));
            let status = status.ok_or_else(|| {
                Problem::given(
                    &format!("{field}.status"),
                    reply.status.0,
                    "a status that says success, for example 202",
                )
            })?;
            let content_type = reply.content_type.filter(|_| reply.body.is_some());
            if content_type
                .as_ref()
                .is_some_and(|text| !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)))
            {
                return Err(Problem::given(
                    &format!("{field}.content_type"),
                    content_type.unwrap_or_default(),
                    "a media type, for example application/json",
                ));
            }
            Ok(Reply { status, content_type, body: reply.body })
        }
    }
}
