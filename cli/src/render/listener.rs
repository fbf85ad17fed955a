//! The one listener and its connection manager: what is taken from a client before any filter sees
//! it.

use serde_json::{Value, json};

use super::{Modules, STAT_PREFIX, access_log, address, filters, routes, typed};
use crate::config::Config;

/// A stream that no route says otherwise about may be silent for this long.
const IDLE: &str = "60s";

/// Longer than a load balancer keeps an idle connection (Google's: 600 s), so that the side that
/// sends next is the one that closes.
const CONNECTION_IDLE: &str = "620s";

pub(super) fn listener(config: &Config, modules: &Modules) -> Value {
    json!({
        "name": "main",
        "address": address(config.listen),
        "per_connection_buffer_limit_bytes": config.connection_buffer(),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": connection_manager(config, modules),
        }]}],
    })
}

pub(super) fn connection_manager(config: &Config, modules: &Modules) -> Value {
    let (routes, used) = routes::table(config);
    typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": STAT_PREFIX,
            "server_header_transformation": "PASS_THROUGH",
            // A rule sees the path that the upstream will resolve, or the request is refused.
            "normalize_path": true,
            "merge_slashes": true,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "generate_request_id": true,
            "preserve_external_request_id": true,
            "always_set_request_id_in_response": true,
            // `app.example.com.` is `app.example.com` to every resolver, and to a rule for that host.
            "strip_trailing_host_dot": true,
            "use_remote_address": true,
            "xff_num_trusted_hops": config.trusted_hops,
            "early_header_mutation_extensions": [{
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": typed(
                    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    json!({"mutations": removed_headers(config)}),
                ),
            }],
            "max_request_headers_kb": config.limits.headers_kib,
            "request_headers_timeout": "10s",
            "stream_idle_timeout": IDLE,
            "common_http_protocol_options": {
                "idle_timeout": CONNECTION_IDLE,
                "max_headers_count": config.limits.header_count,
                // `X_Lockgate_…` is `X-Lockgate-…` to many a server.
                "headers_with_underscores_action": "DROP_HEADER",
            },
            "http2_protocol_options": {
                "max_concurrent_streams": 128,
                "initial_stream_window_size": 65_536,
                "initial_connection_window_size": 1_048_576,
            },
            "access_log": access_log::access_log(config),
            "local_reply_config": local_replies(),
            "route_config": {
                "name": "main",
                "virtual_hosts": [{"name": "main", "domains": ["*"], "routes": routes}],
            },
            "http_filters": filters::chain(config, modules, &used),
        }),
    )
}

/// What a client could make a filter, Envoy or the upstream believe. It is removed before the first
/// route is chosen, on every path.
fn removed_headers(config: &Config) -> Vec<Value> {
    let prefix =
        |prefix: &str| json!({"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": true}}});
    let name = |name: &str| json!({"remove": name});
    // `x-envoy-*` would change timeouts and retries; the next two name another path than was judged.
    let mut removed =
        vec![prefix("x-lockgate-"), prefix("x-envoy-"), name("x-original-url"), name("x-rewrite-url")];
    if config.trusted_hops == 0 {
        removed.extend([prefix("x-forwarded-"), name("forwarded"), name("x-real-ip")]);
    }
    let identity = config.sign_in.iter().flat_map(|sign_in| &sign_in.headers);
    let others = identity.filter(|(header, _)| !header.starts_with("x-lockgate-"));
    removed.extend(others.map(|(header, _)| name(header)));
    removed
}

/// Envoy's own refusals and failures name the rule, the reset or the limit; a client is told a plain
/// sentence and the request id. What a filter says is left as it is.
fn local_replies() -> Value {
    let body = |sentence: &str| {
        json!({"text_format_source": {
            "inline_string": format!("{sentence} Request id: %REQ(X-REQUEST-ID):64%\n"),
        }})
    };
    let of_rbac = access_log::expression("response.code_details.startsWith(\"rbac_access_denied\")");
    // An expression is not asked before it has to be: the answer to a webhook is a local reply too.
    let by_guard = json!({"and_filter": {"filters": [access_log::status("EQ", 403, "not_open"), of_rbac]}});
    // The end of max_stream_duration has no flag, only its status: 408 while the request is still
    // arriving, 504 behind it.
    let failed = json!({"or_filter": {"filters": [
        {"response_flag_filter": {
            "flags": ["UH", "UF", "UC", "UT", "UR", "URX", "UO", "LR", "LH", "NC", "NR", "DC", "DT", "DF", "UPE"],
        }},
        access_log::status("EQ", 504, "gateway_timeout"),
    ]}});
    json!({"mappers": [
        {"filter": by_guard, "body_format_override": body("This address is not open.")},
        {"filter": access_log::status("EQ", 408, "request_timeout"), "body_format_override": body("The request took too long.")},
        {"filter": failed, "body_format_override": body("The service cannot answer right now.")},
    ]})
}
