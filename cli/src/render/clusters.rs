//! Where requests and calls go. No cluster resolves a name before the listener is ready: one silent
//! name server would hold up the start, so names are resolved when they are first used.

use serde_json::{Value, json};

use super::plugins::calls_plain_http;
use super::typed;
use crate::config::{Config, Scheme, Url};

/// The service behind.
pub(super) const UPSTREAM: &str = "upstream";

/// Has no hosts: a route that leads here answers 503.
pub(super) const REFUSED: &str = "refused";

const CALLOUT_HTTPS: &str = "callout_https";
const CALLOUT_HTTP: &str = "callout_http";

pub(super) fn clusters(config: &Config) -> Vec<Value> {
    let refused = json!({"name": REFUSED, "type": "STATIC", "load_assignment": {"cluster_name": REFUSED}});
    let upstream = config.upstream.url.as_ref().map(|url| upstream(config, url));
    let mut clusters: Vec<Value> = upstream.into_iter().chain([refused]).collect();
    if config.slack.is_some()
        || config.log.is_some()
        || config.sign_in.is_some()
        || config.upstream.identity.is_some()
    {
        // Google is near; a provider may be on the other side of the world.
        let connect_timeout = if config.sign_in.is_some() { "2s" } else { "0.8s" };
        clusters.push(callout(CALLOUT_HTTPS, connect_timeout, Some(&config.ca_file)));
        if calls_plain_http(config) {
            clusters.push(callout(CALLOUT_HTTP, connect_timeout, None));
        }
    }
    clusters
}

/// The filter chooses the host by `:authority`.
fn callout(name: &str, connect_timeout: &str, ca_file: Option<&str>) -> Value {
    let mut cluster = named_hosts(name);
    set(&mut cluster, "connect_timeout", connect_timeout.into());
    let protocol = json!({"explicit_http_config": {"http_protocol_options": {}}});
    finish(&mut cluster, protocol, ca_file);
    cluster
}

fn upstream(config: &Config, url: &Url) -> Value {
    let mut cluster = match url.ip() {
        Some(ip) => json!({
            "name": UPSTREAM,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": UPSTREAM,
                "endpoints": [{"lb_endpoints": [{"endpoint": {
                    "address": {"socket_address": {"address": ip.to_string(), "port_value": url.port}},
                }}]}],
            },
        }),
        None => named_hosts(UPSTREAM),
    };
    set(&mut cluster, "connect_timeout", "5s".into());
    // A WebSocket needs HTTP/1.1 and gRPC needs HTTP/2 all the way, and TLS servers speak both. Without
    // TLS few speak HTTP/2, so a client that does must not decide for them.
    let secure = url.scheme == Scheme::Https;
    let protocol = match secure {
        true => json!({"use_downstream_protocol_config": {
            "http_protocol_options": {},
            "http2_protocol_options": {},
        }}),
        false => json!({"explicit_http_config": {"http_protocol_options": {}}}),
    };
    let ca_file = secure.then_some(config.ca_file.as_str());
    finish(&mut cluster, protocol, ca_file);
    cluster
}

/// Hosts by name, resolved when they are first asked for. To name one beforehand
/// (`preresolve_hostnames`) would hold up the start until it is resolved or given up: 5 s and more.
fn named_hosts(name: &str) -> Value {
    json!({
        "name": name,
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": typed(
                "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
                // Cloud Run has no IPv6 egress unless it is asked for.
                json!({"dns_cache_config": {"name": name, "dns_lookup_family": "V4_PREFERRED"}}),
            ),
        },
    })
}

fn finish(cluster: &mut Value, mut protocol: Value, ca_file: Option<&str>) {
    // Without TLS they do nothing, but a cluster that resolves names by itself must have them.
    set(
        &mut protocol,
        "upstream_http_protocol_options",
        json!({"auto_sni": true, "auto_san_validation": true}),
    );
    if let Some(ca_file) = ca_file {
        set(
            cluster,
            "transport_socket",
            json!({
                "name": "envoy.transport_sockets.tls",
                "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", json!({
                    "common_tls_context": {"validation_context": {"trusted_ca": {"filename": ca_file}}},
                })),
            }),
        );
    }
    set(
        cluster,
        "typed_extension_protocol_options",
        json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
                typed("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", protocol),
        }),
    );
    // The limit on paused streams is the filters'; Envoy's default would be met first.
    set(
        cluster,
        "circuit_breakers",
        json!({"thresholds": [{
            "max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096, "max_retries": 64,
        }]}),
    );
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(name.to_owned(), value);
    }
}
