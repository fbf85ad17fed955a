//! What becomes of a body that a filter changes, and the limit of what may be held back.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{STOPPING, probe};

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
