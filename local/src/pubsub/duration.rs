//! A duration as Protocol Buffers write it in JSON: `"10s"`, `"0.5s"`.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whole milliseconds, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Duration(i64);

impl Duration {
    pub(super) const fn from_seconds(seconds: i64) -> Self {
        Self(seconds * 1000)
    }

    pub(super) const fn millis(self) -> i64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let seconds = text.strip_suffix('s')?;
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return None;
        }
        let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
        Some(Self(whole.parse::<i64>().ok()? * 1000 + thousandths.parse::<i64>().ok()?))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| Error::invalid_value(Unexpected::Str(&text), &"a duration such as \"10s\""))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0 / 1000, self.0 % 1000) {
            (seconds, 0) => serializer.collect_str(&format_args!("{seconds}s")),
            (seconds, millis) => serializer.collect_str(&format_args!("{seconds}.{millis:03}s")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (text, millis) in [("10s", 10_000), ("0s", 0), ("0.5s", 500), ("1.250s", 1_250), ("0.0005s", 0)] {
            assert_eq!(Duration::parse(text), Some(Duration(millis)), "{text}");
        }
        for text in ["", "s", "10", "-1s", "1e3s", "1.s", ".5s", "10 s", "99999999999s"] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
        assert_eq!(serde_json::to_string(&Duration(500)).unwrap(), "\"0.500s\"");
        assert_eq!(serde_json::to_string(&Duration(10_000)).unwrap(), "\"10s\"");
    }
}
