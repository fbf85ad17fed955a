//! The one YAML file, as written → as used: read, interpolate, parse, resolve. Whatever is wrong is
//! reported with the field, what was given and what is expected, all of it at once where possible.

mod access;
mod adapter;
mod backends;
mod budgets;
mod cors;
mod events;
mod identity;
mod interpolate;
mod invert;
mod issuer;
mod log;
mod log_format;
mod login;
mod matching;
mod mesh;
mod problem;
mod provider;
mod raw;
mod resolve;
mod resolved;
mod routes;
mod scalars;
mod secret;
mod sign_in;
mod template;
mod tokens;
mod upstream_identity;
mod url;
mod who;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use access::{Access, Effect, Policy};
pub use adapter::Adapter;
pub use backends::Backend;
pub(crate) use budgets::seconds;
pub use budgets::{Budgets, Limits};
pub use cors::Cors;
pub use identity::Assertion;
pub use invert::{Agents, Client, Invert, To};
pub use issuer::ClaimRules;
pub(crate) use issuer::is_plain_http;
pub use log_format::LogFormat;
pub(crate) use login::COOKIE;
pub use login::Login;
pub use matching::{Match, PathMatch};
pub use mesh::{Mesh, Proxy};
pub use problem::{Problem, Problems};
pub use provider::Provider;
pub use resolved::{
    AccessLog, Config, Enqueue, Guard, HeaderPolicy, Log, Push, Reply, Restored, Rewrite, Route, Services,
    Signature, Slack, Upstream,
};
pub use secret::SecretName;
pub use sign_in::SignIn;
pub(crate) use tokens::GOOGLE;
pub use tokens::{AudienceClaim, Google, Introspection, Jwt, Tokens};
pub use upstream_identity::{IdentityHeader, UpstreamIdentity};
pub use url::{Scheme, Url};
pub use who::Who;

/// The environment that the configuration is written in terms of. A variable set to nothing counts
/// as unset.
pub type Environment = BTreeMap<String, String>;

/// The configuration as shipped, used when no file is named.
pub const SHIPPED: &str = include_str!("../../../envoy/lockgate.yaml");

/// Where a configuration is read from.
#[derive(Clone, Debug)]
pub enum Source {
    /// [`SHIPPED`].
    Shipped,
    /// A file; adapters are looked for beside it.
    File(PathBuf),
}

/// Reads and checks the configuration.
///
/// # Errors
/// A file that cannot be read, text that is not YAML, and every field that cannot be used.
pub fn load(source: &Source, environment: &Environment) -> Result<Config, Problems> {
    match source {
        Source::Shipped => parse(SHIPPED, Path::new("."), environment),
        Source::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Problem::new("LOCKGATE_CONFIG", format!("{} cannot be read: {error}", path.display()))
            })?;
            parse(&text, path.parent().unwrap_or(Path::new(".")), environment)
        }
    }
}

/// Checks the configuration in `text`; adapter files are relative to `directory`.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, directory: &Path, environment: &Environment) -> Result<Config, Problems> {
    let mut tree: serde_norway::Value = serde_norway::from_str(text)
        .map_err(|error| Problem::new("the file", format!("is not YAML: {error}")))?;
    let variables = interpolate::interpolate(&mut tree, environment)?;
    let raw: raw::Raw = serde_path_to_error::deserialize(tree).map_err(|error| {
        let field = error.path().to_string();
        Problem::new(
            if field == "." { "the file" } else { &field },
            without_values(&error.into_inner().to_string()),
        )
    })?;
    resolve::resolve(raw, &resolve::Context { environment, variables: &variables, directory })
}

/// What stands where a secret's name belongs may be the secret, and serde repeats it.
fn without_values(message: &str) -> String {
    match (message.strip_prefix("invalid type: string"), message.rsplit_once(", expected ")) {
        (Some(_), Some((_, expected))) => format!("given a text, expected {expected}"),
        _ => message.to_owned(),
    }
}
