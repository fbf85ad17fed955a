//! What was measured on, and which versions of what.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::Result;
use crate::contenders::{Kit, workspace};
use crate::process::processors;

/// Modules whose size is told.
const MODULES: [&str; 7] =
    ["log", "lockgate", "oidc", "slack-signature", "form-to-json", "pubsub-enqueue", "pubsub-playback"];

pub(crate) struct Machine {
    pub(super) processor: String,
    pub(super) processors: usize,
    pub(super) memory_gb: f64,
    pub(super) system: String,
    /// Processes that wanted a processor when the run began, over the last minute.
    pub(super) load: f64,
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) versions: Vec<(String, String)>,
    /// Bytes of each module.
    pub(super) modules: Vec<(String, u64)>,
}

impl Machine {
    pub(super) fn look(kit: &Kit) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once([':', '=']).map(|(_, value)| value.trim().trim_matches('"').to_owned())
        };
        let memory_kib: f64 = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .unwrap_or_default();
        let load = read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok());
        let distribution = field(&read("/etc/os-release"), "PRETTY_NAME").unwrap_or_default();
        let kernel = read("/proc/sys/kernel/osrelease");
        let mut versions = vec![
            ("Envoy".to_owned(), envoy_version(&said(&kit.envoy, &["--version"]))),
            ("Rust".to_owned(), said(Path::new("rustc"), &["--version"]).replacen("rustc ", "", 1)),
        ];
        let packages = fs::read_to_string(kit.nginx.join("versions")).unwrap_or_default();
        versions.extend(packages.lines().filter_map(|line| {
            let (name, version) = line.split_once(' ')?;
            Some((name.to_owned(), version.to_owned()))
        }));
        let size = |name: &&str| {
            let bytes = fs::metadata(kit.modules.join(format!("{name}.wasm"))).map_or(0, |file| file.len());
            ((*name).to_owned(), bytes)
        };
        Ok(Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: processors().len(),
            memory_gb: memory_kib * 1_024.0 / 1e9,
            system: format!("{distribution}, Linux {}", kernel.trim()),
            load: load.unwrap_or_default(),
            date: said(Path::new("date"), &["-u", "+%Y-%m-%d"]),
            commit: said(Path::new("git"), &["describe", "--always", "--dirty", "--abbrev=9"]),
            versions,
            modules: MODULES.iter().map(size).collect(),
        })
    }

    pub(super) fn json(&self) -> Value {
        let object = |pairs: &[(String, String)]| -> Value {
            pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
        };
        let modules: Value = self.modules.iter().map(|(name, bytes)| (name.clone(), json!(bytes))).collect();
        json!({
            "processor": self.processor, "processors": self.processors, "memory_gb": self.memory_gb.round(),
            "system": self.system, "load_average_before": self.load, "date": self.date,
            "commit": self.commit, "versions": object(&self.versions), "module_bytes": modules,
        })
    }
}

/// The first line that a program prints, or nothing where there is no such program.
fn said(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(workspace()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// `… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL` → `1.40.0, RELEASE, BoringSSL`.
fn envoy_version(line: &str) -> String {
    let mut parts = line.rsplit_once(' ').map_or(line, |(_, version)| version).split('/');
    match (parts.nth(1), parts.nth(1), parts.next()) {
        (Some(version), Some(build), Some(tls)) => [version, build, tls].join(", "),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoys_version_is_found_in_its_line() {
        let line = "/usr/bin/envoy  version: 0123abc/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(envoy_version(line), "1.40.0, RELEASE, BoringSSL");
        assert_eq!(envoy_version("another form"), "another form");
    }
}
