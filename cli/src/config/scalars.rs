//! Scalars that say their unit. Each takes a text too, because an interpolated number is one.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

/// A time: `540s`, `2.8s`, `900ms`, `10m`, `12h`.
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

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

/// Texts: a list, or one text with commas between them, as a variable has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Texts(pub(super) Vec<String>);

/// The longest time that is of use anywhere, in milliseconds: 30 days.
const LONGEST: f64 = 2_592_000_000.0;

fn parse_span(text: &str) -> Option<Duration> {
    let (number, milliseconds) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1_000.0)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60_000.0)
    } else {
        (text.strip_suffix('h')?, 3_600_000.0)
    };
    let value: f64 = number.parse().ok()?;
    let total = (value * milliseconds).round();
    (number.starts_with(|c: char| c.is_ascii_digit()) && (1.0..=LONGEST).contains(&total))
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

from_scalar!(Span, parse_span, "a time with its unit, for example 540s, 2.8s, 900ms or 12h");
from_scalar!(Size, parse_size, "a number of bytes, for example 1MiB, 64KiB or 4096");
from_scalar!(Count, |text: &str| text.parse().ok(), "a whole number, for example 2");
from_scalar!(Flag, |text: &str| text.parse().ok(), "true or false");
from_scalar!(StatusSet, parse_status, "a status or a class of them, for example 429 or 5xx");

fn scalar_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match serde_norway::Value::deserialize(deserializer)? {
        serde_norway::Value::String(text) => Ok(text),
        serde_norway::Value::Number(number) => Ok(number.to_string()),
        serde_norway::Value::Bool(flag) => Ok(flag.to_string()),
        _ => Ok(String::new()),
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = || D::Error::custom("expected a list of texts, or one text with commas between them");
        match serde_norway::Value::deserialize(deserializer)? {
            serde_norway::Value::String(text) => {
                let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
                Ok(Self(texts.map(str::to_owned).collect()))
            }
            serde_norway::Value::Sequence(items) => {
                // An item whose variable is not set is no item; whether any are left is asked later.
                let items = items.into_iter().filter(|item| !item.is_null());
                let texts = items.map(|item| item.as_str().map(str::to_owned).ok_or_else(expected));
                Ok(Self(texts.collect::<Result<_, _>>()?))
            }
            _ => Err(expected()),
        }
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
        assert_eq!(parse_span("12h"), Some(Duration::from_secs(43_200)));
        for wrong in ["", "5", "s", "-1s", "0s", "1d", "721h", "NaNs", "infs", "1e99s"] {
            assert_eq!(parse_span(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn texts_are_a_list_or_have_commas_between_them() {
        let read = |yaml: &str| serde_norway::from_str::<Texts>(yaml).map(|texts| texts.0);
        assert_eq!(read("a.com, b.com,").unwrap(), ["a.com", "b.com"]);
        assert_eq!(read("[a.com, 'b,c']").unwrap(), ["a.com", "b,c"]);
        assert_eq!(read("[null]").unwrap(), Vec::<String>::new());
        assert!(read("{a: b}").is_err() && read("[[a]]").is_err() && read("1").is_err());
    }

    #[test]
    fn a_flag_may_come_from_a_variable() {
        let read = |yaml: &str| serde_norway::from_str::<Flag>(yaml).map(|flag| flag.0).ok();
        assert_eq!(["true", "'false'", "'yes'", "1"].map(read), [Some(true), Some(false), None, None]);
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
