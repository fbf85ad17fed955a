//! The way to a provider: an authorization request (OpenID Connect Core, 3.1.2.1) with PKCE (RFC 7636),
//! a nonce, and a sealed state.
//!
//! Everything that the callback needs travels in the state, sealed; the browser keeps a cookie that the
//! state names, and that the next login uses again. So any number of tabs may sign in at once, and cookies
//! do not pile up.

use lockgate_common::encoding::{base64url, push_decimal};
use lockgate_common::flow::Stream;
use lockgate_common::host::Host;
use lockgate_common::http::{Refusal, Reply};
use lockgate_common::json::{Json, write_string};
use sha2::{Digest, Sha256};

use crate::cookies;
use crate::door::Door;
use crate::provider::{DEADLINE_MS, Provider};
use crate::refuse::{NO_RANDOM, PROVIDER_DOWN};
use crate::seal::{Keyring, Purpose};
use crate::token_endpoint::push_pair;

/// How long a sign-in may take, in seconds.
pub const LIFE_S: u64 = 600;

/// What a login remembers of itself. No `Debug`: the verifier is a secret.
pub struct LoginState {
    /// The provider's name.
    pub provider: String,
    /// The login cookie of the browser that began it.
    pub browser: String,
    /// Expected in the ID token; also what marks the state as used.
    pub nonce: String,
    /// PKCE's.
    pub verifier: String,
    /// Where the browser wanted to go: a path of this site.
    pub return_to: String,
    /// When it began, in seconds since 1970.
    pub began_s: u64,
}

impl LoginState {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let texts = [
            ("p", &self.provider),
            ("b", &self.browser),
            ("n", &self.nonce),
            ("v", &self.verifier),
            ("r", &self.return_to),
        ];
        for (name, text) in texts {
            out.push(if out.is_empty() { b'{' } else { b',' });
            write_string(&mut out, name);
            out.push(b':');
            write_string(&mut out, text);
        }
        let mut began = String::from(",\"t\":");
        push_decimal(&mut began, self.began_s);
        began.push('}');
        out.extend_from_slice(began.as_bytes());
        out
    }

    /// Opens a `state` parameter.
    pub fn open(keys: &Keyring, state: &str) -> Option<Self> {
        let plain = keys.open(Purpose::Login, "state", state).ok()?;
        let json = Json::parse(&plain).ok()?;
        let text = |name: &str| Some(json.field(name)?.str()?.into_owned());
        Some(Self {
            provider: text("p")?,
            browser: text("b")?,
            nonce: text("n")?,
            verifier: text("v")?,
            return_to: text("r")?,
            began_s: json.field("t")?.u64()?,
        })
    }
}

/// Sends the browser to a provider.
pub async fn begin(
    door: &Door,
    stream: &Stream,
    provider: &Provider,
    return_to: &str,
) -> Result<Reply, Refusal> {
    let now_ms = stream.host().now_ms();
    let deadline = now_ms + DEADLINE_MS;
    let keys = door.keyring(deadline).await?;
    let discovery = provider.discovery.value(deadline).await.map_err(|_| PROVIDER_DOWN)?;

    let kept = cookies::logins(stream.headers(), &door.site.cookie);
    let browser = match kept.into_iter().find(|value| is_token(value)) {
        Some(value) => value.to_owned(),
        None => token(stream.host(), &mut [0; 16])?,
    };
    let state = LoginState {
        provider: provider.name.clone(),
        browser,
        nonce: token(stream.host(), &mut [0; 16])?,
        verifier: token(stream.host(), &mut [0; 32])?,
        return_to: return_to.to_owned(),
        began_s: now_ms / 1_000,
    };
    let sealed = keys.seal(stream.host(), Purpose::Login, "state", &state.encode()).ok_or(NO_RANDOM)?;

    let mut location = discovery.authorization_endpoint.clone().ok_or(PROVIDER_DOWN)?;
    location.push(if location.contains('?') { '&' } else { '?' });
    let challenge = base64url(&Sha256::digest(state.verifier.as_bytes()));
    let redirect_uri = door.site.address(&provider.callback_path);
    let parameters = [
        ("response_type", "code"),
        ("client_id", &provider.client_id),
        ("redirect_uri", &redirect_uri),
        ("scope", &provider.scope),
        ("state", &sealed),
        ("nonce", &state.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in parameters {
        push_pair(&mut location, name, value);
    }
    for (name, value) in &provider.parameters {
        push_pair(&mut location, name, value);
    }
    stream.runtime().count(&["login_began"]);
    let mut reply = redirect(302, location);
    reply
        .headers
        .push(("set-cookie", cookies::set_login(&door.site.cookie, &state.browser, door.site.secure)));
    Ok(reply)
}

/// A redirect that nothing keeps.
pub fn redirect(status: u32, location: String) -> Reply {
    let mut reply = Reply::empty(status);
    reply.headers.push(("location", location));
    reply.headers.push(("cache-control", "no-store".to_owned()));
    reply
}

/// Random bytes as text. Nothing is made of bytes that could be guessed.
pub fn token(host: &dyn Host, bytes: &mut [u8]) -> Result<String, Refusal> {
    if host.random(bytes) { Ok(base64url(bytes)) } else { Err(NO_RANDOM) }
}

/// Whether it could have come from [`token`] with 16 bytes.
fn is_token(text: &str) -> bool {
    text.len() == 22 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
