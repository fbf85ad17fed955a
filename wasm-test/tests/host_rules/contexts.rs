//! Contexts: streams that are entered from elsewhere, ticks, and the order of callbacks in a chain.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{DEFAULT, Options, probe};

#[test]
fn a_tick_comes_to_the_root_and_may_answer_streams() {
    agree(
        DEFAULT,
        |run| {
            let mut parked = run.open(Request::get("/parked").header("x-do", "park"));
            run.silent(&mut *parked);
            run.send(probe("tick"));
            run.notes_until("  delete");
            run.answered(&mut *parked);
        },
        "",
    );
}

#[test]
fn a_stream_that_is_parked_is_resumed_by_another_one() {
    agree(
        DEFAULT,
        |run| {
            let mut first = run.open(Request::get("/first").header("x-do", "park"));
            let mut second = run.open(Request::get("/second").header("x-do", "park"));
            run.silent(&mut *first);
            run.silent(&mut *second);
            run.send(probe("release"));
            run.answered(&mut *first);
            run.answered(&mut *second);
            run.upstream();
            run.notes();
        },
        "",
    );
}

#[test]
fn requests_walk_a_chain_forwards_and_responses_backwards() {
    let chain = Options { stops_on_headers: true, filters: 2 };
    agree(
        chain,
        |run| {
            run.send(probe("pass").body("body"));
            run.say("held by both");
            run.send(probe("hold").body("body"));
            run.say("answered by the first");
            run.send(probe("reply").body("body"));
        },
        "",
    );
}

#[test]
fn a_stream_that_is_closed_by_a_filter_is_cut() {
    agree(DEFAULT, |run| run.send(probe("close")), "");
}

#[test]
fn a_stream_has_a_longest_duration() {
    agree(
        DEFAULT,
        |run| {
            run.say("held by the filter");
            let mut parked = run.open(Request::get("/limited").header("x-do", "park"));
            run.answered(&mut *parked);
            run.say("held by the upstream");
            let mut slow = run.open(Request::get("/limited/never").header("x-do", "pass"));
            run.answered(&mut *slow);
            run.say("held by the client");
            let mut stream = run.open_body(Request::post("/limited").header("x-do", "pass"));
            run.answered(&mut *stream);
        },
        "",
    );
}
