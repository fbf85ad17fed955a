//! Latencies of one measurement, all of them: percentiles are exact.

use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Latencies {
    nanoseconds: Vec<u64>,
}

impl Latencies {
    pub(super) fn push(&mut self, latency: Duration) {
        self.nanoseconds.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The smallest latency that `percent` of all do not exceed (nearest rank), in milliseconds.
    pub(crate) fn percentiles_ms<const N: usize>(mut self, percents: [f64; N]) -> [f64; N] {
        self.nanoseconds.sort_unstable();
        percents.map(|percent| {
            let rank = (percent / 100.0 * self.nanoseconds.len() as f64).ceil() as usize;
            let found = self.nanoseconds.get(rank.saturating_sub(1)).copied();
            found.map_or(f64::NAN, |nanoseconds| nanoseconds as f64 / 1e6)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let mut latencies = Latencies::default();
        for milliseconds in (1..=100).rev() {
            latencies.push(Duration::from_millis(milliseconds));
        }
        assert_eq!(latencies.percentiles_ms([0.5, 50.0, 90.0, 99.0, 100.0]), [1.0, 50.0, 90.0, 99.0, 100.0]);
        assert!(Latencies::default().percentiles_ms([50.0])[0].is_nan());
    }
}
