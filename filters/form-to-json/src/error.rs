//! Why a body cannot be converted, and what the sender is told.

use lockgate_common::form::FormError;
use lockgate_common::http::Refusal;
use lockgate_common::json::JsonError;

/// Why a body cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvertError {
    /// Over the rule's `max_body_bytes`.
    BodyTooLarge,
    /// More fields than the rule's `max_fields`.
    TooManyFields,
    /// The result would be over the rule's `max_output_bytes`.
    OutputTooLarge,
    /// Neither a form nor JSON, or not in UTF-8 by its own account.
    UnsupportedMediaType,
    /// `%` without two hexadecimal digits behind it.
    BrokenEscape,
    /// A field that is not UTF-8.
    NotUtf8,
    /// Said to be JSON and is not.
    NotJson,
    /// JSON of more levels than are read.
    TooDeep,
    /// The template takes a value that is not there.
    MissingValue,
    /// The template goes through the members of a value that is no object.
    NotAnObject,
    /// The template makes a member's name of a value that is no string.
    NotAName,
}

impl ConvertError {
    /// What the sender, the log and the counter are told.
    pub fn refusal(self) -> Refusal {
        let (status, reason, sentence) = match self {
            Self::BodyTooLarge => (413, "too_large", "The body is larger than this address takes."),
            Self::TooManyFields => {
                (413, "too_many_fields", "The form has more fields than this address takes.")
            }
            Self::OutputTooLarge => {
                (413, "output_too_large", "The body becomes larger than this address takes.")
            }
            Self::UnsupportedMediaType => {
                (415, "unsupported_media_type", "The body must be a form or JSON, in UTF-8.")
            }
            Self::BrokenEscape => (400, "broken_escape", "The form has a broken percent escape."),
            Self::NotUtf8 => (400, "not_utf8", "The form is not UTF-8."),
            Self::NotJson => (400, "not_json", "The body is not JSON."),
            Self::TooDeep => (400, "too_deep", "The JSON is nested too deeply."),
            Self::MissingValue => (400, "missing_value", "The body lacks a value that is needed here."),
            Self::NotAnObject => {
                (400, "not_an_object", "The body has another value where an object is needed.")
            }
            Self::NotAName => (400, "not_a_name", "The body has another value where a name is needed."),
        };
        Refusal { status, reason, sentence }
    }
}

impl From<FormError> for ConvertError {
    fn from(error: FormError) -> Self {
        match error {
            FormError::BrokenEscape => Self::BrokenEscape,
            FormError::NotUtf8 => Self::NotUtf8,
        }
    }
}

impl From<JsonError> for ConvertError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::TooDeep => Self::TooDeep,
            JsonError::Syntax { .. } | JsonError::Duplicate => Self::NotJson,
        }
    }
}
