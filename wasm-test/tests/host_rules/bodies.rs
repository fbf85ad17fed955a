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
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=10 "hello body"
              request headers end=false
              request body 10 end=false
              request body 10 end=true
              body: 0 "hello body"
              part of it: "el"
              behind it: (0, None)
              path: 0
              response headers "200" length="8" end=false
              request path: "/x"
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            -- chunked, in two chunks
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "onetwo"
              request headers end=false
              request body 3 end=false
              request body 6 end=false
              request body 6 end=true
              body: 0 "onetwo"
              part of it: "ne"
              behind it: (0, None)
              path: 0
              response headers "200" length="8" end=false
              request path: "/x"
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
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
        r#"
            client: nothing=true
              request headers end=false
              log
              done
              delete
        "#,
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
        r#"
            client: nothing=true
            -- another request resumes it; then it pauses in the body callback
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=false
              request headers end=true
              enter: 0
              resume: 0
              request body 10 end=true
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: nothing=true
              log
              done
              delete
        "#,
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
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=10 "hello body"
              request headers end=false
              request body 10 end=false
              request body 10 end=true
              body: 0 "hello body"
              part of it: "el"
              behind it: (0, None)
              path: 2
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: GET /x ""
              request headers end=true
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
fn a_body_is_not_set_where_none_came() {
    agree(
        STOPPING,
        |run| {
            run.send(Request::get("/x").header("x-do", "set-body"));
            run.send(probe("set-body").body("has one, but not yet"));
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: GET /x ""
              request headers end=true
              set body: 2
              body: 0 none
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=20 "has one, but not yet"
              request headers end=false
              set body: 2
              body: 0 none
              request body 20 end=false
              request body 0 end=true
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
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=5 "a lon" and then "ger body than it was"
              request headers end=false
              request body 5 end=false
              request body 5 end=true
              replace: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            -- without the header it is chunked
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "a longer body than it was"
              request headers end=false
              remove: 0
              request body 5 end=false
              request body 5 end=true
              replace: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            -- chunked from the start
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "a longer body than it was"
              request headers end=false
              request body 5 end=false
              request body 5 end=true
              replace: 0
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
fn a_body_is_replaced_from_its_start_or_extended_at_its_end() {
    agree(
        STOPPING,
        |run| run.send(probe("splice").body("12345").chunked()),
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "all"
              request headers end=false
              request body 5 end=false
              request body 5 end=true
              from 0, 0: 0 "<12345"
              from 6, 0: 0 "<12345>"
              from 0, 1: 0 "[12345>"
              from 2, 1: 2 "[12345>"
              from 0, 1000: 0 "all"
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
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=60000 (60000 bytes)
              request headers end=false
              request body 60000 end=false
              request body 60000 end=true
              body: 0 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
              part of it: "aa"
              behind it: (0, None)
              path: 0
              response headers "200" length="8" end=false
              request path: "/x"
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            -- over the limit
            client: 413 content-type=text/plain content-length=17 "Payload Too Large"
              request headers end=false
              request body 60000 end=false
              request body 70000 end=false
              response headers "413" length="17" end=false
              request path: "/x"
              response body 17 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_body_that_a_filter_grows_over_the_limit_is_answered_413() {
    agree(
        STOPPING,
        |run| run.send(probe("grow").body("short").chunked()),
        r#"
            client: 413 content-type=text/plain content-length=17 "Payload Too Large"
              request headers end=false
              request body 5 end=false
              request body 5 end=true
              grow: 0
              response headers "413" length="17" end=false
              response body 17 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_body_that_grows_over_the_limit_in_a_later_callback_enters_the_vm_again() {
    agree(
        STOPPING,
        |run| {
            let request = probe("call").header("x-cluster", "backend").header("x-then", "grow");
            run.send(request.body("short").chunked());
        },
        r#"
            client: 413 content-type=text/plain content-length=17 "Payload Too Large"
              request headers end=false
              call: 0
              request body 5 end=false
              request body 5 end=true
              answer: headers=true "200" "answer"
              at the root: 1
              enter: 0
              still the answer: "200"
              response headers "413" length="17" end=false
              response body 17 end=true
              log
              done
              delete
              grow: 0
              grown
        "#,
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
            run.send(probe("add-trailers").header("x-then", "look-behind").body("body").chunked());
            run.say("added by a filter that had not paused");
            run.send(probe("add-trailers-at-once").header("x-then", "look-behind").body("body").chunked());
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "body" trailer=client's
              request headers end=false
              request body 4 end=false
              request trailers 1: "client\'s"
              response headers "200" length="8" end=false
              request path: "/x"
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "body" trailer=client's
              request headers end=false
              request body 4 end=false
              request trailers 1: "client\'s"
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            -- added by the filter
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "body" and then "0\r\nx-trailer: added\r\n\r\n" trailer=added
              request headers end=false
              request body 4 end=false
              request body 4 end=true
              add: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            -- added by a filter that had not paused
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "body" trailer=added
              request headers end=false
              request body 4 end=false
              request body 0 end=true
              add: 0
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
fn a_stream_that_is_resumed_in_the_middle_of_its_body_may_pause_again() {
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

#[test]
fn a_chunk_after_an_early_resume_is_not_lost() {
    agree(
        STOPPING,
        |run| {
            let mut stream = run.open_body(probe("park-once"));
            stream.push(b"one ");
            run.send(probe("release"));
            stream.push(b"two ");
            stream.push(b"three");
            stream.finish();
            run.answered(&mut *stream);
            run.upstream();
            run.notes();
        },
        "",
    );
}
