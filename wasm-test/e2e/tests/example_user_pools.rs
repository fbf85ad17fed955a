//! `envoy/examples/user-pools`: tokens of a user pool as moto emulates it, fetched by AWS's own client; people
//! who sign in, and a consumer that hears of each once.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockgate_e2e::admin::Admin;
use lockgate_e2e::browser::{Browser, Landing, Tab};
use lockgate_e2e::example::Example;
use lockgate_e2e::oidc_login::sign_in;
use lockgate_e2e::stack::workspace;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Client, Request, Response};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const ALICE: &str = "alice@example.com";
const KEYS: &str = "/.well-known/jwks.json HTTP";
const ORIGIN: &str = "https://app.example.com";

/// The running example, and the variables that it says to export.
struct Pool {
    example: Example,
    variables: Vec<(String, String)>,
}

async fn pool() -> &'static Pool {
    static POOL: OnceCell<Pool> = OnceCell::const_new();
    POOL.get_or_init(Pool::start).await
}

impl Pool {
    async fn start() -> Self {
        let example = Example::start("user-pools", &[8080, 9901, 8085, 8090, 5005, 9400]).await;
        let line = example.process.wait_for_line("variables", 0, |line| line.starts_with("  export ")).await;
        let pairs = line.trim().split(' ').skip(1).map(|pair| pair.split_once('=').expect("a pair"));
        let variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { example, variables }
    }

    fn client(&self) -> Client {
        Client::new(at(self.example.port(8080)))
    }

    /// A token as an app gets it, by the folder's script.
    fn token(&self, email: &str, kind: &str) -> String {
        let script = workspace().join("envoy/examples/user-pools/sign_in.py");
        let mut command = Command::new(python());
        command.arg(script).args([email, kind]).envs(self.variables.iter().cloned());
        let output = command.output().expect("Python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn ask(&self, path: &str, token: &str) -> Response {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        self.client().send(&request).await
    }

    /// Checks that a request was refused with this status and for this reason.
    async fn assert_refused(&self, answer: &Response, status: u16, reason: &str, what: &str) {
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let id = answer.headers.text("x-request-id").expect("an id");
        let is_its = |line: &str| line.contains(&id) && line.contains("refused reason=");
        let line = self.example.process.wait_for_line("the reason", 0, is_its).await;
        assert!(line.contains(&format!("refused reason={reason} status={status} ")), "{what}: {line}");
    }

    /// What the consumer of sign-in events says of people, once it has said so much.
    async fn heard(&self, count: usize) -> Vec<String> {
        let is_heard = |line: &String| line.starts_with("new user ") || line.starts_with("known user ");
        self.example.process.log().wait_for("events", count, is_heard).await
    }

    /// How often the pool was asked for its keys.
    fn key_fetches(&self) -> u64 {
        self.example.process.log().matching(|line| line.contains(KEYS)).len() as u64
    }
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What a token says, its signature unchecked.
fn claims(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims")).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}

fn python() -> PathBuf {
    let python = workspace().join(".tools/moto/bin/python");
    assert!(python.is_file(), "{} is missing: make clients", python.display());
    python
}

/// A token with these changes to its header and its claims, each under its name, signed with the pool's key.
fn minted(token: &str, changes: &Value) -> Value {
    let mut child = Command::new(python())
        .arg(workspace().join("wasm-test/e2e/clients/moto/mint.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let order = json!({"token": token, "changes": changes}).to_string();
    child.stdin.take().expect("a pipe").write_all(order.as_bytes()).expect("it is read");
    let output = child.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).expect("tokens")
}

#[tokio::test]
async fn the_pools_groups_decide_and_its_id_tokens_open_nothing() {
    let pool = pool().await;
    for (email, hello, users) in [
        (ALICE, 200, 403),
        ("bob@example.com", 200, 200),
        ("carol@example.com", 403, 403),
        ("dave@example.com", 403, 403),
    ] {
        let token = pool.token(email, "AccessToken");
        for (path, status) in [("/hello", hello), ("/users", users), ("/elsewhere", hello), ("/world", 200)] {
            let (answer, what) = (pool.ask(path, &token).await, format!("{email} at {path}"));
            match status {
                403 => pool.assert_refused(&answer, 403, "not_allowed", &what).await,
                _ => assert_eq!(answer.status, status, "{what}: {}", answer.text()),
            }
        }
        let has_claim = claims(&token).get("cognito:groups").is_some();
        assert_eq!(has_claim, email != "dave@example.com", "who is in no group has no claim: {email}");
        let id_token = pool.token(email, "IdToken");
        pool.assert_refused(&pool.ask("/hello", &id_token).await, 401, "token_audience", email).await;
        for token in [token, id_token] {
            let shown = pool.example.process.log().matching(|line| line.contains(&token));
            assert!(shown.is_empty(), "{email}'s token is written down: {shown:?}");
        }
    }
    for (path, status) in [("/world", 200), ("/hello", 401), ("/users", 401), ("/elsewhere", 401)] {
        assert_eq!(pool.client().send(&Request::get(path)).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_quite_the_pools_token_is_refused() {
    let pool = pool().await;
    let good = pool.token(ALICE, "AccessToken");
    let cases = [
        ("expired", json!({"claims": {"exp": 1}}), "token_expired"),
        ("no end", json!({"claims": {"exp": null}}), "token_expired"),
        (
            "another pool",
            json!({"claims": {"iss": "https://cognito-idp.eu-west-1.amazonaws.com/x"}}),
            "token_issuer",
        ),
        ("another app", json!({"claims": {"client_id": "another"}}), "token_audience"),
        ("no app", json!({"claims": {"client_id": null}}), "token_audience"),
        ("the app in aud alone", json!({"claims": {"client_id": null, "aud": "any"}}), "token_audience"),
        ("an ID token's use", json!({"claims": {"token_use": "id"}}), "token_claims"),
        ("no use", json!({"claims": {"token_use": null}}), "token_claims"),
        ("an unknown key", json!({"header": {"kid": "another"}}), "token_unknown_key"),
    ];
    let mut changes: serde_json::Map<_, _> =
        cases.iter().map(|(name, change, _)| ((*name).to_owned(), change.clone())).collect();
    changes.insert("none".to_owned(), json!({}));
    let tokens = minted(&good, &changes.into());
    assert_eq!(
        pool.ask("/hello", tokens["none"].as_str().unwrap()).await.status,
        200,
        "the key is the pool's"
    );

    let (signed, signature) = good.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{first}{}", &signature[1..]);
    let minted = cases.iter().map(|(name, _, reason)| (*name, tokens[*name].as_str().unwrap(), *reason));
    let others =
        [("a forged signature", forged.as_str(), "token_signature"), ("a word", "x", "token_malformed")];
    for (name, token, reason) in minted.chain(others) {
        let answer = pool.ask("/hello", token).await;
        pool.assert_refused(&answer, 401, reason, name).await;
        let challenge = answer.headers.text("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{name}: {challenge}");
    }
}

#[tokio::test]
async fn keys_are_fetched_once_a_worker_and_for_unknown_ones_at_a_bounded_rate() {
    /// Of `Throttle` in filters/common/src/fetch.rs.
    const INTERVAL: Duration = Duration::from_secs(10);
    let pool = pool().await;
    let admin = Admin::new(at(pool.example.port(9901)));
    let workers = admin.stat("server.concurrency").await;
    // Each asks by itself a moment after its start, and so does the main thread, which no request uses.
    let began = Instant::now();
    while pool.key_fetches() < workers + 1 {
        assert!(began.elapsed() < INTERVAL, "{} fetches by {workers} workers", pool.key_fetches());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (began, before) = (Instant::now(), pool.key_fetches());
    assert_eq!(before, workers + 1);
    let good = pool.token(ALICE, "AccessToken");
    let unknown: serde_json::Map<_, _> =
        (0..100).map(|n| (n.to_string(), json!({"header": {"kid": format!("unknown-{n}")}}))).collect();
    let unknown = minted(&good, &unknown.into());
    let mut flood = unknown.as_object().unwrap().values().cycle();
    // The wait is for the interval of the fetch at the start to end.
    while pool.key_fetches() == before {
        assert_eq!(pool.ask("/hello", flood.next().unwrap().as_str().unwrap()).await.status, 401);
        assert!(began.elapsed() < 3 * INTERVAL, "an unknown key is never asked for");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // So many that a second fetch would be seen.
    for token in flood.take(1_000) {
        assert_eq!(pool.ask("/hello", token.as_str().unwrap()).await.status, 401);
    }
    let fetched = pool.key_fetches() - before;
    let most = workers * (began.elapsed().as_secs() / INTERVAL.as_secs() + 1);
    assert!(fetched <= most, "{fetched} fetches by {workers} workers in {:?}", began.elapsed());
}

#[tokio::test]
async fn a_page_of_the_named_origin_may_call_and_no_other() {
    let pool = pool().await;
    let token = pool.token(ALICE, "AccessToken");
    let preflight = |origin: &str| {
        let request = Request::new("OPTIONS", "/hello").header("origin", origin);
        request
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization")
    };
    let call = |origin: &str| Request::get("/hello").header("origin", origin);
    let with_token = |origin: &str| call(origin).header("authorization", format!("Bearer {token}"));
    for (request, status) in [(preflight(ORIGIN), 200), (call(ORIGIN), 401), (with_token(ORIGIN), 200)] {
        let answer = pool.client().send(&request).await;
        let allowed = ["access-control-allow-origin", "access-control-allow-credentials"]
            .map(|name| answer.headers.text(name));
        assert_eq!(answer.status, status, "{request:?}");
        assert_eq!(allowed, [Some(ORIGIN.to_owned()), Some("true".to_owned())], "{request:?}");
    }
    let answer = pool.client().send(&preflight(ORIGIN)).await;
    assert_eq!(answer.headers.text("access-control-allow-headers").as_deref(), Some("authorization"));
    for origin in
        ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"]
    {
        for request in [preflight(origin), call(origin), with_token(origin)] {
            let answer = pool.client().send(&request).await;
            assert!(!answer.headers.contains("access-control-allow-origin"), "{request:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn whoever_keeps_accounts_hears_of_each_person_once_as_new() {
    let pool = pool().await;
    let page = format!("http://127.0.0.1:{}/hello", pool.example.port(8080));
    let mut said = Vec::new();
    for (number, email) in [ALICE, "bob@example.com", ALICE, "carol@example.com", ALICE].iter().enumerate() {
        let page = sign_in(&mut UserAgent::new(), &page, email).await;
        let expected = if *email == "carol@example.com" { 403 } else { 200 };
        assert_eq!(page.response.status, expected, "{email}: {}", page.response.text());
        said = pool.heard(number + 1).await;
    }
    let expected =
        ["new user alice", "new user bob", "known user alice", "new user carol", "known user alice"]
            .map(|line| format!("{line}@example.com"));
    assert_eq!(said, expected);
}

/// Presses a button of the sign-in page, as the README says.
async fn chosen(tab: &Tab<'_>, email: &str) -> Landing {
    tab.follow(&format!("button[value='{email}']")).await
}

#[tokio::test]
async fn in_a_browser_the_groups_decide_and_each_sign_in_is_told_once() {
    let (pool, browser) = (Pool::start().await, Browser::start().await);
    let site = format!("http://127.0.0.1:{}", pool.example.port(8080));
    let page = format!("http://127.0.0.1:{}/oauth2/authorize", pool.example.port(9400));
    let at = |path: &str, status| Landing { url: format!("{site}{path}"), status };

    let (alice, carol) = (browser.context().await, browser.context().await);
    let tab = alice.tab().await;
    assert!(tab.goto(&at("/hello?a=1&b=2", 200).url).await.url.starts_with(&page));
    assert_eq!(chosen(&tab, ALICE).await, at("/hello?a=1&b=2", 200));
    assert_eq!(tab.text("body").await.trim(), "The demonstration upstream has it.");
    assert_eq!(tab.goto(&at("/users", 403).url).await, at("/users", 403), "she is in another group");
    assert_eq!(tab.text("h1").await, "Not allowed");
    assert_eq!(pool.heard(1).await, ["new user alice@example.com"]);

    // Somebody of a group that may do nothing.
    let stranger = carol.tab().await;
    assert_eq!(stranger.goto(&at("/world", 200).url).await.status, 200, "open to everybody");
    assert!(stranger.goto(&at("/hello", 403).url).await.url.starts_with(&page));
    assert_eq!(chosen(&stranger, "carol@example.com").await, at("/hello", 403));
    assert_eq!(stranger.text("h1").await, "Not allowed");
    assert!(stranger.text("main").await.contains("Sign in as somebody else"));
    assert_eq!(pool.heard(2).await.pop().unwrap(), "new user carol@example.com");

    tab.goto(&format!("{site}/_lockgate/sign-out")).await;
    assert!(tab.text("main").await.contains("You are signed in as alice@example.com."));
    assert_eq!(tab.follow("form button").await.status, 200);
    assert_eq!(tab.text("h1").await, "Signed out");
    assert!(tab.goto(&at("/hello", 200).url).await.url.starts_with(&page), "she is nobody again");
    assert_eq!(chosen(&tab, ALICE).await, at("/hello", 200));
    let said =
        ["new user alice", "new user carol", "known user alice"].map(|line| format!("{line}@example.com"));
    assert_eq!(pool.heard(3).await, said);
}

#[tokio::test]
async fn the_readmes_lines_say_what_they_say() {
    let pool = pool().await;
    let (promised, printed) = pool.example.paste(2, &pool.variables);
    assert_eq!(printed[..promised.len()], promised);
    assert_eq!(promised.len(), 8);
    let granted = "access-control-allow-origin: https://app.example.com";
    assert!(printed.iter().any(|line| line.trim() == granted), "{printed:?}");
}
