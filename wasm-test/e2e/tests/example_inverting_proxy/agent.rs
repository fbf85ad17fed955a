//! An agent that does what google/inverting-proxy's does, one step at a time: the paths, headers and framing
//! are those of its `agent/utils`, and its token is the one that it asks the metadata server for.

use std::time::Duration;

use lockgate_e2e::example::Example;
use lockgate_e2e::{Client, Request, Response};
use serde_json::Value;

pub(crate) const EDGE: u16 = 8080;
pub(crate) const ADMIN: u16 = 9901;
pub(crate) const SERVICES: u16 = 8085;
pub(crate) const PORTS: [u16; 4] = [EDGE, ADMIN, SERVICES, 8090];

pub(crate) const REQUEST_ID: &str = "X-Inverting-Proxy-Request-ID";

/// Beyond the thirty seconds that an idle question waits.
const POLL: Duration = Duration::from_secs(60);

/// An agent of a backend.
#[derive(Clone)]
pub(crate) struct Agent {
    client: Client,
    token: String,
    /// What its `--proxy` address ends with.
    base: &'static str,
    backend: String,
}

impl Agent {
    /// One of `reports`, that brings an access token of the account that the example's metadata server has.
    pub(crate) async fn of(example: &Example, edge: Client) -> Self {
        let answer = metadata(example, "token").await;
        Self::new(edge, answer.json()["access_token"].as_str().expect("a token").to_owned())
    }

    /// One of `reports`, that brings this token.
    pub(crate) fn new(edge: Client, token: String) -> Self {
        Self { client: edge.with_deadline(POLL), token, base: "/", backend: "reports".to_owned() }
    }

    /// One of a registered backend.
    pub(crate) fn registered(edge: Client, backend: &str, token: String) -> Self {
        Self { client: edge.with_deadline(POLL), token, base: "/registered/", backend: backend.to_owned() }
    }

    /// One that brings another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// A request of a program that has the same token.
    pub(crate) fn known(&self, request: Request) -> Request {
        request.header("Authorization", format!("Bearer {}", self.token))
    }

    fn call(&self, method: &str, call: &str) -> Request {
        self.known(Request::new(method, &format!("{}agent/{call}", self.base)))
            .header("X-Inverting-Proxy-Backend-ID", &self.backend)
            .header("Accept-Encoding", "gzip")
            .header("User-Agent", "Go-http-client/1.1")
    }

    pub(crate) async fn pending(&self) -> Response {
        self.client.send(&self.call("GET", "pending")).await
    }

    /// Asks once.
    pub(crate) async fn asks(&self) -> Vec<String> {
        let pending = self.pending().await;
        assert_eq!(pending.status, 200, "{}", pending.text());
        serde_json::from_value(pending.json()).expect("a list of ids")
    }

    /// Asks until there is a request.
    pub(crate) async fn next(&self) -> String {
        loop {
            let ids = self.asks().await;
            if let [id] = &ids[..] {
                return id.clone();
            }
            assert_eq!(ids, [""; 0], "one at a time");
        }
    }

    pub(crate) async fn fetch(&self, id: &str) -> Response {
        self.client.send(&self.call("GET", "request").header(REQUEST_ID, id)).await
    }

    /// Hands the next request to a backend that answers so, and says what the request was.
    pub(crate) async fn serve(&self, head: &str) -> String {
        let id = self.next().await;
        let request = self.fetch(&id).await.text();
        assert_eq!(self.answer(&id, message(head, b"", "")).await.status, 200, "{head}");
        request
    }

    /// Brings an answer, in chunks as the original does, whose length it does not know.
    pub(crate) async fn answer(&self, id: &str, message: impl Into<Vec<u8>>) -> Response {
        let request =
            self.call("POST", "response").header(REQUEST_ID, id).header("Content-Type", "text/plain");
        self.client.send_chunked(&request.body(message), 32 * 1024).await
    }
}

/// A header of a request as the agent reads it; none where it is absent. It stands there once.
pub(crate) fn field<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let head = request.split("\r\n\r\n").next().unwrap_or_default();
    let mut fields = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let first = fields.next();
    assert_eq!(fields.next(), None, "{name} twice: {request}");
    first
}

/// What the example's metadata server says of its account.
pub(crate) async fn metadata(example: &Example, leaf: &str) -> Response {
    let services = Client::new(([127, 0, 0, 1], example.port(SERVICES)).into());
    let path = format!("/computeMetadata/v1/instance/service-accounts/default/{leaf}");
    services.send(&Request::get(&path).header("Metadata-Flavor", "Google")).await
}

/// An answer as Go writes it: always in chunks.
pub(crate) fn message(head: &str, body: &[u8], trailers: &str) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {head}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(4_096) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    out
}

/// A counter of the filter's, on the admin port.
pub(crate) async fn counted(admin: Client, name: &str) -> u64 {
    let stats: Value = admin.send(&Request::get("/stats?format=json&filter=inverting_proxy")).await.json();
    let name = format!("wasmcustom.lockgate.inverting_proxy.{name}");
    let stats = stats["stats"].as_array().expect("a list");
    stats
        .iter()
        .find(|stat| stat["name"] == name.as_str())
        .and_then(|stat| stat["value"].as_u64())
        .unwrap_or(0)
}
