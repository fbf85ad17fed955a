//! Lockgate beside what people run today: cold start, CPU time, latency and memory, on loopback, the
//! contenders taking turns. `bench/README.md` says how each figure is taken.
//!
//! Environment variables say what is measured: `BENCH`, sections separated by commas (all when empty);
//! `BENCH_ROUNDS`; `BENCH_BESIDE`, a directory with other modules that are measured beside; `BENCH_OUT`,
//! where the report goes.
#![allow(
    clippy::indexing_slicing,
    reason = "only JSON is indexed, by name: what is not there reads as null, and what is written to is an object"
)]

mod backend;
mod contenders;
mod http;
mod load;
mod process;
mod report;
mod sections;
mod slack;
mod stats;
mod table;
mod tokens;
mod turns;
mod visitors;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use contenders::{Kit, workspace};
use process::{Place, place, processors};
use report::Report;
use sections::Effort;

/// Any failure ends the run: a contender that answers wrongly is not measured.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let began = Instant::now();
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let wanted = variable("BENCH").unwrap_or_default();
    let wanted: Vec<_> = wanted.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let known = || sections::ALL.map(|(name, _)| name);
    if let Some(unknown) = wanted.iter().find(|name| !known().contains(name)) {
        return Err(format!("BENCH: given {unknown}; expected some of {}", known().join(", ")).into());
    }
    let mut effort = if wanted.is_empty() {
        Effort { rounds: 5, starts: 11, time: Duration::from_millis(750), brief: false }
    } else {
        Effort { rounds: 3, starts: 5, time: Duration::from_millis(400), brief: true }
    };
    if let Some(rounds) = variable("BENCH_ROUNDS") {
        effort.rounds =
            rounds.parse().map_err(|_| format!("BENCH_ROUNDS: given {rounds}; expected a number"))?;
        effort.starts = effort.rounds;
    }
    // Asked before this thread is placed; from here on it makes the load.
    if processors().len() < 2 {
        eprintln!("bench: one processor: the load and the servers take each other's time");
    }
    place(None, Place::Harness)?;
    let kit = Kit::new()?;
    let mut report = Report::new(&kit, effort)?;
    for (name, measure) in sections::ALL {
        if wanted.is_empty() || wanted.contains(&name) {
            report.tables.extend(measure(&kit, &effort).map_err(|error| format!("{name}: {error}"))?);
        }
    }
    report.seconds = began.elapsed().as_secs_f64();
    println!("{}", report.text());
    let out = variable("BENCH_OUT").map_or_else(|| workspace().join("target/bench"), PathBuf::from);
    report.write(&out)?;
    println!("Written to {}", out.display());
    Ok(())
}
