//! A rule's settings as written → as used.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::hmac::Key;
use lockgate_common::json::Json;
use lockgate_common::rules::Match;
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::{Parsed, SecretSource};
use lockgate_common::services::Services;

use crate::kind::{Action, Actions};
use crate::signature;

/// What a rule asks of the requests that meet it.
pub struct Settings {
    /// The signing secrets, comma separated, newest first.
    pub signing_secrets: SecretSource,
    /// What they sign with.
    pub keys: Parsed<Vec<Key>>,
    /// How long a secret stays good after the worker has seen the one that replaced it, in milliseconds.
    pub overlap_ms: u64,
    /// How far Slack's clock may be from ours, in seconds, both ways.
    pub tolerance_s: u64,
    /// Largest body, in bytes.
    pub max_body_bytes: usize,
    /// Time to wait for a secret, in milliseconds.
    pub deadline_ms: u64,
    /// What happens to each kind of request.
    pub actions: Actions,
}

/// The fields of a rule.
pub const SETTINGS: &[&str] = &[
    "match",
    "signing_secrets",
    "overlap_seconds",
    "tolerance_seconds",
    "max_body_bytes",
    "deadline_ms",
    "kinds",
];

/// Reads all rules.
pub fn rules(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Vec<(Match, Settings)>, ConfigError> {
    let services = Rc::new(Services::from_document(fields)?);
    let mut rules = Vec::new();
    for (path, rule) in fields.list("rules")? {
        let fields = Fields::new(rule, &path, SETTINGS)?;
        let matches =
            Match::from_config(fields.required("match", "what the rule is for")?, &fields.join("match"))?;
        let given = fields.required("signing_secrets", "{\"env\": NAME} or {\"sm\": projects/…}")?;
        let secrets = SecretSource::from_config(given, &fields.join("signing_secrets"), runtime, &services)?;
        if let SecretSource::Fixed(secret) = &secrets
            && signature::keys(secret).is_none()
        {
            return Err(fields.error("signing_secrets", "secrets separated by commas, none of them empty"));
        }
        let settings = Settings {
            signing_secrets: secrets,
            keys: Parsed::by(signature::keys),
            overlap_ms: fields.number("overlap_seconds", 0, 86_400, 600)? * 1_000,
            tolerance_s: fields.number("tolerance_seconds", 1, 3_600, 300)?,
            max_body_bytes: fields.number("max_body_bytes", 1, 8 << 20, 1 << 20)? as usize,
            deadline_ms: fields.number("deadline_ms", 50, 60_000, 1_000)?,
            actions: actions(&fields)?,
        };
        rules.push((matches, settings));
    }
    Ok(rules)
}

fn actions(fields: &Fields<'_>) -> Result<Actions, ConfigError> {
    let mut actions = Actions::default();
    let expected = "an object of kinds of request, each \"enqueue\", \"pass\" or \"answer\"";
    for (kind, action) in fields.optional("kinds").into_iter().flat_map(Json::members) {
        let action = match action.str().as_deref() {
            Some("enqueue") => Action::Enqueue,
            Some("pass") => Action::Pass,
            Some("answer") => Action::Answer,
            _ => return Err(fields.error("kinds", expected)),
        };
        if !actions.set(&kind, action) {
            return Err(fields.error("kinds", expected));
        }
    }
    Ok(actions)
}
