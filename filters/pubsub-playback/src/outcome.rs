//! What the upstream's answer means for a message.

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream has taken it.
    Delivered,
    /// Not now: Pub/Sub is to send it again.
    Retry,
    /// Never like this: kept as a dead letter.
    Permanent,
}

/// Which statuses mean what; 2xx always means delivered.
pub struct StatusMap {
    retry: Vec<(u16, u16)>,
    permanent: Vec<(u16, u16)>,
}

/// Retried unless configured otherwise: the upstream's time-outs, early data, its limits, its
/// failures, and what the proxy says when it could not be reached.
pub const RETRY: &[&str] = &["408", "425", "429", "5xx"];

/// Permanent although of a class that is retried: a loop stays one.
pub const PERMANENT: &[&str] = &["508"];

impl StatusMap {
    /// Reads two lists of `404` or `4xx`; `None` when an entry is neither.
    pub fn parse(retry: &[String], permanent: &[String]) -> Option<Self> {
        Some(Self { retry: ranges(retry)?, permanent: ranges(permanent)? })
    }

    /// What a status means. Whatever is not known to be temporary is permanent: a dead letter can be
    /// seen and replayed, an endless retry slows everything behind it.
    pub fn outcome(&self, status: u16) -> Outcome {
        let listed =
            |ranges: &[(u16, u16)]| ranges.iter().any(|(least, most)| (*least..=*most).contains(&status));
        if (200..300).contains(&status) {
            Outcome::Delivered
        } else if listed(&self.retry) && !listed(&self.permanent) {
            Outcome::Retry
        } else {
            Outcome::Permanent
        }
    }
}

fn ranges(entries: &[String]) -> Option<Vec<(u16, u16)>> {
    let range = |entry: &String| {
        let (least, width) = match entry.strip_suffix("xx") {
            Some(class) => (class.parse::<u16>().ok()?.checked_mul(100)?, 99),
            None => (entry.parse().ok()?, 0),
        };
        (300..=599).contains(&least).then_some((least, least + width))
    };
    entries.iter().map(range).collect()
}
