//! The listener that Istio's control plane writes for a sidecar's inbound requests, and a gateway's.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Place;
use super::patches::CONNECTION_MANAGER;
use super::wasm_plugin::Plugin;

pub(super) fn listener(place: &Place, reached_at: SocketAddr, plugins: &[Plugin]) -> Value {
    let manager = json!({
        "name": CONNECTION_MANAGER,
        "typed_config": connection_manager(place, plugins),
    });
    match place {
        Place::Sidecar(port) => json!({
            "name": "virtualInbound",
            "address": address(reached_at),
            "traffic_direction": "INBOUND",
            "continue_on_listener_filters_timeout": true,
            "filter_chains": [{
                "name": format!("0.0.0.0_{port}"),
                "filter_chain_match": {"destination_port": port},
                "filters": [manager],
            }],
        }),
        Place::Gateway { .. } => json!({
            "name": format!("0.0.0.0_{}", reached_at.port()),
            "address": address(reached_at),
            "traffic_direction": "OUTBOUND",
            "filter_chains": [{"filters": [manager]}],
        }),
    }
}

fn connection_manager(place: &Place, plugins: &[Plugin]) -> Value {
    let native = |name: &str, kind: &str| {
        let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
        json!({"name": name, "typed_config": {"@type": kind}})
    };
    let phase = |authn: bool| {
        plugins.iter().filter(move |plugin| plugin.authn == authn).map(|plugin| plugin.filter.clone())
    };
    let usual = [
        native("envoy.filters.http.grpc_stats", "grpc_stats.v3.FilterConfig"),
        native("envoy.filters.http.fault", "fault.v3.HTTPFault"),
        native("envoy.filters.http.cors", "cors.v3.Cors"),
        native("envoy.filters.http.router", "router.v3.Router"),
    ];
    let filters: Vec<Value> = phase(true).chain(phase(false)).chain(usual).collect();
    let (name, domains, cluster, is_edge) = match place {
        Place::Sidecar(port) => {
            (format!("inbound|{port}||"), json!(["*"]), format!("inbound|{port}||"), false)
        }
        Place::Gateway { host, cluster } => ("http.8080".to_owned(), json!([host]), cluster.clone(), true),
    };
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound_0.0.0.0_8080;",
        "normalize_path": true,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "use_remote_address": is_edge,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "0s",
        "route_config": {
            "name": name,
            "validate_clusters": false,
            "virtual_hosts": [{
                "name": "inbound|http|8080",
                "domains": domains,
                "routes": [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
            }],
        },
        "http_filters": filters,
    })
}

/// The one connection manager.
pub(super) fn manager(listener: &mut Value) -> &mut Value {
    listener.pointer_mut("/filter_chains/0/filters/0/typed_config").expect("a connection manager")
}

/// The port that a patch names it by.
pub(super) fn port(listener: &Value) -> u16 {
    let redirected = listener.pointer("/filter_chains/0/filter_chain_match/destination_port");
    let bound = listener.pointer("/address/socket_address/port_value");
    let port = redirected.or(bound).and_then(Value::as_u64).and_then(|port| port.try_into().ok());
    port.expect("a port")
}

/// Without redirection, the chain is found by nothing.
pub(super) fn settle(listener: &mut Value) {
    let chain = listener.pointer_mut("/filter_chains/0").and_then(Value::as_object_mut);
    chain.expect("a chain").shift_remove("filter_chain_match");
}

pub(super) fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A filter that is never on, with the smallest module that Envoy takes: its VM is made before Envoy's
/// workers are.
pub(super) fn early_vm() -> Value {
    json!({
        "name": "early-vm",
        "disabled": true,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {"vm_config": {
                "vm_id": "early-vm",
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"inline_bytes": STANDARD.encode(NOTHING)}},
            }},
        },
    })
}

/// A memory, an allocator and the ABI's version.
const NOTHING: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x09\x02\x60\0\0\x60\x01\x7f\x01\x7f\
    \x03\x03\x02\0\x01\
    \x05\x03\x01\0\x01\
    \x07\x3f\x03\x06memory\x02\0\x17proxy_abi_version_0_2_1\0\0\x18proxy_on_memory_allocate\0\x01\
    \x0a\x09\x02\x02\0\x0b\x04\0\x41\0\x0b";
