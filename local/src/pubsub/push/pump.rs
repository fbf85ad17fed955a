//! The pump of one subscription: sends what is due, a bounded number at a time, and sleeps until something happens.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::clock::{self, Millis};
use crate::identity::Issuer;
use crate::pubsub::registry::Registry;
use crate::pubsub::resource::Subscription;
use crate::store::{Store, deliveries};

use super::attempt::{Outcome, attempt};
use super::endpoint::Endpoint;

/// Pushes in progress at once.
const WINDOW: usize = 64;

/// While there is no endpoint, one message at a time tries, first after the shorter pause, then after ever longer ones.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest sleep: a laptop's clocks do not agree about the time it was shut.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What one subscription's deliveries need.
pub(in crate::pubsub) struct Pump {
    pub(super) id: i64,
    pub(super) live: Registry,
    pub(super) store: Store,
    pub(super) issuer: Arc<Issuer>,
    pub(super) endpoint: Endpoint,
}

impl Pump {
    pub(in crate::pubsub) fn new(
        id: i64,
        live: Registry,
        store: Store,
        issuer: Arc<Issuer>,
        endpoint: Endpoint,
    ) -> Self {
        Self { id, live, store, issuer, endpoint }
    }

    /// Delivers until the subscription is deleted. While it is not a push subscription there is nothing to do.
    pub(in crate::pubsub) async fn run(
        self,
        mut changes: watch::Receiver<Arc<Subscription>>,
        mut arrivals: watch::Receiver<()>,
    ) {
        let pump = Arc::new(self);
        let mut outstanding = Outstanding::default();
        loop {
            arrivals.borrow_and_update();
            let subscription = changes.borrow_and_update().clone();
            let sleep = pump.send_due(&subscription, &mut outstanding).await;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                arrived = arrivals.changed(), if outstanding.room() > 0 => if arrived.is_err() {
                    return;
                },
                () = outstanding.finished() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Starts what is due and has room, and says how long there will be nothing else to start.
    async fn send_due(
        self: &Arc<Self>,
        subscription: &Arc<Subscription>,
        outstanding: &mut Outstanding,
    ) -> Duration {
        let room = outstanding.room();
        if !subscription.is_push() || room == 0 {
            return LONGEST_SLEEP;
        }
        if let Some(pause) = outstanding.pause() {
            return pause;
        }
        let (id, leased, now) = (self.id, outstanding.leased(), clock::now());
        let due = match self.store.read(move |tx| deliveries::due(tx, id, now, room, &leased)).await {
            Ok(due) => due,
            Err(error) => {
                log::error!("{}: what is due could not be read: {error}", subscription.name);
                return LONGEST_PAUSE;
            }
        };
        for delivery in due.deliveries {
            let message = delivery.message.id;
            outstanding.start(message, attempt(Arc::clone(self), Arc::clone(subscription), delivery));
        }
        due.next.map_or(LONGEST_SLEEP, until)
    }
}

fn until(due: Millis) -> Duration {
    // One millisecond more, so that the clock has passed the time when it is compared.
    let millis = u64::try_from(due - clock::now() + 1).unwrap_or_default();
    Duration::from_millis(millis).min(LONGEST_SLEEP)
}

/// The pushes in progress, and the pause after a failure.
#[derive(Default)]
struct Outstanding {
    attempts: JoinSet<Outcome>,
    messages: HashMap<Id, i64>,
    failures: u32,
    paused_until: Option<Instant>,
}

impl Outstanding {
    fn start(&mut self, message: i64, attempt: impl Future<Output = Outcome> + Send + 'static) {
        let task = self.attempts.spawn(attempt);
        self.messages.insert(task.id(), message);
    }

    /// How many more may be started: after a failure, only one to find out whether it is over.
    fn room(&self) -> usize {
        let window = if self.failures > 0 { 1 } else { WINDOW };
        window.saturating_sub(self.messages.len())
    }

    fn pause(&self) -> Option<Duration> {
        let left = self.paused_until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn leased(&self) -> HashSet<i64> {
        self.messages.values().copied().collect()
    }

    /// Waits until at least one attempt has ended, and takes in all that have. Never, if there are none.
    async fn finished(&mut self) {
        let Some(first) = self.attempts.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let mut next = Some(first);
        while let Some(ended) = next {
            self.record(ended);
            next = self.attempts.try_join_next_with_id();
        }
    }

    fn record(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (task, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Outcome::Failed),
        };
        self.messages.remove(&task);
        match outcome {
            Outcome::Answered => {
                self.failures = 0;
                self.paused_until = None;
            }
            // Pushes that were in progress together fail together, which is one failure.
            Outcome::Failed if self.pause().is_some() => {}
            Outcome::Failed => {
                let pause = SHORTEST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
                self.failures += 1;
                self.paused_until = Some(Instant::now() + pause);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ended(outstanding: &mut Outstanding, outcomes: &[Outcome]) {
        for (message, outcome) in (0..).zip(outcomes.to_owned()) {
            outstanding.start(message, async move { outcome });
        }
        while !outstanding.messages.is_empty() {
            outstanding.finished().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_endpoint_one_message_at_a_time_tries_after_ever_longer_pauses() {
        let mut outstanding = Outstanding::default();
        assert_eq!((outstanding.room(), outstanding.pause()), (64, None));
        let mut pauses = Vec::new();
        for failures in [64, 1, 1, 1, 1, 1] {
            ended(&mut outstanding, &vec![Outcome::Failed; failures]).await;
            assert_eq!(outstanding.room(), 1);
            let pause = outstanding.pause().unwrap();
            pauses.push(pause.as_millis());
            tokio::time::advance(pause).await;
            assert_eq!(outstanding.pause(), None);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        ended(&mut outstanding, &[Outcome::Answered]).await;
        assert_eq!((outstanding.room(), outstanding.pause()), (64, None));
    }

    #[tokio::test]
    async fn an_attempt_that_panics_gives_its_place_back() {
        let mut outstanding = Outstanding::default();
        outstanding.start(1, async { panic!("on purpose") });
        outstanding.finished().await;
        assert_eq!(outstanding.leased(), HashSet::new());
        assert!(outstanding.pause().is_some());
    }
}
