//! A push endpoint: every push is handed to the test, which answers it.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::{any_port, soon};

/// A push that waits for its answer.
pub(crate) struct Push {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    answer: oneshot::Sender<StatusCode>,
}

impl Push {
    pub(crate) fn message_id(&self) -> String {
        self.body["message"]["messageId"].as_str().unwrap().to_owned()
    }

    pub(crate) fn answer(self, status: u16) {
        self.answer.send(StatusCode::from_u16(status).unwrap()).unwrap();
    }
}

pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pushes: mpsc::UnboundedReceiver<Push>,
}

impl Endpoint {
    pub(crate) async fn start() -> Self {
        Self::start_on(TcpListener::bind(any_port()).await.unwrap())
    }

    pub(crate) fn start_on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, pushes) = mpsc::unbounded_channel();
        let routes = Router::new().fallback(receive).with_state(sender);
        tokio::spawn(async { axum::serve(listener, routes).await });
        Self { address, pushes }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/push?x=1", self.address)
    }

    /// The fields of a subscription that pushes here.
    pub(crate) fn push_config(&self) -> Value {
        json!({ "pushConfig": { "pushEndpoint": self.url() } })
    }

    pub(crate) async fn next(&mut self) -> Push {
        soon("a push", self.pushes.recv()).await.unwrap()
    }

    /// Whether a push is waiting at this moment.
    pub(crate) fn is_idle(&self) -> bool {
        self.pushes.is_empty()
    }
}

async fn receive(State(pushes): State<mpsc::UnboundedSender<Push>>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (answer, answered) = oneshot::channel();
    let push = Push { headers: parts.headers, body: serde_json::from_slice(&body).unwrap(), answer };
    let _ = pushes.send(push);
    answered.await.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
