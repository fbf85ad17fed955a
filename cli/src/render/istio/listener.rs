//! What is taken from a client before any filter sees it. Where the mesh has settings of its own
//! (forwarded addresses, request ids, idle times, access logs), they stay.

use serde_json::{Map, Value, json};

use super::{CONNECTION_MANAGER, found, in_listener, patch};
use crate::config::{Config, Mesh};

/// Settings of the connection manager without which a filter would judge another request than the one
/// that goes on.
const KEPT: [&str; 7] = [
    "normalize_path",
    "merge_slashes",
    "path_with_escaped_slashes_action",
    "strip_trailing_host_dot",
    "early_header_mutation_extensions",
    "max_request_headers_kb",
    "request_headers_timeout",
];

/// Likewise, of its protocol options.
const KEPT_OPTIONS: [&str; 2] = ["max_headers_count", "headers_with_underscores_action"];

/// How the headers begin that change what Envoy does with a request. The other `x-envoy-` headers are how
/// proxies of a mesh tell each other who they are.
const STEERING: [&str; 9] = [
    "x-envoy-downstream-service-",
    "x-envoy-expected-rq-",
    "x-envoy-force-trace",
    "x-envoy-hedge-",
    "x-envoy-internal",
    "x-envoy-max-retries",
    "x-envoy-original-",
    "x-envoy-ret",
    "x-envoy-upstream-",
];

pub(super) fn patches(manager: &Value, config: &Config, mesh: &Mesh) -> Vec<Value> {
    let limit = json!({"per_connection_buffer_limit_bytes": config.connection_buffer()});
    let kind = manager.get("@type").cloned().unwrap_or_default();
    let mut settings = Map::from_iter([("@type".to_owned(), kind)]);
    settings.extend(only(manager, &KEPT));
    let options = manager.get("common_http_protocol_options").map(|options| only(options, &KEPT_OPTIONS));
    settings.insert("common_http_protocol_options".to_owned(), options.unwrap_or_default().into());
    let mut settings = Value::Object(settings);
    removed_headers(&mut settings);
    let manager = json!({"name": CONNECTION_MANAGER, "typed_config": settings});
    let manager = patch("NETWORK_FILTER", mesh, "MERGE", manager);
    vec![
        patch("LISTENER", mesh, "MERGE", limit),
        found(manager, "listener", in_listener(mesh, json!({"name": CONNECTION_MANAGER}))),
    ]
}

fn only(object: &Value, names: &[&str]) -> Map<String, Value> {
    let kept = names.iter().filter_map(|&name| Some((name.to_owned(), object.get(name)?.clone())));
    kept.collect()
}

/// Where a request comes from is the mesh's to say.
fn removed_headers(settings: &mut Value) {
    let place = "/early_header_mutation_extensions/0/typed_config/mutations";
    let Some(Value::Array(mutations)) = settings.pointer_mut(place) else { return };
    let all = std::mem::take(mutations);
    mutations.extend(all.into_iter().flat_map(|mutation| {
        let prefix = mutation.pointer("/remove_on_match/key_matcher/prefix").and_then(Value::as_str);
        let name = mutation.get("remove").and_then(Value::as_str);
        match (prefix, name) {
            (Some("x-envoy-"), _) => STEERING.iter().map(|prefix| removed(prefix)).collect(),
            (Some("x-forwarded-"), _) | (_, Some("forwarded" | "x-real-ip")) => Vec::new(),
            _ => vec![mutation],
        }
    }));
}

fn removed(prefix: &str) -> Value {
    json!({"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": true}}})
}
