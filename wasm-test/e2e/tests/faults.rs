//! The promise of the log, held to under fire: what was acknowledged is delivered at least once, and
//! what was refused never arrives.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockgate_e2e::stack::{CONFIG, SLACK_SECRET};
use lockgate_e2e::{Answer, Fault, Journal, Request, Stack, slack};

/// Webhooks that are signed; a forged one is sent beside every tenth.
const WEBHOOKS: usize = 2_400;
/// Senders at a time.
const SENDERS: usize = 24;
/// Something is killed, or goes away, each time so many more have been acknowledged.
const ACKNOWLEDGED_BETWEEN_DISASTERS: usize = 150;
/// For all that was acknowledged to arrive once everything is well again.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_arrives_whatever_is_killed_meanwhile() {
    let seed = std::env::var("FAULTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    let started = Instant::now();
    let config = CONFIG.replace("url: ${UPSTREAM_URL}", "url: ${UPSTREAM_URL}\n  timeout: 1s");
    let stack = Arc::new(Stack::builder().config(&config).concurrency(2).start().await);
    let handled = trouble(&stack, seed);
    let acknowledged: Arc<Journal<usize>> = Arc::default();
    let sent = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));

    let disasters = tokio::spawn(disasters(Arc::clone(&stack), Arc::clone(&acknowledged), Arc::clone(&done)));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| tokio::spawn(sender(Arc::clone(&stack), Arc::clone(&sent), Arc::clone(&acknowledged))))
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    // Wakes the disasters, if they wait for more to be acknowledged.
    acknowledged.push(usize::MAX);
    let disasters = disasters.await.unwrap();
    let sending = started.elapsed();

    stack.proxy().heal();
    handled.all_is_well.store(true, Ordering::SeqCst);
    let acknowledged: HashSet<usize> =
        acknowledged.since(0).into_iter().filter(|n| *n != usize::MAX).collect();
    let all_there = |_: &[usize]| handled.missing(&acknowledged).is_empty();
    handled.order.reaches(PATIENCE, all_there).await;
    let missing = handled.missing(&acknowledged);
    let counts = handled.counts.lock().unwrap().clone();
    let duplicates: usize = counts.values().map(|count| count - 1).sum();
    let unasked = counts.keys().filter(|id| !acknowledged.contains(id)).count();
    // Written past the test harness, which keeps what a test prints until it fails.
    let _ = writeln!(
        std::io::stderr(),
        "faults: seed {seed}, {WEBHOOKS} webhooks, {disasters} disasters, {} acknowledged in {sending:.1?}, all \
         delivered after {:.1?}, {duplicates} duplicates, {unasked} delivered that were not acknowledged",
        acknowledged.len(),
        started.elapsed(),
    );
    assert!(missing.is_empty(), "{} of {} never arrived: {missing:?}", missing.len(), acknowledged.len());
    assert!(acknowledged.len() >= 2_000, "only {} were acknowledged", acknowledged.len());
    assert!(disasters >= 8, "only {disasters} disasters");
    stack.assert_no_trace("forged-webhook");
    assert_eq!(stack.dead_letters().with(""), [], "nothing was refused for good");
}

/// What the upstream has taken, and said so.
#[derive(Default)]
struct Handled {
    order: Journal<usize>,
    counts: Mutex<HashMap<usize, usize>>,
    all_is_well: AtomicBool,
}

impl Handled {
    fn missing(&self, acknowledged: &HashSet<usize>) -> Vec<usize> {
        let counts = self.counts.lock().unwrap();
        acknowledged.iter().filter(|id| !counts.contains_key(id)).copied().collect()
    }
}

/// Publishes that fail at random, and an upstream that does not take everything at once.
fn trouble(stack: &Stack, seed: u64) -> Arc<Handled> {
    let faults = [
        Fault::Refused(429),
        Fault::Refused(503),
        Fault::Slow(Duration::from_millis(400)),
        Fault::AnswerLost,
        Fault::AnswerCut,
        Fault::Reset,
        Fault::Hang,
    ];
    stack.proxy().fail_publishes_at_random(seed, 0.12, &faults);
    let handled: Arc<Handled> = Arc::default();
    let taken = Arc::clone(&handled);
    let generator = Mutex::new(fastrand::Rng::with_seed(seed + 1));
    stack.upstream().program(move |request| {
        let well = taken.all_is_well.load(Ordering::SeqCst);
        let luck = if well { 99 } else { generator.lock().unwrap().u8(..100) };
        match luck {
            0..6 => Some(Answer::status(429)),
            6..12 => Some(Answer::status(500)),
            12..18 => Some(Answer::Reset),
            18..20 => Some(Answer::Hang),
            _ => {
                let id = number(request).unwrap_or_else(|| panic!("an unknown request: {request:?}"));
                *taken.counts.lock().unwrap().entry(id).or_default() += 1;
                taken.order.push(id);
                None
            }
        }
    });
    handled
}

/// A webhook's number, where its body is the one that was sent with it.
fn number(request: &Request) -> Option<usize> {
    let body = request.json();
    let id = body["event_id"].as_str()?.strip_prefix("Ev-fault-")?.parse().ok()?;
    (body["event"]["text"] == text(id) && request.path() == "/slack/event").then_some(id)
}

fn text(id: usize) -> String {
    format!("webhook {id} {}", "ü&=\"\\ ".repeat(id % 50))
}

/// Sends webhooks until there are none left. A webhook that was not acknowledged is sent again, as
/// Slack would, three times.
async fn sender(stack: Arc<Stack>, sent: Arc<AtomicUsize>, acknowledged: Arc<Journal<usize>>) {
    let client = stack.client().with_deadline(Duration::from_secs(3));
    loop {
        let id = sent.fetch_add(1, Ordering::SeqCst);
        if id >= WEBHOOKS {
            return;
        }
        let event = slack::event("/slack/event", &format!("Ev-fault-{id}"), &text(id));
        if id.is_multiple_of(10) {
            let forged = slack::event("/slack/event", "Ev-forged", "forged-webhook");
            if let Ok(answer) = client.try_send(&slack::signed(forged, "a wrong secret")).await {
                assert!(answer.status >= 400, "{} {}", answer.status, answer.text());
            }
        }
        for _ in 0..4 {
            // Until somebody listens: a sender in a hurry would spend its webhooks on a closed port.
            stack.gateway_serves().await;
            let answer = client.try_send(&slack::signed(event.clone(), SLACK_SECRET)).await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                acknowledged.push(id);
                break;
            }
        }
    }
}

/// One after the other, each when enough has been acknowledged since the last; how many there were.
async fn disasters(stack: Arc<Stack>, acknowledged: Arc<Journal<usize>>, done: Arc<AtomicBool>) -> usize {
    for round in 0.. {
        let enough = (round + 1) * ACKNOWLEDGED_BETWEEN_DISASTERS;
        let due = acknowledged
            .reaches(Duration::from_secs(60), |all| all.len() >= enough || done.load(Ordering::SeqCst));
        if !due.await || done.load(Ordering::SeqCst) {
            return round;
        }
        match round % 5 {
            0 | 3 => {
                stack.kill_gateway();
                stack.start_gateway().await;
            }
            1 => {
                stack.kill_services();
                stack.proxy().leave().await;
                stack.start_services().await;
                stack.proxy().come_back();
            }
            2 => stack.upstream().leave().await,
            _ => {
                stack.kill_services();
                stack.kill_gateway();
                stack.start_services().await;
                stack.start_gateway().await;
            }
        }
        if round % 5 != 2 {
            stack.upstream().come_back();
        }
    }
    unreachable!("the rounds do not end by themselves")
}
