//! One JSON line a request on standard output. It holds no header but the request id, and no query:
//! either may carry a secret.

use serde_json::{Value, json};

use super::typed;

pub(super) fn access_log() -> Value {
    json!([{
        "name": "envoy.access_loggers.stdout",
        "filter": not_a_health_check(),
        "typed_config": typed("envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", json!({
            "log_format": {"json_format": {
                "time": "%START_TIME%",
                // A client may choose the id, so its length is bounded.
                "request_id": "%REQ(X-REQUEST-ID):64%",
                "method": "%REQ(:METHOD):16%",
                "path": "%PATH(NQ):1024%",
                "route": "%ROUTE_NAME%",
                "status": "%RESPONSE_CODE%",
                "flags": "%RESPONSE_FLAGS%",
                "details": "%RESPONSE_CODE_DETAILS%",
                "duration_ms": "%DURATION%",
                "upstream_status": "%FILTER_STATE(wasm.lockgate_upstream_status:PLAIN)%",
                "refused": "%FILTER_STATE(wasm.lockgate_refused:PLAIN)%",
                "bytes_received": "%BYTES_RECEIVED%",
                "bytes_sent": "%BYTES_SENT%",
            }},
        })),
    }])
}

/// Probes would be most of the log.
fn not_a_health_check() -> Value {
    json!({"header_filter": {"header": {
        "name": ":path",
        "string_match": {"safe_regex": {"regex": r"/(_lockgate/)?health(\?.*)?"}},
        "invert_match": true,
    }}})
}
