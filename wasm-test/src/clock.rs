//! Time under the test's control, and what is due when.

use std::collections::BTreeMap;
use std::time::Duration;

/// Nanoseconds since 1970-01-01T00:00:00Z.
pub(crate) type Nanos = u64;

/// 2026-11-22T04:00:00Z, unless the test says otherwise.
pub(crate) const DEFAULT_START: Nanos = 1_795_320_000_000_000_000;

/// A clock that stands still until it is moved, and the events that wait for it.
#[derive(Debug)]
pub(crate) struct Clock<E> {
    started: Nanos,
    now: Nanos,
    sequence: u64,
    due: BTreeMap<(Nanos, u64), E>,
}

impl<E> Clock<E> {
    pub(crate) fn new(now: Nanos) -> Self {
        Self { started: now, now, sequence: 0, due: BTreeMap::new() }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    /// Time since the clock was made.
    pub(crate) fn monotonic(&self) -> Nanos {
        self.now.saturating_sub(self.started).saturating_add(1)
    }

    /// Plans `event`; events of one instant happen in the order they were planned.
    pub(crate) fn plan(&mut self, delay: Duration, event: E) {
        let at = self.after(delay);
        self.sequence = self.sequence.saturating_add(1);
        self.due.insert((at, self.sequence), event);
    }

    pub(crate) fn after(&self, delay: Duration) -> Nanos {
        self.now.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Takes the next event that is due no later than `limit`, and moves the clock to it.
    pub(crate) fn next(&mut self, limit: Nanos) -> Option<E> {
        let (at, _) = *self.due.first_key_value()?.0;
        if at > limit {
            return None;
        }
        self.now = self.now.max(at);
        self.due.pop_first().map(|(_, event)| event)
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<Nanos> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves the clock; never back.
    pub(crate) fn set(&mut self, now: Nanos) {
        self.now = self.now.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_time_then_of_their_planning() {
        let mut clock = Clock::new(100);
        clock.plan(Duration::from_nanos(5), "late");
        clock.plan(Duration::ZERO, "first");
        clock.plan(Duration::ZERO, "second");
        assert_eq!(clock.next(102), Some("first"));
        assert_eq!(clock.next(102), Some("second"));
        assert_eq!(clock.next(102), None);
        assert_eq!(clock.next(105), Some("late"));
        assert_eq!(clock.now(), 105);
    }
}
