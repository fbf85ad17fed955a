//! Configuration as written → as used, with errors that name the field, what was given and what is
//! expected. `lockgate render` checks the same things with more words; this is for whoever configures
//! a filter by hand, and it stops the start.

use crate::encoding::push_decimal;
use crate::json::Json;

/// A field that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `rules[0].match.path`.
    pub field: String,
    /// What was there, shortened; empty when it was absent.
    pub given: String,
    /// What is wanted instead.
    pub expected: String,
}

impl ConfigError {
    /// One line for the log.
    pub fn line(&self) -> String {
        let given = if self.given.is_empty() { "nothing" } else { &self.given };
        [self.field.as_str(), ": given ", given, ", expected ", &self.expected].concat()
    }
}

/// Longest piece of a given value that is repeated, in bytes.
const MAX_GIVEN: usize = 60;

fn shortened(json: Json<'_>) -> String {
    let text = json.text().get(..MAX_GIVEN).unwrap_or(json.text());
    String::from_utf8_lossy(text).into_owned()
}

/// An object whose fields are all known.
pub struct Fields<'a> {
    json: Json<'a>,
    path: String,
}

impl<'a> Fields<'a> {
    /// Takes an object; a field that is not in `known`, or stands twice, is an error.
    pub fn new(json: Json<'a>, path: &str, known: &[&str]) -> Result<Self, ConfigError> {
        let fields = Self { json, path: path.to_owned() };
        if json.kind() != crate::json::Kind::Object {
            return Err(ConfigError {
                field: path.to_owned(),
                given: shortened(json),
                expected: "an object".to_owned(),
            });
        }
        for (name, value) in json.members() {
            if !known.contains(&&*name) {
                return Err(ConfigError {
                    field: fields.join(&name),
                    given: shortened(value),
                    expected: ["no such field; one of: ", &known.join(", ")].concat(),
                });
            }
            if json.unique_field(&name).is_err() {
                return Err(fields.error(&name, "the field once"));
            }
        }
        Ok(fields)
    }

    /// An object in a field; an empty one when it is absent.
    pub fn object(&self, name: &str, known: &[&str]) -> Result<Self, ConfigError> {
        match (self.optional(name), Json::parse(b"{}")) {
            (Some(json), _) | (None, Ok(json)) => Self::new(json, &self.join(name), known),
            (None, Err(_)) => Err(self.error(name, "an object")),
        }
    }

    /// The path of a field below this object.
    pub fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { [&self.path, ".", name].concat() }
    }

    /// An error about a field.
    pub fn error(&self, name: &str, expected: &str) -> ConfigError {
        ConfigError {
            field: self.join(name),
            given: self.optional(name).map(shortened).unwrap_or_default(),
            expected: expected.to_owned(),
        }
    }

    /// A field, if it is there.
    pub fn optional(&self, name: &str) -> Option<Json<'a>> {
        self.json.field(name)
    }

    /// A field that must be there.
    pub fn required(&self, name: &str, expected: &str) -> Result<Json<'a>, ConfigError> {
        self.optional(name).ok_or_else(|| self.error(name, expected))
    }

    /// A text that is not empty, if it is there.
    pub fn optional_text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let Some(json) = self.optional(name) else {
            return Ok(None);
        };
        match json.str() {
            Some(text) if !text.is_empty() => Ok(Some(text.into_owned())),
            _ => Err(self.error(name, "a text that is not empty")),
        }
    }

    /// A text that is not empty.
    pub fn text(&self, name: &str, expected: &str) -> Result<String, ConfigError> {
        self.optional_text(name)?.ok_or_else(|| self.error(name, expected))
    }

    /// A whole number from `least` to `most`.
    pub fn number(&self, name: &str, least: u64, most: u64, default: u64) -> Result<u64, ConfigError> {
        let Some(json) = self.optional(name) else {
            return Ok(default);
        };
        match json.u64() {
            Some(number) if (least..=most).contains(&number) => Ok(number),
            _ => {
                let mut expected = String::from("a whole number from ");
                push_decimal(&mut expected, least);
                expected.push_str(" to ");
                push_decimal(&mut expected, most);
                Err(self.error(name, &expected))
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        match self.optional(name) {
            None => Ok(default),
            Some(json) => json.bool().ok_or_else(|| self.error(name, "true or false")),
        }
    }

    /// A list, empty when it is absent.
    pub fn list(&self, name: &str) -> Result<Vec<(String, Json<'a>)>, ConfigError> {
        let Some(json) = self.optional(name) else {
            return Ok(Vec::new());
        };
        if json.kind() != crate::json::Kind::Array {
            return Err(self.error(name, "a list"));
        }
        let numbered = |(index, element)| {
            let mut path = self.join(name);
            path.push('[');
            push_decimal(&mut path, index as u64);
            path.push(']');
            (path, element)
        };
        Ok(json.elements().enumerate().map(numbered).collect())
    }

    /// A list of texts, empty when it is absent.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        let text = |(_, json): (String, Json<'_>)| json.str().map(|text| text.into_owned());
        let texts: Option<Vec<String>> = self.list(name)?.into_iter().map(text).collect();
        texts.ok_or_else(|| self.error(name, "a list of texts"))
    }
}

/// The field with the path at which a filter only tells whether it is ready, and lets the request on if it
/// is. For a route that answers behind all of them; absent, no path is special.
pub const READY_PATH: &str = "ready_path";

/// Takes a filter's whole configuration apart: `{"version": 1, "rules": […], "services": {…}}`, the path
/// of [`READY_PATH`], and the filter's own `sections`.
pub fn document<'a>(json: Json<'a>, sections: &[&str]) -> Result<Fields<'a>, ConfigError> {
    let known: Vec<&str> =
        ["version", "rules", "services", READY_PATH].into_iter().chain(sections.iter().copied()).collect();
    let fields = Fields::new(json, "", &known)?;
    if fields.required("version", "1")?.u64() != Some(1) {
        return Err(fields.error("version", "1"));
    }
    if fields.list("rules")?.is_empty() {
        return Err(fields.error("rules", "a list of at least one rule"));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        document(Json::parse(text.as_bytes()).unwrap(), &[]).err().map_or_else(String::new, |e| e.line())
    }

    #[test]
    fn an_error_names_the_field_what_was_given_and_what_is_expected() {
        assert_eq!(line(r#"{"version":2,"rules":[{}]}"#), "version: given 2, expected 1");
        assert_eq!(line(r#"{"version":1}"#), "rules: given nothing, expected a list of at least one rule");
        assert_eq!(
            line(r#"{"version":1,"rule":[]}"#),
            "rule: given [], expected no such field; one of: version, rules, services, ready_path"
        );
        assert_eq!(
            line(r#"{"version":1,"version":1,"rules":[{}]}"#),
            "version: given 1, expected the field once"
        );
        assert_eq!(line("[]"), ": given [], expected an object");
    }

    #[test]
    fn numbers_have_bounds() {
        let fields = Fields::new(Json::parse(b"{\"n\":9}").unwrap(), "rules[0]", &["n"]).unwrap();
        assert_eq!(fields.number("n", 1, 9, 5), Ok(9));
        assert_eq!(
            fields.number("n", 1, 8, 5).unwrap_err().line(),
            "rules[0].n: given 9, expected a whole number from 1 to 8"
        );
        assert_eq!(fields.number("m", 1, 8, 5), Ok(5));
    }
}
