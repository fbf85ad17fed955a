//! The configuration as used → Envoy's bootstrap, as one tree of JSON values that is printed as YAML.

mod access_log;
mod clusters;
mod cors;
mod door;
mod filters;
pub mod istio;
mod listener;
mod matching;
mod modules;
mod plugins;
mod process;
mod routes;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

pub use modules::Modules;

use crate::config::Config;

/// The prefix of the statistics that `lockgate run` waits on.
pub const STAT_PREFIX: &str = "lockgate";

/// The path that answers 204 as soon as the chain serves.
pub const HEALTH: &str = "/_lockgate/health";

/// The path that answers 204 once keys and secrets are there, and 503 before.
const READY: &str = "/_lockgate/ready";

/// Time to wait for an identity token.
const IDENTITY: Duration = Duration::from_secs(3);

/// Envoy's bootstrap as YAML. It holds the names of secrets, never their values.
///
/// # Errors
/// None for a resolved configuration; the YAML writer's are passed on.
pub fn bootstrap(config: &Config, modules: &Modules) -> Result<String, serde_norway::Error> {
    serde_norway::to_string(&tree(config, modules))
}

/// The same as JSON, which Envoy reads in a few milliseconds less.
pub fn bootstrap_json(config: &Config, modules: &Modules) -> String {
    tree(config, modules).to_string()
}

/// The files of the modules that the bootstrap loads.
pub fn modules_loaded(config: &Config, modules: &Modules) -> BTreeSet<PathBuf> {
    let (_, used) = routes::table(config);
    filters::files(config, modules, &used)
}

fn tree(config: &Config, modules: &Modules) -> Value {
    json!({
        "node": {"id": "lockgate", "cluster": "lockgate"},
        "admin": {"address": address(config.admin), "ignore_global_conn_limit": true},
        "stats_config": process::stats(),
        "memory_allocator_manager": process::memory_allocator_manager(),
        "overload_manager": process::overload_manager(&config.limits),
        "static_resources": {
            "listeners": [listener::listener(config, modules)],
            "clusters": clusters::clusters(config),
        },
    })
}

/// An extension's configuration with its type.
fn typed(kind: &str, mut fields: Value) -> Value {
    if let Value::Object(fields) = &mut fields {
        fields.shift_insert(0, "@type".to_owned(), format!("type.googleapis.com/{kind}").into());
    }
    fields
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
