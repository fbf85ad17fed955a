//! A header map, in the one piece in which the proxy hands it over.

/// Headers in the order they came, names lower case as the proxy gives them, values as bytes.
#[derive(Clone, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// Where a header stands in the bytes.
#[derive(Clone, Copy)]
struct Span {
    name: usize,
    name_bytes: usize,
    value: usize,
    value_bytes: usize,
}

/// A header that may stand once stood twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

impl Headers {
    /// Reads a map as the ABI serialises it: the number of pairs, the two lengths of each, and then the texts,
    /// each ended by a zero, in little-endian words (proxy-wasm ABI 0.2.1, "serialized map"). What does not
    /// hold together is no map, and has no headers.
    pub fn from_serialized(bytes: Vec<u8>) -> Self {
        let spans = spans(&bytes).unwrap_or_default();
        Self { bytes, spans }
    }

    /// The pairs, in order. A name that is not text, which the proxy lets nobody send, is empty.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.spans
            .iter()
            .map(|span| (std::str::from_utf8(self.name(span)).unwrap_or_default(), self.value(span)))
    }

    /// The first value of `name`. For decisions use [`Headers::single`].
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The one value of `name`. "The first valid one wins" is how checks are bypassed, so a second
    /// one is an error.
    pub fn single(&self, name: &str) -> Result<Option<&[u8]>, Repeated> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            Some(_) => Err(Repeated),
            None => Ok(first),
        }
    }

    /// Adds a pair at the end.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let span = Span {
            name: self.bytes.len(),
            name_bytes: name.len(),
            value: self.bytes.len() + name.len(),
            value_bytes: value.len(),
        };
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(value);
        self.spans.push(span);
    }

    /// Every value of `name`, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.spans.as_slice();
        std::iter::from_fn(move || {
            let span;
            (span, rest) = self.next(name, rest)?;
            Some(self.value(span))
        })
    }

    /// Out of line, so that there is one of it for all who ask.
    #[inline(never)]
    fn next<'a>(&self, name: &str, spans: &'a [Span]) -> Option<(&'a Span, &'a [Span])> {
        let fits = |span: &Span| span.name_bytes == name.len() && self.name(span) == name.as_bytes();
        let at = spans.iter().position(fits)?;
        spans.get(at..)?.split_first()
    }

    fn name(&self, span: &Span) -> &[u8] {
        self.bytes.get(span.name..span.name + span.name_bytes).unwrap_or_default()
    }

    fn value(&self, span: &Span) -> &[u8] {
        self.bytes.get(span.value..span.value + span.value_bytes).unwrap_or_default()
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::default();
        for (name, value) in pairs {
            headers.push(name.as_ref(), value.as_ref());
        }
        headers
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl std::fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

fn spans(bytes: &[u8]) -> Option<Vec<Span>> {
    let (count, rest) = word(bytes)?;
    let lengths = rest.get(..count.checked_mul(8)?)?;
    let mut spans = Vec::with_capacity(count);
    let mut at = 4 + lengths.len();
    for pair in lengths.chunks_exact(8) {
        let (name_bytes, pair) = word(pair)?;
        let (value_bytes, _) = word(pair)?;
        let value = at.checked_add(name_bytes)?.checked_add(1)?;
        let end = value.checked_add(value_bytes)?.checked_add(1)?;
        spans.push(Span { name: at, name_bytes, value, value_bytes });
        at = end;
    }
    (at <= bytes.len()).then_some(spans)
}

fn word(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*word) as usize, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serialized(pairs: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
        for (name, value) in pairs {
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
        }
        for (name, value) in pairs {
            bytes.extend([name.as_bytes(), b"\0", value, b"\0"].concat());
        }
        bytes
    }

    #[test]
    fn a_serialised_map_is_read_in_place() {
        let pairs: [(&str, &[u8]); 4] = [(":path", b"/"), ("a", b""), ("b", b"\xff\0"), ("a", b"2")];
        let headers = Headers::from_serialized(serialized(&pairs));
        assert_eq!(headers, pairs.iter().collect::<Vec<_>>().into_iter().map(|(n, v)| (*n, *v)).collect());
        assert!(headers.iter().eq(pairs));
        assert_eq!((headers.first("b"), headers.first("c")), (Some(b"\xff\0".as_slice()), None));
        assert_eq!(headers.single("a"), Err(Repeated));
        assert!(headers.all("a").eq([&b""[..], b"2"]) && headers.all("c").next().is_none());
        assert_eq!(headers.single("b"), Ok(Some(b"\xff\0".as_slice())));
        assert_eq!(Headers::from_serialized(Vec::new()), Headers::default());
    }

    #[test]
    fn what_does_not_hold_together_has_no_headers() {
        let whole = serialized(&[("a", b"1"), ("bc", b"23")]);
        for end in 0..whole.len() {
            assert_eq!(Headers::from_serialized(whole[..end].to_vec()), Headers::default(), "{end}");
        }
        for at in 0..20 {
            let mut broken = whole.clone();
            broken[at] = 0xff;
            assert_eq!(Headers::from_serialized(broken), Headers::default(), "{at}");
        }
    }

    #[test]
    fn pairs_can_be_added() {
        let mut headers = Headers::from_serialized(serialized(&[("a", b"1")]));
        headers.push("b", b"2");
        assert!(headers.iter().eq([("a", b"1".as_slice()), ("b", b"2")]));
        assert_eq!(headers.single("b"), Ok(Some(b"2".as_slice())));
    }
}
