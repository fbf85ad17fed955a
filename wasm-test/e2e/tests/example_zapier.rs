//! `envoy/examples/zapier`: the integration in Zapier's own hands, against the proxy and a certified
//! provider.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lockgate_e2e::example::Example;
use lockgate_e2e::stack::workspace;
use lockgate_e2e::{Journal, Process, Upstream};
use serde_json::{Value, json};

const PROXY: u16 = 8080;
const PROVIDER: u16 = 9400;
const PORTS: [u16; 5] = [PROXY, 9901, 8085, 8090, PROVIDER];

/// The first retry is 10 s behind the first attempt, the second 20 s behind that.
const LONGEST_DELIVERY: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_zapier_sends_is_acknowledged_while_the_upstream_is_away_and_arrives_when_it_is_back() {
    let upstream = Upstream::on_free_port();
    upstream.leave().await;
    let variables = [("UPSTREAM_URL", &*upstream.url()), ("ACCESS_TOKEN_SECONDS", "5")];
    let example = Example::start_with("zapier", &PORTS, &variables).await;

    let mut command = Command::new("npm");
    command
        .arg("test")
        .current_dir(workspace().join("envoy/examples/zapier/integration"))
        .env("LOCKGATE_URL", format!("http://127.0.0.1:{}", example.port(PROXY)))
        .env("PROVIDER_URL", format!("http://127.0.0.1:{}", example.port(PROVIDER)));
    let tests = Process::start("npm test", &mut command, Arc::new(Journal::default()));
    let status = tests.wait_exit(Duration::from_secs(120)).await;
    let said = tests.log().since(0).join("\n");
    assert!(status.success() && said.contains("fail 0") && !said.contains("pass 0"), "{said}");

    upstream.come_back();
    let all = ["order-paid", "tick", "before-the-end", "again-"];
    let names = |body: &Value| body["name"].as_str().unwrap_or_default().to_owned();
    let arrived = upstream.requests().reaches(LONGEST_DELIVERY, |requests| {
        all.iter().all(|name| requests.iter().any(|request| names(&request.json()).starts_with(name)))
    });
    assert!(arrived.await, "{:?}\n{:?}", upstream.requests().since(0), example.process.log().since(0));

    let requests = upstream.requests().since(0);
    assert_eq!(requests.len(), all.len(), "each once, and nothing of who was kept out: {requests:?}");
    for request in &requests {
        assert_eq!((&*request.method, &*request.target), ("POST", "/engine-rest/signal"));
        assert_eq!(request.headers.text("content-type").as_deref(), Some("application/json"));
        let principal: Value =
            serde_json::from_str(&request.headers.text("x-lockgate-principal").unwrap()).unwrap();
        assert_eq!(principal["email"], "zoe@example.com");
        assert!(!request.headers.contains("authorization") && request.complete, "{request:?}");
    }
    let body = |name: &str| requests.iter().map(|request| request.json()).find(|body| names(body) == name);
    let text = |value: &str| json!({"type": "String", "value": value});
    assert_eq!(
        body("order-paid"),
        Some(json!({"name": "order-paid", "variables": {"order": text("4711"), "customer": text("Zoë")}}))
    );
    assert_eq!(body("tick"), Some(json!({"name": "tick", "variables": {}})));
    // What was refused with the old token, and sent again with the new one.
    let again = requests.iter().map(|request| request.json()).find(|body| names(body).starts_with("again-"));
    assert_eq!(again.unwrap()["variables"], json!({"attempt": text("second")}));
}
