//! How long a message that was not acknowledged waits before it is delivered again, in milliseconds.

use crate::pubsub::resource::RetryPolicy;

/// Google's push back-off starts here and cannot be switched off; here it is a floor for retry policies too, so that
/// no endpoint that refuses everything is asked in a loop.
const FLOOR: i64 = 100;

/// Without a retry policy the back-off grows to this.
const CEILING: i64 = 60_000;

/// The wait after the given number of failed attempts: doubled each time, within the policy's limits.
pub(in crate::pubsub) fn backoff(policy: Option<&RetryPolicy>, failures: u32) -> i64 {
    let (least, most) = match policy {
        Some(policy) => (policy.minimum_backoff.millis(), policy.maximum_backoff.millis()),
        None => (FLOOR, CEILING),
    };
    let doublings = failures.saturating_sub(1).min(20);
    (least.max(1) << doublings).min(most).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn waits_double_between_the_limits_and_are_never_nothing() {
        let policy: RetryPolicy =
            serde_json::from_value(json!({ "minimumBackoff": "10s", "maximumBackoff": "600s" })).unwrap();
        let waits: Vec<i64> =
            [1, 2, 3, 6, 7, 8, 1000].map(|failures| backoff(Some(&policy), failures)).to_vec();
        assert_eq!(waits, [10_000, 20_000, 40_000, 320_000, 600_000, 600_000, 600_000]);

        let none: RetryPolicy =
            serde_json::from_value(json!({ "minimumBackoff": "0s", "maximumBackoff": "0s" })).unwrap();
        assert_eq!(backoff(Some(&none), 3), 100);
        assert_eq!([1, 2, 11].map(|failures| backoff(None, failures)), [100, 200, 60_000]);
    }
}
