//! A door under attack: a stack, a provider that does what a test says, and what must hold whatever
//! was tried: nothing trapped, the honest still get in, and no log knows a secret.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{Mutex as Turns, MutexGuard, OnceCell};

use crate::cookie_jar::set_cookies;
use crate::door::{COOKIE_SECRET, OTHER_COOKIE_SECRET, door_config, door_stack, public_url};
use crate::hostile_provider::{Endpoint, HostileProvider, Manners};
use crate::http1::{Request, Response};
use crate::oidc_provider::CLIENT_SECRET;
use crate::stack::{Stack, print_log};
use crate::url::{Url, encode};
use crate::user_agent::{Page, UserAgent};

/// What Envoy, or a filter that panics, prints when a VM has trapped or did not come back.
const TRAPS: [&str; 5] =
    ["panicked", "Function: proxy_on", "VM failed", "[critical]", "Uncaught RuntimeError"];

/// A stack with a door, and the provider named `company` behind it.
#[derive(Debug)]
pub struct Siege {
    /// The stack.
    pub stack: Stack,
    /// The provider. It is another site than the door.
    pub provider: HostileProvider,
    /// What must not be in a log.
    secrets: Arc<Mutex<Vec<String>>>,
    turns: Turns<()>,
}

/// One test's time with a door that the tests of a file share: it has the provider for itself, and
/// finds it honest.
#[derive(Debug)]
pub struct Turn {
    siege: &'static Siege,
    since: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    /// Waits for the door in `cell`, which the first test that asks starts with `start`.
    pub async fn at(cell: &'static OnceCell<Siege>, start: impl Future<Output = Siege>) -> Self {
        let siege = cell.get_or_init(|| start).await;
        let turn = siege.turns.lock().await;
        siege.reset();
        Self { siege, since: siege.stack.gateway_log().len(), _turn: turn }
    }

    /// The door's log since this turn began.
    pub fn log(&self) -> Vec<String> {
        self.siege.stack.gateway_log().since(self.since)
    }

    /// See [`Siege::assert_unharmed`]; looks at the log since this turn began.
    ///
    /// # Panics
    /// When something is wrong.
    pub async fn assert_unharmed(&self) {
        self.siege.assert_unharmed(self.since).await;
    }

    /// See [`Siege::assert_silent`]; looks at the log since this turn began.
    ///
    /// # Panics
    /// When something is wrong.
    pub async fn assert_silent(&self) {
        self.siege.assert_silent(self.since).await;
    }
}

impl Deref for Turn {
    type Target = Siege;

    fn deref(&self) -> &Siege {
        self.siege
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_log("lockgate run", &self.siege.stack.gateway_log().since(self.since));
        }
    }
}

impl Siege {
    /// Starts a door with so many workers, whose configuration `change` may change.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn start(workers: u8, change: impl FnOnce(&mut Value)) -> Self {
        Self::before(HostileProvider::named("localhost", ""), workers, change).await
    }

    /// The same before a provider that was there already.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn before(provider: HostileProvider, workers: u8, change: impl FnOnce(&mut Value)) -> Self {
        let config = door_config(provider.issuer(), change);
        Self::new(door_stack(&config).concurrency(workers).start().await, provider)
    }

    /// A stack, and the provider its configuration names.
    pub fn new(stack: Stack, provider: HostileProvider) -> Self {
        let siege = Self { stack, provider, secrets: Arc::default(), turns: Turns::default() };
        siege.reset();
        siege
    }

    /// Makes the provider honest again, with its first manners and person.
    pub fn reset(&self) {
        self.provider.behave(|manners| *manners = Manners::default());
        self.provider.set_person(json!({
            "sub": "person-1", "email": "person@example.com", "email_verified": true,
            "name": "A Person", "groups": ["staff"],
        }));
        self.heal();
    }

    /// Makes the provider honest again. Unlike [`HostileProvider::heal`] it goes on noting the tokens
    /// that it gives.
    pub fn heal(&self) {
        self.provider.heal();
        let secrets = Arc::clone(&self.secrets);
        self.provider.edit(Endpoint::Token, move |_, response| {
            let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            let mut secrets = secrets.lock().unwrap_or_else(PoisonError::into_inner);
            for name in ["access_token", "refresh_token", "id_token"] {
                secrets.extend(body[name].as_str().map(str::to_owned));
            }
        });
    }

    /// Notes what must not be in a log.
    pub fn keep_secret(&self, secret: &str) {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
    }

    /// The door's address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", public_url(&self.stack))
    }

    /// Opens a page as a browser does, and follows all redirects: through the provider, and back.
    ///
    /// # Panics
    /// When something does not answer.
    pub async fn visit(&self, agent: &mut UserAgent, path: &str) -> Page {
        agent.follow(&self.url(path)).await
    }

    /// A browser of somebody who has signed in.
    ///
    /// # Panics
    /// When the page does not come.
    pub async fn signed_in(&self) -> UserAgent {
        let mut agent = UserAgent::new();
        let page = self.visit(&mut agent, "/signed-in").await;
        assert_eq!(page.response.status, 200, "{}", page.response.text());
        agent
    }

    /// Opens a page and goes as far as the provider, which has said yes: returns where it sends the
    /// browser.
    ///
    /// # Panics
    /// When it does not get there.
    pub async fn callback(&self, agent: &mut UserAgent, path: &str) -> Url {
        let page = agent.follow_until(&self.url(path), is_callback).await;
        let location = page.location();
        location.unwrap_or_else(|| panic!("{} answers {}", page.url, page.response.text()))
    }

    /// A browser's request for a page, with these very cookies.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn opens(&self, target: &str, cookies: impl AsRef<[u8]>) -> Response {
        self.stack.client().send(&navigation(target).header("cookie", cookies)).await
    }

    /// A script's request with these very cookies: 200 from the upstream with a session, 401 without.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn asks(&self, cookies: impl AsRef<[u8]>) -> Response {
        self.stack.client().send(&Request::get("/asks").header("cookie", cookies)).await
    }

    /// Whose session these cookies are, as the door itself tells.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn whose(&self, cookies: &str) -> Option<String> {
        let request = Request::get("/_lockgate/userinfo").header("cookie", cookies);
        let answer = self.stack.client().send(&request).await;
        (answer.status == 200).then(|| answer.json()["sub"].as_str().unwrap_or_default().to_owned())
    }

    /// The cookies that a browser would send to the door.
    pub fn cookies(&self, agent: &UserAgent) -> String {
        agent.jar.header(&Url::parse(&self.url("/"))).unwrap_or_default()
    }

    /// A counter of the door's, over all workers.
    pub async fn counter(&self, name: &str) -> u64 {
        self.stack.admin().stat(&format!("wasmcustom.lockgate.oidc.{name}")).await
    }

    /// Checks that everybody who signed in, or was refused, left the door as it was: somebody can
    /// sign in and out, no VM has trapped, and the log since this line holds none of the secrets the
    /// provider gave or was given.
    ///
    /// # Panics
    /// When something is wrong.
    pub async fn assert_unharmed(&self, since: usize) {
        self.reset();
        let mut agent = self.signed_in().await;
        for page in &agent.history {
            set_cookies(&page.response).iter().for_each(|cookie| self.keep_secret(&cookie.value));
        }
        let asked = agent.open(&self.url("/_lockgate/sign-out")).await;
        let form = asked.forms().into_iter().next().expect("a form to sign out with");
        let answer = agent.submit(&asked, &form).await;
        assert_eq!(answer.response.status, 303, "{}", answer.response.text());
        let empty = Request::post("/_lockgate/back-channel-logout", "text/plain", "");
        assert_eq!(self.stack.client().send(&empty).await.status, 400);

        self.assert_silent(since).await;
    }

    /// The part of [`Siege::assert_unharmed`] that changes nothing: no VM has trapped, and the log
    /// since this line holds no secrets.
    ///
    /// # Panics
    /// When something is wrong.
    pub async fn assert_silent(&self, since: usize) {
        let stats = self.stack.admin().text("/stats?filter=wasm").await;
        let failed = |line: &&str| {
            let (name, value) = line.rsplit_once(": ").unwrap_or((line, "0"));
            (name.contains(".vm_reload") || name.contains("fetch_failures")) && value != "0"
        };
        let failed: Vec<_> = stats.lines().filter(failed).collect();
        assert!(failed.is_empty(), "{failed:#?}");

        let secrets = self.secrets();
        for line in self.stack.gateway_log().since(since) {
            assert!(!TRAPS.iter().any(|trap| line.contains(trap)), "{line}");
            let told = secrets.iter().find(|secret| line.contains(&***secret));
            assert!(told.is_none(), "{told:?} stands in {line}");
            let random = words(&line).find(|word| looks_random(word));
            assert!(random.is_none(), "{random:?} looks like a secret: {line}");
        }
    }

    /// Everything that was noted, and what the provider was sent.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        secrets.extend([COOKIE_SECRET, OTHER_COOKIE_SECRET, CLIENT_SECRET].map(str::to_owned));
        secrets.push(encode(CLIENT_SECRET));
        for call in self.provider.calls().since(0) {
            let private = ["state", "nonce", "code", "code_verifier", "refresh_token", "code_challenge"];
            let parameters = call.parameters().into_iter().filter(|(name, _)| private.contains(&&**name));
            secrets.extend(parameters.map(|(_, value)| value));
            secrets.extend(call.request.headers.text("authorization"));
        }
        secrets.retain(|secret| secret.len() >= 8);
        secrets.sort_unstable();
        secrets.dedup();
        secrets
    }
}

/// A request as a browser makes it for a page.
pub fn navigation(target: &str) -> Request {
    Request::get(target)
        .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
}

/// Whether this is an address that a provider leads back to.
pub fn is_callback(url: &Url) -> bool {
    url.path().starts_with("/_lockgate/callback")
}

/// The same URL with other query parameters.
pub fn with_parameters(url: &Url, change: impl FnOnce(&mut Vec<(String, String)>)) -> Url {
    let mut pairs = url.pairs();
    change(&mut pairs);
    url.with_pairs(&pairs)
}

/// The same URL with another value of one query parameter.
pub fn with_parameter(url: &Url, name: &str, value: &str) -> Url {
    with_parameters(url, |pairs| {
        pairs.retain(|(other, _)| other != name);
        pairs.push((name.to_owned(), value.to_owned()));
    })
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
}

/// Sixteen random bytes or more in base64url, or a code of this kit's providers; request ids, which
/// are UUIDs, are none.
fn looks_random(word: &str) -> bool {
    let has = |kind: fn(&char) -> bool| word.chars().filter(kind).count() >= 2;
    word.len() >= 22
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_words_are_told_from_names_and_request_ids() {
        for word in ["q83vASNFZ4mrze8BI0VniQ", "opaque-VjKQ8YkR2mB7nXcD5tLwZ3aF6hJ9pS1u"] {
            assert!(words(&format!("code={word};")).any(looks_random), "{word}");
        }
        for line in [
            "0f8fad5b-d9cb-469f-a165-70867728950e",
            "lockgate filter=oidc refused reason=state_of_another_browser status=400",
            "session=AbCdEf01234 at /work/main/wasm-test/e2e/ENVOY_1_40_0/Some_directory",
        ] {
            assert!(!words(line).any(looks_random), "{line}");
        }
    }
}
