//! As much of HTTP/1.1 as both ends of a measurement need: reading a message out of a buffer that may
//! not hold all of it yet, and one request at a time for what happens once.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;

const MAX_HEADERS: usize = 96;

/// How long one request that happens once may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message in a buffer.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) start: Start<'a>,
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
    pub(crate) body: Cow<'a, [u8]>,
    /// Bytes of the buffer that it takes up.
    pub(crate) length: usize,
}

/// The first line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    Request { method: &'a str, target: &'a str },
    Status(u16),
}

impl<'a> Message<'a> {
    /// The first request of a buffer, or `None` while it is not all there.
    pub(crate) fn request(buffer: &'a [u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = parsed.parse(buffer)? else { return Ok(None) };
        let start = Start::Request {
            method: parsed.method.unwrap_or_default(),
            target: parsed.path.unwrap_or_default(),
        };
        Self::finish(buffer, head, start, parsed.headers, true)
    }

    /// The first response of a buffer, likewise. One that ends with its connection is not understood.
    pub(crate) fn response(buffer: &'a [u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = parsed.parse(buffer)? else { return Ok(None) };
        let status = parsed.code.unwrap_or_default();
        let empty = status == 204 || status == 304;
        Self::finish(buffer, head, Start::Status(status), parsed.headers, empty)
    }

    fn finish(
        buffer: &'a [u8],
        head: usize,
        start: Start<'a>,
        headers: &[httparse::Header<'a>],
        empty_without_length: bool,
    ) -> Result<Option<Self>> {
        let headers: Vec<_> = headers.iter().map(|header| (header.name, header.value)).collect();
        let rest = buffer.get(head..).unwrap_or_default();
        let mut message = Self { start, headers, body: Cow::Borrowed(&[]), length: head };
        if message.is(b"chunked", "transfer-encoding") {
            let Some((body, length)) = dechunked(rest)? else { return Ok(None) };
            message.body = Cow::Owned(body);
            message.length += length;
        } else if let Some(length) = message.header("content-length") {
            let length: usize = std::str::from_utf8(length)?.trim().parse()?;
            let Some(body) = rest.get(..length) else { return Ok(None) };
            message.body = Cow::Borrowed(body);
            message.length += length;
        } else if !empty_without_length {
            return Err("a response without a length".into());
        }
        Ok(Some(message))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut fitting = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        fitting.next().map(|(_, value)| *value)
    }

    /// Whether a header has exactly this value, in any case.
    pub(crate) fn is(&self, value: &[u8], name: &str) -> bool {
        self.header(name).is_some_and(|given| given.eq_ignore_ascii_case(value))
    }

    pub(crate) fn status(&self) -> u16 {
        match self.start {
            Start::Status(status) => status,
            Start::Request { .. } => 0,
        }
    }
}

/// The body of chunks, and their length; `None` while the last one is missing.
fn dechunked(mut rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let whole = rest.len();
    let mut body = Vec::new();
    loop {
        let size = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("a broken chunk".into()),
        };
        let (begin, length) = (size.0, usize::try_from(size.1)?);
        let Some(after) = rest.get(begin + length + 2..) else { return Ok(None) };
        body.extend_from_slice(rest.get(begin..begin + length).unwrap_or_default());
        rest = after;
        if length == 0 {
            return Ok(Some((body, whole - rest.len())));
        }
    }
}

/// A request as bytes; `content-length` is added where there is a body or a POST.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if method == "POST" || !body.is_empty() {
        out.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

/// A response as bytes.
pub(crate) fn response(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// An answer of its own, apart from the buffer it came in.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// All values of a header.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fitting = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        fitting.map(|(_, value)| value.as_str())
    }
}

/// Sends one request on a connection of its own.
pub(crate) fn once(address: SocketAddr, request: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    exchange(&mut stream, request)
}

/// Sends one request on an open connection and waits for its answer.
pub(crate) fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Answer> {
    stream.write_all(request)?;
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err("the connection was closed before the answer was complete".into());
        }
        buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if let Some(message) = Message::response(&buffer)? {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let headers = message.headers.iter().map(|(name, value)| ((*name).to_owned(), text(value)));
            return Ok(Answer {
                status: message.status(),
                headers: headers.collect(),
                body: message.body.to_vec(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_only_once_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 204 No\r\n\r\n";
        for end in 0..41 {
            assert!(Message::response(&whole[..end]).unwrap().is_none(), "{end}");
        }
        let first = Message::response(whole).unwrap().unwrap();
        assert_eq!((first.status(), &*first.body, first.length), (200, &b"abc"[..], 41));
        let second = Message::response(&whole[41..]).unwrap().unwrap();
        assert_eq!((second.status(), second.body.len()), (204, 0));
    }

    #[test]
    fn chunks_are_put_together() {
        let whole = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        for end in 0..whole.len() {
            assert!(Message::request(&whole[..end]).unwrap().is_none(), "{end}");
        }
        let message = Message::request(whole).unwrap().unwrap();
        assert_eq!((&*message.body, message.length), (&b"abcde"[..], whole.len()));
        assert!(matches!(message.start, Start::Request { method: "POST", target: "/x" }));
    }

    #[test]
    fn a_response_without_a_length_is_an_error() {
        assert!(Message::response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
