//! Tokens that nobody asked the provider for: what a test brings to the door by itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::{HostileProvider, State, lock, random};
use crate::oidc_provider::CLIENT_ID;
use crate::signing_keys::Jwt;
use crate::slack::now;

impl HostileProvider {
    /// An opaque access token, known to userinfo, introspection and tokeninfo, of whoever these
    /// claims say; `aud` is the kit's client unless they say otherwise, and `scope` is `openid`.
    pub fn access_token(&self, claims: &Value) -> String {
        let lifetime = lock(&self.state.manners).access_lifetime;
        lock(&self.state.grants).access(claims, lifetime)
    }

    /// An honest token of these claims, with `iss`, `iat` and `exp` (in an hour) unless they are
    /// among them.
    pub fn mint(&self, claims: Value) -> Jwt {
        self.state.mint(claims, Duration::from_secs(3600))
    }

    /// A JWT access token (RFC 9068).
    pub fn mint_access_token(&self, audience: &str, subject: &str) -> Jwt {
        let claims = json!({
            "aud": audience, "sub": subject, "client_id": CLIENT_ID, "scope": "read write", "jti": random(),
        });
        self.mint(claims).head("typ", json!("at+jwt"))
    }

    /// A logout token (OpenID Connect Back-Channel Logout, section 2.4) for a subject, a session,
    /// or both.
    pub fn mint_logout_token(&self, subject: Option<&str>, sid: Option<&str>) -> Jwt {
        let claims = json!({
            "aud": CLIENT_ID, "jti": random(), "exp": now() + 120,
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        let token = self.mint(claims).head("typ", json!("logout+jwt"));
        token.claim("sub", json!(subject)).claim("sid", json!(sid))
    }
}

impl State {
    pub(super) fn mint(&self, claims: Value, lifetime: Duration) -> Jwt {
        let now = now();
        let mut all = json!({"iss": self.issuer, "iat": now, "exp": now + lifetime.as_secs() as i64});
        for (name, value) in claims.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        Jwt::new(&lock(&self.keys).signing, all)
    }
}
