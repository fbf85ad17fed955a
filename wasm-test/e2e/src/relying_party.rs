//! The least a client of an OpenID provider does, by hand: asks for a code, exchanges it, refreshes.
//! For tests of the kit, and for tests that need a provider's tokens without the gateway.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Client;
use crate::http1::{Request, Response};
use crate::oidc_login::sign_in_until;
use crate::url::{Url, encode_form};
use crate::user_agent::UserAgent;

/// A client of a provider.
#[derive(Clone, Debug)]
pub struct RelyingParty {
    discovery: Value,
    client_id: String,
    secret: String,
    redirect_uri: String,
    /// What it asks for, `openid email profile` unless set.
    pub scope: String,
    /// Further parameters of the authorization request.
    pub parameters: Vec<(String, String)>,
}

/// A request for a code under way.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where to send the person.
    pub url: String,
    /// The `state` in it.
    pub state: String,
    /// The `nonce` in it.
    pub nonce: String,
    /// The PKCE verifier (RFC 7636) that goes with it.
    pub verifier: String,
}

impl RelyingParty {
    /// A client that reads the provider's discovery document.
    ///
    /// # Panics
    /// When the provider does not answer with one.
    pub async fn discover(issuer: &str, client_id: &str, secret: &str, redirect_uri: &str) -> Self {
        let discovery = Url::parse(&format!("{issuer}/.well-known/openid-configuration"));
        Self {
            discovery: send(&discovery, Request::get(&discovery.target)).await.json(),
            client_id: client_id.to_owned(),
            secret: secret.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            scope: "openid email profile".to_owned(),
            parameters: Vec::new(),
        }
    }

    /// A URL of the discovery document.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn endpoint(&self, name: &str) -> Url {
        Url::parse(self.discovery[name].as_str().unwrap_or_else(|| panic!("no {name}")))
    }

    /// A request for a code, with PKCE, `state` and `nonce`.
    pub fn ask(&self) -> Asked {
        let [state, nonce, verifier] = std::array::from_fn(|_| random());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let pairs = [
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &self.scope),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let mut pairs: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        pairs.extend(self.parameters.iter().cloned());
        let url = self.endpoint("authorization_endpoint").with_pairs(&pairs).to_string();
        Asked { url, state, nonce, verifier }
    }

    /// Exchanges a code at the token endpoint.
    pub async fn exchange(&self, code: &str, verifier: &str) -> Response {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier),
        ];
        self.post("token_endpoint", &form).await
    }

    /// Exchanges a refresh token.
    pub async fn refresh(&self, refresh_token: &str) -> Response {
        self.post("token_endpoint", &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)])
            .await
    }

    /// A token of its own, for a resource if there is one.
    ///
    /// # Panics
    /// When the provider gives none.
    pub async fn client_credentials(&self, scope: &str, resource: Option<&str>) -> String {
        let mut form = vec![("grant_type", "client_credentials"), ("scope", scope)];
        form.extend(resource.map(|resource| ("resource", resource)));
        let answer = self.post("token_endpoint", &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap_or_default().to_owned()
    }

    /// Posts a form to an endpoint, with the client's name and secret by HTTP Basic.
    pub async fn post(&self, endpoint: &str, form: &[(&str, &str)]) -> Response {
        let url = self.endpoint(endpoint);
        let request = Request::post(&url.target, "application/x-www-form-urlencoded", encode_form(form))
            .header("authorization", basic(&self.client_id, &self.secret));
        send(&url, request).await
    }

    /// What the userinfo endpoint says about the owner of an access token.
    pub async fn userinfo(&self, access_token: &str) -> Response {
        let url = self.endpoint("userinfo_endpoint");
        let request = Request::get(&url.target).header("authorization", format!("Bearer {access_token}"));
        send(&url, request).await
    }

    /// Logs an account in and returns the answer of the token endpoint.
    ///
    /// # Panics
    /// When any step fails, or `state` does not come back.
    pub async fn sign_in(&self, agent: &mut UserAgent, account: &str) -> Value {
        let asked = self.ask();
        let to_us = |url: &Url| url.to_string().starts_with(&self.redirect_uri);
        let page = sign_in_until(agent, &asked.url, account, to_us).await;
        let callback = page.location();
        let callback = callback.unwrap_or_else(|| panic!("{} answers {}", page.url, page.response.text()));
        assert_eq!(callback.query("state").as_ref(), Some(&asked.state), "{callback}");
        let code = callback.query("code").unwrap_or_else(|| panic!("no code: {callback}"));
        let answer = self.exchange(&code, &asked.verifier).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

/// The value of an `Authorization` header: RFC 6749, section 2.3.1.
pub fn basic(client_id: &str, secret: &str) -> String {
    let pair = format!("{}:{}", crate::url::encode(client_id), crate::url::encode(secret));
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn random() -> String {
    URL_SAFE_NO_PAD.encode(std::array::from_fn::<u8, 32, _>(|_| fastrand::u8(..)))
}

async fn send(url: &Url, request: Request) -> Response {
    Client::new(url.address()).send(&request.header("host", url.authority())).await
}
