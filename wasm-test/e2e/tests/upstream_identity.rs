//! The proxy's own identity at the upstream: on every way there, from the metadata server or by a key.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockgate_e2e::byte_stream::{ByteServer, ByteStream};
use lockgate_e2e::identity::{AUDIENCE, asked, assert_shown, builder, claims, is_identity};
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::stack::{SLACK_SECRET, workspace};
use lockgate_e2e::{Answer, Fault, Process, Request, Stack, Upstream, slack};
use serde_json::{Value, json};

fn view_submission(callback_id: &str) -> Value {
    json!({"type": "view_submission", "team": {"id": "T0001"}, "view": {"callback_id": callback_id}})
}

/// A request on each way to the upstream, with what a client may try to have there.
async fn on_every_way(stack: &Stack, name: &str) -> Vec<Request> {
    let client = stack.client();
    let forged = |request: Request| {
        request.header("authorization", "Bearer forged").header("X-Serverless-Authorization", "Bearer forged")
    };
    let open = Request::post(&format!("/public/{name}-open"), "text/plain", "body");
    let adapted = slack::form(&format!("/form/{name}-adapted"), &[("a", "b")]);
    for request in [open, adapted] {
        let answer = client.send(&forged(request)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let submission = slack::interactive("/slack/interactive", &view_submission(&format!("{name}-passed")));
    assert_eq!(client.send(&forged(slack::signed(submission, SLACK_SECRET))).await.status, 200);
    let command = slack::command("/slack/command", &format!("{name}-stored"));
    assert_eq!(client.send(&forged(slack::signed(command, SLACK_SECRET))).await.status, 200);
    let logged = Request::post(&format!("/wal/{name}-logged"), "text/plain", "body");
    assert_eq!(client.send(&forged(logged)).await.status, 202);

    let mut reached = Vec::new();
    for way in ["open", "adapted", "passed", "stored", "logged"] {
        reached.push(stack.delivered(&format!("{name}-{way}")).await.request);
    }
    reached
}

#[tokio::test]
async fn on_every_way_to_the_upstream_the_token_is_the_proxys() {
    let stack = builder("").start().await;
    for request in on_every_way(&stack, "all").await {
        assert_shown(&request);
    }
    let calls = asked(&stack);
    assert_eq!(calls.len(), 1, "one fetch for all of them");
    let call = &calls[0].request;
    assert_eq!(call.headers.text("metadata-flavor"), Some("Google".to_owned()));
    let sent = call.headers.pairs().map(|(name, _)| String::from_utf8_lossy(name).to_lowercase());
    let sent: BTreeSet<_> = sent.filter(|name| !name.starts_with("x-envoy-")).collect();
    assert_eq!(Vec::from_iter(sent), ["host", "metadata-flavor"], "nothing of any client's");
}

/// A metadata server whose tokens end so many seconds after they were asked for; from the second on, it
/// takes half a second to answer.
fn short_lived(seconds: i64) -> Upstream {
    let metadata = Upstream::on_free_port();
    let asked = AtomicUsize::new(0);
    metadata.program(move |request| {
        let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let token = [
            encode(json!({"alg": "RS256", "kid": "k"})),
            encode(json!({"aud": AUDIENCE, "exp": slack::now() + seconds})),
            // The upstream's to check.
            "c2lnbmF0dXJl".to_owned(),
        ];
        let answer = Answer::with_body(200, "text/plain", &token.join("."));
        let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        is_identity(request).then_some(if is_first {
            answer
        } else {
            answer.after(Duration::from_millis(500))
        })
    });
    metadata
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_behind_the_requests() {
    let metadata = short_lived(12);
    let config = KEYED.replacen(", key: {env: UPSTREAM_SERVICE_ACCOUNT_KEY}", "", 1);
    let stack = Stack::builder().config(&config).variable("METADATA_BASE", &metadata.url()).start().await;
    // The token's end, as the upstream is shown it.
    let shown = async |number: usize| {
        let target = format!("/public/renewed-{number}-");
        assert_eq!(stack.client().send(&Request::get(&target)).await.status, 200);
        let claims = claims(&stack.delivered(&target).await.request, "authorization").unwrap();
        let end = claims["exp"].as_i64().unwrap();
        assert!(slack::now() < end, "a token that is over is shown");
        end
    };
    let first = shown(0).await;
    let mut number = 1;
    while metadata.requests().len() == 1 {
        assert_eq!(shown(number).await, first, "one token for all requests");
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(shown(number).await, first, "nobody waits for the next token while the last one is good");
    let renewed = async {
        while shown(number).await == first {
            number += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("the next token is shown");
    assert!(slack::now() < first, "before the end of the last one");
    assert_eq!(metadata.requests().len(), 2);
}

#[tokio::test]
async fn older_envoys_show_it_too() {
    let named = std::env::var("OLDER_ENVOYS").unwrap_or_default();
    assert!(!named.is_empty(), "OLDER_ENVOYS names no Envoy binaries. Run:\n  make e2e");
    for envoy in named.split_whitespace() {
        let stack = builder("").variable("ENVOY", envoy).start().await;
        for request in on_every_way(&stack, "older").await {
            assert_shown(&request);
        }
    }
}

#[tokio::test]
async fn in_the_other_header_the_senders_own_reaches_the_upstream() {
    let stack = builder(", header: x-serverless-authorization").start().await;
    let request = Request::get("/public/own")
        .header("authorization", "Bearer users-own")
        .header("x-serverless-authorization", "Bearer forged");
    assert_eq!(stack.client().send(&request).await.status, 200);
    let request = stack.delivered("/public/own").await.request;
    assert_eq!(request.headers.all("authorization"), [b"Bearer users-own"]);
    assert_eq!(request.headers.all("x-serverless-authorization").len(), 1);
    assert_eq!(claims(&request, "x-serverless-authorization").unwrap()["aud"], AUDIENCE);
}

#[tokio::test]
async fn on_every_way_the_path_of_the_upstreams_address_comes_first() {
    let upstream = Upstream::on_free_port();
    let address = format!("{}/base/path", upstream.url());
    let stack = builder("").variable("UPSTREAM_URL", &address).start().await;
    let submission = slack::interactive("/slack/interactive?q=/a", &view_submission("joined"));
    let command = slack::command("/slack/command", "joined");
    for (request, status) in [
        (Request::get("/public?q=/a"), 200),
        (Request::get("/public/open//joined?q=/a"), 200),
        (slack::form("/form/adapted", &[("a", "b")]), 200),
        (slack::signed(submission, SLACK_SECRET), 200),
        (slack::signed(command, SLACK_SECRET), 200),
        (Request::post("/wal/logged?q=/a", "text/plain", "body"), 202),
    ] {
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, status, "{}: {}", request.target, answer.text());
    }
    for target in [
        "/base/path/public?q=/a",
        "/base/path/public/open/joined?q=/a",
        "/base/path/form/adapted",
        "/base/path/slack/interactive?q=/a",
        "/base/path/slack/command",
        "/base/path/logged?q=/a",
    ] {
        let reached = upstream.requests().wait_for(target, 1, |request| request.target == target).await;
        assert_shown(&reached[0].request);
    }
}

#[tokio::test]
async fn a_crowd_at_the_start_shares_one_fetch() {
    let stack = builder("").start().await;
    stack.proxy().program(|call| is_identity(call).then_some(Fault::Slow(Duration::from_millis(300))));
    let client = stack.client();
    let crowd = (0..60).map(|number| {
        let request = Request::get(&format!("/public/crowd-{number}"));
        tokio::spawn(async move { client.send(&request).await.status })
    });
    for status in crowd.collect::<Vec<_>>() {
        assert_eq!(status.await.unwrap(), 200);
    }
    assert_eq!(asked(&stack).len(), 1);
}

/// A service account's key file; made for these tests, no account has it.
fn key_file(token_uri: &str) -> String {
    json!({"type": "service_account", "client_email": "off-google@p.iam.gserviceaccount.com",
           "private_key_id": "k", "token_uri": token_uri,
           "private_key": include_str!("../fixtures/keys/rsa-1.pem")})
    .to_string()
}

/// An open route to an upstream that only known accounts may call, and no other filter.
const KEYED: &str = "
version: 1
listen: 127.0.0.1:${PORT}
admin: 127.0.0.1:${ADMIN_PORT}
upstream:
  url: ${UPSTREAM_URL}
  identity: {audience: 'https://private-abc123-ew.a.run.app', key: {env: UPSTREAM_SERVICE_ACCOUNT_KEY}}
services: {google_api_base: '${GOOGLE_API_BASE}', metadata_base: '${METADATA_BASE}'}
routes:
  - {name: public, match: {path_prefix: /public}, guard: public}
";

/// A stack with a key that the local services exchange. Their address is known only once they are there,
/// so the gateway starts a second time.
async fn keyed(variables: &[(&str, &str)]) -> (Stack, String) {
    let nowhere = key_file("http://127.0.0.1:1/token");
    let mut builder = Stack::builder().config(KEYED).variable("UPSTREAM_SERVICE_ACCOUNT_KEY", &nowhere);
    for (name, value) in variables {
        builder = builder.variable(name, value);
    }
    let stack = builder.start().await;
    stack.kill_gateway();
    let key = key_file(&format!("http://{}/token", stack.services_address()));
    std::fs::write(stack.services_directory().join("service-account-key.json"), &key).unwrap();
    stack.start_gateway_with(&[("UPSTREAM_SERVICE_ACCOUNT_KEY", &key)]).await;
    (stack, key)
}

async fn assert_shows_the_keys_account(stack: &Stack) {
    for number in 0..3 {
        let target = format!("/public/keyed-{number}");
        assert_eq!(stack.client().send(&Request::get(&target)).await.status, 200);
        let claims = claims(&stack.delivered(&target).await.request, "authorization").unwrap();
        assert_eq!(
            (&claims["aud"], &claims["email"]),
            (&json!(AUDIENCE), &json!("off-google@p.iam.gserviceaccount.com"))
        );
    }
    assert_eq!(asked(stack).len(), 0, "the metadata server was not asked");
}

#[tokio::test]
async fn a_key_does_where_there_is_no_metadata_server() {
    let (stack, key) = keyed(&[]).await;
    assert_shows_the_keys_account(&stack).await;
    // The key is withdrawn: what there is stays good, and nothing is sent without.
    std::fs::remove_file(stack.services_directory().join("service-account-key.json")).unwrap();
    assert_eq!(stack.client().send(&Request::get("/public/kept")).await.status, 200);
    stack.kill_gateway();
    stack.start_gateway_with(&[("UPSTREAM_SERVICE_ACCOUNT_KEY", &key)]).await;
    assert_eq!(stack.client().send(&Request::get("/public/withdrawn")).await.status, 503);
    stack.assert_no_trace("withdrawn");
    let log = stack.gateway_log().since(0).join("\n");
    assert!(!log.contains("PRIVATE KEY") && !log.contains("eyJ"), "no key and no token is written down");
}

#[tokio::test]
async fn an_envoy_that_cannot_sign_says_so_and_has_a_module_that_can() {
    let named = std::env::var("OLDER_ENVOYS").unwrap_or_default();
    let envoy =
        named.split_whitespace().find(|envoy| envoy.contains("1.36")).expect("OLDER_ENVOYS names a 1.36");
    let module = workspace().join("dist/upstream-identity-jwt-simple.wasm").display().to_string();
    let (stack, key) = keyed(&[("ENVOY", envoy), ("LOCKGATE_MODULES", &module)]).await;
    assert_shows_the_keys_account(&stack).await;
    stack.stop_gateway().await;

    let mut command = stack.lockgate("run");
    command.env("UPSTREAM_SERVICE_ACCOUNT_KEY", &key).env_remove("LOCKGATE_MODULES");
    let refused = Process::start("lockgate run", &mut command, Arc::default());
    assert!(!refused.wait_exit(PATIENCE).await.success());
    let said = refused.log().since(0).join("\n");
    assert!(said.contains("rules[0].key: given another value, expected Envoy 1.37 or newer"), "{said}");
    assert!(!said.contains("PRIVATE KEY"), "{said}");
}

#[tokio::test]
async fn an_upload_and_a_websocket_pass_as_they_come() {
    let server = ByteServer::start().await;
    let stack = builder("").upstream(server.address()).start().await;
    let mut client = ByteStream::connect(stack.client().address()).await;
    client
        .write(b"POST /public/upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await
        .unwrap();
    let mut upstream = server.accept().await;
    let head = upstream.read_until(b"\r\n\r\n").await.unwrap();
    assert!(String::from_utf8_lossy(&head).contains("authorization: Bearer eyJ"));
    assert!(upstream.read_until(b"first\r\n").await.is_ok(), "the upload has not ended yet");

    let mut client = ByteStream::connect(stack.client().address()).await;
    client
        .write(
            b"GET /public/socket HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let mut upstream = server.accept().await;
    let head = upstream.read_until(b"\r\n\r\n").await.unwrap();
    let head = String::from_utf8_lossy(&head);
    assert!(head.contains("upgrade: websocket") && head.contains("authorization: Bearer eyJ"), "{head}");
}

#[tokio::test]
async fn it_is_ready_when_the_token_and_all_secrets_are_there() {
    let secret = ("SLACK_SIGNING_SECRET", "sm://projects/e2e/secrets/slack/versions/latest");
    let stack = builder("").variable(secret.0, secret.1).start().await;
    let ready = || async { stack.client().send(&Request::get("/_lockgate/ready?probe")).await };
    stack.proxy().program(|call| is_identity(call).then_some(Fault::Refused(500)));
    let answer = ready().await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.text(), "Keys or secrets are not there yet.\n");
    assert!(answer.headers.contains("retry-after"));
    // Only the token is there.
    stack.proxy().heal();
    for _ in 0..20 {
        assert_eq!(ready().await.status, 503);
    }
    let directory = stack.services_directory().join("secrets/slack");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("1"), SLACK_SECRET).unwrap();
    let until_ready = async { while ready().await.status != 204 {} };
    tokio::time::timeout(Duration::from_secs(15), until_ready).await.expect("it becomes ready");
    assert_eq!(stack.client().send(&Request::new("HEAD", "/_lockgate/ready")).await.status, 204);
    assert!(stack.upstream().requests().is_empty(), "a probe goes no further");
    assert_ne!(stack.client().send(&Request::get("/_lockgate/readyx")).await.status, 204);
}

#[tokio::test]
async fn what_the_upstream_says_of_our_identity_is_no_fault_of_the_message() {
    let stack = builder("").start().await;
    for status in [401, 403] {
        let marker = format!("/refused-{status}");
        let path = marker.clone();
        stack.upstream().program_in_turn(
            move |request| request.path() == path,
            [Answer::status(status), Answer::status(200)],
        );
        let stored = Request::post(&format!("/wal{marker}"), "text/plain", "body");
        assert_eq!(stack.client().send(&stored).await.status, 202);
        let twice = |request: &lockgate_e2e::Recorded| request.path() == marker;
        for request in stack.upstream().requests().wait_for("again", 2, twice).await {
            assert_shown(&request.request);
        }
        assert_eq!(stack.dead_letters().with(&marker), []);
    }
}
