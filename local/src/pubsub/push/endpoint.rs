//! One HTTP request to a push endpoint, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::ext::on_informational;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Shorter than servers usually keep an idle connection.
const IDLE: Duration = Duration::from_secs(30);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer's body is read only to use the connection again, so only if it is short.
const MAX_ANSWER_BYTES: usize = 65_536;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Acknowledged,
    /// Any other status.
    Refused(StatusCode),
    /// No status within the acknowledgement deadline.
    TimedOut,
    /// The connection ended without a status.
    Broken,
    /// There was no connection.
    Unreachable,
}

/// The HTTP client of all subscriptions; connections are kept and shared.
#[derive(Clone)]
pub(in crate::pubsub) struct Endpoint {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A push ready to be sent.
pub(super) struct Push {
    pub(super) uri: Uri,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) body: Bytes,
}

impl Endpoint {
    pub(in crate::pubsub) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self { client }
    }

    /// Sends `push` and waits for a status until `deadline`.
    ///
    /// A kept connection may have been closed by the other side just as it was used. That says nothing about the
    /// endpoint, so a request whose connection broke is made once more; at worst the endpoint sees it twice.
    pub(super) async fn send(&self, push: &Push, deadline: Instant) -> Answer {
        match self.send_once(push, deadline).await {
            Answer::Broken => self.send_once(push, deadline).await,
            answer => answer,
        }
    }

    async fn send_once(&self, push: &Push, deadline: Instant) -> Answer {
        let processing = Arc::new(Notify::new());
        let request = push.request(Arc::clone(&processing));
        let response = timeout_at(deadline, async {
            tokio::select! {
                response = self.client.request(request) => Some(response),
                // 102 acknowledges, and whatever might follow it does not matter.
                () = processing.notified() => None,
            }
        });
        match response.await {
            Err(_) => Answer::TimedOut,
            Ok(None) => Answer::Acknowledged,
            Ok(Some(Err(error))) if error.is_connect() => Answer::Unreachable,
            Ok(Some(Err(_))) => Answer::Broken,
            Ok(Some(Ok(response))) => {
                let status = response.status();
                let rest = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
                // The status decides; a body that fails or is late only costs its connection.
                let _ = timeout_at(deadline, rest).await;
                match status.as_u16() {
                    200 | 201 | 202 | 204 => Answer::Acknowledged,
                    _ => Answer::Refused(status),
                }
            }
        }
    }
}

impl Push {
    fn request(&self, processing: Arc<Notify>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("lockgate-local"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        on_informational(&mut request, move |response| {
            if response.status() == StatusCode::PROCESSING {
                processing.notify_one();
            }
        });
        request
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn push(to: &TcpListener) -> Push {
        let uri = format!("http://{}/", to.local_addr().unwrap()).parse().unwrap();
        Push { uri, authorization: None, body: Bytes::from_static(b"{}") }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// Answers one request with these bytes and keeps the connection open.
    async fn answer(listener: &TcpListener, bytes: &[u8]) -> tokio::net::TcpStream {
        let (mut connection, _) = listener.accept().await.unwrap();
        assert!(connection.read(&mut [0; 1024]).await.unwrap() > 0);
        connection.write_all(bytes).await.unwrap();
        connection
    }

    #[tokio::test]
    async fn silence_is_a_time_out_and_a_closed_port_is_no_endpoint() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let push = push(&listener);
        let endpoint = Endpoint::new();
        let deadline = Instant::now() + Duration::from_millis(50);
        assert_eq!(endpoint.send(&push, deadline).await, Answer::TimedOut);
        drop(listener);
        assert_eq!(endpoint.send(&push, soon()).await, Answer::Unreachable);
    }

    #[tokio::test]
    async fn the_status_counts_even_if_its_body_never_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new();
        let deadline = Instant::now() + Duration::from_millis(300);
        let push = push(&listener);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
        let (answered, _connection) = tokio::join!(endpoint.send(&push, deadline), answer(&listener, head));
        assert_eq!(answered, Answer::Acknowledged);
    }

    #[tokio::test]
    async fn an_endpoint_that_only_closes_is_asked_twice_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new();
        let push = push(&listener);
        let close_twice = async {
            drop(answer(&listener, b"").await);
            drop(answer(&listener, b"").await);
        };
        let (answered, ()) = tokio::join!(endpoint.send(&push, soon()), close_twice);
        assert_eq!(answered, Answer::Broken);
    }
}
