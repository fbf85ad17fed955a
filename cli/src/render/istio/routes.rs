//! The plain route table in the place of the mesh's.

use serde_json::{Map, Value, json};

use super::super::clusters::{REFUSED, UPSTREAM};
use super::super::cors::CORS;
use super::super::typed;
use super::chain::{OWN_CORS, Plugin};
use super::{egress, found, patch};
use crate::config::{Config, Mesh, Proxy, Scheme};

/// Without hosts; Istio has it in every proxy.
const BLACK_HOLE: &str = "BlackHoleCluster";

/// An older control plane does not know a route that asks for a filter's mark, and would write it without
/// the question. There the mesh's own routes stay, and the guard before all of them.
const KNOWS_MARKS: &str = r"^1\.(2[89]|[3-9][0-9])";

/// Takes away the mesh's routes, then puts ours there in their order.
pub(super) fn patches(manager: &Value, config: &Config, mesh: &Mesh, plugins: &[Plugin]) -> Vec<Value> {
    let routes = manager.pointer("/route_config/virtual_hosts/0/routes").and_then(Value::as_array);
    let ours = routes.map_or(&[][..], Vec::as_slice).iter().map(|route| {
        let mut route = route.clone();
        lead(&mut route, config, mesh);
        name_filters(&mut route, plugins);
        placed(patch("HTTP_ROUTE", mesh, "ADD", route), mesh)
    });
    let mut theirs = patch("HTTP_ROUTE", mesh, "REMOVE", Value::Null);
    if let Some(Value::Object(patch)) = theirs.get_mut("patch") {
        patch.shift_remove("value");
    }
    [placed(theirs, mesh)].into_iter().chain(ours).collect()
}

fn placed(patch: Value, mesh: &Mesh) -> Value {
    let how = match &mesh.proxy {
        Proxy::Sidecar(port) => json!({"name": format!("inbound|{port}||")}),
        Proxy::Gateway(host) => json!({"vhost": {"domainName": host}}),
    };
    found(found(patch, "proxy", json!({"proxyVersion": KNOWS_MARKS})), "routeConfiguration", how)
}

/// Where it leads.
fn lead(route: &mut Value, config: &Config, mesh: &Mesh) {
    let Some(Value::Object(action)) = route.get_mut("route") else { return };
    match (action.get("cluster").and_then(Value::as_str), &config.upstream.url) {
        (Some(UPSTREAM), Some(upstream)) => {
            let cluster = match &mesh.proxy {
                Proxy::Sidecar(port) => format!("inbound|{port}||"),
                Proxy::Gateway(_) if upstream.scheme == Scheme::Https => {
                    egress::cluster(mesh, &upstream.host, upstream.scheme, upstream.port)
                }
                Proxy::Gateway(_) => format!("outbound|{}||{}", upstream.port, upstream.host),
            };
            action.insert("cluster".to_owned(), cluster.into());
            // A service in the mesh is known by the name that its client used.
            if upstream.scheme == Scheme::Http {
                action.shift_remove("host_rewrite_literal");
                action.shift_remove("append_x_forwarded_host");
            }
        }
        (Some(REFUSED), _) => drop(action.insert("cluster".to_owned(), BLACK_HOLE.into())),
        _ => {}
    }
    // A mesh's connection manager allows them everywhere.
    if !action.contains_key("upgrade_configs") {
        let none = json!([{"upgrade_type": "websocket", "enabled": false}]);
        action.insert("upgrade_configs".to_owned(), none);
    }
}

/// Which filters it switches, by the names that they have in a mesh.
fn name_filters(route: &mut Value, plugins: &[Plugin]) {
    let Value::Object(route) = route else { return };
    let mut switches = match route.shift_remove("typed_per_filter_config") {
        Some(Value::Object(switches)) => switches,
        _ => Map::new(),
    };
    if let Some(policy) = switches.shift_remove(CORS) {
        switches.insert(OWN_CORS.to_owned(), policy);
    }
    for plugin in plugins {
        let off = match switches.shift_remove(&plugin.name) {
            Some(switch) => switch.get("disabled") == Some(&Value::Bool(true)),
            None => plugin.off,
        };
        if off {
            let off = typed("envoy.config.route.v3.FilterConfig", json!({"disabled": true}));
            switches.extend(plugin.names.iter().map(|name| (name.clone(), off.clone())));
        }
    }
    if !switches.is_empty() {
        route.insert("typed_per_filter_config".to_owned(), Value::Object(switches));
    }
}
