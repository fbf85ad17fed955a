//! A server in this process, a client for it, and a push endpoint whose answers the test chooses.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod endpoint;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lockgate_local::{Error, Options, Server, Signer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// No test waits this long unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const TOPIC: &str = "projects/test/topics/orders";
pub(crate) const DEAD_TOPIC: &str = "projects/test/topics/dead";
pub(crate) const SUBSCRIPTION: &str = "projects/test/subscriptions/orders-push";
pub(crate) const DEAD_SUBSCRIPTION: &str = "projects/test/subscriptions/dead-pull";

/// A state directory with a signing key already in it: making one takes seconds in a debug build, so all tests share
/// one, which outlives them.
pub(crate) fn state_dir() -> TempDir {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Signer::load(shared).unwrap();
    let directory = TempDir::new().unwrap();
    fs::copy(shared.join("signing-key.pem"), directory.path().join("signing-key.pem")).unwrap();
    directory
}

/// A running server.
pub(crate) struct Google {
    pub(crate) api: Api,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), Error>>,
}

impl Google {
    pub(crate) async fn start(state_dir: &Path) -> Self {
        Self::start_with(Options::new(any_port(), state_dir)).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let server = Server::bind(options).await.unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { api: Api::connect(address).await, stop, running }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap();
    }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An answer, its body read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A client with an access token.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut api = Self { address, token: String::new(), client };
        let path = "/computeMetadata/v1/instance/service-accounts/default/token";
        let answer = api.send(Method::GET, path, &[("metadata-flavor", "Google")], Bytes::new()).await;
        api.token = answer.json()["access_token"].as_str().unwrap().to_owned();
        api
    }

    /// A request with exactly these headers.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = tokio::time::timeout(PATIENCE * 2, self.client.request(request)).await;
        let (parts, body) = response.unwrap().unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A POST to a server that may be gone: none unless it was answered 200.
    pub(crate) async fn try_send(&self, path: &str, authorization: &str, body: String) -> Option<Bytes> {
        let request =
            Request::post(format!("http://{}{path}", self.address)).header("authorization", authorization);
        let response = self.client.request(request.body(Full::new(body.into())).unwrap()).await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        Some(response.into_body().collect().await.ok()?.to_bytes())
    }

    /// A call of the REST API, authorized.
    pub(crate) async fn call(&self, method: Method, resource: &str, body: Value) -> Answer {
        let authorization = format!("Bearer {}", self.token);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, &format!("/v1/{resource}"), &[("authorization", &authorization)], body).await
    }

    /// A call that must succeed.
    pub(crate) async fn must(&self, method: Method, resource: &str, body: Value) -> Value {
        let answer = self.call(method.clone(), resource, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {resource}: {}", answer.text());
        answer.json()
    }

    pub(crate) async fn create_topic(&self, name: &str) {
        self.must(Method::PUT, name, json!({})).await;
    }

    pub(crate) async fn subscribe(&self, name: &str, topic: &str, fields: Value) -> Value {
        let mut resource = json!({ "topic": topic });
        resource.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.must(Method::PUT, name, resource).await
    }

    /// Publishes one message per text and returns their ids.
    pub(crate) async fn publish(&self, topic: &str, texts: &[&str]) -> Vec<String> {
        let messages: Vec<Value> = texts.iter().map(|text| json!({ "data": base64(text) })).collect();
        let published =
            self.must(Method::POST, &format!("{topic}:publish"), json!({ "messages": messages })).await;
        serde_json::from_value(published["messageIds"].clone()).unwrap()
    }

    /// Pulls until there is something.
    pub(crate) async fn pull(&self, subscription: &str, most: usize) -> Vec<Value> {
        loop {
            let pulled = self
                .must(Method::POST, &format!("{subscription}:pull"), json!({ "maxMessages": most }))
                .await;
            if let Some(received) = pulled["receivedMessages"].as_array() {
                return received.clone();
            }
        }
    }

    /// What a pull finds at this moment.
    pub(crate) async fn pull_now(&self, subscription: &str) -> Vec<Value> {
        let body = json!({ "maxMessages": 100, "returnImmediately": true });
        let pulled = self.must(Method::POST, &format!("{subscription}:pull"), body).await;
        pulled["receivedMessages"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn acknowledge(&self, subscription: &str, received: &[Value]) {
        let ack_ids: Vec<&Value> = received.iter().map(|message| &message["ackId"]).collect();
        self.must(Method::POST, &format!("{subscription}:acknowledge"), json!({ "ackIds": ack_ids })).await;
    }
}

pub(crate) fn base64(text: impl AsRef<[u8]>) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Fails the test if `future` takes too long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}
