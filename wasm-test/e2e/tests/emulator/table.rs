//! The calls that are compared, in this order, each in the state that those before it left.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// A call of the REST API, in a project of its own.
pub(crate) struct Call {
    pub(crate) what: &'static str,
    pub(crate) method: &'static str,
    pub(crate) resource: String,
    /// JSON; `Null` is no body, and a text these very bytes.
    pub(crate) body: Value,
}

pub(crate) fn calls() -> Vec<Call> {
    [topics(), subscriptions(), settings(), publishes(), pulls(), seeks(), ends()]
        .into_iter()
        .flatten()
        .collect()
}

fn topics() -> Vec<Call> {
    vec![
        put("create a topic", "topics/log", json!({})),
        put("create it again", "topics/log", json!({})),
        put("create a topic with labels", "topics/dead", json!({"labels": {"a": "b"}})),
        put("create a topic without a body", "topics/bodiless", Value::Null),
        get("read a topic", "topics/dead"),
        get("read a missing topic", "topics/missing"),
        get("list the topics", "topics"),
        get("list a topic", "topics?pageSize=1"),
        put("a short topic's name", "topics/ab", json!({})),
        put("a reserved topic's name", "topics/goog-x", json!({})),
        put("an unknown field of a topic", "topics/odd", json!({"nonsense": 1})),
    ]
}

fn subscriptions() -> Vec<Call> {
    let topic = |topic: &str| json!({"topic": format!("projects/calls/topics/{topic}")});
    let pushed = json!({
        "topic": "projects/calls/topics/dead",
        "ackDeadlineSeconds": 600,
        "pushConfig": {"pushEndpoint": "http://127.0.0.1:9/"},
        "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
        "deadLetterPolicy": {"deadLetterTopic": "projects/calls/topics/dead", "maxDeliveryAttempts": 100},
    });
    let deadline = json!({"subscription": {"ackDeadlineSeconds": 20}, "updateMask": "ackDeadlineSeconds"});
    let fixed = json!({"subscription": topic("dead"), "updateMask": "topic"});
    let unmasked = json!({"subscription": {"ackDeadlineSeconds": 20}});
    vec![
        subscribe("pulled", json!({"retainAckedMessages": true})),
        put("create that again", "subscriptions/pulled", topic("log")),
        put("create a push subscription", "subscriptions/pushed", pushed),
        put("a subscription without a topic", "subscriptions/other", json!({})),
        put("a subscription to a missing topic", "subscriptions/other", topic("missing")),
        get("read a subscription", "subscriptions/pulled"),
        get("read a missing subscription", "subscriptions/missing"),
        get("list the subscriptions", "subscriptions"),
        get("list a topic's subscriptions", "topics/dead/subscriptions"),
        patch("update", "subscriptions/pulled", deadline.clone()),
        patch("update what is fixed", "subscriptions/pulled", fixed),
        patch("update nothing", "subscriptions/pulled", unmasked),
        patch("update a missing subscription", "subscriptions/missing", deadline),
    ]
}

fn settings() -> Vec<Call> {
    let dead = |topic: &str, attempts: u32| {
        let topic = format!("projects/calls/topics/{topic}");
        json!({"deadLetterPolicy": {"deadLetterTopic": topic, "maxDeliveryAttempts": attempts}})
    };
    vec![
        subscribe("a long ack deadline", json!({"ackDeadlineSeconds": 601})),
        subscribe("a short ack deadline", json!({"ackDeadlineSeconds": 9})),
        subscribe("too few delivery attempts", dead("dead", 4)),
        subscribe("too many delivery attempts", dead("dead", 101)),
        subscribe("delivery attempts by default", dead("dead", 0)),
        subscribe("a missing dead-letter topic", dead("missing", 5)),
        subscribe("a long back-off", json!({"retryPolicy": {"minimumBackoff": "601s"}})),
        subscribe("a back-off by default", json!({"retryPolicy": {}})),
        subscribe("the longest retention", json!({"messageRetentionDuration": "2678400s"})),
        subscribe("a longer retention", json!({"messageRetentionDuration": "2678401s"})),
        subscribe("a short retention", json!({"messageRetentionDuration": "599s"})),
        subscribe("an expiry that is never", json!({"expirationPolicy": {}})),
    ]
}

fn publishes() -> Vec<Call> {
    let attributes = |attributes: Value| json!({"data": "eA==", "attributes": attributes});
    let many: Map<_, _> = (0..101).map(|n| (format!("a{n}"), json!("v"))).collect();
    let three =
        json!([{"data": "eA==", "attributes": {"a": "b"}}, {"data": "eA=="}, {"attributes": {"a": "b"}}]);
    let too_many = json!({"messages": vec![json!({"data": "eA=="}); 1_001]});
    vec![
        post("publish", "topics/log:publish", json!({"messages": three})),
        post("publish to a missing topic", "topics/missing:publish", json!({"messages": three})),
        post("publish nothing", "topics/log:publish", json!({"messages": []})),
        post("publish without messages", "topics/log:publish", json!({})),
        post("publish too many messages", "topics/log:publish", too_many),
        post("publish what is no JSON", "topics/log:publish", json!("{nonsense")),
        publish("publish an empty message", json!({})),
        publish("publish what is no base64", json!({"data": "!!!"})),
        publish("publish base64 without padding", json!({"data": "eA"})),
        publish("publish URL-safe base64", json!({"data": "_-8="})),
        publish("publish a number as data", json!({"data": 1})),
        publish("publish an unknown field", json!({"data": "eA==", "nonsense": 1})),
        publish("publish with an id", json!({"data": "eA==", "messageId": "7"})),
        publish("publish a number as an attribute", attributes(json!({"a": 1}))),
        publish("publish a long attribute", attributes(json!({"a": "v".repeat(1_025)}))),
        publish("publish a long attribute's key", attributes(json!({"a".repeat(257): "v"}))),
        publish("publish an attribute without a key", attributes(json!({"": "v"}))),
        publish("publish a reserved attribute", attributes(json!({"goog-x": "v"}))),
        publish("publish too many attributes", attributes(json!(many))),
        publish("publish ten megabytes and a byte", json!({"data": STANDARD.encode(vec![7; 10_000_001])})),
    ]
}

fn pulls() -> Vec<Call> {
    let most = |most: i32| json!({"maxMessages": most, "returnImmediately": true});
    let of = |ack_ids: Value| json!({"ackIds": ack_ids});
    let longer = json!({"ackIds": ["nonsense"], "ackDeadlineSeconds": 10});
    vec![
        post("pull", "subscriptions/pulled:pull", most(3)),
        post("pull nothing", "subscriptions/pulled:pull", most(0)),
        post("pull less than nothing", "subscriptions/pulled:pull", most(-1)),
        post("pull without a number", "subscriptions/pulled:pull", json!({"returnImmediately": true})),
        post("pull from a missing subscription", "subscriptions/missing:pull", most(1)),
        post("pull from a push subscription", "subscriptions/pushed:pull", most(1)),
        post("acknowledge", "subscriptions/pulled:acknowledge", of(json!("those pulled"))),
        post("acknowledge again", "subscriptions/pulled:acknowledge", of(json!("those pulled"))),
        post("acknowledge nonsense", "subscriptions/pulled:acknowledge", of(json!(["nonsense"]))),
        post("acknowledge nothing", "subscriptions/pulled:acknowledge", of(json!([]))),
        post("acknowledge, but nowhere", "subscriptions/missing:acknowledge", of(json!(["nonsense"]))),
        post("more time for nonsense", "subscriptions/pulled:modifyAckDeadline", longer),
    ]
}

fn seeks() -> Vec<Call> {
    let time = |time: &str| json!({"time": time});
    let three = json!({"maxMessages": 3, "returnImmediately": true});
    let snapshot = json!({"snapshot": "projects/calls/snapshots/missing"});
    vec![
        post("seek into the future", "subscriptions/pulled:seek", time("2100-01-01T00:00:00Z")),
        post("pull what is left", "subscriptions/pulled:pull", three.clone()),
        post("seek into the past", "subscriptions/pulled:seek", time("2020-01-01T00:00:00Z")),
        post("pull what is back", "subscriptions/pulled:pull", three),
        post("seek to nothing", "subscriptions/pulled:seek", json!({})),
        post("seek to nonsense", "subscriptions/pulled:seek", time("yesterday")),
        post("seek to a snapshot", "subscriptions/pulled:seek", snapshot),
        post("seek nowhere", "subscriptions/missing:seek", time("2020-01-01T00:00:00Z")),
    ]
}

fn ends() -> Vec<Call> {
    let elsewhere = json!({"pushConfig": {"pushEndpoint": "http://127.0.0.1:9/other"}});
    vec![
        post("push elsewhere", "subscriptions/pushed:modifyPushConfig", elsewhere),
        get("read where", "subscriptions/pushed"),
        post("push no more", "subscriptions/pushed:modifyPushConfig", json!({"pushConfig": {}})),
        get("read that", "subscriptions/pushed"),
        post("detach", "subscriptions/pulled:detach", json!({})),
        post("an unknown method", "subscriptions/pulled:nonsense", json!({})),
        delete("delete a topic", "topics/log"),
        delete("delete it again", "topics/log"),
        get("read an orphan", "subscriptions/pulled"),
        delete("delete a subscription", "subscriptions/pulled"),
        delete("delete that again", "subscriptions/pulled"),
    ]
}

fn put(what: &'static str, resource: &str, body: Value) -> Call {
    Call { what, method: "PUT", resource: resource.to_owned(), body }
}

fn post(what: &'static str, resource: &str, body: Value) -> Call {
    Call { what, method: "POST", resource: resource.to_owned(), body }
}

fn patch(what: &'static str, resource: &str, body: Value) -> Call {
    Call { what, method: "PATCH", resource: resource.to_owned(), body }
}

fn get(what: &'static str, resource: &str) -> Call {
    Call { what, method: "GET", resource: resource.to_owned(), body: Value::Null }
}

fn delete(what: &'static str, resource: &str) -> Call {
    Call { what, method: "DELETE", resource: resource.to_owned(), body: Value::Null }
}

/// Creates a subscription named after what it is.
fn subscribe(what: &'static str, mut settings: Value) -> Call {
    settings["topic"] = json!("projects/calls/topics/log");
    put(what, &format!("subscriptions/{}", what.replace(' ', "-")), settings)
}

fn publish(what: &'static str, message: Value) -> Call {
    post(what, "topics/log:publish", json!({"messages": [message]}))
}
