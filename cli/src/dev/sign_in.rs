//! Sign-in on a laptop: a provider that believes everybody, and the variables that make it ours.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use super::process::{Error, Process};
use super::secrets;
use crate::config::Environment;
use crate::{child, http};

/// Whom the provider's page offers. Only the first two are of the domain that is let in.
pub(super) const USERS: [(&str, &str); 3] =
    [("alice@example.com", "Alice"), ("bob@example.com", "Bob"), ("mallory@elsewhere.test", "Mallory")];

const DOMAIN: &str = "example.com";

/// Whom people sign in with.
#[derive(Clone, Debug)]
pub(super) enum Provider {
    /// The one that `OIDC_ISSUER` names.
    Theirs,
    /// `oidc-provider-mock`, started here.
    Ours {
        /// Its program.
        program: PathBuf,
        /// Where it listens.
        address: SocketAddr,
    },
}

impl Provider {
    /// `None` where there is none to be had: the door then stays closed.
    pub(super) fn chosen(
        environment: &Environment,
        program: Option<&Path>,
        address: SocketAddr,
    ) -> Option<Self> {
        if is_set(environment, "OIDC_ISSUER") {
            return Some(Self::Theirs);
        }
        Some(Self::Ours { program: program?.to_owned(), address })
    }

    /// The port that must be free.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Theirs => None,
            Self::Ours { address, .. } => Some(*address),
        }
    }

    /// Starts it, where it is ours.
    pub(super) async fn start(&self, directory: &Path) -> Result<Option<Process>, Error> {
        const NAME: &str = "sign-in provider";
        let Self::Ours { program, address } = self else { return Ok(None) };
        let command = command(program, *address).map_err(|error| Error::Io { name: NAME, error })?;
        let log = directory.join("sign-in-provider.log");
        let process = Process::start_until(NAME, command, &log, ready(*address)).await?;
        Ok(Some(process))
    }

    /// What the chain needs to know, as far as it is not said in the environment.
    pub(super) fn variables(
        &self,
        environment: &Environment,
        directory: &Path,
        services: SocketAddr,
    ) -> io::Result<Vec<(&'static str, String)>> {
        let mut variables = Vec::new();
        if let Self::Ours { address, .. } = self {
            variables.extend([
                ("OIDC_ISSUER", format!("http://{address}")),
                ("OIDC_CLIENT_ID", "lockgate".to_owned()),
                ("OIDC_CLIENT_SECRET", secrets::kept(&directory.join("oidc-client-secret"))?),
                ("ALLOWED_EMAIL_DOMAINS", DOMAIN.to_owned()),
            ]);
        }
        variables.push(("COOKIE_SECRET", secrets::kept(&directory.join("cookie-secret"))?));
        variables.push(("ASSERTION_KEY", secrets::kept_key(&directory.join("assertion-key"))?));
        if admits_services(environment) {
            variables.extend([
                ("TOKEN_ISSUER", format!("http://{services}")),
                // It has no endpoints but this one, so its metadata is none of a provider's.
                ("TOKEN_JWKS_URI", format!("http://{services}/oauth2/v3/certs")),
                ("ALLOWED_SERVICE_ACCOUNTS", service_account(services)),
            ]);
        }
        variables.retain(|(name, _)| !is_set(environment, name));
        Ok(variables)
    }
}

/// Whether the local services' own account is let in.
pub(super) fn admits_services(environment: &Environment) -> bool {
    !["ALLOWED_SERVICE_ACCOUNTS", "TOKEN_ISSUER"].iter().any(|name| is_set(environment, name))
}

/// Whose tokens the local metadata server hands out.
fn service_account(services: SocketAddr) -> String {
    lockgate_local::Options::new(services, PathBuf::new()).service_account
}

fn is_set(environment: &Environment, name: &str) -> bool {
    environment.get(name).is_some_and(|value| !value.is_empty())
}

fn command(program: &Path, address: SocketAddr) -> io::Result<Command> {
    let mut command = child::bound(program.as_os_str())?;
    command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    for (email, name) in USERS {
        // Whom it is not told of, it gives no `email_verified`, and so the door lets nobody else in.
        let claims = json!({"sub": email, "email": email, "email_verified": true, "name": name});
        command.arg("--user-claims").arg(claims.to_string());
    }
    Ok(command)
}

async fn ready(address: SocketAddr) {
    let path = "/.well-known/openid-configuration";
    while !http::get(address, path).await.is_ok_and(|answer| answer.status == 200) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
