//! Each subcommand, from its arguments to the exit code.

use std::io::Write;
use std::process::{ExitCode, Stdio};

use crate::args::{Command, Parts};
use crate::config::{self, Config, Environment, Problems};
use crate::say::{Severity, say};
use crate::{child, dev, image, local, precompile, render, replay, run};

/// Why a command ended without doing what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields that cannot be used.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The YAML writer failed.
    #[error("the configuration cannot be written: {0}")]
    Yaml(#[from] serde_norway::Error),
    /// The configuration has no place in a mesh.
    #[error(transparent)]
    Istio(#[from] render::istio::Error),
    /// The modules could not be packed, or the images not be read.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// A file or a process failed.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Envoy does not take the configuration; its own words stand above.
    #[error("Envoy refused the configuration")]
    Refused,
    /// Modules could not be compiled beforehand.
    #[error(transparent)]
    Precompile(#[from] precompile::Error),
    /// Something of the laptop's stack is not running.
    #[error(transparent)]
    Dev(#[from] dev::Error),
    /// Dead letters could not be listed or sent again.
    #[error(transparent)]
    Replay(#[from] replay::Error),
    /// The stand-in could not serve.
    #[error("local: {0}")]
    Local(#[from] lockgate_local::Error),
    /// Envoy could not be run.
    #[error(transparent)]
    Run(#[from] run::Error),
}

impl Error {
    /// For `map_err`: what was tried when the system failed.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}

/// Does what was asked.
///
/// # Errors
/// Whatever keeps it from being done, for a person to read.
pub async fn execute(command: Command) -> Result<ExitCode, Error> {
    let environment: Environment = std::env::vars().collect();
    match command {
        Command::Render { parts, check: _, istio: true, images } => {
            let config = config::load(&parts.source(), &environment)?;
            let digests = images.map(|layout| image::digests(&layout)).transpose()?;
            let yaml = render::istio::manifests(&config, &parts.modules(), digests.as_ref())?;
            std::io::stdout().write_all(yaml.as_bytes()).map_err(Error::io("standard output"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Image { modules, out } => {
            for (module, digest) in image::pack(&modules, &out)? {
                println!("sha256:{digest} {module}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Precompile { modules, envoy, if_possible } => {
            match precompile::precompile(&modules, &envoy).await {
                Ok(written) => {
                    for precompile::Written { name, bytes: (wasm, code) } in written {
                        println!("{name}: {wasm} bytes, compiled {code}");
                    }
                }
                Err(error) if if_possible => {
                    say(Severity::Warning, &format!("not compiled beforehand: {error}"))
                }
                Err(error) => return Err(error.into()),
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Render { parts, check, .. } => {
            let config = config::load(&parts.source(), &environment)?;
            let yaml = render::bootstrap(&config, &parts.modules())?;
            if check {
                validate(&parts, &yaml)?;
            }
            std::io::stdout().write_all(yaml.as_bytes()).map_err(Error::io("standard output"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { parts, state_dir, concurrency, log_level } => {
            let signals = run::Signals::catch()?;
            let config = config::load(&parts.source(), &environment)?;
            if let Some(warning) = config.warning() {
                say(Severity::Warning, &warning);
            }
            let (modules, precompiled) = (parts.modules(), precompiled(&parts, &config));
            let launch =
                run::Launch { envoy: parts.envoy, modules, precompiled, state_dir, concurrency, log_level };
            Ok(run::run(&config, &launch, signals).await?)
        }
        Command::Local { listen, state_dir } => {
            local::serve(listen, state_dir).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Dev {
            parts,
            state_dir,
            port,
            admin_port,
            local_port,
            upstream_port,
            oidc_provider,
            oidc_port,
            watch,
            rebuild,
        } => {
            let options = dev::Options {
                parts,
                state_dir,
                port,
                admin_port,
                local_port,
                upstream_port,
                oidc_provider,
                oidc_port,
                watch,
                rebuild,
            };
            dev::dev(&options, &environment).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Replay { subscription, list: _, to, ids, limit } => {
            let options = replay::Options { subscription, to, ids, limit: limit.get() };
            replay::replay(&options, &environment, &mut std::io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::BoundToParent { parent, command } => {
            Err(Error::Io { what: command.join(" "), error: child::become_bound(parent, &command) })
        }
    }
}

/// The modules as they were compiled before, where that is for this machine.
fn precompiled(parts: &Parts, config: &Config) -> Option<render::Modules> {
    let modules = parts.modules();
    let used = render::modules_loaded(config, &modules);
    let directory = precompile::fitting(&parts.modules, &parts.envoy, &used)?;
    Some(modules.precompiled(&directory))
}

/// Envoy's messages go to standard error, so that standard output stays the configuration.
fn validate(parts: &Parts, yaml: &str) -> Result<(), Error> {
    let mut file = tempfile::Builder::new()
        .prefix("lockgate-")
        .suffix(".yaml")
        .tempfile()
        .map_err(Error::io("a temporary file"))?;
    file.write_all(yaml.as_bytes()).map_err(Error::io("a temporary file"))?;
    let status = std::process::Command::new(&parts.envoy)
        .args(["--mode", "validate", "--log-level", "warning", "-c"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(Error::io(parts.envoy.display().to_string()))?;
    if status.success() { Ok(()) } else { Err(Error::Refused) }
}
