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
fn without_the_option_the_body_comes_after_the_resume() {
    agree(
        DEFAULT,
        |run| {
            let mut stream = run.open(probe("park").body("hello body"));
            run.silent(&mut *stream);
            run.say("another request resumes it; then it pauses in the body callback");
            run.send(probe("release"));
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

#[test]
fn a_body_is_not_set_where_none_came() {
    agree(
        STOPPING,
        |run| {
            run.send(Request::get("/x").header("x-do", "set-body"));
            run.send(probe("set-body").body("has one, but not yet"));
        },
        "",
    );
}

#[test]
fn a_replaced_body_keeps_the_content_length_it_came_with() {
    agree(
        STOPPING,
        |run| {
            run.send(probe("replace").header("x-then", "look-behind").body("short"));
            run.say("without the header it is chunked");
            run.send(probe("replace-unframed").header("x-then", "look-behind").body("short"));
            run.say("chunked from the start");
            run.send(probe("replace").body("short").chunked());
        },
        "",
    );
}

#[test]
fn a_body_is_replaced_from_its_start_or_extended_at_its_end() {
    agree(STOPPING, |run| run.send(probe("splice").body("12345").chunked()), "");
}

#[test]
fn a_body_over_the_buffer_limit_is_answered_413() {
    agree(
        STOPPING,
        |run| {
            run.send(probe("hold").body(vec![b'a'; 60_000]));
            run.say("over the limit");
            let mut stream = run.open_body(probe("hold"));
            stream.push(&[b'a'; 60_000]);
            stream.push(&[b'a'; 10_000]);
            run.answered(&mut *stream);
            run.notes_until("  delete");
        },
        "",
    );
}

#[test]
fn a_body_that_a_filter_grows_over_the_limit_is_answered_413() {
    agree(STOPPING, |run| run.send(probe("grow").body("short").chunked()), "");
}

#[test]
fn a_body_that_grows_over_the_limit_in_a_later_callback_enters_the_vm_again() {
    agree(
        STOPPING,
        |run| {
            let request = probe("call").header("x-cluster", "backend").header("x-then", "grow");
            run.send(request.body("short").chunked());
        },
        "",
    );
}

#[test]
fn trailers_come_after_the_body_and_can_be_added_at_its_end() {
    agree(
        STOPPING,
        |run| {
            run.send(probe("hold").body("body").trailer("x-trailer", "client's"));
            run.send(probe("pass").body("body").trailer("x-trailer", "client's"));
            run.say("added by the filter");
            run.send(probe("add-trailers").body("body").chunked());
        },
        "",
    );
}

#[test]
fn a_chunk_after_an_early_resume_is_not_lost() {
    agree(
        STOPPING,
        |run| {
            let mut stream = run.open_body(probe("park"));
            stream.push(b"one ");
            run.send(probe("release"));
            stream.push(b"two ");
            run.send(probe("release"));
            stream.push(b"three");
            stream.finish();
            run.send(probe("release"));
            run.silent(&mut *stream);
            stream.reset();
            run.notes_until("  delete");
        },
        "",
    );
}
