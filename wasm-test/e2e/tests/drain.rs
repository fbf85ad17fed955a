//! The end of an instance: whoever was let in is answered, what was acknowledged arrives, and it is
//! over within Cloud Run's ten seconds.

use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Answer, Fault, Journal, Process, Request, Response, Stack, slack};
use rustix::process::Signal;

/// From SIGTERM to SIGKILL on Cloud Run.
const TEN_SECONDS: Duration = Duration::from_secs(10);
/// Commands are acknowledged before the signal comes, and more are on their way.
const ACKNOWLEDGED_BEFORE: usize = 300;
/// Clients that open a connection for each command, and clients that keep theirs.
const SENDERS: usize = 12;
const KEEPERS: usize = 6;
/// Requests that are with the upstream when the signal comes.
const SLOW: usize = 40;

async fn is_draining(stack: &Stack) {
    while !stack.admin().text("/ready").await.contains("DRAINING") {}
}

fn closes(answer: &Response) -> bool {
    answer.headers.text("connection").as_deref() == Some("close")
}

fn page(n: usize) -> String {
    format!("page {n} {}", "x".repeat(100_000))
}

fn command(n: usize) -> Request {
    slack::signed(slack::command("/slack/command", &format!("drain-{n}.")), SLACK_SECRET)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_cuts_nobody_and_loses_nothing_that_was_acknowledged() {
    let stack = Arc::new(Stack::builder().concurrency(2).start().await);
    // Every publish takes its time, so that commands are between the two answers all the while.
    stack.proxy().program(|request| {
        request.path().ends_with(":publish").then_some(Fault::Slow(Duration::from_millis(150)))
    });
    stack.upstream().program(|request| {
        let n = request.path().strip_prefix("/public/slow-")?.parse().ok()?;
        // The last is answered when the listener has long been closed.
        let delay = Duration::from_millis(if n + 1 == SLOW { 6_000 } else { 1_000 + 50 * n as u64 });
        Some(Answer::with_body(200, "text/plain", &page(n)).after(delay))
    });
    let load = Arc::new(Load::default());
    let senders: Vec<_> = (0..SENDERS + KEEPERS)
        .map(|n| {
            let (stack, load) = (Arc::clone(&stack), Arc::clone(&load));
            tokio::spawn(async move {
                if n < SENDERS { load.send(&stack).await } else { load.keep_sending(&stack).await }
            })
        })
        .collect();
    let enough = load.acknowledged.reaches(TEN_SECONDS, |all| all.len() >= ACKNOWLEDGED_BEFORE).await;
    assert!(enough, "only {} were acknowledged", load.acknowledged.len());
    let slow: Vec<_> = (0..SLOW)
        .map(|n| {
            let client = stack.client();
            tokio::spawn(async move { client.send(&Request::get(&format!("/public/slow-{n}"))).await })
        })
        .collect();
    stack.upstream().requests().wait_for("slow", SLOW, |request| request.target.contains("slow")).await;

    let asked = Instant::now();
    stack.signal_gateway(Signal::TERM);
    load.asked.store(true, Ordering::SeqCst);
    is_draining(&stack).await;
    let noticed = asked.elapsed();
    // Who has not heard of it yet is served, and told to leave.
    let late = stack.client().send(&Request::get("/public/late")).await;
    assert!(late.status == 200 && closes(&late), "{late:?}");

    for sender in senders {
        sender.await.expect("every command that was sent is answered whole");
    }
    for (n, request) in slow.into_iter().enumerate() {
        let answer = request.await.expect("every request that was let in is answered");
        assert_eq!((answer.status, answer.text() == page(n)), (200, true), "{n}");
    }
    stack.client().try_send(&Request::get("/public/late")).await.expect_err("the listener is closed");
    let status = stack.gateway_ends().await;
    let took = asked.elapsed();
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    assert!(took < TEN_SECONDS && noticed < Duration::from_secs(1), "{took:?}, noticed after {noticed:?}");

    let acknowledged: HashSet<usize> = load.acknowledged.since(0).into_iter().collect();
    let after = load.acknowledged_after.load(Ordering::SeqCst);
    assert!(after > 0, "no command was on its way when the signal came");
    stack.proxy().heal();
    stack.start_gateway().await;
    for n in &acknowledged {
        stack.delivered(&format!("drain-{n}.")).await;
    }
    // Written past the test harness, which keeps what a test prints until it fails.
    let _ = writeln!(
        std::io::stderr(),
        "drain: readiness failed after {noticed:.1?}, over after {took:.1?}; {SLOW} slow requests and {after} commands \
         answered meanwhile, {} acknowledged and delivered",
        acknowledged.len(),
    );
}

/// Commands that are sent until the signal comes, and what became of them.
#[derive(Default)]
struct Load {
    next: AtomicUsize,
    asked: AtomicBool,
    acknowledged: Journal<usize>,
    acknowledged_after: AtomicUsize,
}

impl Load {
    fn take(&self, n: usize, answer: &Response) {
        assert_eq!(answer.status, 200, "{n}: {}", answer.text());
        self.acknowledged.push(n);
        if self.asked.load(Ordering::SeqCst) {
            self.acknowledged_after.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// As a load balancer, that opens no connection to what is about to end.
    async fn send(&self, stack: &Stack) {
        while !self.asked.load(Ordering::SeqCst) {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            let answer = stack.client().try_send(&command(n)).await;
            self.take(n, &answer.unwrap_or_else(|error| panic!("command {n} was cut: {error}")));
        }
    }

    /// As a client that keeps its connection, and knows nothing of signals: until it is told.
    async fn keep_sending(&self, stack: &Stack) {
        let mut connection = stack.client().connect().await;
        loop {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            connection.write(&command(n).header("host", "x").to_bytes()).await;
            let answer = connection.read("POST").await;
            let answer = answer.unwrap_or_else(|error| panic!("command {n} was cut: {error}"));
            self.take(n, &answer);
            if closes(&answer) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_keeps_its_connection_is_answered_after_a_pause() {
    let stack = Stack::builder().start().await;
    let request = Request::get("/public/kept").header("host", "x").to_bytes();
    let mut connection = stack.client().connect().await;
    connection.write(&request).await;
    assert!(!closes(&connection.read("GET").await.unwrap()));
    stack.signal_gateway(Signal::TERM);
    is_draining(&stack).await;
    // The pause is what is tested: nothing else keeps the instance.
    tokio::time::sleep(Duration::from_secs(1)).await;
    connection.write(&request).await;
    let answer = connection.read("GET").await.expect("a request on a kept connection is answered");
    assert!(answer.status == 200 && closes(&answer), "{answer:?}");
    drop(connection);
    let left = Instant::now();
    assert!(stack.gateway_ends().await.is_some_and(|status| status.success()));
    assert!(left.elapsed() < Duration::from_secs(3), "it waits for nobody: {:?}", left.elapsed());
}

#[tokio::test]
async fn who_never_answers_is_given_up_within_ten_seconds_and_that_is_said() {
    let stack = Stack::builder().start().await;
    stack.upstream().program(|request| (request.path() == "/public/hang").then_some(Answer::Hang));
    let client = stack.client();
    let hanging = tokio::spawn(async move { client.try_send(&Request::get("/public/hang")).await });
    stack.upstream().requests().wait_for("hang", 1, |request| request.path() == "/public/hang").await;
    let asked = Instant::now();
    stack.signal_gateway(Signal::TERM);
    assert!(stack.gateway_ends().await.is_some_and(|status| status.success()));
    let took = asked.elapsed();
    assert!((Duration::from_secs(8)..TEN_SECONDS).contains(&took), "{took:?}");
    let lines = stack.gateway_log().since(0);
    let said = "lockgate: 1 requests were not answered within 8s and are cut";
    assert!(lines.iter().any(|line| line == said), "{lines:#?}");
    let cut = hanging.await.unwrap().unwrap_err();
    assert!(matches!(cut.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{cut}");
    // The log of it is whole all the same.
    assert!(lines.iter().any(|line| line.contains(r#""path":"/public/hang""#)), "{lines:#?}");
}

#[tokio::test]
async fn more_signals_change_nothing() {
    let stack = Stack::builder().start().await;
    stack.upstream().program(|request| {
        (request.path() == "/public/slow").then(|| Answer::status(200).after(Duration::from_secs(1)))
    });
    let client = stack.client();
    let slow = tokio::spawn(async move { client.send(&Request::get("/public/slow")).await });
    stack.upstream().requests().wait_for("slow", 1, |request| request.path() == "/public/slow").await;
    stack.signal_gateway(Signal::TERM);
    is_draining(&stack).await;
    for signal in [Signal::TERM, Signal::INT, Signal::TERM] {
        stack.signal_gateway(signal);
    }
    assert_eq!(slow.await.unwrap().status, 200);
    assert!(stack.gateway_ends().await.is_some_and(|status| status.success()));
}

#[tokio::test]
async fn a_signal_during_the_start_ends_it_at_once() {
    let stack = Stack::builder().start().await;
    for stage in ["written", "admin listens", "listens"] {
        stack.stop_gateway().await;
        let file = stack.directory().join("state/envoy.json");
        std::fs::remove_file(&file).unwrap();
        let process = Process::start("lockgate run", &mut stack.lockgate("run"), Arc::default());
        match stage {
            "written" => {
                while !file.exists() {
                    tokio::task::yield_now().await;
                }
            }
            "admin listens" => stack.admin().wait_for_listener().await,
            _ => stack.client().wait_for_listener().await,
        }
        let asked = Instant::now();
        process.signal(Signal::TERM);
        let status = process.wait_exit(TEN_SECONDS).await;
        assert!(status.success(), "{stage}: {status}");
        assert!(asked.elapsed() < Duration::from_secs(4), "{stage}: {:?}", asked.elapsed());
        stack.client().try_send(&Request::get("/health")).await.expect_err("nobody listens any more");
    }
}
