//! What a mesh makes of its resources: the part of Istio between `kubectl apply` and Envoy, as far as
//! Lockgate's manifests use it. Its control plane writes a listener and clusters, patches them, and serves
//! filters apart; its agent gets their code. Here Envoy reads both from files.
//!
//! What is not as in a pod: the listener is where a client can reach it without redirection, filters that
//! only Istio's build of Envoy has are left out, and whatever stands outside of the mesh is on loopback,
//! without TLS. Whatever a manifest holds that this does not know is a panic.

mod agent;
mod clusters;
mod listener;
mod patches;
mod run;
mod wasm_plugin;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use patches::Patches;
use wasm_plugin::Plugin;

/// Versions of Istio that treat a manifest alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Up to 1.27, whose control plane must not write our routes.
    UpTo1_27,
    /// 1.28 and 1.29.
    From1_28,
    /// 1.30 and later, which make a TrafficExtension of a WasmPlugin.
    From1_30,
}

/// Which of a mesh's proxies it is.
#[derive(Clone, Debug)]
pub enum Place {
    /// Beside the service that listens on this port of its pod.
    Sidecar(u16),
    /// Where requests for a host come in, for a service behind.
    Gateway {
        /// Of the VirtualService.
        host: String,
        /// The cluster of the service.
        cluster: String,
    },
}

/// A mesh with our manifests in it.
#[derive(Clone, Debug)]
pub struct Mesh {
    line: Line,
    place: Option<Place>,
    manifests: Option<String>,
    stand_ins: Vec<(String, SocketAddr)>,
    images: Images,
    early_vm: bool,
}

/// What becomes of the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// They are there.
    Fetched,
    /// They cannot be had, so the agent puts something else in a filter's place.
    Missing,
    /// They are there, and what is in them is no module.
    Broken,
}

impl Mesh {
    /// With what the tool makes of the stack's own configuration for a sidecar.
    pub fn new(line: Line) -> Self {
        // Envoy 1.36 and 1.37, which are these Istios', crash where a process's first VM is made late.
        let early_vm = line != Line::From1_30;
        Self { line, place: None, manifests: None, stand_ins: Vec::new(), images: Images::Fetched, early_vm }
    }

    /// With these manifests instead.
    pub fn manifests(mut self, text: &str, place: Place) -> Self {
        self.manifests = Some(text.to_owned());
        self.place = Some(place);
        self
    }

    /// Lets a host be somewhere else than in the stack's services.
    pub fn stand_in(mut self, host: &str, address: SocketAddr) -> Self {
        self.stand_ins.push((host.to_owned(), address));
        self
    }

    /// With other images, at first.
    pub fn images(mut self, images: Images) -> Self {
        self.images = images;
        self
    }

    /// A name that requests must be for.
    pub(crate) fn host(&self) -> &str {
        match &self.place {
            Some(Place::Gateway { host, .. }) => host,
            _ => "any.example",
        }
    }

    /// Writes what Envoy is to read into a directory, and returns the bootstrap's path.
    pub(crate) fn write(&self, manifests: &str, around: &Around, directory: &Path) -> PathBuf {
        let resources = parse(manifests);
        let place = self.place(around);
        let plugins = self.plugins(&resources, &place);
        let mut listener = listener::listener(&place, around.gateway, &plugins);
        Patches::of(one(&resources, "EnvoyFilter"), self.line, &place).apply(&mut listener);
        listener::settle(&mut listener);
        self.serve(manifests, around, directory, self.images);
        let manager = listener::manager(&mut listener);
        for filter in manager["http_filters"].as_array_mut().into_iter().flatten() {
            let name = filter["name"].as_str().expect("a filter's name").to_owned();
            let Some(source) = filter.pointer_mut("/config_discovery/config_source") else { continue };
            assert_eq!(source["ads"], json!({}), "{name} is not from the control plane");
            source.as_object_mut().expect("an object").shift_remove("ads");
            let (directory, path) = served_at(directory, &name);
            assert!(path.is_file(), "nothing is served for {name}");
            source["path_config_source"] = json!({"path": path, "watched_directory": {"path": directory}});
        }
        if self.early_vm {
            manager["http_filters"].as_array_mut().expect("filters").insert(0, listener::early_vm());
        }
        let bootstrap = json!({
            "node": {"id": "sidecar~10.0.0.1~orders.orders~orders.svc.cluster.local", "cluster": "orders"},
            "admin": {"address": listener::address(around.admin)},
            "static_resources": {
                "listeners": [listener],
                "clusters": clusters::clusters(&resources, &place, around, &self.stand_ins),
            },
        });
        let path = directory.join("bootstrap.json");
        std::fs::write(&path, bootstrap.to_string()).expect("write");
        path
    }

    /// Writes the filters that are served apart, each as Envoy reads it.
    pub(crate) fn serve(&self, manifests: &str, around: &Around, directory: &Path, images: Images) {
        let resources = parse(manifests);
        let place = self.place(around);
        let mut served = Patches::of(one(&resources, "EnvoyFilter"), self.line, &place).extension_configs();
        served.extend(self.plugins(&resources, &place).into_iter().map(|plugin| plugin.resource));
        for mut resource in served {
            agent::fetch(&mut resource, images, &around.modules, directory);
            resource["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
            let (watched, path) = served_at(directory, resource["name"].as_str().expect("a name"));
            std::fs::create_dir_all(watched).expect("a directory");
            // Envoy looks when something is moved there.
            let fresh = path.with_extension("fresh");
            std::fs::write(&fresh, json!({"resources": [resource]}).to_string()).expect("write");
            std::fs::rename(fresh, path).expect("rename");
        }
    }

    fn place(&self, around: &Around) -> Place {
        self.place.clone().unwrap_or(Place::Sidecar(around.upstream.port()))
    }

    fn plugins(&self, resources: &[Value], place: &Place) -> Vec<Plugin> {
        let workload = &one(resources, "EnvoyFilter")["spec"]["workloadSelector"]["labels"];
        let plugins = of_kind(resources, "WasmPlugin").map(|plugin| {
            assert_eq!(&plugin["spec"]["selector"]["matchLabels"], workload);
            Plugin::of(plugin, self.line, place)
        });
        plugins.collect()
    }
}

fn served_at(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let served = directory.join("served");
    let file = served.join(format!("{}.json", name.replace('/', "_")));
    (served, file)
}

/// Where the end-to-end tests' own configuration stands in a mesh.
pub(crate) const GROUP: &str = "
mesh:
  namespace: e2e
  workload: {app: e2e}
  proxy: sidecar
  images: oci://registry.example/lockgate
";

/// Google's services, as that configuration knows them there.
pub(crate) const SERVICES: &str = "https://services.example";

/// The metadata server's own name; it answers to few.
pub(crate) const METADATA: &str = "http://metadata.google.internal";

/// Where things are.
#[derive(Debug)]
pub(crate) struct Around {
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) upstream: SocketAddr,
    /// In the place of everything outside.
    pub(crate) services: SocketAddr,
    pub(crate) modules: PathBuf,
}

/// The resources of a file.
///
/// # Panics
/// When it is not YAML.
pub fn parse(manifests: &str) -> Vec<Value> {
    let documents = serde_norway::Deserializer::from_str(manifests);
    documents.map(|document| serde::Deserialize::deserialize(document).expect("YAML")).collect()
}

fn of_kind<'a>(resources: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    resources.iter().filter(move |resource| resource["kind"] == kind)
}

fn one<'a>(resources: &'a [Value], kind: &'a str) -> &'a Value {
    let mut all = of_kind(resources, kind);
    let first = all.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(all.next().is_none(), "a second {kind}");
    first
}
