//! HTTP/2 requests that no library would send: their header fields go out as they are given, pseudo
//! headers too (RFC 9113; RFC 7541 for the literals).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the answer to a wrong request is waited for.
const DEADLINE: Duration = Duration::from_secs(10);

const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;

/// What was heard of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Response headers, with this status.
    Status(u16),
    /// The stream was reset, or the connection closed, and there was no answer.
    Refused,
}

/// Sends one request of these fields, without a body, on a new connection.
///
/// # Panics
/// When nothing at all is heard.
pub async fn send(address: SocketAddr, fields: &[(&[u8], &[u8])]) -> Heard {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        // END_STREAM and END_HEADERS.
        bytes.extend(frame(HEADERS, 0x5, 1, &block(fields)));
        // The peer may have closed by then; what it said before counts.
        let _ = stream.write_all(&bytes).await;
        heard(&mut stream).await
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("nothing was heard of an HTTP/2 request")
}

async fn heard(stream: &mut TcpStream) -> Heard {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return Heard::Refused;
        }
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        if stream.read_exact(&mut payload).await.is_err() {
            return Heard::Refused;
        }
        match kind {
            HEADERS => return Heard::Status(status(&payload)),
            RST_STREAM | GOAWAY => return Heard::Refused,
            SETTINGS if flags & 1 == 0 => {
                let _ = stream.write_all(&frame(SETTINGS, 1, 0, &[])).await;
            }
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, stream]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Literals without indexing, each with its name: RFC 7541, section 6.2.2.
fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            push_length(&mut bytes, text.len());
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// An integer of seven bits or more: RFC 7541, section 5.1.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        bytes.push(length as u8);
        return;
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest > 127 {
        bytes.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// `:status` stands first (RFC 9113, section 8.3): an index of the static table, or a literal behind
/// the name of its entry 8, which may be Huffman-coded, where each digit takes five or six bits.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        // A change of the table's size may stand before it: RFC 7541, section 4.2.
        [0x20..=0x3e, rest @ ..] => status(rest),
        [0x3f, rest @ ..] => {
            let end = rest.iter().position(|byte| byte & 0x80 == 0).map_or(rest.len(), |last| last + 1);
            status(&rest[end..])
        }
        [first @ 0x88..=0x8e, ..] => INDEXED[usize::from(first - 0x88)],
        [_, length, text @ ..] if length & 0x80 == 0 => {
            let digits = text.get(..usize::from(*length)).unwrap_or_default();
            String::from_utf8_lossy(digits).parse().unwrap_or(0)
        }
        [_, length, text @ ..] => huffman_digits(text.get(..usize::from(length & 0x7f)).unwrap_or_default()),
        _ => 0,
    }
}

/// The digits of RFC 7541, appendix B: `0` to `2` are five bits from 00000 on, the others six from
/// 011001 on.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u16> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1))).collect();
    let value = |from: usize, count: usize| {
        bits.get(from..from + count).map(|bits| bits.iter().fold(0, |value, bit| value << 1 | bit))
    };
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let digit = match (value(at, 5), value(at, 6)) {
            (Some(digit @ 0..=2), _) => {
                at += 5;
                digit
            }
            (_, Some(code @ 0x19..=0x1f)) => {
                at += 6;
                code - 0x19 + 3
            }
            _ => return 0,
        };
        status = status * 10 + digit;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_of_its_codings() {
        assert_eq!(status(&[0x88]), 200);
        assert_eq!(status(b"\x48\x03403rest"), 403);
        assert_eq!(status(b"\x3f\xe1\x1f\x8d"), 404);
        // RFC 7541, appendix C.6.1: 302.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302);
    }

    #[test]
    fn a_long_value_has_its_length() {
        let mut bytes = Vec::new();
        push_length(&mut bytes, 1_337);
        assert_eq!(bytes, [127, 0xba, 0x09]);
    }
}
