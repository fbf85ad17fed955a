//! The harness itself: starting, time, calls that a test answers, and what can be looked at.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a step that fails is a test that fails")]

#[path = "host_rules/probe.rs"]
mod probe;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use wasm_test::{Answer, Builder, Gateway, Level, Request, Response};

fn builder() -> Builder {
    Gateway::builder(&probe::bytes()).filter("probe", "").allow_on_headers_stop_iteration()
}

fn command(command: &str) -> Request {
    Request::post("/x").header("x-do", command)
}

/// A request for which the filter calls `backend` and then answers or resumes.
fn calling(then: &str) -> Request {
    let request = command("call").header("x-cluster", "backend").header("x-call-path", "/");
    request.header("x-then", then)
}

#[test]
fn what_is_no_module_does_not_start() {
    let error = Gateway::builder(b"not wasm").start().err().unwrap();
    assert!(error.message.starts_with("cannot be compiled"), "{error}");
}

#[test]
fn a_module_of_another_abi_does_not_start() {
    // A module without anything in it.
    let error = Gateway::builder(b"\0asm\x01\0\0\0").start().err().unwrap();
    assert_eq!(error.message, "Missing or unknown Proxy-Wasm ABI version");
}

#[test]
fn a_module_that_wants_what_envoy_does_not_have_does_not_start() {
    let error = Gateway::builder(&importing("fd_filestat_get")).start().err().unwrap();
    assert!(error.message.contains("wasi_snapshot_preview1.fd_filestat_get"), "{error}");
    // What it has is not the reason to refuse the module.
    let error = Gateway::builder(&importing("fd_prestat_get")).start().err().unwrap();
    assert!(!error.message.contains("fd_prestat_get"), "{error}");
}

/// A module with the ABI's mark that imports one WASI function of two numbers.
fn importing(name: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let section = |id: u8, content: &[u8]| [&[id, content.len() as u8], content].concat();
    let types = [&[2, 0x60, 2, 0x7f, 0x7f, 1, 0x7f][..], &[0x60, 0, 0]].concat();
    let import = [&[1][..], &text("wasi_snapshot_preview1"), &text(name), &[0, 0]].concat();
    let export = [&[1][..], &text("proxy_abi_version_0_2_1"), &[0, 1]].concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &types),
        section(2, &import),
        section(3, &[1, 1]),
        section(7, &export),
        section(10, &[1, 2, 0, 0x0b]),
    ]
    .concat()
}

#[test]
fn a_refused_configuration_comes_with_what_the_filter_logged() {
    let error = Gateway::builder(&probe::bytes()).filter("probe", "refuse").start().err().unwrap();
    assert!(error.logs.contains("the configuration says so"), "{error}");
    assert!(error.to_string().contains("the configuration says so"));
}

#[test]
fn a_backend_is_a_function_and_its_requests_are_kept() {
    let gateway = builder()
        .backend("backend", |request| Response::new(200).body(request.text().to_uppercase()))
        .start()
        .unwrap();
    let response = gateway.send(calling("reply"));
    assert_eq!(response.status, 200);
    let [call] = gateway.calls("backend").try_into().unwrap();
    assert_eq!((call.method.as_str(), call.text().as_str()), ("POST", "question"));
    assert!(gateway.upstream_requests().is_empty());
}

#[test]
fn a_held_call_is_answered_by_the_test() {
    let gateway = builder().backend("backend", |_| Answer::Hold).start().unwrap();
    let stream = gateway.open(calling("resume"));
    assert!(stream.is_paused() && stream.response().is_none());
    let [call] = gateway.held().try_into().unwrap();
    assert_eq!((call.cluster.as_str(), call.request.path.as_str()), ("backend", "/"));
    assert!(gateway.answer(&call, Response::new(200)));
    assert!(stream.is_done());
    assert_eq!(stream.response().unwrap().text(), "upstream");
    assert!(!gateway.answer(&call, Response::new(200)), "a call is answered once");
}

#[test]
fn time_passes_only_when_it_is_told_to() {
    let gateway = builder().backend("backend", |_| Answer::Hold).start().unwrap();
    let stream = gateway.open(calling("reply").header("x-timeout", "2500"));
    let start = gateway.now();
    gateway.advance(Duration::from_millis(2499));
    assert!(stream.response().is_none());
    gateway.advance(Duration::from_millis(1));
    assert_eq!(stream.response().unwrap().status, 200, "the filter answers the 504 it gets");
    assert_eq!(gateway.now().duration_since(start).unwrap(), Duration::from_millis(2500));
}

#[test]
fn waiting_for_a_response_lets_as_much_time_pass_as_it_takes() {
    let gateway = builder()
        .backend("backend", |_| Answer::from(Response::new(200)).after(Duration::from_secs(3)))
        .start()
        .unwrap();
    let start = gateway.now();
    assert_eq!(gateway.send(calling("reply")).status, 200);
    assert_eq!(gateway.now().duration_since(start).unwrap(), Duration::from_secs(3));
}

#[test]
fn a_request_that_a_filter_never_lets_go_meets_the_streams_own_limit() {
    let gateway = builder().max_stream_duration(Duration::from_secs(2)).start().unwrap();
    let start = gateway.now();
    let response = gateway.send(command("park"));
    assert_eq!((response.status, response.text().as_str()), (504, "downstream duration timeout"));
    assert_eq!(gateway.now().duration_since(start).unwrap(), Duration::from_secs(2));
}

#[test]
fn the_clock_starts_where_it_is_set() {
    let noon = UNIX_EPOCH + Duration::from_secs(1_000_000);
    assert_eq!(builder().now(noon).start().unwrap().now(), noon);
}

#[test]
fn nothing_of_a_request_reaches_the_upstream_while_a_filter_holds_it() {
    let gateway = builder().start().unwrap();
    let stream = gateway.open_body(command("hold"));
    stream.push("one ");
    stream.push("two");
    assert!(stream.upstream().is_none() && stream.is_paused());
    stream.finish();
    assert_eq!(stream.upstream().unwrap().text(), "one two");
    assert_eq!(stream.wait().status, 200);
}

#[test]
fn over_http2_the_last_chunk_ends_the_stream() {
    let gateway = builder().start().unwrap();
    gateway.send(command("hold-body").body("body").http2());
    let notes = gateway.send(Request::get("/report")).text();
    assert!(notes.contains("request body 4 end=true") && !notes.contains("request body 4 end=false"));
}

#[test]
fn a_client_that_leaves_ends_its_stream() {
    let gateway = builder().start().unwrap();
    let stream = gateway.open(command("park"));
    stream.reset();
    assert!(stream.is_done() && !stream.is_paused());
    let response = stream.wait();
    assert!(response.reset && response.status == 0);
    assert!(gateway.send(Request::get("/report")).text().ends_with("log\ndone\ndelete"));
}

#[test]
fn a_body_longer_than_its_length_is_seen_as_smuggling() {
    let gateway = builder().start().unwrap();
    gateway.send(command("replace").body("short"));
    let [request] = gateway.upstream_requests().try_into().unwrap();
    assert_eq!(
        (request.text().as_str(), request.surplus.as_slice()),
        ("a lon", &b"ger body than it was"[..])
    );
}

#[test]
fn host_calls_are_counted_by_name() {
    let gateway = builder().start().unwrap();
    gateway.send(command("pass"));
    let before = gateway.host_calls();
    gateway.send(command("pass"));
    let calls = gateway.host_calls().since(&before);
    // The path, two headers that say what to do, and the response's status and length.
    assert_eq!(calls.of("proxy_get_header_map_value"), 5, "{calls}");
    assert_eq!(calls.of("proxy_http_call"), 0);
    assert_eq!(calls.total(), 5);
}

#[test]
fn metrics_filter_state_and_shared_data_can_be_looked_at() {
    let gateway = builder().start().unwrap();
    gateway.send(command("metrics"));
    let metrics = gateway.metrics();
    assert_eq!(metrics.counter("probe.counter"), 9);
    assert_eq!(metrics.gauge("probe.gauge"), 7);
    assert_eq!(metrics.histogram("probe.histogram"), [7]);
    gateway.send(command("filter-state"));
    assert_eq!(gateway.filter_state("probe").unwrap(), b"by the one before");
    assert_eq!(gateway.filter_state("none"), None);
    gateway.set_shared_data("probe.kept", "set by the test");
    gateway.send(command("remember"));
    assert!(gateway.send(Request::get("/report")).text().contains("was: \"set by the test\""));
    assert_eq!(gateway.shared_data("probe.kept").unwrap(), b"kept");
}

#[test]
fn standard_error_and_the_levels_of_the_log_are_kept() {
    let gateway = builder().env("PROBE", "given").start().unwrap();
    gateway.send(command("environment"));
    let logs = gateway.logs();
    let line = logs.matching("to standard error").next().unwrap();
    assert_eq!((line.level, line.root_id.as_str()), (Level::Error, "probe"));
    let quiet = builder().log_level(Level::Critical).start().unwrap();
    quiet.send(command("environment"));
    assert!(!quiet.logs().contains("to standard error"));
}

#[test]
fn a_property_that_the_host_does_not_know_is_given() {
    let gateway = builder().property(&["request", "host"], "given.test").start().unwrap();
    gateway.send(command("properties"));
    let notes = gateway.send(Request::get("/report")).text();
    assert!(notes.contains("request.host: 0 \"given.test\""), "{notes}");
}

#[test]
fn a_dead_vm_is_loaded_again_but_not_twice_in_a_moment() {
    let gateway = builder().reload_interval(Duration::from_secs(1)).start().unwrap();
    assert_eq!(gateway.send(command("trap")).status, 503);
    assert!(gateway.trapped() && gateway.traps().len() == 1);
    assert_eq!(gateway.send(command("trap")).status, 503);
    assert_eq!(gateway.traps().len(), 2, "the first reload comes at once");
    assert_eq!(gateway.send(command("pass")).status, 503, "the second has to wait");
    gateway.advance(Duration::from_secs(1));
    assert_eq!(gateway.send(command("pass")).status, 200);
}

#[test]
fn a_backend_may_use_the_gateway_it_answers() {
    let gateway = Rc::new(RefCell::new(None::<Gateway>));
    let inside = Rc::clone(&gateway);
    let built = builder()
        .backend("backend", move |_| {
            let gateway = inside.borrow().clone().unwrap();
            Response::new(200).body(format!("{}", gateway.calls("backend").len()))
        })
        .start()
        .unwrap();
    gateway.replace(Some(built.clone()));
    assert_eq!(built.send(calling("reply")).status, 200);
    assert!(built.send(Request::get("/report")).text().contains("answer: headers=true \"200\" \"1\""));
}

#[test]
fn no_more_calls_are_open_at_a_time_than_the_circuit_breaker_allows() {
    let gateway = builder().backend("backend", |_| Answer::Hold).start().unwrap();
    for _ in 0..1024 {
        gateway.open(calling("reply"));
    }
    assert_eq!(gateway.held().len(), 1024);
    gateway.send(calling("reply"));
    let notes = gateway.send(Request::get("/report")).text();
    assert!(notes.contains("call: 10"), "InternalFailure");
}
