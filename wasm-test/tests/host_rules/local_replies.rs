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
        r#"
            client: 418 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
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
            -- with a body that has not come yet
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
fn a_callback_that_replies_stops_whatever_it_returns() {
    agree(
        DEFAULT,
        |run| run.send(probe("reply-continue")),
        r#"
            client: 418 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
              reply: 0
              response headers "418" length="15" end=false
              response body 15 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_reply_without_a_body_has_no_length_and_no_type() {
    agree(
        DEFAULT,
        |run| run.send(probe("reply-empty")),
        r#"
            client: 204 x-kept=1 ""
              request headers end=true
              reply: 0
              response headers "204" length=none end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_reply_to_head_has_no_body() {
    agree(
        DEFAULT,
        |run| run.send(Request::new("HEAD", "/x").header("x-do", "reply")),
        r#"
            client: 418 content-type=text/plain content-length=15 x-by=probe ""
              request headers end=true
              reply: 0
              response headers "418" length="15" end=true
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
fn a_reply_from_the_body_callback_ends_the_stream() {
    agree(
        STOPPING,
        |run| run.send(probe("reply-body").body("body")),
        r#"
            client: 418 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=false
              request body 4 end=false
              request body 4 end=true
              reply: 0
              response headers "418" length="15" end=false
              response body 15 end=true
              log
              done
              delete
        "#,
    );
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
        r#"
            client: 419 content-type=text/plain content-length=6 x-again=1 "second"
              request headers end=true
              reply: 0
              response headers "418" length="15" end=false
              reply again: 0
              log
              done
              delete
            -- in the place of the upstream's
            client: 502 content-type=text/plain content-length=15 x-by=probe "short and stout"
            upstream: POST /x content-length=0 ""
              request headers end=true
              response headers "200" length="8" end=false
              reply: 0
              log
              done
              delete
        "#,
    );
}
