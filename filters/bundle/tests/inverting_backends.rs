//! inverting-proxy's registered backends in the simulated host: who gets whose requests.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use wasm_test::{Gateway, Request, Response, Stream};

const BACKEND: &str = "x-inverting-proxy-backend-id";
const ID: &str = "x-inverting-proxy-request-id";
const REFUSED: &str = "x-lockgate-refused";

const EVA: &str = "eva@example.com";
const IVO: &str = "ivo@example.com";
const ADMIN: &str = "admin@example.com";

#[path = "inverting_backends/admin.rs"]
mod admin;
#[path = "inverting_backends/health.rs"]
mod health;

fn module() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/inverting-proxy.wasm");
    std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: make wasm", path.display()))
}

fn backend(id: &str, end_user: &str, prefixes: &[&str]) -> Value {
    let agent = format!("{id}@agents.example.com");
    json!({"id": id, "end_user": end_user, "backend_user": agent, "path_prefixes": prefixes})
}

fn gateway(backends: Value) -> Gateway {
    limited(json!({}), backends)
}

fn limited(limits: Value, backends: Value) -> Gateway {
    let after = ["oidc"];
    let configuration = json!({"version": 1, "limits": limits, "backends": backends, "rules": [
        {"match": {"path_prefix": "/api/backends"}, "admin": true, "after": after, "max_body_bytes": 4096},
        {"match": {"path_prefix": "/mine/agent"}, "agents": "registered", "after": after},
        {"match": {"path_prefix": "/agent"}, "agent_of": ["fixed"], "after": after},
        {"match": {"path_prefix": "/fixed"}, "backend": "fixed"},
        {"match": {"path_prefix": "/"}, "choose": "by_user", "after": after},
    ]});
    Gateway::builder(&module())
        .filter("inverting-proxy", configuration.to_string())
        .allow_on_headers_stop_iteration()
        .property(&["plugin_name"], "edge")
        .body_limit(100_000)
        .max_stream_duration(Duration::from_secs(300))
        .stream_idle_timeout(Duration::from_secs(300))
        .start()
        .unwrap()
}

/// As the door leaves a request that it let in.
fn of(user: &str, request: Request) -> Request {
    let principal =
        json!({"filter": "oidc", "issuer": "https://login.example.com", "subject": "1", "email": user});
    request.filter_state("lockgate_oidc", "passed").filter_state("lockgate_principal", principal.to_string())
}

/// A call of the agent of a backend that `backend` has made.
fn call(id: &str, method: &str, call: &str) -> Request {
    let path = match id {
        "fixed" => format!("/agent/{call}"),
        _ => format!("/mine/agent/{call}"),
    };
    of(&format!("{id}@agents.example.com"), Request::new(method, &path)).header(BACKEND, id)
}

fn pending(id: &str) -> Request {
    call(id, "GET", "pending")
}

/// The agent asks, hangs up, and is known to be there.
fn comes(gateway: &Gateway, id: &str) {
    let question = gateway.open(pending(id));
    assert!(question.is_paused(), "{id}: {:?}", question.response().map(|response| response.text()));
    question.reset();
}

fn ids(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(&response.text()).unwrap()
}

/// Answers what waits for a backend; its request lines.
fn serve(gateway: &Gateway, id: &str, status: &str) -> Vec<String> {
    let question = gateway.open(pending(id));
    let Some(answer) = question.response() else {
        question.reset();
        return Vec::new();
    };
    let mut lines = Vec::new();
    for request in ids(&answer) {
        let fetched = gateway.send(call(id, "GET", "request").header(ID, &request));
        lines.push(fetched.text().lines().next().unwrap().to_owned());
        let message = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n\r\n{id}");
        let told = gateway.send(call(id, "POST", "response").header(ID, &request).body(message));
        assert_eq!(told.status, 200);
    }
    lines
}

fn refused(response: &Response) -> (u16, &str) {
    (response.status, response.headers.text(REFUSED).unwrap_or_default())
}

/// Which of the backends gets a request.
fn taken_by(gateway: &Gateway, user: &str, path: &str, ids: &[&str]) -> String {
    let stream = gateway.open(of(user, Request::get(path)));
    if let Some(response) = stream.response() {
        return refused(&response).1.to_owned();
    }
    for id in ids {
        serve(gateway, id, "200 OK");
    }
    let response = stream.response().unwrap_or_else(|| panic!("{user} {path}: nobody took it"));
    assert_eq!(response.status, 200);
    response.text()
}

fn three() -> Gateway {
    let gateway = gateway(json!([
        backend("shared", "allUsers", &["/", "/wide/and/long"]),
        backend("evas", EVA, &["/"]),
        backend("evas-deep", "Eva@Example.com", &["/deep", "/deep/down"]),
        backend("ivos", IVO, &["/deep"]),
    ]));
    for id in ALL {
        comes(&gateway, id);
    }
    gateway
}

const ALL: [&str; 4] = ["shared", "evas", "evas-deep", "ivos"];

#[test]
fn the_users_own_come_before_shared_ones_and_then_the_longest_prefix() {
    let gateway = three();
    for (user, path, expected) in [
        (EVA, "/", "evas"),
        (EVA, "/wide/and/long", "evas"),
        (EVA, "/deep", "evas-deep"),
        (EVA, "/deep/x?y=/z", "evas-deep"),
        (EVA, "/deeper", "evas"),
        ("EVA@example.COM", "/deep/", "evas-deep"),
        (IVO, "/deep/x", "ivos"),
        (IVO, "/x", "shared"),
        ("a@example.com", "/deep", "shared"),
        (ADMIN, "/", "shared"),
    ] {
        assert_eq!(taken_by(&gateway, user, path, &ALL), expected, "{user} {path}");
    }
    assert!(!gateway.trapped());
}

#[test]
fn nothing_that_a_client_sends_makes_it_another() {
    let gateway = three();
    let tricks = Request::get("/deep")
        .header(BACKEND, "evas-deep")
        .header("x-inverting-proxy-user-id", EVA)
        .header("x-lockgate-email", EVA)
        .header("x-goog-authenticated-user-email", EVA);
    let stream = gateway.open(of("mallory@example.com", tricks));
    for id in ["evas", "evas-deep", "ivos"] {
        assert_eq!(serve(&gateway, id, "200 OK"), [""; 0], "{id}");
    }
    assert_eq!(serve(&gateway, "shared", "200 OK"), ["GET /deep HTTP/1.1"]);
    assert!(stream.is_done());

    for principal in [
        json!({"filter": "oidc", "subject": EVA}),
        json!({"filter": "oidc", "subject": "1", "email": 1}),
        json!(["eva@example.com"]),
    ] {
        let request = Request::get("/")
            .filter_state("lockgate_oidc", "passed")
            .filter_state("lockgate_principal", principal.to_string());
        assert_eq!(refused(&gateway.send(request)), (403, "no_address"), "{principal}");
    }
    let unguarded = gateway.send(Request::get("/"));
    assert_eq!(unguarded.status, 503);
    assert_eq!(gateway.metrics().counter("lockgate.inverting_proxy.refused.not_guarded"), 1);
}

#[test]
fn a_backend_whose_agent_has_left_is_passed_over() {
    let gateway = three();
    gateway.advance(Duration::from_secs(59));
    comes(&gateway, "shared");
    assert_eq!(taken_by(&gateway, EVA, "/deep", &["evas-deep"]), "evas-deep");
    gateway.advance(Duration::from_secs(59));
    assert_eq!(taken_by(&gateway, EVA, "/", &["shared"]), "shared", "its agent asked 118 s ago");
    gateway.advance(Duration::from_secs(301));
    comes(&gateway, "ivos");
    let nobody = gateway.send(of(EVA, Request::get("/deep")));
    assert_eq!(refused(&nobody), (503, "no_agent"), "after five minutes none is waited for");
    assert_eq!(nobody.headers.text("retry-after"), Some("1"));
    assert_eq!(taken_by(&gateway, IVO, "/deep", &["ivos"]), "ivos");

    let gateway = self::gateway(json!([backend("evas", EVA, &["/deep"])]));
    assert_eq!(refused(&gateway.send(of(EVA, Request::get("/")))), (404, "no_backend"));
    assert_eq!(refused(&gateway.send(of(IVO, Request::get("/deep")))), (404, "no_backend"));
}

#[test]
fn after_a_start_an_agent_is_waited_for_where_no_other_is_there() {
    let gateway = gateway(json!([backend("evas", EVA, &["/"]), backend("shared", "allUsers", &["/"])]));
    let early = gateway.open(of(EVA, Request::get("/early")));
    assert!(early.is_paused());
    comes(&gateway, "shared");
    assert_eq!(taken_by(&gateway, EVA, "/", &["shared"]), "shared");
    assert_eq!(serve(&gateway, "evas", "200 OK"), ["GET /early HTTP/1.1"]);
    assert!(early.is_done());
    assert_eq!(taken_by(&gateway, EVA, "/", &["shared", "evas"]), "evas");
}

#[test]
fn an_agent_speaks_for_the_backends_of_its_account_alone() {
    let gateway = three();
    let stream = gateway.open(of(EVA, Request::post("/deep").body("secret")));
    let id = ids(&gateway.send(pending("evas-deep")))[0].clone();
    let account = |id: &str| format!("{id}@agents.example.com");
    for (method, call) in [("GET", "pending"), ("GET", "request"), ("POST", "response")] {
        let path = format!("/mine/agent/{call}");
        let request = || Request::new(method, &path).header(ID, &id).body("HTTP/1.1 200 OK\r\n\r\nforged");
        for (who, named, status) in [
            (account("ivos"), "evas-deep", 403),
            (account("evas"), "evas-deep", 403),
            (EVA.to_owned(), "evas-deep", 403),
            (account("ivos"), "nobodys", 403),
            (account("ivos"), "fixed", 403),
            (account("ivos"), "evas-deep\u{e9}", 403),
            (account("ivos"), "EVAS-DEEP", 403),
            (account("ivos"), "", 400),
        ] {
            let response = gateway.send(of(&who, request()).header(BACKEND, named));
            assert_eq!(response.status, status, "{who} {call} {named}");
        }
        let twice = of(&account("ivos"), request()).header(BACKEND, "ivos").header(BACKEND, "evas-deep");
        assert_eq!(gateway.send(twice).status, 400, "{call}");
        if call != "pending" {
            let own = of(&account("ivos"), request()).header(BACKEND, "ivos");
            assert_eq!(gateway.send(own).status, 404, "a request of another's");
        }
        // The other agents' route is for the backend of that route.
        let path = format!("/agent/{call}");
        let other = of(&account("evas-deep"), Request::new(method, &path).header(ID, &id));
        assert_eq!(gateway.send(other.header(BACKEND, "evas-deep")).status, 403);
    }
    assert!(stream.is_paused());
    // Its account is compared as the door compares addresses.
    let agent = of("EVAS-DEEP@agents.example.com", Request::get("/mine/agent/request"));
    let fetched = gateway.send(agent.header(BACKEND, "evas-deep").header(ID, &id));
    assert!(fetched.text().ends_with("secret"));
    assert_eq!(fetched.headers.text("x-inverting-proxy-user-id"), Some(EVA));
}
