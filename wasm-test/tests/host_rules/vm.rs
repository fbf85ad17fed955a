//! A VM that dies, and the one that takes its place.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{CHAIN, DEFAULT, Options, STOPPING, probe};

#[test]
fn a_trap_answers_503_and_the_next_request_has_a_new_vm_with_the_shared_data() {
    agree(
        DEFAULT,
        |run| {
            run.send(probe("remember"));
            let mut parked = run.open(Request::get("/parked").header("x-do", "park"));
            run.silent(&mut *parked);
            let mut stream = run.open(probe("trap"));
            run.answered(&mut *stream);
            run.say("a request that was paused is never answered");
            run.silent(&mut *parked);
            run.recovers(&Request::get("/x"));
            run.upstream();
            run.send(probe("remember"));
            run.silent(&mut *parked);
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              was: none
              set: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: nothing=true
            client: 503 content-length=0 ""
            -- a request that was paused is never answered
            client: nothing=true
            client: 200 again
            upstream: GET /x ""
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
              request headers end=true
              was: "kept"
              set: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: nothing=true
        "#,
    );
}

#[test]
fn a_trap_in_the_body_callback_answers_503() {
    agree(
        STOPPING,
        |run| {
            let mut stream = run.open(probe("trap-body").body("body"));
            run.answered(&mut *stream);
            run.recovers(&Request::get("/x"));
        },
        r#"
            client: 503 content-length=0 ""
            client: 200 again
        "#,
    );
}

#[test]
fn a_trap_in_the_response_callback_answers_503() {
    agree(
        DEFAULT,
        |run| {
            let mut stream = run.open(probe("trap-response"));
            run.answered(&mut *stream);
            run.recovers(&Request::get("/x"));
        },
        r#"
            client: 503 content-length=0 ""
            client: 200 again
        "#,
    );
}

#[test]
fn a_trap_in_a_call_s_answer_leaves_the_stream_without_one() {
    agree(
        DEFAULT,
        |run| {
            let request = probe("call").header("x-cluster", "backend");
            let request = request.header("x-call-path", "/echo").header("x-then", "trap");
            let mut stream = run.open(request);
            run.silent(&mut *stream);
            run.recovers(&Request::get("/x"));
            run.silent(&mut *stream);
        },
        r#"
            client: nothing=true
            client: 200 again
            client: nothing=true
        "#,
    );
}

#[test]
fn a_trap_takes_all_filters_of_the_vm_with_it() {
    agree(
        CHAIN,
        |run| {
            for command in ["trap", "trap-body", "trap-response"] {
                let mut stream = run.open(probe(command).body("body"));
                run.answered(&mut *stream);
                run.recovers(&Request::get("/x"));
            }
            run.upstream();
        },
        r#"
            client: 503 content-length=0 ""
            client: 200 again
            client: 503 content-length=0 ""
            client: 200 again
            client: 503 content-length=0 ""
            client: 200 again
            upstream: GET /x ""
            upstream: GET /x ""
            upstream: GET /x ""
            upstream: POST /x content-length=4 "body"
        "#,
    );
}

#[test]
fn a_vm_that_may_not_be_loaded_again_answers_503_for_good() {
    let closed = Options { fails_closed: true, ..DEFAULT };
    agree(
        closed,
        |run| {
            for request in [probe("pass"), probe("trap"), probe("pass"), probe("pass").body("b")] {
                let mut stream = run.open(request);
                run.answered(&mut *stream);
                run.upstream();
            }
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
            client: 503 content-length=0 ""
            client: 503 content-length=0 ""
            client: 503 content-length=0 ""
        "#,
    );
}
