//! The filter's configuration as written → as used.

use std::rc::Rc;

use lockgate_common::assertion::Assertions;
use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::rules::Match;
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::{Parsed, SecretSource};
use lockgate_common::services::Services;

use crate::access::{self, Policies, RuleAccess};
use crate::cache::Cache;
use crate::door::{Door, Sessions};
use crate::events::Events;
use crate::programs::Programs;
use crate::provider::Provider;
use crate::seal::Keyring;
use crate::site::Site;
use crate::upstream_headers::IdentityHeaders;

/// Its top-level fields, beside those of every filter.
pub const SECTIONS: &[&str] =
    &["public_url", "session", "providers", "tokens", "token_page", "identity", "assertion", "policies"];

/// The fields of a rule.
pub const SETTINGS: &[&str] = access::SETTINGS;

/// Opened cookies that are kept at most, and their bytes, per worker.
const MAX_OPENED: usize = 1_024;
const MAX_OPENED_BYTES: usize = 4 << 20;

/// Reads the whole configuration.
pub fn door(document: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Rc<Door>, ConfigError> {
    let services = Rc::new(Services::from_document(document)?);
    let mut providers: Vec<Rc<Provider>> = Vec::new();
    for (path, json) in document.list("providers")? {
        let provider = Provider::from_config(json, &path, runtime, &services)?;
        let taken = |other: &Rc<Provider>| {
            other.name == provider.name || other.callback_path == provider.callback_path
        };
        if providers.iter().any(taken) {
            return Err(document.error("providers", "a name and a callback_path of its own for each"));
        }
        providers.push(Rc::new(provider));
    }
    let fields = document.object("session", &["secret", "cookie", "idle_s", "lifetime_s", "event_topic"])?;
    let sessions = match providers.is_empty() {
        true => None,
        false => Some(sessions(&fields, runtime, &services)?),
    };
    let cookie = fields.optional_text("cookie")?.unwrap_or_else(|| "lockgate".to_owned());
    let needed = sessions.is_some() || document.optional("assertion").is_some();
    let site = Site::from_config(document, &cookie, needed)?;
    let policies = access::policies(document)?;
    let rules = rules(document, &policies)?;
    let identity_headers = IdentityHeaders::from_config(document)?;
    let assertions = document.optional("assertion").map(|json| {
        let fields = Fields::new(json, "assertion", &["keys", "audience", "lifetime_s"])?;
        Assertions::from_config(&fields, &site.origin, runtime, &services)
    });
    let token_page = document.flag("token_page", false)?;
    let forwards = rules.iter().any(|(_, rule)| rule.forwards_token());
    let mut claims = policies.wanted_claims(rules.iter().map(|(_, rule)| rule));
    claims.extend(identity_headers.wanted_claims());
    let needs_groups = assertions.is_some() || policies.ask_for_groups(rules.iter().map(|(_, rule)| rule));
    let programs = Programs::from_config(document, &claims, &providers, runtime, &services)?;
    Ok(Rc::new(Door {
        runtime: runtime.clone(),
        site,
        sessions,
        providers,
        programs,
        policies,
        rules,
        identity_headers,
        assertions: assertions.transpose()?,
        claims,
        needs_groups,
        token_page,
        keeps_access_token: token_page || forwards,
        opened: Cache::new(MAX_OPENED, MAX_OPENED_BYTES),
        keyring: Parsed::by(Keyring::parse),
    }))
}

#[inline(never)]
fn sessions(
    fields: &Fields<'_>,
    runtime: &Rc<Runtime>,
    services: &Rc<Services>,
) -> Result<Sessions, ConfigError> {
    let expected = "base64 values of 32 bytes, newest first, separated by commas: openssl rand -base64 32";
    let json = fields.required("secret", "{\"env\": \"COOKIE_SECRET\"}")?;
    let secret = SecretSource::from_config(json, &fields.join("secret"), runtime, services)?;
    // The given value is not repeated in the error: it may be most of a secret.
    if let SecretSource::Fixed(fixed) = &secret
        && Keyring::parse(fixed).is_none()
    {
        return Err(ConfigError {
            field: fields.join("secret"),
            given: "another value".to_owned(),
            expected: expected.to_owned(),
        });
    }
    /// Marks of revocations are kept this long, in seconds, so no session may live longer.
    const MAX_LIFETIME_S: u64 = crate::back_channel::MAX_SESSION_S;
    let lifetime_s = fields.number("lifetime_s", 60, MAX_LIFETIME_S, 12 * 3_600)?;
    let idle_s = fields.number("idle_s", 1, MAX_LIFETIME_S, lifetime_s.min(4 * 3_600))?;
    let events = Events::from_config(fields, runtime, services)?;
    Ok(Sessions { secret, idle_s, lifetime_s, events })
}

#[inline(never)]
fn rules(document: &Fields<'_>, policies: &Policies) -> Result<Vec<(Match, RuleAccess)>, ConfigError> {
    let rule = |(path, json): (String, _)| {
        let fields = Fields::new(json, &path, SETTINGS)?;
        let matching = fields.required("match", "what the rule is for")?;
        Ok((Match::from_config(matching, &fields.join("match"))?, access::rule(&fields, policies)?))
    };
    document.list("rules")?.into_iter().map(rule).collect()
}
