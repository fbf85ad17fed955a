//! Where the filters' code is, and which module each of them is in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules that hold several filters, the smallest first, and what they hold. Each filter also has one
/// of its own, named after it.
const BUNDLES: [(&str, &[&str]); 4] = [
    (OIDC, &["oidc", "oidc-back-channel"]),
    ("log", &["slack-signature", "form-to-json", "pubsub-enqueue", "pubsub-playback"]),
    (
        "log-identity",
        &["slack-signature", "form-to-json", "pubsub-enqueue", "pubsub-playback", "upstream-identity"],
    ),
    (ALL, &[]),
];

/// The module with every filter.
const ALL: &str = "lockgate";

/// The filter that is in no bundle.
const ALONE: &str = "inverting-proxy";

/// Two filters that are always in one.
const OIDC: &str = "oidc";

/// Where the filters' code is.
#[derive(Clone, Debug)]
pub struct Modules {
    path: PathBuf,
    separate: bool,
    precompiled: bool,
}

impl Modules {
    /// A directory with the modules, or one module that is used whatever its name.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), separate: false, precompiled: false }
    }

    /// The same directory, and from it a module for each filter: each can be replaced by itself, and each is
    /// compiled by itself, which takes longer.
    pub fn separate(mut self) -> Self {
        self.separate = true;
        self
    }

    /// The same modules as they were compiled before, in another directory.
    pub fn precompiled(mut self, directory: &Path) -> Self {
        self.path = directory.to_owned();
        self.precompiled = true;
        self
    }

    /// Whether native code is loaded from them, which Envoy does not verify.
    pub(super) fn are_precompiled(&self) -> bool {
        self.precompiled
    }

    /// The module that `filter` is taken from: the smallest that holds all of `filters`. What is not configured
    /// is not loaded: each byte of a module is compiled before the first answer.
    pub(super) fn file(&self, filters: &BTreeSet<&str>, filter: &str) -> String {
        let path = match self.path.extension() {
            Some(extension) if extension == "wasm" => self.path.clone(),
            _ => self.path.join(format!("{}.wasm", self.module(filters, filter))),
        };
        path.to_string_lossy().into_owned()
    }

    fn module<'a>(&self, filters: &BTreeSet<&str>, filter: &'a str) -> &'a str {
        let bundled = || filters.iter().filter(|filter| **filter != ALONE);
        let holds = |held: &[&str]| bundled().all(|filter| held.contains(filter));
        match filter {
            ALONE => ALONE,
            "oidc-back-channel" if self.separate => OIDC,
            alone if self.separate || bundled().count() == 1 => alone,
            _ => BUNDLES.iter().find(|(_, held)| holds(held)).map_or(ALL, |(name, _)| *name),
        }
    }
}
