//! One HTTP/2 request whose body and whose response go back and forth, as a gRPC stream's do.

use std::net::SocketAddr;

use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::http1::{Headers, Request, Response};
use crate::journal::PATIENCE;

/// A request under way. Dropping it closes its connection.
#[derive(Debug)]
pub struct H2Call {
    connection: JoinHandle<Result<(), h2::Error>>,
    out: SendStream<bytes::Bytes>,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

impl H2Call {
    /// Sends the head of a request on a new connection; what is in its body is not sent.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn open(address: SocketAddr, request: &Request) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("an HTTP/2 peer");
        let connection = tokio::spawn(connection);
        let host = request.headers.text("host").unwrap_or_else(|| address.to_string());
        let mut head = http::Request::builder()
            .method(request.method.as_bytes())
            .uri(format!("http://{host}{}", request.target));
        for (name, value) in request.headers.pairs().filter(|(name, _)| *name != b"host") {
            head = head.header(name, value);
        }
        let (response, out) = client.send_request(head.body(()).expect("a request"), false).expect("send");
        Self { connection, out, response: Some(response), body: None }
    }

    /// Sends a piece of the body.
    ///
    /// # Panics
    /// When the stream was reset.
    pub fn write(&mut self, piece: &[u8]) {
        self.out.send_data(piece.to_vec().into(), false).expect("write to the stream");
    }

    /// Ends the request with a trailer.
    ///
    /// # Panics
    /// When the stream was reset.
    pub fn finish(&mut self, name: &'static str, value: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self.out.send_trailers(trailers).expect("end the stream");
    }

    /// The head of the response; its body is read piece by piece.
    ///
    /// # Panics
    /// When it was asked for before, or there is none.
    pub async fn response(&mut self) -> Response {
        let response = self.response.take().expect("one response");
        let response = tokio::time::timeout(PATIENCE, response).await.expect("no response");
        let (head, body) = response.expect("a response").into_parts();
        self.body = Some(body);
        let mut answer = Response::new(head.status.as_u16());
        for (name, value) in &head.headers {
            answer.headers.push(name, value);
        }
        answer
    }

    /// The next piece of the response's body; `None` at its end.
    ///
    /// # Panics
    /// When the stream was reset, or nothing comes.
    pub async fn read(&mut self) -> Option<Vec<u8>> {
        let body = self.body.as_mut().expect("read the head first");
        let piece = tokio::time::timeout(PATIENCE, body.data()).await.expect("no data");
        let piece = piece?.expect("a whole stream");
        let _ = body.flow_control().release_capacity(piece.len());
        Some(piece.to_vec())
    }

    /// The response's trailers, once its body has ended.
    ///
    /// # Panics
    /// When the stream was reset.
    pub async fn trailers(&mut self) -> Headers {
        let body = self.body.as_mut().expect("read the head first");
        let trailers = tokio::time::timeout(PATIENCE, body.trailers()).await.expect("no trailers");
        let mut read = Headers::default();
        for (name, value) in trailers.expect("a whole stream").iter().flatten() {
            read.push(name, value);
        }
        read
    }
}

impl Drop for H2Call {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2_upstream::H2Upstream;

    #[tokio::test]
    async fn pieces_go_back_and_forth_before_the_end() {
        let upstream = H2Upstream::start().await;
        let request = Request::new("POST", "/chat").header("te", "trailers");
        let mut call = H2Call::open(upstream.address(), &request).await;
        assert_eq!(call.response().await.status, 200);
        for piece in [b"one", b"two"] {
            call.write(piece);
            assert_eq!(call.read().await.unwrap(), piece);
        }
        call.finish("x-sum", "6");
        assert_eq!(call.read().await, None);
        let trailers = call.trailers().await;
        assert_eq!(
            (trailers.text("x-sum"), trailers.text("grpc-status")),
            (Some("6".into()), Some("0".into()))
        );
        assert_eq!(upstream.requests().since(0)[0].target, "/chat");
    }
}
