//! The configuration as used → the resources of a mesh. It is the plain chain and the plain route table,
//! put where a sidecar or a gateway has them: Envoy's own filters and those that read a body by an
//! EnvoyFilter, since nothing else can hold a request's headers until its body is there; a filter that
//! reads none by a WasmPlugin, where nothing must stand before it.
//!
//! What keeps the plain table closed keeps this one: the guard is on and every other filter off unless a
//! route says otherwise, and the way to the service asks for a filter's mark. Should the mesh apply a part
//! of the patches only, the guard stands before everything.

mod chain;
mod egress;
mod listener;
mod routes;

use std::collections::BTreeMap;

use pubsub_playback::outcome::RETRY;
use serde_json::{Map, Value, json};

use super::Modules;
use crate::config::{Config, Mesh, Proxy};

/// The digests of the images' manifests, in hexadecimal, by module.
pub type Digests = BTreeMap<String, String>;

/// Why a configuration has no place in a mesh.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing says where in the mesh.
    #[error(
        "mesh: is missing; expected, for example, {{namespace: shop, workload: {{app: shop}}, proxy: sidecar, \
         images: oci://europe-docker.pkg.dev/my-project/lockgate}}"
    )]
    NoMesh,
    /// A mesh knows hosts by name.
    #[error("{0} cannot be called from a mesh: expected a host's name")]
    NoName(String),
    /// A host has one cluster.
    #[error("{0} is called at two addresses: a mesh's clusters are known by their host alone")]
    TwoPorts(String),
    /// A digest was wanted of an image that is not there.
    #[error("the images have none of {0}: run `make oci`")]
    NoImage(String),
    /// The YAML writer failed.
    #[error("the manifests cannot be written: {0}")]
    Yaml(#[from] serde_norway::Error),
}

/// The resources as YAML, to be applied together. They hold the names of secrets, never their values.
///
/// # Errors
/// What [`Error`] says.
pub fn manifests(config: &Config, modules: &Modules, digests: Option<&Digests>) -> Result<String, Error> {
    let mut text = String::new();
    for resource in resources(config, modules, digests)? {
        text.push_str("---\n");
        text.push_str(&serde_norway::to_string(&resource)?);
    }
    Ok(text)
}

fn resources(config: &Config, modules: &Modules, digests: Option<&Digests>) -> Result<Vec<Value>, Error> {
    let mesh = config.mesh.as_ref().ok_or(Error::NoMesh)?;
    let called = egress::called(config, mesh)?;
    let mut config = config.clone();
    config.services.clusters = called.clusters(mesh);
    if let Some(log) = &mut config.log {
        let ours = || RETRY.iter().chain(&A_MESHS_OWN).map(|&status| status.to_owned()).collect();
        log.retry_statuses.get_or_insert_with(ours);
    }
    let manager = super::listener::connection_manager(&config, modules);
    let chain = chain::Chain::of(&manager, &config, mesh, digests)?;
    let patches = chain
        .patches
        .into_iter()
        .chain(listener::patches(&manager, &config, mesh))
        .chain(routes::patches(&manager, &config, mesh, &chain.plugins))
        .collect();
    let mut resources = called.resources(mesh);
    resources.extend(chain.plugins.into_iter().map(|plugin| plugin.resource));
    resources.push(envoy_filter(mesh, patches));
    Ok(resources)
}

/// One for everything, so that all of it is applied at once and in this order.
fn envoy_filter(mesh: &Mesh, patches: Vec<Value>) -> Value {
    resource(
        ("networking.istio.io/v1alpha3", "EnvoyFilter"),
        mesh,
        &mesh.name,
        json!({"workloadSelector": {"labels": mesh.workload}, "configPatches": patches}),
    )
}

fn resource((version, kind): (&str, &str), mesh: &Mesh, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": mesh.namespace},
        "spec": spec,
    })
}

/// A patch, where nothing but its kind of object has to be found.
fn patch(apply_to: &str, mesh: &Mesh, operation: &str, value: Value) -> Value {
    json!({
        "applyTo": apply_to,
        "match": {"context": context(mesh)},
        "patch": {"operation": operation, "value": value},
    })
}

fn context(mesh: &Mesh) -> &'static str {
    match mesh.proxy {
        Proxy::Sidecar(_) => "SIDECAR_INBOUND",
        Proxy::Gateway(_) => "GATEWAY",
    }
}

/// Adds to a patch where its object is.
fn found(mut patch: Value, place: &str, how: Value) -> Value {
    if let Some(Value::Object(found)) = patch.get_mut("match") {
        found.insert(place.to_owned(), how);
    }
    patch
}

/// The listener's part of a match: a sidecar has many services' ports, a gateway serves this one's host alone.
fn in_listener(mesh: &Mesh, filter: Value) -> Value {
    let mut listener = Map::new();
    if let Proxy::Sidecar(port) = mesh.proxy {
        listener.insert("portNumber".to_owned(), port.into());
    }
    listener.insert("filterChain".to_owned(), json!({"filter": filter}));
    Value::Object(listener)
}

/// Two answers that a mesh gives by itself: its rules do not know us yet, or its agent could not get an image
/// and has put something that refuses in a filter's place. Neither says anything of a message.
const A_MESHS_OWN: [&str; 2] = ["401", "403"];

const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
const ROUTER: &str = "envoy.filters.http.router";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    const GATEWAY: &str = include_str!("../../../../envoy/istio/gateway.yaml");

    fn gateway() -> Config {
        config::parse(GATEWAY, Path::new("."), &config::Environment::new()).unwrap()
    }

    /// A filter of the plain chain that only adds to a request, and a route that switches it on.
    fn manager(others: &[Value]) -> Value {
        let wasm = |name: &str, root_id: &str, disabled: bool| {
            let mut filter = json!({"name": name, "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {"root_id": root_id, "configuration": {"value": "{}"}, "vm_config": {
                    "vm_id": root_id, "code": {"local": {"filename": "dist/lockgate.wasm"}},
                }},
            }});
            if disabled {
                filter["disabled"] = true.into();
            }
            filter
        };
        let mut filters = vec![wasm("lockgate.guard", "oidc", false)];
        filters.extend(others.iter().cloned());
        filters.push(wasm("lockgate.upstream-identity", "upstream-identity", true));
        filters.push(json!({"name": ROUTER}));
        let routes = json!([
            {"name": "on", "route": {"cluster": "upstream"},
             "typed_per_filter_config": {"lockgate.upstream-identity": {"config": {}}}},
            {"name": "off", "route": {"cluster": "refused"}},
        ]);
        json!({"http_filters": filters, "route_config": {"virtual_hosts": [{"routes": routes}]}})
    }

    #[test]
    fn a_filter_that_only_adds_to_a_request_is_a_plugin_that_routes_switch_off() {
        let (config, manager) = (gateway(), manager(&[]));
        let mesh = config.mesh.clone().unwrap();
        let chain = chain::Chain::of(&manager, &config, &mesh, None).unwrap();
        assert_eq!(chain.patches, Vec::<Value>::new());
        let [guard, identity] = &chain.plugins[..] else { panic!("not two plugins") };
        assert_eq!(guard.resource["spec"]["phase"], "AUTHN");
        assert_eq!(identity.resource["spec"]["phase"], Value::Null);
        let routes = routes::patches(&manager, &config, &mesh, &chain.plugins);
        let switches = |number: usize| routes[number]["patch"]["value"]["typed_per_filter_config"].clone();
        assert_eq!(switches(1), Value::Null);
        let off: Vec<String> = switches(2).as_object().unwrap().keys().cloned().collect();
        assert_eq!(off, identity.names);
    }

    /// It would see a push before it is played back, and take its token for a client's.
    #[test]
    fn behind_a_filter_that_reads_bodies_it_is_none() {
        let mut reads = manager(&[])["http_filters"][1].clone();
        reads["name"] = "lockgate.pubsub-playback".into();
        reads["typed_config"]["config"]["allow_on_headers_stop_iteration"] = true.into();
        let config = gateway();
        let mesh = config.mesh.clone().unwrap();
        let chain = chain::Chain::of(&manager(&[reads]), &config, &mesh, None).unwrap();
        assert_eq!(chain.plugins.len(), 1);
        let places = chain.patches.iter().filter(|patch| patch["applyTo"] == "HTTP_FILTER");
        let names: Vec<&Value> = places.map(|patch| &patch["patch"]["value"]["name"]).collect();
        assert_eq!(names, ["lockgate.pubsub-playback", "lockgate.upstream-identity"]);
    }
}
