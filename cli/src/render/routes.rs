//! The route table. It is written so that a forgotten line closes: the guard is on and every other
//! filter off unless a route says otherwise, a route whose filters answer leads nowhere by itself,
//! and the way on exists only for requests that carry a filter's mark (filter state, which no header
//! can forge). Which filters run is decided by the first route a request matches; a mark set later
//! changes only where it goes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::clusters::{REFUSED, UPSTREAM};
use super::cors::{self, CORS};
use super::filters::{Filter, GUARD, GUARD_READY};
use super::matching::route_match;
use super::{HEALTH, READY, door, typed};
use crate::config::{Config, Guard, Invert, Match, PathMatch, Route, SignIn, seconds};

/// The table, and the filters that it uses.
pub(super) fn table(config: &Config) -> (Vec<Value>, BTreeSet<Filter>) {
    let paths: Vec<Entry> = own_paths(config)
        .into_iter()
        .chain(config.routes.iter().flat_map(|route| lines(route, config)))
        .chain(everything_else(config))
        .collect();
    let used = paths.iter().flat_map(|entry| entry.filters.iter().copied()).collect();
    let first = restored(config).into_iter().chain([path_parameters()]).chain(ready(config, &used));
    (first.chain(paths).map(Entry::render).collect(), used)
}

/// The names of the lines of these routes, as the access log has them.
pub(super) fn names(config: &Config, wanted: impl Fn(&Route) -> bool) -> Vec<String> {
    let routes = config.routes.iter().filter(|route| wanted(route));
    routes.flat_map(|route| lines(route, config)).map(|entry| entry.name).collect()
}

/// What a route becomes. The way on for marked requests stands directly before the route: further up it
/// could meet requests of a route between.
fn lines(route: &Route, config: &Config) -> Vec<Entry> {
    preflight(route).into_iter().chain(way_on(route, config)).chain([entry(route, config)]).collect()
}

/// One line of the table.
struct Entry {
    name: String,
    matching: Value,
    /// `route` or `direct_response`.
    action: (&'static str, Value),
    /// Somebody else stands guard, or nobody.
    guard_off: bool,
    filters: Vec<Filter>,
    cors: Option<Value>,
    /// The door does not stand here to take its own out of them, and no webhook has any.
    no_cookies: bool,
}

impl Entry {
    /// With the guard on, and without a filter.
    fn new(name: &str, matching: Value, action: (&'static str, Value)) -> Self {
        Self {
            name: name.to_owned(),
            matching,
            action,
            guard_off: false,
            filters: Vec::new(),
            cors: None,
            no_cookies: false,
        }
    }

    fn render(self) -> Value {
        let kind = "envoy.config.route.v3.FilterConfig";
        let mut per_filter = Map::new();
        if let Some(policy) = self.cors {
            per_filter.insert(CORS.to_owned(), policy);
        }
        if self.guard_off {
            per_filter.insert(GUARD.to_owned(), typed(kind, json!({"disabled": true})));
        }
        for filter in self.filters {
            per_filter.insert(filter.name().to_owned(), typed(kind, json!({"config": {}})));
        }
        let (action, value) = self.action;
        let mut route = json!({"name": self.name, "match": self.matching, action: value});
        if let (Value::Object(route), true) = (&mut route, self.no_cookies) {
            route.insert("request_headers_to_remove".to_owned(), json!(["cookie"]));
        }
        if let (Value::Object(route), false) = (&mut route, per_filter.is_empty()) {
            route.insert("typed_per_filter_config".to_owned(), Value::Object(per_filter));
        }
        route
    }
}

/// A restored request goes to the upstream wherever its path would lead otherwise: an envelope for
/// `/slack/command` must not meet that route's enqueueing again.
fn restored(config: &Config) -> Vec<Entry> {
    let Some(log) = &config.log else { return Vec::new() };
    let marked = |marks: &[&str]| {
        let mut matching = json!({"prefix": "/"});
        with_marks(&mut matching, marks);
        matching
    };
    let wanted = [(log.adapts(), ADAPTED), (has_identity(config), IDENTIFIED)];
    let marks: Vec<&str> = [PLAYED_BACK].into_iter().chain(set_of(wanted)).collect();
    let on = Entry::new("restored", marked(&marks), upstream(config, config.budgets.playback(), false));
    let mut entries = vec![on];
    if marks.len() > 1 {
        let matching = marked(&[PLAYED_BACK]);
        entries.push(Entry::new("restored-unfinished", matching, refused(config.budgets.playback())));
    }
    entries
}

fn has_identity(config: &Config) -> bool {
    config.upstream.identity.is_some()
}

/// The marks that are to be asked for.
fn set_of<const N: usize>(marks: [(bool, &'static str); N]) -> impl Iterator<Item = &'static str> {
    marks.into_iter().filter_map(|(wanted, mark)| wanted.then_some(mark))
}

/// Where a probe asks whether keys and secrets are there: each filter that needs some lets it on once it has
/// them, and leaves a mark.
fn ready(config: &Config, used: &BTreeSet<Filter>) -> Vec<Entry> {
    let asked = Match {
        path: PathMatch::Exact(READY.to_owned()),
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
        hosts: Vec::new(),
    };
    let filters: Vec<Filter> = used.iter().copied().filter(|filter| filter.tells_ready()).collect();
    let guard = config.sign_in.is_some().then(|| GUARD_READY.to_owned());
    let marks: Vec<String> = filters.iter().map(|filter| filter.ready_mark()).chain(guard).collect();
    let mut answered = route_match(&asked);
    if !marks.is_empty() {
        with_marks(&mut answered, &marks.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let guard_off = config.sign_in.is_none();
    let answered = Entry::new("ready", answered, ("direct_response", json!({"status": 204})));
    if marks.is_empty() {
        return vec![Entry { guard_off, ..answered }];
    }
    let asked = Entry { guard_off, filters, ..Entry::new("ready-asked", route_match(&asked), refused(DOOR)) };
    vec![answered, asked]
}

/// Where a route's requests go once its filters have left their marks. What they answer, what is to go
/// on in another shape, and who was not let in has no other way.
fn way_on(route: &Route, config: &Config) -> Option<Entry> {
    let mut matching = route_match(&route.matching);
    let (suffix, action) = match &route.guard {
        // What Slack needs answered at once goes on, verified.
        Guard::Slack(_) => {
            let mut marks = vec![("lockgate_disposition", "pass"), ("lockgate_slack_signature", "passed")];
            if route.adapter.is_some() {
                marks.push((ADAPTED, "passed"));
            }
            if has_identity(config) {
                marks.push((IDENTIFIED, "passed"));
            }
            with_values(&mut matching, &marks);
            return Some(Entry {
                no_cookies: config.sign_in.is_some(),
                ..Entry::new(
                    &format!("{}-pass", route.name),
                    matching,
                    upstream(config, config.budgets.slack, false),
                )
            });
        }
        Guard::Push => return None,
        _ if route.invert.is_some() => return None,
        Guard::Oidc(_) | Guard::Public if route.enqueue.is_some() => return None,
        // The guard lets nobody in.
        Guard::Oidc(_) if config.sign_in.is_none() => return None,
        guard => {
            let admits = matches!(guard, Guard::Oidc(_)) && config.sign_in.is_some();
            let adapts = route.adapter.is_some();
            let wanted = [(admits, ADMITTED), (adapts, ADAPTED), (has_identity(config), IDENTIFIED)];
            let marks: Vec<&str> = set_of(wanted).collect();
            with_marks(&mut matching, &marks);
            let suffix = match (adapts, admits) {
                _ if marks.is_empty() => return None,
                (true, _) => "adapted",
                (false, true) => "admitted",
                (false, false) => "identified",
            };
            (suffix, upstream(config, config.budgets.request, route.adapter.is_none()))
        }
    };
    Some(Entry::new(&format!("{}-{suffix}", route.name), matching, action))
}

/// A browser asks with OPTIONS before it sends another method, so a route that has `methods` would not
/// meet the question. The guard stays on: what is no preflight has no business here.
fn preflight(route: &Route) -> Option<Entry> {
    let Match { path, methods, hosts } = &route.matching;
    let cors = route.cors.as_ref()?;
    if methods.is_empty() || methods.iter().any(|method| method == "OPTIONS") {
        return None;
    }
    let question = Match { path: path.clone(), methods: vec!["OPTIONS".to_owned()], hosts: hosts.clone() };
    let mut matching = route_match(&question);
    if let Some(headers) = matching.get_mut("headers").and_then(Value::as_array_mut) {
        headers.push(json!({"name": "origin", "present_match": true}));
        headers.push(json!({
            "name": "access-control-request-method",
            "string_match": {"safe_regex": {"regex": methods.join("|")}},
        }));
    }
    Some(Entry {
        cors: Some(cors::policy(cors)),
        ..Entry::new(&format!("{}-preflight", route.name), matching, refused(DOOR))
    })
}

fn is_answered_by_a_filter(route: &Route) -> bool {
    route.enqueue.is_some() || matches!(route.guard, Guard::Slack(_) | Guard::Push)
}

/// `/public/..;/admin`: Envoy before 1.40 does not resolve such a segment, and some servers do.
fn path_parameters() -> Entry {
    Entry {
        guard_off: true,
        ..Entry::new(
            "path-parameters",
            json!({"safe_regex": {"regex": r"(?i).*/(\.|%2e){1,2}(;|%3b).*"}}),
            (
                "direct_response",
                json!({"status": 400, "body": {"inline_string": "The path cannot be resolved.\n"}}),
            ),
        )
    }
}

/// The door's own paths come before the configured ones, so that none of those can hide them. What is
/// not answered here, the guard answers.
fn own_paths(config: &Config) -> Vec<Entry> {
    let health = |name: &str, path: &str| Entry {
        guard_off: true,
        ..Entry::new(name, json!({"path": path}), ("direct_response", json!({"status": 204})))
    };
    let back_channel = config.sign_in.as_ref().is_some_and(SignIn::has_back_channel).then(|| {
        let matching = Match {
            path: PathMatch::Exact(door::BACK_CHANNEL.to_owned()),
            methods: vec!["POST".to_owned()],
            hosts: Vec::new(),
        };
        Entry {
            guard_off: true,
            filters: vec![Filter::BackChannelLogout],
            ..Entry::new("back-channel-logout", route_match(&matching), refused(DOOR))
        }
    });
    let rest = Entry::new("lockgate", json!({"path_separated_prefix": "/_lockgate"}), refused(DOOR));
    [health("health", "/health"), health("lockgate-health", HEALTH)]
        .into_iter()
        .chain(back_channel)
        .chain([rest])
        .collect()
}

fn entry(route: &Route, config: &Config) -> Entry {
    let budgets = &config.budgets;
    let mut filters = Vec::new();
    let (guard_off, budget) = match route.guard {
        Guard::Slack(_) => {
            filters.push(Filter::SlackSignature);
            (true, budgets.slack)
        }
        Guard::Push => {
            filters.push(Filter::PubsubPlayback);
            if config.log.as_ref().is_some_and(|log| log.adapts()) {
                filters.push(Filter::FormToJsonRestored);
            }
            (true, 2 * budgets.playback_check)
        }
        // It asks nothing there, but it keeps the session cookie from the upstream.
        Guard::Public => (config.sign_in.is_none(), budgets.enqueue),
        Guard::Oidc(_) if config.sign_in.is_some() => (false, DOOR + budgets.enqueue),
        Guard::Oidc(_) => (false, budgets.enqueue),
    };
    filters.extend(route.adapter.is_some().then_some(Filter::FormToJson));
    filters.extend(route.enqueue.is_some().then_some(Filter::PubsubEnqueue));
    filters.extend(route.invert.is_some().then_some(Filter::InvertingProxy));
    // What is stored and answered here goes to the upstream when it is played back.
    let goes_on =
        (route.enqueue.is_none() && route.invert.is_none()) || matches!(route.guard, Guard::Slack(_));
    let closed = matches!(route.guard, Guard::Oidc(_)) && config.sign_in.is_none();
    let identified = goes_on && !closed && has_identity(config);
    filters.extend(identified.then_some(Filter::UpstreamIdentity));
    let admitted = matches!(route.guard, Guard::Oidc(_)) && config.sign_in.is_some();
    let action = if let Some(invert) = &route.invert {
        waiting(invert, config)
    } else if is_answered_by_a_filter(route) || route.adapter.is_some() {
        refused(budget)
    } else if admitted || identified {
        held()
    } else {
        upstream(config, budgets.request, true)
    };
    Entry {
        name: route.name.clone(),
        matching: route_match(&route.matching),
        action,
        guard_off,
        filters,
        cors: route.cors.as_ref().map(cors::policy),
        no_cookies: false,
    }
}

fn everything_else(config: &Config) -> Vec<Entry> {
    let everything = || json!({"prefix": "/"});
    let on = upstream(config, config.budgets.request, true);
    if config.sign_in.is_none() {
        return vec![Entry::new("everything-else", everything(), on)];
    }
    let mut marked = everything();
    let wanted = [(true, ADMITTED), (has_identity(config), IDENTIFIED)];
    with_marks(&mut marked, &set_of(wanted).collect::<Vec<_>>());
    let filters = has_identity(config).then_some(Filter::UpstreamIdentity).into_iter().collect();
    vec![
        Entry::new("everything-else-admitted", marked, on),
        Entry { filters, ..Entry::new("everything-else", everything(), held()) },
    ]
}

/// Marks in filter state, and the value that each filter writes there.
const PLAYED_BACK: &str = "lockgate_pubsub_playback";
const ADAPTED: &str = "lockgate_form_to_json";
const ADMITTED: &str = "lockgate_oidc";
const IDENTIFIED: &str = "lockgate_upstream_identity";

/// Longest life of a request that the sign-in filter answers or holds: what it asks a provider for
/// takes 5 s, and a secret may have to be fetched before.
const DOOR: Duration = Duration::from_secs(10);

/// How long an agent's question for requests waits, unless the filter is told otherwise.
const POLL: Duration = Duration::from_secs(30);

fn with_marks(matching: &mut Value, names: &[&str]) {
    let marks: Vec<(&str, &str)> = names.iter().map(|&name| (name, "passed")).collect();
    with_values(matching, &marks);
}

fn with_values(matching: &mut Value, marks: &[(&str, &str)]) {
    let states: Vec<Value> = marks
        .iter()
        .map(|(name, value)| json!({"key": format!("wasm.{name}"), "string_match": {"exact": value}}))
        .collect();
    if let Value::Object(matching) = matching {
        matching.insert("filter_state".to_owned(), states.into());
    }
}

/// A filter answers, or a mark leads elsewhere; what is left over meets a cluster without hosts: 503.
fn refused(longest: Duration) -> (&'static str, Value) {
    (
        "route",
        json!({
            "cluster": REFUSED,
            "max_stream_duration": {"max_stream_duration": seconds(longest)},
        }),
    )
}

/// Where a request waits for an agent, or an agent for a request: silent for longer than others may be.
fn waiting(invert: &Invert, config: &Config) -> (&'static str, Value) {
    let longest = match invert {
        Invert::Client(client) => client.fetch + client.response,
        Invert::Admin => Duration::ZERO,
        // An agent begins to bring an answer once its backend has begun to give it.
        Invert::Agent(_) => {
            config.inverted().map(|client| client.response).max().unwrap_or_default().max(POLL)
        }
    };
    let (kind, mut action) = refused(longest + DOOR);
    if let Value::Object(action) = &mut action {
        action.insert("idle_timeout".to_owned(), seconds(longest + DOOR).into());
    }
    (kind, action)
}

/// Where a request stands until filters that read no body have left their marks. Whether a connection may be
/// upgraded is decided here, by the first route.
fn held() -> (&'static str, Value) {
    let (kind, mut action) = refused(DOOR);
    allow_upgrades(&mut action);
    (kind, action)
}

fn allow_upgrades(action: &mut Value) {
    if let Value::Object(action) = action {
        action.insert("upgrade_configs".to_owned(), json!([{"upgrade_type": "websocket"}]));
    }
}

fn upstream(config: &Config, longest: Duration, upgrades: bool) -> (&'static str, Value) {
    let Some(url) = &config.upstream.url else { return refused(longest) };
    let mut action = json!({
        "cluster": UPSTREAM,
        "host_rewrite_literal": url.authority(),
        "append_x_forwarded_host": true,
        "idle_timeout": seconds(config.budgets.upstream_idle()),
        "max_stream_duration": {"max_stream_duration": seconds(longest)},
        "retry_policy": {
            // Only what certainly has not been handled: a kept-alive connection may have died while the
            // instance was frozen.
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 1,
            // The route's own timeout is ignored beside max_stream_duration.
            "per_try_timeout": seconds(config.budgets.upstream.min(longest)),
        },
    });
    let base = &url.path;
    if let (Value::Object(action), false) = (&mut action, base.is_empty()) {
        // The one rewrite that does the same behind every kind of match.
        let rewrite = json!({"pattern": {"regex": "^/"}, "substitution": format!("{base}/")});
        action.insert("regex_rewrite".to_owned(), rewrite);
    }
    if upgrades {
        allow_upgrades(&mut action);
    }
    ("route", action)
}
