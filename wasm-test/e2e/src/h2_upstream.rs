//! A service that speaks HTTP/2 without TLS, as a gRPC server does: it records the heads of what
//! reaches it, sends each piece of a body back as it comes, and ends with trailers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::background;
use crate::http1::Request;
use crate::journal::Journal;
use crate::ports::free_port;

/// The service. Dropping it closes its port.
#[derive(Debug)]
pub struct H2Upstream {
    address: SocketAddr,
    requests: Arc<Journal<Request>>,
    accepting: JoinHandle<()>,
}

impl H2Upstream {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start() -> Self {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, free_port()).into();
        let requests: Arc<Journal<Request>> = Arc::default();
        let recording = Arc::clone(&requests);
        let listener = background().spawn(TcpListener::bind(address)).await.expect("a running runtime");
        let listener = listener.expect("listen");
        let accepting = background().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&recording)));
            }
        });
        Self { address, requests, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of all requests: method, target and headers, `:authority` as `host`.
    pub fn requests(&self) -> &Journal<Request> {
        &self.requests
    }
}

impl Drop for H2Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, requests: Arc<Journal<Request>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let mut seen = Request::new(head.method.as_str(), target);
        if let Some(authority) = head.uri.authority() {
            seen.headers.push("host", authority.as_str());
        }
        for (name, value) in &head.headers {
            seen.headers.push(name, value);
        }
        requests.push(seen);
        tokio::spawn(echo(body, respond));
    }
}

/// What breaks off needs no answer: the peer has gone.
async fn echo(mut body: RecvStream, mut respond: SendResponse<bytes::Bytes>) -> Option<()> {
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).ok()?;
    let mut out = respond.send_response(head, false).ok()?;
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        body.flow_control().release_capacity(piece.len()).ok()?;
        out.send_data(piece, false).ok()?;
    }
    let mut trailers = body.trailers().await.ok()?.unwrap_or_else(HeaderMap::new);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    out.send_trailers(trailers).ok()
}
