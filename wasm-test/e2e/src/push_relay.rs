//! Makes of the Pub/Sub emulator what the chain expects of Google: pushes bear a token, and the
//! other services are at the same address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lockgate_local::{Signer, id_token_claims};
use serde_json::{Value, json};

use crate::fault_proxy::forward;
use crate::http1::Request;
use crate::server::{Reply, Server, Service};
use crate::slack::now;
use crate::{Client, Response};

/// The relay, on a port of its own.
#[derive(Debug)]
pub(crate) struct PushRelay {
    server: Server<Relay>,
}

impl PushRelay {
    /// Listens on a port.
    pub(crate) fn start(
        port: u16,
        emulator: SocketAddr,
        services: SocketAddr,
        state_directory: &Path,
    ) -> Self {
        let relay = Relay {
            own_url: format!("http://127.0.0.1:{port}"),
            emulator: Client::new(emulator),
            services: Client::new(services),
            issuer: format!("http://{services}"),
            state_directory: state_directory.to_owned(),
            pushed: Mutex::default(),
        };
        Self { server: Server::start(port, Arc::new(relay)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

#[derive(Debug)]
struct Relay {
    own_url: String,
    emulator: Client,
    services: Client,
    issuer: String,
    state_directory: PathBuf,
    pushed: Mutex<Vec<Arc<Pushed>>>,
}

/// What a subscription says about its pushes.
#[derive(Debug)]
struct Pushed {
    endpoint: Client,
    target: String,
    audience: String,
    account: String,
    token: OnceLock<String>,
}

impl Service for Relay {
    async fn reply(&self, mut request: Request) -> Reply {
        let answer = if let Some(number) = request.path().strip_prefix(PUSH_PATH) {
            let pushed = number.parse().ok().and_then(|number: usize| self.pushed().get(number).cloned());
            let pushed = pushed.unwrap_or_else(|| panic!("a push of no subscription: {}", request.target));
            self.push(&pushed, request).await
        } else if is_pubsub(request.path()) {
            self.keep_push_settings(&mut request);
            forward(&self.emulator, &request).await
        } else {
            forward(&self.services, &request).await
        };
        answer.map_or(Reply::Reset, |answer| Reply::Bytes(answer.to_bytes()))
    }
}

impl Relay {
    fn pushed(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pushed>>> {
        self.pushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new subscription with signed pushes gets them by way of this relay.
    fn keep_push_settings(&self, request: &mut Request) {
        let Ok(mut settings) = serde_json::from_slice::<Value>(&request.body) else { return };
        let Some(config) = settings.get_mut("pushConfig") else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (endpoint, token) = (text(&config["pushEndpoint"]), config["oidcToken"].clone());
        if request.method != "PUT" || token.is_null() {
            return;
        }
        let (address, target) = split_url(&endpoint);
        let mut pushed = self.pushed();
        config["pushEndpoint"] = json!(format!("{}{PUSH_PATH}{}", self.own_url, pushed.len()));
        pushed.push(Arc::new(Pushed {
            endpoint: Client::new(address),
            target,
            audience: text(&token["audience"]),
            account: text(&token["serviceAccountEmail"]),
            token: OnceLock::new(),
        }));
        request.body = settings.to_string().into_bytes();
    }

    async fn push(&self, pushed: &Pushed, mut request: Request) -> Option<Response> {
        let token = pushed.token.get_or_init(|| {
            let claims = id_token_claims(&self.issuer, &pushed.audience, &pushed.account, now());
            let signer = Signer::load(&self.state_directory).expect("the signing key");
            signer.sign_id_token(&claims).expect("sign a token")
        });
        request.target.clone_from(&pushed.target);
        request.headers.remove("host");
        forward(&pushed.endpoint, &request.header("authorization", format!("Bearer {token}"))).await
    }
}

const PUSH_PATH: &str = "/push/";

/// Whether the emulator answers for this path of Google's APIs.
fn is_pubsub(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    let (version, projects) = (segments.next(), segments.next());
    let collection = segments.nth(1).unwrap_or_default();
    (version, projects) == (Some("v1"), Some("projects")) && matches!(collection, "topics" | "subscriptions")
}

fn split_url(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = address.parse().unwrap_or_else(|_| panic!("not a loopback endpoint: {url}"));
    (address, if path.is_empty() { "/" } else { path }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_subscriptions_are_the_emulators_and_nothing_else_is() {
        for path in
            ["/v1/projects/p/topics/t:publish", "/v1/projects/p/subscriptions", "/v1/projects/p/topics"]
        {
            assert!(is_pubsub(path), "{path}");
        }
        for path in ["/oauth2/v3/certs", "/v1/projects/p/secrets/s/versions/1:access", "/v1/projects/p", "/"]
        {
            assert!(!is_pubsub(path), "{path}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address_and_a_target() {
        let address = "127.0.0.1:80".parse().unwrap();
        assert_eq!(split_url("http://127.0.0.1:80/a?b=/c"), (address, "/a?b=/c".to_owned()));
        assert_eq!(split_url("http://127.0.0.1:80"), (address, "/".to_owned()));
    }
}
