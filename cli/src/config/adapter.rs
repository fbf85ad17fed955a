//! How a body is rewritten: `plain` (a form becomes a flat JSON object), a template file, or a
//! template written in place.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::problem::Problem;
use super::template;

/// A rewriting of bodies, as form-to-json does it.
#[derive(Clone, Debug, PartialEq)]
pub enum Adapter {
    /// A form becomes a flat JSON object; JSON stays as it is.
    Plain,
    /// The template's result.
    Template(Value),
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct RawAdapter(Value);

impl RawAdapter {
    pub(super) fn resolve(self, field: &str, directory: &Path) -> Result<Adapter, Problem> {
        let template = match self.0 {
            Value::String(name) if name == "plain" => return Ok(Adapter::Plain),
            Value::String(name) => read(field, directory, &name)?,
            template @ (Value::Object(_) | Value::Array(_)) => template,
            other => return Err(Problem::given(field, other, EXPECTED)),
        };
        template::check(&template, field)?;
        Ok(Adapter::Template(template))
    }
}

const EXPECTED: &str = "plain, a template, or a template's file, for example adapters/slack-command.json";

fn read(field: &str, directory: &Path, name: &str) -> Result<Value, Problem> {
    if !name.ends_with(".json") {
        return Err(Problem::given(field, name, EXPECTED));
    }
    let path = directory.join(name);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Problem::new(field, format!("{} cannot be read: {error}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| Problem::new(field, format!("{} is not JSON: {error}", path.display())))
}
