//! The probe, built once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the module is.
pub(crate) fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("probe/Cargo.toml");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip1"])
            .arg("--manifest-path")
            .arg(&manifest)
            .arg("--target-dir")
            .arg(&target)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target.join("wasm32-wasip1/release/wasm_test_probe.wasm")
    })
}

/// The module.
pub(crate) fn bytes() -> Vec<u8> {
    std::fs::read(path()).unwrap()
}
