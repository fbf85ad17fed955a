//! `application/x-www-form-urlencoded` read in place (WHATWG URL Standard, section 5.1), strictly:
//! a broken escape is an error, where a browser would keep it.

use std::borrow::Cow;

/// A form that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    /// `%` without two hexadecimal digits behind it.
    BrokenEscape,
    /// A name or value that is not UTF-8 once its escapes are resolved.
    NotUtf8,
}

/// Name and value, escapes resolved.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The pairs of a form, in order. `a` stands for `a=`; empty pieces between `&` are passed over.
pub fn pairs(body: &[u8]) -> impl Iterator<Item = Result<Pair<'_>, FormError>> {
    body.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()).map(|piece| {
        let mut parts = piece.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        Ok((decode(name)?, decode(value)?))
    })
}

/// The first value of `name`, in a form that can be read up to there.
pub fn first<'a>(body: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    pairs(body).map_while(Result::ok).find(|(other, _)| other == name).map(|(_, value)| value)
}

fn decode(text: &[u8]) -> Result<Cow<'_, str>, FormError> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| FormError::NotUtf8);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    let byte = bytes.next()?;
                    char::from(*byte).to_digit(16)
                };
                let (high, low) = (digit(), digit());
                match (high, low) {
                    (Some(high), Some(low)) => (high << 4 | low) as u8,
                    _ => return Err(FormError::BrokenEscape),
                }
            }
            other => *other,
        });
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| FormError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_order() {
        let read: Vec<_> = pairs(b"a=1+2&b=%C3%A9&&c&=x&a=%2B").map(Result::unwrap).collect();
        let pairs: Vec<(&str, &str)> = read.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(pairs, [("a", "1 2"), ("b", "é"), ("c", ""), ("", "x"), ("a", "+")]);
    }

    #[test]
    fn what_cannot_be_decoded_is_an_error() {
        for (body, error) in [
            ("a=%", FormError::BrokenEscape),
            ("a=%4", FormError::BrokenEscape),
            ("%zz=1", FormError::BrokenEscape),
            ("a=%ff", FormError::NotUtf8),
        ] {
            assert_eq!(pairs(body.as_bytes()).next(), Some(Err(error)), "{body}");
        }
        assert_eq!(pairs(b"a=\xff").next(), Some(Err(FormError::NotUtf8)));
    }
}
