//! Each filter of the plain chain, in the form in which a mesh takes it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::cors::CORS;
use super::{CONNECTION_MANAGER, Digests, Error, ROUTER, found, in_listener, patch, resource};
use crate::config::{Config, Mesh, Proxy};

/// Envoy's CORS filter as it stands before the guard. Istio has one of its own behind it, under the
/// filter's usual name.
pub(super) const OWN_CORS: &str = "lockgate.cors";

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// What Istio's agent puts in the place of a module that it cannot get.
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

/// The chain.
pub(super) struct Chain {
    pub(super) plugins: Vec<Plugin>,
    pub(super) patches: Vec<Value>,
}

/// A filter that is a WasmPlugin.
pub(super) struct Plugin {
    /// In the plain chain and route table.
    pub(super) name: String,
    /// In a mesh's, where Istio has given it one; which, depends on Istio's version.
    pub(super) names: [String; 2],
    /// Whether the plain chain has it off unless a route switches it on; a WasmPlugin is on.
    pub(super) off: bool,
    pub(super) resource: Value,
}

impl Chain {
    pub(super) fn of(
        manager: &Value,
        config: &Config,
        mesh: &Mesh,
        digests: Option<&Digests>,
    ) -> Result<Self, Error> {
        let filters = manager.get("http_filters").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (mut plugins, mut resources, mut places) = (Vec::<Plugin>::new(), Vec::new(), Vec::new());
        let mut shared_ids = Vec::new();
        for filter in filters.iter().filter(|filter| name(filter) != ROUTER) {
            let Some(wasm) = wasm(filter) else {
                places.push(native(filter, mesh));
                continue;
            };
            // A WasmPlugin stands before all that an EnvoyFilter puts directly before the router.
            if reads_body(wasm) || !resources.is_empty() {
                let mut resource = filter.clone();
                let code = remote(&module(wasm), mesh, digests)?;
                own_resource(&mut resource, code, &shared_ids);
                resources.push(patch("EXTENSION_CONFIG", mesh, "ADD", resource));
                places.push(before_router(mesh, discovered(filter)));
            } else {
                shared_ids.push(wasm.pointer("/vm_config/vm_id").cloned().unwrap_or_default());
                plugins.push(plugin(filter, wasm, config, mesh, digests)?);
            }
        }
        Ok(Self { plugins, patches: resources.into_iter().chain(places).collect() })
    }
}

fn name(filter: &Value) -> &str {
    filter.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// A WebAssembly filter's own part.
fn wasm(filter: &Value) -> Option<&Value> {
    let kind = filter.pointer("/typed_config/@type").and_then(Value::as_str);
    if kind == Some(WASM) { filter.pointer("/typed_config/config") } else { None }
}

/// No WasmPlugin can say that.
fn reads_body(wasm: &Value) -> bool {
    wasm.get("allow_on_headers_stop_iteration") == Some(&Value::Bool(true))
}

/// The module's name, which is its image's.
fn module(wasm: &Value) -> String {
    let file = wasm.pointer("/vm_config/code/local/filename").and_then(Value::as_str).unwrap_or_default();
    Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// An image's address and its manifest's digest.
fn image(module: &str, mesh: &Mesh, digests: Option<&Digests>) -> Result<(String, Option<String>), Error> {
    let digest = match digests {
        Some(digests) => Some(digests.get(module).cloned().ok_or_else(|| Error::NoImage(module.to_owned()))?),
        None => None,
    };
    Ok((format!("oci://{}/{module}:{}", mesh.images, mesh.tag), digest))
}

/// The code as Istio's control plane writes it. The agent fetches it, and Envoy gets a file.
fn remote(module: &str, mesh: &Mesh, digests: Option<&Digests>) -> Result<Value, Error> {
    let (uri, digest) = image(module, mesh, digests)?;
    Ok(json!({"remote": {
        "http_uri": {"uri": uri, "cluster": "_", "timeout": "30s"},
        // The agent's word for none; Envoy's own rules want some text.
        "sha256": digest.as_deref().unwrap_or("nil"),
    }}))
}

/// The resource that is served for a filter: the plain filter, with the code from an image. A WasmPlugin's
/// VM has no id, and what filters share is kept by the id, so a filter that shares a WasmPlugin's has none.
fn own_resource(resource: &mut Value, code: Value, shared_ids: &[Value]) {
    if let Value::Object(fields) = resource {
        fields.shift_remove("disabled");
    }
    let Some(Value::Object(vm)) = resource.pointer_mut("/typed_config/config/vm_config") else { return };
    if vm.get("vm_id").is_some_and(|id| shared_ids.contains(id)) {
        vm.shift_remove("vm_id");
    }
    vm.insert("code".to_owned(), code);
}

/// A place in the chain whose filter is served apart.
fn discovered(filter: &Value) -> Value {
    let mut place = Map::new();
    place.insert("name".to_owned(), name(filter).into());
    if let Some(disabled) = filter.get("disabled") {
        place.insert("disabled".to_owned(), disabled.clone());
    }
    place.insert(
        "config_discovery".to_owned(),
        json!({
            // The listener waits for the filter, without an end, as Istio has it for its own.
            "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "type_urls": [WASM, RBAC],
        }),
    );
    Value::Object(place)
}

fn native(filter: &Value, mesh: &Mesh) -> Value {
    if name(filter) != CORS {
        return before_router(mesh, filter.clone());
    }
    let mut renamed = filter.clone();
    if let Value::Object(fields) = &mut renamed {
        fields.insert("name".to_owned(), OWN_CORS.into());
    }
    // Before the guard, which may be a WasmPlugin.
    let first = patch("HTTP_FILTER", mesh, "INSERT_FIRST", renamed);
    found(first, "listener", in_listener(mesh, json!({"name": CONNECTION_MANAGER})))
}

/// Filters that are put there one after the other stand in that order.
fn before_router(mesh: &Mesh, value: Value) -> Value {
    let router = json!({"name": CONNECTION_MANAGER, "subFilter": {"name": ROUTER}});
    found(patch("HTTP_FILTER", mesh, "INSERT_BEFORE", value), "listener", in_listener(mesh, router))
}

fn plugin(
    filter: &Value,
    wasm: &Value,
    config: &Config,
    mesh: &Mesh,
    digests: Option<&Digests>,
) -> Result<Plugin, Error> {
    let root_id = wasm.get("root_id").and_then(Value::as_str).unwrap_or_default();
    let (url, digest) = image(&module(wasm), mesh, digests)?;
    let mut spec = Map::new();
    spec.insert("selector".to_owned(), json!({"matchLabels": mesh.workload}));
    spec.insert("url".to_owned(), url.into());
    if let Some(digest) = digest {
        spec.insert("sha256".to_owned(), digest.into());
    }
    // Who it is comes first; what only adds to a request comes behind the mesh's own rules.
    if filter.get("disabled").is_none() {
        spec.insert("phase".to_owned(), "AUTHN".into());
    }
    spec.insert("failStrategy".to_owned(), "FAIL_RELOAD".into());
    spec.insert("match".to_owned(), json!([selected(mesh)]));
    spec.insert("pluginName".to_owned(), root_id.into());
    let configuration = wasm.pointer("/configuration/value").and_then(Value::as_str).unwrap_or_default();
    let configuration: Value = serde_json::from_str(configuration).unwrap_or_default();
    spec.insert("pluginConfig".to_owned(), configuration);
    let variables = config.variables();
    if !variables.is_empty() {
        let variables = variables.iter().map(|name| json!({"name": name, "valueFrom": "HOST"}));
        spec.insert("vmConfig".to_owned(), json!({"env": variables.collect::<Vec<_>>()}));
    }
    let own_name = format!("{}-{root_id}", mesh.name);
    let full_name = format!("{}.{own_name}", mesh.namespace);
    Ok(Plugin {
        name: name(filter).to_owned(),
        names: [
            // To Istio 1.29, and from 1.30.
            format!("extensions.istio.io/wasmplugin/{full_name}"),
            format!("extensions.istio.io/trafficextension/{full_name}~istio-translated-wasmplugin"),
        ],
        off: filter.get("disabled") == Some(&Value::Bool(true)),
        resource: resource(
            ("extensions.istio.io/v1alpha1", "WasmPlugin"),
            mesh,
            &own_name,
            Value::Object(spec),
        ),
    })
}

/// Without it, a sidecar's own calls would pass the filter too.
fn selected(mesh: &Mesh) -> Value {
    match mesh.proxy {
        Proxy::Sidecar(port) => json!({"mode": "SERVER", "ports": [{"number": port}]}),
        Proxy::Gateway(_) => json!({"mode": "CLIENT"}),
    }
}
