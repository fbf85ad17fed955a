//! How a stream that waits for a call goes on.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{DEFAULT, STOPPING, probe};

fn call(then: &str) -> Request {
    probe("call").header("x-cluster", "backend").header("x-call-path", "/echo").header("x-then", then)
}

#[test]
fn headers_can_be_edited_before_a_resume_and_are_gone_after_it() {
    agree(
        DEFAULT,
        |run| run.send(call("resume-edit")),
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              call: 0
              answer: headers=true "201" "POST backend question"
              at the root: 1
              enter: 0
              still the answer: "201"
              resume: 0
              edit: 2
              read: 2
              list: (0, 0)
              path: 1
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
fn a_second_resume_does_nothing() {
    agree(
        STOPPING,
        |run| {
            run.send(call("resume-twice"));
            run.send(call("resume-twice").body("body"));
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              call: 0
              answer: headers=true "201" "POST backend question"
              at the root: 1
              enter: 0
              still the answer: "201"
              resume: 0 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=4 "body"
              request headers end=false
              call: 0
              request body 4 end=false
              request body 4 end=true
              answer: headers=true "201" "POST backend question"
              at the root: 1
              enter: 0
              still the answer: "201"
              resume: 0 0
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
fn a_resume_and_a_reply_end_in_one_of_them() {
    agree(
        DEFAULT,
        |run| {
            // Whether the upstream sees the request depends on how soon it has a connection.
            for then in ["reply-resume", "resume-reply"] {
                let mut stream = run.open(call(then));
                run.answered(&mut *stream);
                run.notes();
            }
        },
        r#"
            client: 200 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
              call: 0
              answer: headers=true "201" "POST backend question"
              at the root: 1
              enter: 0
              still the answer: "201"
              reply: 0
              resume: 0
              response headers "200" length="15" end=false
              response body 15 end=true
              log
              done
              delete
            client: 200 content-type=text/plain content-length=15 x-by=probe "short and stout"
              request headers end=true
              call: 0
              answer: headers=true "201" "POST backend question"
              at the root: 1
              enter: 0
              still the answer: "201"
              resume: 0
              reply: 0
              response headers "200" length="15" end=false
              response body 15 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_call_from_the_body_callback_holds_the_whole_request() {
    agree(
        STOPPING,
        |run| {
            let request = probe("hold-then-call").header("x-cluster", "backend");
            let request = request.header("x-call-path", "/echo").header("x-then", "edit-resume");
            run.send(request.body("body"));
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=4 x-edited=late "body"
              request headers end=false
              request body 4 end=false
              request body 4 end=true
              call: 0
              answer: headers=true "201" "POST backend question"
              at the root: 1
              enter: 0
              still the answer: "201"
              edit: 0
              resume: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}
