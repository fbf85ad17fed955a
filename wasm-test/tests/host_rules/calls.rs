//! Calls: what is refused at once, what the host answers itself, and to whom answers come.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{DEFAULT, STOPPING, probe};

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
        "",
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
        "",
    );
}

#[test]
fn a_refused_connection_is_a_503_made_by_the_host() {
    agree(DEFAULT, |run| run.send(call("refused", "/echo", "reply")), "");
}

#[test]
fn a_timeout_is_a_504_made_by_the_host() {
    agree(
        DEFAULT,
        |run| run.send(call("backend", "/slow", "reply").header("x-timeout", "100")),
        "",
    );
}

#[test]
fn no_timeout_means_that_the_call_waits() {
    agree(
        DEFAULT,
        |run| run.send(call("backend", "/late", "reply").header("x-timeout", "0")),
        "",
    );
}

#[test]
fn an_answer_that_breaks_off_comes_with_no_headers() {
    agree(DEFAULT, |run| run.send(call("backend", "/reset", "reply")), "");
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
            run.send(probe("release"));
            run.answered(&mut *parked);
            run.upstream();
            run.notes();
        },
        "",
    );
}

#[test]
fn headers_can_be_edited_before_a_resume_and_are_gone_after_it() {
    agree(DEFAULT, |run| run.send(call("backend", "/echo", "resume-edit")), "");
}

#[test]
fn a_second_resume_does_nothing() {
    agree(
        STOPPING,
        |run| {
            run.send(call("backend", "/echo", "resume-twice"));
            run.send(call("backend", "/echo", "resume-twice").body("body"));
        },
        "",
    );
}

#[test]
fn a_resume_and_a_reply_end_in_one_of_them() {
    agree(
        DEFAULT,
        |run| {
            run.send(call("backend", "/echo", "reply-resume"));
            run.say("the other way round");
            run.send(call("backend", "/echo", "resume-reply"));
        },
        "",
    );
}

#[test]
fn a_call_from_the_body_callback_holds_the_whole_request() {
    agree(
        STOPPING,
        |run| {
            let request = probe("hold-then-call").header("x-cluster", "backend");
            let request = request.header("x-call-path", "/echo").header("x-then", "edit-resume");
            run.send(request.body("body"));
        },
        "",
    );
}
