//! What happened, in order, and a way to wait until it has.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How long a test waits for an event before it fails, unless it says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Entries in the order they were made.
#[derive(Debug)]
pub struct Journal<T> {
    entries: Mutex<Vec<T>>,
    length: watch::Sender<usize>,
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self { entries: Mutex::default(), length: watch::Sender::new(0) }
    }
}

impl<T: Clone> Journal<T> {
    /// Adds an entry and wakes whoever waits.
    pub fn push(&self, entry: T) {
        let mut entries = self.lock();
        entries.push(entry);
        let length = entries.len();
        drop(entries);
        self.length.send_modify(|known| *known = length.max(*known));
    }

    /// How many entries there are: the position to give to [`Journal::since`] later.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is no entry yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries from a position on.
    pub fn since(&self, position: usize) -> Vec<T> {
        self.lock().get(position..).unwrap_or_default().to_vec()
    }

    /// The entries that satisfy a condition.
    pub fn matching(&self, matches: impl Fn(&T) -> bool) -> Vec<T> {
        self.lock().iter().filter(|e| matches(e)).cloned().collect()
    }

    /// Waits until `enough` holds of all entries; `false` after `deadline`.
    pub async fn reaches(&self, deadline: Duration, enough: impl Fn(&[T]) -> bool) -> bool {
        let mut length = self.length.subscribe();
        let reached = async {
            while !enough(&self.lock()) {
                let _ = length.changed().await;
            }
        };
        tokio::time::timeout(deadline, reached).await.is_ok()
    }

    /// Waits for the first `count` entries that satisfy a condition and returns all that do.
    ///
    /// # Panics
    /// When there are still fewer after [`PATIENCE`].
    pub async fn wait_for(&self, what: &str, count: usize, matches: impl Fn(&T) -> bool) -> Vec<T> {
        self.reaches(PATIENCE, |all| all.iter().filter(|e| matches(e)).count() >= count).await;
        let found = self.matching(matches);
        assert!(
            found.len() >= count,
            "waited {PATIENCE:?} for {what}: {} of {count}, among {} entries",
            found.len(),
            self.len()
        );
        found
    }

    // A test that panicked while it looked is no reason for the others to fail.
    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn an_entry_made_while_somebody_waits_wakes_them() {
        let journal = Arc::new(Journal::default());
        let writer = Arc::clone(&journal);
        let waiting = tokio::spawn(async move { journal.wait_for("two", 2, |n| *n > 0).await });
        for n in [0, 1, 2] {
            writer.push(n);
            tokio::task::yield_now().await;
        }
        assert_eq!(waiting.await.unwrap(), [1, 2]);
    }

    #[tokio::test]
    async fn a_deadline_ends_the_wait() {
        let journal = Journal::<u8>::default();
        assert!(!journal.reaches(Duration::from_millis(5), |all| !all.is_empty()).await);
    }
}
