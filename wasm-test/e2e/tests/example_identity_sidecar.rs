//! `envoy/examples/identity-sidecar`: Go builds modules that only a known account can have, and knows
//! nothing of that account.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockgate_e2e::example::Example;
use lockgate_e2e::identity::is_identity;
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::ports::free_port;
use lockgate_e2e::stack::workspace;
use lockgate_e2e::url::encode;
use lockgate_e2e::{Answer, Client, Fault, FaultProxy, Journal, Process, Recorded, Request, Upstream};
use lockgate_local::{Signer, id_token_claims};
use serde_json::{Value, json};

const SIDECAR: u16 = 9090;
const CLOUD_RUN: u16 = 8081;
const GOOGLE: u16 = 8085;
const PORTS: [u16; 6] = [SIDECAR, 9901, 9902, CLOUD_RUN, 8082, GOOGLE];

/// A file of a module, below the proxy's address.
const LIST: &str = "/example.com/words/@v/list";

fn client(port: u16) -> Client {
    Client::new(([127, 0, 0, 1], port).into())
}

/// `go build` of the example's program with modules from `GOPROXY` alone, none of which it has yet.
async fn build(proxy: &str, directory: &Path) -> Output {
    let mut command = Command::new("go");
    command
        .args(["build", "-o"])
        .arg(directory.join("hello"))
        .arg(".")
        .current_dir(workspace().join("envoy/examples/identity-sidecar/hello"))
        .env("GOPROXY", proxy)
        .env("GOENV", "off")
        .env("GOFLAGS", "-modcacherw")
        .env("GOMODCACHE", directory.join("modules"))
        .env("GOCACHE", directory.join("cache"));
    let building = tokio::task::spawn_blocking(move || command.output());
    building.await.unwrap().expect("Go is missing: apt-get install golang-go")
}

/// The same, and runs what was built.
async fn assert_builds(proxy: &str) {
    let directory = tempfile::tempdir().unwrap();
    let built = build(proxy, directory.path()).await;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let hello = Command::new(directory.path().join("hello")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&hello.stdout), "Hello, builder\n");
}

#[tokio::test]
async fn go_builds_through_the_sidecar_and_not_without_it() {
    let example = Example::start("identity-sidecar", &PORTS).await;
    assert_builds(&format!("http://localhost:{}", example.port(SIDECAR))).await;

    let directory = tempfile::tempdir().unwrap();
    let refused = build(&format!("http://127.0.0.1:{}/go", example.port(CLOUD_RUN)), directory.path()).await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("403 Forbidden"), "{refused:?}");
}

#[tokio::test]
async fn the_service_sees_the_request_with_another_host_and_identity() {
    let example = Example::start("identity-sidecar", &PORTS).await;
    let asked = Request::get(&format!("{LIST}?a=1&b=%2F"))
        .header("host", format!("localhost:{}", example.port(SIDECAR)))
        .header("user-agent", "a build tool/1")
        .header("authorization", "Basic bWU6c2VjcmV0")
        .header("x-serverless-authorization", "Bearer forged");
    let answer = client(example.port(SIDECAR)).send(&asked).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "v1.2.0\n"));
    let host = format!("127.0.0.1:{}", example.port(CLOUD_RUN));
    let seen =
        format!("modules: GET /go{LIST}?a=1&b=%2F host={host} other-credentials=0 user-agent=a build tool/1");
    example.process.wait_for_line("the request", 0, |line| line == seen).await;

    // An agent's name is not made up where there is none, and a missing file stays missing.
    let answer = client(example.port(SIDECAR)).send(&Request::get("/example.com/words/@v/v9.mod")).await;
    assert_eq!(answer.status, 404);
    let seen = format!(
        "modules: GET /go/example.com/words/@v/v9.mod host={host} other-credentials=0 user-agent=None"
    );
    example.process.wait_for_line("the request", 0, |line| line == seen).await;
}

#[tokio::test]
async fn it_is_for_this_machine_and_for_reading() {
    let example = Example::start("identity-sidecar", &PORTS).await;
    let port = example.port(SIDECAR);
    // Whoever listens on all addresses listens on this one, too.
    let elsewhere = Client::new(([127, 0, 0, 2], port).into());
    let refused = elsewhere.try_send(&Request::get(LIST)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    let since = example.process.log().len();
    for request in [
        Request::get(LIST).header("host", format!("rebound.example.com:{port}")),
        Request::post(LIST, "text/plain", "changed"),
    ] {
        assert_eq!(client(port).send(&request).await.status, 403);
    }
    assert_eq!(client(port).send(&Request::get(LIST)).await.status, 200);
    let asked = |line: &&String| line.starts_with("modules: ");
    assert_eq!(example.process.log().since(since).iter().filter(asked).count(), 1, "the last alone");
}

/// A metadata server and token endpoint of the test's own, whose every token is good for so many seconds.
fn gives_tokens(google: &Upstream, example: &Example, state: &Path, seconds: i64) {
    let issuer = format!("http://127.0.0.1:{}", example.port(GOOGLE));
    let audience = audience(example);
    let signer = Signer::load(&state.join("google")).unwrap();
    google.program(move |request| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        let account = "lockgate@lockgate-local.iam.gserviceaccount.com";
        let mut claims = id_token_claims(&issuer, &audience, account, now);
        claims.insert("exp".to_owned(), (now + seconds).into());
        let token = signer.sign_id_token(&claims).unwrap();
        Some(if request.path() == "/token" {
            Answer::with_body(200, "application/json", &json!({"id_token": token}).to_string())
        } else {
            Answer::with_body(200, "application/text", &token)
        })
    });
}

/// The service's address without the path.
fn audience(example: &Example) -> String {
    format!("http://127.0.0.1:{}", example.port(CLOUD_RUN))
}

/// Builds so slowly that a token ends in the middle; returns what the test's Google was asked meanwhile.
async fn outlive_a_token(mode: &str) -> (Example, Vec<Recorded>) {
    let state = tempfile::tempdir().unwrap();
    let google = Upstream::on_free_port();
    let directory = state.path().display().to_string();
    let token_uri = format!("{}/token", google.url());
    let variables = [
        ("IDENTITY", mode),
        ("STATE_DIR", &*directory),
        ("METADATA_BASE", &google.url()),
        ("TOKEN_URI", &token_uri),
    ];
    let example = Example::start_with("identity-sidecar", &PORTS, &variables).await;
    // The sidecar uses each for a second.
    gives_tokens(&google, &example, state.path(), 2);

    // The third file is asked for so late that the token of those before it is over at the service too.
    let sidecar = ([127, 0, 0, 1], example.port(SIDECAR)).into();
    let between = FaultProxy::start(free_port(), sidecar);
    let files = AtomicUsize::new(0);
    between.program(move |_| {
        let is_third = files.fetch_add(1, Ordering::Relaxed) == 2;
        is_third.then_some(Fault::Slow(Duration::from_secs(4)))
    });
    assert_builds(&format!("http://{}", between.address())).await;

    let calls = between.calls().since(0);
    let statuses: Vec<_> =
        calls.iter().map(|call| call.answer.as_ref().map(|answer| answer.status)).collect();
    assert!(statuses.len() >= 4 && statuses.iter().all(|status| *status == Some(200)), "{statuses:?}");
    let asked = google.requests().since(0);
    let tokens = asked.len();
    assert!((2..statuses.len()).contains(&tokens), "{tokens} tokens for {} requests", statuses.len());
    (example, asked)
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_build_fails_no_request() {
    let (example, asked) = outlive_a_token("metadata").await;
    for request in asked {
        assert!(is_identity(&request.request), "{request:?}");
        let audience = format!("&audience={}", encode(&audience(&example)));
        assert!(request.target.ends_with(&audience), "{}", request.target);
        assert_eq!(request.headers.text("metadata-flavor").as_deref(), Some("Google"));
        assert!(!request.headers.contains("x-forwarded-for") && !request.headers.contains("authorization"));
    }
}

#[tokio::test]
async fn nor_does_one_that_was_exchanged_for_a_keys_assertion() {
    let (example, asked) = outlive_a_token("key").await;
    for request in asked {
        assert_eq!((&*request.method, request.path()), ("POST", "/token"));
        let form = request.text();
        let assertion = form.split("&assertion=").nth(1).unwrap().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(assertion).unwrap()).unwrap();
        assert_eq!(claims["target_audience"], audience(&example));
        assert_eq!(claims["iss"], "builder@lockgate-local.iam.gserviceaccount.com");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let metadata = Upstream::on_free_port();
    let sorry = |status| Answer::with_body(status, "text/html", "<p>We are sorry.");
    metadata.program_in_turn(|_| true, [sorry(500), sorry(200)]);
    let example =
        Example::start_with("identity-sidecar", &PORTS, &[("METADATA_BASE", &metadata.url())]).await;
    // A failure is not asked about again for a second.
    let both = async {
        while metadata.requests().len() < 2 {
            let answer = client(example.port(SIDECAR)).send(&Request::get(LIST)).await;
            assert_eq!(answer.status, 503);
            assert_eq!(answer.text(), "The service cannot be reached right now. Please try again.\n");
        }
    };
    tokio::time::timeout(PATIENCE, both).await.expect("the metadata server is asked again");
    let log = example.process.log().since(0);
    assert!(!log.iter().any(|line| line.starts_with("modules: ")), "{log:#?}");
}

#[tokio::test]
async fn a_key_does_where_there_is_no_metadata_server() {
    let state = tempfile::tempdir().unwrap();
    let (metadata, google) = (Upstream::on_free_port(), Upstream::on_free_port());
    let (directory, token_uri) = (state.path().display().to_string(), format!("{}/token", google.url()));
    let variables = [
        ("IDENTITY", "key"),
        ("STATE_DIR", &*directory),
        ("METADATA_BASE", &metadata.url()),
        ("TOKEN_URI", &token_uri),
    ];
    let example = Example::start_with("identity-sidecar", &PORTS, &variables).await;
    gives_tokens(&google, &example, state.path(), 3600);
    let proxy = format!("http://localhost:{}", example.port(SIDECAR));
    for _ in 0..2 {
        assert_builds(&proxy).await;
    }
    assert!(metadata.requests().is_empty(), "the metadata server was asked");
    assert_eq!(google.requests().len(), 1, "one exchange for all files of both builds");
    let log = example.process.log().since(0).join("\n");
    assert!(!log.contains("PRIVATE KEY") && !log.contains("eyJ"), "no key and no token is written down");
}

#[tokio::test]
async fn a_key_that_is_none_stops_the_start() {
    let ports: Vec<_> = PORTS.iter().map(|port| format!("{port}={}", free_port())).collect();
    let mut command = Command::new(workspace().join("envoy/examples/identity-sidecar/run"));
    command.env("PORTS", ports.join(" ")).env("UPSTREAM_SERVICE_ACCOUNT_KEY", "not-a-key");
    let refused = Process::start("identity-sidecar", &mut command, Arc::new(Journal::default()));
    assert!(!refused.wait_exit(PATIENCE).await.success());
    let log = refused.log().since(0).join("\n");
    let said = "upstream.identity.key: UPSTREAM_SERVICE_ACCOUNT_KEY is not a service account's key";
    assert!(log.contains(said) && !log.contains("not-a-key"), "{log}");
}
