//! Where the filters' code is, and which module each of them is in.

use std::path::{Path, PathBuf};

use crate::config::Config;

/// The module with every filter of the write-ahead log.
const LOG: &str = "log";

/// The module with every filter.
const ALL: &str = "lockgate";

/// Where the filters' code is.
#[derive(Clone, Debug)]
pub struct Modules {
    path: PathBuf,
    separate: bool,
}

impl Modules {
    /// A directory with `log.wasm` and `lockgate.wasm`, or one module that is used whatever its name.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), separate: false }
    }

    /// The same directory, and from it a module for each filter: each can be replaced by itself, and each is
    /// compiled by itself, which takes longer.
    pub fn separate(mut self) -> Self {
        self.separate = true;
        self
    }

    /// What is not configured is not loaded: each byte of a module is compiled before the first answer.
    pub(super) fn file(&self, config: &Config, root_id: &str) -> String {
        let module = match (self.separate, &config.sign_in) {
            // Two filters of one module.
            (true, _) if root_id == "oidc-back-channel" => "oidc",
            (true, _) => root_id,
            (false, Some(_)) => ALL,
            (false, None) => LOG,
        };
        let path = match self.path.extension() {
            Some(extension) if extension == "wasm" => self.path.clone(),
            _ => self.path.join(module).with_extension("wasm"),
        };
        path.to_string_lossy().into_owned()
    }
}
