//! A stack whose Envoy runs as a mesh's proxy does.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::{Around, Images, Mesh};
use crate::http1::Request;
use crate::journal::PATIENCE;
use crate::process::Process;
use crate::stack::{Stack, workspace};

impl Stack {
    /// Starts Envoy with what a mesh makes of the manifests, and returns when it serves.
    pub(crate) async fn start_in_mesh(&self, mesh: &Mesh, variables: &[(&str, &str)]) -> Process {
        let manifests = self.manifests_of(mesh).await;
        let bootstrap = mesh.write(&manifests, &self.around(), self.directory());
        let tool = self.lockgate("run");
        let environment: Vec<_> = tool.get_envs().filter_map(|(name, value)| Some((name, value?))).collect();
        let envoy = environment.iter().find(|(name, _)| *name == "ENVOY").expect("ENVOY").1;
        let mut command = Command::new(envoy);
        command.env_clear().envs(environment).envs(variables.iter().copied());
        command.args(["--disable-hot-restart", "--log-level", "warning"]);
        command.args(["--component-log-level", "wasm:info"]);
        command.args(["--concurrency", &self.builder.concurrency.to_string(), "-c"]).arg(bootstrap);
        let process = Process::start("envoy", &mut command, Arc::clone(&self.gateway_log));
        // What it answers depends on what has been applied; that it answers, on every filter being there.
        let health = Request::get("/_lockgate/health").header("host", mesh.host());
        let serving = async {
            while self.client().try_send(&health).await.is_err() {
                assert!(process.is_running(), "{:?}", self.gateway_log.since(0));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, serving).await.is_ok(), "{:?}", self.gateway_log.since(0));
        process
    }

    /// Lets a mesh's agent get the images, or lose them.
    ///
    /// # Panics
    /// When the stack is in no mesh.
    pub async fn update_images(&self, images: Images) {
        let mesh = self.builder.mesh.as_ref().expect("a mesh");
        mesh.serve(&self.manifests_of(mesh).await, &self.around(), self.directory(), images);
    }

    async fn manifests_of(&self, mesh: &Mesh) -> String {
        match &mesh.manifests {
            Some(manifests) => manifests.clone(),
            None => self.manifests().await,
        }
    }

    fn around(&self) -> Around {
        let modules = std::env::var_os("LOCKGATE_MODULES");
        Around {
            gateway: self.gateway,
            admin: self.admin,
            upstream: self.upstream.address(),
            services: self.proxy.address(),
            modules: modules.map_or_else(|| workspace().join("dist"), PathBuf::from),
        }
    }

    /// What `lockgate render --istio` makes of the stack's configuration.
    ///
    /// # Panics
    /// When it refuses it; with what it said.
    pub async fn manifests(&self) -> String {
        let mut command = self.lockgate("render");
        command.arg("--istio");
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread");
        let output = output.expect("the tool");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}
