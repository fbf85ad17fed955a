//! Each sign-in is told to a topic, in the simulated host: behind it, never in its way.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/provider.rs"]
mod provider;

use std::time::Duration;

use lockgate_common::encoding::from_base64;
use provider::{Browser, Provider, builder, configuration, ok, signed_in, tell_time};
use serde_json::{Value, json};
use wasm_test::{Answer, Gateway, Response};

const PUBLISH: &str = "/v1/projects/p/topics/sign-ins:publish";
/// `printf '%s\n%s' http://127.0.0.1:9400 user-1 | sha256sum`
const ID: &str = "31a6e47b93f2f8ccfcebbd7c08344b82ba817e84bfce91186ff34d3e81c9ed16";

const TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

fn stored() -> Answer {
    ok(&json!({"messageIds": ["1"]}))
}

/// A door that tells of sign-ins, and whose services answer this.
fn gateway(provider: &Provider, token: Answer, publish: Answer) -> Gateway {
    let mut configuration = configuration();
    configuration["services"]["pubsub"] = json!("http://127.0.0.1:8085");
    configuration["session"]["event_topic"] = json!("projects/p/topics/sign-ins");
    provider.set(|state| {
        state.answers.insert(TOKEN, token);
        state.answers.insert(PUBLISH, publish);
    });
    let gateway = builder(provider, &configuration).start().unwrap();
    tell_time(provider, &gateway);
    gateway
}

fn access_token() -> Answer {
    ok(&json!({"access_token": "ya29.own", "expires_in": 3600}))
}

/// Every message that was published, with its data read.
fn events(provider: &Provider) -> Vec<(Value, Value)> {
    let mut events = Vec::new();
    for call in provider.0.borrow().calls.iter().filter(|call| call.path == PUBLISH) {
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        for message in body["messages"].as_array().unwrap() {
            let data = from_base64(message["data"].as_str().unwrap().as_bytes()).unwrap();
            events.push((message["attributes"].clone(), serde_json::from_slice(&data).unwrap()));
        }
    }
    events
}

fn counted(gateway: &Gateway, name: &str) -> u64 {
    gateway.metrics().counter(&format!("lockgate.oidc.event.{name}"))
}

#[test]
fn a_sign_in_is_one_event_and_every_one_of_a_person_has_the_same_id() {
    let provider = Provider::new();
    let gateway = gateway(&provider, access_token(), stored());
    signed_in(&gateway, &provider);
    gateway.advance(Duration::from_secs(60));
    tell_time(&provider, &gateway);
    let mut browser = signed_in(&gateway, &provider);
    assert_eq!(browser.open(&gateway, "/").status, 200, "a visit is no sign-in");
    provider.set(|state| state.claims = json!({"sub": "user-2"}));
    signed_in(&gateway, &provider);

    let events = events(&provider);
    let ids: Vec<&str> = events.iter().map(|(attributes, _)| attributes["dedup"].as_str().unwrap()).collect();
    assert_eq!(ids[..2], [ID, ID]);
    assert!(ids.len() == 3 && ids[2] != ID, "{ids:?}");
    let (attributes, data) = &events[0];
    assert_eq!(attributes, &json!({"event": "signed_in", "dedup": ID}));
    let expected = json!({
        "event": "signed_in", "dedup": ID, "time": data["time"], "provider": "company",
        "issuer": "http://127.0.0.1:9400", "subject": "user-1", "email": "ann@example.com",
        "groups": ["staff"], "request_id": data["request_id"],
    });
    assert_eq!(data, &expected);
    assert_ne!(data["time"], events[1].1["time"]);
    assert_eq!((counted(&gateway, "published"), counted(&gateway, "failed")), (3, 0));
    assert!(!gateway.trapped(), "{:?}", gateway.traps());
}

#[test]
fn an_event_says_who_in_which_request_and_holds_nothing_that_opens_a_door() {
    let provider = Provider::new();
    let gateway = gateway(&provider, access_token(), stored());
    provider.set(|state| {
        state.claims = json!({"email": "not@verified.example", "email_verified": false, "groups": null});
    });
    let mut browser = Browser::default();
    let page = browser.open(&gateway, "/");
    let callback = browser.at_provider(&provider, &page);
    let response = gateway.send(browser.page(&callback).header("x-request-id", "corr-1"));
    assert_eq!(response.status, 302);
    let (_, data) = events(&provider).pop().unwrap();
    assert_eq!(
        (&data["request_id"], &data["email"], &data["groups"]),
        (&json!("corr-1"), &Value::Null, &json!([]))
    );

    browser.take(&response);
    for secret in ["access-0", "refresh-0", "eyJ", "code-1", &browser.0["lockgate"]] {
        assert!(!data.to_string().contains(secret), "{secret}");
    }
}

#[test]
fn a_sign_in_neither_waits_for_its_event_nor_fails_with_it() {
    let refused: Answer = Response::new(403).into();
    let down: Answer = Response::new(503).into();
    for (token, publish, reason) in [
        (access_token(), refused, "publish_failed"),
        (access_token(), down.clone(), "publish_failed"),
        (access_token(), Answer::Reset, "publish_failed"),
        (access_token(), Answer::Hold, "publish_failed"),
        (access_token(), Response::new(200).body("{}").into(), "publish_failed"),
        (down, stored(), "no_access_token"),
        (Answer::Hold, stored(), "no_access_token"),
    ] {
        let provider = Provider::new();
        let gateway = gateway(&provider, token.clone(), publish.clone());
        let began = gateway.now();
        let mut browser = signed_in(&gateway, &provider);
        assert_eq!(gateway.now(), began, "no time passes: {token:?} {publish:?}");
        assert_eq!(browser.open(&gateway, "/").status, 200);
        gateway.advance(Duration::from_secs(10));
        assert_eq!(
            (counted(&gateway, "published"), counted(&gateway, "failed")),
            (0, 1),
            "{token:?} {publish:?}"
        );
        let line = format!("lockgate filter=oidc event not published reason={reason} request_id=");
        let logs = gateway.logs();
        assert!(logs.0.iter().any(|log| format!("{log:?}").contains(&line)), "{reason}: {logs:?}");
        assert_eq!(gateway.metrics().counter("lockgate.oidc.signed_in"), 1);
        assert!(!gateway.trapped(), "{:?}", gateway.traps());
    }
}

#[test]
fn what_passes_is_tried_again_with_another_token_where_that_was_the_reason() {
    let provider = Provider::new();
    let gateway = gateway(&provider, access_token(), Answer::Hold);
    signed_in(&gateway, &provider);
    let first = gateway.held().pop().unwrap();
    provider.set(|state| {
        state.answers.insert(PUBLISH, stored());
    });
    gateway.answer(&first, Response::new(401));
    gateway.advance(Duration::from_secs(1));
    assert_eq!((provider.calls(PUBLISH), provider.calls(TOKEN)), (2, 2));
    assert_eq!(counted(&gateway, "published"), 1);
}

#[test]
fn a_hundred_events_wait_at_most() {
    let provider = Provider::new();
    let gateway = gateway(&provider, access_token(), Answer::Hold);
    for _ in 0..103 {
        signed_in(&gateway, &provider);
    }
    assert_eq!((counted(&gateway, "failed"), counted(&gateway, "published")), (3, 0));
    let busy = |log: &String| log.contains("event not published reason=busy");
    assert_eq!(gateway.logs().0.iter().map(|log| format!("{log:?}")).filter(busy).count(), 3);
    gateway.advance(Duration::from_secs(10));
    assert_eq!(counted(&gateway, "failed"), 103);
    provider.set(|state| {
        state.answers.insert(PUBLISH, stored());
    });
    signed_in(&gateway, &provider);
    assert_eq!(counted(&gateway, "published"), 1);
    assert!(!gateway.trapped(), "{:?}", gateway.traps());
}

#[test]
fn without_a_topic_nothing_is_told() {
    let provider = Provider::new();
    let gateway = provider::door(&provider);
    signed_in(&gateway, &provider);
    assert_eq!((provider.calls(PUBLISH), provider.calls(TOKEN)), (0, 0));
}

#[test]
fn what_is_no_topic_ends_the_start() {
    let provider = Provider::new();
    for topic in ["sign-ins", "projects/p/topics/", "projects/p/topics/a/b", "projects/p/subscriptions/s"] {
        let mut configuration = configuration();
        configuration["session"]["event_topic"] = json!(topic);
        assert!(builder(&provider, &configuration).start().is_err(), "{topic}");
    }
}
