//! Answers of the filter itself, which come back into its own response callbacks.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{DEFAULT, STOPPING, probe};

#[test]
fn a_local_reply_comes_back_into_the_filter_that_gave_it() {
    agree(
        DEFAULT,
        |run| {
            run.send(probe("reply"));
            run.say("with a body that has not come yet");
            run.send(probe("reply").body("body"));
        },
        "",
    );
}

#[test]
fn a_callback_that_replies_stops_whatever_it_returns() {
    agree(DEFAULT, |run| run.send(probe("reply-continue")), "");
}

#[test]
fn a_reply_without_a_body_has_no_length_and_no_type() {
    agree(DEFAULT, |run| run.send(probe("reply-empty")), "");
}

#[test]
fn a_reply_to_head_has_no_body() {
    agree(
        DEFAULT,
        |run| run.send(Request::new("HEAD", "/x").header("x-do", "reply")),
        "",
    );
}

#[test]
fn a_reply_from_the_body_callback_ends_the_stream() {
    agree(STOPPING, |run| run.send(probe("reply-body").body("body")), "");
}

#[test]
fn a_reply_from_the_response_callback_takes_the_place_of_the_first() {
    agree(
        DEFAULT,
        |run| {
            run.send(probe("reply-twice"));
            run.say("in the place of the upstream's");
            run.send(probe("reply-from-response"));
        },
        "",
    );
}
