//! HTTP/1.1 by hand, so that what is sent and received is exact: a client, and servers that answer
//! as a backend function says.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasm_test::{Answer, Headers, Request, Response};

/// No answer takes longer in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What tells an answer that will not come from one that is slow.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// A message's head: its first line and its headers.
fn head(reader: &mut impl BufRead) -> Option<(String, Headers)> {
    let mut line = |lines: &mut Vec<Vec<u8>>| {
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line).ok()?;
        while line.last().is_some_and(|last| b"\r\n".contains(last)) {
            line.pop();
        }
        let more = read > 0 && !line.is_empty();
        lines.push(line);
        more.then_some(())
    };
    let mut lines = Vec::new();
    while line(&mut lines).is_some() {}
    let first = String::from_utf8_lossy(lines.first()?).into_owned();
    if first.is_empty() {
        return None;
    }
    let pairs = lines.iter().skip(1).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8_lossy(&line[..colon]).into_owned();
        Some((name, line[colon + 1..].trim_ascii().to_vec()))
    });
    Some((first, pairs.collect()))
}

/// A body by its framing, its trailers, and whether it is whole.
fn body(reader: &mut impl BufRead, headers: &Headers, until_end: bool) -> (Vec<u8>, Headers, bool) {
    let mut body = Vec::new();
    if headers.text("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        loop {
            let mut size = String::new();
            let _ = reader.read_line(&mut size);
            let Ok(size) = u64::from_str_radix(size.trim(), 16) else {
                return (body, Headers::new(), false);
            };
            if size == 0 {
                let mut text = b"trailers\r\n".to_vec();
                loop {
                    let mut line = Vec::new();
                    let read = reader.read_until(b'\n', &mut line).unwrap_or(0);
                    text.extend(&line);
                    if read <= 2 {
                        break;
                    }
                }
                let trailers = head(&mut text.as_slice()).map(|(_, trailers)| trailers);
                return (body, trailers.unwrap_or_default(), true);
            }
            let _ = reader.by_ref().take(size).read_to_end(&mut body);
            let _ = reader.read_line(&mut String::new());
        }
    }
    let length = headers.text("content-length").and_then(|length| length.parse::<u64>().ok());
    match length {
        Some(length) => {
            let _ = reader.by_ref().take(length).read_to_end(&mut body);
            let whole = body.len() as u64 == length;
            (body, Headers::new(), whole)
        }
        None if until_end => {
            let whole = reader.read_to_end(&mut body).is_ok();
            (body, Headers::new(), whole)
        }
        None => (body, Headers::new(), true),
    }
}

/// Whether a scenario wants to know what follows a message, for which one has to wait.
fn looks_behind(request: &Request) -> bool {
    request.headers.text("x-then") == Some("look-behind")
}

/// What comes on a connection that should carry nothing more, for a moment.
fn surplus(reader: &mut BufReader<TcpStream>) -> Vec<u8> {
    let _ = reader.get_ref().set_read_timeout(Some(Duration::from_millis(100)));
    let mut surplus = Vec::new();
    let mut byte = [0];
    while let Ok(1) = reader.read(&mut byte) {
        surplus.push(byte[0]);
    }
    let _ = reader.get_ref().set_read_timeout(Some(PATIENCE));
    surplus
}

/// A client's side of one request on a connection of its own.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
    chunked: bool,
    is_head: bool,
    looks_behind: bool,
}

impl Client {
    pub(crate) fn send(port: u16, request: &Request, whole: bool) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            reader: BufReader::new(stream),
            chunked: false,
            is_head: request.method == "HEAD",
            looks_behind: looks_behind(request),
        };
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path).into_bytes();
        head.extend(format!("host: {}\r\n", request.authority).bytes());
        let mut pairs: Vec<(String, Vec<u8>)> =
            request.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        let framed = request.headers.get("content-length").is_some();
        client.chunked = !request.trailers.is_empty() || request.is_chunked() || (!whole && !framed);
        if client.chunked {
            pairs.push(("transfer-encoding".to_owned(), b"chunked".to_vec()));
        } else if !framed && !request.body.is_empty() {
            pairs.push(("content-length".to_owned(), request.body.len().to_string().into_bytes()));
        }
        for (name, value) in pairs {
            head.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        client.write(&head);
        if whole {
            if !request.body.is_empty() {
                client.push(&request.body);
            }
            match request.trailers.iter().next() {
                Some((name, value)) => {
                    client.trailers(name, &String::from_utf8_lossy(value));
                }
                None => client.finish(),
            }
        }
        client
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        match self.chunked {
            true => {
                let size = format!("{:x}\r\n", chunk.len());
                self.write(&[size.as_bytes(), chunk, b"\r\n"].concat());
            }
            false => self.write(chunk),
        }
    }

    pub(crate) fn finish(&mut self) {
        if self.chunked {
            self.write(b"0\r\n\r\n");
        }
    }

    pub(crate) fn trailers(&mut self, name: &str, value: &str) {
        self.write(format!("0\r\n{name}: {value}\r\n\r\n").as_bytes());
    }

    pub(crate) fn reset(&mut self) {
        let _ = self.reader.get_ref().shutdown(Shutdown::Both);
    }

    pub(crate) fn response(&mut self) -> Response {
        let Some((first, headers)) = head(&mut self.reader) else {
            return reset();
        };
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let bodyless = self.is_head || [204, 304].contains(&status);
        let (body, trailers, whole) = match bodyless {
            true => (Vec::new(), Headers::new(), true),
            false => body(&mut self.reader, &headers, true),
        };
        let mut response = Response::new(status);
        response.headers = headers;
        response.body = body;
        response.trailers = trailers;
        response.reset = !whole;
        if whole && self.looks_behind {
            response.surplus = surplus(&mut self.reader);
        }
        response
    }

    pub(crate) fn is_silent(&mut self) -> bool {
        let stream = self.reader.get_ref();
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        peeked.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    fn write(&mut self, bytes: &[u8]) {
        // The proxy may have answered and closed already; what it said is still to be read.
        let _ = self.reader.get_mut().write_all(bytes);
    }
}

fn reset() -> Response {
    let mut response = Response::new(0);
    response.reset = true;
    response
}

/// A server on a free port, for as long as the test lives. What it got is kept.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(answer: fn(&Request) -> Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, answer, &kept));
            }
        });
        Self { port, requests }
    }
}

fn serve(stream: TcpStream, answer: fn(&Request) -> Answer, kept: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream);
    while let Some((first, headers)) = head(&mut reader) {
        let mut parts = first.split(' ');
        let mut request = Request::new(parts.next().unwrap(), parts.next().unwrap_or_default());
        request.authority = headers.text("host").unwrap_or_default().to_owned();
        let (body, trailers, whole) = body(&mut reader, &headers, false);
        request.body = body;
        request.trailers = trailers;
        request.headers = headers;
        if !whole {
            return;
        }
        if looks_behind(&request) {
            request.surplus = surplus(&mut reader);
        }
        let answer = answer(&request);
        kept.lock().unwrap().push(request);
        if !give(reader.get_mut(), answer) {
            return;
        }
    }
}

/// Writes an answer; whether the connection can be used again.
fn give(stream: &mut TcpStream, answer: Answer) -> bool {
    match answer {
        Answer::Response(response) => stream.write_all(&encoded(&response)).is_ok(),
        Answer::After(delay, answer) => {
            std::thread::sleep(delay);
            give(stream, *answer)
        }
        // Until the other side gives up.
        Answer::Hold => stream.read(&mut [0]).is_ok_and(|_| false),
        Answer::Reset => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345");
            false
        }
        Answer::Refuse => false,
    }
}

fn encoded(response: &Response) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} x\r\n", response.status).into_bytes();
    for (name, value) in response.headers.iter() {
        out.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    if !response.is_chunked() {
        if response.status != 204 {
            out.extend(format!("content-length: {}\r\n", response.body.len()).bytes());
        }
        out.extend(b"\r\n");
        out.extend(&response.body);
        return out;
    }
    out.extend(b"transfer-encoding: chunked\r\n\r\n");
    for chunk in response.chunks() {
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend([chunk.as_slice(), b"\r\n"].concat());
    }
    out.extend(b"0\r\n");
    for (name, value) in response.trailers.iter() {
        out.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    out.extend(b"\r\n");
    out
}
