//! What a backend that is not well is spared.

use super::admin::list;
use super::*;

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
