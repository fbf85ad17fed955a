//! Contexts: streams that are entered from elsewhere, ticks, and the order of callbacks in a chain.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{CHAIN, DEFAULT, probe};

#[test]
fn a_tick_comes_to_the_root_and_may_answer_streams() {
    agree(
        DEFAULT,
        |run| {
            let mut parked = run.open(Request::get("/parked").header("x-do", "park"));
            run.silent(&mut *parked);
            let mut stream = run.open(probe("tick"));
            run.answered(&mut *stream);
            run.answered(&mut *parked);
            run.notes_until("  answer");
        },
        r#"
            client: nothing=true
            client: 200 content-length=8 "upstream"
            client: 504 content-type=text/plain content-length=4 "late"
              request headers end=true
              request headers end=true
              set tick: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
              tick 1: root=true
              its stream's path: 1
              enter the parked one: 0
              the parked one's path: "/parked"
              tick 2: root=true
              its stream's path: 1
              enter the parked one: 0
              the parked one's path: "/parked"
              stop: 0
              enter: 0
              answer: 0
              response headers "504" length="4" end=false
              response body 4 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_stream_that_is_parked_is_resumed_by_another_one() {
    agree(
        DEFAULT,
        |run| {
            let mut first = run.open(Request::get("/first").header("x-do", "park"));
            run.silent(&mut *first);
            let mut second = run.open(Request::get("/second").header("x-do", "park"));
            run.silent(&mut *second);
            let mut release = run.open(probe("release"));
            run.all_answered([&mut *release, &mut *first, &mut *second]);
        },
        r#"
            client: nothing=true
            client: nothing=true
            client: 200 content-length=8 "upstream"
            client: 200 content-length=8 "upstream"
            client: 200 content-length=8 "upstream"
            upstream: GET /first ""
            upstream: GET /second ""
            upstream: POST /x content-length=0 ""
              request headers end=true
              request headers end=true
              request headers end=true
              enter: 0
              resume: 0
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
fn requests_walk_a_chain_forwards_and_responses_backwards() {
    agree(
        CHAIN,
        |run| {
            run.send(probe("pass").body("body"));
            run.say("held by both");
            run.send(probe("hold").body("body"));
            run.say("answered by the first");
            run.send(probe("reply").body("body"));
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=4 "body"
              request headers end=false
              request headers end=false
              request body 4 end=false
              request body 4 end=false
              request body 0 end=true
              request body 0 end=true
              response headers "200" length="8" end=false
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 8 end=false
              response body 0 end=true
              response body 0 end=true
              log
              log
              done
              delete
              done
              delete
            -- held by both
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=4 "body"
              request headers end=false
              request body 4 end=false
              request body 4 end=true
              body: 0 "body"
              part of it: "od"
              behind it: (0, None)
              path: 0
              request headers end=false
              request body 4 end=true
              body: 0 "body"
              part of it: "od"
              behind it: (0, None)
              path: 0
              response headers "200" length="8" end=false
              request path: "/x"
              response headers "200" length="8" end=false
              request path: "/x"
              response body 8 end=false
              response body 8 end=false
              response body 0 end=true
              response body 0 end=true
              log
              log
              done
              delete
              done
              delete
            -- answered by the first
            client: 418 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=false
              reply: 0
              response headers "418" length="15" end=false
              response body 15 end=true
              log
              request path: "/x"
              response status: "418"
              path: "/x"
              details: "probe"
              no such header: 1
              write: 2
              done
              delete
        "#,
    );
}

#[test]
fn a_stream_that_is_closed_by_a_filter_is_cut() {
    agree(
        DEFAULT,
        |run| run.send(probe("close")),
        r#"
            client: 0 "" reset
              request headers end=true
              close: 0
              log
              done
              delete
        "#,
    );
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
        r#"
            -- held by the filter
            client: 504 content-type=text/plain content-length=27 "downstream duration timeout"
            -- held by the upstream
            client: 504 content-type=text/plain content-length=27 "downstream duration timeout"
            -- held by the client
            client: 408 content-type=text/plain content-length=27 "downstream duration timeout"
        "#,
    );
}

#[test]
fn a_stream_without_traffic_is_given_up() {
    agree(
        DEFAULT,
        |run| {
            run.say("held by the filter");
            let mut parked = run.open(Request::get("/idle").header("x-do", "park"));
            run.answered(&mut *parked);
            run.say("held by the client");
            let mut stream = run.open_body(Request::post("/idle").header("x-do", "pass"));
            run.answered(&mut *stream);
        },
        r#"
            -- held by the filter
            client: 504 content-type=text/plain content-length=14 "stream timeout"
            -- held by the client
            client: 408 content-type=text/plain content-length=14 "stream timeout"
        "#,
    );
}
