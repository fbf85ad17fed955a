//! What a test can look at afterwards: log lines, host calls, metrics.

use std::collections::BTreeMap;
use std::fmt;

/// How urgent a log line is; the order of the ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Trace.
    Trace = 0,
    /// Debug.
    Debug = 1,
    /// Info, from where lines are kept unless the builder says otherwise.
    #[default]
    Info = 2,
    /// Warning.
    Warn = 3,
    /// Error.
    Error = 4,
    /// Critical; also what the proxy says when a VM fails.
    Critical = 5,
}

impl Level {
    pub(crate) fn from_abi(level: u32) -> Option<Self> {
        let all = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical];
        all.into_iter().find(|known| *known as u32 == level)
    }
}

/// A line of the proxy's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How urgent it is.
    pub level: Level,
    /// Which filter wrote it; empty for the proxy itself.
    pub root_id: String,
    /// The line.
    pub message: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{:?}] {}: {}", self.level, self.root_id, self.message)
    }
}

/// Log lines, printable and searchable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs(pub Vec<LogLine>);

impl Logs {
    /// Whether a line contains `text`.
    pub fn contains(&self, text: &str) -> bool {
        self.0.iter().any(|line| line.message.contains(text))
    }

    /// The lines that contain `text`.
    pub fn matching<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a LogLine> {
        self.0.iter().filter(move |line| line.message.contains(text))
    }
}

impl fmt::Display for Logs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

/// How often each host function was called, by its ABI name (`proxy_get_property`,
/// `wasi_snapshot_preview1.random_get`, …).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCalls(BTreeMap<&'static str, u64>);

impl HostCalls {
    /// How often `name` was called.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All calls together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// What was called since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let later = self.0.iter().map(|(name, count)| (*name, count - earlier.of(name).min(*count)));
        Self(later.filter(|(_, count)| *count > 0).collect())
    }

    /// All names that were called, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }

    pub(crate) fn add(&mut self, name: &'static str) {
        *self.0.entry(name).or_insert(0) += 1;
    }
}

impl fmt::Display for HostCalls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, count)| writeln!(formatter, "{count:>6} {name}"))
    }
}

/// The metrics that the filters have defined, by the names they gave them (Envoy puts `wasmcustom.`
/// before each).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) gauges: BTreeMap<String, i64>,
    pub(crate) histograms: BTreeMap<String, Vec<u64>>,
}

impl Metrics {
    /// A counter's value; 0 where it was not defined.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// A gauge's value; 0 where it was not defined.
    pub fn gauge(&self, name: &str) -> i64 {
        self.gauges.get(name).copied().unwrap_or(0)
    }

    /// The values recorded in a histogram, in order.
    pub fn histogram(&self, name: &str) -> &[u64] {
        self.histograms.get(name).map_or(&[], Vec::as_slice)
    }

    /// The names of all metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.counters.keys().chain(self.gauges.keys()).chain(self.histograms.keys());
        names.map(String::as_str)
    }
}
