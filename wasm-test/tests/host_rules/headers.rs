//! Header maps: values as bytes, names that hold one value, and when there are none.

use wasm_test::Request;

use crate::agree;
use crate::proxy::{DEFAULT, STOPPING, probe};

#[test]
fn header_values_are_bytes() {
    agree(DEFAULT, |run| run.send(probe("raw").header("x-raw", b"a\xff\x80z")), "");
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
        "",
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
        "",
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
        "",
    );
}

#[test]
fn request_headers_are_gone_once_they_have_continued() {
    agree(
        DEFAULT,
        |run| run.send(probe("after-continue").body("body")),
        "",
    );
}

#[test]
fn request_headers_stay_where_they_were_paused_and_the_body_let_them_go() {
    agree(STOPPING, |run| run.send(probe("hold").body("body")), "");
}
