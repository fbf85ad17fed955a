//! Bytes are a budget: V8 compiles a module before Envoy serves, about 1.2 µs for each byte. A change
//! that exceeds a line here raises it in the same commit, and says what the bytes buy.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

const BUDGETS: &[(&str, u64)] = &[
    ("oidc", 395_000),
    ("slack-signature", 171_000),
    ("form-to-json", 138_000),
    ("pubsub-enqueue", 192_000),
    ("pubsub-playback", 236_000),
    ("upstream-identity", 166_000),
    ("log", 293_000),
    ("log-identity", 310_000),
    ("lockgate", 516_000),
];

#[test]
fn every_module_is_within_its_budget() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist");
    for (name, budget) in BUDGETS {
        let path = dist.join(format!("{name}.wasm"));
        let size = std::fs::metadata(&path)
            .unwrap_or_else(|_| panic!("{} is missing: make wasm", path.display()))
            .len();
        assert!(size <= *budget, "{name}.wasm has {size} bytes, {budget} are budgeted");
        assert!(size + 12_000 > *budget, "{name}.wasm has {size} bytes; lower its budget of {budget}");
    }
}
