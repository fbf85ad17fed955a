//! Calls: what is refused at once, what the host answers itself, and to whom answers come.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{DEFAULT, probe};

fn call(cluster: &str, path: &str, then: &str) -> Request {
    probe("call").header("x-cluster", cluster).header("x-call-path", path).header("x-then", then)
}

#[test]
fn a_call_to_a_cluster_that_does_not_exist_is_refused_at_once() {
    agree(
        DEFAULT,
        |run| {
            run.send(call("unknown", "/echo", "reply"));
            run.say("a call without a path");
            run.send(call("backend", "none", "reply"));
            run.say("a timeout below zero");
            run.send(call("backend", "/echo", "reply").header("x-timeout", "-1"));
            run.say("a cluster without hosts");
            run.send(call("empty", "/echo", "reply"));
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              call: 2
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            -- a call without a path
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              call: 2
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            -- a timeout below zero
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              call: 2
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            -- a cluster without hosts
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              call: 10
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn an_answer_comes_to_the_root_which_then_enters_the_stream() {
    agree(
        DEFAULT,
        |run| {
            run.send(call("backend", "/echo", "reply"));
            run.send(call("backend", "/echo", "edit-resume"));
        },
        r#"
            client: 200 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
              call: 0
              answer: headers=true "201" "POST backend question"
              at the root: 1
              enter: 0
              still the answer: "201"
              reply: 0
              response headers "200" length="15" end=false
              response body 15 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x x-edited=late content-length=0 ""
              request headers end=true
              call: 0
              answer: headers=true "201" "POST backend question"
              at the root: 1
              enter: 0
              still the answer: "201"
              edit: 0
              resume: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_refused_connection_is_a_503_made_by_the_host() {
    agree(
        DEFAULT,
        |run| run.send(call("refused", "/echo", "reply")),
        r#"
            client: 200 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
              call: 0
              answer: headers=true "503" "upstream connect error o"
              at the root: 1
              enter: 0
              still the answer: "503"
              reply: 0
              response headers "200" length="15" end=false
              response body 15 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_timeout_is_a_504_made_by_the_host() {
    agree(
        DEFAULT,
        |run| run.send(call("backend", "/slow", "reply").header("x-timeout", "100")),
        r#"
            client: 200 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
              call: 0
              answer: headers=true "504" "upstream request timeout"
              at the root: 1
              enter: 0
              still the answer: "504"
              reply: 0
              response headers "200" length="15" end=false
              response body 15 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn no_timeout_means_that_the_call_waits() {
    agree(
        DEFAULT,
        |run| run.send(call("backend", "/late", "reply").header("x-timeout", "0")),
        r#"
            client: 200 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
              call: 0
              answer: headers=true "200" "late"
              at the root: 1
              enter: 0
              still the answer: "200"
              reply: 0
              response headers "200" length="15" end=false
              response body 15 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn an_answer_that_breaks_off_comes_with_no_headers() {
    agree(
        DEFAULT,
        |run| run.send(call("backend", "/reset", "reply")),
        r#"
            client: 200 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
              call: 0
              answer: headers=false none none
              at the root: 1
              enter: 0
              still the answer: none
              reply: 0
              response headers "200" length="15" end=false
              response body 15 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn an_answer_comes_although_the_client_has_left() {
    agree(
        DEFAULT,
        |run| {
            let mut parked = run.open(Request::get("/parked").header("x-do", "park"));
            run.silent(&mut *parked);
            let mut stream = run.open(call("backend", "/late", "reply"));
            run.notes_until("  call");
            stream.reset();
            run.notes_until("  reply from the root");
            let mut release = run.open(probe("release"));
            run.all_answered([&mut *release, &mut *parked]);
        },
        r#"
            client: nothing=true
              request headers end=true
              request headers end=true
              call: 0
              log
              done
              delete
              answer: headers=true "200" "late"
              at the root: 1
              enter the dead one: 2
              its path: 1
              enter a live one: 0
              enter the dead one: 2
              the path: "/parked"
              enter the root: 0
              reply from the root: 0
            client: 200 content-length=8 "upstream"
            client: 200 content-length=8 "upstream"
            upstream: GET /parked ""
            upstream: POST /x content-length=0 ""
              request headers end=true
              enter: 0
              resume: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn an_answer_that_is_too_long_comes_with_no_headers() {
    agree(
        DEFAULT,
        |run| run.send(call("backend", "/huge", "reply")),
        r#"
            client: 200 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
              call: 0
              answer: headers=false none none
              at the root: 1
              enter: 0
              still the answer: none
              reply: 0
              response headers "200" length="15" end=false
              response body 15 end=true
              log
              done
              delete
        "#,
    );
}
