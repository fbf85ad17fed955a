//! Just enough HTTP for what is on this machine: Envoy's admin interface, its health path, a provider
//! that is starting.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longest answer that is read, in bytes.
const LARGEST: usize = 65_536;

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Head and body as they came; a short body is whole in it whatever its framing.
    pub(crate) text: String,
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    request("GET", address, path).await
}

pub(crate) async fn post(address: SocketAddr, path: &str) -> io::Result<Answer> {
    request("POST", address, path).await
}

async fn request(method: &str, address: SocketAddr, path: &str) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        // Not to the end of the connection: Envoy keeps it open a second longer.
        let mut answer = Vec::new();
        while !is_whole(&answer) && answer.len() < LARGEST {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("not an HTTP answer"))?;
        Ok(Answer { status, text })
    };
    tokio::time::timeout(TIMEOUT, exchange).await?
}

/// Whether head and body are there: by length, by the last chunk, or without a body.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match field("content-length:").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => field("transfer-encoding:").is_none() || body.ends_with("0\r\n\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_by_its_framing() {
        assert!(is_whole(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
        for part in [
            "HTTP/1.1 204 No",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        ] {
            assert!(!is_whole(part.as_bytes()), "{part}");
        }
    }
}
