//! Contenders taking turns. In each round every contender is measured once, in an order that moves on by
//! one from round to round, so that a noisy machine hurts all alike and nobody always follows the same.

use std::time::{Duration, Instant};

use crate::Result;
use crate::backend::Backend;
use crate::contenders::Contender;
use crate::load::{Expected, Load, Outcome, Pace, Requests};
use crate::process::{Place, Process};
use crate::table::{Quantity, Table};

/// CPU time of the contender's processes for each request, at saturation.
pub(crate) const CPU: Quantity =
    Quantity { id: "cpu_us", title: "CPU, saturated", unit: "µs/request", digits: 1, compared: true };
/// The same where nothing was measured at a fixed rate.
pub(crate) const CPU_ALONE: Quantity = Quantity { title: "CPU", ..CPU };
/// Correct answers in a second, at saturation.
pub(crate) const RATE: Quantity =
    Quantity { id: "per_second", title: "throughput", unit: "requests/s", digits: 0, compared: true };
/// CPU time for each request, at the fixed rate.
pub(crate) const CPU_AT_RATE: Quantity =
    Quantity { id: "cpu_us_fixed", title: "CPU, fixed rate", unit: "µs/request", digits: 1, compared: true };
/// Latency at the fixed rate.
pub(crate) const P50: Quantity =
    Quantity { id: "p50_ms", title: "p50", unit: "ms", digits: 2, compared: false };
/// See [`P50`].
pub(crate) const P90: Quantity =
    Quantity { id: "p90_ms", title: "p90", unit: "ms", digits: 2, compared: false };
/// See [`P50`].
pub(crate) const P99: Quantity =
    Quantity { id: "p99_ms", title: "p99", unit: "ms", digits: 2, compared: false };
/// How much of its processor the contender used at saturation; below 1 something else was the limit.
pub(crate) const BUSY: Quantity =
    Quantity { id: "busy", title: "processors used", unit: "", digits: 2, compared: false };
/// Messages for each publish call, at saturation.
pub(crate) const BATCH: Quantity =
    Quantity { id: "batch", title: "messages a publish", unit: "", digits: 1, compared: false };

/// What a run at saturation and at a fixed rate yields.
pub(crate) const SPEED: [Quantity; 7] = [CPU, RATE, BUSY, CPU_AT_RATE, P50, P90, P99];

/// Whose CPU time counts.
#[derive(Clone, Copy)]
pub(crate) enum Measured<'a> {
    Process(&'a Process),
    Backend(&'a Backend),
}

impl Measured<'_> {
    fn cpu_ns(self) -> Result<u64> {
        match self {
            Self::Process(process) => process.cpu_ns(),
            Self::Backend(backend) => backend.cpu_ns(),
        }
    }
}

/// Where requests come from.
pub(crate) enum Source {
    /// Made anew for each turn: signatures grow old.
    Made(Box<dyn Fn() -> Vec<Vec<u8>>>),
    /// Each is sent once, over all turns.
    Kept(Requests),
}

/// A contender with its work.
pub(crate) struct Runner<'a> {
    pub(crate) name: String,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) measured: Measured<'a>,
    pub(crate) source: Source,
    pub(crate) expected: Expected,
    /// Whether each answer means a message in the queue, no more and no less.
    pub(crate) publishes: bool,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(contender: &'a Contender, source: Source, expected: Expected) -> Self {
        Self {
            name: contender.name.clone(),
            address: contender.address,
            measured: Measured::Process(&contender.process),
            source,
            expected,
            publishes: false,
        }
    }

    pub(crate) fn publishing(mut self) -> Self {
        self.publishes = true;
        self
    }

    /// One measurement: what came back, CPU time for each request in µs, processors used, and messages
    /// for each publish.
    pub(crate) fn run(&mut self, backend: &Backend, connections: usize, pace: Pace) -> Result<Run> {
        // On the load's own processor the two would take each other's time.
        if let Measured::Backend(backend) = self.measured {
            backend.place(Place::Server)?;
        }
        let run = self.run_placed(backend, connections, pace);
        if let Measured::Backend(backend) = self.measured {
            backend.place(Place::Harness)?;
        }
        run.map_err(|error| format!("{}: {error}", self.name).into())
    }

    fn run_placed(&mut self, backend: &Backend, connections: usize, pace: Pace) -> Result<Run> {
        let mut made;
        let requests = match &mut self.source {
            Source::Made(make) => {
                made = Requests::repeated(make());
                &mut made
            }
            Source::Kept(requests) => requests,
        };
        let mut load = Load::connect(self.address, connections)?;
        greet(&mut load, connections)?;
        let (messages, publishes) = (backend.messages(), backend.publishes());
        let before = self.measured.cpu_ns()?;
        let outcome = load.run(requests, &self.expected, pace)?.correct()?;
        let cpu_ns = self.measured.cpu_ns()?.saturating_sub(before) as f64;
        let stored = backend.messages() - messages;
        if self.publishes && stored != outcome.answers as u64 {
            return Err(format!("{} were told it is stored, {stored} are", outcome.answers).into());
        }
        let calls = backend.publishes() - publishes;
        Ok(Run {
            cpu_us: cpu_ns / 1e3 / outcome.answers as f64,
            busy: cpu_ns / outcome.elapsed.as_nanos() as f64,
            batch: if calls > 0 { stored as f64 / calls as f64 } else { f64::NAN },
            outcome,
        })
    }
}

/// What one measurement says.
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    pub(crate) cpu_us: f64,
    pub(crate) busy: f64,
    pub(crate) batch: f64,
}

/// One request on each connection that costs next to nothing: the connections are accepted before
/// anything is measured.
fn greet(load: &mut Load, connections: usize) -> Result<()> {
    let health = crate::http::request("GET", "/health", &[("host", crate::contenders::PUBLIC_HOST)], b"");
    let expected = Expected { status: 204, body: None };
    load.run(&mut Requests::repeated(vec![health]), &expected, Pace::Counted(connections))?;
    Ok(())
}

/// How a comparison goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    pub(crate) rounds: usize,
    pub(crate) connections: usize,
    /// At saturation.
    pub(crate) pace: Pace,
    /// Before the first round: caches fill, V8 optimises.
    pub(crate) warm_up: Pace,
    /// How long at the fixed rate; the rate is this part of the slowest contender's throughput, and at
    /// most so much. Where absent, latencies are those of the run at saturation.
    pub(crate) fixed: Option<(Duration, f64, f64)>,
}

/// Measures the runners and fills the table's rows of their names. Returns the fixed rate.
pub(crate) fn compare(
    backend: &Backend,
    table: &mut Table,
    runners: &mut [Runner<'_>],
    turns: Turns,
) -> Result<Option<f64>> {
    let began = Instant::now();
    let mut slowest = f64::INFINITY;
    for runner in runners.iter_mut() {
        let run = runner.run(backend, turns.connections, turns.warm_up)?;
        slowest = slowest.min(run.outcome.per_second());
    }
    let rate = turns.fixed.map(|(_, part, at_most)| round_down((slowest * part).min(at_most)));
    in_turn(turns.rounds, runners.len(), |_, index| {
        let Some(runner) = runners.get_mut(index) else { return Ok(()) };
        let run = runner.run(backend, turns.connections, turns.pace)?;
        let name = runner.name.clone();
        for (quantity, value) in
            [(CPU, run.cpu_us), (RATE, run.outcome.per_second()), (BUSY, run.busy), (BATCH, run.batch)]
        {
            table.push(&name, quantity, value);
        }
        let mut latencies = run.outcome.latencies;
        if let (Some(rate), Some((time, ..))) = (rate, turns.fixed) {
            let run = runner.run(backend, turns.connections, Pace::Fixed(rate, time))?;
            table.push(&name, CPU_AT_RATE, run.cpu_us);
            latencies = run.outcome.latencies;
        }
        let [p50, p90, p99] = latencies.percentiles_ms([50.0, 90.0, 99.0]);
        for (quantity, value) in [(P50, p50), (P90, p90), (P99, p99)] {
            table.push(&name, quantity, value);
        }
        Ok(())
    })?;
    eprintln!("bench: {}, {:.0} s", table.title, began.elapsed().as_secs_f64());
    Ok(rate)
}

/// Calls `turn(round, contender)` for each of them in each round; who begins moves on.
pub(crate) fn in_turn(
    rounds: usize,
    contenders: usize,
    mut turn: impl FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    for round in 0..rounds {
        for place in 0..contenders {
            turn(round, (round + place) % contenders)?;
        }
    }
    Ok(())
}

/// To two significant digits, downwards: a rate that people can remember.
fn round_down(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.max(10.0).log10().floor() - 1.0);
    (rate / unit).floor() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_in_each_round_and_begins_once() {
        let mut turns = Vec::new();
        in_turn(3, 3, |round, contender| {
            turns.push((round, contender));
            Ok(())
        })
        .unwrap();
        assert_eq!(turns, [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (1, 0), (2, 2), (2, 0), (2, 1)]);
    }

    #[test]
    fn a_rate_has_two_digits() {
        assert_eq!(round_down(1_987.0), 1_900.0);
        assert_eq!(round_down(84.9), 84.0);
    }
}
