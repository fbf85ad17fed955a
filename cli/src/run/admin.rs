//! Just enough HTTP for Envoy's admin interface and its health path, both on this machine.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longest answer that is read, in bytes.
const LARGEST: u64 = 65_536;

pub(super) struct Answer {
    pub(super) status: u16,
    /// Head and body as they came; a short body is whole in it whatever its framing.
    pub(super) text: String,
}

pub(super) async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    request("GET", address, path).await
}

pub(super) async fn post(address: SocketAddr, path: &str) -> io::Result<Answer> {
    request("POST", address, path).await
}

async fn request(method: &str, address: SocketAddr, path: &str) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LARGEST).read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("not an HTTP answer"))?;
        Ok(Answer { status, text })
    };
    tokio::time::timeout(TIMEOUT, exchange).await?
}
