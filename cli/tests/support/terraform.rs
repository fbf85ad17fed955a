//! Terraform on a copy of the code, with the stand-in for Google's provider in the place where Terraform
//! looks for the real one. Nothing is downloaded, and nothing is written into the repository.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::root;

/// The values that the example and the environment are tried with.
pub(crate) const EXAMPLE: &str = "examples/minimal/terraform.tfvars.example";

/// Terraform, and a copy of `terraform/` with a module in it made ready.
pub(crate) struct Terraform {
    program: OsString,
    directory: tempfile::TempDir,
    module: &'static str,
}

/// What Terraform said, and whether it succeeded.
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) text: String,
}

impl Said {
    /// The messages of a command with `-json`, one to a line.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Terraform {
    /// A copy with `module` initialised; `None` where TERRAFORM is set to nothing.
    pub(crate) fn with(module: &'static str) -> Option<Self> {
        let program = program()?;
        let directory = tempfile::tempdir().unwrap();
        for folder in ["modules", "examples"] {
            copy(&root().join("terraform").join(folder), &directory.path().join(folder));
        }
        let terraform = Self { program, directory, module };
        terraform.provide_the_provider();
        let said = terraform.run(&["init", "-input=false"]);
        assert!(said.success, "{}", said.text);
        Some(terraform)
    }

    /// A file of the copy.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// One command in the module.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let output = Command::new(&self.program)
            .current_dir(self.path(self.module))
            .args(arguments)
            .env("TF_CLI_CONFIG_FILE", self.path("terraform.rc"))
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_CLI_ARGS", "-no-color")
            // The stand-in speaks plain gRPC, on loopback.
            .env("TF_DISABLE_PLUGIN_TLS", "1")
            .env("PROVIDER_STAND_IN_TYPES", self.types())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        Said { success: output.status.success(), text: String::from_utf8(text).unwrap() }
    }

    /// Every type of resource and data source that the copy speaks of, as the stand-in is told of them.
    fn types(&self) -> String {
        let mut types = Vec::new();
        for file in files(self.directory.path()).iter().filter(|file| file.extension() == Some("tf".as_ref()))
        {
            let text = std::fs::read_to_string(file).unwrap();
            types.extend(text.lines().filter_map(|line| {
                let (kind, rest) = line.split_once(" \"google_")?;
                let known = kind == "resource" || kind == "data";
                Some(format!("{kind}.google_{}", rest.split_once('"')?.0)).filter(|_| known)
            }));
        }
        types.sort();
        types.dedup();
        types.join(",")
    }

    /// A directory of providers, and Terraform's settings that name it.
    fn provide_the_provider(&self) {
        let stand_in = root().join("terraform/tests/provider");
        let package = stand_in.join("node_modules/@cdktf/provider-google/package.json");
        let package = std::fs::read(&package)
            .unwrap_or_else(|error| panic!("{}: {error}: run `make test`", package.display()));
        let package: Value = serde_json::from_slice(&package).unwrap();
        let version = package.pointer("/cdktf/provider/version").and_then(Value::as_str).unwrap();
        let directory =
            self.path("providers/registry.terraform.io/hashicorp/google").join(version).join(platform());
        std::fs::create_dir_all(&directory).unwrap();
        let provider = directory.join(format!("terraform-provider-google_v{version}"));
        let script = format!("#!/bin/sh\nexec node '{}'\n", stand_in.join("provider.mjs").display());
        std::fs::write(&provider, script).unwrap();
        std::fs::set_permissions(&provider, PermissionsExt::from_mode(0o755)).unwrap();
        let settings = format!(
            "disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = {:?}\n  }}\n}}\n",
            self.path("providers")
        );
        std::fs::write(self.path("terraform.rc"), settings).unwrap();
    }
}

/// Terraform's program, as `make` fetched it or as somebody chose it. `None` where it is set to nothing:
/// `make` says then that these tests are skipped.
pub(crate) fn program() -> Option<OsString> {
    let program = std::env::var_os("TERRAFORM").unwrap_or_else(|| {
        panic!(
            "TERRAFORM names no Terraform: run `make test`, or set it; set to nothing, its tests are skipped"
        )
    });
    (!program.is_empty()).then_some(program)
}

/// This machine, as Terraform names it.
fn platform() -> String {
    let system = if std::env::consts::OS == "macos" { "darwin" } else { std::env::consts::OS };
    let processor = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    format!("{system}_{processor}")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        // What somebody's own deployment left is theirs.
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".terraform") || name == "terraform.tfvars" || name.contains(".tfstate") {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] })
        .collect()
}
