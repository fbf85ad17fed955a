//! The host's rules are Envoy's. Each scenario runs against the simulated host, where its report is
//! spelled out, and, if the variable `ENVOY` names a binary, against Envoy, where it has to be the
//! same.

mod bodies;
mod calls;
mod contexts;
mod headers;
mod local_replies;
mod probe;
mod proxy;
mod real;
mod responses;
mod services;
mod signatures;
mod simulated;
mod vm;
mod wire;

use std::io::Write as _;
use std::sync::Once;

use proxy::{Options, Proxy, Script};

/// Runs a scenario on both hosts.
fn agree(options: Options, script: impl Fn(&mut Script<'_>), expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if std::env::var("SHOW").is_ok() {
        let envoy = std::env::var("ENVOY").unwrap();
        let sim = report(&simulated::Simulated::start(&options, real::release(&envoy)), &script);
        let real = report(&real::Envoy::start(&std::env::var("ENVOY").unwrap(), &options), &script);
        let name = std::thread::current().name().unwrap().to_owned();
        let mut out = format!("=== {name} {}\n", if sim == real { "SAME" } else { "DIFFERENT" });
        out += &format!("{}\n", sim.join("\n"));
        if sim != real {
            out += &format!("--- envoy\n{}\n", real.join("\n"));
        }
        std::io::stderr().write_all(out.as_bytes()).unwrap();
        return;
    }
    let simulated = report(&simulated::Simulated::start(&options, wasm_test::Release::V1_40), &script);
    assert_eq!(simulated.join("\n"), expected.join("\n"), "the simulated host");
    match std::env::var("ENVOY") {
        Ok(envoy) if !envoy.is_empty() => {
            let real = report(&real::Envoy::start(&envoy, &options), &script);
            assert_eq!(real.join("\n"), expected.join("\n"), "Envoy");
        }
        _ => say_once("host_rules: ENVOY is not set: compared with what was recorded, not with Envoy"),
    }
}

fn report(proxy: &dyn Proxy, script: &impl Fn(&mut Script<'_>)) -> Vec<String> {
    let mut run = Script::new(proxy);
    script(&mut run);
    run.lines
}

/// The test runner keeps what passing tests print; this is written past it.
fn say_once(line: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let _ = writeln!(std::io::stderr(), "{line}");
    });
}
