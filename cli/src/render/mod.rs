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

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::Config;

/// The prefix of the statistics that `lockgate run` waits on.
pub const STAT_PREFIX: &str = "lockgate";

/// The path that answers 204 as soon as the chain serves.
pub const HEALTH: &str = "/_lockgate/health";

/// The module with every filter of the write-ahead log.
const LOG: &str = "log.wasm";

/// The module with every filter.
const ALL: &str = "lockgate.wasm";

/// Where the filters' code is.
#[derive(Clone, Debug)]
pub struct Modules(PathBuf);

impl Modules {
    /// A directory with `log.wasm` and `lockgate.wasm`, or one module that is used whatever its name.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// What is not configured is not loaded: each byte of a module is compiled before the first answer.
    fn file(&self, config: &Config) -> String {
        let module = if config.sign_in.is_some() { ALL } else { LOG };
        let path = match self.0.extension() {
            Some(extension) if extension == "wasm" => self.0.clone(),
            _ => self.0.join(module),
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
