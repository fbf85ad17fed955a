//! An EnvoyFilter, applied as Istio's control plane applies it.

use std::cell::Cell;

use serde_json::{Value, json};

use super::{Line, Place, listener};

/// The patches of one EnvoyFilter.
pub(super) struct Patches {
    all: Vec<(Value, Cell<bool>)>,
}

impl Patches {
    pub(super) fn of(envoy_filter: &Value, line: Line, place: &Place) -> Self {
        let context = match place {
            Place::Sidecar(_) => "SIDECAR_INBOUND",
            Place::Gateway { .. } => "GATEWAY",
        };
        let patches = envoy_filter["spec"]["configPatches"].as_array().expect("patches").iter();
        let meant = patches.filter(|patch| {
            assert_eq!(patch["match"]["context"], context);
            is_for(patch, line)
        });
        Self { all: meant.map(|patch| (patch.clone(), Cell::new(false))).collect() }
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a (Value, Cell<bool>)> {
        self.all.iter().filter(move |(patch, _)| patch["applyTo"] == kind)
    }

    /// The filters that are served apart.
    pub(super) fn extension_configs(&self) -> Vec<Value> {
        let patches = self.of_kind("EXTENSION_CONFIG");
        patches
            .map(|(patch, applied)| {
                assert_eq!(patch["patch"]["operation"], "ADD");
                applied.set(true);
                patch["patch"]["value"].clone()
            })
            .collect()
    }

    /// # Panics
    /// When a patch has found nothing to change.
    pub(super) fn apply(&self, listener: &mut Value) {
        for (patch, applied) in self.of_kind("LISTENER") {
            assert_eq!(patch["patch"]["operation"], "MERGE");
            assert!(patch["match"]["listener"].is_null(), "every listener is meant");
            merge(listener, &patch["patch"]["value"]);
            applied.set(true);
        }
        let port = listener::port(listener);
        let manager = listener::manager(listener);
        self.routes(&mut manager["route_config"]);
        for (patch, applied) in self.of_kind("NETWORK_FILTER") {
            assert_eq!(patch["patch"]["operation"], "MERGE");
            if let (true, None) = in_listener(patch, port) {
                let value = &patch["patch"]["value"];
                assert_eq!(value["name"], CONNECTION_MANAGER);
                merge(manager, &value["typed_config"]);
                applied.set(true);
            }
        }
        let filters = manager["http_filters"].as_array_mut().expect("filters");
        for (patch, applied) in self.of_kind("HTTP_FILTER") {
            let (here, beside) = in_listener(patch, port);
            let place = match (patch["patch"]["operation"].as_str(), beside) {
                (Some("INSERT_FIRST"), None) => Some(0),
                (Some("INSERT_BEFORE"), Some(name)) => {
                    filters.iter().position(|filter| filter["name"] == name)
                }
                other => panic!("unknown to this kit: {other:?}"),
            };
            if let (true, Some(place)) = (here, place) {
                filters.insert(place, patch["patch"]["value"].clone());
                applied.set(true);
            }
        }
        for (patch, applied) in &self.all {
            let apart = patch["applyTo"] == "EXTENSION_CONFIG";
            assert!(apart || applied.get(), "a patch that finds nothing to change: {patch:#}");
        }
    }

    fn routes(&self, configuration: &mut Value) {
        let name = configuration["name"].clone();
        for host in configuration["virtual_hosts"].as_array_mut().into_iter().flatten() {
            let here = |patch: &Value| {
                let wanted = &patch["match"]["routeConfiguration"];
                let domain = &wanted["vhost"]["domainName"];
                let domains = host["domains"].as_array().expect("domains");
                assert!(wanted["vhost"]["route"].is_null(), "every route is meant");
                (wanted["name"].is_null() || wanted["name"] == name)
                    && (domain.is_null() || domains.contains(domain))
            };
            let meant: Vec<_> = self.of_kind("HTTP_ROUTE").filter(|(patch, _)| here(patch)).collect();
            let routes = host["routes"].as_array_mut().expect("routes");
            // What is taken away are the routes that were there; it is done first, wherever it stands.
            if meant.iter().any(|(patch, _)| patch["patch"]["operation"] == "REMOVE") {
                routes.clear();
            }
            for (patch, applied) in meant {
                match patch["patch"]["operation"].as_str() {
                    Some("REMOVE") => assert!(patch["patch"]["value"].is_null()),
                    Some("ADD") => routes.push(patch["patch"]["value"].clone()),
                    other => panic!("unknown to this kit: {other:?}"),
                }
                applied.set(true);
            }
        }
    }
}

pub(super) const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Whether a patch is for proxies of a version.
fn is_for(patch: &Value, line: Line) -> bool {
    match patch["match"]["proxy"]["proxyVersion"].as_str() {
        None => true,
        Some(r"^1\.(2[89]|[3-9][0-9])") => line != Line::UpTo1_27,
        Some(other) => panic!("unknown to this kit: {other}"),
    }
}

/// Whether a patch is for the connection manager of this port, and which filter in it is named.
fn in_listener(patch: &Value, port: u16) -> (bool, Option<&str>) {
    let wanted = &patch["match"]["listener"];
    let filter = &wanted["filterChain"]["filter"];
    let here = wanted["portNumber"].is_null() || wanted["portNumber"] == port;
    (here && filter["name"] == CONNECTION_MANAGER, filter["subFilter"]["name"].as_str())
}

/// As Protocol Buffers merge: fields into fields, lists behind lists, anything else replaced.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            assert!(from.get("@type").is_none_or(|kind| into.get("@type") == Some(kind)), "another type");
            for (name, value) in from {
                merge(into.entry(name).or_insert(json!(null)), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}
