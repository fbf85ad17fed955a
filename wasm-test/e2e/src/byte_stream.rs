//! TCP connections whose bytes a test sees as they come: for rules about when something arrives.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::journal::PATIENCE;

/// One end of a connection; dropping it closes it.
#[derive(Debug)]
pub struct ByteStream {
    stream: TcpStream,
    /// Read, and not yet returned.
    rest: Vec<u8>,
}

impl ByteStream {
    /// Connects.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await;
        Self::new(stream.unwrap_or_else(|error| panic!("connect to {address}: {error}")))
    }

    fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, rest: Vec::new() }
    }

    /// Writes bytes, as fast as the peer takes them.
    ///
    /// # Errors
    /// When the peer has closed.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads up to the first `end`, and returns everything with it.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closed before, `TimedOut` after [`PATIENCE`].
    pub async fn read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut from = 0;
        loop {
            let found = self.rest[from..].windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                let length = from + at + end.len();
                return Ok(self.rest.drain(..length).collect());
            }
            from = self.rest.len().saturating_sub(end.len());
            self.more().await?;
        }
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// As [`ByteStream::read_until`].
    pub async fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.rest.len() < count {
            self.more().await?;
        }
        Ok(self.rest.drain(..count).collect())
    }

    async fn more(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; 65_536];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes)).await;
        match read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.rest.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

/// A server that leaves each connection to the test.
#[derive(Debug)]
pub struct ByteServer {
    listener: TcpListener,
}

impl ByteServer {
    /// Listens on some port of this machine.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        Self::on(0).await
    }

    /// Listens on this port.
    ///
    /// # Panics
    /// When it is taken.
    pub async fn on(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        Self { listener: listener.expect("a loopback port") }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When the kernel does not tell.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("the address of a listening socket")
    }

    /// The next connection.
    ///
    /// # Panics
    /// When there is none after [`PATIENCE`].
    pub async fn accept(&self) -> ByteStream {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("no connection came").expect("accept a connection");
        ByteStream::new(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_there_when_they_came_and_the_end_is_an_error() {
        let server = ByteServer::start().await;
        let mut client = ByteStream::connect(server.address()).await;
        let mut served = server.accept().await;
        client.write(b"head\r\n\r").await.unwrap();
        client.write(b"\nbody").await.unwrap();
        assert_eq!(served.read_until(b"\r\n\r\n").await.unwrap(), b"head\r\n\r\n");
        assert_eq!(served.read_exact(4).await.unwrap(), b"body");
        drop(client);
        let error = served.read_exact(1).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
