//! What is measured, a file for each question.

mod cold_start;
mod door;
mod growth;
mod memory;
mod playback;
mod slack;

use std::time::Duration;

use crate::Result;
use crate::contenders::{Chain, Contender, Deployment, Kit};
use crate::load::Pace;
use crate::table::Table;
use crate::turns::Turns;
pub(crate) use door::{KNOWN, KNOWN_ALONE, NO_GUARD, UNKNOWN};
pub(crate) use memory::{BARE as MEMORY_BARE, PRECOMPILED as MEMORY_PRECOMPILED, WHOLE as MEMORY_WHOLE};

/// The contender that has nothing to do.
pub(crate) const BARE: &str = "bare Envoy";
/// The seed's design.
pub(crate) const NGINX: &str = "nginx with Lua";

/// A section's name, and what fills its tables.
type Section = (&'static str, fn(&Kit, &Effort) -> Result<Vec<Table>>);

/// All of them, in the order of the report.
pub(crate) const ALL: [Section; 11] = [
    ("cold-start", cold_start::measure),
    ("door", door::measure),
    ("slack", slack::under_load),
    ("lone", slack::alone),
    ("playback", playback::measure),
    ("routes", growth::routes),
    ("keys", growth::keys),
    ("bodies", growth::bodies),
    ("streams", growth::streams),
    ("workers", growth::workers),
    ("memory", memory::measure),
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds under load.
    pub(crate) rounds: usize,
    /// Starts of each contender.
    pub(crate) starts: usize,
    /// The length of one measurement.
    pub(crate) time: Duration,
    /// Whether to leave out what only the full report needs.
    pub(crate) brief: bool,
}

impl Effort {
    /// Fewer rounds where one point of many is measured.
    fn few(&self) -> usize {
        self.rounds.min(3)
    }

    /// The usual comparison: 64 connections at saturation, then at 40 % of the slowest one's throughput.
    fn turns(&self) -> Turns {
        Turns {
            rounds: self.rounds,
            connections: 64,
            pace: Pace::Saturating(self.time),
            warm_up: Pace::Saturating(self.time),
            fixed: Some((self.time, 0.4, f64::INFINITY)),
        }
    }
}

/// The deployment of these modules, and of those beside.
fn with_beside(kit: &Kit, deployment: Deployment) -> Vec<Deployment> {
    let beside =
        kit.beside.clone().map(|modules| Deployment { modules: Some(modules), ..deployment.clone() });
    std::iter::once(deployment).chain(beside).collect()
}

/// Starts the deployments of a chain.
fn serve(kit: &Kit, chain: Chain) -> Result<Vec<Contender>> {
    let deployments = with_beside(kit, Deployment::of(chain));
    deployments.iter().map(|deployment| kit.lockgate(deployment)?.serve()).collect()
}
