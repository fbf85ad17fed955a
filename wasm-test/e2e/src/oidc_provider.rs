//! `oidc-provider`, an OpenID provider certified by the OpenID Foundation, run by Node.
//!
//! <https://github.com/panva/node-oidc-provider>. Its own login and consent pages take any name and
//! any password. What a test needs beyond that (accounts, faults, new keys, back-channel logout)
//! goes through a control port, see `clients/oidc-provider/control.mjs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Client;
use crate::http1::{Request, Response};
use crate::journal::{Journal, PATIENCE};
use crate::ports::free_port;
use crate::process::Process;
use crate::relying_party::RelyingParty;
use crate::stack::loopback;

/// The client every provider of the kit knows.
pub const CLIENT_ID: &str = "lockgate e2e";
/// Its secret. Both need encoding in HTTP Basic: RFC 6749, section 2.3.1.
pub const CLIENT_SECRET: &str = "the client's secret: 100% of 32+ bytes";

/// What a provider is to be. Its fields' names and defaults are those of `provider.mjs`.
#[derive(Clone, Debug)]
pub struct Builder {
    settings: Map<String, Value>,
    client: Map<String, Value>,
}

impl Default for Builder {
    fn default() -> Self {
        let settings = json!({
            "host": "127.0.0.1",
            "accounts": {},
            "ttl": {
                "AccessToken": 3600, "ClientCredentials": 3600, "IdToken": 3600, "Interaction": 600,
                "RefreshToken": 86_400, "Session": 86_400, "Grant": 86_400,
            },
            "claims_in_id_token": true,
            "pkce_required": true,
            "refresh_token": "always",
            "rotate": "always",
            "resources": [],
            "opaque": {},
            "token_claims": [],
        });
        let client = json!({
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": ["http://127.0.0.1:1/not-registered-yet"],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        });
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        Self { settings: object(settings), client: object(client) }
    }
}

impl Builder {
    /// Names the provider by another host than 127.0.0.1, for example `localhost`: another site
    /// than the gateway. It listens on 127.0.0.1 all the same.
    pub fn host(self, host: &str) -> Self {
        self.setting("host", json!(host))
    }

    /// An account and its claims; `sub` is the name. Any name that is none of these logs in as a
    /// verified `name@example.com` of no group.
    pub fn account(mut self, name: &str, claims: Value) -> Self {
        self.settings["accounts"][name] = claims;
        self
    }

    /// How long something lives: `AccessToken`, `ClientCredentials`, `IdToken`, `RefreshToken`,
    /// `Session` or `Grant`, in whole seconds.
    pub fn ttl(mut self, of: &str, lifetime: Duration) -> Self {
        self.settings["ttl"][of] = json!(lifetime.as_secs());
        self
    }

    /// Gives claims by the userinfo endpoint alone, as OpenID Connect Core, section 5.4, has it.
    pub fn claims_by_userinfo(self) -> Self {
        self.setting("claims_in_id_token", json!(false))
    }

    /// Gives a refresh token only for the scope `offline_access`.
    pub fn refresh_token_for_offline_access(self) -> Self {
        self.setting("refresh_token", json!("offline_access"))
    }

    /// When a refresh token is replaced: `always` (unless set), `never`, or `default`, the
    /// provider's own policy: for this client, once 70 % of its life are over.
    pub fn rotate(self, when: &str) -> Self {
        self.setting("rotate", json!(when))
    }

    /// Gives access tokens that are JWTs for this resource (RFC 8707, RFC 9068), where it is asked
    /// for; others stay opaque.
    pub fn resource(mut self, resource: &str) -> Self {
        if let Some(Value::Array(resources)) = self.settings.get_mut("resources") {
            resources.push(json!(resource));
        }
        self
    }

    /// Gives access tokens for this resource, of these scopes, that stay opaque.
    pub fn opaque_resource(mut self, resource: &str, scopes: &str) -> Self {
        self.settings["opaque"][resource] = json!(scopes);
        self
    }

    /// Puts these claims of an account into its access tokens: JWTs have them, and introspection
    /// shows them.
    pub fn token_claims(self, names: &[&str]) -> Self {
        self.setting("token_claims", json!(names))
    }

    /// A member of the client's metadata (OpenID Connect Dynamic Client Registration, section 2),
    /// for example `token_endpoint_auth_method` or `id_token_signed_response_alg`; `null` removes it.
    pub fn client(mut self, member: &str, value: Value) -> Self {
        if value.is_null() {
            self.client.remove(member);
        } else {
            self.client.insert(member.to_owned(), value);
        }
        self
    }

    fn setting(mut self, name: &str, value: Value) -> Self {
        self.settings.insert(name.to_owned(), value);
        self
    }

    /// Starts the provider and returns when it serves.
    ///
    /// # Panics
    /// When Node or `oidc-provider` is missing; the message says what to run.
    pub async fn start(mut self) -> OidcProvider {
        let directory = clients_directory().join("oidc-provider");
        let node = Command::new("node").arg("--version").output();
        assert!(
            node.is_ok() && directory.join("node_modules/oidc-provider").is_dir(),
            "the OpenID provider needs Node 20 or newer and its packages. Run `make clients`."
        );
        let port = free_port();
        self.settings.insert("port".to_owned(), json!(port));
        self.settings.insert("clients".to_owned(), json!([self.client]));
        let host = self.settings["host"].as_str().unwrap_or_default();
        let issuer = format!("http://{host}:{port}");
        let settings = Value::Object(self.settings).to_string();
        let mut command = Command::new("node");
        command.arg(directory.join("provider.mjs")).env("OIDC_PROVIDER", settings);
        let process = Process::start("oidc-provider", &mut command, Arc::new(Journal::default()));
        let ready = process.wait_for_line("its port", 0, |line| line.contains("\"ready\"")).await;
        let ready: Value = serde_json::from_str(&ready).expect("a JSON line from the provider");
        let control = ready["control"].as_u64().and_then(|port| u16::try_from(port).ok());
        let control = Client::new(loopback(control.expect("a control port")));
        OidcProvider { process, issuer, control, client: self.client }
    }
}

/// What goes wrong at the provider.
#[derive(Clone, Debug)]
pub enum Wrong {
    /// Answered with this status and body, and not looked at.
    Status(u16, &'static str),
    /// Looked at once the faults are replaced or healed.
    Hold,
    /// Looked at so much later.
    Slow(Duration),
    /// Never answered.
    Hang,
    /// The connection is reset, and the call not looked at.
    Reset,
    /// It takes effect, and the connection is reset instead of an answer.
    AnswerLost,
}

/// A fault of one endpoint: `discovery`, `jwks`, `authorization`, `token`, `userinfo`,
/// `introspection`, `revocation`, `end_session`, `interaction`, `other`, or `*`, all of them.
#[derive(Clone, Debug)]
pub struct ProviderFault {
    endpoint: String,
    wrong: Wrong,
    times: Option<u32>,
}

impl ProviderFault {
    /// Every call to an endpoint meets it.
    pub fn at(endpoint: &str, wrong: Wrong) -> Self {
        Self { endpoint: endpoint.to_owned(), wrong, times: None }
    }

    /// Only so many calls meet it.
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    fn json(&self) -> Value {
        let mut fault = match self.wrong {
            Wrong::Status(status, body) => json!({"mode": "status", "status": status, "body": body}),
            Wrong::Hold => json!({"mode": "hold"}),
            Wrong::Slow(delay) => json!({"mode": "slow", "delay_ms": delay.as_millis() as u64}),
            Wrong::Hang => json!({"mode": "hang"}),
            Wrong::Reset => json!({"mode": "reset"}),
            Wrong::AnswerLost => json!({"mode": "lose"}),
        };
        fault["endpoint"] = json!(self.endpoint);
        if let Some(times) = self.times {
            fault["times"] = json!(times);
        }
        fault
    }
}

/// The running provider. Dropping it kills it.
#[derive(Debug)]
pub struct OidcProvider {
    process: Process,
    issuer: String,
    control: Client,
    client: Map<String, Value>,
}

impl OidcProvider {
    /// A provider with one client, PKCE required, all claims in the ID token, a refresh token for
    /// everybody and a new one at each refresh.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The issuer: its URL, without a slash at the end.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The client's name.
    pub fn client_id(&self) -> &str {
        CLIENT_ID
    }

    /// The client's secret.
    pub fn secret(&self) -> &str {
        CLIENT_SECRET
    }

    /// Tells the provider where the gateway is: its callbacks (the first provider's and those
    /// named in `others`), where it wants to be called back after a logout, and its back-channel
    /// logout endpoint.
    pub async fn register_gateway(&self, public_url: &str, others: &[&str]) {
        let callback = format!("{public_url}/_lockgate/callback");
        let mut callbacks = vec![callback.clone()];
        callbacks.extend(others.iter().map(|name| format!("{callback}/{name}")));
        self.register(json!({
            "redirect_uris": callbacks,
            "post_logout_redirect_uris": [format!("{public_url}/_lockgate/signed-out")],
            "backchannel_logout_uri": format!("{public_url}/_lockgate/back-channel-logout"),
            "backchannel_logout_session_required": true,
        }))
        .await;
    }

    /// Changes members of the client's metadata.
    pub async fn register(&self, changes: Value) {
        let mut client = self.client.clone();
        client.extend(changes.as_object().cloned().unwrap_or_default());
        self.control("client", &Value::Object(client)).await;
    }

    /// A client of this provider, called back at this URL, which is registered for it.
    pub async fn relying_party(&self, redirect_uri: &str) -> RelyingParty {
        self.register(json!({"redirect_uris": [redirect_uri]})).await;
        RelyingParty::discover(&self.issuer, CLIENT_ID, CLIENT_SECRET, redirect_uri).await
    }

    /// Replaces an account's claims.
    pub async fn set_account(&self, name: &str, claims: Value) {
        self.control("account", &json!({"name": name, "claims": claims})).await;
    }

    /// Closes an account: it cannot log in, and its refresh tokens are worth nothing.
    pub async fn close_account(&self, name: &str) {
        self.control("account", &json!({"name": name, "claims": null})).await;
    }

    /// Changes how long something lives, from now on; see [`Builder::ttl`].
    pub async fn set_ttl(&self, of: &str, lifetime: Duration) {
        self.control("ttl", &json!({of: lifetime.as_secs()})).await;
    }

    /// Makes new keys and signs with them. The old ones stay published where `keep` says so.
    pub async fn rotate_keys(&self, keep: bool) {
        self.control("rotate_keys", &json!({"keep": keep})).await;
    }

    /// Fails like this from now on, and no longer as before.
    pub async fn fail(&self, faults: &[ProviderFault]) {
        let faults: Vec<_> = faults.iter().map(ProviderFault::json).collect();
        self.control("fail", &json!(faults)).await;
    }

    /// Ends every fault; what was held goes on.
    pub async fn heal(&self) {
        self.fail(&[]).await;
    }

    /// Ends every session of an account as its administrator would: tokens are revoked, and each
    /// client is told at its back-channel logout endpoint. Returns `[{client, sid, error}]`, how
    /// each client took it.
    pub async fn logout_everywhere(&self, account: &str) -> Value {
        self.control("logout", &json!(account)).await.json()
    }

    /// Every call to an endpoint, or to all (`*`), in order: `{endpoint, method, path, query, form,
    /// authorization, status, fault, error, reason}`. `form` and `status` are there once it has
    /// been answered, `error` and `reason` where a token was refused.
    pub async fn calls(&self, endpoint: &str) -> Vec<Value> {
        let request = Request::get(&format!("/calls?endpoint={endpoint}"));
        self.control.send(&request).await.json().as_array().cloned().unwrap_or_default()
    }

    /// How often an endpoint has been called.
    pub async fn count(&self, endpoint: &str) -> usize {
        self.calls(endpoint).await.len()
    }

    /// Returns when an endpoint has been called so often.
    ///
    /// # Panics
    /// When it has not after [`PATIENCE`].
    pub async fn wait_for_calls(&self, endpoint: &str, count: usize) {
        let request = Request::get(&format!("/reached?endpoint={endpoint}&count={count}"));
        let answer = self.control.try_send(&request).await;
        assert!(answer.is_ok(), "{endpoint} was not called {count} times in {PATIENCE:?}");
    }

    /// How many refresh tokens came that had been used before.
    pub async fn reuses(&self) -> usize {
        let calls = self.calls("token").await;
        calls.iter().filter(|call| call["reason"] == "refresh token already used").count()
    }

    /// What it has printed.
    pub fn log(&self) -> &Journal<String> {
        self.process.log()
    }

    async fn control(&self, command: &str, value: &Value) -> Response {
        let request = Request::post(&format!("/{command}"), "application/json", value.to_string());
        let answer = self.control.send(&request).await;
        assert_eq!(answer.status, 200, "{command}: {}", answer.text());
        answer
    }
}

/// Where the kit's foreign programs are.
pub(crate) fn clients_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
