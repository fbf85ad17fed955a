//! The configuration as used → Envoy's bootstrap, as one tree of JSON values that is printed as YAML.

mod access_log;
mod clusters;
mod cors;
mod door;
mod filters;
mod listener;
mod matching;
mod plugins;
mod process;
mod routes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Config;

/// The prefix of the statistics that `lockgate run` waits on.
pub const STAT_PREFIX: &str = "lockgate";

/// The path that answers 204 as soon as the chain serves.
pub const HEALTH: &str = "/_lockgate/health";

/// The path that answers 204 once keys and secrets are there, and 503 before.
const READY: &str = "/_lockgate/ready";

/// Time to wait for an identity token.
const IDENTITY: Duration = Duration::from_secs(3);

/// The modules that hold several filters, the smallest first, and what they hold. Each filter also has one
/// of its own, named after it.
const BUNDLES: [(&str, &[&str]); 4] = [
    ("oidc", &["oidc", "oidc-back-channel"]),
    ("log", &["slack-signature", "form-to-json", "pubsub-enqueue", "pubsub-playback"]),
    (
        "log-identity",
        &["slack-signature", "form-to-json", "pubsub-enqueue", "pubsub-playback", "upstream-identity"],
    ),
    (ALL, &[]),
];

/// The module with every filter.
const ALL: &str = "lockgate";

/// Where the filters' code is.
#[derive(Clone, Debug)]
pub struct Modules(PathBuf);

impl Modules {
    /// A directory with the modules, or one module that is used whatever its name.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The smallest module that holds all of `filters`. What is not configured is not loaded: each byte of a
    /// module is compiled before the first answer.
    fn file(&self, filters: &BTreeSet<&str>) -> String {
        let holds = |held: &[&str]| filters.iter().all(|filter| held.contains(filter));
        let bundle = BUNDLES.iter().find(|(_, held)| holds(held)).map_or(ALL, |(name, _)| *name);
        let only = filters.first().filter(|_| filters.len() == 1);
        let path = match self.0.extension() {
            Some(extension) if extension == "wasm" => self.0.clone(),
            _ => self.0.join(format!("{}.wasm", only.unwrap_or(&bundle))),
        };
        path.to_string_lossy().into_owned()
    }
}

/// Envoy's bootstrap as YAML. It holds the names of secrets, never their values.
///
/// # Errors
/// None for a resolved configuration; the YAML writer's are passed on.
pub fn bootstrap(config: &Config, modules: &Modules) -> Result<String, serde_norway::Error> {
    serde_norway::to_string(&tree(config, modules))
}

fn tree(config: &Config, modules: &Modules) -> Value {
    json!({
        "node": {"id": "lockgate", "cluster": "lockgate"},
        "admin": {"address": address(config.admin), "ignore_global_conn_limit": true},
        "stats_config": process::stats(),
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
