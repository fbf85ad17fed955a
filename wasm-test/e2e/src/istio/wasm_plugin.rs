//! A WasmPlugin as Istio's control plane writes it for Envoy.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Line, Place};

/// A filter of the listener, and what is served for it.
pub(super) struct Plugin {
    pub(super) authn: bool,
    pub(super) filter: Value,
    pub(super) resource: Value,
}

impl Plugin {
    pub(super) fn of(plugin: &Value, line: Line, place: &Place) -> Self {
        let spec = &plugin["spec"];
        let mode = match place {
            Place::Sidecar(port) => json!({"mode": "SERVER", "ports": [{"number": port}]}),
            Place::Gateway { .. } => json!({"mode": "CLIENT"}),
        };
        assert_eq!(spec["match"], json!([mode]), "it is for other requests");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let full_name =
            format!("{}.{}", text(&plugin["metadata"]["namespace"]), text(&plugin["metadata"]["name"]));
        let (name, resource_name) = match line {
            Line::From1_30 => {
                let name = format!("{full_name}~istio-translated-wasmplugin");
                (name.clone(), format!("extensions.istio.io/trafficextension/{name}"))
            }
            _ => (full_name.clone(), format!("extensions.istio.io/wasmplugin/{full_name}")),
        };
        let variables = spec["vmConfig"]["env"].as_array().into_iter().flatten().map(|variable| {
            assert_eq!(variable["valueFrom"], "HOST");
            text(&variable["name"])
        });
        assert_eq!(spec["failStrategy"], "FAIL_RELOAD");
        let wasm = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "root_id": spec["pluginName"],
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": sorted(&spec["pluginConfig"]).to_string(),
                },
                "failure_policy": "FAIL_RELOAD",
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"remote": {
                        "http_uri": {"uri": spec["url"], "cluster": "_", "timeout": "30s"},
                        "sha256": spec["sha256"].as_str().unwrap_or("nil"),
                    }},
                    "environment_variables": {
                        "host_env_keys": variables.collect::<Vec<_>>(),
                        "key_values": {"ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "1"},
                    },
                },
            },
        });
        Self {
            authn: spec["phase"] == "AUTHN",
            filter: json!({
                "name": resource_name,
                "config_discovery": {
                    "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
                    "type_urls": [
                        "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                        "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                    ],
                },
            }),
            resource: json!({"name": resource_name, "typed_config": wasm}),
        }
    }
}

/// It goes through a Struct, which keeps no order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), sorted(value)))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect(),
        Value::Array(values) => values.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
