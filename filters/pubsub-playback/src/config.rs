//! A rule's settings as written → as used.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lockgate_common::access_token::AccessTokens;
use lockgate_common::assertion::Assertions;
use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::envelope::{LogKeys, push_bytes};
use lockgate_common::jwks;
use lockgate_common::publish::{Publisher, is_topic};
use lockgate_common::readiness::all_ready;
use lockgate_common::rules::Match;
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::{Parsed, SecretSource};
use lockgate_common::services::Services;

use crate::outcome::{PERMANENT, RETRY, StatusMap};
use crate::push_token::PushTokens;
use crate::sign::{self, SigningRule};

/// What a rule does with the pushes that meet it.
pub struct Settings {
    /// Who may push.
    pub tokens: PushTokens,
    /// Where dead letters go.
    pub dead_letters: Publisher,
    /// What envelopes must be sealed with.
    pub log_key: Option<SecretSource>,
    /// The keys that are in it.
    pub log_keys: Parsed<LogKeys>,
    /// What the upstream's answer means.
    pub statuses: StatusMap,
    /// Headers that routes store beyond their kind.
    pub keep_headers: Vec<String>,
    /// How restored requests are signed; the first that matches.
    pub sign: Vec<SigningRule>,
    /// How the upstream is told who was verified, in a way that it can check.
    pub assertions: Option<Assertions>,
    /// Largest push, in bytes.
    pub max_body_bytes: usize,
    /// Time for keys, secrets and a dead letter, in milliseconds.
    pub deadline_ms: u64,
    /// Bytes of messages that are being played back.
    pub held_bytes: Rc<Cell<usize>>,
}

impl Settings {
    /// Whether keys and secrets are there; asked for where they are not.
    pub fn is_ready(&self) -> bool {
        let secrets = self.log_key.iter().chain(self.sign.iter().map(|rule| &rule.secret));
        let secrets = all_ready(secrets.map(SecretSource::prefetch));
        let assertions = self.assertions.as_ref().is_none_or(Assertions::is_ready);
        self.tokens.keys.prefetch() && secrets && assertions
    }
}

/// The fields of a rule.
pub const SETTINGS: &[&str] = &[
    "match",
    "push",
    "dead_letter_topic",
    "log_key",
    "retry_statuses",
    "permanent_statuses",
    "keep_headers",
    "sign",
    "assertion",
    "max_body_bytes",
    "deadline_ms",
];

/// Google's tokens name their issuer in either form
/// (developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken).
const GOOGLE: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// Reads all rules.
pub fn rules(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Vec<(Match, Settings)>, ConfigError> {
    let services = Rc::new(Services::from_document(fields)?);
    let access = AccessTokens::new(runtime, &services);
    let mut rules = Vec::new();
    for (path, rule) in fields.list("rules")? {
        let fields = Fields::new(rule, &path, SETTINGS)?;
        let matches =
            Match::from_config(fields.required("match", "what the rule is for")?, &fields.join("match"))?;
        let topic = fields.text("dead_letter_topic", "projects/P/topics/T")?;
        if !is_topic(&topic) {
            return Err(fields.error("dead_letter_topic", "projects/P/topics/T"));
        }
        let log_key = fields
            .optional("log_key")
            .map(|key| SecretSource::from_config(key, &fields.join("log_key"), runtime, &services))
            .transpose()?;
        if let Some(SecretSource::Fixed(secret)) = &log_key
            && LogKeys::parse(secret).is_none()
        {
            return Err(fields.error("log_key", "base64 values of 32 bytes, separated by commas"));
        }
        let settings = Settings {
            tokens: push_tokens(&fields, runtime, &services)?,
            dead_letters: Publisher::new(runtime, &services, &access, &topic),
            log_key,
            log_keys: Parsed::by(LogKeys::parse),
            statuses: statuses(&fields)?,
            keep_headers: fields.texts("keep_headers")?,
            sign: sign::rules(&fields, runtime, &services)?,
            assertions: assertions(&fields, runtime, &services)?,
            max_body_bytes: fields.number("max_body_bytes", 1, 14 << 20, push_bytes(1 << 20) as u64)?
                as usize,
            deadline_ms: fields.number("deadline_ms", 50, 60_000, 5_000)?,
            held_bytes: Rc::default(),
        };
        rules.push((matches, settings));
    }
    Ok(rules)
}

#[inline(never)]
fn push_tokens(
    fields: &Fields<'_>,
    runtime: &Rc<Runtime>,
    services: &Services,
) -> Result<PushTokens, ConfigError> {
    let fields = fields.object("push", &["issuer", "audience", "email", "jwks_uri"])?;
    let issuer = fields.text("issuer", "https://accounts.google.com")?;
    let issuers = match GOOGLE.contains(&issuer.as_str()) {
        true => GOOGLE.iter().map(|issuer| (*issuer).to_owned()).collect(),
        false => vec![issuer],
    };
    let keys = services
        .endpoint(&fields.text("jwks_uri", "https://www.googleapis.com/oauth2/v3/certs")?)
        .ok_or_else(|| fields.error("jwks_uri", "an https address, or http on loopback"))?;
    Ok(PushTokens {
        issuers,
        audience: fields.text("audience", "the audience set on the subscription")?,
        email: fields.text("email", "the service account set on the subscription")?,
        keys: jwks::shared(runtime, keys),
        remembered: RefCell::default(),
    })
}

#[inline(never)]
fn assertions(
    fields: &Fields<'_>,
    runtime: &Rc<Runtime>,
    services: &Rc<Services>,
) -> Result<Option<Assertions>, ConfigError> {
    let Some(json) = fields.optional("assertion") else {
        return Ok(None);
    };
    let fields = Fields::new(json, &fields.join("assertion"), &["keys", "issuer", "audience", "lifetime_s"])?;
    let issuer = fields.text("issuer", "the proxy's public address, as https://app.example.com")?;
    Assertions::from_config(&fields, &issuer, runtime, services).map(Some)
}

#[inline(never)]
fn statuses(fields: &Fields<'_>) -> Result<StatusMap, ConfigError> {
    let list = |name: &str, default: &[&str]| -> Result<Vec<String>, ConfigError> {
        match fields.optional(name) {
            Some(_) => fields.texts(name),
            None => Ok(default.iter().map(|entry| (*entry).to_owned()).collect()),
        }
    };
    let (retry, permanent) = (list("retry_statuses", RETRY)?, list("permanent_statuses", PERMANENT)?);
    StatusMap::parse(&retry, &permanent)
        .ok_or_else(|| fields.error("retry_statuses", "statuses from 300 to 599, or classes as 5xx"))
}
