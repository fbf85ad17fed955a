//! What holds for the whole process: what is measured, and when new work is refused.

use serde_json::{Value, json};

use super::typed;
use crate::config::Limits;

/// Buckets of the filters' histograms, in milliseconds: fine where a reply budget is spent.
const BUCKETS: [f64; 14] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 900.0, 1_800.0, 2_800.0, 5_000.0, 60_000.0];

pub(super) fn stats() -> Value {
    json!({
        "stats_tags": [
            label("filter", r"^wasmcustom\.lockgate\.((\w+)\.)"),
            label("reason", r"^wasmcustom\.lockgate\.\w+\.refused(\.(\w+))$"),
            label("outcome", r"^wasmcustom\.lockgate\.\w+\.played_back(\.(\w+))$"),
        ],
        "histogram_bucket_settings": [{"match": {"prefix": "wasmcustom."}, "buckets": BUCKETS}],
    })
}

/// A Prometheus label: of the two groups the outer is cut out of a statistic's name, the inner is the
/// value. The names on `/stats` stay whole.
fn label(name: &str, regex: &str) -> Value {
    json!({"tag_name": name, "regex": regex})
}

/// Loading and compiling the modules takes megabytes that nothing needs afterwards; they are given back, all of them
/// within a second.
pub(super) fn memory_allocator_manager() -> Value {
    json!({"bytes_to_release": 16 << 20, "memory_release_interval": "1s"})
}

pub(super) fn overload_manager(limits: &Limits) -> Value {
    let connections = "envoy.resource_monitors.global_downstream_max_connections";
    let heap = "envoy.resource_monitors.fixed_heap";
    json!({
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": connections,
                "typed_config": typed(
                    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    json!({"max_active_downstream_connections": limits.connections}),
                ),
            },
            {
                "name": heap,
                "typed_config": typed(
                    "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    json!({"max_heap_size_bytes": limits.heap}),
                ),
            },
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.shrink_heap",
                "triggers": [{"name": heap, "threshold": {"value": 0.9}}],
            },
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [{"name": heap, "threshold": {"value": 0.95}}],
            },
        ],
    })
}
