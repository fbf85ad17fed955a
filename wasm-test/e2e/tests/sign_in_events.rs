//! Each sign-in is told to a topic, in real Envoy: with the same id for the same person, behind the sign-in
//! whatever becomes of the queue.

use std::sync::atomic::{AtomicBool, Ordering};

use lockgate_e2e::door::{add_log, door_config, door_stack, public_url};
use lockgate_e2e::oidc_mock::OidcMock;
use lockgate_e2e::pubsub::{Message, topic_name};
use lockgate_e2e::url::Url;
use lockgate_e2e::visitor::signed_in;
use lockgate_e2e::{Fault, Request, Stack};
use serde_json::{Value, json};

const TOPIC: &str = "sign-ins";
const PULLED: &str = "sign-ins-seen";

/// A door that tells of sign-ins, and who signs in at it; `change` may change its configuration.
async fn started(workers: u8, change: impl FnOnce(&mut Value)) -> (Stack, OidcMock) {
    let person = |name: &str| {
        let email = format!("{name}@example.com");
        json!({"sub": name, "email": email, "email_verified": true, "groups": ["staff"]})
    };
    let provider = OidcMock::start(&[person("alice"), person("bob")]).await;
    let config = door_config(&provider.issuer(), |config| {
        config["sign_in"]["events"] = json!({"topic": topic_name(TOPIC)});
        change(config);
    });
    let stack = door_stack(&config).concurrency(workers).start().await;
    stack.pubsub().create_topic(TOPIC).await;
    stack.pubsub().create_pull_subscription(PULLED, TOPIC).await;
    (stack, provider)
}

fn event(message: &Message) -> Value {
    serde_json::from_slice(&message.data).expect("JSON")
}

async fn counted(stack: &Stack, name: &str, number: u64) {
    let stat = format!("wasmcustom.lockgate.oidc.event.{name}");
    stack.admin().wait_for_stat(&stat, |value| value == number).await;
}

#[tokio::test]
async fn every_sign_in_is_an_event_with_the_persons_id_after_a_restart_too() {
    let (stack, provider) = started(2, |_| {}).await;
    for account in ["alice", "bob", "alice", "alice"] {
        signed_in(&stack, account).await;
    }
    counted(&stack, "published", 4).await;
    let messages = stack.pubsub().drain(PULLED).await;
    let events: Vec<Value> = messages.iter().map(event).collect();
    assert_eq!(events.len(), 4);
    let ids = |subject: &str| {
        let theirs = events.iter().filter(|event| event["subject"] == subject);
        theirs.map(|event| event["dedup"].as_str().unwrap()).collect::<Vec<_>>()
    };
    let (alice, bob) = (ids("alice"), ids("bob"));
    assert!(alice.len() == 3 && alice.iter().all(|id| *id == alice[0]), "{alice:?}");
    assert!(bob.len() == 1 && bob[0] != alice[0], "{bob:?}");
    for (message, event) in messages.iter().zip(&events) {
        assert_eq!(message.attribute("dedup"), event["dedup"].as_str());
        assert_eq!(message.attribute("event"), Some("signed_in"));
        assert_eq!((&event["issuer"], &event["groups"]), (&json!(provider.issuer()), &json!(["staff"])));
        let request = format!("request_id={}", event["request_id"].as_str().unwrap());
        let audited = |line: &String| line.contains("event=signed_in") && line.contains(&request);
        assert_eq!(stack.gateway_log().matching(audited).len(), 1, "{event}");
    }
    // Another instance, or this one after a restart, knows the same person by the same id.
    stack.stop_gateway().await;
    stack.start_gateway().await;
    signed_in(&stack, "alice").await;
    let again = stack.pubsub().pull_until(PULLED, "alice").await;
    assert_eq!(again.attribute("dedup"), Some(alice[0]));
}

#[tokio::test]
async fn a_sign_in_is_answered_whatever_becomes_of_its_event() {
    let (stack, _provider) = started(1, |_| {}).await;
    let faults = [Fault::Hang, Fault::Refused(403), Fault::Refused(503), Fault::Reset];
    for (number, fault) in faults.into_iter().enumerate() {
        stack.proxy().program(move |request| request.path().ends_with("sign-ins:publish").then_some(fault));
        let mut agent = signed_in(&stack, "alice").await;
        let page = agent.open(&format!("{}/again", public_url(&stack))).await;
        assert_eq!(page.response.status, 200, "{fault:?}");
        counted(&stack, "failed", number as u64 + 1).await;
        let told = |line: &String| line.contains("event not published reason=publish_failed request_id=");
        assert_eq!(stack.gateway_log().wait_for("the reason", number + 1, told).await.len(), number + 1);
    }
    stack.proxy().heal();
    signed_in(&stack, "alice").await;
    counted(&stack, "published", 1).await;
    assert_eq!(stack.pubsub().drain(PULLED).await.len(), 1);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_one_event_more_with_the_same_id() {
    let (stack, _provider) = started(1, |_| {}).await;
    let lost = AtomicBool::new(false);
    stack.proxy().program(move |request| {
        let first = request.path().ends_with(":publish") && !lost.swap(true, Ordering::SeqCst);
        first.then_some(Fault::AnswerLost)
    });
    signed_in(&stack, "alice").await;
    counted(&stack, "published", 1).await;
    let messages = stack.pubsub().drain(PULLED).await;
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].data, messages[1].data);
}

#[tokio::test]
async fn beside_the_log_an_event_goes_to_its_own_topic_and_no_token_is_written_anywhere() {
    let (stack, _provider) = started(1, add_log).await;
    let mut agent = signed_in(&stack, "bob").await;
    counted(&stack, "published", 1).await;
    let messages = stack.pubsub().drain(PULLED).await;
    assert_eq!(event(&messages[0])["email"], "bob@example.com");
    let own = stack.pubsub().access_token().await;
    let session = agent.jar.value("lockgate").expect("a session").to_owned();
    let text = String::from_utf8(messages[0].data.clone()).unwrap();
    for secret in [own.as_str(), &session, "eyJ"] {
        assert!(!text.contains(secret), "{text}");
        assert!(stack.gateway_log().matching(|line| line.contains(secret)).is_empty(), "{secret} in the log");
    }
    // The log's own topic has requests alone.
    let url = Url::parse(&format!("{}/wal/orders", public_url(&stack)));
    let order = Request::post("/wal/orders", "text/plain", "17").header("origin", public_url(&stack));
    assert_eq!(agent.try_send(&url, order).await.unwrap().response.status, 202);
    stack.upstream().requests().wait_for("the order", 1, |seen| seen.path() == "/orders").await;
    assert!(stack.dead_letters().with("signed_in").is_empty());
}
