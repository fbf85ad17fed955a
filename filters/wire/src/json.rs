//! A JSON text (RFC 8259), read in place: checked once, then every value is a slice of it.
//!
//! No tree is built, because a filter looks at a handful of members and hands on the rest as the
//! bytes that came: big integers, `[]`, the order of members survive.

use std::borrow::Cow;
use std::iter;
use std::str;

use scan::Scanner;

mod scan;

/// Objects and arrays inside each other. RFC 8259, 9 allows a limit; the senders' bodies nest
/// about ten deep.
pub const MAX_DEPTH: u32 = 64;

/// A valid JSON value: its text, without white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<'a> {
    text: &'a str,
}

/// Why a text is not one JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Not the grammar of RFC 8259, not UTF-8, or half a surrogate pair, at this byte.
    Syntax {
        /// Offset from the start of the text, in bytes.
        at: usize,
    },
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
    /// The member asked for stands twice in the object.
    Duplicate,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// Of any size and precision.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl<'a> Json<'a> {
    /// Checks a whole text, in one pass. White space around the value is allowed, nothing else.
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        let text = str::from_utf8(text).map_err(|error| JsonError::Syntax { at: error.valid_up_to() })?;
        let mut scanner = Scanner { text, at: 0 };
        let value = scanner.value()?;
        scanner.space();
        if scanner.at < text.len() {
            return scanner.fail();
        }
        Ok(value)
    }

    /// The value as it came.
    pub fn text(self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The value as it came, as text.
    pub fn text_str(self) -> &'a str {
        self.text
    }

    /// What the value is.
    pub fn kind(self) -> Kind {
        match self.text.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The members of an object, in order, a repeated name as often as it stands there. None for
    /// any other value.
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Json<'a>)> + use<'a> {
        let mut inside = Scanner::inside(self.text, b'{');
        iter::from_fn(move || {
            inside.next_item()?;
            let name = inside.name().ok()?;
            Some((unquote(name)?, inside.value().ok()?))
        })
    }

    /// The elements of an array, in order. None for any other value.
    pub fn elements(self) -> impl Iterator<Item = Json<'a>> + use<'a> {
        let mut inside = Scanner::inside(self.text, b'[');
        iter::from_fn(move || {
            inside.next_item()?;
            inside.value().ok()
        })
    }

    /// The member `name` of an object; of several the last, as ECMAScript and `serde_json` have it.
    pub fn field(self, name: &str) -> Option<Json<'a>> {
        self.named(name).last()
    }

    /// The member `name` of an object, which must not stand there twice: for tokens and
    /// configuration, where two readers must not see two values.
    pub fn unique_field(self, name: &str) -> Result<Option<Json<'a>>, JsonError> {
        let mut found = self.named(name);
        let first = found.next();
        match found.next() {
            Some(_) => Err(JsonError::Duplicate),
            None => Ok(first),
        }
    }

    fn named(self, name: &str) -> impl Iterator<Item = Json<'a>> {
        let mut inside = Scanner::inside(self.text, b'{');
        iter::from_fn(move || {
            loop {
                inside.next_item()?;
                let other = inside.name().ok()?;
                let value = inside.value().ok()?;
                if is_named(other, name) {
                    return Some(value);
                }
            }
        })
    }

    /// The value that a JSON Pointer (RFC 6901) leads to; the empty pointer is the value itself.
    /// None where the pointer is broken or leads nowhere.
    pub fn pointer(self, pointer: &str) -> Option<Json<'a>> {
        let mut tokens = pointer.split('/');
        if tokens.next() != Some("") {
            return None;
        }
        tokens.try_fold(self, |value, token| match value.kind() {
            Kind::Object => value.field(&unescape(token)?),
            Kind::Array => value.elements().nth(index(token)?),
            _ => None,
        })
    }

    /// A string's value.
    pub fn str(self) -> Option<Cow<'a, str>> {
        unquote(self.text)
    }

    /// A number written as an integer (no fraction, no exponent) from 0 to 2^64 - 1.
    pub fn u64(self) -> Option<u64> {
        self.text.parse().ok()
    }

    /// A number written as an integer (no fraction, no exponent) from -2^63 to 2^63 - 1.
    pub fn i64(self) -> Option<i64> {
        self.text.parse().ok()
    }

    /// `true` or `false`.
    pub fn bool(self) -> Option<bool> {
        match self.text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }
}

/// Appends `text` as a JSON string, with the escapes that RFC 8259, 7 demands and no others.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let plain = rest.iter().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\'));
        let Some((run, [byte, tail @ ..])) = plain.and_then(|plain| rest.split_at_checked(plain)) else {
            break;
        };
        out.extend_from_slice(run);
        out.push(b'\\');
        match byte {
            b'\n' => out.push(b'n'),
            b'\r' => out.push(b'r'),
            b'\t' => out.push(b't'),
            0x08 => out.push(b'b'),
            0x0c => out.push(b'f'),
            b'"' | b'\\' => out.push(*byte),
            _ => {
                let low = byte & 0xf;
                let digit = if low < 10 { b'0' + low } else { b'a' + low - 10 };
                out.extend_from_slice(&[b'u', b'0', b'0', b'0' + (byte >> 4), digit]);
            }
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends a JSON array of strings.
pub fn write_strings(out: &mut Vec<u8>, texts: &[String]) {
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, text);
    }
    out.push(b']');
}

/// A JSON text that is kept: checked once, and then looked into as often as is needed.
pub struct Document(String);

impl Document {
    /// See [`Json::parse`].
    pub fn parse(text: Vec<u8>) -> Result<Self, JsonError> {
        let text = String::from_utf8(text)
            .map_err(|error| JsonError::Syntax { at: error.utf8_error().valid_up_to() })?;
        Json::parse(text.as_bytes())?;
        Ok(Self(text))
    }

    /// The value.
    pub fn root(&self) -> Json<'_> {
        Json { text: self.0.trim_ascii() }
    }
}

/// Whether a string's text, quotes included, is that of `name`.
fn is_named(text: &str, name: &str) -> bool {
    // An escape is longer than what it stands for.
    match text.len().checked_sub(2 + name.len()) {
        None => false,
        Some(0) => text.as_bytes().get(1..=name.len()) == Some(name.as_bytes()),
        Some(_) => text.contains('\\') && unquote(text).is_some_and(|other| other == name),
    }
}

/// A string's value from its text, quotes included. None for any other value.
fn unquote(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        value.push(match char {
            '\\' => match chars.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => match hex4(&mut chars)? {
                    high @ 0xd800..0xdc00 => {
                        // Past `\u`, which `Scanner::string` has seen.
                        chars.next()?;
                        chars.next()?;
                        let low = hex4(&mut chars)?;
                        char::from_u32(0x1_0000 + ((high & 0x3ff) << 10) + (low & 0x3ff))?
                    }
                    unit => char::from_u32(unit)?,
                },
                literal => literal,
            },
            plain => plain,
        });
    }
    Some(Cow::Owned(value))
}

fn hex4(chars: &mut str::Chars<'_>) -> Option<u32> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit << 4 | chars.next()?.to_digit(16)?;
    }
    Some(unit)
}

/// The name that a token of a JSON Pointer stands for (RFC 6901, 4).
fn unescape(token: &str) -> Option<Cow<'_, str>> {
    if !token.as_bytes().contains(&b'~') {
        return Some(Cow::Borrowed(token));
    }
    let mut name = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(char) = chars.next() {
        name.push(match char {
            '~' => match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(Cow::Owned(name))
}

/// The array index that a token of a JSON Pointer stands for: digits, without leading zeros.
fn index(token: &str) -> Option<usize> {
    match token.as_bytes() {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] => token.parse().ok(),
        _ => None,
    }
}
