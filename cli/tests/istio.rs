//! What `lockgate render --istio` prints: the shipped manifests, byte for byte, and what it says where there
//! is nothing to print. `UPDATE_GOLDEN=1` rewrites the files.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use lockgate::config::{self, Environment};
use lockgate::render::Modules;
use lockgate::render::istio::{self, Digests};
use serde_json::Value;
use support::{MARKERS, root, variables};

const SHIPPED: [&str; 2] = ["sidecar", "gateway"];

fn shipped(name: &str) -> String {
    std::fs::read_to_string(root().join("envoy/istio").join(format!("{name}.yaml"))).unwrap()
}

fn environment() -> Environment {
    variables(&[("SLACK_SIGNING_SECRET", MARKERS[0]), ("LOG_KEY", MARKERS[1])])
}

fn try_render(text: &str, modules: &Modules, digests: Option<&Digests>) -> Result<String, String> {
    let config =
        config::parse(text, Path::new("."), &environment()).map_err(|problems| problems.to_string())?;
    istio::manifests(&config, modules, digests).map_err(|error| error.to_string())
}

fn render(text: &str) -> Result<String, String> {
    try_render(text, &Modules::at(Path::new("dist")), None)
}

fn resources(manifests: &str) -> Vec<Value> {
    let documents = serde_norway::Deserializer::from_str(manifests);
    documents.map(|document| serde::Deserialize::deserialize(document).unwrap()).collect()
}

/// The patches of the EnvoyFilter, of one kind.
fn patches(manifests: &str, kind: &str) -> Vec<Value> {
    let filter = resources(manifests).into_iter().find(|resource| resource["kind"] == "EnvoyFilter").unwrap();
    let patches = filter["spec"]["configPatches"].as_array().unwrap().iter();
    patches.filter(|patch| patch["applyTo"] == kind).cloned().collect()
}

#[test]
fn the_shipped_manifests_are_what_the_tool_prints() {
    for name in SHIPPED {
        let rendered = render(&shipped(name)).unwrap();
        let path = root().join("envoy/istio/manifests").join(format!("{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        let difference = golden.lines().zip(rendered.lines()).find(|(golden, rendered)| golden != rendered);
        assert!(
            golden == rendered,
            "{} differs, first at {difference:?}; UPDATE_GOLDEN=1 rewrites it",
            path.display()
        );
        assert!(MARKERS.iter().all(|marker| !rendered.contains(marker)), "{name} holds a secret");
    }
}

/// A new filter whose calls the mesh does not know would fail where nobody looks.
#[test]
fn every_cluster_that_is_named_is_made() {
    for name in SHIPPED {
        let manifests = render(&shipped(name)).unwrap();
        let mut made = BTreeMap::new();
        for resource in resources(&manifests) {
            if resource["kind"] == "ServiceEntry" {
                for host in resource["spec"]["hosts"].as_array().unwrap() {
                    let port = &resource["spec"]["ports"][0]["number"];
                    made.insert(host.as_str().unwrap().to_owned(), (port.to_string(), String::new()));
                }
            } else if resource["kind"] == "DestinationRule" {
                let host = resource["spec"]["host"].as_str().unwrap();
                let subset = resource["spec"]["subsets"][0]["name"].as_str().unwrap();
                made.get_mut(host).unwrap().1 = subset.to_owned();
            }
        }
        let made: Vec<String> =
            made.iter().map(|(host, (port, subset))| format!("outbound|{port}|{subset}|{host}")).collect();
        let named = manifests.split(['"', '\'', ' ', '\n']).filter(|text| text.starts_with("outbound|"));
        let named: Vec<&str> = named.filter(|cluster| !cluster.ends_with(".svc.cluster.local")).collect();
        assert!(named.len() > 5);
        for cluster in named {
            assert!(made.iter().any(|made| made == cluster), "{name}: {cluster} is not among {made:?}");
        }
    }
}

#[test]
fn the_chain_is_the_plain_one() {
    let manifests = render(&shipped("sidecar")).unwrap();
    let named = |kind: &str, at: &str| {
        let names = patches(&manifests, kind);
        names.iter().map(|patch| patch.pointer(at).unwrap().as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let chain = [
        "lockgate.slack-signature",
        "lockgate.pubsub-playback",
        "lockgate.form-to-json-restored",
        "lockgate.pubsub-enqueue",
    ];
    assert_eq!(named("HTTP_FILTER", "/patch/value/name"), chain);
    assert_eq!(named("EXTENSION_CONFIG", "/patch/value/name"), chain);
    let config = config::parse(&shipped("sidecar"), Path::new("."), &environment()).unwrap();
    let plain = lockgate::render::bootstrap(&config, &Modules::at(Path::new("dist"))).unwrap();
    let plain: Value = serde_norway::from_str(&plain).unwrap();
    let routes = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes";
    let plain: Vec<&str> = plain
        .pointer(routes)
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    let routes = patches(&manifests, "HTTP_ROUTE");
    let (first, added) = routes.split_first().unwrap();
    assert_eq!(first["patch"]["operation"], "REMOVE");
    let added: Vec<&str> = added.iter().map(|p| p["patch"]["value"]["name"].as_str().unwrap()).collect();
    assert_eq!(added, plain);
}

/// Its answers are counted in shared data, which a VM's id keeps together, and a WasmPlugin's has none.
#[test]
fn what_shares_the_guards_memory_has_its_vm() {
    let resources = patches(&render(&shipped("gateway")).unwrap(), "EXTENSION_CONFIG");
    let id = |name: &str| {
        let found = resources.iter().find(|patch| patch["patch"]["value"]["name"] == name).unwrap();
        found["patch"]["value"]["typed_config"]["config"]["vm_config"]["vm_id"].clone()
    };
    assert_eq!(id("lockgate.back-channel-logout"), Value::Null);
    assert_eq!(id("lockgate.slack-signature"), "lockgate.log");
}

#[test]
fn each_filter_may_have_an_image_of_its_own_and_images_are_named_by_their_digests() {
    let modules = ["oidc", "slack-signature", "pubsub-playback", "form-to-json", "pubsub-enqueue"];
    let digest = |module: &str| format!("{:0>64}", module.len());
    let digests: Digests = modules.iter().map(|&module| (module.to_owned(), digest(module))).collect();
    let separate = Modules::at(Path::new("dist")).separate();
    let manifests = try_render(&shipped("sidecar"), &separate, Some(&digests)).unwrap();
    for module in modules {
        let image = format!("oci://europe-docker.pkg.dev/example/lockgate/{module}:");
        assert!(manifests.contains(&image), "{module}");
        assert!(manifests.contains(&format!("sha256: '{}'", digest(module))), "{module}: {manifests}");
    }
    assert!(!manifests.contains("lockgate/lockgate:") && !manifests.contains("sha256: nil"));
    let missing = try_render(&shipped("sidecar"), &Modules::at(Path::new("dist")), Some(&digests));
    assert_eq!(missing, Err("the images have none of lockgate: run `make oci`".to_owned()));
}

#[test]
fn the_mesh_knows_whoever_is_told_of_sign_ins() {
    let text = "version: 1\nlisten: 127.0.0.1:8080\npublic_url: https://orders.example.com\n\
        mesh: {namespace: orders, workload: {app: orders}, proxy: sidecar, images: 'oci://example.com/lockgate'}\n\
        upstream: {url: 'http://127.0.0.1:8080'}\n\
        sign_in:\n  cookie_secret: {sm: projects/p/secrets/s/versions/latest}\n  \
          providers: [{name: company, issuer: 'https://login.example.com', client_id: lockgate}]\n  \
          policies: [{effect: allow, domains: '*'}]\n";
    let knows = |text: &str| render(text).unwrap().contains("- pubsub.googleapis.com");
    assert!(knows(&format!("{text}  events: {{topic: projects/p/topics/t}}\n")));
    assert!(!knows(text));
}

#[test]
fn without_a_sign_in_nobody_passes_a_route_that_asks_for_one() {
    let text = shipped("sidecar");
    let (before, rest) = text.split_once("sign_in:").unwrap();
    let (_, after) = rest.split_once("\nroutes:").unwrap();
    let manifests = render(&format!("{before}\nroutes:{after}")).unwrap();
    assert!(!manifests.contains("WasmPlugin"));
    let guard = &patches(&manifests, "HTTP_FILTER")[0]["patch"]["value"];
    assert_eq!(guard["name"], "lockgate.guard");
    assert_eq!(guard["typed_config"]["rules"], serde_json::json!({"action": "ALLOW", "policies": {}}));
    assert!(manifests.contains("oci://europe-docker.pkg.dev/example/lockgate/log:"));
}

/// As somebody would paste it.
#[test]
fn the_readmes_mesh_is_one() {
    let readme = std::fs::read_to_string(root().join("envoy/istio/README.md")).unwrap();
    let (_, rest) = readme.split_once("   mesh:\n").unwrap();
    let (block, _) = rest.split_once("   ```").unwrap();
    let block: String =
        block.lines().map(|line| format!("{}\n", line.strip_prefix("   ").unwrap())).collect();
    let text = shipped("sidecar");
    let (before, rest) = text.split_once("mesh:\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let manifests = render(&format!("{before}mesh:\n{block}\n{after}")).unwrap();
    assert!(manifests.contains("tokens.example.com: outbound|443|lockgate|tokens.example.com"));
}

#[test]
fn what_has_no_place_in_a_mesh_is_said() {
    let sidecar = shipped("sidecar");
    let gateway = shipped("gateway");
    let changed = |text: &str, line: &str, instead: &str| {
        assert!(text.contains(line), "{line}");
        render(&text.replacen(line, instead, 1)).expect_err(instead)
    };
    let namespace = "  namespace: orders\n";
    for (line, instead, expected) in [
        (namespace, "", "mesh.namespace: is missing; expected, for example, shop"),
        (
            namespace,
            "  namespace: Orders\n",
            "mesh.namespace: given \"Orders\", expected a name of lower-case",
        ),
        ("  proxy: sidecar\n", "", "mesh.proxy: is missing; expected, for example, sidecar"),
        ("  proxy: sidecar\n", "  proxy: waypoint\n", "mesh.proxy: unknown variant `waypoint`"),
        ("  workload: {app: orders}\n", "", "mesh.workload: expected the labels of the pods"),
        ("images: oci://", "images: https://", "mesh.images: given \"https://europe-docker"),
        ("mesh:\n", "mesh:\n  tag: a b\n", "mesh.tag: given \"a b\""),
        ("mesh:\n", "mesh:\n  hosts: [\"https://x.example\"]\n", "mesh.hosts: given \"https://x.example\""),
        ("mesh:\n", "mesh:\n  port: 8080\n", "mesh.port: unknown field `port`"),
        (
            "\"http://127.0.0.1:8080\"",
            "https://orders.example.com",
            "upstream.url: given \"https://orders.example.com\", expected the service's own port on loopback",
        ),
        (
            "upstream:",
            "services: {google_api_base: \"http://127.0.0.1:8085\"}\nupstream:",
            "127.0.0.1 cannot be called from a mesh",
        ),
    ] {
        let said = changed(&sidecar, line, instead);
        assert!(said.contains(expected), "{instead}: {said}");
    }
    for (line, instead, expected) in [
        ("public_url: https://orders.example.com\n", "", "public_url"),
        (
            "\"http://orders.orders.svc.cluster.local:8080\"",
            "\"http://127.0.0.1:8080\"",
            "upstream.url: given \"http://127.0.0.1:8080\", expected the service's name in the mesh",
        ),
        (
            "upstream:",
            "services: {google_api_base: \"https://login.example.com:8443\"}\nupstream:",
            "login.example.com is called at two addresses",
        ),
    ] {
        let said = changed(&gateway, line, instead);
        assert!(said.contains(expected), "{instead}: {said}");
    }
    let (before, rest) = sidecar.split_once("mesh:\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let said = render(&format!("{before}{after}")).unwrap_err();
    assert!(said.starts_with("mesh: is missing; expected, for example, {namespace: shop"), "{said}");
}
