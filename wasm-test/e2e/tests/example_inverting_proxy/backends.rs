//! The example's registered backends: who gets whose requests, who may change that, and what
//! a service that is not well is spared. The agents are scripted.

use std::sync::Arc;
use std::time::Duration;

use lockgate_e2e::example::Example;
use lockgate_e2e::tokens::Tokens;
use lockgate_e2e::{Client, Journal, Request, Response};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::agent::{ADMIN, Agent, EDGE, PORTS, REQUEST_ID, SERVICES, counted, message};
use crate::{ACCOUNT, REFUSED, client};

const EVA: &str = "eva@example.com";
const IVO: &str = "ivo@example.com";
const ALICE: &str = "alice@example.com";

/// The running example, and whoever comes to it.
struct World {
    // Ends with it.
    example: Example,
    edge: Client,
    tokens: Tokens,
}

impl World {
    async fn start() -> Self {
        let agents = ["evas", "deep", "ivos", "late"].map(account).join(",");
        let variables = [
            ("AGENT_ACCOUNTS", format!("{ACCOUNT},{agents}")),
            ("ADMIN_ACCOUNTS", ALICE.to_owned()),
            ("WORK_ACCOUNTS", format!("{ACCOUNT},{EVA},{IVO},{ALICE}")),
        ];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        let example = Example::start_with("inverting-proxy", &PORTS, &variables).await;
        let address = |port: u16| format!("http://127.0.0.1:{}", example.port(port));
        let tokens =
            Tokens::new(&example.state().join("lockgate/google"), &address(SERVICES), &address(EDGE));
        let edge = client(example.port(EDGE));
        Self { example, edge, tokens }
    }

    fn token(&self, email: &str) -> String {
        self.tokens.push_with(|claims| {
            claims.insert("email".to_owned(), email.into());
            claims.insert("sub".to_owned(), email.into());
        })
    }

    fn by(&self, email: &str, request: Request) -> Request {
        request.header("Authorization", format!("Bearer {}", self.token(email)))
    }

    fn agent(&self, account: &str, backend: &str) -> Agent {
        Agent::registered(self.edge, backend, self.token(account))
    }

    /// An agent that answers whatever comes for its backend, for as long as it is held.
    fn serve(&self, account: &str, backend: &str, health: &'static str) -> Serving {
        let agent = self.agent(account, backend);
        let (backend, taken) = (backend.to_owned(), Arc::new(Journal::default()));
        let paths = taken.clone();
        let task = tokio::spawn(async move {
            loop {
                for id in agent.asks().await {
                    let request = agent.fetch(&id).await.text();
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    let head = if path == "/health" { health } else { "200 OK" };
                    let told = agent.answer(&id, message(head, backend.as_bytes(), "")).await;
                    assert!(matches!(told.status, 200 | 404), "{}", told.text());
                    paths.push(path);
                }
            }
        });
        Serving { task, taken }
    }

    async fn send(&self, email: &str, request: Request) -> Response {
        self.edge.with_deadline(Duration::from_secs(60)).send(&self.by(email, request)).await
    }

    async fn get(&self, email: &str, path: &str) -> String {
        let response = self.send(email, Request::get(path)).await;
        response.headers.text(REFUSED).unwrap_or_else(|| response.text())
    }

    async fn create(&self, id: &str, end_user: &str, prefixes: &[&str]) -> Response {
        let definition =
            json!({"id": id, "endUser": end_user, "backendUser": account(id), "pathPrefixes": prefixes});
        self.post(ALICE, &definition).await
    }

    async fn post(&self, email: &str, definition: &Value) -> Response {
        let request = Request::post("/api/backends", "application/json", definition.to_string());
        self.send(email, request).await
    }

    async fn delete(&self, email: &str, id: &str) -> Response {
        self.send(email, Request::new("DELETE", &format!("/api/backends/{id}"))).await
    }

    async fn listed(&self) -> Vec<Value> {
        let response = self.send(ALICE, Request::get("/api/backends")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.headers.text("content-type").as_deref(), Some("application/json"));
        assert_eq!(response.headers.text("cache-control").as_deref(), Some("no-store"));
        response.json().as_array().expect("a list").clone()
    }

    /// Waits until a backend takes traffic.
    async fn is_healthy(&self, id: &str, healthy: bool) {
        let told = format!("backend {id} is {}", if healthy { "healthy" } else { "unhealthy" });
        self.example.process.wait_for_line(&told, 0, |line| line.ends_with(&told)).await;
    }
}

struct Serving {
    task: JoinHandle<()>,
    /// What it has answered.
    taken: Arc<Journal<String>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn account(id: &str) -> String {
    format!("{id}@my-project.iam.gserviceaccount.com")
}

#[tokio::test]
async fn the_users_own_backend_comes_before_the_shared_one_and_then_the_longest_prefix() {
    let world = World::start().await;
    assert_eq!(world.create("evas", EVA, &["/work"]).await.status, 201);
    assert_eq!(world.create("deep", EVA, &["/work/deep", "/work/deep/down"]).await.status, 201);
    assert_eq!(world.create("ivos", IVO, &["/work/deep"]).await.status, 201);
    let _shared = world.serve(ACCOUNT, "shared", "200 OK");
    let _own = world.serve(ACCOUNT, "own", "200 OK");
    let _agents = ["evas", "deep", "ivos"].map(|id| world.serve(&account(id), id, "200 OK"));
    world.is_healthy("shared", true).await;
    for (user, path, expected) in [
        (EVA, "/work", "evas"),
        (EVA, "/work/own", "evas"),
        (EVA, "/work/deep?x=/work", "deep"),
        (EVA, "/work/deep/down/x", "deep"),
        (EVA, "/work/deeper", "evas"),
        (IVO, "/work/deep/x", "ivos"),
        (IVO, "/work/x", "shared"),
        (ACCOUNT, "/work/own/x", "own"),
        (ACCOUNT, "/work/x", "shared"),
        (ALICE, "/work/deep", "shared"),
    ] {
        assert_eq!(world.get(user, path).await, expected, "{user} {path}");
    }
    let listed = world.listed().await;
    let ids: Vec<&str> = listed.iter().filter_map(|backend| backend["id"].as_str()).collect();
    assert_eq!(ids, ["own", "shared", "evas", "deep", "ivos"]);
    assert!(
        listed.iter().all(|backend| backend["lastUsed"].as_str().is_some_and(|time| time.ends_with('Z')))
    );
    assert_eq!((&listed[1]["healthy"], &listed[1]["configured"]), (&json!(true), &json!(true)));
    assert_eq!(
        world.get("mallory@example.com", "/work").await.lines().next(),
        Some("You are signed in, but you may not do this.")
    );
}

#[tokio::test]
async fn nobody_reaches_what_is_anothers() {
    let world = World::start().await;
    assert_eq!(world.create("evas", EVA, &["/work/mine", "/"]).await.status, 201);
    assert_eq!(world.create("ivos", IVO, &["/work"]).await.status, 201);
    let evas = world.serve(&account("evas"), "evas", "200 OK");
    let own = world.serve(ACCOUNT, "own", "200 OK");
    let _ivos = world.serve(&account("ivos"), "ivos", "200 OK");
    assert_eq!(world.get(EVA, "/work/mine").await, "evas");
    assert_eq!(world.get(ACCOUNT, "/work/own").await, "own");
    for path in [
        "/work/mine",
        "/work/own",
        "/work/x/../mine",
        "/work/x/%2e%2e/mine",
        "/work/./own",
        "/work//own",
        "/work/own;x",
        "/work/mine%2f..",
        "/work/mine\\..\\own",
        "/work/%6dine",
    ] {
        let request = Request::get(path)
            .header("X-Inverting-Proxy-Backend-ID", "evas")
            .header("X-Inverting-Proxy-User-ID", EVA)
            .header("X-Lockgate-Email", EVA);
        let response = world.send(IVO, request).await;
        let text = response.text();
        assert!(text == "ivos" || response.status >= 400, "{path}: {} {text}", response.status);
    }
    // An agent speaks for the backends of its account, on its route.
    for (who, backend) in
        [("ivos", "evas"), ("ivos", "own"), ("ivos", "nobodys"), ("ivos", "reports"), ("evas", "EVAS")]
    {
        let agent = world.agent(&account(who), backend);
        assert_eq!(agent.pending().await.status, 403, "{who} {backend}");
        assert_eq!(agent.fetch("0").await.status, 403, "{who} {backend}");
        assert_eq!(agent.answer("0", message("200 OK", b"forged", "")).await.status, 403, "{who} {backend}");
    }
    assert_eq!(world.agent(EVA, "evas").pending().await.status, 403, "its user is not its agent");
    let elsewhere = Request::get("/registered/agent/../../agent/pending");
    let elsewhere = elsewhere.header("X-Inverting-Proxy-Backend-ID", "reports");
    assert_eq!(world.send(&account("evas"), elsewhere).await.status, 403);
    assert_eq!(
        (evas.taken.since(0), own.taken.since(0)),
        (vec!["/work/mine".to_owned()], vec!["/work/own".to_owned()])
    );
}

#[tokio::test]
async fn an_administrator_changes_backends_and_nobody_else() {
    let world = World::start().await;
    let definition =
        json!({"id": "late", "endUser": EVA, "backendUser": account("late"), "pathPrefixes": ["/work"]});
    for other in [EVA, ACCOUNT] {
        assert_eq!(world.send(other, Request::get("/api/backends")).await.status, 403);
        assert_eq!(world.post(other, &definition).await.status, 403);
        assert_eq!(world.delete(other, "shared").await.status, 403);
    }
    assert_eq!(world.edge.send(&Request::get("/api/backends")).await.status, 401);
    for field in ["id", "endUser", "backendUser", "pathPrefixes"] {
        let mut missing = definition.clone();
        missing.as_object_mut().expect("an object").remove(field);
        let response = world.post(ALICE, &missing).await;
        assert_eq!(response.status, 400);
        assert!(
            response.text().starts_with(&format!("{field}: given nothing, expected ")),
            "{}",
            response.text()
        );
    }
    let huge = json!({"id": "x".repeat(70_000)});
    assert_eq!(world.post(ALICE, &huge).await.status, 413);
    let form = Request::post("/api/backends", "text/plain", definition.to_string());
    assert_eq!(world.send(ALICE, form).await.status, 415);
    let foreign = Request::post("/api/backends", "application/json", definition.to_string());
    let foreign = foreign.header("Sec-Fetch-Site", "same-site").header("Origin", "https://other.example.com");
    assert_eq!(world.send(ALICE, foreign).await.status, 403);
    let put = world.send(ALICE, Request::new("PUT", "/api/backends")).await;
    assert_eq!((put.status, put.headers.text("allow").as_deref()), (405, Some("GET, POST")));
    assert_eq!(world.send(ALICE, Request::get("/api/backends/own")).await.status, 405);
    for id in ["own", "reports"] {
        let kept = world.delete(ALICE, id).await;
        assert_eq!(kept.status, 409);
        assert_eq!(kept.text(), "This backend is in the configuration, and is changed there.\n");
    }
    assert_eq!(world.listed().await.len(), 2, "nothing has changed");

    let created = world.post(ALICE, &definition).await;
    assert_eq!((created.status, created.json()), (201, definition));
    let late = world.serve(&account("late"), "late", "200 OK");
    assert_eq!(world.get(EVA, "/work").await, "late");
    drop(late);
    let waiting = {
        let (edge, request) = (world.edge, world.by(EVA, Request::get("/work/waits")));
        tokio::spawn(async move { edge.with_deadline(Duration::from_secs(60)).send(&request).await })
    };
    let agent = world.agent(&account("late"), "late");
    let id = agent.next().await;
    let fetched = agent.fetch(&id).await;
    assert_eq!(fetched.headers.text("x-inverting-proxy-user-id").as_deref(), Some(EVA));
    assert_eq!(world.delete(ALICE, "late").await.status, 204);
    let refused = waiting.await.expect("an answer");
    assert_eq!((refused.status, refused.headers.text(REFUSED).as_deref()), (503, Some("no_agent")));
    assert_eq!(refused.headers.text(REQUEST_ID), Some(id));
    assert_eq!(agent.pending().await.status, 403);
    assert_eq!(world.delete(ALICE, "late").await.status, 404);
}

#[tokio::test]
async fn a_service_that_is_not_well_takes_no_traffic() {
    let world = World::start().await;
    assert_eq!(world.get(EVA, "/work").await, "unhealthy", "its agent has not come");
    let ill = world.serve(ACCOUNT, "shared", "500 Internal Server Error");
    ill.taken.wait_for("a probe", 1, |path| path == "/health").await;
    assert_eq!(world.get(EVA, "/work").await, "unhealthy");
    drop(ill);
    let well = world.serve(ACCOUNT, "shared", "200 OK");
    world.is_healthy("shared", true).await;
    assert_eq!(world.get(EVA, "/work").await, "shared");
    drop(well);
    let ill = world.serve(ACCOUNT, "shared", "302 Found\r\nLocation: /login");
    world.is_healthy("shared", false).await;
    let refused = world.send(EVA, Request::get("/work")).await;
    assert_eq!((refused.status, refused.headers.text(REFUSED).as_deref()), (503, Some("unhealthy")));
    assert!(ill.taken.since(0).iter().all(|path| path == "/health"), "it takes no traffic");
    let admin = client(world.example.port(ADMIN));
    assert_eq!(counted(admin, "parked").await, 1);
    assert_eq!(counted(admin, "probe_failed").await, 3);
}
