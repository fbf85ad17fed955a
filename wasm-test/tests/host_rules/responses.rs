//! The way back: the upstream's response in the filter's hands.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{DEFAULT, STOPPING};

fn get(path: &str, command: &str) -> Request {
    Request::get(path).header("x-do", command)
}

#[test]
fn a_response_passes_chunk_by_chunk() {
    agree(
        DEFAULT,
        |run| {
            run.send(get("/empty", "pass"));
            run.send(get("/trailers", "pass"));
        },
        "",
    );
}

#[test]
fn a_response_held_in_headers_with_the_option_is_changed_as_a_whole() {
    agree(STOPPING, |run| run.send(get("/x", "hold-response")), "");
}

#[test]
fn a_response_held_in_headers_without_the_option_stays_away() {
    agree(
        DEFAULT,
        |run| {
            let mut stream = run.open(get("/x", "hold-response"));
            run.silent(&mut *stream);
            run.notes();
        },
        "",
    );
}

#[test]
fn a_replaced_response_body_keeps_the_content_length_it_came_with() {
    agree(
        DEFAULT,
        |run| {
            run.send(get("/x", "replace-response-framed"));
            run.say("without the header");
            run.send(get("/x", "replace-response"));
        },
        "",
    );
}

#[test]
fn a_response_over_the_buffer_limit_is_cut() {
    agree(
        DEFAULT,
        |run| {
            let mut stream = run.open(get("/big", "hold-big-response"));
            run.answered(&mut *stream);
        },
        "",
    );
}

#[test]
fn an_upstream_that_breaks_off_cuts_the_stream() {
    agree(DEFAULT, |run| {
        let mut stream = run.open(get("/reset", "pass"));
        run.answered(&mut *stream);
        run.notes_until("  delete");
    }, "");
}
