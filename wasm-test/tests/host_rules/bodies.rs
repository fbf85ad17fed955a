//! What a filter sees of a request's body, and what becomes of one it changes.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{DEFAULT, STOPPING, probe};

#[test]
fn a_pause_in_headers_with_the_option_lets_the_body_come() {
    agree(
        STOPPING,
        |run| {
            run.send(probe("hold").body("hello body"));
            run.say("chunked, in two chunks");
            let mut stream = run.open_body(probe("hold"));
            stream.push(b"one");
            run.upstream();
            stream.push(b"two");
            run.upstream();
            stream.finish();
            run.answered(&mut *stream);
            run.upstream();
            run.notes();
        },
        "",
    );
}

#[test]
fn a_pause_in_headers_without_the_option_stops_the_body_too() {
    agree(
        DEFAULT,
        |run| {
            let mut stream = run.open(probe("hold").body("hello body"));
            run.silent(&mut *stream);
            run.notes();
            stream.reset();
            run.notes_until("  delete");
        },
        "",
    );
}

#[test]
fn a_body_that_is_held_in_the_body_callback_alone_lets_the_headers_go() {
    agree(
        DEFAULT,
        |run| {
            run.send(probe("hold-body").body("hello body"));
            run.send(Request::get("/x").header("x-do", "hold-body"));
        },
        "",
    );
}
