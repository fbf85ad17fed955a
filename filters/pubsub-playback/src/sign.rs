//! Signs a restored request afresh, so that an upstream that checks its senders' signatures accepts
//! it: the sender's own covers a time that is long past.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::{base64, from_base64, push_decimal, push_hex};
use lockgate_common::hmac;
use lockgate_common::http::Headers;
use lockgate_common::json::Json;
use lockgate_common::rules::Match;
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::{Secret, SecretSource};
use lockgate_common::services::Services;

use std::rc::Rc;

/// A scheme to sign by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Slack's v0.
    Slack,
    /// Standard Webhooks, v1 (standard-webhooks/spec).
    StandardWebhooks,
}

/// Which restored requests are signed how.
pub struct SigningRule {
    /// Matched on the restored request.
    pub matches: Match,
    /// How.
    pub scheme: Scheme,
    /// With what; of several values the first.
    pub secret: SecretSource,
}

/// Reads `sign`.
pub fn rules(
    fields: &Fields<'_>,
    runtime: &Rc<Runtime>,
    services: &Rc<Services>,
) -> Result<Vec<SigningRule>, ConfigError> {
    let mut rules = Vec::new();
    for (path, rule) in fields.list("sign")? {
        let fields = Fields::new(rule, &path, &["match", "slack", "standard_webhooks"])?;
        let matches = Match::from_config(fields.required("match", "what to sign")?, &fields.join("match"))?;
        let (scheme, name, json): (_, _, Json<'_>) =
            match (fields.optional("slack"), fields.optional("standard_webhooks")) {
                (Some(json), None) => (Scheme::Slack, "slack", json),
                (None, Some(json)) => (Scheme::StandardWebhooks, "standard_webhooks", json),
                _ => return Err(fields.error("slack", "either slack or standard_webhooks")),
            };
        let secret = SecretSource::from_config(json, &fields.join(name), runtime, services)?;
        if let SecretSource::Fixed(secret) = &secret
            && key(scheme, secret).is_none()
        {
            return Err(fields.error(name, "a secret of the scheme's form"));
        }
        rules.push(SigningRule { matches, scheme, secret });
    }
    Ok(rules)
}

/// Adds a scheme's headers for the present; false when the secret is not of the scheme's form.
pub fn sign(
    headers: &mut Headers,
    scheme: Scheme,
    secret: &Secret,
    id: &str,
    body: &[u8],
    now_s: u64,
) -> bool {
    let Some(key) = key(scheme, secret) else {
        return false;
    };
    let mut time = String::new();
    push_decimal(&mut time, now_s);
    match scheme {
        Scheme::Slack => {
            let tag = hmac::sign(&key, &[b"v0:", time.as_bytes(), b":", body]);
            let mut signature = String::from("v0=");
            push_hex(&mut signature, &tag);
            headers.push("x-slack-request-timestamp", time.as_bytes());
            headers.push("x-slack-signature", signature.as_bytes());
        }
        Scheme::StandardWebhooks => {
            let tag = hmac::sign(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", body]);
            headers.push("webhook-timestamp", time.as_bytes());
            headers.push("webhook-signature", ["v1,", &base64(&tag)].concat().as_bytes());
        }
    }
    true
}

fn key(scheme: Scheme, secret: &Secret) -> Option<Vec<u8>> {
    let first = secret.expose().split(|byte| *byte == b',').next()?.trim_ascii();
    match scheme {
        Scheme::Slack => (!first.is_empty()).then(|| first.to_vec()),
        Scheme::StandardWebhooks => from_base64(first.strip_prefix(b"whsec_")?).filter(|key| key.len() >= 24),
    }
}
