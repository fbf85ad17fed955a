//! What a body is, by its content type.

use crate::error::ConvertError;

/// A body that can be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/json`, or any type with the suffix `+json` (RFC 6839, 3.1).
    Json,
}

impl MediaType {
    /// Decides by the content type (RFC 9110, 8.3.1). Without one, by the body's first byte: JSON
    /// for an object or array, else a form. A charset other than UTF-8 is not read.
    pub fn of(content_type: Option<&[u8]>, body: &[u8]) -> Result<Self, ConvertError> {
        let Some(content_type) = content_type else {
            return Ok(match body.trim_ascii_start().first() {
                Some(b'{' | b'[') => Self::Json,
                _ => Self::Form,
            });
        };
        let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let essence = parts.next().unwrap_or_default();
        let media_type = if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            Self::Form
        } else if essence.eq_ignore_ascii_case(b"application/json") || has_suffix(essence, b"+json") {
            Self::Json
        } else {
            return Err(ConvertError::UnsupportedMediaType);
        };
        if parts.all(is_utf8_or_no_charset) {
            Ok(media_type)
        } else {
            Err(ConvertError::UnsupportedMediaType)
        }
    }
}

fn has_suffix(essence: &[u8], suffix: &[u8]) -> bool {
    essence
        .split_at_checked(essence.len().wrapping_sub(suffix.len()))
        .is_some_and(|(front, back)| !front.is_empty() && back.eq_ignore_ascii_case(suffix))
}

fn is_utf8_or_no_charset(parameter: &[u8]) -> bool {
    let Some((name, value)) = parameter.split_at_checked(b"charset=".len()) else { return true };
    if !name.eq_ignore_ascii_case(b"charset=") {
        return true;
    }
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    unquoted.unwrap_or(value).eq_ignore_ascii_case(b"utf-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &str) -> Option<MediaType> {
        MediaType::of(Some(content_type.as_bytes()), b"").ok()
    }

    #[test]
    fn forms_and_json_are_known_by_their_content_type() {
        for form in [
            "application/x-www-form-urlencoded",
            "APPLICATION/X-WWW-Form-Urlencoded",
            " application/x-www-form-urlencoded ",
            "application/x-www-form-urlencoded;charset=utf-8",
            "application/x-www-form-urlencoded ; Charset=\"UTF-8\"",
            "application/x-www-form-urlencoded; a=b",
        ] {
            assert_eq!(of(form), Some(MediaType::Form), "{form}");
        }
        for json in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/Vnd.GitHub+JSON",
            "application/ld+json;profile=\"x\"",
        ] {
            assert_eq!(of(json), Some(MediaType::Json), "{json}");
        }
    }

    #[test]
    fn anything_else_is_not_read() {
        for other in [
            "",
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/x-www-form-urlencoded-x",
            "application/x-www-form-urlencoded, application/json",
            "application/json; charset=iso-8859-1",
            "application/json; charset=",
            "application/json; charset=utf-8; charset=utf-16",
            "application/x-www-form-urlencoded; charset=\"utf-8",
            "+json",
            "json",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert!(MediaType::of(Some(b"\xff/json"), b"{}").is_err());
    }

    #[test]
    fn without_a_content_type_the_first_byte_decides() {
        for (body, expected) in [
            ("{}", MediaType::Json),
            (" \r\n\t[1]", MediaType::Json),
            ("a=1", MediaType::Form),
            ("%7B%7D", MediaType::Form),
            ("", MediaType::Form),
            ("\"a\"", MediaType::Form),
        ] {
            assert_eq!(MediaType::of(None, body.as_bytes()), Ok(expected), "{body}");
        }
    }
}
