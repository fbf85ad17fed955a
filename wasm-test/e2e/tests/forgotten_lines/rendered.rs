//! The configuration that the tool makes of a file, to be changed by hand and given to Envoy alone.

use std::fmt;
use std::process::Command;
use std::sync::Arc;

use lockgate_e2e::{Journal, Process, Stack};
use serde_json::Value;

const ROUTES: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes";

/// Envoy's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Rendered(Value);

/// What a line of the route table says to a filter.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The line's place in the table.
    number: usize,
    /// The line's name.
    pub(crate) route: String,
    /// The filter's name.
    pub(crate) filter: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} without {}", self.route, self.filter)
    }
}

impl Rendered {
    /// What `lockgate render` makes of a stack's file.
    ///
    /// # Panics
    /// When it refuses the file; with what it said.
    pub(crate) async fn of(stack: &Stack) -> Self {
        let mut command = stack.lockgate("render");
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread");
        let output = output.expect("the tool");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(serde_norway::from_slice(&output.stdout).expect("YAML from `lockgate render`"))
    }

    /// Every entry of every line, in order.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let routes = self.0.pointer(ROUTES).and_then(Value::as_array).expect("a route table");
        let mut entries = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            let name = route["name"].as_str().expect("a name");
            for (filter, _) in route["typed_per_filter_config"].as_object().into_iter().flatten() {
                entries.push(Entry { number, route: name.to_owned(), filter: filter.clone() });
            }
        }
        entries
    }

    /// The same without one of its entries.
    ///
    /// # Panics
    /// When it has no such entry.
    pub(crate) fn without(&self, entry: &Entry) -> Self {
        let mut changed = self.clone();
        let pointer = format!("{ROUTES}/{}/typed_per_filter_config", entry.number);
        let filters = changed.0.pointer_mut(&pointer).and_then(Value::as_object_mut);
        let removed = filters.and_then(|filters| filters.shift_remove(&entry.filter));
        assert!(removed.is_some(), "no {entry:?}");
        changed
    }

    /// Starts Envoy alone with this configuration, in the place of a stack's, which must have been
    /// killed, and with the environment that the tool would give it.
    ///
    /// # Panics
    /// When it does not start; with what it printed.
    pub(crate) async fn start(&self, stack: &Stack) -> Process {
        let file = stack.directory().join("changed.json");
        std::fs::write(&file, self.0.to_string()).expect("write");
        let tool = stack.lockgate("run");
        let environment: Vec<_> = tool.get_envs().filter_map(|(name, value)| Some((name, value?))).collect();
        let envoy = environment.iter().find(|(name, _)| *name == "ENVOY").expect("ENVOY").1;
        let mut command = Command::new(envoy);
        command.env_clear().envs(environment);
        command.current_dir(tool.get_current_dir().expect("a directory"));
        command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "info", "-c"]).arg(&file);
        let envoy = Process::start("envoy", &mut command, Arc::new(Journal::default()));
        envoy.wait_for_line("its workers", 0, |line| line.contains("starting workers")).await;
        stack.client().wait_for_listener().await;
        envoy
    }
}
