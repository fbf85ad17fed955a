//! A client that sends what it is told to, byte for byte.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::http1::{Request, Response};
use crate::journal::PATIENCE;
use crate::wire::read_response;

/// Sends requests to one address, each on a connection of its own.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    address: SocketAddr,
    deadline: Duration,
}

impl Client {
    /// A client that gives up after [`PATIENCE`].
    pub fn new(address: SocketAddr) -> Self {
        Self { address, deadline: PATIENCE }
    }

    /// The same client with another deadline for a whole exchange.
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Where it sends to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when somebody listens. The kernel tells nobody when a port is opened, so this asks
    /// again and again.
    ///
    /// # Panics
    /// When nobody does before the deadline.
    pub async fn wait_for_listener(&self) {
        let listens = async {
            while TcpStream::connect(self.address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(self.deadline, listens).await;
        assert!(in_time.is_ok(), "nobody listens on {}", self.address);
    }

    /// Sends a request and returns the response.
    ///
    /// # Panics
    /// When there is no response before the deadline.
    pub async fn send(&self, request: &Request) -> Response {
        let response = self.try_send(request).await;
        response.unwrap_or_else(|e| panic!("{} {}: {e}", request.method, request.target))
    }

    /// Sends a request and returns the response, or why there is none.
    ///
    /// # Errors
    /// Of the connection; `TimedOut` after the deadline, `UnexpectedEof` when it was cut.
    pub async fn try_send(&self, request: &Request) -> io::Result<Response> {
        let mut request = request.clone();
        if !request.headers.contains("host") {
            request.headers.push("host", self.address.to_string());
        }
        self.exchange(&request.to_bytes(), &request.method).await
    }

    /// Sends a request in chunks of `size` body bytes, without `content-length`, trailers last.
    ///
    /// # Panics
    /// When there is no response before the deadline.
    pub async fn send_chunked(&self, request: &Request, size: usize) -> Response {
        let mut request = request.clone();
        if !request.headers.contains("host") {
            request.headers.push("host", self.address.to_string());
        }
        let bytes = request.to_chunked_bytes(size);
        let response = self.exchange(&bytes, &request.method).await;
        response.unwrap_or_else(|e| panic!("{} {}: {e}", request.method, request.target))
    }

    /// Sends these very bytes; the response is read as one to `method`.
    ///
    /// # Errors
    /// As [`Client::try_send`].
    pub async fn exchange(&self, bytes: &[u8], method: &str) -> io::Result<Response> {
        let exchange = async {
            let mut connection = Connection::open(self.address).await?;
            // A server may answer, and close, before it has read everything: what it said counts.
            let written = connection.stream.get_mut().write_all(bytes).await;
            match read_response(&mut connection.stream, method).await {
                Ok(response) => Ok(response),
                Err(error) => Err(written.err().unwrap_or(error)),
            }
        };
        tokio::time::timeout(self.deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Opens a connection to write to piece by piece.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn connect(&self) -> Connection {
        let connection = Connection::open(self.address).await;
        connection.unwrap_or_else(|error| panic!("connect to {}: {error}", self.address))
    }
}

/// One connection; dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        // Each write is a segment of its own, so that a server sees the pieces as written.
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Writes bytes.
    ///
    /// # Panics
    /// When the peer has closed.
    pub async fn write(&mut self, bytes: &[u8]) {
        let written = self.stream.get_mut().write_all(bytes).await;
        written.expect("write to the connection");
    }

    /// Closes the writing half: the peer reads the end, and can still answer.
    pub async fn finish(&mut self) {
        let _ = self.stream.get_mut().shutdown().await;
    }

    /// Reads the next response, as one to `method`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closed, `TimedOut` after [`PATIENCE`].
    pub async fn read(&mut self, method: &str) -> io::Result<Response> {
        tokio::time::timeout(PATIENCE, read_response(&mut self.stream, method))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
