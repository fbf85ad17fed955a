//! The container image, run by runc: `lockgate run` as the first process of a namespace of its own,
//! without root, without privileges, on a root file system that nobody can write to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stack::workspace;
use crate::{Journal, Process, watchdog};

/// The image that `make image` has built, unpacked. What was unpacked goes when the test process ends.
#[derive(Debug)]
pub struct Image {
    store: TempDir,
    config: Value,
    root: PathBuf,
}

impl Image {
    /// Unpacks it into a store of its own.
    ///
    /// # Panics
    /// When it is not there, or buildah and skopeo are not.
    pub fn unpack() -> Self {
        let layout = workspace().join("dist/image");
        assert!(layout.is_dir(), "{} is missing: make image", layout.display());
        let reference = format!("oci:{}:lockgate", layout.display());
        let config = run(Command::new("skopeo").args(["inspect", "--config", &reference]));
        let store = TempDir::with_prefix("lockgate-image-").expect("a temporary directory");
        watchdog::guard_directory(store.path());
        let mut image = Self { store, config: parse(&config), root: PathBuf::new() };
        image.buildah(&["from", "--quiet", "--name", "unpacked", &reference]);
        image.root = image.buildah(&["mount", "unpacked"]).into();
        image
    }

    /// What it says of itself: `User`, `Env`, `Entrypoint` and so on.
    pub fn config(&self) -> &Value {
        &self.config["config"]
    }

    /// Its files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn buildah(&self, arguments: &[&str]) -> String {
        let at = |name: &str| self.store.path().join(name);
        let mut buildah = Command::new("buildah");
        // The first that works everywhere; it is not for building.
        buildah.args(["--storage-driver", "vfs", "--root"]).arg(at("root"));
        let output = run(buildah.arg("--runroot").arg(at("run")).args(arguments));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts a container with these variables beside its own, on this machine's network.
    pub fn start(&self, variables: &BTreeMap<String, String>) -> Container {
        let bundle = TempDir::with_prefix("lockgate-bundle-").expect("a temporary directory");
        watchdog::guard_directory(bundle.path());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let config = self.config();
        let list = |name: &str| config[name].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let ids = text(&config["User"]);
        let (user, group) = ids.split_once(':').expect("a user and a group");
        let number = |id: &str| id.parse::<u32>().expect("an id that is a number");
        let words = [list("Entrypoint"), list("Cmd")].concat();
        let set = variables.iter().map(|(name, value)| format!("{name}={value}"));
        let variables: Vec<_> = list("Env").into_iter().chain(set).collect();
        let mount = |kind: &str, at: &str, options: &[&str]| {
            json!({
                "destination": at, "type": kind, "source": kind, "options": options,
            })
        };
        let namespaces = ["pid", "mount", "ipc", "uts"].map(|kind| json!({"type": kind}));
        let spec = json!({
            "ociVersion": "1.0.2",
            "root": {"path": self.root, "readonly": true},
            "process": {
                "args": words,
                "env": variables,
                "cwd": config["WorkingDir"],
                "user": {"uid": number(user), "gid": number(group)},
                "noNewPrivileges": true,
                "capabilities": {},
            },
            "mounts": [
                mount("proc", "/proc", &[]),
                mount("tmpfs", "/dev", &["nosuid", "mode=755"]),
                mount("tmpfs", "/tmp", &["nosuid", "nodev", "noexec", "mode=1777"]),
            ],
            "linux": {"namespaces": namespaces},
        });
        std::fs::write(bundle.path().join("config.json"), spec.to_string()).expect("write the bundle");
        let id = bundle.path().file_name().expect("a name").to_string_lossy().into_owned();
        let mut command = Command::new("runc");
        command.arg("--root").arg(bundle.path().join("runc"));
        command.args(["run", "--no-pivot", "--bundle"]).arg(bundle.path()).arg(&id);
        let process = Process::start("runc", &mut command, Arc::new(Journal::default()));
        let mut container = Container { process, bundle, id, group: 0 };
        // It is in a session of its own, and would outlive runc and this process.
        while container.process.is_running() && container.group == 0 {
            container.group = container.state()["pid"].as_i64().map_or(0, |pid| pid as i32);
            std::thread::yield_now();
        }
        watchdog::guard_group(container.group);
        container
    }
}

/// A container that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Container {
    process: Process,
    bundle: TempDir,
    id: String,
    group: i32,
}

impl Container {
    /// What it prints, and how it ends.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Sends a signal to its first process, as a platform does.
    pub fn kill(&self, signal: &str) {
        // It may have ended by itself.
        let _ = self.runc().args(["kill", &self.id, signal]).output();
    }

    /// The number that its first process has on this machine.
    ///
    /// # Panics
    /// When it has none yet, or none any more.
    pub fn first_process(&self) -> u32 {
        self.state()["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process")
    }

    /// Returns as soon as its first process is the program of that name, and no longer runc.
    pub async fn runs(&self, name: &str) {
        let runs = || {
            let pid = self.state()["pid"].as_u64().unwrap_or_default();
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        };
        while self.process.is_running() && !runs() {
            tokio::task::yield_now().await;
        }
    }

    /// `Null` where there is none.
    fn state(&self) -> Value {
        let output = self.runc().args(["state", &self.id]).output().expect("runc");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The children of the first process, by their numbers on this machine.
    pub fn children(&self) -> Vec<u32> {
        let first = self.first_process();
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    fn runc(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.bundle.path().join("runc"));
        command
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill("KILL");
        watchdog::forget_group(self.group);
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn parse(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}
