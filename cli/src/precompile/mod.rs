//! Modules compiled before they are deployed. A cold start is V8 compiling, for the most part; what it has
//! compiled once, Envoy can load again (`allow_precompiled`), from a custom section of the module.
//!
//! The tool that writes that section is part of Envoy's build and of no release. But an Envoy that runs
//! holds the very same bytes: V8 serialises a module when it hands it to the workers. So each module is
//! loaded by the Envoy that is to run it, and the bytes are read from that child's memory.

mod fit;
mod memory;
mod section;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Child;
use tokio::time::{Instant, sleep};

pub use fit::fitting;

use crate::{child, http};
use memory::Memory;

/// The directory beside the modules in which they are kept.
pub(crate) const DIRECTORY: &str = "precompiled";

/// Longest time in which an Envoy compiles a module.
const LONGEST: Duration = Duration::from_secs(60);

/// How often it is asked whether it has; it has no way to tell by itself.
const POLL: Duration = Duration::from_millis(20);

/// Why modules could not be compiled beforehand.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The directory has no modules.
    #[error("{}: no module is there, expected what make wasm makes, for example lockgate.wasm", .0.display())]
    Nothing(PathBuf),
    /// What is there was compiled beforehand, or is no module.
    #[error("{}: expected a module as make wasm makes it", .0.display())]
    NotPlain(PathBuf),
    /// Envoy does not load it; its own words stand above.
    #[error("{}: Envoy could not be started or does not load it (is ENVOY or --envoy right?)", .0.display())]
    NotLoaded(PathBuf),
    /// Envoy has loaded it, and its memory does not hold what is looked for.
    #[error(
        "{}: what Envoy has compiled was not found in its memory; that needs a release of Envoy for x86-64 \
         Linux with V8, and a system that lets a parent read a child's memory",
        .0.display()
    )]
    NotFound(PathBuf),
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

/// A module that was compiled beforehand.
#[derive(Debug)]
pub struct Written {
    /// Its name, without `.wasm`.
    pub name: String,
    /// Bytes of the module, and of what V8 has made of it.
    pub bytes: (usize, usize),
}

/// Compiles each module of a directory by an Envoy, into a directory beside them, and has that Envoy load
/// each again. What was there before is not used any more from the beginning on.
///
/// # Errors
/// If a module cannot be loaded, read from the child's memory, or written.
pub async fn precompile(modules: &Path, envoy: &Path) -> Result<Vec<Written>, Error> {
    let paths = plain(modules)?;
    if paths.is_empty() {
        return Err(Error::Nothing(modules.to_owned()));
    }
    let out = modules.join(DIRECTORY);
    std::fs::create_dir_all(&out).map_err(Error::io(&out))?;
    fit::forget(&out).map_err(Error::io(&out))?;
    let mut written = Vec::new();
    for path in paths {
        let wasm = std::fs::read(&path).map_err(Error::io(&path))?;
        if !section::is_plain(&wasm) {
            return Err(Error::NotPlain(path));
        }
        let loaded = Loaded::by(envoy, &path).await?;
        let memory = Memory::of(loaded.pid).map_err(Error::io(&path))?;
        drop(loaded);
        let (Some(name), Some(code)) = (memory.section_name(), memory.serialized(&wasm)) else {
            return Err(Error::NotFound(path));
        };
        let target = out.join(path.file_name().unwrap_or_default());
        write(&target, &section::append(&wasm, name, code)).map_err(Error::io(&target))?;
        // A check of what was read, not of this machine: V8 takes it or refuses it.
        Loaded::by(envoy, &target).await?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        written.push(Written { name, bytes: (wasm.len(), code.len()) });
    }
    fit::remember(&out, envoy).map_err(Error::io(&out))?;
    Ok(written)
}

/// The modules of a directory, by name.
fn plain(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(Error::io(directory))? {
        let path = entry.map_err(Error::io(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("fresh");
    std::fs::File::create(&fresh)?.write_all(bytes)?;
    std::fs::rename(fresh, path)
}

/// An Envoy that has loaded a module and does nothing with it. It ends when this is dropped.
struct Loaded {
    _envoy: Child,
    pid: u32,
    _files: tempfile::TempDir,
}

impl Loaded {
    async fn by(envoy: &Path, module: &Path) -> Result<Self, Error> {
        let failed = || Error::io(envoy);
        let files = tempfile::tempdir().map_err(failed())?;
        let (config, admin) = (files.path().join("envoy.json"), files.path().join("admin"));
        std::fs::write(&config, bootstrap(module).to_string()).map_err(failed())?;
        let mut command = child::bound(envoy.as_os_str()).map_err(failed())?;
        command.arg("-c").arg(&config).arg("--admin-address-path").arg(&admin);
        // A deprecated field has no successor in every supported Envoy, and is warned of.
        command.args(["--log-level", "error", "--concurrency", "1", "--disable-hot-restart"]);
        let mut child = command.spawn().map_err(failed())?;
        let deadline = Instant::now() + LONGEST;
        while !is_ready(&admin).await {
            if child.try_wait().map_err(failed())?.is_some() || Instant::now() > deadline {
                return Err(Error::NotLoaded(module.to_owned()));
            }
            sleep(POLL).await;
        }
        let pid = child.id().ok_or_else(|| Error::NotLoaded(module.to_owned()))?;
        Ok(Self { _envoy: child, pid, _files: files })
    }
}

/// Envoy is ready once its extensions are: the module is loaded, and handed to the workers.
async fn is_ready(admin: &Path) -> bool {
    let address = std::fs::read_to_string(admin).ok().and_then(|text| text.parse::<SocketAddr>().ok());
    match address {
        Some(address) => http::get(address, "/ready").await.is_ok_and(|answer| answer.status == 200),
        None => false,
    }
}

/// Envoy with one module and no listener. The module is loaded, and none of its callbacks is called, so that it
/// needs no configuration.
fn bootstrap(module: &Path) -> Value {
    json!({
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.wasm",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.wasm.v3.WasmService",
                "singleton": true,
                "config": {
                    "name": DIRECTORY,
                    "capability_restriction_config": {"allowed_capabilities": {"proxy_on_memory_allocate": {}}},
                    "vm_config": {
                        "vm_id": DIRECTORY,
                        "runtime": "envoy.wasm.runtime.v8",
                        "allow_precompiled": true,
                        "code": {"local": {"filename": module}},
                    },
                },
            },
        }],
    })
}
