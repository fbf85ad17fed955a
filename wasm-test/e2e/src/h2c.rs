//! A client that speaks HTTP/2 without TLS, from its first byte on.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::http1::{Request, Response};
use crate::journal::PATIENCE;

/// Sends a request over a new HTTP/2 connection; its trailers are sent, too.
///
/// # Errors
/// A text: the connection's or the stream's error, or that the deadline has passed.
pub async fn send(address: SocketAddr, request: &Request) -> Result<Response, String> {
    let exchange = exchange(address, request);
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| format!("no HTTP/2 response within {PATIENCE:?}"))?
        .map_err(|error| error.to_string())
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(address: SocketAddr, request: &Request) -> Result<Response, Error> {
    let stream = TcpStream::connect(address).await?;
    let (mut client, connection) = h2::client::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let mut head = http::Request::builder()
        .method(request.method.as_bytes())
        .uri(format!("http://{address}{}", request.target));
    for (name, value) in request.headers.pairs() {
        head = head.header(name, value);
    }
    let (response, mut body) = client.send_request(head.body(())?, false)?;
    let ends_with_body = request.trailers == Default::default();
    body.send_data(request.body.clone().into(), ends_with_body)?;
    if !ends_with_body {
        let mut trailers = http::HeaderMap::new();
        for (name, value) in request.trailers.pairs() {
            let name = http::HeaderName::from_bytes(name)?;
            trailers.append(name, http::HeaderValue::from_bytes(value)?);
        }
        body.send_trailers(trailers)?;
    }
    let (parts, mut content) = response.await?.into_parts();
    let mut answer = Response::new(parts.status.as_u16());
    for (name, value) in &parts.headers {
        answer.headers.push(name, value);
    }
    while let Some(bytes) = content.data().await {
        let bytes = bytes?;
        content.flow_control().release_capacity(bytes.len())?;
        answer.body.extend_from_slice(&bytes);
    }
    connection.abort();
    Ok(answer)
}
