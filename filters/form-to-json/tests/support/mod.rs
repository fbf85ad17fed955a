//! What the tests share.
#![allow(dead_code, reason = "no test file needs all of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use form_to_json::conversion::Conversion;
use form_to_json::convert::convert;
use form_to_json::error::ConvertError;
use lockgate_common::json::Json;

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
pub(crate) const JSON: &str = "application/json";

/// A rule from its settings as written.
pub(crate) fn rule(settings: &str) -> Conversion {
    Conversion::from_json(Json::parse(settings.as_bytes()).unwrap(), "rules[0]").unwrap()
}

/// A rule that has nothing but a template.
pub(crate) fn with_template(template: &str) -> Conversion {
    rule(&format!(r#"{{"template":{template}}}"#))
}

/// What stops a rule from being used.
pub(crate) fn mistake(settings: &str) -> String {
    Conversion::from_json(Json::parse(settings.as_bytes()).unwrap(), "rules[0]").unwrap_err().line()
}

/// Converts by a rule, bodies as text.
pub(crate) fn converted(rule: &Conversion, content_type: &str, body: &str) -> Result<String, ConvertError> {
    convert(rule, Some(content_type.as_bytes()), body.as_bytes())
        .map(|bytes| String::from_utf8(bytes).unwrap())
}

/// The JSON of a form, without a template.
pub(crate) fn form(body: impl AsRef<[u8]>) -> Result<String, ConvertError> {
    convert(&rule("{}"), Some(FORM.as_bytes()), body.as_ref()).map(|bytes| String::from_utf8(bytes).unwrap())
}
