//! `envoy/examples/inverting-proxy`: a service that nothing can call is called. The agent is scripted; the
//! original was run by hand, as the example's README says.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_e2e::example::Example;
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::ports::free_port;
use lockgate_e2e::stack::workspace;
use lockgate_e2e::{Client, Journal, Process, Request, Response};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

#[path = "example_inverting_proxy/agent.rs"]
mod agent;
#[path = "example_inverting_proxy/agents.rs"]
mod agents;
#[path = "example_inverting_proxy/backends.rs"]
mod backends;
#[path = "example_inverting_proxy/people.rs"]
mod people;
#[path = "example_inverting_proxy/sessions.rs"]
mod sessions;

use agent::{ADMIN, Agent, EDGE, PORTS, REQUEST_ID, SERVICES, counted, message, metadata};

const REFUSED: &str = "x-lockgate-refused";
const ACCOUNT: &str = "lockgate@lockgate-local.iam.gserviceaccount.com";

async fn start() -> (Example, Client, Agent) {
    let example = Example::start("inverting-proxy", &PORTS).await;
    let edge = client(example.port(EDGE));
    let agent = Agent::of(&example, edge).await;
    (example, edge, agent)
}

fn client(port: u16) -> Client {
    Client::new(([127, 0, 0, 1], port).into())
}

fn sent(edge: Client, request: Request) -> JoinHandle<Response> {
    tokio::spawn(async move { edge.with_deadline(Duration::from_secs(60)).send(&request).await })
}

#[tokio::test]
async fn what_the_client_sends_the_agent_reads_and_what_it_brings_the_client_gets() {
    let (example, edge, agent) = start().await;
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let token = metadata(&example, &format!("identity?format=full&audience=http://{}", edge.address())).await;
    let request = Request::new("PUT", "/private/a%20b?c=d&e=%2F")
        .header("authorization", format!("Bearer {}", token.text()))
        .header("x-a", "1")
        .header("x-a", "2")
        .header("x-odd", b"\xff")
        .header("cookie", "theirs=1")
        .header("te", "trailers")
        .header("keep-alive", "timeout=5")
        .header("x-inverting-proxy-user-id", "somebody@example.com")
        .header("x-lockgate-email", "somebody@example.com")
        .body(body.clone());
    let waiting = sent(edge, request);
    let id = agent.next().await;
    let fetched = agent.fetch(&id).await;
    assert_eq!(fetched.headers.text("x-inverting-proxy-user-id").as_deref(), Some(ACCOUNT));
    assert!(fetched.headers.text("x-inverting-proxy-request-start-time").unwrap().ends_with('Z'));
    let end = fetched.body.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert!(fetched.body[end + 4..] == body, "the body came otherwise");
    let head: Vec<&[u8]> = fetched.body[..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    assert_eq!(head[0], b"PUT /private/a%20b?c=d&e=%2F HTTP/1.1");
    for line in ["x-a: 1", "x-a: 2", "cookie: theirs=1", "content-length: 100000"] {
        assert!(head.contains(&line.as_bytes()), "{line}");
    }
    assert!(head.contains(&b"x-odd: \xff".as_slice()));
    assert!(head.contains(&format!("x-lockgate-email: {ACCOUNT}").as_bytes()), "who the door let in");
    for name in ["authorization", "te", "keep-alive", "x-inverting-", "x-envoy-", "transfer-encoding"] {
        assert!(!head.iter().any(|line| line.starts_with(name.as_bytes())), "{name}");
    }

    let answer = message(
        "404 Not Found\r\nContent-Type: image/png\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Odd: \u{e9}\r\n\
         Connection: X-Hop\r\nX-Hop: 1\r\nX-Lockgate-Refused: forged\r\nTrailer: X-Sum",
        &body,
        "X-Sum: 1\r\n",
    );
    assert_eq!(agent.answer(&id, answer.clone()).await.status, 200);
    let response = waiting.await.unwrap();
    assert_eq!(response.status, 404);
    assert!(response.body == body, "the answer's body came otherwise");
    assert_eq!(response.headers.all("set-cookie"), [b"a=1", b"b=2"]);
    assert_eq!(response.headers.text("x-odd").as_deref(), Some("\u{e9}"));
    for name in ["x-hop", "trailer", REFUSED, "x-sum"] {
        assert!(!response.headers.contains(name), "{name}");
    }
    assert_eq!(agent.answer(&id, answer).await.status, 404, "once");
}

#[tokio::test]
async fn answers_without_a_body_end_where_they_should() {
    let (_example, edge, agent) = start().await;
    let mut connection = edge.connect().await;
    for (method, head, status) in [
        ("HEAD", "200 OK\r\nContent-Type: text/html", 200),
        ("GET", "204 No Content", 204),
        ("GET", "304 Not Modified\r\nETag: \"1\"", 304),
        ("GET", "200 OK\r\nContent-Type: text/html", 200),
        ("GET", "504 Gateway Timeout\r\nContent-Type: text/html", 504),
    ] {
        connection.write(format!("{method} /x HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
        let id = agent.next().await;
        assert_eq!(agent.fetch(&id).await.status, 200);
        assert_eq!(agent.answer(&id, message(head, b"", "")).await.status, 200);
        // The next one can only be read where this one ended.
        let response = connection.read(method).await.unwrap();
        assert_eq!((response.status, response.body.len()), (status, 0), "{method} {head}");
        assert_eq!(response.headers.contains("content-type"), head.contains("text/html"), "{method} {head}");
    }
}

#[tokio::test]
async fn bodies_within_the_limits_pass_and_no_others() {
    let (_example, edge, agent) = start().await;
    let largest = vec![b'x'; 1 << 20];
    let waiting = sent(edge, Request::post("/", "text/plain", largest.clone()));
    let id = agent.next().await;
    assert!(agent.fetch(&id).await.body.ends_with(&largest));
    let body = vec![b'y'; (8 << 20) - 40_000];
    assert_eq!(agent.answer(&id, message("200 OK", &body, "")).await.status, 200);
    assert!(waiting.await.unwrap().body == body, "the answer's body came otherwise");

    assert_eq!(edge.send(&Request::post("/", "text/plain", vec![b'x'; (1 << 20) + 1])).await.status, 413);
    let waiting = sent(edge, Request::get("/"));
    let id = agent.next().await;
    agent.fetch(&id).await;
    assert_eq!(agent.answer(&id, message("200 OK", &vec![b'y'; 8 << 20], "")).await.status, 413);
    let response = waiting.await.unwrap();
    assert_eq!(
        (response.status, response.headers.text(REFUSED).unwrap()),
        (502, "response_too_large".into())
    );
}

#[tokio::test]
async fn who_is_not_the_agent_learns_nothing() {
    let (example, edge, agent) = start().await;
    let waiting = sent(edge, Request::get("/"));
    let id = agent.next().await;
    let elsewhere = format!("identity?format=full&audience=http://{}/elsewhere", edge.address());
    for token in ["", "ya29.nonsense", &metadata(&example, &elsewhere).await.text()] {
        let nobody = agent.with_token(token);
        assert_eq!(nobody.pending().await.status, 401, "{token}");
        assert_eq!(nobody.fetch(&id).await.status, 401);
        assert_eq!(nobody.answer(&id, message("200 OK", b"forged", "")).await.status, 401);
    }
    assert_eq!(agent.fetch(&id).await.status, 200, "it still waits");
    // An identity token for this very proxy is as good.
    let audience = format!("identity?format=full&audience=http://{}", edge.address());
    let other = agent.with_token(&metadata(&example, &audience).await.text());
    assert_eq!(other.answer(&id, message("200 OK", b"ok", "")).await.status, 200);
    assert_eq!(waiting.await.unwrap().text(), "ok");
    drop(example);

    let other = [("AGENT_ACCOUNT", "agent@another.iam.gserviceaccount.com")];
    let example = Example::start_with("inverting-proxy", &PORTS, &other).await;
    let agent = Agent::of(&example, client(example.port(EDGE))).await;
    assert_eq!(agent.pending().await.status, 403, "known, and not the agent");
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten() {
    let (example, edge, agent) = start().await;
    let mut connection = edge.connect().await;
    connection.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let id = agent.next().await;
    assert_eq!(agent.fetch(&id).await.status, 200);
    drop(connection);
    let forgotten = async { while agent.fetch(&id).await.status != 404 {} };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("it is forgotten");
    assert_eq!(agent.answer(&id, message("200 OK", b"", "")).await.status, 404);
    assert_eq!(counted(client(example.port(ADMIN)), "left").await, 1);
}

#[tokio::test]
async fn many_at_once_each_get_their_own() {
    let (_example, edge, agent) = start().await;
    let waiting: Vec<_> = (0..100).map(|number| sent(edge, Request::get(&format!("/{number}")))).collect();
    let mut answered = 0;
    while answered < waiting.len() {
        let ids: Vec<String> = serde_json::from_value(agent.pending().await.json()).unwrap();
        for id in ids {
            let request = agent.fetch(&id).await.text();
            let path = request.split(' ').nth(1).unwrap().to_owned();
            assert_eq!(agent.answer(&id, message("200 OK", path.as_bytes(), "")).await.status, 200);
            answered += 1;
        }
    }
    for (number, response) in waiting.into_iter().enumerate() {
        assert_eq!(response.await.unwrap().text(), format!("/{number}"));
    }
}

#[tokio::test]
async fn an_idle_question_ends_empty_after_thirty_seconds() {
    let (_example, _edge, agent) = start().await;
    let begun = Instant::now();
    assert_eq!(agent.pending().await.text(), "[]");
    assert!(begun.elapsed() > Duration::from_secs(29));
}

#[tokio::test]
async fn what_nobody_takes_or_answers_ends_after_thirty_seconds_and_without_an_agent_nobody_waits() {
    let (_example, edge, agent) = start().await;
    let begun = Instant::now();
    let untaken = sent(edge, Request::get("/"));
    let first = agent.next().await;
    let unanswered = sent(edge, agent.known(Request::get("/desk")));
    let second = agent.next().await;
    assert_eq!(agent.fetch(&second).await.status, 200);
    for (waiting, reason, id) in [(untaken, "not_fetched", first), (unanswered, "not_answered", second)] {
        let response = waiting.await.unwrap();
        assert!(begun.elapsed() > Duration::from_secs(29));
        assert_eq!((response.status, response.headers.text(REFUSED).unwrap()), (504, reason.into()));
        assert_eq!(response.headers.text(REQUEST_ID).as_ref(), Some(&id));
        assert_eq!(agent.answer(&id, message("200 OK", b"late", "")).await.status, 404);
    }
    // The agent is waited for until it has not asked for a minute.
    let response = loop {
        let response = sent(edge, Request::get("/")).await.unwrap();
        if response.status != 504 {
            break response;
        }
    };
    assert!(begun.elapsed() > Duration::from_secs(59));
    assert_eq!((response.status, response.headers.text(REFUSED).unwrap()), (503, "no_agent".into()));
    assert_eq!(response.headers.text("retry-after").as_deref(), Some("1"));
}

/// The example's Envoy configuration, started alone and beside it.
struct Alone {
    file: tempfile::TempDir,
    configuration: Value,
    port: u16,
    environment: Vec<(&'static str, String)>,
}

impl Alone {
    fn of(example: &Example) -> Self {
        let port = free_port();
        let services = format!("http://127.0.0.1:{}", example.port(SERVICES));
        let environment = vec![
            ("PORT", port.to_string()),
            ("ADMIN_PORT", free_port().to_string()),
            ("PUBLIC_URL", format!("http://127.0.0.1:{port}")),
            ("GOOGLE_API_BASE", services.clone()),
            ("METADATA_BASE", services.clone()),
            ("AGENT_ACCOUNT", ACCOUNT.to_owned()),
            ("PROGRAM_ACCOUNT", ACCOUNT.to_owned()),
            ("AGENT_ACCOUNTS", ACCOUNT.to_owned()),
            ("ADMIN_ACCOUNTS", ACCOUNT.to_owned()),
            ("WORK_ACCOUNTS", ACCOUNT.to_owned()),
            ("AGENT_CLIENT_ID", "100000000004235869161".to_owned()),
            ("TOKENINFO_URL", format!("{services}/tokeninfo")),
            ("TOKEN_ISSUER", services.clone()),
            ("TOKEN_JWKS_URI", format!("{services}/oauth2/v3/certs")),
        ];
        let file = tempfile::tempdir().unwrap();
        let mut alone = Self { file, configuration: Value::Null, port, environment };
        let rendered = alone.lockgate("render").output().unwrap();
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        alone.configuration = serde_norway::from_slice(&rendered.stdout).unwrap();
        alone
    }

    fn lockgate(&self, subcommand: &str) -> Command {
        let mut command = Command::new(workspace().join("target/debug/lockgate"));
        command.current_dir(workspace()).arg(subcommand).envs(self.environment.iter().cloned());
        command.arg("--config").arg(folder().join("lockgate.yaml"));
        command.env("STATE_DIR", self.file.path());
        command
    }

    async fn start(&self, configuration: &Value, workers: usize) -> (Process, Client) {
        let file = self.file.path().join("envoy.json");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let mut command = Command::new(std::env::var_os("ENVOY").expect("ENVOY names Envoy"));
        command.current_dir(workspace()).args(["--disable-hot-restart", "--log-level", "warning", "-c"]);
        command.arg(&file).args(["--concurrency", &workers.to_string()]);
        let envoy = Process::start("envoy", &mut command, Arc::new(Journal::default()));
        let client = client(self.port);
        client.wait_for_listener().await;
        (envoy, client)
    }

    fn http(&self, part: &str) -> &[Value] {
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        self.configuration.pointer(&format!("{manager}{part}")).and_then(Value::as_array).unwrap()
    }

    fn changed(&self, part: &str, list: Vec<Value>) -> Value {
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        let mut changed = self.configuration.clone();
        *changed.pointer_mut(&format!("{manager}{part}")).unwrap() = list.into();
        changed
    }
}

fn folder() -> PathBuf {
    workspace().join("envoy/examples/inverting-proxy")
}

#[tokio::test]
async fn a_second_worker_is_refused_at_the_start_and_found_out_behind_it() {
    let (example, ..) = start().await;
    let alone = Alone::of(&example);
    let refused = alone.lockgate("run").env("ENVOY_CONCURRENCY", "2").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("ENVOY_CONCURRENCY: given 2, expected 1"), "{said}");

    let (envoy, edge) = alone.start(&alone.configuration, 2).await;
    let mut waiting = Vec::new();
    let found = loop {
        // Which worker a connection comes to is the kernel's choice.
        let mut connection = edge.connect().await;
        connection.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(100), connection.read("GET")).await {
            break answer.unwrap();
        }
        waiting.push(connection);
        assert!(waiting.len() < 100, "every connection came to one worker");
    };
    assert_eq!(
        (found.status, found.text().contains("more than one worker")),
        (503, true),
        "{}",
        found.text()
    );
    envoy.wait_for_line("it is logged", 0, |line| line.contains("reason=several_workers")).await;
}

#[tokio::test]
async fn each_deleted_line_closes_its_route() {
    const TABLE: &str = "/route_config/virtual_hosts/0/routes";
    let (example, ..) = start().await;
    let alone = Alone::of(&example);
    let probes = [
        ("agent", "/agent/pending"),
        ("registered-agents", "/registered/agent/pending"),
        ("administrators", "/api/backends"),
        ("work", "/work/x"),
        ("private", "/private/x"),
        ("desk", "/desk/x"),
        ("everything", "/x"),
    ];
    let mut deleted = 0;
    for (number, route) in alone.http(TABLE).iter().enumerate() {
        let Some((name, path)) = probes.iter().find(|(name, _)| route["name"] == *name) else { continue };
        let mut routes = alone.http(TABLE).to_vec();
        routes[number]["typed_per_filter_config"] = json!({});
        let (_envoy, edge) = alone.start(&alone.changed(TABLE, routes), 1).await;
        let agent = Agent::of(&example, edge).await;
        let response = match *name {
            "agent" => agent.pending().await,
            _ => edge.send(&agent.known(Request::get(path))).await,
        };
        assert_eq!(response.status, 503, "{name}");
        deleted += 1;
    }
    assert_eq!(deleted, probes.len());

    let filters = alone.http("/http_filters");
    assert_eq!(filters[0]["name"], "lockgate.guard");
    let (envoy, edge) = alone.start(&alone.changed("/http_filters", filters[1..].to_vec()), 1).await;
    let agent = Agent::of(&example, edge).await;
    assert_eq!(agent.pending().await.status, 503);
    for probe in ["/private/x", "/work/x", "/api/backends", "/registered/agent/pending"] {
        assert_eq!(edge.send(&agent.known(Request::get(probe))).await.status, 503, "{probe}");
    }
    envoy.wait_for_line("it is logged", 0, |line| line.contains("reason=not_guarded")).await;
}
