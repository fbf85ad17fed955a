//! A scripted OpenID provider for the simulated host: what it answers is the test's to choose, and what
//! it was asked is remembered.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses what it needs")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockgate_common::encoding::base64;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use wasm_test::{Answer, Builder, Gateway, Request, Response};

pub(crate) const ISSUER: &str = "http://127.0.0.1:9400";
pub(crate) const SITE: &str = "http://localhost:8080";
pub(crate) const HOST: &str = "localhost:8080";
pub(crate) const CLIENT: &str = "the-client";

/// The provider. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Provider(pub(crate) Rc<RefCell<State>>);

pub(crate) struct State {
    /// Answers by path, in the place of the usual ones.
    pub(crate) answers: BTreeMap<&'static str, Answer>,
    /// Further members of the discovery document.
    pub(crate) discovery: Value,
    /// Members that replace those of the ID token; null removes one.
    pub(crate) claims: Value,
    /// The ID token's header.
    pub(crate) header: Value,
    /// Members that replace those of the token response.
    pub(crate) tokens: Value,
    /// What userinfo answers.
    pub(crate) userinfo: Value,
    /// What introspection answers, by token; `active: false` for others.
    pub(crate) introspection: BTreeMap<String, Value>,
    /// The key that signs, and its id.
    pub(crate) key: (SigningKey, String),
    /// Keys that are published.
    pub(crate) published: Vec<(SigningKey, String)>,
    /// All requests.
    pub(crate) calls: Vec<Request>,
    /// The nonce of the login under way, as the authorization request had it.
    pub(crate) nonce: String,
    /// Seconds since 1970 at the provider.
    pub(crate) now_s: u64,
    /// How many refreshes were granted, and how many used a token a second time.
    pub(crate) refreshes: u64,
    pub(crate) reused: u64,
}

impl Provider {
    pub(crate) fn new() -> Self {
        let key = (SigningKey::from_slice(&[9; 32]).unwrap(), "p1".to_owned());
        Self(Rc::new(RefCell::new(State {
            answers: BTreeMap::new(),
            discovery: json!({}),
            claims: json!({}),
            header: json!({"alg": "ES256", "kid": "p1", "typ": "JWT"}),
            tokens: json!({}),
            userinfo: json!({"sub": "user-1"}),
            introspection: BTreeMap::new(),
            published: vec![key.clone()],
            key,
            calls: Vec::new(),
            nonce: String::new(),
            now_s: 0,
            refreshes: 0,
            reused: 0,
        })))
    }

    pub(crate) fn set(&self, set: impl FnOnce(&mut State)) {
        set(&mut self.0.borrow_mut());
    }

    /// How many calls went to a path.
    pub(crate) fn calls(&self, path: &str) -> usize {
        self.0.borrow().calls.iter().filter(|call| call.path == path).count()
    }

    /// The last call to a path.
    pub(crate) fn last(&self, path: &str) -> Request {
        self.0.borrow().calls.iter().rev().find(|call| call.path == path).unwrap().clone()
    }

    /// A signed token.
    pub(crate) fn mint(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature: Signature = self.0.borrow().key.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// Another key signs from now on; the old one stays published.
    pub(crate) fn rotate(&self) {
        let mut state = self.0.borrow_mut();
        let id = format!("p{}", state.published.len() + 1);
        let key = SigningKey::from_slice(&[state.published.len() as u8 + 20; 32]).unwrap();
        state.header["kid"] = json!(id);
        state.published.push((key.clone(), id.clone()));
        state.key = (key, id);
    }

    fn id_token(&self, nonce: Option<&str>) -> String {
        let (header, mut claims) = {
            let state = self.0.borrow();
            let claims = json!({
                "iss": ISSUER, "aud": CLIENT, "sub": "user-1", "email": "ann@example.com", "email_verified": true,
                "groups": ["staff"], "name": "Ann", "sid": "sid-1", "nonce": nonce,
                "iat": state.now_s, "exp": state.now_s + 300,
            });
            (state.header.clone(), claims)
        };
        replace(&mut claims, &self.0.borrow().claims);
        self.mint(&header, &claims)
    }

    pub(crate) fn answer(&self, request: &Request) -> Answer {
        self.0.borrow_mut().calls.push(request.clone());
        let path = request.path.clone();
        if let Some(answer) = self.0.borrow().answers.get(path.as_str()) {
            return answer.clone();
        }
        match path.as_str() {
            "/.well-known/openid-configuration" => {
                let mut document = json!({
                    "issuer": ISSUER, "authorization_endpoint": format!("{ISSUER}/auth"),
                    "token_endpoint": format!("{ISSUER}/token"), "jwks_uri": format!("{ISSUER}/jwks"),
                    "userinfo_endpoint": format!("{ISSUER}/me"), "end_session_endpoint": format!("{ISSUER}/end"),
                    "revocation_endpoint": format!("{ISSUER}/revoke"),
                });
                replace(&mut document, &self.0.borrow().discovery);
                ok(&document)
            }
            "/jwks" => {
                let keys: Vec<Value> =
                    self.0.borrow().published.iter().map(|(key, id)| jwk(key, id)).collect();
                ok(&json!({"keys": keys}))
            }
            "/token" => self.tokens(&String::from_utf8_lossy(&request.body)),
            "/me" => ok(&self.0.borrow().userinfo),
            "/introspect" => {
                let body = String::from_utf8_lossy(&request.body).into_owned();
                let token = parameter(&body, "token").unwrap_or_default();
                let known = self.0.borrow().introspection.get(&token).cloned();
                ok(&known.unwrap_or_else(|| json!({"active": false})))
            }
            "/revoke" => Response::new(200).into(),
            _ => Response::new(404).into(),
        }
    }

    fn tokens(&self, form: &str) -> Answer {
        let (nonce, number) = {
            let mut state = self.0.borrow_mut();
            match parameter(form, "grant_type").as_deref() {
                Some("authorization_code") => (Some(state.nonce.clone()), 0),
                Some("refresh_token") => {
                    let expected = format!("refresh-{}", state.refreshes);
                    if parameter(form, "refresh_token") != Some(expected) {
                        state.reused += 1;
                        return error(400, "invalid_grant");
                    }
                    state.refreshes += 1;
                    (None, state.refreshes)
                }
                Some("client_credentials") => {
                    return ok(&json!({"access_token": "own-token", "expires_in": 60}));
                }
                _ => return error(400, "unsupported_grant_type"),
            }
        };
        let mut tokens = json!({
            "access_token": format!("access-{number}"), "token_type": "Bearer", "expires_in": 300,
            "refresh_token": format!("refresh-{number}"), "id_token": self.id_token(nonce.as_deref()),
        });
        replace(&mut tokens, &self.0.borrow().tokens);
        ok(&tokens)
    }
}

fn replace(target: &mut Value, members: &Value) {
    for (name, value) in members.as_object().unwrap() {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            target[name] = value.clone();
        }
    }
}

pub(crate) fn ok(body: &Value) -> Answer {
    Response::new(200).header("content-type", "application/json").body(body.to_string()).into()
}

pub(crate) fn error(status: u16, code: &str) -> Answer {
    Response::new(status).body(json!({"error": code}).to_string()).into()
}

fn jwk(key: &SigningKey, id: &str) -> Value {
    let point = key.verifying_key().to_sec1_point(false);
    let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point.as_bytes()[range]);
    json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "use": "sig",
           "x": coordinate(1..33), "y": coordinate(33..65)})
}

/// A parameter of a query or form.
pub(crate) fn parameter(text: &str, name: &str) -> Option<String> {
    lockgate_common::form::first(text.as_bytes(), name).map(|value| value.into_owned())
}

/// The configuration of a door with this provider.
pub(crate) fn configuration() -> Value {
    json!({
        "version": 1,
        "services": {"metadata": "http://127.0.0.1:8085", "secret_manager": "http://127.0.0.1:8085"},
        "public_url": SITE,
        "session": {"secret": {"env": "COOKIE_SECRET"}, "idle_s": 3600, "lifetime_s": 7200},
        "providers": [{"name": "company", "issuer": ISSUER, "client_id": CLIENT,
                       "client_secret": {"env": "OIDC_CLIENT_SECRET"}}],
        "policies": [{"effect": "allow", "domains": ["example.com"]}],
        "rules": [
            {"match": {"path_prefix": "/public"}, "public": true},
            {"match": {"path_prefix": "/admin"}, "allow": [{"groups": ["admins"]}]},
            {"match": {"path_prefix": "/"}},
        ],
    })
}

/// A gateway builder with the door, not started.
pub(crate) fn builder(provider: &Provider, configuration: &Value) -> Builder {
    sealed_by(provider, configuration, &base64(&[3; 32]))
}

/// The same with another cookie secret.
pub(crate) fn sealed_by(provider: &Provider, configuration: &Value, secret: &str) -> Builder {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/lockgate.wasm");
    let module = std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: make wasm", path.display()));
    let backend = provider.clone();
    Gateway::builder(&module)
        .env("COOKIE_SECRET", secret)
        .env("OIDC_CLIENT_SECRET", "client+secret")
        .env("ASSERTION_KEY", ASSERTION_KEY)
        .backend("callout_http", move |request: &Request| backend.answer(request))
        .filter("oidc", configuration.to_string())
}

/// Made for these tests: `openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt`.
pub(crate) const ASSERTION_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/VXWRZ/IdV5qF7my\njGlJWLs5FvY0wXsmAjpTpyrKPoyhRANCAAS+OhAg2jQFpZ0XWY2UFYNawJJiHa7F\nQD8R2ZmyIWGTD7vs5WH6P5LiFDDnLTefiK0RecwNEkMsCBsv0nZPE81E\n-----END PRIVATE KEY-----\n";

/// A running door.
pub(crate) fn door(provider: &Provider) -> Gateway {
    door_with(provider, &configuration())
}

pub(crate) fn door_with(provider: &Provider, configuration: &Value) -> Gateway {
    let gateway = builder(provider, configuration).start().unwrap();
    tell_time(provider, &gateway);
    gateway
}

pub(crate) fn now_s(gateway: &Gateway) -> u64 {
    gateway.now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn tell_time(provider: &Provider, gateway: &Gateway) {
    let now_s = now_s(gateway);
    provider.set(|state| state.now_s = now_s);
}

/// A browser's cookies and its way of asking.
#[derive(Clone, Default)]
pub(crate) struct Browser(pub(crate) BTreeMap<String, String>);

impl Browser {
    /// A request for a page.
    pub(crate) fn page(&self, path: &str) -> Request {
        self.with_cookies(Request::get(path).host(HOST))
            .header("accept", "text/html,application/xhtml+xml")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
    }

    /// A request of a script.
    pub(crate) fn fetch(&self, path: &str) -> Request {
        self.with_cookies(Request::get(path).host(HOST))
            .header("accept", "*/*")
            .header("sec-fetch-mode", "cors")
            .header("sec-fetch-dest", "empty")
    }

    pub(crate) fn with_cookies(&self, request: Request) -> Request {
        if self.0.is_empty() {
            return request;
        }
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        request.header("cookie", pairs.join("; "))
    }

    /// Takes a response's cookies.
    pub(crate) fn take(&mut self, response: &Response) {
        for (name, value) in response.headers.iter() {
            if name != "set-cookie" {
                continue;
            }
            let line = String::from_utf8(value.to_vec()).unwrap();
            let (pair, attributes) = line.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Asks for a page, and takes the cookies.
    pub(crate) fn open(&mut self, gateway: &Gateway, path: &str) -> Response {
        let response = gateway.send(self.page(path));
        self.take(&response);
        response
    }

    /// Signs in, beginning with a page: the response of the callback.
    pub(crate) fn sign_in(&mut self, gateway: &Gateway, provider: &Provider, path: &str) -> Response {
        let response = self.open(gateway, path);
        assert_eq!(response.status, 302, "{}", response.text());
        let callback = self.at_provider(provider, &response);
        self.open(gateway, &callback)
    }

    /// The provider's part of a sign-in: the path and query of the redirect back.
    pub(crate) fn at_provider(&self, provider: &Provider, response: &Response) -> String {
        let location = location(response);
        let query = location.split_once('?').unwrap().1;
        provider.set(|state| state.nonce = parameter(query, "nonce").unwrap());
        let redirect = parameter(query, "redirect_uri").unwrap();
        let state = parameter(query, "state").unwrap();
        format!("{}?code=code-1&state={state}", redirect.strip_prefix(SITE).unwrap())
    }
}

pub(crate) fn location(response: &Response) -> String {
    response.headers.text("location").unwrap().to_owned()
}

/// A signed-in browser.
pub(crate) fn signed_in(gateway: &Gateway, provider: &Provider) -> Browser {
    let mut browser = Browser::default();
    let response = browser.sign_in(gateway, provider, "/");
    assert_eq!(response.status, 302, "{}", response.text());
    browser
}
