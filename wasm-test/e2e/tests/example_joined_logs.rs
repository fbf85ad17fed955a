//! `envoy/examples/joined-logs`: one id for one request, in every line that anybody logs about it and in
//! what is stored, and no line that nobody wants.

use std::process::{Command, Stdio};
use std::sync::Arc;

use lockgate_e2e::example::Example;
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::ports::free_port;
use lockgate_e2e::pubsub::{Message, Pubsub};
use lockgate_e2e::stack::workspace;
use lockgate_e2e::{Client, Process, Request, Upstream};
use serde_json::{Value, json};

const PROXY: u16 = 8080;
const GOOGLE: u16 = 8085;
const PORTS: [u16; 4] = [PROXY, 9901, GOOGLE, 8090];

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OF_TRACE: &str = "logging.googleapis.com/trace";

struct Running {
    example: Example,
    proxy: Client,
    queue: Queue,
    /// Opens the door.
    token: String,
}

async fn running() -> Running {
    let example = Example::start("joined-logs", &PORTS).await;
    let at = |port: u16| ([127, 0, 0, 1], example.port(port)).into();
    let pubsub = Pubsub::new(at(GOOGLE));
    let audience = format!("http://127.0.0.1:{}", example.port(PROXY));
    let token = pubsub.identity_token(&audience).await;
    let queue = Queue { client: Client::new(at(GOOGLE)), token: pubsub.access_token().await };
    queue.call("PUT", "", json!({"topic": "projects/lockgate-local/topics/lockgate"})).await;
    Running { proxy: Client::new(at(PROXY)), token, queue, example }
}

/// All that is stored from now on, beside the subscription that plays it back.
struct Queue {
    client: Client,
    token: String,
}

impl Queue {
    async fn call(&self, method: &str, verb: &str, body: Value) -> Value {
        let path = format!("/v1/projects/lockgate-local/subscriptions/look{verb}");
        let request = Request::new(method, &path).header("authorization", format!("Bearer {}", self.token));
        let answer = self.client.send(&request.body(body.to_string())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The message that contains a text; it has been stored.
    async fn message(&self, marker: &str) -> Message {
        let waiting = self.call("POST", ":pull", json!({"maxMessages": 1000})).await;
        let waiting = waiting["receivedMessages"].as_array().cloned().unwrap_or_default();
        let mut messages = waiting.iter().map(|message| Message::parse(&message["message"]));
        messages.find(|message| message.contains(marker)).unwrap_or_else(|| panic!("{marker} is not stored"))
    }
}

impl Running {
    /// The lines of the log that a condition holds for, once there are so many.
    async fn lines(&self, count: usize, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let found = |lines: &[String]| -> Vec<Value> {
            lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .filter(|line| wanted(line))
                .collect()
        };
        let log = self.example.process.log();
        log.reaches(PATIENCE, |lines| found(lines).len() >= count).await;
        let found = found(&log.since(0));
        assert_eq!(found.len(), count, "{found:#?}\n{:#?}", log.since(0));
        found
    }

    fn by_id(id: &str) -> impl Fn(&Value) -> bool {
        move |line| {
            line["request_id"] == id
                || line["message"].as_str().is_some_and(|said| said.ends_with(&format!("request_id={id}")))
        }
    }

    /// What the example's own query makes of the log: who says what, oldest first.
    fn story(&self, id: &str) -> Vec<String> {
        let lines = self.example.process.log().since(0).join("\n");
        let mut story = Command::new("python3")
            .arg(workspace().join("envoy/examples/joined-logs/story"))
            .arg(id)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut story.stdin.take().unwrap(), lines.as_bytes()).unwrap();
        let output = story.wait_with_output().unwrap();
        assert!(output.status.success());
        let told = String::from_utf8(output.stdout).unwrap();
        // Behind the time.
        told.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }
}

#[tokio::test]
async fn an_id_is_one_in_the_answer_the_log_the_envelope_and_at_the_upstream() {
    let running = running().await;
    let amzn = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1";
    let cases: [(&str, Option<(&str, String)>); 5] = [
        ("none", None),
        ("own", Some(("x-request-id", "the-senders-own".to_owned()))),
        ("amzn", Some(("x-amzn-trace-id", amzn.to_owned()))),
        ("parent", Some(("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01")))),
        ("cloud", Some(("x-cloud-trace-context", format!("{TRACE}/67667974448284343;o=1")))),
    ];
    for (case, header) in cases {
        let mut request = Request::post(&format!("/wal/{case}"), "text/plain", "x")
            .header("authorization", format!("Bearer {}", running.token));
        if let Some((name, value)) = &header {
            request = request.header(name, value);
        }
        let answer = running.proxy.send(&request).await;
        assert_eq!(answer.status, 202, "{case}: {}", answer.text());
        let id = answer.headers.text("x-request-id").expect("an id in the answer");
        assert_eq!(id == "the-senders-own", case == "own", "{case}: {id}");

        let lines = running.lines(3, Running::by_id(&id)).await;
        let of = |name: &str, value: &str| {
            let found = lines.iter().find(|line| line[name] == value);
            found.unwrap_or_else(|| panic!("{case}: {name} {value}: {lines:#?}"))
        };
        let (sent, taken, played) = (of("route", "wal"), of("logger", "upstream"), of("route", "restored"));
        let traced = ["parent", "cloud"].contains(&case);
        let trace = traced.then(|| format!("projects/my-project/traces/{TRACE}"));
        for line in [sent, taken, played] {
            assert_eq!(line[OF_TRACE].as_str(), trace.as_deref(), "{case}: {line}");
            assert_eq!(line["amzn_trace_id"].as_str(), (case == "amzn").then_some(amzn), "{case}: {line}");
        }

        let stored = running.queue.message(&id).await;
        let envelope = stored.envelope();
        let headers = envelope["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["x-request-id", id])), "{case}: {envelope}");
        if let Some((name, value)) = &header {
            assert!(headers.contains(&json!([name, value])), "{case}: {envelope}");
        }
        let trace = header.map_or(id.clone(), |(_, value)| value);
        assert_eq!((envelope["trace"].as_str(), stored.attribute("trace")), (Some(&*trace), Some(&*trace)));

        let story = [
            format!("INFO    access   POST /wal/{case}: 202 route=wal"),
            format!("INFO    access   POST /{case}: 204 route=restored upstream_status=200"),
            format!("INFO    upstream POST /{case}: 1 bytes, answered 200"),
        ];
        assert_eq!(running.story(&id), story);
    }
    let of_the_trace = running.story(TRACE);
    assert_eq!(of_the_trace.len(), 6, "{of_the_trace:#?}");
}

#[tokio::test]
async fn a_refusal_is_found_by_the_id_its_sender_was_told() {
    let running = running().await;
    let answer = running.proxy.send(&Request::post("/wal/nobody", "text/plain", "x")).await;
    let id = answer.headers.text("x-request-id").unwrap();
    running.lines(2, Running::by_id(&id)).await;
    let story = running.story(&id);
    let [access, filter] = &story[..] else { panic!("{story:?}") };
    assert_eq!(access, "WARNING access   POST /wal/nobody: 401 route=wal refused=oidc:no_credentials");
    assert!(
        filter.starts_with("WARNING wasm ") && filter.contains("refused reason=no_credentials"),
        "{filter}"
    );
}

#[tokio::test]
async fn polls_and_probes_have_no_line_until_they_fail_and_a_line_is_whole() {
    let running = running().await;
    for (path, status) in [
        ("/health", 204),
        ("/_lockgate/health", 204),
        ("/_lockgate/ready", 204),
        ("/status", 200),
        ("/status?x=1", 200),
        ("/status?code=503", 503),
        ("/wal/last", 401),
    ] {
        assert_eq!(running.proxy.send(&Request::get(path)).await.status, status, "{path}");
    }
    // Lines are written in the order of the answers.
    let is_last = |line: &Value| line["httpRequest"]["requestUrl"] == "/wal/last";
    let last = running.lines(1, is_last).await.remove(0);
    let [failed] = &running.lines(1, |line| line["httpRequest"].is_object() && !is_last(line)).await[..]
    else {
        panic!()
    };
    let request = &failed["httpRequest"];
    assert_eq!((&request["requestUrl"], &request["status"]), (&json!("/status"), &json!(503)));
    assert_eq!([&failed["severity"], &failed["route"]], ["ERROR", "status"]);

    let names = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all = ["details", "flags", "httpRequest", "refused", "request_id", "route", "severity", "time"];
    assert_eq!(names(&last), all);
    let all = ["latency", "protocol", "requestMethod", "requestSize", "requestUrl", "responseSize", "status"];
    assert_eq!(names(&last["httpRequest"]), all);
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start_and_is_named() {
    let other = Upstream::on_free_port();
    let taken = other.address().port();
    let mut command = Command::new(workspace().join("envoy/examples/joined-logs/run"));
    command
        .env("PORTS", format!("8080={taken} 9901={} 8085={} 8090={}", free_port(), free_port(), free_port()));
    let refused = Process::start("joined-logs", &mut command, Arc::default());
    assert!(!refused.wait_exit(PATIENCE).await.success());
    let said =
        format!("port {taken} is taken; another in its place: PORTS=\"8080=18080\" make example-joined-logs");
    let log = refused.log().since(0);
    assert!(log[0] == said && !log.contains(&"ready".to_owned()), "{log:?}");
}

#[tokio::test]
async fn the_query_for_cloud_logging_names_what_lines_have() {
    let query =
        std::fs::read_to_string(workspace().join("envoy/examples/joined-logs/one-request.lql")).unwrap();
    let running = running().await;
    let request = Request::post("/wal/nobody", "text/plain", "x").header("x-cloud-trace-context", TRACE);
    let id = running.proxy.send(&request).await.headers.text("x-request-id").unwrap();
    let lines = running.lines(2, Running::by_id(&id)).await;
    let mut fields = 0;
    for name in query.split("jsonPayload.").skip(1).filter_map(|rest| rest.split(' ').next()) {
        assert!(lines.iter().any(|line| line[name].is_string()), "{name}: {lines:#?}");
        fields += 1;
    }
    assert_eq!(fields, 2, "{query}");
    // Cloud Logging takes this one out of the line and into the entry.
    assert!(
        lines.iter().any(|line| line[OF_TRACE].is_string()) && query.contains("OR trace = "),
        "{lines:#?}"
    );
}
