//! A rule's settings as written → as used.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::rules::Match;
use lockgate_common::runtime::Runtime;
use lockgate_common::services::Services;

use crate::identity::Identity;

/// The header that Cloud Run prefers, so that `Authorization` stays the sender's own
/// (cloud.google.com/run/docs/authenticating/service-to-service).
pub const SERVERLESS: &str = "x-serverless-authorization";

const HEADERS: [&str; 2] = ["authorization", SERVERLESS];

/// What a rule gives to the requests that meet it.
pub struct Settings {
    /// The token; rules with the same audience and key share it.
    pub identity: Rc<Identity>,
    /// The header that carries it.
    pub header: &'static str,
    /// Time to wait for a token, in milliseconds.
    pub deadline_ms: u64,
}

/// The fields of a rule.
pub const SETTINGS: &[&str] = &["match", "audience", "header", "key", "deadline_ms"];

/// Reads all rules.
pub fn rules(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Vec<(Match, Settings)>, ConfigError> {
    let services = Rc::new(Services::from_document(fields)?);
    let mut known: Vec<(Vec<u8>, Rc<Identity>)> = Vec::new();
    let mut rules = Vec::new();
    for (path, rule) in fields.list("rules")? {
        let fields = Fields::new(rule, &path, SETTINGS)?;
        let matches =
            Match::from_config(fields.required("match", "what the rule is for")?, &fields.join("match"))?;
        let audience = fields.text("audience", "whom the token is for, as https://my-service.a.run.app")?;
        if audience.is_empty() || !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fields.error("audience", "one word, as https://my-service.a.run.app"));
        }
        let key = fields.optional("key");
        let same = [audience.as_bytes(), b"\n", key.map_or(b"", |key| key.text())].concat();
        let identity = match known.iter().find(|(other, _)| *other == same) {
            Some((_, identity)) => identity.clone(),
            None => {
                let identity = match key {
                    Some(key) => Identity::by_key(key, &fields, &audience, runtime, &services)?,
                    None => Identity::of_this_machine(&audience, runtime, &services),
                };
                let identity = Rc::new(identity);
                known.push((same, identity.clone()));
                identity
            }
        };
        let header = fields.optional_text("header")?;
        let header = header.as_deref().unwrap_or("authorization");
        let header = HEADERS
            .into_iter()
            .find(|name| *name == header)
            .ok_or_else(|| fields.error("header", "authorization or x-serverless-authorization"))?;
        let deadline_ms = fields.number("deadline_ms", 50, 60_000, 3_000)?;
        rules.push((matches, Settings { identity, header, deadline_ms }));
    }
    Ok(rules)
}
