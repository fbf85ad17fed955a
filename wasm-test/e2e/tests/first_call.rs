//! The first call to a host finds its name unresolved. A call with a body must not fail for that: it
//! would be the first sign-in, the first token and the first message of every instance.

use std::time::{Duration, Instant};

use lockgate_e2e::door::{add_log, door_config, door_stack, public_url};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Request, Stack};
use serde_json::json;

/// The provider under another name of this machine.
fn elsewhere(provider: &HostileProvider, path: &str) -> String {
    provider.url(path).replace("127.0.0.1", "localhost")
}

#[tokio::test]
async fn the_first_person_signs_in_where_the_token_endpoint_has_a_host_of_its_own() {
    let provider = HostileProvider::start();
    let token_endpoint = elsewhere(&provider, "/token");
    provider
        .edit_json(Endpoint::Discovery, move |metadata| metadata["token_endpoint"] = json!(token_endpoint));
    let stack = door_stack(&door_config(provider.issuer(), |_| {})).start().await;
    let page = UserAgent::new().follow(&format!("{}/page", public_url(&stack))).await;
    assert_eq!((page.url.path(), page.response.status), ("/page", 200), "{}", page.response.text());
    assert_eq!(provider.count(Endpoint::Token), 1);
}

#[tokio::test]
async fn the_first_opaque_token_is_introspected() {
    let provider = HostileProvider::start();
    for own_token in [false, true] {
        let config = door_config("", |config| {
            let mut introspection = json!({
                "endpoint": elsewhere(&provider, "/introspect"),
                "client_id": CLIENT_ID,
                "client_secret": {"env": "OIDC_CLIENT_SECRET"},
            });
            if own_token {
                introspection["token_endpoint"] = json!(provider.url("/token"));
            }
            let policies = json!([{"effect": "allow", "anyone": true}]);
            config["sign_in"] = json!({"tokens": {"introspection": introspection}, "policies": policies});
            config["routes"] = json!([]);
        });
        let stack = door_stack(&config).start().await;
        let token = provider.access_token(&json!({"sub": "program"}));
        let request = Request::get("/first").header("authorization", format!("Bearer {token}"));
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 200, "with a token of its own: {own_token}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_first_message_is_stored_where_each_service_has_a_host_of_its_own() {
    let config = door_config("http://127.0.0.1:1", |config| {
        add_log(config);
        config["routes"][0]["guard"] = json!("public");
        config["services"]["metadata_base"] = json!("${PUSH_ISSUER}");
    });
    let stack = door_stack(&config).start().await;
    let asked = Instant::now();
    let answer = stack.client().send(&Request::post("/wal/first-message", "text/plain", "x")).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    // What is sent a second time after a pause is late for whoever waits three seconds.
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    stack.delivered("/first-message").await;
    let failed = stack.admin().stat("wasmcustom.lockgate.pubsub_enqueue.publish_failed").await;
    assert_eq!(failed, 0);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_still_an_answer_in_time() {
    let config = door_config("", |config| {
        let introspection = json!({
            "endpoint": "https://no-such-host.invalid/introspect",
            "client_id": CLIENT_ID,
            "client_secret": {"env": "OIDC_CLIENT_SECRET"},
        });
        let policies = json!([{"effect": "allow", "anyone": true}]);
        config["sign_in"] = json!({"tokens": {"introspection": introspection}, "policies": policies});
        config["routes"] = json!([]);
    });
    let stack: Stack = door_stack(&config).start().await;
    let request = Request::get("/unknown-host").header("authorization", "Bearer opaque");
    let answer = stack.client().send(&request).await;
    assert_eq!((answer.status, &*stack.reason(&answer).await), (503, "issuer_unavailable"));
}
