//! Header maps: values as bytes, names that hold one value, and when there are none.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{DEFAULT, STOPPING, probe};

#[test]
fn header_values_are_bytes() {
    agree(
        DEFAULT,
        |run| run.send(probe("raw").header("x-raw", b"a\xff\x80z")),
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              value: "a\xff\x80z"
              listed x-raw: ["a\\xff\\x80z"]
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
fn some_headers_hold_one_value_and_the_getter_gives_the_first_of_the_others() {
    agree(
        DEFAULT,
        |run| {
            let mut request = probe("headers");
            for (name, value) in [
                ("x-twice", "1"),
                ("content-type", "a/a"),
                ("X-Twice", "2"),
                ("Content-Type", "b/b"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("X-UPPER", "3"),
            ] {
                request = request.header(name, value);
            }
            run.send(request);
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-type=a/a,b/b content-length=0 ""
              request headers end=true
              x-twice: 0 "1"
              listed x-twice: ["1", "2"]
              content-type: 0 "a/a,b/b"
              listed content-type: ["a/a,b/b"]
              cookie: 0 "a=1"
              listed cookie: ["a=1", "b=2"]
              x-forwarded-for: 1 none
              listed x-forwarded-for: []
              X-Upper: 0 "3"
              listed x-upper: ["3"]
              no such map: 2
              trailers: 2 0
              response: 2 0
              call: 2 0
              write to it: 2
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
fn the_codec_and_the_connection_manager_add_headers() {
    agree(
        DEFAULT,
        |run| {
            run.send(probe("names").body("body"));
            run.send(probe("names").body("body").chunked());
            run.send(Request::get("/x").header("x-do", "names").header("x-request-id", "given"));
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=4 "body"
              request headers end=false
              :authority :path :method :scheme x-do content-length x-forwarded-proto x-request-id
              request body 4 end=false
              request body 0 end=true
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x transfer-encoding=chunked "body"
              request headers end=false
              :authority :path :method :scheme x-do x-forwarded-proto x-request-id
              request body 4 end=false
              request body 0 end=true
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: GET /x ""
              request headers end=true
              :authority :path :method :scheme x-do x-request-id x-forwarded-proto
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
fn edits_reach_the_upstream_in_order() {
    agree(
        DEFAULT,
        |run| {
            let mut request = probe("edit");
            for (name, value) in [
                ("x-e-two", "1"),
                ("x-e-gone", "1"),
                ("x-e-two", "2"),
                ("content-type", "a/a"),
                ("x-e-last", "1"),
            ] {
                request = request.header(name, value);
            }
            run.send(request);
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /edited?x=1 content-type=a/a,b/b x-e-last=1 x-e-new=1 x-e-new=2 x-e-two=one x-e-bytes=\xff\xfe content-length=0 ""
              request headers end=true
              add: 0
              add again: 0
              add inline: 0
              replace: 0
              replace path: 0
              remove: 0
              remove none: 0
              bytes: 0
              :path=/edited?x=1
              content-type=a/a,b/b
              x-e-last=1
              x-e-new=1
              x-e-new=2
              x-e-two=one
              x-e-bytes=\xff\xfe
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
fn request_headers_are_gone_once_they_have_continued() {
    agree(
        DEFAULT,
        |run| run.send(probe("after-continue").body("body")),
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=4 "body"
              request headers end=false
              request body 4 end=false
              value: 2 none
              list: 0 0
              property: 1 none
              set: 2
              add: 2
              remove: 2
              request body 0 end=true
              value: 2 none
              list: 0 0
              property: 1 none
              set: 2
              add: 2
              remove: 2
              response headers "200" length="8" end=false
              value: 2 none
              list: 0 0
              property: 1 none
              set: 2
              add: 2
              remove: 2
              response body 8 end=false
              response body 0 end=true
              log
              request path: "/x"
              response status: "200"
              path: "/x"
              details: "via_upstream"
              no such header: 1
              write: 2
              done
              delete
        "#,
    );
}

#[test]
fn request_headers_stay_where_they_were_paused_and_the_body_let_them_go() {
    agree(
        STOPPING,
        |run| run.send(probe("hold").body("body")),
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=4 "body"
              request headers end=false
              request body 4 end=false
              request body 4 end=true
              body: 0 "body"
              part of it: "od"
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
