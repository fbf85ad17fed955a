//! The service behind Lockgate: it records what reaches it, and answers as a test tells it to.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::http1::{Request, Response};
use crate::journal::Journal;
use crate::server::{Reply, Server, Service};

/// A request as it reached the upstream.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The request.
    pub request: Request,
    /// Whether its end was seen; false when the connection broke before.
    pub complete: bool,
    /// When its end, or the break, was seen.
    pub at: Instant,
}

impl Deref for Recorded {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

/// What the upstream does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers, after a delay.
    Respond(Response, Duration),
    /// Writes these very bytes and closes.
    Raw(Vec<u8>),
    /// Resets the connection.
    Reset,
    /// Says nothing until the proxy gives up.
    Hang,
}

impl Answer {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self::Respond(Response::new(status), Duration::ZERO)
    }

    /// An answer with a body.
    pub fn with_body(status: u16, content_type: &str, body: &str) -> Self {
        let mut response = Response::new(status);
        response.headers.push("content-type", content_type);
        response.body = body.into();
        Self::Respond(response, Duration::ZERO)
    }

    /// The same answer, given this much later.
    pub fn after(self, delay: Duration) -> Self {
        match self {
            Self::Respond(response, _) => Self::Respond(response, delay),
            other => other,
        }
    }
}

type Rule = Box<dyn Fn(&Request) -> Option<Answer> + Send + Sync>;

/// A recording upstream on a port of its own.
#[derive(Debug)]
pub struct Upstream {
    server: Server<Recorder>,
    recorder: Arc<Recorder>,
}

impl Upstream {
    /// Listens on a port; answers 200 with the body `upstream` to everything.
    pub fn start(port: u16) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, port).into())
    }

    /// The same on any loopback address.
    pub fn at(address: SocketAddr) -> Self {
        let recorder = Arc::new(Recorder::default());
        Self { server: Server::at(address, Arc::clone(&recorder)), recorder }
    }

    /// A recording upstream on some free port.
    pub fn on_free_port() -> Self {
        Self::start(crate::ports::free_port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its address as a URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Everything that has reached it, a request cut off in its middle included.
    pub fn requests(&self) -> &Journal<Recorded> {
        &self.recorder.requests
    }

    /// Answers by this rule; where it says `None` the rules given earlier decide.
    pub fn program(&self, rule: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) {
        self.recorder.rules().push(Box::new(rule));
    }

    /// Gives these answers in turn to the requests that satisfy a condition, and then the last
    /// of them to all that follow.
    pub fn program_in_turn(
        &self,
        matches: impl Fn(&Request) -> bool + Send + Sync + 'static,
        answers: impl IntoIterator<Item = Answer>,
    ) {
        let answers = Mutex::new(VecDeque::from_iter(answers));
        self.program(move |request| {
            if !matches(request) {
                return None;
            }
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        });
    }

    /// Closes the port and every connection, and returns when they are closed.
    pub async fn leave(&self) {
        self.server.close().await;
    }

    /// Listens again, on the same port.
    pub fn come_back(&self) {
        self.server.open();
    }
}

#[derive(Default)]
struct Recorder {
    requests: Journal<Recorded>,
    rules: Mutex<Vec<Rule>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({} requests)", self.requests.len())
    }
}

impl Recorder {
    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, request: Request, complete: bool) {
        self.requests.push(Recorded { request, complete, at: Instant::now() });
    }
}

impl Service for Recorder {
    async fn reply(&self, request: Request) -> Reply {
        let answer = self.rules().iter().rev().find_map(|rule| rule(&request));
        let is_head = request.method == "HEAD";
        self.record(request, true);
        match answer.unwrap_or_else(|| Answer::with_body(200, "text/plain", "upstream")) {
            Answer::Respond(mut response, delay) => {
                tokio::time::sleep(delay).await;
                if is_head {
                    response.body.clear();
                }
                Reply::Bytes(response.to_bytes())
            }
            Answer::Raw(bytes) => Reply::BytesThenClose(bytes),
            Answer::Reset => Reply::Reset,
            Answer::Hang => Reply::Hang,
        }
    }

    fn broken(&self, request: Request) {
        self.record(request, false);
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::Client;

    fn upstream() -> (Upstream, Client) {
        let upstream = Upstream::on_free_port();
        let client = Client::new(upstream.address());
        (upstream, client)
    }

    #[tokio::test]
    async fn answers_come_in_turn_and_the_last_one_stays() {
        let (upstream, client) = upstream();
        let answers = [429, 500, 203].map(Answer::status);
        upstream.program_in_turn(|r| r.path() == "/turn", answers);
        let mut statuses = Vec::new();
        for path in ["/turn", "/other", "/turn?x", "/turn", "/turn"] {
            statuses.push(client.send(&Request::get(path)).await.status);
        }
        assert_eq!(statuses, [429, 200, 500, 203, 203]);
        assert_eq!(upstream.requests().len(), 5);
    }

    #[tokio::test]
    async fn a_reset_and_a_cut_answer_are_errors_at_the_client() {
        let (upstream, client) = upstream();
        upstream.program(|request| match request.path() {
            "/reset" => Some(Answer::Reset),
            _ => Some(Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour".into())),
        });
        let reset = client.try_send(&Request::get("/reset")).await.unwrap_err();
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
        let cut = client.try_send(&Request::get("/cut")).await.unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn an_absent_upstream_refuses_and_comes_back_on_its_port() {
        let (upstream, client) = upstream();
        upstream.leave().await;
        let absent = client.try_send(&Request::get("/")).await.unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::ConnectionRefused);
        upstream.come_back();
        assert_eq!(client.send(&Request::get("/")).await.status, 200);
    }

    #[tokio::test]
    async fn a_request_that_breaks_off_is_recorded_as_such() {
        let (upstream, client) = upstream();
        let mut connection = client.connect().await;
        connection.write(b"POST /half HTTP/1.1\r\ncontent-length: 9\r\n\r\nfour").await;
        drop(connection);
        let broken = upstream.requests().wait_for("the half", 1, |r| !r.complete).await;
        assert_eq!((broken[0].path(), &*broken[0].body), ("/half", &b"four"[..]));
    }

    #[tokio::test]
    async fn a_hanging_upstream_leaves_the_client_to_its_deadline() {
        let (upstream, client) = upstream();
        upstream.program(|_| Some(Answer::Hang));
        let client = client.with_deadline(Duration::from_millis(50));
        let error = client.try_send(&Request::get("/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
