//! A line that is forgotten in Envoy's configuration closes a route; it never opens one.

use std::process::Command;
use std::sync::Arc;

use lockgate_e2e::stack::{LOG_KEY, SLACK_SECRET};
use lockgate_e2e::{Envelope, Journal, Process, Request, Stack, push_request, slack};
use serde_json::{Value, json};

/// Every entry by which a route switches a filter on, or the guard off, is deleted in turn.
#[tokio::test]
async fn each_deleted_entry_closes_its_route() {
    let stack = Stack::builder().start().await;
    stack.kill_gateway();
    let rendered = rendered(&stack).await;
    let entries = entries(&rendered);
    assert!(entries.len() > 15, "{entries:?}");

    let control = start(&stack, &rendered).await;
    for name in entries.iter().map(|(_, route, _)| route) {
        let status = probe(&stack, name, "control").await;
        assert!(status < 300 || name == "path-parameters", "{name}: {status}");
    }
    drop(control);

    let mut opened = Vec::new();
    for (number, (pointer, route, filter)) in entries.iter().enumerate() {
        let mut changed = rendered.clone();
        changed.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap().shift_remove(filter);
        let envoy = start(&stack, &changed).await;
        let marker = format!("forgotten-{number}-");
        let status = probe(&stack, route, &marker).await;
        let reached = stack.upstream().requests().matching(|request| request.contains(&marker));
        let stored = stack.stored(&marker);
        if status < 400 || !reached.is_empty() || !stored.is_empty() {
            opened.push(format!("{route} without {filter}: {status}, at the upstream: {reached:?}"));
        }
        drop(envoy);
    }
    assert!(opened.is_empty(), "{opened:#?}");
}

async fn rendered(stack: &Stack) -> Value {
    let mut command = stack.lockgate("render");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_norway::from_slice(&output.stdout).expect("YAML from `lockgate render`")
}

/// Where an entry is, the route it belongs to, and the filter it is about.
fn entries(rendered: &Value) -> Vec<(String, String, String)> {
    let table = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes";
    let routes = rendered.pointer(table).and_then(Value::as_array).expect("a route table");
    let mut entries = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        let filters = route["typed_per_filter_config"].as_object().into_iter().flatten();
        for (filter, _) in filters {
            let pointer = format!("{table}/{number}/typed_per_filter_config");
            entries.push((pointer, route["name"].as_str().unwrap().to_owned(), filter.clone()));
        }
    }
    entries
}

/// Envoy alone, with this configuration and the environment that the tool would give it.
async fn start(stack: &Stack, configuration: &Value) -> Process {
    let file = stack.directory().join("changed.json");
    std::fs::write(&file, configuration.to_string()).unwrap();
    let tool = stack.lockgate("run");
    let mut command = Command::new(std::env::var_os("ENVOY").expect("ENVOY"));
    command.env_clear().envs(tool.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(tool.get_current_dir().unwrap());
    command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "info", "-c"]).arg(&file);
    let envoy = Process::start("envoy", &mut command, Arc::new(Journal::default()));
    envoy.wait_for_line("its workers", 0, |line| line.contains("starting workers")).await;
    stack.client().wait_for_listener().await;
    envoy
}

/// A request that a route is there for, with a marker; the status of the answer.
async fn probe(stack: &Stack, route: &str, marker: &str) -> u16 {
    let signed = |request| slack::signed(request, SLACK_SECRET);
    let request = match route {
        "slack-command" => signed(slack::command("/slack/command", marker)),
        "slack-event" => signed(slack::event("/slack/event", "Ev1", marker)),
        "slack-interactive" => {
            signed(slack::interactive("/slack/interactive", &slack::block_actions(marker)))
        }
        "zapier" => Request::post("/zapier/x", "application/json", json!({"a": marker}).to_string()),
        "wal" => Request::post("/wal/x", "text/plain", marker),
        "wal-playback" => {
            let data = Envelope::new(marker, "POST", "/restored").body(marker).sealed(LOG_KEY);
            push_request(&data, json!({}))
                .header("authorization", format!("Bearer {}", stack.tokens().push()))
        }
        "form" => slack::form("/form/x", &[("a", marker)]),
        "public" => Request::post("/public/x", "text/plain", marker),
        "health" => Request::get(&format!("/health?{marker}")),
        "lockgate-health" => Request::get(&format!("/_lockgate/health?{marker}")),
        "path-parameters" => Request::get(&format!("/public/..;/x?{marker}")),
        other => panic!("no probe for the route {other}"),
    };
    stack.client().send(&request).await.status
}
