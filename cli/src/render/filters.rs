//! The chain: which filters there are, in which order, and how each is loaded.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Modules, cors, door, plugins, typed};
use crate::config::Config;

/// A filter of the chain, named for the route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    /// Takes a provider's word that somebody signed out.
    BackChannelLogout,
    SlackSignature,
    PubsubPlayback,
    /// Before the log.
    FormToJson,
    /// Behind the log. A second instance, because a restored request may have a path that the first
    /// one has a rule for.
    FormToJsonRestored,
    PubsubEnqueue,
    /// Shows the upstream who the proxy is. The last, so that it waits for nothing that is not sent on.
    UpstreamIdentity,
    /// Has requests wait for an agent, and speaks to the agent. Nothing is sent on behind it.
    InvertingProxy,
}

impl Filter {
    const CHAIN: [Self; 8] = [
        Self::BackChannelLogout,
        Self::SlackSignature,
        Self::PubsubPlayback,
        Self::FormToJson,
        Self::FormToJsonRestored,
        Self::PubsubEnqueue,
        Self::UpstreamIdentity,
        Self::InvertingProxy,
    ];

    /// Its name in the chain.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BackChannelLogout => "lockgate.back-channel-logout",
            Self::SlackSignature => "lockgate.slack-signature",
            Self::PubsubPlayback => "lockgate.pubsub-playback",
            Self::FormToJson => "lockgate.form-to-json",
            Self::FormToJsonRestored => "lockgate.form-to-json-restored",
            Self::PubsubEnqueue => "lockgate.pubsub-enqueue",
            Self::UpstreamIdentity => "lockgate.upstream-identity",
            Self::InvertingProxy => "lockgate.inverting-proxy",
        }
    }

    /// Which of the module's filters it is.
    fn root_id(self) -> &'static str {
        match self {
            Self::BackChannelLogout => "oidc-back-channel",
            Self::SlackSignature => "slack-signature",
            Self::PubsubPlayback => "pubsub-playback",
            Self::FormToJson | Self::FormToJsonRestored => "form-to-json",
            Self::PubsubEnqueue => "pubsub-enqueue",
            Self::UpstreamIdentity => "upstream-identity",
            Self::InvertingProxy => "inverting-proxy",
        }
    }

    /// Whether it reads bodies. One that does not lets uploads and streams through as they come.
    fn reads_body(self) -> bool {
        self != Self::UpstreamIdentity
    }

    /// Whether it needs keys or secrets before it can do its work.
    pub(super) fn tells_ready(self) -> bool {
        matches!(
            self,
            Self::SlackSignature | Self::PubsubPlayback | Self::PubsubEnqueue | Self::UpstreamIdentity
        )
    }

    /// What it leaves once it has them.
    pub(super) fn ready_mark(self) -> String {
        format!("lockgate_ready_{}", self.root_id())
    }

    /// Filters of one id share a VM. A trap in it strands the requests that wait there; one VM more is five
    /// more at the start: 12 ms of CPU, and 6 MB. So the adapter, which a guard stands before, is with the
    /// log; the door, which strangers knock at, reads no bodies and is with nobody who does.
    fn vm_id(self) -> &'static str {
        match self {
            // What it learns, the guard must find in the data that a VM's id keeps together.
            Self::BackChannelLogout => DOOR_VM,
            // Neither parses the bodies of strangers.
            Self::UpstreamIdentity => DOOR_VM,
            Self::SlackSignature
            | Self::PubsubPlayback
            | Self::FormToJson
            | Self::FormToJsonRestored
            | Self::PubsubEnqueue => "lockgate.log",
            // Whoever waits in it would be stranded by another's trap.
            Self::InvertingProxy => "lockgate.inverting-proxy",
        }
    }
}

/// The guard's name in the chain.
pub(super) const GUARD: &str = "lockgate.guard";

/// What the guard leaves once it has its keys and secrets.
pub(super) const GUARD_READY: &str = "lockgate_ready_oidc";

/// The sign-in filter's VMs. Only filters that parse no bodies of strangers share them.
const DOOR_VM: &str = "lockgate.door";

/// The chain: the guard, the filters that some route uses, the router. CORS stands before the guard:
/// a preflight has no session, and the guard's refusals must be readable for the page that called.
pub(super) fn chain(config: &Config, modules: &Modules, used: &BTreeSet<Filter>) -> Vec<Value> {
    let mut chain: Vec<Value> = cors::filter(config).into_iter().collect();
    let loaded = loaded(config, used);
    chain.push(match &config.sign_in {
        Some(sign_in) => {
            let plugin = Plugin {
                name: GUARD,
                root_id: "oidc",
                vm_id: DOOR_VM,
                reads_body: false,
                configuration: door::plugin(config, sign_in),
            };
            plugin.render(config, modules, &loaded)
        }
        None => nobody(),
    });
    chain.extend(
        Filter::CHAIN
            .iter()
            .filter(|filter| used.contains(filter))
            .map(|&filter| off(filter, config, modules, &loaded)),
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

/// The modules' filters that a chain loads.
fn loaded(config: &Config, used: &BTreeSet<Filter>) -> BTreeSet<&'static str> {
    let guard = config.sign_in.is_some().then_some("oidc");
    used.iter().map(|filter| filter.root_id()).chain(guard).collect()
}

/// The files that a chain loads.
pub(super) fn files(config: &Config, modules: &Modules, used: &BTreeSet<Filter>) -> BTreeSet<PathBuf> {
    let loaded = loaded(config, used);
    loaded.iter().map(|filter| modules.file(&loaded, filter).into()).collect()
}

/// Lets nobody in: an allow list without an entry. It is on for every route that does not say
/// otherwise, where there is no sign-in.
fn nobody() -> Value {
    json!({
        "name": GUARD,
        "typed_config": typed(
            "envoy.extensions.filters.http.rbac.v3.RBAC",
            json!({"rules": {"action": "ALLOW", "policies": {}}}),
        ),
    })
}

/// A filter that a route must switch on.
fn off(filter: Filter, config: &Config, modules: &Modules, loaded: &BTreeSet<&str>) -> Value {
    let plugin = Plugin {
        name: filter.name(),
        root_id: filter.root_id(),
        vm_id: filter.vm_id(),
        reads_body: filter.reads_body(),
        configuration: plugins::plugin(filter, config),
    };
    let mut rendered = plugin.render(config, modules, loaded);
    if let Value::Object(rendered) = &mut rendered {
        rendered.shift_insert(1, "disabled".to_owned(), true.into());
    }
    rendered
}

/// A WebAssembly filter.
struct Plugin {
    name: &'static str,
    root_id: &'static str,
    vm_id: &'static str,
    /// Headers are held until the body is read; Envoy passes no body on otherwise.
    reads_body: bool,
    configuration: Value,
}

impl Plugin {
    fn render(self, config: &Config, modules: &Modules, loaded: &BTreeSet<&str>) -> Value {
        let mut vm = json!({
            "vm_id": self.vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": modules.file(loaded, self.root_id)}},
        });
        if let (Value::Object(vm), true) = (&mut vm, modules.are_precompiled()) {
            vm.insert("allow_precompiled".to_owned(), true.into());
        }
        let variables: Vec<&str> = config.variables().into_iter().collect();
        if let (Value::Object(vm), false) = (&mut vm, variables.is_empty()) {
            vm.insert("environment_variables".to_owned(), json!({"host_env_keys": variables}));
        }
        let mut wasm = json!({"name": self.name, "root_id": self.root_id});
        if let Value::Object(wasm) = &mut wasm {
            if self.reads_body {
                wasm.insert("allow_on_headers_stop_iteration".to_owned(), true.into());
            }
            wasm.insert("failure_policy".to_owned(), "FAIL_RELOAD".into());
            wasm.insert("reload_config".to_owned(), json!({"backoff": {"base_interval": "0.1s"}}));
            let text = json!({"value": self.configuration.to_string()});
            wasm.insert("configuration".to_owned(), typed("google.protobuf.StringValue", text));
            wasm.insert("vm_config".to_owned(), vm);
        }
        let kind = "envoy.extensions.filters.http.wasm.v3.Wasm";
        json!({"name": self.name, "typed_config": typed(kind, json!({"config": wasm}))})
    }
}
