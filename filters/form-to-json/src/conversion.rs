//! A rule's settings as written → as used.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::json::Json;

use crate::template::Template;

/// Largest limit in bytes that a rule may ask for: what a body costs in a filter's memory is a few
/// times its size.
const MOST_BYTES: u64 = 8 << 20;

/// The fields of a rule.
pub const SETTINGS: &[&str] =
    &["match", "unchanged", "template", "max_body_bytes", "max_output_bytes", "max_fields"];

/// What a rule makes of the bodies it is for.
#[derive(Debug)]
pub struct Conversion {
    /// The shape of the result; without it a form becomes plain JSON and JSON stays what it is.
    pub template: Option<Template>,
    /// Largest body, in bytes.
    pub max_body_bytes: usize,
    /// Largest result, in bytes.
    pub max_output_bytes: usize,
    /// Fields of a form.
    pub max_fields: usize,
}

impl Conversion {
    /// Reads a rule that stands at `path` in the configuration, all but its `match`.
    pub fn from_json(rule: Json<'_>, path: &str) -> Result<Self, ConfigError> {
        let fields = Fields::new(rule, path, SETTINGS)?;
        let template = match fields.optional("template") {
            Some(template) => Some(Template::compile(template, &fields.join("template"))?),
            None => None,
        };
        Ok(Self {
            template,
            max_body_bytes: fields.number("max_body_bytes", 1, MOST_BYTES, 1 << 20)? as usize,
            max_output_bytes: fields.number("max_output_bytes", 1, MOST_BYTES, 1 << 20)? as usize,
            max_fields: fields.number("max_fields", 1, 100_000, 1_000)? as usize,
        })
    }
}
