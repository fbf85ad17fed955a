//! A line that is forgotten in Envoy's configuration closes a route; it never opens one.

use lockgate_e2e::stack::{LOG_KEY, SLACK_SECRET};
use lockgate_e2e::{Builder, Envelope, Request, Stack, identity, push_request, slack};
use serde_json::json;

#[path = "forgotten_lines/rendered.rs"]
mod rendered;

use rendered::{Entry, Rendered};

#[tokio::test]
async fn each_deleted_entry_closes_its_route() {
    each_deleted_entry_closes(Stack::builder()).await;
}

#[tokio::test]
async fn and_so_it_does_before_an_upstream_that_only_known_accounts_may_call() {
    each_deleted_entry_closes(identity::builder("")).await;
}

/// Every entry by which a route switches a filter on, or the guard off, is deleted in turn.
async fn each_deleted_entry_closes(builder: Builder) {
    let stack = builder.start().await;
    stack.kill_gateway();
    let rendered = Rendered::of(&stack).await;
    let entries = rendered.entries();
    assert!(entries.len() > 15, "{entries:?}");

    let control = rendered.start(&stack).await;
    for entry in &entries {
        let status = probe(&stack, entry, "control").await;
        assert!(status < 300 || entry.route == "path-parameters", "{entry}: {status}");
    }
    drop(control);

    let mut opened = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let envoy = rendered.without(entry).start(&stack).await;
        let marker = format!("forgotten-{number}-");
        let status = probe(&stack, entry, &marker).await;
        let reached = stack.upstream().requests().matching(|request| request.contains(&marker));
        let stored = stack.stored(&marker);
        if status < 400 || !reached.is_empty() || !stored.is_empty() {
            opened.push(format!("{entry}: {status}, at the upstream: {reached:?}"));
        }
        drop(envoy);
    }
    assert!(opened.is_empty(), "{opened:#?}");
}

/// A request that an entry is there for, with a marker; the status of the answer.
async fn probe(stack: &Stack, entry: &Entry, marker: &str) -> u16 {
    let signed = |request| slack::signed(request, SLACK_SECRET);
    let request = match &*entry.route {
        "ready-asked" => return stack.ready_soon().await,
        // What is stored has no use for it; what Slack waits for has.
        name if name.starts_with("slack-") && entry.filter == "lockgate.upstream-identity" => {
            let target = format!("/slack/{}", &name["slack-".len()..]);
            signed(slack::interactive(&target, &json!({"type": "view_submission", "view": {"id": marker}})))
        }
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
