//! `oidc-provider-mock`, the OpenID provider that `make run` starts: one page, on which anybody is
//! whoever they say.
//!
//! <https://github.com/geigerzaehler/oidc-provider-mock>. It takes any client, any secret and any
//! callback, and knows no sessions of its own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::Client;
use crate::http1::Request;
use crate::journal::Journal;
use crate::ports::free_port;
use crate::process::Process;
use crate::relying_party::RelyingParty;
use crate::stack::{loopback, workspace};

/// The running mock. Dropping it kills it.
#[derive(Debug)]
pub struct OidcMock {
    process: Process,
    client: Client,
}

impl OidcMock {
    /// Starts it on a free port, with these accounts to choose from, and returns when it serves.
    ///
    /// # Panics
    /// When it is not installed; the message says what to run.
    pub async fn start(accounts: &[Value]) -> Self {
        Self::with_lifetime(accounts, Duration::from_secs(3600)).await
    }

    /// The same, with tokens that live so many whole seconds.
    ///
    /// # Panics
    /// As [`OidcMock::start`].
    pub async fn with_lifetime(accounts: &[Value], lifetime: Duration) -> Self {
        let program = program();
        assert!(
            program.is_file(),
            "{} is missing. Run `make clients`, or let OIDC_MOCK name the program.",
            program.display()
        );
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--token-max-age", &lifetime.as_secs().to_string()]);
        for account in accounts {
            command.args(["--user-claims", &account.to_string()]);
        }
        let process = Process::start("oidc-provider-mock", &mut command, Arc::new(Journal::default()));
        process.wait_for_line("its port", 0, |line| line.contains("Uvicorn running on")).await;
        Self { process, client: Client::new(loopback(port)) }
    }

    /// The issuer: its URL, without a slash at the end.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.client.address())
    }

    /// Sets an account's claims. One that is not set has an `email`, its name, and nothing else:
    /// no `email_verified`.
    pub async fn set_account(&self, name: &str, claims: Value) {
        let path = format!("/users/{}", crate::url::encode(name));
        let request = Request::new("PUT", &path).header("content-type", "application/json");
        let answer = self.client.send(&request.body(claims.to_string())).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Revokes every token of an account.
    pub async fn revoke(&self, name: &str) {
        let path = format!("/users/{}/revoke-tokens", crate::url::encode(name));
        let answer = self.client.send(&Request::new("POST", &path)).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// A client of it, called back at this URL.
    pub async fn relying_party(&self, redirect_uri: &str) -> RelyingParty {
        RelyingParty::discover(&self.issuer(), "any client", "any secret", redirect_uri).await
    }

    /// What it has printed.
    pub fn log(&self) -> &Journal<String> {
        self.process.log()
    }
}

fn program() -> PathBuf {
    let named = std::env::var_os("OIDC_MOCK").map(PathBuf::from);
    named.unwrap_or_else(|| workspace().join(".tools/oidc-mock/bin/oidc-provider-mock"))
}
