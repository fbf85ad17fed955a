//! What a mesh applies in part is closed.

use super::*;

/// The patches of the one EnvoyFilter.
fn patches(resources: &mut [Value]) -> &mut Vec<Value> {
    let filter = resources.iter_mut().find(|resource| resource["kind"] == "EnvoyFilter").unwrap();
    filter["spec"]["configPatches"].as_array_mut().unwrap()
}

fn written(resources: &[Value]) -> String {
    resources.iter().map(|resource| format!("---\n{resource}\n")).collect()
}

/// Nobody whom a guard would refuse gets anything done.
async fn strangers_are_refused(what: &str, mesh: Mesh) {
    let (envoy, _) = envoys().pop().unwrap();
    let google = sidecar::google();
    let stack = sidecar::start(&envoy, mesh, &google).await;
    let push = lockgate_e2e::push_request(b"stranger", json!({}));
    for request in [
        slack::form("/slack/command", &[("text", "stranger")]),
        Request::get("/orders/stranger"),
        Request::post("/wal/stranger", "text/plain", "stranger"),
        push,
    ] {
        let target = request.target.clone();
        let status = send(&stack, request).await.status;
        assert!(status >= 400, "{what}: {target} {status}");
    }
    let publishes = stack.proxy().calls().matching(lockgate_e2e::Call::is_publish);
    assert!(publishes.is_empty(), "{what}: {publishes:?}");
    let reached = stack.upstream().requests().matching(|_| true);
    assert!(reached.is_empty(), "{what}: {reached:?}");
}

#[tokio::test]
async fn each_part_that_is_left_out_closes() {
    let whole = lockgate_e2e::istio::parse(&manifests("sidecar"));
    let mut parts = Vec::new();
    let mut without_plugin = whole.clone();
    without_plugin.retain(|resource| resource["kind"] != "WasmPlugin");
    parts.push(("the WasmPlugin".to_owned(), without_plugin));
    for (number, patch) in patches(&mut whole.clone()).iter().enumerate() {
        let kind = patch["applyTo"].as_str().unwrap();
        let operation = patch["patch"]["operation"].as_str().unwrap();
        if kind == "HTTP_FILTER" || operation == "REMOVE" {
            let mut without = whole.clone();
            patches(&mut without).remove(number);
            parts.push((format!("{kind} {operation} {}", patch["patch"]["value"]["name"]), without));
        }
    }
    assert!(parts.len() > 5);
    for (what, resources) in parts {
        let mesh = Mesh::new(Line::From1_30).manifests(&written(&resources), sidecar::place());
        strangers_are_refused(&what, mesh).await;
    }
}

/// It would write our routes without asking for the filters' marks.
#[tokio::test]
async fn an_older_control_plane_leaves_the_guard_before_everything() {
    let mesh = Mesh::new(Line::UpTo1_27).manifests(&manifests("sidecar"), sidecar::place());
    strangers_are_refused("no routes of ours", mesh).await;
}
