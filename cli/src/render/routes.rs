//! The route table. It is written so that a forgotten line closes: the guard is on and every other
//! filter off unless a route says otherwise, a route whose filters answer leads nowhere by itself,
//! and the way on exists only for requests that carry a filter's mark (filter state, which no header
//! can forge). Which filters run is decided by the first route a request matches; a mark set later
//! changes only where it goes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::clusters::{REFUSED, UPSTREAM};
use super::filters::{Filter, GUARD};
use super::matching::route_match;
use super::{HEALTH, typed};
use crate::config::{Config, Guard, Match, PathMatch, Route, seconds};

/// The table, and the filters that it uses.
pub(super) fn table(config: &Config) -> (Vec<Value>, BTreeSet<Filter>) {
    let configured: Vec<Entry> = config.routes.iter().map(|route| entry(route, config)).collect();
    let used = configured.iter().flat_map(|entry| entry.filters.iter().copied()).collect();
    let routes = restored(config)
        .into_iter()
        .chain(config.routes.iter().filter_map(|route| slack_pass(route, config)))
        .chain(config.routes.iter().filter_map(|route| adapted(route, config)))
        .chain([path_parameters()])
        .chain(own_paths())
        .chain(configured)
        .chain([everything_else(config)]);
    (routes.map(Entry::render).collect(), used)
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
}

impl Entry {
    fn render(self) -> Value {
        let kind = "envoy.config.route.v3.FilterConfig";
        let mut per_filter = Map::new();
        if self.guard_off {
            per_filter.insert(GUARD.to_owned(), typed(kind, json!({"disabled": true})));
        }
        for filter in self.filters {
            per_filter.insert(filter.name().to_owned(), typed(kind, json!({"config": {}})));
        }
        let (action, value) = self.action;
        let mut route = json!({"name": self.name, "match": self.matching, action: value});
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
    let any = Match { path: PathMatch::Prefix("/".to_owned()), methods: Vec::new(), hosts: Vec::new() };
    let marked = |marks: &[&str]| {
        let mut matching = route_match(&any);
        with_marks(&mut matching, marks);
        matching
    };
    let marks: &[&str] = if log.adapts() { &[PLAYED_BACK, ADAPTED] } else { &[PLAYED_BACK] };
    let mut entries = vec![Entry {
        name: "restored".to_owned(),
        matching: marked(marks),
        action: upstream(config, config.budgets.playback(), false),
        guard_off: false,
        filters: Vec::new(),
    }];
    if log.adapts() {
        entries.push(Entry {
            name: "restored-not-adapted".to_owned(),
            matching: marked(&[PLAYED_BACK]),
            action: refused(config.budgets.playback()),
            guard_off: false,
            filters: Vec::new(),
        });
    }
    entries
}

/// What Slack needs answered at once goes on to the upstream, verified.
fn slack_pass(route: &Route, config: &Config) -> Option<Entry> {
    if !matches!(route.guard, Guard::Slack(_)) {
        return None;
    }
    let mut matching = route_match(&route.matching);
    let mut marks = vec![("lockgate_disposition", "pass"), ("lockgate_slack_signature", "passed")];
    if route.adapter.is_some() {
        marks.push(("lockgate_form_to_json", "passed"));
    }
    with_values(&mut matching, &marks);
    Some(Entry {
        name: format!("{}-pass", route.name),
        matching,
        action: upstream(config, config.budgets.slack, false),
        guard_off: false,
        filters: Vec::new(),
    })
}

/// What goes on to the upstream in another shape, goes on in no other.
fn adapted(route: &Route, config: &Config) -> Option<Entry> {
    if route.adapter.is_none() || is_answered_by_a_filter(route) {
        return None;
    }
    let mut matching = route_match(&route.matching);
    with_marks(&mut matching, &[ADAPTED]);
    Some(Entry {
        name: format!("{}-adapted", route.name),
        matching,
        action: upstream(config, config.budgets.request, false),
        guard_off: false,
        filters: Vec::new(),
    })
}

fn is_answered_by_a_filter(route: &Route) -> bool {
    route.enqueue.is_some() || matches!(route.guard, Guard::Slack(_) | Guard::Push)
}

/// `/public/..;/admin`: Envoy before 1.40 does not resolve such a segment, and some servers do.
fn path_parameters() -> Entry {
    Entry {
        name: "path-parameters".to_owned(),
        matching: json!({"safe_regex": {"regex": r"(?i).*/(\.|%2e){1,2}(;|%3b).*"}}),
        action: (
            "direct_response",
            json!({"status": 400, "body": {"inline_string": "The path cannot be resolved.\n"}}),
        ),
        guard_off: true,
        filters: Vec::new(),
    }
}

/// The door's own paths come before the configured ones, so that none of those can hide them.
fn own_paths() -> Vec<Entry> {
    let health = |name: &str, path: &str| Entry {
        name: name.to_owned(),
        matching: json!({"path": path}),
        action: ("direct_response", json!({"status": 204})),
        guard_off: true,
        filters: Vec::new(),
    };
    vec![
        health("health", "/health"),
        health("lockgate-health", HEALTH),
        Entry {
            name: "lockgate".to_owned(),
            matching: json!({"path_separated_prefix": "/_lockgate"}),
            action: refused(Duration::from_secs(10)),
            guard_off: false,
            filters: Vec::new(),
        },
    ]
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
        Guard::Public => (true, budgets.enqueue),
        Guard::Oidc => (false, budgets.enqueue),
    };
    filters.extend(route.adapter.is_some().then_some(Filter::FormToJson));
    filters.extend(route.enqueue.is_some().then_some(Filter::PubsubEnqueue));
    let action = match is_answered_by_a_filter(route) || route.adapter.is_some() {
        true => refused(budget),
        false => upstream(config, budgets.request, true),
    };
    Entry { name: route.name.clone(), matching: route_match(&route.matching), action, guard_off, filters }
}

fn everything_else(config: &Config) -> Entry {
    Entry {
        name: "everything-else".to_owned(),
        matching: json!({"prefix": "/"}),
        action: upstream(config, config.budgets.request, true),
        guard_off: false,
        filters: Vec::new(),
    }
}

/// Marks in filter state, and the value that each filter writes there.
const PLAYED_BACK: &str = "lockgate_pubsub_playback";
const ADAPTED: &str = "lockgate_form_to_json";

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

fn upstream(config: &Config, longest: Duration, upgrades: bool) -> (&'static str, Value) {
    let mut action = json!({
        "cluster": UPSTREAM,
        "host_rewrite_literal": config.upstream.url.authority(),
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
    if let (Value::Object(action), true) = (&mut action, upgrades) {
        action.insert("upgrade_configs".to_owned(), json!([{"upgrade_type": "websocket"}]));
    }
    ("route", action)
}
