//! The grammar of RFC 8259, without recursion. The same steps check a text the first time and find
//! the ends of its parts later.

use super::{Json, JsonError, MAX_DEPTH};

/// A place in a text. Every step forward is over a byte that was looked at, so `at` never passes
/// the end.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    /// After the bracket of a valid value; nowhere if it opens with another.
    pub(super) fn inside(text: &'a str, bracket: u8) -> Self {
        let mut scanner = Self { text, at: 0 };
        if scanner.expect(bracket).is_err() {
            scanner.text = "";
        }
        scanner
    }

    /// To the next member or element of a valid value, if there is one.
    pub(super) fn next_item(&mut self) -> Option<()> {
        self.space();
        if self.peek() == b',' {
            self.at += 1;
            self.space();
        }
        (!matches!(self.peek(), 0 | b'}' | b']')).then_some(())
    }

    /// Over one value, and white space before it.
    pub(super) fn value(&mut self) -> Result<Json<'a>, JsonError> {
        self.space();
        let start = self.at;
        let mut depth = 0;
        // The lowest bit says whether the innermost of the open brackets is an object's.
        let mut objects: u64 = 0;
        'value: loop {
            self.space();
            match self.peek() {
                open @ (b'{' | b'[') => {
                    if depth == MAX_DEPTH {
                        return Err(JsonError::TooDeep);
                    }
                    self.at += 1;
                    self.space();
                    let object = open == b'{';
                    // Both brackets close two places after they open in ASCII.
                    if self.peek() == open + 2 {
                        self.at += 1;
                    } else {
                        depth += 1;
                        objects = objects << 1 | u64::from(object);
                        if object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            }
            while depth > 0 {
                self.space();
                let object = objects & 1 == 1;
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        if object {
                            self.space();
                            self.name()?;
                        }
                        continue 'value;
                    }
                    close if close == if object { b'}' } else { b']' } => {
                        self.at += 1;
                        objects >>= 1;
                        depth -= 1;
                    }
                    _ => return self.fail(),
                }
            }
            return self.text.get(start..self.at).map_or_else(|| self.fail(), |text| Ok(Json { text }));
        }
    }

    /// Over a member's name and the colon; the name with its quotes.
    pub(super) fn name(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        self.string()?;
        let end = self.at;
        self.space();
        self.expect(b':')?;
        self.text.get(start..end).map_or_else(|| self.fail(), Ok)
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.expect(b'"')?;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\'));
            self.at += plain.unwrap_or(rest.len());
            match self.peek() {
                b'"' => break self.at += 1,
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                _ => return self.fail(),
            }
        }
        Ok(())
    }

    /// Over an escape, after its backslash; over both halves of a surrogate pair.
    fn escape(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            _ => match self.unit()? {
                0xd800..0xdc00 => {
                    self.expect(b'\\')?;
                    if !matches!(self.unit()?, 0xdc00..0xe000) {
                        return self.fail();
                    }
                }
                0xdc00..0xe000 => return self.fail(),
                _ => {}
            },
        }
        Ok(())
    }

    /// Over `uXXXX`.
    fn unit(&mut self) -> Result<u32, JsonError> {
        self.expect(b'u')?;
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = char::from(self.peek()).to_digit(16) else {
                return self.fail();
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.skip(b"-");
        if !self.skip(b"0") {
            self.digits()?;
        }
        if self.skip(b".") {
            self.digits()?;
        }
        if self.skip(b"eE") {
            self.skip(b"+-");
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.peek().is_ascii_digit() {
            return self.fail();
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonError> {
        for byte in word.bytes() {
            self.expect(byte)?;
        }
        Ok(())
    }

    pub(super) fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.skip(&[byte]) { Ok(()) } else { self.fail() }
    }

    /// Over one byte, if it is one of these.
    fn skip(&mut self, any: &[u8]) -> bool {
        let found = any.contains(&self.peek());
        self.at += usize::from(found);
        found
    }

    /// The byte at hand; 0 at the end, which is nowhere allowed in a JSON text.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    pub(super) fn fail<T>(&self) -> Result<T, JsonError> {
        Err(JsonError::Syntax { at: self.at })
    }
}
