//! Who is measured: Lockgate as deployed, Envoy with its native filters behind the same listener, Envoy
//! with nothing, with the least that a filter can be, and the seed's design in nginx with Lua.

mod floor;
mod lockgate;
mod native;
mod nginx;

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::Result;
use crate::backend::Backend;
use crate::process::{Place, Process, free_address};
use crate::sections::BARE;
use crate::tokens::Signer;
pub(crate) use floor::Floor;
pub(crate) use lockgate::{Chain, Deployment, PUBLIC_HOST, PUBLIC_URL, PUSH_AUDIENCE, SLACK_SECRET};
pub(crate) use native::{CACHE, Guard};

/// What contenders are made of, and what they talk to.
pub(crate) struct Kit {
    pub(crate) envoy: PathBuf,
    pub(crate) nginx: PathBuf,
    pub(crate) tool: PathBuf,
    pub(crate) modules: PathBuf,
    /// A second set of modules, measured beside the first.
    pub(crate) beside: Option<PathBuf>,
    pub(crate) backend: Backend,
    pub(crate) signer: Arc<Signer>,
    scratch: TempDir,
    files: Cell<usize>,
}

/// How a contender is started, as often as needed.
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
}

/// A contender that runs.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

impl Kit {
    /// Finds everything, and says what is missing.
    pub(crate) fn new() -> Result<Self> {
        let root = workspace();
        let named = |variable: &str, otherwise: &str| {
            std::env::var_os(variable).map_or_else(|| root.join(otherwise), PathBuf::from)
        };
        let signer = Arc::new(Signer::new()?);
        let kit = Self {
            envoy: named("ENVOY", ".tools/envoy-1.40.0/lib/envoy"),
            nginx: named("BENCH_NGINX", ".tools/nginx"),
            tool: named("BENCH_TOOL", "target/release/lockgate"),
            modules: named("BENCH_MODULES", "dist"),
            beside: std::env::var_os("BENCH_BESIDE").filter(|name| !name.is_empty()).map(PathBuf::from),
            backend: Backend::start(Arc::clone(&signer))?,
            signer,
            scratch: TempDir::new()?,
            files: Cell::new(0),
        };
        let needed = [&kit.envoy, &kit.nginx.join("usr/sbin/nginx"), &kit.tool, &kit.modules];
        for path in needed.into_iter().chain(&kit.beside) {
            if !path.exists() {
                return Err(format!("{} is missing; `make bench` makes it", path.display()).into());
            }
        }
        Ok(kit)
    }

    /// A path in the scratch directory that nobody else has.
    fn scratch(&self, name: &str) -> PathBuf {
        self.files.set(self.files.get() + 1);
        self.scratch.path().join(format!("{}-{name}", self.files.get()))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.scratch(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Envoy with a listener, a route and a cluster, and nothing else: the limit.
    pub(crate) fn bare(&self, workers: usize) -> Result<Recipe> {
        let (address, admin) = (free_address()?, free_address()?);
        let config = native::bare(address, admin, self.backend.address());
        let file = self.write("bare.json", &config.to_string())?;
        Ok(self.envoy(BARE, &file, address, workers, Vec::new()))
    }

    /// Envoy on a configuration, with the options that `lockgate run` gives it.
    fn envoy(
        &self,
        name: &str,
        file: &Path,
        address: SocketAddr,
        workers: usize,
        environment: Vec<(String, String)>,
    ) -> Recipe {
        let options =
            ["--log-level", "warning", "--component-log-level", "wasm:info", "--disable-hot-restart"];
        let mut arguments = vec!["-c".to_owned(), file.to_string_lossy().into_owned()];
        arguments.extend(options.map(str::to_owned));
        arguments.extend(["--concurrency".to_owned(), workers.to_string()]);
        arguments.extend(["--file-flush-interval-msec", "500"].map(str::to_owned));
        Recipe {
            name: name.to_owned(),
            address,
            program: self.envoy.clone(),
            arguments,
            environment,
            log: self.scratch("envoy.log"),
        }
    }
}

impl Recipe {
    /// Under another name.
    pub(crate) fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What the contender has said on its standard error, the last of it.
    pub(crate) fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
    }

    /// Starts the process and returns at once.
    pub(crate) fn start_anywhere(&self) -> Result<Process> {
        self.start(Place::Anywhere)
    }

    /// Starts it on the servers' processor and returns when it accepts connections.
    pub(crate) fn serve(&self) -> Result<Contender> {
        self.serve_at(Place::Server)
    }

    /// The same on any processor.
    pub(crate) fn serve_anywhere(&self) -> Result<Contender> {
        self.serve_at(Place::Anywhere)
    }

    fn serve_at(&self, place: Place) -> Result<Contender> {
        let mut process = self.start(place)?;
        process.accepts(self.address).map_err(|error| format!("{error}\n{}", self.said()))?;
        Ok(Contender { name: self.name.clone(), address: self.address, process })
    }

    fn start(&self, place: Place) -> Result<Process> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().current_dir(workspace());
        for inherited in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(inherited) {
                command.env(inherited, value);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::start(&self.name, command, place, &self.log)
    }
}

/// The workspace's root directory.
pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
