//! inverting-proxy's registered backends in the simulated host: who gets whose requests, what administrators may
//! change, and what an unhealthy backend is spared.
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

fn api(method: &str, rest: &str) -> Request {
    of(ADMIN, Request::new(method, &format!("/api/backends{rest}")))
}

fn post(definition: &Value) -> Request {
    api("POST", "").header("content-type", "application/json; charset=utf-8").body(definition.to_string())
}

fn defined(id: &str, end_user: &str) -> Value {
    let agent = format!("{id}@agents.example.com");
    json!({"id": id, "endUser": end_user, "backendUser": agent, "pathPrefixes": ["/"]})
}

fn list(gateway: &Gateway) -> Vec<Value> {
    let response = gateway.send(api("GET", ""));
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.headers.text("content-type"), Some("application/json"));
    assert_eq!(response.headers.text("cache-control"), Some("no-store"));
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn an_administrator_lists_creates_and_deletes() {
    let gateway = gateway(json!([backend("shared", "allUsers", &["/"])]));
    let shared = json!({"id": "shared", "endUser": "allUsers", "backendUser": "shared@agents.example.com",
        "pathPrefixes": ["/"], "configured": true});
    assert_eq!(list(&gateway), std::slice::from_ref(&shared), "the routes' own are not listed");
    let created = gateway.send(post(&defined("evas", EVA)));
    assert_eq!((created.status, created.headers.text("cache-control")), (201, Some("no-store")));
    assert_eq!(serde_json::from_slice::<Value>(&created.body).unwrap(), defined("evas", EVA));
    comes(&gateway, "evas");
    comes(&gateway, "shared");
    assert_eq!(taken_by(&gateway, EVA, "/", &["evas"]), "evas");

    let listed = list(&gateway);
    assert_eq!(listed[1]["lastUsed"], "2026-11-22T04:00:00.000Z");
    let again = gateway.send(post(&listed[1]));
    assert_eq!(again.status, 200, "what is listed can be sent: {}", again.text());
    assert_eq!(list(&gateway)[1]["lastUsed"], "2026-11-22T04:00:00.000Z", "it is the one that it was");

    let replaced = gateway.send(post(&defined("evas", IVO)));
    assert_eq!(replaced.status, 200);
    assert_eq!(list(&gateway)[1]["lastUsed"], Value::Null, "nobody has asked for that one");
    comes(&gateway, "evas");
    assert_eq!(taken_by(&gateway, EVA, "/", &["shared"]), "shared");
    assert_eq!(taken_by(&gateway, IVO, "/", &["evas"]), "evas");

    let gone = gateway.send(api("DELETE", "/evas"));
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    assert_eq!(gateway.send(api("DELETE", "/evas")).status, 404);
    assert_eq!(gateway.send(pending("evas")).status, 403);
    assert_eq!(taken_by(&gateway, IVO, "/", &["shared"]), "shared");
    assert_eq!(list(&gateway).len(), 1);
    assert!(!gateway.trapped());
}

#[test]
fn what_waits_for_a_deleted_backend_waits_no_longer() {
    for replacement in [None, Some(defined("evas", IVO))] {
        let gateway = gateway(json!([]));
        assert_eq!(gateway.send(post(&defined("evas", EVA))).status, 201);
        let (waiting, fetched) =
            (gateway.open(of(EVA, Request::get("/1"))), gateway.open(of(EVA, Request::get("/2"))));
        let ids = ids(&gateway.send(pending("evas")));
        assert_eq!(gateway.send(call("evas", "GET", "request").header(ID, &ids[1])).status, 200);
        let question = gateway.open(pending("evas"));
        let body = gateway.open_body(of(EVA, Request::post("/3")).chunked());
        let changed = match &replacement {
            None => gateway.send(api("DELETE", "/evas")),
            Some(other) => gateway.send(post(other)),
        };
        assert!(matches!(changed.status, 200 | 204), "{}", changed.text());
        for stream in [&waiting, &fetched] {
            assert_eq!(refused(&stream.response().unwrap()), (503, "no_agent"));
        }
        assert_eq!(question.response().unwrap().status, 403);
        body.push_last("x");
        assert_eq!(
            refused(&body.response().unwrap()),
            (503, "no_agent"),
            "it was deleted while the body came"
        );
        // The next of that name has nothing of the first.
        if replacement.is_none() {
            assert_eq!(gateway.send(post(&defined("evas", IVO))).status, 201);
        }
        comes(&gateway, "evas");
        let late = call("evas", "POST", "response").header(ID, &ids[1]).body("HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(gateway.send(late).status, 404);
    }
}

#[test]
fn what_the_configuration_has_is_not_an_administrators_to_change() {
    let gateway = gateway(json!([backend("shared", "allUsers", &["/"])]));
    for id in ["shared", "fixed"] {
        for response in
            [gateway.send(api("DELETE", &format!("/{id}"))), gateway.send(post(&defined(id, EVA)))]
        {
            assert_eq!(response.status, 409);
            assert_eq!(response.text(), "This backend is in the configuration, and is changed there.\n");
        }
    }
    assert_eq!(list(&gateway)[0]["endUser"], "allUsers");
}

#[test]
fn a_restart_forgets_what_administrators_have_added() {
    let start = || gateway(json!([backend("shared", "allUsers", &["/"])]));
    let first = start();
    assert_eq!(first.send(post(&defined("evas", EVA))).status, 201);
    assert_eq!(list(&first).len(), 2);
    let ids: Vec<Value> = list(&start()).into_iter().map(|backend| backend["id"].clone()).collect();
    assert_eq!(ids, ["shared"]);
}

#[test]
fn a_definition_that_cannot_be_used_is_a_400_that_names_the_field() {
    let gateway = gateway(json!([]));
    let good = defined("evas", EVA);
    for field in ["id", "endUser", "backendUser", "pathPrefixes"] {
        let mut missing = good.clone();
        missing.as_object_mut().unwrap().remove(field);
        let response = gateway.send(post(&missing));
        assert_eq!(response.status, 400);
        assert!(response.text().starts_with(&format!("{field}: given ")), "{}", response.text());
        let mut null = good.clone();
        null[field] = Value::Null;
        assert!(gateway.send(post(&null)).text().starts_with(&format!("{field}: given null")));
    }
    for (field, value) in [
        ("id", json!("a/b")),
        ("id", json!("..")),
        ("id", json!("a\r\nx: y")),
        ("id", json!("x".repeat(101))),
        ("endUser", json!("everybody")),
        ("endUser", json!(["a@b.c"])),
        ("backendUser", json!("allUsers")),
        ("backendUser", json!(format!("{}@b.c", "x".repeat(254)))),
        ("pathPrefixes", json!([])),
        ("pathPrefixes", json!(["/a/"])),
        ("pathPrefixes", json!(["/a/../b"])),
        ("pathPrefixes", json!(["/a", 7])),
        ("pathPrefixes", json!(vec!["/a"; 33])),
        ("health", json!({"path": "/"})),
        ("x\ny", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[field] = value.clone();
        let response = gateway.send(post(&bad));
        assert_eq!(response.status, 400, "{field} {value}");
        assert!(response.text().starts_with(&format!("{field}: given ")), "{}", response.text());
        assert_eq!(response.headers.text("cache-control"), Some("no-store"));
    }
    for body in ["", "[]", "{", "null", r#"{"id":"a","id":"b"}"#, "\u{0}"] {
        let request = api("POST", "").header("content-type", "application/json").body(body);
        assert_eq!(gateway.send(request).status, 400, "{body}");
    }
    let huge = json!({"id": "x".repeat(5_000)});
    assert_eq!(gateway.send(post(&huge)).status, 413);
    assert_eq!(list(&gateway), [Value::Null; 0]);
    assert!(!gateway.trapped());
}

#[test]
fn other_methods_paths_and_senders_change_nothing() {
    let gateway = gateway(json!([]));
    for (method, rest, status, allow) in [
        ("PUT", "", 405, Some("GET, POST")),
        ("DELETE", "", 405, Some("GET, POST")),
        ("HEAD", "", 405, Some("GET, POST")),
        ("GET", "/evas", 405, Some("DELETE")),
        ("POST", "/evas", 405, Some("DELETE")),
        ("DELETE", "/", 404, None),
        ("DELETE", "/evas/x", 404, None),
        ("DELETE", "/%65vas", 404, None),
        ("GET", "/", 404, None),
        ("GET", "x", 404, None),
    ] {
        let response = gateway.send(api(method, rest));
        assert_eq!((response.status, response.headers.text("allow")), (status, allow), "{method} {rest}");
    }
    for media_type in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonx"]
    {
        let request =
            api("POST", "").header("content-type", media_type).body(defined("evas", EVA).to_string());
        assert_eq!(gateway.send(request).status, 415, "{media_type}");
    }
    for site in ["cross-site", "same-site", "", "same-origin, cross-site"] {
        let created = gateway.send(post(&defined("evas", EVA)).header("sec-fetch-site", site));
        assert_eq!(created.status, 403, "{site}");
        assert_eq!(gateway.send(api("DELETE", "/evas").header("sec-fetch-site", site)).status, 403);
    }
    assert_eq!(list(&gateway), [Value::Null; 0]);
    for site in ["same-origin", "none"] {
        let created = gateway.send(post(&defined("evas", EVA)).header("sec-fetch-site", site));
        assert!(matches!(created.status, 200 | 201), "{site}");
    }
    let unguarded = Request::get("/api/backends");
    assert_eq!(gateway.send(unguarded).status, 503);
}

#[test]
fn there_are_as_many_as_may_be() {
    let gateway = gateway(json!([backend("shared", "allUsers", &["/"])]));
    // The rules name one too.
    for number in 2..256 {
        assert_eq!(gateway.send(post(&defined(&number.to_string(), EVA))).status, 201, "{number}");
    }
    let more = gateway.send(post(&defined("more", EVA)));
    assert_eq!((more.status, more.text().as_str()), (409, "There are as many backends as may be.\n"));
    assert_eq!(gateway.send(api("DELETE", "/7")).status, 204);
    assert_eq!(gateway.send(post(&defined("more", EVA))).status, 201);
    assert_eq!(list(&gateway).len(), 255);
    assert!(!gateway.trapped());
}

const PROBE: &str = "GET /health HTTP/1.1";

fn checked() -> Gateway {
    let mut own = backend("evas", EVA, &["/"]);
    own["health"] = json!({"path": "/health", "interval_ms": 10_000, "unhealthy_after": 2});
    gateway(json!([
        own,
        {"id": "fixed", "health": {"path": "/health", "interval_ms": 10_000, "unhealthy_after": 2}},
        backend("shared", "allUsers", &["/"]),
    ]))
}

/// The probe that comes within the next interval is answered.
fn probed(gateway: &Gateway, id: &str, status: &str) {
    for _ in 0..12 {
        if serve(gateway, id, status) == [PROBE] {
            return;
        }
        gateway.advance(Duration::from_secs(1));
    }
    panic!("{id} was not probed");
}

fn fixed(gateway: &Gateway) -> Stream {
    gateway.open(Request::get("/fixed"))
}

#[test]
fn a_backend_takes_traffic_from_its_first_good_answer_to_its_failures_in_a_row() {
    let gateway = checked();
    assert_eq!(refused(&fixed(&gateway).response().unwrap()), (503, "unhealthy"));
    probed(&gateway, "fixed", "503 Service Unavailable");
    assert_eq!(refused(&fixed(&gateway).response().unwrap()), (503, "unhealthy"));
    assert_eq!(gateway.metrics().counter("lockgate.inverting_proxy.parked"), 0);
    probed(&gateway, "fixed", "204 No Content");
    let waiting = fixed(&gateway);
    assert_eq!(
        serve(&gateway, "fixed", "500 Oh"),
        ["GET /fixed HTTP/1.1"],
        "a client's answer is no probe's"
    );
    assert_eq!(waiting.response().unwrap().status, 500);

    probed(&gateway, "fixed", "302 Found");
    let waiting = fixed(&gateway);
    assert!(waiting.is_paused(), "once is not in a row");
    waiting.reset();
    probed(&gateway, "fixed", "200 OK");
    for _ in 0..2 {
        probed(&gateway, "fixed", "500 Oh");
    }
    let refusal = fixed(&gateway).response().unwrap();
    assert_eq!(refused(&refusal), (503, "unhealthy"));
    assert_eq!(refusal.headers.text("retry-after"), Some("1"));
    assert!(gateway.logs().contains("backend fixed is unhealthy"));
    probed(&gateway, "fixed", "200 OK");
    assert!(fixed(&gateway).is_paused(), "one good answer opens it");

    let metrics = gateway.metrics();
    let counted = |name: &str| metrics.counter(&format!("lockgate.inverting_proxy.{name}"));
    assert_eq!((counted("probe_passed"), counted("probe_failed")), (3, 4));
    assert_eq!(
        (counted("parked"), counted("fetched"), counted("answered")),
        (3, 1, 1),
        "no probe is a client's"
    );
    assert_eq!(counted("refused.unhealthy"), 3);
}

#[test]
fn a_probe_that_nobody_answers_in_time_has_failed() {
    let gateway = checked();
    probed(&gateway, "fixed", "200 OK");
    // Its agent asks, and does nothing with what it is given.
    for _ in 0..29 {
        gateway.advance(Duration::from_secs(1));
        let question = gateway.open(pending("fixed"));
        let given = question.response().map(|answer| ids(&answer));
        assert!(given.is_none_or(|ids| ids.len() == 1), "one probe at a time");
        question.reset();
    }
    assert!(fixed(&gateway).is_paused(), "one has failed, the second is on its way");
    gateway.advance(Duration::from_secs(2));
    assert_eq!(refused(&fixed(&gateway).response().unwrap()), (503, "unhealthy"));
}

#[test]
fn a_choice_passes_over_who_is_not_well() {
    let gateway = checked();
    comes(&gateway, "shared");
    assert_eq!(serve(&gateway, "evas", "200 OK"), [PROBE], "at once, as its agent comes");
    assert_eq!(taken_by(&gateway, EVA, "/", &["evas"]), "evas");
    for _ in 0..2 {
        probed(&gateway, "evas", "500 Oh");
    }
    comes(&gateway, "shared");
    assert_eq!(taken_by(&gateway, EVA, "/", &["shared"]), "shared");
    gateway.advance(Duration::from_secs(50));
    probed(&gateway, "evas", "500 Oh");
    gateway.advance(Duration::from_secs(15));
    assert_eq!(taken_by(&gateway, EVA, "/", &["shared"]), "unhealthy", "the shared one's agent has left");
    let listed = list(&gateway);
    assert_eq!((&listed[0]["healthy"], &listed[1]["healthy"]), (&json!(false), &Value::Null));
    probed(&gateway, "evas", "200 OK");
    assert_eq!(list(&gateway)[0]["healthy"], true);
}

#[test]
fn without_an_agent_nothing_is_probed_and_the_next_agent_begins_anew() {
    let gateway = checked();
    gateway.advance(Duration::from_secs(120));
    let counted = |gateway: &Gateway| {
        let metrics = gateway.metrics();
        metrics.counter("lockgate.inverting_proxy.probe_passed")
            + metrics.counter("lockgate.inverting_proxy.probe_failed")
    };
    assert_eq!(counted(&gateway), 0);
    probed(&gateway, "fixed", "200 OK");
    gateway.advance(Duration::from_secs(90));
    let after = counted(&gateway);
    gateway.advance(Duration::from_secs(600));
    assert_eq!(counted(&gateway), after, "it has stopped");
    assert_eq!(refused(&fixed(&gateway).response().unwrap()), (503, "no_agent"));
    // The agent is there again, and its service not yet known to be well.
    gateway.open(pending("fixed")).reset();
    assert_eq!(refused(&fixed(&gateway).response().unwrap()), (503, "unhealthy"));
    probed(&gateway, "fixed", "200 OK");
    assert!(fixed(&gateway).is_paused());
}

#[test]
fn an_agent_that_was_gone_begins_anew_however_long_the_interval_is() {
    let gateway = gateway(json!([{"id": "fixed", "health": {"path": "/health", "interval_ms": 600_000}}]));
    probed(&gateway, "fixed", "200 OK");
    gateway.advance(Duration::from_secs(59));
    comes(&gateway, "fixed");
    assert!(fixed(&gateway).is_paused(), "it was not gone");
    gateway.advance(Duration::from_secs(61));
    let question = gateway.open(pending("fixed"));
    assert_eq!(refused(&fixed(&gateway).response().unwrap()), (503, "unhealthy"));
    assert_eq!(ids(&question.response().unwrap()).len(), 1, "the probe comes at once");
    // It is handed out again where it was lost, and has an end before the interval has.
    gateway.advance(Duration::from_secs(6));
    probed(&gateway, "fixed", "200 OK");
    assert!(fixed(&gateway).is_paused());
}

#[test]
fn an_answer_has_thirty_seconds_where_the_interval_is_longer() {
    let gateway = gateway(json!([{"id": "fixed", "health": {"path": "/health", "interval_ms": 600_000}}]));
    let question = gateway.open(pending("fixed"));
    assert_eq!(ids(&question.response().unwrap()).len(), 1);
    gateway.advance(Duration::from_secs(29));
    assert_eq!(gateway.metrics().counter("lockgate.inverting_proxy.probe_failed"), 0);
    gateway.advance(Duration::from_secs(2));
    assert_eq!(gateway.metrics().counter("lockgate.inverting_proxy.probe_failed"), 1);
}

#[test]
fn a_probe_takes_no_clients_place() {
    let health = json!({"path": "/health", "interval_ms": 1_000, "unhealthy_after": 100});
    let backends = json!([{"id": "fixed", "health": health}, backend("shared", "allUsers", &["/"])]);
    let gateway = limited(json!({"parked": 1}), backends);
    probed(&gateway, "fixed", "200 OK");
    gateway.advance(Duration::from_millis(1_100));
    let question = gateway.open(pending("fixed"));
    assert_eq!(ids(&question.response().unwrap()).len(), 1, "a probe is on its way");
    let only = gateway.open(of(EVA, Request::get("/")));
    assert!(only.is_paused(), "and there is still one place");
    gateway.advance(Duration::from_secs(5));
    assert!(gateway.metrics().counter("lockgate.inverting_proxy.probe_failed") > 2);
    assert_eq!(refused(&gateway.send(of(EVA, Request::get("/")))), (503, "busy"), "which is taken");
}

#[test]
fn looking_at_a_backend_costs_the_same_every_time() {
    let gateway = checked();
    let intervals = |count: u64| {
        let before = gateway.host_calls();
        for _ in 0..count {
            probed(&gateway, "fixed", "200 OK");
            gateway.advance(Duration::from_secs(9));
        }
        gateway.host_calls().since(&before).of("proxy_dequeue_shared_queue")
    };
    let (first, rest) = (intervals(2), intervals(20));
    assert!((1..20).contains(&first) && rest <= 20 * first, "woken {first} times, then {rest}");
}
