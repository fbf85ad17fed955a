//! Bytes are a budget: V8 compiles a module before Envoy serves, about 1 µs for each byte. A change
//! that exceeds a line here raises it in the same commit, and says what the bytes buy.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

/// As shipped, with a std that is built for size.
const BUDGETS: &[(&str, usize)] = &[
    ("oidc", 352_000),
    ("slack-signature", 134_000),
    ("form-to-json", 103_000),
    ("pubsub-enqueue", 149_000),
    ("pubsub-playback", 193_000),
    ("upstream-identity", 130_000),
    // A fifth of it: backends by user, the administrators' calls, probes. An eighth: sessions.
    ("inverting-proxy", 156_000),
    ("log", 254_000),
    ("log-identity", 271_000),
    ("lockgate", 478_000),
];

/// What the std that comes with the compiler adds at most: code and texts of panics.
const PLAIN_STD: usize = 80_000;

#[test]
fn every_module_is_within_its_budget() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist");
    for (name, budget) in BUDGETS {
        let path = dist.join(format!("{name}.wasm"));
        let module =
            std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: make wasm", path.display()));
        let size = module.len();
        // Only that one has anything to say when it panics.
        if module.windows(11).any(|text| text == b"panicked at") {
            let budget = budget + PLAIN_STD;
            assert!(size <= budget, "{name}.wasm has {size} bytes with the plain std, {budget} are budgeted");
        } else {
            assert!(size <= *budget, "{name}.wasm has {size} bytes, {budget} are budgeted");
            assert!(size + 12_000 > *budget, "{name}.wasm has {size} bytes; lower its budget of {budget}");
        }
    }
}
