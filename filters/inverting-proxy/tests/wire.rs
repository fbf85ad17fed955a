//! What holds for any message: what goes over the wire comes back, and what is not whole is nothing.
#![allow(clippy::unwrap_used, reason = "a test")]

use inverting_proxy::wire::{request, response};
use lockgate_common::http::Headers;
use proptest::prelude::*;

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let value = proptest::collection::vec(prop_oneof![0x21_u8..0x7f, 0x80_u8..=0xff], 0..20);
    proptest::collection::vec(("x-[a-z]{1,8}", value), 0..6)
}

fn head(headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let line = |(name, value): &(String, Vec<u8>)| [name.as_bytes(), b": ", value, b"\r\n"].concat();
    headers.iter().flat_map(line).collect()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let chunk = |chunk: &[u8]| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
    let chunks: Vec<u8> = body.chunks(size).flat_map(chunk).collect();
    [chunks.as_slice(), b"0\r\n\r\n"].concat()
}

proptest! {
    #[test]
    fn an_answer_comes_back_however_it_is_framed(
        headers in headers(),
        body in proptest::collection::vec(any::<u8>(), 0..300),
        size in 1_usize..100,
        status in 200_u16..204,
    ) {
        let start = [format!("HTTP/1.1 {status} Reason\r\n").as_bytes(), &head(&headers)].concat();
        let framed = [
            ("transfer-encoding: chunked\r\n\r\n".to_owned(), chunked(&body, size)),
            (format!("content-length: {}\r\n\r\n", body.len()), body.clone()),
            ("\r\n".to_owned(), body.clone()),
        ];
        for (framing, bytes) in &framed {
            let message = [start.as_slice(), framing.as_bytes(), bytes].concat();
            let read = response(&message, false).unwrap();
            prop_assert_eq!((read.status, &read.body), (status, &body));
            prop_assert_eq!(read.headers, headers.iter().cloned().collect::<Headers>());
        }
        // A byte less is not the whole of it, nor is a byte more, where the framing says how much there is.
        for (framing, bytes) in &framed[..2] {
            let message = [start.as_slice(), framing.as_bytes(), bytes].concat();
            prop_assert!(response(&message[..message.len() - 1], false).is_none());
            prop_assert!(response(&[message.as_slice(), b"x"].concat(), false).is_none());
        }
    }

    #[test]
    fn a_request_reads_as_it_came(headers in headers(), body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let wire = request("POST", "/a?b", "host", &headers.iter().cloned().collect(), &body).unwrap();
        let length = match body.len() {
            0 => String::new(),
            length => format!("content-length: {length}\r\n"),
        };
        let expected = [
            b"POST /a?b HTTP/1.1\r\nhost: host\r\n".as_slice(), &head(&headers), length.as_bytes(), b"\r\n", &body,
        ];
        prop_assert_eq!(wire, expected.concat());
    }

    #[test]
    fn no_bytes_are_too_odd(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        start in "(HTTP/1.[01] [0-9]{1,4} ?[a-z]*\r\n)?([a-z-]{0,9}:[ -~]{0,9}\r\n){0,3}(transfer-encoding: chunked\r\n)?(\r\n)?([0-9a-f]{0,12}\r\n)?",
        to_head: bool,
    ) {
        let message = [start.as_bytes(), &bytes].concat();
        if let Some(read) = response(&message, to_head) {
            prop_assert!((200..600).contains(&read.status) && read.body.len() <= message.len());
            let fine = |value: &[u8]| !value.iter().any(|byte| b"\r\n\0".contains(byte));
            prop_assert!(read.headers.iter().all(|(name, value)| !name.is_empty() && fine(value)));
        }
    }
}

#[test]
fn a_header_that_would_be_another_line_is_no_header() {
    for value in [b"a\r\nb: c".as_slice(), b"a\nb", b"a\0"] {
        let headers: Headers = [("x-a", value)].into_iter().collect();
        assert!(request("GET", "/", "host", &headers, b"").is_none());
    }
    for (method, target, host) in [
        ("GET /", "/", "a"),
        ("GET", "/a b", "a"),
        ("GET", "a", "a"),
        ("GET", "/", "a\r\nb"),
        ("GET", "/", ""),
    ] {
        assert!(
            request(method, target, host, &Headers::default(), b"").is_none(),
            "{method} {target} {host}"
        );
    }
}

#[test]
fn a_head_has_an_end() {
    let many = ["HTTP/1.1 200 OK\r\n", &"x: y\r\n".repeat(257), "\r\n"].concat();
    assert!(response(many.as_bytes(), false).is_none());
    let long = ["HTTP/1.1 200 OK\r\nx: ", &"y".repeat(70_000), "\r\n\r\n"].concat();
    assert!(response(long.as_bytes(), false).is_none());
}
