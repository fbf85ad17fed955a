//! The project's targets beside what was measured. Where a section was not run its targets are left out.

use super::Report;
use crate::sections::{
    BARE, KNOWN, KNOWN_ALONE, MEMORY_BARE, MEMORY_PRECOMPILED, MEMORY_WHOLE, NGINX, NO_GUARD, UNKNOWN,
};
use crate::stats::Spread;

const LOG: &str = "Lockgate, log.wasm";
const WHOLE: &str = "Lockgate, lockgate.wasm";
const LOG_PRECOMPILED: &str = "lockgate run, log.wasm, precompiled";
const WHOLE_PRECOMPILED: &str = "lockgate run, lockgate.wasm, precompiled";
const TOKEN: &str = "Lockgate, lockgate.wasm, token";
const SESSION: &str = "Lockgate, lockgate.wasm, session";

/// A target.
pub(super) struct Target {
    pub(super) figure: &'static str,
    /// `×` for a ratio.
    pub(super) unit: &'static str,
    pub(super) measured: Spread,
    /// What it may be; for throughput what it must be at least.
    pub(super) at_most: f64,
    pub(super) aim: Option<f64>,
    more_is_better: bool,
}

/// What is to be said of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    AimMet,
    Met,
    NotMet,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::AimMet => "aim met",
            Self::Met => "met",
            Self::NotMet => "not met",
        }
    }
}

impl Target {
    /// By the median.
    pub(super) fn verdict(&self) -> Verdict {
        let within = |bound: f64| {
            if self.more_is_better { self.measured.median >= bound } else { self.measured.median <= bound }
        };
        match self.aim {
            Some(aim) if within(aim) => Verdict::AimMet,
            _ if within(self.at_most) => Verdict::Met,
            _ => Verdict::NotMet,
        }
    }
}

pub(super) fn all(report: &Report) -> Vec<Target> {
    let ratio = |table: &str, row: &str, reference: &str, quantity: &str| {
        report.table(table)?.ratio_of(row, reference, quantity)
    };
    let value = |table: &str, row: &str, quantity: &str| {
        let table = report.table(table)?;
        table.spread(table.row(row)?, quantity)
    };
    let difference = |table: &str, row: &str, reference: &str, quantity: &str| {
        report.table(table)?.difference(row, reference, quantity)
    };
    let target = |figure, unit, measured: Option<Spread>, at_most, aim| {
        measured.map(|measured| Target { figure, unit, measured, at_most, aim, more_is_better: false })
    };
    let first = "first_answer_ms";
    let cpu = "cpu_us";
    let targets = [
        target(
            "exec to first answer, `log.wasm` chain as the container starts it, against bare Envoy",
            "×",
            ratio("cold-start", LOG_PRECOMPILED, BARE, first),
            2.5,
            Some(2.0),
        ),
        target(
            "the same where V8 compiles at the start",
            "×",
            ratio("cold-start", LOG, BARE, first),
            2.5,
            Some(2.0),
        ),
        target(
            "exec to first answer, whole chain as the container starts it, against bare Envoy",
            "×",
            ratio("cold-start", WHOLE_PRECOMPILED, BARE, first),
            3.5,
            Some(2.5),
        ),
        target(
            "the same where V8 compiles at the start",
            "×",
            ratio("cold-start", WHOLE, BARE, first),
            3.5,
            Some(2.5),
        ),
        target(
            "exec to first answer, whole chain, compiled at the start",
            "ms",
            value("cold-start", WHOLE, first),
            400.0,
            None,
        ),
        target(
            "CPU a request, known token, against native `jwt_authn` with its cache and `rbac`",
            "×",
            ratio("door-known", TOKEN, KNOWN, cpu),
            1.35,
            Some(1.15),
        ),
        target(
            "CPU a request, known session, against the same",
            "×",
            ratio("door-known", SESSION, KNOWN, cpu),
            1.35,
            Some(1.15),
        ),
        target(
            "CPU a request, known token, against `jwt_authn` with its cache alone, which lets everybody in",
            "×",
            ratio("door-known", TOKEN, KNOWN_ALONE, cpu),
            1.35,
            Some(1.15),
        ),
        target(
            "CPU, first sight of an RS256 token, against native `jwt_authn` without a cache",
            "×",
            ratio("door-first-sight", WHOLE, UNKNOWN, cpu),
            1.2,
            Some(1.0),
        ),
        target(
            "Slack command of 300 B at saturation, against nginx with Lua: CPU a request",
            "×",
            ratio("slack-300", LOG, NGINX, cpu),
            1.0,
            Some(0.8),
        ),
        ratio("slack-300", LOG, NGINX, "per_second").map(|measured| Target {
            figure: "the same: requests a second (at least)",
            unit: "×",
            measured,
            at_most: 1.0,
            aim: None,
            more_is_better: true,
        }),
        target(
            "a lone Slack command, against bare Envoy proxying it one hop: CPU",
            "×",
            ratio("lone", LOG, BARE, cpu),
            1.5,
            Some(1.3),
        ),
        target("the same: more latency, median", "ms", difference("lone", LOG, BARE, "p50_ms"), 1.0, None),
        target(
            "memory over bare Envoy, two workers, whole chain as the container starts it, at rest",
            "MB",
            difference("memory", MEMORY_PRECOMPILED, MEMORY_BARE, "rest_mb"),
            40.0,
            Some(25.0),
        ),
        target(
            "the same, under load",
            "MB",
            difference("memory", MEMORY_PRECOMPILED, MEMORY_BARE, "load_mb"),
            40.0,
            Some(25.0),
        ),
        target(
            "memory over bare Envoy, two workers, whole chain, compiled at the start, at rest",
            "MB",
            difference("memory", MEMORY_WHOLE, MEMORY_BARE, "rest_mb"),
            40.0,
            Some(25.0),
        ),
        target(
            "the same, under load",
            "MB",
            difference("memory", MEMORY_WHOLE, MEMORY_BARE, "load_mb"),
            40.0,
            Some(25.0),
        ),
        // None of its code is to run: what cannot be told from nothing on a quiet machine.
        target(
            "CPU of a request that needs no filter, against the same listener without filters",
            "×",
            ratio("door-not-needed", WHOLE, NO_GUARD, cpu),
            1.05,
            None,
        ),
    ];
    targets.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(median: f64, more_is_better: bool) -> Target {
        let measured = Spread { median, low: median, high: median };
        Target { figure: "x", unit: "×", measured, at_most: 1.0, aim: Some(0.8), more_is_better }
    }

    #[test]
    fn a_target_is_met_within_its_bound() {
        assert_eq!(target(0.8, false).verdict(), Verdict::AimMet);
        assert_eq!(target(0.81, false).verdict(), Verdict::Met);
        assert_eq!(target(1.01, false).verdict(), Verdict::NotMet);
        let throughput = |median| Target { aim: None, ..target(median, true) };
        assert_eq!(throughput(0.99).verdict(), Verdict::NotMet);
        assert_eq!(throughput(1.0).verdict(), Verdict::Met);
    }
}
