//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};

use crate::config::Source;
use crate::render::Modules;

/// A door, a notary and a lock chamber in front of one service: Envoy's configuration and life.
#[derive(Debug, Parser)]
#[command(name = "lockgate", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print Envoy's configuration.
    Render {
        /// Where the parts are.
        #[command(flatten)]
        parts: Parts,
        /// Also load it with Envoy's `--mode validate`. For builds and tests; it costs a start.
        #[arg(long)]
        check: bool,
        /// Print what Istio needs instead, for the place that the configuration's `mesh` names.
        #[arg(long, conflicts_with = "check")]
        istio: bool,
        /// Where `lockgate image` has written; the images' digests are put into what Istio needs.
        #[arg(long, requires = "istio")]
        images: Option<PathBuf>,
    },
    /// Pack each module of a directory as an OCI image that Istio takes, and print the images' digests.
    Image {
        /// The directory with the modules.
        #[arg(long, env = "LOCKGATE_MODULES", default_value = "dist")]
        modules: PathBuf,
        /// The OCI layout that is written.
        #[arg(long, default_value = "dist/oci")]
        out: PathBuf,
    },
    /// Have each module of a directory compiled by the Envoy that is to run it, into precompiled/ beside them. `run`
    /// takes what is there if it was made on a processor like its own by the same Envoy: a start takes a third.
    Precompile {
        /// The directory with the modules.
        #[arg(long, env = "LOCKGATE_MODULES", default_value = "dist")]
        modules: PathBuf,
        /// Envoy's binary.
        #[arg(long, env = "ENVOY", default_value = "envoy")]
        envoy: PathBuf,
        /// Only warn where it cannot be done: the modules are then compiled at each start.
        #[arg(long)]
        if_possible: bool,
    },
    /// Start Envoy, stay as its parent, and end it without cutting requests off.
    Run {
        /// Where the parts are.
        #[command(flatten)]
        parts: Parts,
        /// Where the rendered configuration is written.
        #[arg(long, env = "STATE_DIR", default_value = ".lockgate")]
        state_dir: PathBuf,
        /// Envoy's worker threads; by default one for each processor that may be used.
        #[arg(long, env = "ENVOY_CONCURRENCY")]
        concurrency: Option<usize>,
        /// Envoy's log level. From debug on it logs headers, so those levels are not offered.
        #[arg(long, env = "ENVOY_LOG_LEVEL", default_value = "warning", value_parser = LOG_LEVELS)]
        log_level: String,
    },
    /// Stand in for the Google services that Lockgate uses, on one loopback address.
    Local {
        /// The address to listen on.
        #[arg(long, default_value = "127.0.0.1:8085")]
        listen: SocketAddr,
        /// Where its keys, database and secrets are.
        #[arg(long, env = "STATE_DIR", default_value = ".lockgate")]
        state_dir: PathBuf,
    },
    /// List dead letters, or send them to their topic again.
    Replay {
        /// The dead-letter topic's pull subscription, projects/P/subscriptions/S.
        #[arg(long)]
        subscription: String,
        /// Only list them: id, reason, status, method, path, time. The default without --to.
        #[arg(long, conflicts_with = "to")]
        list: bool,
        /// The topic they go to, projects/P/topics/T. Each is acknowledged once it is published.
        #[arg(long)]
        to: Option<String>,
        /// Only these, by the id of the list.
        #[arg(long, value_delimiter = ',', num_args = 1..)]
        ids: Vec<String>,
        /// At most so many.
        #[arg(long, default_value = "1000")]
        limit: NonZeroUsize,
    },
    /// Start everything on this machine, and restart it when something changes.
    Dev {
        /// Where the parts are.
        #[command(flatten)]
        parts: Parts,
        /// Secrets, data and the rendered configuration.
        #[arg(long, env = "STATE_DIR", default_value = ".lockgate")]
        state_dir: PathBuf,
        /// The chain's port.
        #[arg(long, env = "PORT", default_value_t = 8080)]
        port: u16,
        /// Envoy's admin interface's port.
        #[arg(long, env = "ADMIN_PORT", default_value_t = 9901)]
        admin_port: u16,
        /// The local services' port.
        #[arg(long, env = "LOCAL_PORT", default_value_t = 8085)]
        local_port: u16,
        /// The demonstration upstream's port; unused with UPSTREAM_URL.
        #[arg(long, env = "DEMO_UPSTREAM_PORT", default_value_t = 8090)]
        upstream_port: u16,
        /// The program oidc-provider-mock; unused with OIDC_ISSUER. Without either nobody can sign in.
        #[arg(long, env = "OIDC_PROVIDER")]
        oidc_provider: Option<PathBuf>,
        /// Its port.
        #[arg(long, env = "OIDC_PORT", default_value_t = 9400)]
        oidc_port: u16,
        /// A directory whose files, when they change, ask for a rebuild.
        #[arg(long)]
        watch: Vec<PathBuf>,
        /// The shell command that rebuilds.
        #[arg(long)]
        rebuild: Option<String>,
    },
    /// Start a command that ends when this process's parent does.
    #[command(hide = true)]
    BoundToParent {
        /// The parent that started this.
        parent: u32,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
}

const LOG_LEVELS: [&str; 5] = ["info", "warning", "error", "critical", "off"];

/// Where the configuration, Envoy and the filters are.
#[derive(Clone, Debug, Args)]
pub struct Parts {
    /// The configuration; the shipped one by default.
    #[arg(long, env = "LOCKGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Envoy's binary.
    #[arg(long, env = "ENVOY", default_value = "envoy")]
    pub envoy: PathBuf,
    /// The directory with log.wasm and lockgate.wasm, or one module of another name.
    #[arg(long, env = "LOCKGATE_MODULES", default_value = "dist")]
    pub modules: PathBuf,
    /// Take a module for each filter from that directory.
    #[arg(long, env = "LOCKGATE_SEPARATE_MODULES", value_parser = FalseyValueParser::new())]
    pub separate_modules: bool,
}

impl Parts {
    /// Where the filters' code is.
    pub fn modules(&self) -> Modules {
        let modules = Modules::at(&self.modules);
        if self.separate_modules { modules.separate() } else { modules }
    }

    /// Where the configuration is read from.
    pub fn source(&self) -> Source {
        self.config.clone().map_or(Source::Shipped, Source::File)
    }
}
