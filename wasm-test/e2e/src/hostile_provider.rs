//! An OpenID provider that does whatever a test says: honest until told otherwise.
//!
//! It shows no forms: whoever comes to its authorization endpoint is sent back at once, as the
//! person that [`HostileProvider::set_person`] names. It checks what an honest provider checks
//! (client, redirect URI, PKCE, one use of a code), rotates refresh tokens and notices their reuse
//! (RFC 9700, section 4.14.2). What it answers can be replaced ([`HostileProvider::answer`]), edited
//! ([`HostileProvider::edit`]), delayed, held, or lost.

mod endpoints;
mod grants;
mod minting;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::http1::{Request, Response};
use crate::journal::Journal;
use crate::oidc_provider::{CLIENT_ID, CLIENT_SECRET};
use crate::ports::free_port;
use crate::server::{Reply, Server, Service};
use crate::signing_keys::{Jwt, SigningKey};
use crate::upstream::Answer;
use crate::url::decode_form;

use grants::Grants;

/// What it is asked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/.well-known/openid-configuration`
    Discovery,
    /// `/authorize`
    Authorize,
    /// `/token`
    Token,
    /// `/jwks`
    Jwks,
    /// `/userinfo`
    Userinfo,
    /// `/logout`: RP-initiated logout, without a question.
    EndSession,
    /// `/introspect` (RFC 7662), for a client by HTTP Basic or with a token of its own.
    Introspection,
    /// `/tokeninfo`, in the manner of Google's.
    Tokeninfo,
    /// Anything else: 404.
    Other,
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct ProviderCall {
    /// Where to.
    pub endpoint: Endpoint,
    /// The whole of it.
    pub request: Request,
}

impl ProviderCall {
    /// The parameters in its query and its form, decoded.
    pub fn parameters(&self) -> Vec<(String, String)> {
        parameters(&self.request)
    }

    /// A parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters().into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// How it does what it does when nothing else is said.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Its clients, each with its secret, or without one: a public client.
    pub clients: Vec<(String, Option<String>)>,
    /// How long an access token lives.
    pub access_lifetime: Duration,
    /// How long an ID token is valid.
    pub id_lifetime: Duration,
    /// Whether it gives refresh tokens.
    pub refresh_tokens: bool,
    /// Whether it gives a new one at each refresh, and revokes all when an old one is used.
    pub rotates: bool,
    /// Whether a refresh gives a new ID token, too.
    pub id_token_on_refresh: bool,
    /// Whether the ID token has the person's claims; the userinfo endpoint has them always.
    pub claims_in_id_token: bool,
    /// The audience of access tokens that are JWTs (RFC 9068); without one they are opaque.
    pub jwt_access_tokens_for: Option<String>,
    /// Whether the redirect names the issuer: `iss`, RFC 9207.
    pub names_itself: bool,
    /// The `sid` of every ID token; without one each sign-in has its own.
    pub sid: Option<String>,
}

impl Default for Manners {
    fn default() -> Self {
        let client = (CLIENT_ID.to_owned(), Some(CLIENT_SECRET.to_owned()));
        Self {
            clients: vec![client],
            access_lifetime: Duration::from_secs(3600),
            id_lifetime: Duration::from_secs(3600),
            refresh_tokens: true,
            rotates: true,
            id_token_on_refresh: true,
            claims_in_id_token: true,
            jwt_access_tokens_for: None,
            names_itself: true,
            sid: None,
        }
    }
}

type AnswerRule = Arc<dyn Fn(&Request) -> Option<Answer> + Send + Sync>;
type EditRule = Arc<dyn Fn(&Request, &mut Response) + Send + Sync>;
type TokenRule = Arc<dyn Fn(&mut Jwt) + Send + Sync>;
type RedirectRule = Arc<dyn Fn(&mut Vec<(String, String)>) + Send + Sync>;

// Cloned before a rule is called, so that a rule may ask the provider, or change its rules.
#[derive(Clone, Default)]
struct Rules {
    answers: Vec<(Endpoint, AnswerRule)>,
    edits: Vec<(Endpoint, EditRule)>,
    id_tokens: Vec<TokenRule>,
    redirects: Vec<RedirectRule>,
    delays: Vec<(Endpoint, Duration)>,
    holds: Vec<(Endpoint, watch::Receiver<()>)>,
    lost: Vec<(Endpoint, usize)>,
}

#[derive(Debug)]
struct Keys {
    signing: SigningKey,
    published: Vec<SigningKey>,
}

struct State {
    issuer: String,
    /// The path in the issuer, which stands before the paths of the endpoints.
    base: String,
    calls: Journal<ProviderCall>,
    manners: Mutex<Manners>,
    person: Mutex<Value>,
    keys: Mutex<Keys>,
    grants: Mutex<Grants>,
    rules: Mutex<Rules>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostileProvider({}, {} calls)", self.issuer, self.calls.len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parameters(request: &Request) -> Vec<(String, String)> {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    [decode_form(query), decode_form(&request.text())].concat()
}

/// The provider. Dropping it closes its port.
#[derive(Debug)]
pub struct HostileProvider {
    server: Server<State>,
    state: Arc<State>,
}

/// Calls that wait for an answer. Dropping it lets them have it.
#[derive(Debug)]
pub struct Hold {
    _open: watch::Sender<()>,
}

impl Hold {
    /// Answers what waits, and all that comes from now on.
    pub fn release(self) {}
}

impl HostileProvider {
    /// Starts it on a free port, as `http://127.0.0.1:port`.
    pub fn start() -> Self {
        Self::named("127.0.0.1", "")
    }

    /// Starts it under another name of this machine, or with a path in its issuer (`/tenant`).
    pub fn named(host: &str, base: &str) -> Self {
        let port = free_port();
        let key = SigningKey::rsa(0);
        let state = Arc::new(State {
            issuer: format!("http://{host}:{port}{base}"),
            base: base.to_owned(),
            calls: Journal::default(),
            manners: Mutex::default(),
            person: Mutex::new(json!({
                "sub": "person-1", "email": "person@example.com", "email_verified": true,
                "name": "A Person", "groups": ["staff"],
            })),
            keys: Mutex::new(Keys { signing: key.clone(), published: vec![key] }),
            grants: Mutex::default(),
            rules: Mutex::default(),
        });
        Self { server: Server::start(port, Arc::clone(&state)), state }
    }

    /// The issuer: its URL, without a slash at the end.
    pub fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// The URL of a path of its own.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.state.issuer)
    }

    /// Every call, in order, from the moment it was read.
    pub fn calls(&self) -> &Journal<ProviderCall> {
        &self.state.calls
    }

    /// The calls to one endpoint.
    pub fn calls_to(&self, endpoint: Endpoint) -> Vec<ProviderCall> {
        self.state.calls.matching(|call| call.endpoint == endpoint)
    }

    /// How often an endpoint has been called.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.calls_to(endpoint).len()
    }

    /// Returns when an endpoint has been called so often.
    ///
    /// # Panics
    /// When it has not after [`crate::journal::PATIENCE`].
    pub async fn wait_for_calls(&self, endpoint: Endpoint, count: usize) -> Vec<ProviderCall> {
        let what = format!("{count} calls to {endpoint:?}");
        self.state.calls.wait_for(&what, count, |call| call.endpoint == endpoint).await
    }

    /// Who logs in from now on: claims, `sub` among them.
    pub fn set_person(&self, claims: Value) {
        *lock(&self.state.person) = claims;
    }

    /// Changes its manners.
    pub fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut lock(&self.state.manners));
    }

    /// Answers an endpoint by this rule, which takes no effect beyond its answer; where it says
    /// `None` the rules given earlier decide, and in the end honesty.
    pub fn answer(&self, at: Endpoint, rule: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) {
        self.rules().answers.push((at, Arc::new(rule)));
    }

    /// Answers an endpoint with this status and JSON, always.
    pub fn answer_json(&self, at: Endpoint, status: u16, body: &Value) {
        let answer = Answer::with_body(status, "application/json", &body.to_string());
        self.answer(at, move |_| Some(answer.clone()));
    }

    /// Changes the honest answers of an endpoint.
    pub fn edit(&self, at: Endpoint, rule: impl Fn(&Request, &mut Response) + Send + Sync + 'static) {
        self.rules().edits.push((at, Arc::new(rule)));
    }

    /// Changes the JSON of the honest answers of an endpoint.
    pub fn edit_json(&self, at: Endpoint, rule: impl Fn(&mut Value) + Send + Sync + 'static) {
        self.edit(at, move |_, response| {
            let mut body = response.json();
            rule(&mut body);
            response.body = body.to_string().into_bytes();
        });
    }

    /// Changes ID tokens before they are signed.
    pub fn edit_id_token(&self, rule: impl Fn(&mut Jwt) + Send + Sync + 'static) {
        self.rules().id_tokens.push(Arc::new(rule));
    }

    /// Changes the parameters of the redirect back to the client.
    pub fn edit_redirect(&self, rule: impl Fn(&mut Vec<(String, String)>) + Send + Sync + 'static) {
        self.rules().redirects.push(Arc::new(rule));
    }

    /// Answers an endpoint so much later.
    pub fn delay(&self, at: Endpoint, delay: Duration) {
        self.rules().delays.push((at, delay));
    }

    /// Holds what comes to an endpoint, before it takes effect, until the test lets it go.
    pub fn hold(&self, at: Endpoint) -> Hold {
        let (open, held) = watch::channel(());
        self.rules().holds.push((at, held));
        Hold { _open: open }
    }

    /// Lets the next so many calls to an endpoint take effect, and resets their connections
    /// instead of an answer.
    pub fn lose_answers(&self, at: Endpoint, times: usize) {
        self.rules().lost.push((at, times));
    }

    /// Is honest again. Its manners and keys stay as they are, and what a [`Hold`] holds waits on.
    pub fn heal(&self) {
        *self.rules() = Rules::default();
    }

    /// Signs with this key from now on, and publishes it. The ones before stay published where
    /// `keep` says so.
    pub fn rotate_keys(&self, key: SigningKey, keep: bool) {
        let mut keys = lock(&self.state.keys);
        if !keep {
            keys.published.clear();
        }
        keys.published.insert(0, key.clone());
        keys.signing = key;
    }

    /// The key it signs with.
    pub fn key(&self) -> SigningKey {
        lock(&self.state.keys).signing.clone()
    }

    /// How many refresh tokens came that had been used before; each revoked what its sign-in had
    /// been given.
    pub fn reuses(&self) -> usize {
        lock(&self.state.grants).reuses
    }

    /// Ends every sign-in: refresh tokens get `invalid_grant`, access tokens are not known.
    pub fn revoke_everything(&self) {
        lock(&self.state.grants).revoke_everything();
    }

    /// Closes the port and every connection, and returns when they are closed.
    pub async fn leave(&self) {
        self.server.close().await;
    }

    /// Listens again, on the same port.
    pub fn come_back(&self) {
        self.server.open();
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        lock(&self.state.rules)
    }
}

/// A name nobody can guess.
fn random() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(32).collect()
}

impl Service for State {
    async fn reply(&self, request: Request) -> Reply {
        let endpoint = self.endpoint_of(request.path());
        self.calls.push(ProviderCall { endpoint, request: request.clone() });
        let rules = self.rules();
        for (_, mut held) in rules.holds.into_iter().filter(|(at, _)| *at == endpoint) {
            // Nothing is ever sent: it ends when the other end is dropped.
            while held.changed().await.is_ok() {}
        }
        let delays = rules.delays.iter().filter(|(at, _)| *at == endpoint);
        tokio::time::sleep(delays.map(|(_, delay)| *delay).sum()).await;
        match self.answer_to(endpoint, &request) {
            Answer::Respond(response, delay) => {
                tokio::time::sleep(delay).await;
                Reply::Bytes(response.to_bytes())
            }
            Answer::Raw(bytes) => Reply::BytesThenClose(bytes),
            Answer::Reset => Reply::Reset,
            Answer::Hang => Reply::Hang,
        }
    }
}

impl State {
    fn rules(&self) -> Rules {
        lock(&self.rules).clone()
    }

    fn answer_to(&self, endpoint: Endpoint, request: &Request) -> Answer {
        let rules = self.rules();
        let mut answers = rules.answers.iter().rev().filter(|(at, _)| *at == endpoint);
        if let Some(answer) = answers.find_map(|(_, rule)| rule(request)) {
            return answer;
        }
        let mut response = self.honest(endpoint, request);
        for (_, rule) in rules.edits.iter().filter(|(at, _)| *at == endpoint) {
            rule(request, &mut response);
        }
        let lost = &mut lock(&self.rules).lost;
        match lost.iter_mut().find(|(at, times)| *at == endpoint && *times > 0) {
            Some((_, times)) => {
                *times -= 1;
                Answer::Reset
            }
            None => Answer::Respond(response, Duration::ZERO),
        }
    }
}
