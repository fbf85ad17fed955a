//! Scalars that say their unit. Each takes a text too, because an interpolated number is one.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

/// A time: `540s`, `2.8s`, `900ms`, `10m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) Duration);

/// A number of bytes: `1MiB`, `64KiB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count(pub(super) u32);

/// A status or a class of them: `429`, `5xx`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatusSet(pub(super) String);

fn parse_span(text: &str) -> Option<Duration> {
    let (number, milliseconds) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1_000.0)
    } else {
        (text.strip_suffix('m')?, 60_000.0)
    };
    let value: f64 = number.parse().ok()?;
    let total = (value * milliseconds).round();
    (number.starts_with(|c: char| c.is_ascii_digit()) && (1.0..=86_400_000.0).contains(&total))
        .then(|| Duration::from_millis(total as u64))
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = if let Some(number) = text.strip_suffix("MiB") {
        (number, 1 << 20)
    } else if let Some(number) = text.strip_suffix("KiB") {
        (number, 1 << 10)
    } else {
        (text, 1)
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|&size| size > 0)
}

fn parse_status(text: &str) -> Option<String> {
    let class = matches!(text.as_bytes(), [b'1'..=b'5', b'x', b'x']);
    let status = text.parse::<u16>().is_ok_and(|status| (100..=599).contains(&status)) && text.len() == 3;
    (class || status).then(|| text.to_owned())
}

macro_rules! from_scalar {
    ($type:ident, $parse:expr, $expected:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = scalar_text(deserializer)?;
                $parse(&text).map(Self).ok_or_else(|| {
                    D::Error::custom(format!("given \"{}\", expected {}", text.escape_debug(), $expected))
                })
            }
        }
    };
}

from_scalar!(Span, parse_span, "a time with its unit, for example 540s, 2.8s or 900ms");
from_scalar!(Size, parse_size, "a number of bytes, for example 1MiB, 64KiB or 4096");
from_scalar!(Count, |text: &str| text.parse().ok(), "a whole number, for example 2");
from_scalar!(StatusSet, parse_status, "a status or a class of them, for example 429 or 5xx");

fn scalar_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match serde_norway::Value::deserialize(deserializer)? {
        serde_norway::Value::String(text) => Ok(text),
        serde_norway::Value::Number(number) => Ok(number.to_string()),
        _ => Ok(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_a_unit() {
        assert_eq!(parse_span("2.8s"), Some(Duration::from_millis(2800)));
        assert_eq!(parse_span("900ms"), Some(Duration::from_millis(900)));
        assert_eq!(parse_span("10m"), Some(Duration::from_secs(600)));
        for wrong in ["", "5", "s", "-1s", "0s", "1h", "NaNs", "infs", "1e99s"] {
            assert_eq!(parse_span(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_and_statuses() {
        assert_eq!(parse_size("1MiB"), Some(1_048_576));
        assert_eq!(parse_size("0"), None);
        assert_eq!(parse_size("1GB"), None);
        assert!(parse_status("5xx").is_some() && parse_status("429").is_some());
        assert!(parse_status("6xx").is_none() && parse_status("42").is_none() && parse_status("x").is_none());
    }
}
