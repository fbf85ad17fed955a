//! Lockgate as it is deployed: the shipped modules in what the tool renders of the shipped configuration
//! and environment variables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Kit, Recipe, workspace};
use crate::Result;
use crate::process::free_address;
use crate::tokens::{CLIENT_ID, DOMAIN, PROGRAM, PUSHER};

/// How the world reaches every contender: its cookies and tokens are for this, whatever port it is on.
pub(crate) const PUBLIC_URL: &str = "http://127.0.0.1:8080";
/// See [`PUBLIC_URL`].
pub(crate) const PUBLIC_HOST: &str = "127.0.0.1:8080";
/// What push tokens are for.
pub(crate) const PUSH_AUDIENCE: &str = "http://127.0.0.1:8080/wal-playback";
/// The Slack app's signing secret.
pub(crate) const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

const COOKIE_SECRET: &str = "bG9ja2dhdGUtYmVuY2gtY29va2llLXNlY3JldC0zMmI=";
const LOG_KEY: &str = "bG9ja2dhdGUtYmVuY2gtbG9nLWtleS1vZi0zMi1ieXQ=";

/// Which groups of variables are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// Slack and the log: `log.wasm`.
    Log,
    /// These and sign-in: `lockgate.wasm`.
    Whole,
}

impl Chain {
    fn module(self) -> &'static str {
        match self {
            Self::Log => "log.wasm",
            Self::Whole => "lockgate.wasm",
        }
    }
}

/// A deployment to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    pub(crate) chain: Chain,
    /// The directory of the modules; the kit's where absent.
    pub(crate) modules: Option<PathBuf>,
    /// Each filter from a module of its own, instead of one module for all.
    pub(crate) separate: bool,
    /// Whether envelopes are sealed, `LOG_KEY`.
    pub(crate) sealed: bool,
    pub(crate) workers: usize,
    /// Keys that the token issuer publishes.
    pub(crate) keys: usize,
    /// Routes with a rule of their own, before the shipped ones.
    pub(crate) routes: usize,
}

impl Deployment {
    /// One worker, one key, the shipped routes.
    pub(crate) fn of(chain: Chain) -> Self {
        Self { chain, modules: None, separate: false, sealed: true, workers: 1, keys: 1, routes: 0 }
    }

    /// Its usual name in tables.
    pub(crate) fn name(&self) -> String {
        let chain = match (self.separate, self.chain) {
            (true, Chain::Log) => "Lockgate, log, separate modules",
            (true, Chain::Whole) => "Lockgate, whole, separate modules",
            (false, Chain::Log) => "Lockgate, log.wasm",
            (false, Chain::Whole) => "Lockgate, lockgate.wasm",
        };
        let beside = if self.modules.is_some() { ", beside" } else { "" };
        [chain, beside].concat()
    }
}

impl Kit {
    /// Envoy on what the tool renders for a deployment.
    pub(crate) fn lockgate(&self, deployment: &Deployment) -> Result<Recipe> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut environment = self.environment(deployment, address.port(), admin.port())?;
        if deployment.separate {
            environment.push(("LOCKGATE_SEPARATE_MODULES".to_owned(), "true".to_owned()));
        }
        let file = self.write("lockgate.yaml", &self.render(&environment)?)?;
        Ok(self.envoy(&deployment.name(), &file, address, deployment.workers, environment))
    }

    /// Lockgate's modules with what this Envoy makes of them, as the container has them.
    pub(crate) fn precompiled(&self) -> Result<PathBuf> {
        let directory = self.scratch("modules");
        fs::create_dir(&directory)?;
        for name in ["log.wasm", "lockgate.wasm"] {
            fs::copy(self.modules.join(name), directory.join(name))?;
        }
        let mut command = Command::new(&self.tool);
        command.arg("precompile").arg("--modules").arg(&directory).arg("--envoy").arg(&self.envoy);
        let output = command.env_clear().output()?;
        if !output.status.success() {
            return Err(format!("lockgate precompile: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(directory)
    }

    /// `lockgate run`, which takes modules that were compiled before where the deployment's directory has them.
    pub(crate) fn lockgate_run(&self, deployment: &Deployment) -> Result<Recipe> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut environment = self.environment(deployment, address.port(), admin.port())?;
        let state = self.scratch("state");
        for (name, value) in [
            ("ENVOY", self.envoy.to_string_lossy().into_owned()),
            ("ENVOY_CONCURRENCY", deployment.workers.to_string()),
            ("STATE_DIR", state.to_string_lossy().into_owned()),
        ] {
            environment.push((name.to_owned(), value));
        }
        Ok(Recipe {
            name: ["lockgate run, ", deployment.chain.module()].concat(),
            address,
            program: self.tool.clone(),
            arguments: vec!["run".to_owned()],
            environment,
            log: self.scratch("run.log"),
        })
    }

    /// What the tool renders, as a tree.
    pub(super) fn rendered(&self, deployment: &Deployment, port: u16, admin: u16) -> Result<Value> {
        let yaml = self.render(&self.environment(deployment, port, admin)?)?;
        Ok(serde_norway::from_str(&yaml)?)
    }

    fn directory<'a>(&'a self, deployment: &'a Deployment) -> &'a Path {
        deployment.modules.as_deref().unwrap_or(&self.modules)
    }

    fn render(&self, environment: &[(String, String)]) -> Result<String> {
        let mut command = Command::new(&self.tool);
        command.arg("render").env_clear().current_dir(workspace());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("lockgate render: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn environment(&self, deployment: &Deployment, port: u16, admin: u16) -> Result<Vec<(String, String)>> {
        let backend = self.backend.url();
        let mut variables = vec![
            ("LOCKGATE_MODULES", self.directory(deployment).to_string_lossy().into_owned()),
            ("PORT", port.to_string()),
            ("ADMIN_PORT", admin.to_string()),
            ("PUBLIC_URL", PUBLIC_URL.to_owned()),
            ("UPSTREAM_URL", backend.clone()),
            ("GOOGLE_API_BASE", backend.clone()),
            ("METADATA_BASE", backend.clone()),
            ("SLACK_SIGNING_SECRET", SLACK_SECRET.to_owned()),
            ("PUBSUB_TOPIC", "projects/bench/topics/log".to_owned()),
            ("DEAD_LETTER_TOPIC", "projects/bench/topics/dead-letters".to_owned()),
            ("PUSH_AUDIENCE", PUSH_AUDIENCE.to_owned()),
            ("PUSH_SERVICE_ACCOUNT", PUSHER.to_owned()),
            ("PUSH_ISSUER", backend),
        ];
        if deployment.sealed {
            variables.push(("LOG_KEY", LOG_KEY.to_owned()));
        }
        if deployment.chain == Chain::Whole {
            let issuer = self.backend.issuer(deployment.keys);
            variables.extend([
                ("OIDC_ISSUER", issuer.clone()),
                ("OIDC_CLIENT_ID", CLIENT_ID.to_owned()),
                ("OIDC_CLIENT_SECRET", "bench-client-secret".to_owned()),
                ("COOKIE_SECRET", COOKIE_SECRET.to_owned()),
                ("ALLOWED_EMAIL_DOMAINS", DOMAIN.to_owned()),
                ("ALLOWED_SERVICE_ACCOUNTS", PROGRAM.to_owned()),
                ("TOKEN_ISSUER", issuer),
            ]);
        }
        if deployment.routes > 0 {
            let file = self.write("config.yaml", &with_routes(deployment.routes)?)?;
            variables.push(("LOCKGATE_CONFIG", file.to_string_lossy().into_owned()));
        }
        Ok(variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// The path of one of the routes that a deployment has before the shipped ones.
pub(super) fn route_prefix(number: usize) -> String {
    format!("/part-{number}")
}

/// The shipped configuration with so many routes before its own, each with a rule about who may pass.
fn with_routes(routes: usize) -> Result<String> {
    let shipped = fs::read_to_string(workspace().join("envoy/lockgate.yaml"))?;
    let mut config: Value = serde_norway::from_str(&shipped)?;
    let more = (1..=routes).map(|number| {
        json!({
            "name": format!("part-{number}"),
            "match": {"path_prefix": route_prefix(number)},
            "guard": "oidc",
            "allow": [{"emails": [PROGRAM]}],
        })
    });
    let routes = config["routes"].as_array_mut().ok_or("the shipped configuration has no routes")?;
    routes.splice(0..0, more);
    Ok(config.to_string())
}
