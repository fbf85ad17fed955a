//! What an operator sees: a line for each request as Cloud Logging reads it, in one trace and with one
//! id wherever the request went, and the numbers for Prometheus.

use lockgate_e2e::door::{add_log, door_config, door_stack};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::stack::{CONFIG, SLACK_SECRET};
use lockgate_e2e::{Answer, Envelope, Request, Shared, Stack, push_request, slack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const OTHER_TRACE: &str = "105445aa7843bc8bf206b12000100000";
const IDS: [&str; 3] = ["trace", "spanId", "trace_sampled"];

fn google() -> lockgate_e2e::Builder {
    Stack::builder().variable("LOG_FORMAT", "google").variable("GOOGLE_CLOUD_PROJECT", "my-project")
}

/// The lines of the access log about this path. Envoy writes it every half second, and when it ends.
async fn lines(stack: &Stack, path: &str) -> Vec<Value> {
    stack.stop_gateway().await;
    let lines = stack.gateway_log().since(0);
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["httpRequest"]["requestUrl"] == path || line["path"] == path).collect()
}

async fn line(stack: &Stack, path: &str) -> Value {
    let lines = lines(stack, path).await;
    let [line] = &lines[..] else { panic!("not one line about {path}: {lines:?}") };
    line.clone()
}

fn traced(line: &Value) -> [Value; 3] {
    IDS.map(|id| line[format!("logging.googleapis.com/{id}")].clone())
}

#[tokio::test]
async fn a_line_is_a_log_entry_of_cloud_logging() {
    let stack = google().start().await;
    let client = stack.client();
    stack.upstream().program(|request| match request.path() {
        "/public/503" => Some(Answer::status(503)),
        "/public/hang" => Some(Answer::Hang),
        _ => None,
    });
    let request = Request::post("/public/fine?secret=query", "text/plain", "to the upstream");
    client.send(&request.header("x-request-id", "id-1").header("user-agent", "agent-1")).await;
    client.send(&Request::get("/public/503")).await;
    client.send(&Request::get("/admin/403")).await;
    client
        .with_deadline(std::time::Duration::from_millis(300))
        .try_send(&Request::get("/public/hang"))
        .await
        .unwrap_err();

    let fine = line(&stack, "/public/fine").await;
    let request = &fine["httpRequest"];
    assert_eq!(
        [&request["requestMethod"], &request["requestUrl"], &request["status"], &request["protocol"]],
        [&json!("POST"), &json!("/public/fine"), &json!(200), &json!("HTTP/1.1")]
    );
    assert!(["requestSize", "responseSize"].iter().all(|size| request[size].as_u64() > Some(15)), "{fine}");
    let seconds = |line: &Value| -> Option<f32> {
        line["httpRequest"]["latency"].as_str()?.strip_suffix('s')?.parse().ok()
    };
    assert!(seconds(&fine).is_some_and(|seconds| seconds < 5.0), "{fine}");
    let time = fine["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{fine}");
    assert_eq!([&fine["request_id"], &fine["route"]], ["id-1", "public"]);
    assert_eq!(fine["severity"], "INFO");
    assert!(traced(&fine).iter().all(Value::is_null), "nothing is said of a trace there is not: {fine}");
    assert_eq!(line(&stack, "/public/503").await["severity"], "ERROR");
    assert_eq!(line(&stack, "/admin/403").await["severity"], "WARNING");
    let left = line(&stack, "/public/hang").await;
    assert_eq!((&left["severity"], &left["httpRequest"]["status"]), (&json!("INFO"), &json!(0)));
    assert!(seconds(&left).is_some_and(|seconds| (0.25..10.0).contains(&seconds)), "{left}");
    for line in stack.gateway_log().since(0) {
        assert!(!line.contains("secret") && !line.contains("agent-1"), "{line}");
    }
}

#[tokio::test]
async fn every_line_is_one_object_whoever_says_it() {
    let stack = google().start().await;
    stack.client().send(&slack::command("/slack/command", "unsigned")).await;
    stack.stop_gateway().await;
    let lines = stack.gateway_log().since(0);
    let mut severities = Vec::new();
    for line in lines.iter().filter(|line| !line.starts_with("lockgate run ended")) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        severities.push(line["severity"].as_str().expect("a severity").to_owned());
    }
    assert!(severities.len() >= 3, "{lines:#?}");
    let refused = lines.iter().find(|line| line.contains("refused reason=missing_signature")).unwrap();
    let refused: Value = serde_json::from_str(refused).unwrap();
    assert_eq!([&refused["severity"], &refused["logger"]], ["warning", "wasm"]);
    assert!(refused["time"].as_str().unwrap().ends_with("+00:00"), "{refused}");
}

#[tokio::test]
async fn a_line_belongs_to_the_trace_that_the_request_came_with() {
    let stack = google().start().await;
    let parent = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
    let cloud = |sampled: u8| format!("{OTHER_TRACE}/4711;o={sampled}");
    let name = |trace: &str| json!(format!("projects/my-project/traces/{trace}"));
    let none = Value::Null;
    let cases = [
        ("parent", vec![("traceparent", parent("01"))], [name(TRACE), json!(SPAN), json!(true)]),
        ("unsampled", vec![("traceparent", parent("00"))], [name(TRACE), none.clone(), json!(false)]),
        ("flags", vec![("traceparent", parent("03"))], [name(TRACE), json!(SPAN), json!(true)]),
        ("cloud", vec![("x-cloud-trace-context", cloud(0))], [name(OTHER_TRACE), none.clone(), json!(false)]),
        (
            "cloud-sampled",
            vec![("x-cloud-trace-context", cloud(1))],
            [name(OTHER_TRACE), none.clone(), json!(true)],
        ),
        (
            "both",
            vec![("traceparent", parent("01")), ("x-cloud-trace-context", format!("{TRACE}/4711;o=1"))],
            [name(TRACE), json!(SPAN), json!(true)],
        ),
        ("odd", vec![("traceparent", "a'\"%b".to_owned())], [none.clone(), none.clone(), json!(false)]),
        ("none", vec![], [none.clone(), none.clone(), none.clone()]),
    ];
    for (case, headers, _) in &cases {
        let mut request = Request::get(&format!("/public/{case}"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        stack.client().send(&request).await;
    }
    let root = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1";
    stack.client().send(&Request::get("/public/amzn").header("x-amzn-trace-id", root)).await;
    for (case, _, expected) in &cases {
        assert_eq!(traced(&line(&stack, &format!("/public/{case}")).await), *expected, "{case}");
    }
    assert_eq!(line(&stack, "/public/amzn").await["amzn_trace_id"], root);
}

#[tokio::test]
async fn without_a_project_a_trace_is_its_bare_id_and_a_plain_line_has_the_header() {
    for (format, names) in [("google", "logging.googleapis.com/trace"), ("plain", "trace")] {
        let stack = Stack::builder().variable("LOG_FORMAT", format).start().await;
        let parent = format!("00-{TRACE}-{SPAN}-01");
        stack.client().send(&Request::get("/public/x").header("traceparent", &parent)).await;
        let expected = if format == "google" { TRACE } else { &parent };
        assert_eq!(line(&stack, "/public/x").await[names], expected, "{format}");
    }
}

#[tokio::test]
async fn what_is_played_back_is_in_the_trace_and_has_the_id_of_what_was_sent() {
    // Even where a route stores no header but one.
    let config = CONFIG.replace(
        "enqueue: { strip_prefix: /wal, reply: accepted }",
        "enqueue: { strip_prefix: /wal, reply: accepted, headers: { only: [content-type] } }",
    );
    let stack = google().config(&config).start().await;
    let ids = [
        ("traceparent", format!("00-{TRACE}-{SPAN}-01")),
        ("tracestate", "vendor=1".to_owned()),
        ("x-cloud-trace-context", format!("{TRACE}/67667974448284343;o=1")),
        ("x-amzn-trace-id", "Root=1-67891233-abcdef012345678912345678".to_owned()),
        ("x-request-id", "the-sender-s-id".to_owned()),
    ];
    stack.upstream().program(|request| (request.path() == "/traced").then(|| Answer::status(404)));
    let mut request = Request::post("/wal/traced", "text/plain", "x").header("x-other", "not stored");
    for (name, value) in &ids {
        request = request.header(name, value);
    }
    stack.client().send(&request).await;
    let delivered = stack.delivered("/traced").await;
    for (name, value) in &ids {
        assert_eq!(delivered.headers.all(name), [value.as_bytes()], "{name}");
    }
    assert!(!delivered.headers.contains("x-other"));
    let [stored] = &stack.stored("/traced")[..] else { panic!("not one message") };
    assert_eq!(
        (stored.envelope()["trace"].as_str(), stored.attribute("trace")),
        (Some(&*ids[0].1), Some(&*ids[0].1))
    );
    stack.dead_letters().wait_for("/traced").await;

    let [sent, played] = [line(&stack, "/wal/traced").await, line(&stack, "/traced").await];
    assert_eq!([&sent["route"], &played["route"]], ["wal", "restored"]);
    let name = json!(format!("projects/my-project/traces/{TRACE}"));
    assert_eq!(traced(&sent), [name, json!(SPAN), json!(true)]);
    assert_eq!(traced(&sent), traced(&played));
    for line in [&sent, &played] {
        assert_eq!([&line["request_id"], &line["amzn_trace_id"]], ["the-sender-s-id", &*ids[3].1]);
    }
    let buried = "dead_lettered reason=upstream_status";
    let buried = stack.gateway_log().matching(|line| line.contains(buried));
    assert!(buried.len() == 1 && buried[0].contains("request_id=the-sender-s-id"), "{buried:?}");
}

#[tokio::test]
async fn the_trace_of_a_push_is_not_the_trace_of_what_it_holds() {
    let stack = google().start().await;
    let envelope = Envelope::new("untraced", "POST", "/untraced").body("x");
    let sealed = envelope.sealed(lockgate_e2e::stack::LOG_KEY);
    let token = stack.tokens().push();
    let push = push_request(&sealed, json!({}))
        .header("authorization", format!("Bearer {token}"))
        .header("traceparent", format!("00-{TRACE}-{SPAN}-01"))
        .header("x-cloud-trace-context", format!("{TRACE}/1;o=1"));
    assert_eq!(stack.client().send(&push).await.status, 204);
    let delivered = stack.delivered("/untraced").await;
    assert!(!delivered.contains(TRACE), "{delivered:?}");
    assert!(traced(&line(&stack, "/untraced").await).iter().all(Value::is_null));
}

#[tokio::test]
async fn probes_are_left_out_while_they_succeed_and_nothing_else_is() {
    let stack = Stack::builder().start().await;
    let probes = ["/health", "/_lockgate/health", "/health?x=/public"];
    let others = ["/healthz", "/health/x", "/public/health", "/_lockgate/healthx", "/_lockgate/health/"];
    for path in probes {
        assert_eq!(stack.client().send(&Request::get(path)).await.status, 204, "{path}");
        assert_eq!(
            stack.client().send(&Request::get(path).header("user-agent", "kube-probe/1")).await.status,
            204
        );
    }
    for path in others {
        stack.client().send(&Request::get(path)).await;
    }
    // One that fails, for want of a host, and one that was a request for later.
    stack.client().exchange(b"GET /health HTTP/1.1\r\n\r\n", "GET").await.unwrap();
    stack.push(&Envelope::new("later", "GET", "/_lockgate/health")).await;
    for path in others {
        assert_eq!(lines(&stack, path).await.len(), 1, "{path}");
    }
    let restored = line(&stack, "/_lockgate/health").await;
    assert_eq!([&restored["route"], &restored["upstream_status"]], ["restored", "200"]);
    assert_eq!(line(&stack, "/health").await["status"], 400);
}

#[tokio::test]
async fn of_a_route_that_says_so_only_failures_have_lines() {
    let issuer = HostileProvider::start();
    let config = door_config("", |config| {
        config["sign_in"] = json!({
            "tokens": {"jwt": [{"issuer": issuer.issuer(), "audiences": ["api"]}]},
            "policies": [{"effect": "allow", "anyone": true}],
        });
        add_log(config);
        for route in config["routes"].as_array_mut().unwrap() {
            if ["wal", "public", "rest"].iter().any(|name| route["name"] == *name) {
                route["access_log"] = json!("failures");
            }
        }
    });
    for format in ["plain", "google"] {
        let stack = door_stack(&config).variable("LOG_FORMAT", format).start().await;
        stack.upstream().program(|request| match request.path().rsplit('/').next() {
            Some("hang") => Some(Answer::Hang),
            Some(status) => Some(Answer::status(status.parse().ok()?)),
            None => None,
        });
        let token = issuer.mint_access_token("api", "job").compact();
        let known = |request: Request| request.header("authorization", format!("Bearer {token}"));
        let client = stack.client();
        for (request, status) in [
            (Request::get("/public/fine"), 200),
            (Request::get("/public/304"), 304),
            (Request::get("/public/404"), 404),
            (Request::get("/public/503"), 503),
            (known(Request::get("/rest/fine")), 200),
            (Request::get("/rest/nobody"), 401),
            (known(Request::post("/wal/taken", "text/plain", "x")), 202),
            (known(Request::post("/wal/public/taken", "text/plain", "x")), 202),
            (Request::post("/wal/nobody", "text/plain", "x"), 401),
            (known(Request::get("/admin/403")), 403),
            (known(Request::get("/slack")), 401),
        ] {
            assert_eq!(client.send(&request).await.status, status, "{format}: {}", request.target);
        }
        let impatient = client.with_deadline(std::time::Duration::from_millis(300));
        impatient.try_send(&Request::get("/public/hang")).await.unwrap_err();
        client.exchange(b"GET /public/no-host HTTP/1.1\r\n\r\n", "GET").await.unwrap();
        stack.delivered("/taken").await;
        stack.delivered("/public/taken").await;

        for path in ["/public/fine", "/public/304", "/rest/fine", "/wal/taken", "/wal/public/taken"] {
            assert_eq!(lines(&stack, path).await, [] as [Value; 0], "{format}");
        }
        for path in
            ["/public/404", "/public/503", "/public/hang", "/public/no-host", "/rest/nobody", "/wal/nobody"]
        {
            line(&stack, path).await;
        }
        for path in ["/taken", "/public/taken"] {
            assert_eq!(line(&stack, path).await["route"], "restored", "{format}");
        }
        for path in ["/admin/403", "/slack"] {
            line(&stack, path).await;
        }
    }
}

async fn shared() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

#[tokio::test]
async fn prometheus_is_told_filters_reasons_and_outcomes_as_labels() {
    let stack = shared().await;
    stack.client().send(&slack::command("/slack/command", "unsigned")).await;
    stack.client().send(&slack::signed(slack::command("/slack/command", "forged"), "another secret")).await;
    let command = slack::signed(slack::command("/slack/command", "counted"), SLACK_SECRET);
    stack.client().send(&command).await;
    stack.delivered("counted").await;
    let delivered = "wasmcustom.lockgate.pubsub_playback.played_back.delivered";
    stack.admin().wait_for_stat(delivered, |count| count == 1).await;
    let metrics = stack.admin().text("/stats/prometheus").await;
    for expected in [
        r#"lockgate_refused{filter="slack_signature",reason="missing_signature"} 1"#,
        r#"lockgate_refused{filter="slack_signature",reason="bad_signature"} 1"#,
        r#"lockgate_verified{filter="slack_signature"} 1"#,
        r#"lockgate_enqueued{filter="pubsub_enqueue"} 1"#,
        r#"lockgate_played_back{filter="pubsub_playback",outcome="delivered"} 1"#,
        // Histograms are added up every five seconds.
        r#"lockgate_publish_ms_count{filter="pubsub_enqueue"} "#,
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(expected)), "{expected} is missing:\n{metrics}");
    }
    // Whole on the page for people, as the alerts of before have them.
    assert_eq!(stack.admin().stat("wasmcustom.lockgate.slack_signature.refused.missing_signature").await, 1);
}

#[tokio::test]
async fn metrics_are_for_this_machine_alone() {
    let stack = shared().await;
    for path in ["/stats", "/stats/prometheus", "/metrics"] {
        let answer = stack.client().send(&Request::get(path)).await;
        assert!(answer.status == 403 && !answer.text().contains("lockgate_"), "{path}: {answer:?}");
    }
    let dump = stack.admin().config_dump().await.to_string();
    assert!(dump.contains(r#""address":"127.0.0.1""#) && !dump.contains("0.0.0.0"), "{dump}");
}
