//! What a request costs in host calls, exactly: each crosses the VM's border and is paid by everybody.
//! A change that needs more raises a number here in the same commit, and says what it buys.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use serde_json::json;
use support::{Google, TOPIC, builder, command, with};

#[test]
fn a_warm_slack_command_is_within_its_budget() {
    let google = Google::new();
    let slack =
        json!([{"match": {"path": "/slack/command"}, "signing_secrets": {"env": "SLACK_SIGNING_SECRET"}}]);
    let enqueue = json!([{"match": {"path": "/slack/command"}, "name": "slack", "topic": TOPIC,
                          "after": ["slack-signature"], "reply": {"status": 200}}]);
    let builder = with(builder(&google), "slack-signature", slack);
    let gateway = with(builder, "pubsub-enqueue", enqueue).start().unwrap();
    assert_eq!(gateway.send(command(&gateway)).status, 200);

    let before = gateway.host_calls();
    assert_eq!(gateway.send(command(&gateway)).status, 200);
    let calls = gateway.host_calls().since(&before);
    assert_eq!(calls.total(), 42, "\n{calls}");
}
