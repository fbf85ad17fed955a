//! The manifests are what Istio's published definitions ask for, and a typo is found.

use std::io::Write;
use std::process::{Command, Stdio};

use lockgate_e2e::istio::parse;
use lockgate_e2e::stack::workspace;
use serde_json::{Value, json};

/// What Istio's definitions have against resources.
fn problems(resources: &[Value]) -> Vec<String> {
    let client = workspace().join("wasm-test/e2e/clients/istio");
    assert!(
        client.join("node_modules/ready").exists(),
        "Istio's definitions are missing. Run `make clients`."
    );
    let mut node = Command::new("node")
        .arg(client.join("check.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node");
    let written = node.stdin.take().unwrap().write_all(json!(resources).to_string().as_bytes());
    written.unwrap();
    let output = node.wait_with_output().unwrap();
    let said: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(output.status.success(), said.is_empty(), "{said:?}");
    said
}

fn shipped() -> Vec<Value> {
    let file = |name: &str| {
        let path = workspace().join("envoy/istio/manifests").join(format!("{name}.yaml"));
        parse(&std::fs::read_to_string(path).unwrap())
    };
    let resources: Vec<Value> = ["sidecar", "gateway"].into_iter().flat_map(file).collect();
    let kinds = ["ServiceEntry", "DestinationRule", "WasmPlugin", "EnvoyFilter"];
    assert!(kinds.iter().all(|kind| resources.iter().any(|resource| resource["kind"] == *kind)));
    resources
}

#[test]
fn the_shipped_manifests_are_what_istio_defines() {
    assert_eq!(problems(&shipped()), [""; 0]);
}

/// One change of each kind, in one go: the compiler takes most of the time.
#[test]
fn a_misspelt_name_or_value_is_found() {
    let resources = shipped();
    let of_kind = |kind: &str| resources.iter().find(|resource| resource["kind"] == kind).unwrap();
    let changes = [
        ("ServiceEntry", "/spec", "resoluton", json!("DNS")),
        ("ServiceEntry", "/spec", "location", json!("MESH_OUTSIDE")),
        ("DestinationRule", "/spec/subsets/0/trafficPolicy/tls", "snii", json!("x")),
        ("DestinationRule", "/spec/subsets/0/trafficPolicy/tls", "mode", json!("SIMPL")),
        ("WasmPlugin", "/spec", "phase", json!("AUTH")),
        ("WasmPlugin", "/spec", "pluginConfiguration", json!({})),
        ("WasmPlugin", "/spec/match/0", "mode", json!("INBOUND")),
        ("EnvoyFilter", "/spec/configPatches/0", "applyTo", json!("HTTP_FILTERS")),
        ("EnvoyFilter", "/spec/configPatches/0", "mtch", json!({})),
        ("EnvoyFilter", "/spec/workloadSelector", "matchLabels", json!({"app": "x"})),
    ];
    let mut changed = Vec::new();
    for (number, (kind, place, name, value)) in changes.iter().enumerate() {
        let mut resource = of_kind(kind).clone();
        resource["metadata"]["name"] = format!("changed-{number}").into();
        resource.pointer_mut(place).unwrap()[*name] = value.clone();
        changed.push(resource);
    }
    let said = problems(&changed);
    for (number, change) in changes.iter().enumerate() {
        let name = format!("changed-{number}:");
        assert!(said.iter().any(|problem| problem.contains(&name)), "{change:?}: {said:#?}");
    }
}
