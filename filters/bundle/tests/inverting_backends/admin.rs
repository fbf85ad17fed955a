//! What administrators may change.

use super::*;

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

pub(crate) fn list(gateway: &Gateway) -> Vec<Value> {
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
