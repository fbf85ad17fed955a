//! Each filter's own configuration. One shape for all: a version, the services where it calls one,
//! and rules of which the first that matches holds.

use std::collections::BTreeMap;
use std::time::Duration;

use pubsub_playback::outcome::RETRY;
use serde_json::{Map, Value, json};

use super::filters::Filter;
use super::{IDENTITY, READY, door};
use crate::config::{
    Adapter, Agents, Backend, Config, Enqueue, Guard, HeaderPolicy, Invert, Log, Match, PathMatch, Reply,
    Rewrite, Route, Scheme, SignIn, Signature, Slack, To, UpstreamIdentity, is_plain_http,
};

/// No cluster has this name; a filter that calls a host without one logs it, and it says what to set.
const NOT_IN_MESH: &str = "the-host-is-not-in-mesh.hosts";

/// The largest definition of a backend that an administrator may send, in bytes.
const DEFINITION: u64 = 64 << 10;

/// The largest result that form-to-json takes as its limit, in bytes.
const LARGEST_OUTPUT: u64 = 8 << 20;

pub(super) fn plugin(filter: Filter, config: &Config) -> Value {
    if let (Filter::BackChannelLogout, Some(sign_in)) = (filter, &config.sign_in) {
        return door::back_channel(config, sign_in);
    }
    let calls = !matches!(filter, Filter::FormToJson | Filter::FormToJsonRestored | Filter::InvertingProxy);
    let mut plugin = Map::new();
    plugin.insert("version".to_owned(), 1.into());
    if calls {
        plugin.insert("services".to_owned(), services(config));
    }
    let log = config.log.as_ref();
    let rules: Vec<Value> = match filter {
        Filter::SlackSignature => {
            config.slack.iter().flat_map(|slack| slack_signature(config, slack)).collect()
        }
        Filter::PubsubPlayback => log.iter().flat_map(|log| pubsub_playback(config, log)).collect(),
        Filter::BackChannelLogout => Vec::new(),
        Filter::FormToJson => near_adapters(config),
        Filter::FormToJsonRestored => log.iter().flat_map(|log| far_adapters(config, log)).collect(),
        Filter::PubsubEnqueue => log.iter().flat_map(|log| pubsub_enqueue(config, log)).collect(),
        Filter::UpstreamIdentity => config.upstream.identity.iter().map(upstream_identity).collect(),
        Filter::InvertingProxy => config.routes.iter().filter_map(|route| inverted(config, route)).collect(),
    };
    if let (Filter::InvertingProxy, true, Some(url)) = (filter, keeps_cookies(config), &config.public_url) {
        plugin.insert("public_url".to_owned(), url.to_string().into());
    }
    plugin.insert("rules".to_owned(), rules.into());
    if filter == Filter::InvertingProxy && !config.backends.is_empty() {
        let backends: Vec<Value> = config.backends.iter().map(listed).collect();
        plugin.insert("backends".to_owned(), backends.into());
    }
    if filter.tells_ready() {
        plugin.insert("ready_path".to_owned(), READY.into());
    }
    Value::Object(plugin)
}

pub(super) fn services(config: &Config) -> Value {
    let services = &config.services;
    json!({
        "pubsub": services.pubsub.to_string(),
        "secret_manager": services.secret_manager.to_string(),
        "metadata": services.metadata.to_string(),
        "clusters": clusters(&services.clusters),
    })
}

fn clusters(hosts: &BTreeMap<String, String>) -> Value {
    match hosts.is_empty() {
        true => json!({"https": "callout_https", "http": "callout_http"}),
        false => json!({"https": NOT_IN_MESH, "http": NOT_IN_MESH, "hosts": hosts}),
    }
}

fn slack_signature(config: &Config, slack: &Slack) -> Vec<Value> {
    let rule = |route: &Route| {
        let Guard::Slack(kinds) = &route.guard else { return None };
        let mut rule = json!({
            "match": route.matching.to_json(),
            "signing_secrets": slack.signing_secret.to_json(),
            "overlap_seconds": slack.overlap.as_secs(),
            "max_body_bytes": config.limits.body,
            "deadline_ms": milliseconds(config.budgets.slack_wait),
        });
        if !kinds.is_empty() {
            let kinds = kinds.iter().map(|(kind, action)| (kind.clone(), action.as_str().into()));
            insert(&mut rule, "kinds", Value::Object(kinds.collect()));
        }
        Some(rule)
    };
    config.routes.iter().filter_map(rule).collect()
}

fn pubsub_playback(config: &Config, log: &Log) -> Vec<Value> {
    let sign: Vec<Value> = log
        .restored
        .iter()
        .filter_map(|restored| {
            let matching = restored.matching.to_json();
            match restored.sign.as_ref()? {
                Signature::Slack(secret) => Some(json!({"match": matching, "slack": secret.to_json()})),
                Signature::StandardWebhooks(secret) => {
                    Some(json!({"match": matching, "standard_webhooks": secret.to_json()}))
                }
            }
        })
        .collect();
    let rule = |route: &Route| {
        let mut rule = json!({
            "match": route.matching.to_json(),
            "push": {
                "issuer": log.push.issuer.to_string(),
                "audience": log.push.audience,
                "email": log.push.service_account,
                "jwks_uri": log.push.jwks_uri.to_string(),
            },
            "dead_letter_topic": log.dead_letter_topic,
            "max_body_bytes": config.limits.push_body(),
            "deadline_ms": milliseconds(config.budgets.playback_check),
        });
        if let Some(key) = &log.key {
            insert(&mut rule, "log_key", key.to_json());
        }
        if let Some(assertion) = restored_assertion(config) {
            insert(&mut rule, "assertion", assertion);
        }
        let lists = [
            ("retry_statuses", &retry_statuses(config, log)),
            ("permanent_statuses", &log.permanent_statuses),
            ("keep_headers", &log.keep_headers),
        ];
        for (name, list) in lists {
            if let Some(list) = list {
                insert(&mut rule, name, list.clone().into());
            }
        }
        if !sign.is_empty() {
            insert(&mut rule, "sign", sign.clone().into());
        }
        rule
    };
    config.routes.iter().filter(|route| route.guard == Guard::Push).map(rule).collect()
}

/// Where the proxy shows the upstream an identity, a 401 or 403 says that this one is wrong, which is no
/// fault of the message.
fn retry_statuses(config: &Config, log: &Log) -> Option<Vec<String>> {
    if config.upstream.identity.is_none() {
        return log.retry_statuses.clone();
    }
    let default = || RETRY.iter().map(|status| (*status).to_owned()).collect();
    let mut statuses = log.retry_statuses.clone().unwrap_or_else(default);
    for status in ["401", "403"] {
        if !statuses.iter().any(|other| other == status) {
            statuses.push(status.to_owned());
        }
    }
    Some(statuses)
}

/// A restored request says again who sent it, in a statement of its own. Only the seal of an envelope
/// vouches for that, so there is none without the log's key.
fn restored_assertion(config: &Config) -> Option<Value> {
    let assertion = config.sign_in.as_ref()?.assertion.as_ref()?;
    config.log.as_ref()?.key.as_ref()?;
    Some(json!({
        "keys": assertion.keys.to_json(),
        "issuer": config.public_url.as_ref()?.to_string(),
        "audience": assertion.audience,
        "lifetime_s": assertion.lifetime.as_secs(),
    }))
}

fn near_adapters(config: &Config) -> Vec<Value> {
    let rule = |route: &Route| {
        Some(conversion(&route.matching, route.adapter.as_ref()?, config, config.limits.body))
    };
    config.routes.iter().filter_map(rule).collect()
}

/// Every restored request passes this filter once one of them is rewritten; the others unchanged.
fn far_adapters(config: &Config, log: &Log) -> Vec<Value> {
    let largest = config.limits.push_body().min(LARGEST_OUTPUT);
    let rules = log.restored.iter().map(|restored| match &restored.adapter {
        Some(adapter) => conversion(&restored.matching, adapter, config, largest),
        None => json!({"match": restored.matching.to_json(), "unchanged": true}),
    });
    rules.chain([json!({"match": everything().to_json(), "unchanged": true})]).collect()
}

fn conversion(matching: &Match, adapter: &Adapter, config: &Config, largest: u64) -> Value {
    let mut rule = json!({"match": matching.to_json()});
    if let Adapter::Template(template) = adapter {
        insert(&mut rule, "template", template.clone());
    }
    insert(&mut rule, "max_body_bytes", config.limits.body.into());
    insert(&mut rule, "max_output_bytes", largest.into());
    rule
}

fn pubsub_enqueue(config: &Config, log: &Log) -> Vec<Value> {
    let rule = |route: &Route| {
        let enqueue = route.enqueue.as_ref()?;
        let budgets = &config.budgets;
        let (guard, deadline) = match route.guard {
            Guard::Slack(_) => {
                (Some("slack-signature"), budgets.enqueue_deadline(budgets.slack, budgets.slack_wait))
            }
            Guard::Oidc(_) if config.sign_in.is_some() => {
                (Some("oidc"), budgets.enqueue_deadline(budgets.enqueue, Duration::ZERO))
            }
            _ => (None, budgets.enqueue_deadline(budgets.enqueue, Duration::ZERO)),
        };
        let adapter = route.adapter.as_ref().map(|_| "form-to-json");
        let after: Vec<&str> = guard.into_iter().chain(adapter).collect();
        let mut rule = json!({
            "match": route.matching.to_json(),
            "name": route.name,
            "topic": log.topic,
            "after": after,
        });
        store(&mut rule, enqueue);
        if let Some(key) = &log.key {
            insert(&mut rule, "log_key", key.to_json());
        }
        insert(&mut rule, "max_body_bytes", config.limits.body.into());
        insert(&mut rule, "deadline_ms", milliseconds(deadline).into());
        Some(rule)
    };
    config.routes.iter().filter_map(rule).collect()
}

/// Whatever reaches the filter is for the upstream, which may know it by another path than it came by.
fn upstream_identity(identity: &UpstreamIdentity) -> Value {
    let mut rule = json!({
        "match": everything().to_json(),
        "audience": identity.audience,
        "header": identity.header.name(),
        "deadline_ms": milliseconds(IDENTITY),
    });
    if let Some(key) = &identity.key {
        insert(&mut rule, "key", key.to_json());
    }
    rule
}

fn keeps_cookies(config: &Config) -> bool {
    config.inverted().any(|client| client.session_cookie.is_some())
}

fn inverted(config: &Config, route: &Route) -> Option<Value> {
    let mut rule = json!({"match": route.matching.to_json()});
    let largest = match route.invert.as_ref()? {
        Invert::Client(client) => {
            match &client.to {
                To::Backend(id) => insert(&mut rule, "backend", id.as_str().into()),
                To::ByUser => insert(&mut rule, "choose", "by_user".into()),
            }
            if let Some(name) = &client.session_cookie {
                insert(&mut rule, "session_cookie", name.as_str().into());
            }
            insert(&mut rule, "fetch_ms", milliseconds(client.fetch).into());
            insert(&mut rule, "response_ms", milliseconds(client.response).into());
            config.limits.body
        }
        Invert::Agent(agents) => {
            match agents {
                Agents::Of(ids) => insert(&mut rule, "agent_of", ids.clone().into()),
                Agents::Registered => insert(&mut rule, "agents", "registered".into()),
            }
            config.limits.response
        }
        Invert::Admin => {
            insert(&mut rule, "admin", true.into());
            config.limits.body.min(DEFINITION)
        }
    };
    if matches!(route.guard, Guard::Oidc(_)) {
        insert(&mut rule, "after", json!(["oidc"]));
    }
    insert(&mut rule, "max_body_bytes", largest.into());
    Some(rule)
}

fn listed(backend: &Backend) -> Value {
    let mut listed = json!({"id": backend.id});
    if let Some(terms) = &backend.terms {
        insert(&mut listed, "end_user", terms.end_user.as_str().into());
        insert(&mut listed, "backend_user", terms.backend_user.as_str().into());
        insert(&mut listed, "path_prefixes", terms.path_prefixes.clone().into());
    }
    if let Some(health) = &backend.health {
        let check = json!({
            "path": health.path,
            "interval_ms": milliseconds(health.interval),
            "unhealthy_after": health.unhealthy_after,
        });
        insert(&mut listed, "health", check);
    }
    listed
}

fn everything() -> Match {
    Match { path: PathMatch::Prefix("/".to_owned()), methods: Vec::new(), hosts: Vec::new() }
}

fn store(rule: &mut Value, enqueue: &Enqueue) {
    match &enqueue.rewrite {
        Some(Rewrite::Path(path)) => insert(rule, "path", path.as_str().into()),
        Some(Rewrite::StripPrefix(prefix)) => insert(rule, "strip_prefix", prefix.as_str().into()),
        None => {}
    }
    match &enqueue.headers {
        Some(HeaderPolicy::Only(names)) => insert(rule, "headers", json!({"only": names})),
        Some(HeaderPolicy::Keep(names)) => insert(rule, "headers", json!({"keep": names})),
        None => {}
    }
    let Reply { status, content_type, body } = &enqueue.reply;
    let mut reply = json!({"status": status});
    for (name, text) in [("content_type", content_type), ("body", body)] {
        if let Some(text) = text {
            insert(&mut reply, name, text.as_str().into());
        }
    }
    insert(rule, "reply", reply);
}

/// Which of the callout clusters something needs.
pub(super) fn calls_plain_http(config: &Config) -> bool {
    let services = &config.services;
    let keys = config.log.iter().map(|log| &log.push.jwks_uri);
    let mut services = keys.chain([&services.pubsub, &services.secret_manager, &services.metadata]);
    let mut issuers = config.sign_in.iter().flat_map(SignIn::addresses);
    services.any(|url| url.scheme == Scheme::Http) || issuers.any(is_plain_http)
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(name.to_owned(), value);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
