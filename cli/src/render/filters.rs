//! The chain: which filters there are, in which order, and how each is loaded.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Modules, plugins, typed};
use crate::config::Config;

/// A filter of the chain, named for the route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    SlackSignature,
    PubsubPlayback,
    /// Before the log.
    FormToJson,
    /// Behind the log. A second instance, because a restored request may have a path that the first
    /// one has a rule for.
    FormToJsonRestored,
    PubsubEnqueue,
}

impl Filter {
    const CHAIN: [Self; 5] = [
        Self::SlackSignature,
        Self::PubsubPlayback,
        Self::FormToJson,
        Self::FormToJsonRestored,
        Self::PubsubEnqueue,
    ];

    /// Its name in the chain.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SlackSignature => "lockgate.slack-signature",
            Self::PubsubPlayback => "lockgate.pubsub-playback",
            Self::FormToJson => "lockgate.form-to-json",
            Self::FormToJsonRestored => "lockgate.form-to-json-restored",
            Self::PubsubEnqueue => "lockgate.pubsub-enqueue",
        }
    }

    /// Which of the module's filters it is.
    fn root_id(self) -> &'static str {
        match self {
            Self::SlackSignature => "slack-signature",
            Self::PubsubPlayback => "pubsub-playback",
            Self::FormToJson | Self::FormToJsonRestored => "form-to-json",
            Self::PubsubEnqueue => "pubsub-enqueue",
        }
    }

    /// Filters of one id share a VM. Those that wait for Google's services share their tokens; the
    /// one that parses whole bodies stands alone, so that a trap there strands no waiting request.
    fn vm_id(self) -> &'static str {
        match self {
            Self::SlackSignature | Self::PubsubPlayback | Self::PubsubEnqueue => "lockgate.log",
            Self::FormToJson | Self::FormToJsonRestored => "lockgate.adapter",
        }
    }
}

/// The guard's name in the chain.
pub(super) const GUARD: &str = "lockgate.guard";

/// The chain: the guard, the filters that some route uses, the router.
pub(super) fn chain(config: &Config, modules: &Modules, used: &BTreeSet<Filter>) -> Vec<Value> {
    let mut chain = vec![guard()];
    chain.extend(
        Filter::CHAIN
            .iter()
            .filter(|filter| used.contains(filter))
            .map(|&filter| wasm(filter, config, modules)),
    );
    chain.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": typed(
            "envoy.extensions.filters.http.router.v3.Router",
            json!({"suppress_envoy_headers": true}),
        ),
    }));
    chain
}

/// Lets nobody in: an allow list without an entry. It is on for every route that does not say
/// otherwise, and sign-in will take its place.
fn guard() -> Value {
    json!({
        "name": GUARD,
        "typed_config": typed(
            "envoy.extensions.filters.http.rbac.v3.RBAC",
            json!({"rules": {"action": "ALLOW", "policies": {}}}),
        ),
    })
}

fn wasm(filter: Filter, config: &Config, modules: &Modules) -> Value {
    let variables: Vec<&str> = config.variables().into_iter().collect();
    let mut vm = json!({
        "vm_id": filter.vm_id(),
        "runtime": "envoy.wasm.runtime.v8",
        "code": {"local": {"filename": modules.file()}},
    });
    if !variables.is_empty()
        && let Value::Object(vm) = &mut vm
    {
        vm.insert("environment_variables".to_owned(), json!({"host_env_keys": variables}));
    }
    json!({
        "name": filter.name(),
        "disabled": true,
        "typed_config": typed("envoy.extensions.filters.http.wasm.v3.Wasm", json!({"config": {
            "name": filter.name(),
            "root_id": filter.root_id(),
            // Headers are held until the body is read; Envoy passes no body on otherwise.
            "allow_on_headers_stop_iteration": true,
            "failure_policy": "FAIL_RELOAD",
            "reload_config": {"backoff": {"base_interval": "0.1s"}},
            "configuration": typed(
                "google.protobuf.StringValue",
                json!({"value": plugins::plugin(filter, config).to_string()}),
            ),
            "vm_config": vm,
        }})),
    })
}
