//! A proxy between Envoy and the local services that fails when a test tells it to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Client;
use crate::http1::{Request, Response};
use crate::journal::Journal;
use crate::server::{Reply, Server, Service};

/// What happens to a call on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status, and not forwarded.
    Refused(u16),
    /// It is forwarded this much later.
    Slow(Duration),
    /// It is forwarded, and the connection closed instead of an answer: it took effect, and the
    /// caller cannot know.
    AnswerLost,
    /// It is forwarded, and half of the answer is given.
    AnswerCut,
    /// It is not forwarded, and the connection reset.
    Reset,
    /// Nobody ever answers.
    Hang,
}

/// A call that came to the proxy.
#[derive(Clone, Debug)]
pub struct Call {
    /// What was asked.
    pub request: Request,
    /// What was done to it, if anything.
    pub fault: Option<Fault>,
    /// What the service answered, where it was asked and answered.
    pub answer: Option<Response>,
}

impl Call {
    /// Whether this is a publish.
    pub fn is_publish(&self) -> bool {
        is_publish(&self.request)
    }
}

/// Whether a request is a publish, of Pub/Sub's REST API.
pub fn is_publish(request: &Request) -> bool {
    request.path().ends_with(":publish")
}

type Rule = Box<dyn Fn(&Request) -> Option<Fault> + Send + Sync>;

/// The proxy. Every call is recorded, with what became of it, before its caller is answered.
#[derive(Debug)]
pub struct FaultProxy {
    server: Server<Forwarder>,
    forwarder: Arc<Forwarder>,
}

impl FaultProxy {
    /// Listens on a port and forwards to a service, which need not be there yet.
    pub fn start(port: u16, service: SocketAddr) -> Self {
        let forwarder = Arc::new(Forwarder {
            service: Client::new(service),
            calls: Journal::default(),
            rules: Mutex::default(),
        });
        Self { server: Server::start(port, Arc::clone(&forwarder)), forwarder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Everything that came to it.
    pub fn calls(&self) -> &Journal<Call> {
        &self.forwarder.calls
    }

    /// Fails by this rule; where it says `None` the rules given earlier decide.
    pub fn program(&self, rule: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) {
        self.forwarder.rules().push(Box::new(rule));
    }

    /// Lets the publishes fail whose bytes, decoded, contain a text. Publishes share a call under
    /// load, so what goes with such a one fails too: a test that uses this has a stack of its own.
    pub fn fail_publishes_with(&self, marker: &str, fault: Fault) {
        let marker = marker.to_owned();
        self.program(move |request| {
            let holds = is_publish(request)
                && crate::pubsub::published(request).iter().any(|message| message.contains(&marker));
            holds.then_some(fault)
        });
    }

    /// Lets a publish fail with this probability, each time by one of `faults`, all drawn from
    /// a generator with this seed.
    pub fn fail_publishes_at_random(&self, seed: u64, probability: f64, faults: &[Fault]) {
        let generator = Mutex::new(fastrand::Rng::with_seed(seed));
        let faults = faults.to_vec();
        self.program(move |request| {
            let mut generator = generator.lock().unwrap_or_else(PoisonError::into_inner);
            let fails = is_publish(request) && generator.f64() < probability;
            if fails { generator.choice(&faults).copied() } else { None }
        });
    }

    /// Forgets every rule.
    pub fn heal(&self) {
        self.forwarder.rules().clear();
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

struct Forwarder {
    service: Client,
    calls: Journal<Call>,
    rules: Mutex<Vec<Rule>>,
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Forwarder({} calls)", self.calls.len())
    }
}

impl Forwarder {
    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A service's answer to a request; none where the service is absent.
pub(crate) async fn forward(service: &Client, request: &Request) -> Option<Response> {
    let mut request = request.clone();
    // Each call has a connection of its own, and the client sets the framing of what it sends.
    for name in ["transfer-encoding", "content-length", "connection"] {
        request.headers.remove(name);
    }
    let mut answer = service.try_send(&request).await.ok()?;
    for name in ["transfer-encoding", "content-length", "connection"] {
        answer.headers.remove(name);
    }
    Some(answer)
}

impl Service for Forwarder {
    async fn reply(&self, request: Request) -> Reply {
        let fault = self.rules().iter().rev().find_map(|rule| rule(&request));
        if let Some(Fault::Slow(delay)) = fault {
            tokio::time::sleep(delay).await;
        }
        let answer = match fault {
            Some(Fault::Refused(_) | Fault::Reset | Fault::Hang) => None,
            _ => forward(&self.service, &request).await,
        };
        self.calls.push(Call { request, fault, answer: answer.clone() });
        let bytes = answer.as_ref().map(Response::to_bytes);
        match (fault, bytes) {
            (Some(Fault::Refused(status)), _) => Reply::Bytes(refusal(status).to_bytes()),
            (Some(Fault::Hang), _) => Reply::Hang,
            (Some(Fault::AnswerLost), _) => Reply::BytesThenClose(Vec::new()),
            (Some(Fault::AnswerCut), Some(mut bytes)) => {
                bytes.truncate(bytes.len() / 2);
                Reply::BytesThenClose(bytes)
            }
            (None | Some(Fault::Slow(_)), Some(bytes)) => Reply::Bytes(bytes),
            // The service is absent: its caller finds nobody either.
            (Some(Fault::Reset), _) | (_, None) => Reply::Reset,
        }
    }
}

/// An error as Google's APIs give it.
fn refusal(status: u16) -> Response {
    let mut response = Response::new(status);
    response.headers.push("content-type", "application/json");
    let error = serde_json::json!({"error": {"code": status, "message": "a programmed fault"}});
    response.body = error.to_string().into_bytes();
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Upstream;

    fn proxy() -> (Upstream, FaultProxy, Client) {
        let service = Upstream::on_free_port();
        let proxy = FaultProxy::start(crate::ports::free_port(), service.address());
        let client = Client::new(proxy.address());
        (service, proxy, client)
    }

    fn publish() -> Request {
        Request::post("/v1/projects/p/topics/t:publish", "application/json", "{}")
    }

    #[tokio::test]
    async fn a_call_passes_unchanged_and_is_recorded_with_its_answer() {
        let (service, proxy, client) = proxy();
        let answer = client.send(&Request::get("/token?a=b").header("x-one", "1")).await;
        assert_eq!((answer.status, &*answer.body), (200, &b"upstream"[..]));
        let seen = &service.requests().since(0)[0];
        assert_eq!((&*seen.target, seen.headers.all("x-one")), ("/token?a=b", vec![&b"1"[..]]));
        let call = &proxy.calls().since(0)[0];
        assert_eq!(call.answer.as_ref().map(|answer| answer.status), Some(200));
    }

    #[tokio::test]
    async fn only_some_faults_let_the_call_take_effect() {
        for (fault, status, takes_effect) in [
            (Fault::Refused(429), Some(429), false),
            (Fault::Reset, None, false),
            (Fault::AnswerLost, None, true),
            (Fault::AnswerCut, None, true),
            (Fault::Slow(Duration::from_millis(5)), Some(200), true),
        ] {
            let (service, proxy, client) = proxy();
            proxy.program(move |request| is_publish(request).then_some(fault));
            let answer = client.try_send(&publish()).await.ok();
            assert_eq!(answer.map(|answer| answer.status), status, "{fault:?}");
            assert_eq!(!service.requests().is_empty(), takes_effect, "{fault:?}");
            proxy.heal();
            assert_eq!(client.send(&publish()).await.status, 200);
        }
    }

    #[tokio::test]
    async fn faults_at_random_are_the_same_for_the_same_seed() {
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            let (_service, proxy, client) = proxy();
            proxy.fail_publishes_at_random(7, 0.5, &[Fault::Refused(503), Fault::AnswerLost]);
            let mut statuses = Vec::new();
            for _ in 0..20 {
                let answer = client.try_send(&publish()).await;
                statuses.push(answer.map_or(0, |answer| answer.status));
            }
            outcomes.push(statuses);
        }
        assert_eq!(outcomes[0], outcomes[1]);
        for status in [0, 200, 503] {
            assert!(outcomes[0].contains(&status), "{outcomes:?}");
        }
    }

    #[tokio::test]
    async fn an_absent_service_is_absent_through_the_proxy() {
        let (service, _proxy, client) = proxy();
        service.leave().await;
        assert!(client.try_send(&publish()).await.is_err());
    }
}
