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
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=false
              request body 4 end=false
              request headers end=true
              enter: 0
              resume: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request body 4 end=false
              request headers end=true
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request body 9 end=false
              request body 9 end=true
              request headers end=true
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
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=false
              request body 4 end=false
              request headers end=true
              enter: 0
              resume: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "one two three"
              request body 4 end=false
              request body 5 end=false
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
