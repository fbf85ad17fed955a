//! Wall-clock time in milliseconds, and its RFC 3339 text. The only file that reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Milliseconds since the Unix epoch.
pub(crate) type Millis = i64;

pub(crate) fn now() -> Millis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since_epoch.as_millis()).unwrap_or(Millis::MAX)
}

/// `2026-11-22T04:00:00.000Z`, the form of Pub/Sub's `publishTime`.
pub(crate) fn rfc3339(at: Millis) -> String {
    match Timestamp::from_millisecond(at) {
        Ok(timestamp) => format!("{timestamp:.3}"),
        Err(_) => format!("{:.3}", Timestamp::UNIX_EPOCH),
    }
}

pub(crate) fn parse_rfc3339(text: &str) -> Option<Millis> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_times_always_carry_milliseconds_and_read_back() {
        assert_eq!(rfc3339(1_795_320_000_000), "2026-11-22T04:00:00.000Z");
        assert_eq!(parse_rfc3339("2026-11-22T04:00:00Z"), Some(1_795_320_000_000));
        assert_eq!(parse_rfc3339("2026-11-22T05:00:00.007+01:00"), Some(1_795_320_000_007));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
