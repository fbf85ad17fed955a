//! The generator against servers whose behaviour is known.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::http::{Message, response};

const OK: Expected = Expected { status: 200, body: Some(b"yes") };

/// A server that answers each connection's requests with `answer`, given the request's number of all.
fn server(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, counter) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer, counter) = (stream.unwrap(), Arc::clone(&answer), Arc::clone(&counter));
            std::thread::spawn(move || {
                let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
                while let Ok(read) = stream.read(&mut chunk)
                    && read > 0
                {
                    input.extend_from_slice(&chunk[..read]);
                    while let Some(length) = Message::request(&input).unwrap().map(|m| m.length) {
                        input.drain(..length);
                        let answer = answer(counter.fetch_add(1, Ordering::SeqCst));
                        let closes = answer.windows(6).any(|bytes| bytes == b": clos");
                        if stream.write_all(&answer).is_err() || closes {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn requests(count: usize) -> Vec<Vec<u8>> {
    vec![crate::http::request("GET", "/", &[("host", "a")], b""); count]
}

#[test]
fn whoever_comes_while_the_server_stalls_is_counted_from_when_they_came() {
    // One connection, 100 requests a second, and one answer that takes 300 ms: the thirty that arrive
    // meanwhile wait too, although the server answers each of them at once.
    let address = server(|number| {
        if number == 10 {
            std::thread::sleep(Duration::from_millis(300));
        }
        response(200, "text/plain", b"yes")
    });
    let mut load = Load::connect(address, 1).unwrap();
    let pace = Pace::Fixed(100.0, Duration::from_secs(1));
    let outcome = load.run(&mut Requests::repeated(requests(1)), &OK, pace).unwrap().correct().unwrap();
    assert_eq!(outcome.answers, 100);
    let [p75, p85] = outcome.latencies.percentiles_ms([75.0, 85.0]);
    assert!(p75 > 20.0, "{p75} ms: those who waited are not counted as waiting");
    assert!(p85 > 120.0, "{p85} ms");
}

#[test]
fn a_fixed_rate_is_kept_whatever_the_server_takes() {
    let address = server(|_| {
        std::thread::sleep(Duration::from_millis(5));
        response(200, "text/plain", b"yes")
    });
    let mut load = Load::connect(address, 16).unwrap();
    let pace = Pace::Fixed(400.0, Duration::from_millis(500));
    let outcome = load.run(&mut Requests::repeated(requests(1)), &OK, pace).unwrap();
    assert_eq!(outcome.answers, 200);
    assert!(outcome.elapsed >= Duration::from_millis(495), "{:?}", outcome.elapsed);
}

#[test]
fn a_wrong_answer_among_many_is_found() {
    let address = server(|number| match number {
        700 => response(503, "text/plain", b"no"),
        _ => response(200, "text/plain", b"yes"),
    });
    let mut load = Load::connect(address, 4).unwrap();
    let outcome = load.run(&mut Requests::repeated(requests(1)), &OK, Pace::Counted(1_000)).unwrap();
    assert_eq!((outcome.answers, outcome.statuses[&200], outcome.statuses[&503]), (1_000, 999, 1));
    assert!(outcome.correct().unwrap_err().to_string().contains("503 no"));
}

#[test]
fn what_may_be_sent_once_is_not_sent_twice() {
    let address = server(|_| response(200, "text/plain", b"yes"));
    let mut load = Load::connect(address, 2).unwrap();
    let mut once = Requests::once(requests(10));
    let outcome = load.run(&mut once, &OK, Pace::Counted(8)).unwrap();
    assert_eq!(outcome.answers, 8);
    assert!(load.run(&mut once, &OK, Pace::Counted(8)).is_err());
}

#[test]
fn a_connection_that_the_server_closes_is_opened_again() {
    let address = server(|number| match number % 3 {
        0 => b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nyes".to_vec(),
        _ => response(200, "text/plain", b"yes"),
    });
    let mut load = Load::connect(address, 2).unwrap();
    let outcome = load.run(&mut Requests::repeated(requests(1)), &OK, Pace::Counted(50)).unwrap();
    assert_eq!(outcome.correct().unwrap().answers, 50);
}

#[test]
fn saturation_ends_when_its_time_is_over() {
    let address = server(|_| response(200, "text/plain", b"yes"));
    let mut load = Load::connect(address, 4).unwrap();
    let pace = Pace::Saturating(Duration::from_millis(200));
    let outcome = load.run(&mut Requests::repeated(requests(1)), &OK, pace).unwrap();
    assert!(outcome.answers > 10 && outcome.elapsed < Duration::from_secs(5));
    assert!(outcome.per_second() > 50.0);
}
