//! What the provider answers when it is honest.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::grants::{Code, Sitting};
use super::{Endpoint, State, lock, parameters, random};
use crate::http1::{Request, Response};
use crate::slack::now;
use crate::url::{Url, decode_form};

/// A request's parameters, the first of each name.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(request: &Request) -> Self {
        Self(parameters(request))
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| &**value)
    }
}

impl State {
    pub(super) fn endpoint_of(&self, path: &str) -> Endpoint {
        match path.strip_prefix(&*self.base) {
            Some("/.well-known/openid-configuration") => Endpoint::Discovery,
            Some("/authorize") => Endpoint::Authorize,
            Some("/token") => Endpoint::Token,
            Some("/jwks") => Endpoint::Jwks,
            Some("/userinfo") => Endpoint::Userinfo,
            Some("/logout") => Endpoint::EndSession,
            Some("/introspect") => Endpoint::Introspection,
            Some("/tokeninfo") => Endpoint::Tokeninfo,
            _ => Endpoint::Other,
        }
    }

    pub(super) fn honest(&self, endpoint: Endpoint, request: &Request) -> Response {
        let parameters = Parameters::of(request);
        match endpoint {
            Endpoint::Discovery => json_response(200, &self.discovery()),
            Endpoint::Authorize => self.authorize(&parameters),
            Endpoint::Token => self.token(request, &parameters),
            Endpoint::Jwks => json_response(200, &self.key_set()),
            Endpoint::Userinfo => self.userinfo(request),
            Endpoint::EndSession => end_session(&parameters),
            Endpoint::Introspection => self.introspect(request, &parameters),
            Endpoint::Tokeninfo => self.tokeninfo(&parameters),
            Endpoint::Other => Response::new(404),
        }
    }

    fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"),
            "userinfo_endpoint": at("/userinfo"),
            "end_session_endpoint": at("/logout"),
            "introspection_endpoint": at("/introspect"),
            "scopes_supported": ["openid", "email", "profile", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": lock(&self.manners).names_itself,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
        })
    }

    fn key_set(&self) -> Value {
        let keys: Vec<_> = lock(&self.keys).published.iter().map(|key| key.jwk()).collect();
        json!({ "keys": keys })
    }

    fn authorize(&self, parameters: &Parameters) -> Response {
        let find = |name| parameters.find(name);
        let manners = lock(&self.manners).clone();
        let (Some(client_id), Some(redirect_uri)) = (find("client_id"), find("redirect_uri")) else {
            return error(400, "invalid_request");
        };
        if !manners.clients.iter().any(|(client, _)| client == client_id) {
            return error(400, "unauthorized_client");
        }
        let mut grants = lock(&self.grants);
        let family = grants.new_family();
        let code = grants.code(Code {
            sitting: Sitting {
                person: lock(&self.person).clone(),
                client_id: client_id.to_owned(),
                scope: find("scope").unwrap_or_default().to_owned(),
                nonce: find("nonce").map(str::to_owned),
                sid: manners.sid.unwrap_or_else(random),
                since: now(),
                family,
            },
            redirect_uri: redirect_uri.to_owned(),
            challenge: find("code_challenge").map(str::to_owned),
        });
        drop(grants);
        let mut back = vec![("code".to_owned(), code)];
        back.extend(find("state").map(|state| ("state".to_owned(), state.to_owned())));
        if manners.names_itself {
            back.push(("iss".to_owned(), self.issuer.clone()));
        }
        for rule in &self.rules().redirects {
            rule(&mut back);
        }
        redirect(&Url::parse(redirect_uri), &back)
    }

    fn token(&self, request: &Request, parameters: &Parameters) -> Response {
        let Some(client_id) = self.client_of(request, parameters) else {
            return error(401, "invalid_client");
        };
        let find = |name| parameters.find(name);
        match find("grant_type") {
            Some("authorization_code") => {
                let code = lock(&self.grants).take_code(find("code").unwrap_or_default());
                let challenge =
                    find("code_verifier").map(|v| URL_SAFE_NO_PAD.encode(Sha256::digest(v.as_bytes())));
                let good = code.filter(|code| {
                    code.sitting.client_id == client_id
                        && find("redirect_uri") == Some(&code.redirect_uri)
                        && (code.challenge.is_none() || code.challenge == challenge)
                });
                match good {
                    Some(code) => self.give(&code.sitting, code.sitting.nonce.as_deref(), None),
                    None => error(400, "invalid_grant"),
                }
            }
            Some("refresh_token") => {
                let old = find("refresh_token").unwrap_or_default();
                let rotates = lock(&self.manners).rotates;
                let sitting = lock(&self.grants).use_refresh(old, rotates);
                match sitting.filter(|sitting| sitting.client_id == client_id) {
                    Some(sitting) => self.give(&sitting, None, Some(old)),
                    None => error(400, "invalid_grant"),
                }
            }
            Some("client_credentials") => self.give_to_client(&client_id, parameters),
            _ => error(400, "unsupported_grant_type"),
        }
    }

    /// The tokens of a sign-in: a refresh's, where an `old` refresh token was exchanged for them.
    fn give(&self, sitting: &Sitting, nonce: Option<&str>, old: Option<&str>) -> Response {
        let manners = lock(&self.manners).clone();
        let owner = json!({"client_id": sitting.client_id, "scope": sitting.scope, "aud": sitting.client_id});
        let claims = merged(&sitting.person, &owner);
        let access_token = match &manners.jwt_access_tokens_for {
            Some(audience) => {
                let claims = merged(&claims, &json!({"aud": audience, "jti": random()}));
                let token = self.mint(claims, manners.access_lifetime);
                token.head("typ", json!("at+jwt")).compact()
            }
            None => format!("opaque-{}", random()),
        };
        let mut body = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": manners.access_lifetime.as_secs(),
            "scope": sitting.scope,
        });
        {
            let mut grants = lock(&self.grants);
            grants.keep_access(&access_token, &claims, manners.access_lifetime, Some(sitting.family));
            match old {
                Some(old) if !manners.rotates => body["refresh_token"] = json!(old),
                _ if manners.refresh_tokens => body["refresh_token"] = json!(grants.refresh(sitting.clone())),
                _ => {}
            }
        }
        if old.is_none() || manners.id_token_on_refresh {
            body["id_token"] = json!(self.id_token(sitting, nonce, &access_token));
        }
        json_response(200, &body)
    }

    fn id_token(&self, sitting: &Sitting, nonce: Option<&str>, access_token: &str) -> String {
        let manners = lock(&self.manners).clone();
        let sub = json!({"sub": sitting.person["sub"]});
        let person = if manners.claims_in_id_token { &sitting.person } else { &sub };
        let hash = Sha256::digest(access_token.as_bytes());
        let own = json!({
            "aud": sitting.client_id,
            "azp": sitting.client_id,
            "sid": sitting.sid,
            "auth_time": sitting.since,
            // OpenID Connect Core, section 3.1.3.6.
            "at_hash": URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2]),
        });
        let mut token = self.mint(merged(person, &own), manners.id_lifetime);
        token = token.claim("nonce", json!(nonce));
        for rule in &self.rules().id_tokens {
            rule(&mut token);
        }
        token.compact()
    }

    fn give_to_client(&self, client_id: &str, parameters: &Parameters) -> Response {
        let manners = lock(&self.manners).clone();
        let scope = parameters.find("scope").unwrap_or_default();
        let claims = json!({"sub": client_id, "client_id": client_id, "scope": scope});
        let audience =
            manners.jwt_access_tokens_for.or_else(|| parameters.find("resource").map(str::to_owned));
        let token = match audience {
            Some(audience) => {
                let claims = merged(&claims, &json!({"aud": audience, "jti": random()}));
                self.mint(claims, manners.access_lifetime).head("typ", json!("at+jwt")).compact()
            }
            None => format!("opaque-{}", random()),
        };
        lock(&self.grants).keep_access(&token, &claims, manners.access_lifetime, None);
        let seconds = manners.access_lifetime.as_secs();
        let body = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": scope,
        });
        json_response(200, &body)
    }

    fn userinfo(&self, request: &Request) -> Response {
        let token = bearer(request).unwrap_or_default();
        let person = lock(&self.grants).live(&token).map(|access| access.claims.clone());
        let Some(Value::Object(mut person)) = person else {
            let mut response = Response::new(401);
            response.headers.push("www-authenticate", "Bearer error=\"invalid_token\"");
            return response;
        };
        for name in ["aud", "client_id", "scope"] {
            person.remove(name);
        }
        json_response(200, &Value::Object(person))
    }

    fn introspect(&self, request: &Request, parameters: &Parameters) -> Response {
        let with_token = bearer(request).is_some_and(|token| lock(&self.grants).live(&token).is_some());
        if !with_token && self.client_of(request, parameters).is_none() {
            return error(401, "invalid_client");
        }
        let token = parameters.find("token").unwrap_or_default();
        let Some(access) = lock(&self.grants).live(token).cloned() else {
            return json_response(200, &json!({"active": false}));
        };
        let own = json!({
            "active": true, "iss": self.issuer, "exp": access.end, "token_type": "Bearer",
        });
        json_response(200, &merged(&access.claims, &own))
    }

    /// <https://developers.google.com/identity/sign-in/web/backend-auth>: every value is a text.
    fn tokeninfo(&self, parameters: &Parameters) -> Response {
        let token = parameters.find("access_token").or_else(|| parameters.find("id_token"));
        let Some(access) = lock(&self.grants).live(token.unwrap_or_default()).cloned() else {
            let body = json!({"error": "invalid_token", "error_description": "Invalid Value"});
            return json_response(400, &body);
        };
        let claims = &access.claims;
        let audience = claims.get("aud").unwrap_or(&claims["client_id"]).clone();
        let mut info = Map::new();
        for (name, value) in [
            ("azp", audience.clone()),
            ("aud", audience),
            ("sub", claims["sub"].clone()),
            ("scope", claims["scope"].clone()),
            ("exp", json!(access.end.to_string())),
            ("expires_in", json!((access.end - now()).to_string())),
            ("email", claims["email"].clone()),
            (
                "email_verified",
                json!(claims["email_verified"].as_bool().map(|verified| verified.to_string())),
            ),
            ("access_type", json!("online")),
        ] {
            if !value.is_null() {
                info.insert(name.to_owned(), value);
            }
        }
        json_response(200, &Value::Object(info))
    }

    /// The client that a request comes from: by HTTP Basic or in the form (RFC 6749, section 2.3.1).
    fn client_of(&self, request: &Request, parameters: &Parameters) -> Option<String> {
        let (id, secret) = match request.headers.text("authorization") {
            Some(header) => {
                let pair = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
                let pair = String::from_utf8(pair).ok()?;
                let (id, secret) = pair.split_once(':')?;
                let decoded = decode_form(&format!("{id}={secret}"));
                let (id, secret) = decoded.into_iter().next()?;
                (id, Some(secret))
            }
            None => (
                parameters.find("client_id")?.to_owned(),
                parameters.find("client_secret").map(str::to_owned),
            ),
        };
        lock(&self.manners).clients.contains(&(id.clone(), secret)).then_some(id)
    }
}

fn end_session(parameters: &Parameters) -> Response {
    let Some(uri) = parameters.find("post_logout_redirect_uri") else {
        return Response::new(200);
    };
    let state = parameters.find("state").map(|state| ("state", state));
    redirect(&Url::parse(uri), &Vec::from_iter(state))
}

/// Adds parameters to the query of a client's URL.
fn redirect<N: AsRef<str>, V: AsRef<str>>(to: &Url, added: &[(N, V)]) -> Response {
    let mut pairs = to.pairs();
    pairs.extend(added.iter().map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned())));
    let location = if pairs.is_empty() { to.clone() } else { to.with_pairs(&pairs) };
    let mut response = Response::new(302);
    response.headers.push("location", location.to_string());
    response
}

fn bearer(request: &Request) -> Option<String> {
    request.headers.text("authorization")?.strip_prefix("Bearer ").map(str::to_owned)
}

fn merged(first: &Value, second: &Value) -> Value {
    let mut all = first.clone();
    for (name, value) in second.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    all
}

fn json_response(status: u16, body: &Value) -> Response {
    let mut response = Response::new(status);
    response.headers.push("content-type", "application/json");
    response.headers.push("cache-control", "no-store");
    response.body = body.to_string().into_bytes();
    response
}

fn error(status: u16, code: &str) -> Response {
    json_response(status, &json!({"error": code, "error_description": format!("{code}, said the provider")}))
}
