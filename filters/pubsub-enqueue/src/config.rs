//! A rule's settings as written → as used.

use std::rc::Rc;

use lockgate_common::access_token::AccessTokens;
use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::envelope::LogKeys;
use lockgate_common::header_policy::{Policy, policy};
use lockgate_common::http::is_token_byte;
use lockgate_common::publish::{Publisher, is_topic};
use lockgate_common::rules::Match;
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::{Parsed, SecretSource};
use lockgate_common::services::Services;

use crate::request;

/// What a rule does with the requests that meet it.
pub struct Settings {
    /// The route's name, as the envelope keeps it.
    pub name: String,
    /// Where to.
    pub publisher: Publisher,
    /// Properties that must be there: the marks of the filters that must have let the request pass.
    pub marks: Vec<String>,
    /// What the upstream's path is.
    pub path: PathRule,
    /// Which headers are stored.
    pub headers: HeaderRule,
    /// What the sender is told.
    pub reply: ReplyRule,
    /// What seals envelopes.
    pub log_key: Option<SecretSource>,
    /// The keys that are in it.
    pub log_keys: Parsed<LogKeys>,
    /// Largest body, in bytes.
    pub max_body_bytes: usize,
    /// Time for everything, in milliseconds.
    pub deadline_ms: u64,
}

impl Settings {
    /// Whether the key and a token are there; asked for where they are not.
    pub fn is_ready(&self) -> bool {
        let key = self.log_key.as_ref().is_none_or(SecretSource::prefetch);
        self.publisher.is_ready() && key
    }
}

/// The upstream's path. The query always stays.
pub enum PathRule {
    /// The request's own.
    Same,
    /// This one.
    Fixed(String),
    /// The request's without this prefix.
    Stripped(String),
}

/// Which headers are stored.
pub struct HeaderRule {
    /// Only these, where given, and the ids that correlate.
    pub only: Option<Vec<String>>,
    /// These too, though their kind is left out.
    pub keep: Vec<String>,
}

impl HeaderRule {
    /// Whether a header, by its lower-case name, is stored.
    pub fn stores(&self, name: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|other| other == name);
        match policy(name) {
            Policy::Never => false,
            Policy::Keep => self.only.as_deref().is_none_or(named) || request::is_correlation(name),
            Policy::Signature | Policy::Credential => {
                named(&self.keep) || self.only.as_deref().is_some_and(named)
            }
        }
    }
}

/// What the sender is told once the request is stored.
pub struct ReplyRule {
    /// Status, 2xx.
    pub status: u32,
    /// Media type of the body.
    pub content_type: String,
    /// Body; `{id}` stands for the envelope's id.
    pub body: String,
}

/// The fields of a rule.
pub const SETTINGS: &[&str] = &[
    "match",
    "name",
    "topic",
    "after",
    "path",
    "strip_prefix",
    "headers",
    "reply",
    "log_key",
    "max_body_bytes",
    "deadline_ms",
];

/// Reads all rules. Rules of one topic share its publisher, so that they batch together.
pub fn rules(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Vec<(Match, Settings)>, ConfigError> {
    let services = Rc::new(Services::from_document(fields)?);
    let tokens = AccessTokens::new(runtime, &services);
    let mut publishers: Vec<(String, Publisher)> = Vec::new();
    let mut rules = Vec::new();
    for (path, rule) in fields.list("rules")? {
        let fields = Fields::new(rule, &path, SETTINGS)?;
        let matches =
            Match::from_config(fields.required("match", "what the rule is for")?, &fields.join("match"))?;
        let topic = fields.text("topic", "projects/P/topics/T")?;
        if !is_topic(&topic) {
            return Err(fields.error("topic", "projects/P/topics/T"));
        }
        let known =
            publishers.iter().find(|(other, _)| *other == topic).map(|(_, publisher)| publisher.clone());
        let publisher = known.unwrap_or_else(|| {
            let publisher = Publisher::new(runtime, &services, &tokens, &topic);
            publishers.push((topic, publisher.clone()));
            publisher
        });
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
            name: fields.text("name", "the route's name")?,
            publisher,
            marks: fields.texts("after")?.iter().map(|filter| mark(filter)).collect(),
            path: path_rule(&fields)?,
            headers: header_rule(&fields)?,
            reply: reply_rule(&fields)?,
            log_key,
            log_keys: Parsed::by(LogKeys::parse),
            max_body_bytes: fields.number("max_body_bytes", 1, 7 << 20, 1 << 20)? as usize,
            deadline_ms: fields.number("deadline_ms", 50, 60_000, 2_700)?,
        };
        rules.push((matches, settings));
    }
    Ok(rules)
}

/// The property by which a filter says that it let a request pass.
fn mark(filter: &str) -> String {
    ["lockgate_", &filter.replace('-', "_")].concat()
}

fn path_rule(fields: &Fields<'_>) -> Result<PathRule, ConfigError> {
    match (fields.optional_text("path")?, fields.optional_text("strip_prefix")?) {
        (None, None) => Ok(PathRule::Same),
        (Some(path), None) if path.starts_with('/') && !path.contains(['?', '#']) => {
            Ok(PathRule::Fixed(path))
        }
        (None, Some(prefix)) if prefix.starts_with('/') && !prefix.ends_with('/') => {
            Ok(PathRule::Stripped(prefix))
        }
        (Some(_), None) => Err(fields.error("path", "a path that begins with \"/\", without a query")),
        (None, Some(_)) => Err(fields.error("strip_prefix", "whole segments: \"/\" in front, none behind")),
        (Some(_), Some(_)) => Err(fields.error("path", "path or strip_prefix, not both")),
    }
}

fn header_rule(fields: &Fields<'_>) -> Result<HeaderRule, ConfigError> {
    let fields = fields.object("headers", &["only", "keep"])?;
    let names = |field: &str| -> Result<Vec<String>, ConfigError> {
        let names = fields.texts(field)?;
        let storable = |name: &String| {
            let lower = name.bytes().all(|byte| is_token_byte(byte) && !byte.is_ascii_uppercase());
            lower && policy(name) != Policy::Never
        };
        if names.iter().all(storable) {
            Ok(names)
        } else {
            Err(fields.error(field, "lower-case names of headers that can be stored"))
        }
    };
    let only = fields.optional("only").map(|_| names("only")).transpose()?;
    Ok(HeaderRule { only, keep: names("keep")? })
}

fn reply_rule(fields: &Fields<'_>) -> Result<ReplyRule, ConfigError> {
    let fields = fields.object("reply", &["status", "content_type", "body"])?;
    let status = fields.number("status", 200, 299, 200)?;
    let body = fields.optional_text("body")?.unwrap_or_default();
    if status == 204 && !body.is_empty() {
        return Err(fields.error("body", "none, as a 204 has no body (RFC 9110, 15.3.5)"));
    }
    let content_type =
        fields.optional_text("content_type")?.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
    Ok(ReplyRule { status: status as u32, content_type, body })
}
