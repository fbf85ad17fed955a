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
        r#"
            client: 204 ""
            upstream: GET /empty ""
              request headers end=true
              response headers "204" length=none end=true
              log
              done
              delete
            client: 200 "one"
            upstream: GET /trailers ""
              request headers end=true
              response headers "200" length=none end=false
              response body 3 end=false
              response trailers 1
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_response_held_in_headers_with_the_option_is_changed_as_a_whole() {
    agree(
        STOPPING,
        |run| run.send(get("/x", "hold-response")),
        r#"
            client: 200 x-held=1 "another response body"
            upstream: GET /x ""
              request headers end=true
              response headers "200" length="8" end=false
              remove: 0
              add: 0
              response body 8 end=false
              response body 8 end=true
              body: "upstream"
              replace: 0
              log
              done
              delete
        "#,
    );
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
        r#"
            client: nothing=true
              request headers end=true
              response headers "200" length="8" end=false
              remove: 0
              add: 0
        "#,
    );
}

#[test]
fn a_replaced_response_body_keeps_the_content_length_it_came_with() {
    agree(
        DEFAULT,
        |run| {
            run.send(get("/x", "replace-response-framed").header("x-then", "look-behind"));
            run.say("without the header");
            run.send(get("/x", "replace-response"));
        },
        r#"
            client: 200 content-length=8 "another " and then "response body"
            upstream: GET /x ""
              request headers end=true
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 8 end=true
              body: "upstream"
              replace: 0
              log
              done
              delete
            -- without the header
            client: 200 "another response body"
            upstream: GET /x ""
              request headers end=true
              response headers "200" length="8" end=false
              remove: 0
              response body 8 end=false
              response body 8 end=true
              body: "upstream"
              replace: 0
              log
              done
              delete
        "#,
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
        r#"
            client: 200 content-length=200000 "" reset
        "#,
    );
}

#[test]
fn an_upstream_that_breaks_off_cuts_the_stream() {
    agree(
        DEFAULT,
        |run| {
            let mut stream = run.open(get("/reset", "pass"));
            run.answered(&mut *stream);
            run.notes_until("  delete");
        },
        r#"
            client: 200 content-length=10 "12345" reset
              request headers end=true
              response headers "200" length="10" end=false
              response body 5 end=false
              log
              done
              delete
        "#,
    );
}
