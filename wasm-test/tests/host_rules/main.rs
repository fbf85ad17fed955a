//! The host's rules are Envoy's. Each scenario runs against the simulated host, where its report is
//! spelled out, and, if the variable `ENVOY` names a binary, against Envoy, where it has to be the
//! same.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests: a step that fails is a test that fails"
)]

mod bodies;
mod calls;
mod changed_bodies;
mod contexts;
mod headers;
mod local_replies;
mod probe;
mod proxy;
mod real;
mod responses;
mod resumes;
mod services;
mod signatures;
mod simulated;
mod vm;
mod wire;

use std::io::Write as _;
use std::sync::Once;

use proxy::{Options, Proxy, Script};
use wasm_test::Release;

/// Runs a scenario on both hosts. What is spelled out is what the newest Envoy does; an older one has
/// to agree with the simulation of its release.
fn agree(options: Options, script: impl Fn(&mut Script<'_>), expected: &str) {
    let envoy = std::env::var("ENVOY").ok().filter(|envoy| !envoy.is_empty());
    let release = envoy.as_deref().map_or(Release::V1_40, real::release);
    let simulated = report(&simulated::Simulated::start(&options, release), &script);
    if release == Release::V1_40 {
        assert_eq!(simulated, unindented(expected), "the simulated host differs from what is known");
    }
    match envoy {
        Some(envoy) => {
            let real = report(&real::Envoy::start(&envoy, &options), &script);
            assert_eq!(simulated, real, "the simulated host differs from Envoy");
        }
        None => say_once("host_rules: ENVOY is not set, nothing was compared with Envoy itself"),
    }
}

fn unindented(report: &str) -> String {
    let lines: Vec<_> = report.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

fn report(proxy: &dyn Proxy, script: &impl Fn(&mut Script<'_>)) -> String {
    let mut run = Script::new(proxy);
    script(&mut run);
    unindented(&run.lines.join("\n"))
}

/// The test runner keeps what passing tests print; this is written past it.
fn say_once(line: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let _ = writeln!(std::io::stderr(), "{line}");
    });
}
