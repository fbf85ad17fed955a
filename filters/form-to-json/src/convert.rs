//! A request body → the body that goes on.

use std::borrow::Cow;

use lockgate_common::json::Json;

use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::form::form_to_json;
use crate::media_type::MediaType;

/// Converts a body by a rule. The result is JSON (`application/json`). `content_type` is the value
/// of the one header, if there is one; the query string is never looked at.
pub fn convert(rule: &Conversion, content_type: Option<&[u8]>, body: &[u8]) -> Result<Vec<u8>, ConvertError> {
    if body.len() > rule.max_body_bytes {
        return Err(ConvertError::BodyTooLarge);
    }
    let text = match MediaType::of(content_type, body)? {
        MediaType::Form => Cow::Owned(form_to_json(body, rule.max_fields)?),
        MediaType::Json => Cow::Borrowed(body),
    };
    let document = Json::parse(&text)?;
    match &rule.template {
        Some(template) => template.evaluate(document, rule.max_output_bytes),
        None if text.len() > rule.max_output_bytes => Err(ConvertError::OutputTooLarge),
        None => Ok(text.into_owned()),
    }
}
