//! Identity tokens as Google issues them, for pushes and from the metadata server, signed once and used for most of
//! their hour.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use crate::clock::{self, Millis};
use crate::keys::{KeyError, Signer};

/// Google's tokens live for one hour.
pub(crate) const LIFETIME_SECONDS: i64 = 3600;

/// A token is replaced when less than this is left, so that its receiver never sees one about to expire.
const RENEW_BEFORE_SECONDS: i64 = 600;

/// An audience is chosen by the caller of the metadata server, so the cache must have an end.
const CACHED_TOKENS: usize = 256;

/// The claims of a Google-issued identity token for a service account, as
/// <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions> shows them. `issued_at` is in seconds since
/// the epoch; the token ends 3,600 s later.
pub fn id_token_claims(issuer: &str, audience: &str, email: &str, issued_at: i64) -> Map<String, Value> {
    let subject = account_number(email);
    let claims = json!({
        "aud": audience,
        "azp": subject,
        "email": email,
        "email_verified": true,
        "exp": issued_at + LIFETIME_SECONDS,
        "iat": issued_at,
        "iss": issuer,
        "sub": subject,
    });
    match claims {
        Value::Object(claims) => claims,
        _ => Map::new(),
    }
}

/// A stand-in for the 21-digit number by which Google knows a service account.
pub(crate) fn account_number(email: &str) -> String {
    format!("1{:020}", crc32c::crc32c(email.as_bytes()))
}

/// Issues identity tokens. Signing takes milliseconds, so tokens are kept.
#[derive(Debug)]
pub(crate) struct Issuer {
    issuer: String,
    signer: Arc<Signer>,
    issued: Mutex<Issued>,
}

/// Tokens and when to replace them, by audience, account and form.
type Issued = HashMap<(String, String, Form), (String, Millis)>;

/// Which claims a token has; the metadata server's `format` parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Without the account's e-mail address.
    Standard,
    /// With `email` and `email_verified`; pushes always use this.
    Full,
}

impl Issuer {
    pub(crate) fn new(issuer: String, signer: Signer) -> Self {
        Self { issuer, signer: Arc::new(signer), issued: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn key_set(&self) -> &str {
        self.signer.key_set()
    }

    pub(crate) async fn token(&self, audience: &str, email: &str, form: Form) -> Result<String, KeyError> {
        let now = clock::now();
        let key = (audience.to_owned(), email.to_owned(), form);
        if let Some((token, renew_at)) = self.issued().get(&key)
            && now < *renew_at
        {
            return Ok(token.clone());
        }
        let mut claims = id_token_claims(&self.issuer, audience, email, now / 1000);
        if form == Form::Standard {
            claims.remove("email");
            claims.remove("email_verified");
        }
        let signer = Arc::clone(&self.signer);
        let signed = tokio::task::spawn_blocking(move || signer.sign_id_token(&claims)).await;
        let token = signed.map_err(std::io::Error::other)??;
        let renew_at = now + (LIFETIME_SECONDS - RENEW_BEFORE_SECONDS) * 1000;
        let mut issued = self.issued();
        if issued.len() >= CACHED_TOKENS {
            issued.clear();
        }
        issued.insert(key, (token.clone(), renew_at));
        Ok(token)
    }

    fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
