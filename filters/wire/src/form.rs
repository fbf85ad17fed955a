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
    fields(body).map(|field| Ok((decode(field.name)?, field.value()?)))
}

/// A field whose escapes are not resolved.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

/// The fields of a form as they came, for who wants few of many or long ones.
pub fn fields(body: &[u8]) -> impl Iterator<Item = Field<'_>> {
    body.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()).map(|piece| {
        let end = piece.iter().position(|byte| *byte == b'=').unwrap_or(piece.len());
        let (name, value) = piece.split_at_checked(end).unwrap_or_default();
        Field { name, value: value.get(1..).unwrap_or_default() }
    })
}

impl<'a> Field<'a> {
    /// Whether this is its name, however escaped.
    pub fn is(&self, name: &str) -> bool {
        self.name == name.as_bytes()
            || (self.name.len() > name.len() && decode(self.name).is_ok_and(|decoded| decoded == name))
    }

    /// Its value.
    pub fn value(&self) -> Result<Cow<'a, str>, FormError> {
        decode(self.value)
    }
}

/// The first value of `name`, in a form that can be read up to there.
pub fn first<'a>(body: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    pairs(body).map_while(Result::ok).find(|(other, _)| other == name).map(|(_, value)| value)
}

fn decode(text: &[u8]) -> Result<Cow<'_, str>, FormError> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| FormError::NotUtf8);
    }
    let mut out = text.to_vec();
    let mut written = 0;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let resolved = match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*bytes.next()?).to_digit(16);
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high << 4 | low) as u8,
                    _ => return Err(FormError::BrokenEscape),
                }
            }
            other => *other,
        };
        // In place: nothing becomes longer, and a byte at a time is slow to push.
        if let Some(to) = out.get_mut(written) {
            *to = resolved;
            written += 1;
        }
    }
    out.truncate(written);
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

    #[test]
    fn a_field_is_known_by_its_name_whatever_the_others_are() {
        let form = b"a=%&=&tex%74=one+two&text=three&b&c=%zz";
        let value = |name| fields(form).find(|field| field.is(name)).map(|field| field.value());
        assert_eq!(value("text"), Some(Ok("one two".into())));
        assert_eq!(value("b"), Some(Ok("".into())));
        assert_eq!(value("c"), Some(Err(FormError::BrokenEscape)));
        assert_eq!(value("d"), None);
        assert_eq!(first(form, "text"), None);
    }
}
