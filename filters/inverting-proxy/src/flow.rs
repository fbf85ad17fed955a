//! The stories of a client's request and of an agent's three.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::{push_decimal, push_hex, rfc3339};
use lockgate_common::flow::{Filter, Stream, Verdict};
use lockgate_common::host::Map;
use lockgate_common::http::{Headers, Refusal, Reply, path_without_query};
use lockgate_common::json::Json;
use lockgate_common::rules::{Match, first_fit};
use lockgate_common::runtime::{Runtime, Story, part};

use crate::config::{self, Role, Settings};
use crate::parked::{Exchange, Outcome, Parked};
use crate::sole_worker::{SoleWorker, Unserved};
use crate::wire::{self, Response};

const BACKEND_ID: &str = "x-inverting-proxy-backend-id";
const REQUEST_ID: &str = "x-inverting-proxy-request-id";
const START_TIME: &str = "x-inverting-proxy-request-start-time";
const USER_ID: &str = "x-inverting-proxy-user-id";

/// Tells a client that the answer is the proxy's; a backend's own never has it.
const MARK: &str = "x-lockgate-refused";

/// The filter as configured.
pub struct InvertingProxy {
    rules: Vec<(Match, Settings)>,
    exchange: Rc<Exchange>,
    worker: Rc<SoleWorker>,
}

impl InvertingProxy {
    /// Reads the configuration.
    pub fn configure(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError> {
        let rules = config::rules(fields)?;
        let backends = rules.iter().filter_map(|(_, settings)| match &settings.role {
            Role::Client(backend) => Some(backend.clone()),
            Role::Agent(_) => None,
        });
        let exchange = Exchange::new(config::limits(fields)?, backends.collect(), runtime.host().now_ms());
        let plugin = runtime.host().property(&["plugin_name"]).unwrap_or_default();
        let worker = SoleWorker::new(&String::from_utf8_lossy(&plugin));
        Ok(Rc::new(Self { rules, exchange, worker }))
    }

    async fn handle(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        let host = stream.host();
        let settings = first_fit(&self.rules, stream)?;
        // A guard whose line was forgotten in the proxy's configuration left no mark.
        if settings.marks.iter().any(|mark| host.property(&[mark]).as_deref() != Some(b"passed")) {
            return Err(NOT_GUARDED);
        }
        let exchange = self.exchange.clone();
        self.worker.serve(stream.runtime(), move || !exchange.is_idle()).map_err(|why| match why {
            Unserved::SeveralWorkers => SEVERAL_WORKERS,
            Unserved::NoRandomness => NO_RANDOMNESS,
        })?;
        match &settings.role {
            Role::Client(backend) => Ok(part(self.client(stream, settings, backend)).await),
            Role::Agent(backends) => part(self.agent(stream, settings, backends)).await,
        }
    }

    /// A refusal is marked, and names the request where an agent may know it.
    async fn client(&self, stream: &Stream, settings: &Settings, backend: &str) -> Verdict {
        let (id, refusal) = match part(self.park(stream, settings, backend)).await {
            Ok(response) => {
                stream.runtime().count(&["answered"]);
                return relayed(stream.clone(), response);
            }
            Err(refused) => refused,
        };
        let mut reply = refusal.reply();
        reply.headers.push((MARK, refusal.reason.to_owned()));
        reply.headers.extend(id.map(|id| (REQUEST_ID, id)));
        Verdict::RefuseWith(refusal, reply)
    }

    async fn park(
        &self,
        stream: &Stream,
        settings: &Settings,
        backend: &str,
    ) -> Result<Response, (Option<String>, Refusal)> {
        let (runtime, host) = (stream.runtime(), stream.host());
        let unknown = |refusal| (None, refusal);
        // Its answer ends with trailers, which a proxy's own answer cannot have.
        if stream.text("content-type").starts_with("application/grpc") {
            return Err(unknown(GRPC));
        }
        // Before it is asked to send a body for nobody.
        if !self.exchange.has_agent(backend, host.now_ms()) {
            return Err(unknown(NO_AGENT));
        }
        let body = stream.request_body(settings.max_body_bytes).await.map_err(|_| unknown(TOO_LARGE))?;
        let (method, target) = (stream.text(":method"), stream.text(":path"));
        let wire = wire::request(method, target, stream.text(":authority"), stream.headers(), &body)
            .ok_or(unknown(NOT_PLAIN))?;
        let now = host.now_ms();
        let mut bytes = [0; 16];
        if !host.random(&mut bytes) {
            return Err(unknown(NO_RANDOMNESS));
        }
        let mut id = String::new();
        push_hex(&mut id, &bytes);
        let parked = Parked::new(id, backend, wire, user(stream), method, now);
        let ticket = self.exchange.park(parked, runtime).map_err(|_| unknown(BUSY))?;
        let place = Place { runtime, left: true };
        runtime.count(&["parked"]);

        let parked = &ticket.parked;
        let mut outcome = parked.outcome(runtime, now + settings.fetch_ms).await;
        if let (None, Some(fetched)) = (&outcome, parked.fetched_ms()) {
            outcome = parked.outcome(runtime, fetched + settings.response_ms).await;
        }
        place.kept();
        let refused = |refusal| Err((Some(parked.id.clone()), refusal));
        match outcome {
            Some(Outcome::Answered(response)) => Ok(response),
            Some(Outcome::Unreadable) => refused(UNREADABLE),
            Some(Outcome::TooLarge) => refused(RESPONSE_TOO_LARGE),
            None if parked.fetched_ms().is_some() => refused(NOT_ANSWERED),
            None => refused(NOT_FETCHED),
        }
    }

    async fn agent(
        &self,
        stream: &Stream,
        settings: &Settings,
        backends: &[String],
    ) -> Result<Verdict, Refusal> {
        let headers = stream.headers();
        let text = |name| {
            let value = headers.single(name).ok().flatten()?;
            std::str::from_utf8(value).ok().filter(|value| !value.is_empty())
        };
        let backend = text(BACKEND_ID).ok_or(NO_BACKEND_ID)?;
        if !backends.iter().any(|other| other == backend) {
            return Err(OTHER_BACKEND);
        }
        let path = path_without_query(stream.text(":path"));
        let id = || text(REQUEST_ID).ok_or(NO_REQUEST_ID);
        match (stream.text(":method"), path.rsplit_once("/agent/").map(|(_, call)| call)) {
            ("GET", Some("pending")) => part(self.pending(stream, settings, backend)).await,
            ("GET", Some("request")) => self.fetch(stream, backend, id()?),
            ("POST", Some("response")) => part(self.answer(stream, settings, backend, id()?)).await,
            (_, Some("pending" | "request" | "response")) => Err(WRONG_METHOD),
            _ => Err(NO_CALL),
        }
    }

    /// Waits until there are requests, and answers with their ids; with none once the time is over.
    async fn pending(&self, stream: &Stream, settings: &Settings, backend: &str) -> Result<Verdict, Refusal> {
        let (runtime, host) = (stream.runtime(), stream.host());
        let deadline = host.now_ms() + settings.poll_ms;
        let _poll = self.exchange.poll(backend, runtime).map_err(|_| BUSY)?;
        loop {
            let now = host.now_ms();
            let ids = self.exchange.offer(backend, now);
            if !ids.is_empty() || now >= deadline {
                return Ok(Verdict::Reply(json(&ids)));
            }
            let (arrival, again) = self.exchange.next(backend);
            let until = again.map_or(deadline, |again| again.min(deadline));
            if arrival.wait(runtime, until).await.is_none() && host.now_ms() < until {
                // As many wait for the root as may.
                return Err(BUSY);
            }
        }
    }

    fn fetch(&self, stream: &Stream, backend: &str, id: &str) -> Result<Verdict, Refusal> {
        let parked = self.exchange.fetch(backend, id, stream.host().now_ms()).ok_or(UNKNOWN_REQUEST)?;
        let mut reply = Reply::with_body(200, "application/octet-stream", parked.wire.clone());
        reply.headers.push((REQUEST_ID, parked.id.clone()));
        reply.headers.push((START_TIME, rfc3339(parked.since_ms)));
        reply.headers.extend(parked.user.clone().map(|user| (USER_ID, user)));
        stream.runtime().count(&["fetched"]);
        Ok(Verdict::Reply(reply))
    }

    /// The first whole answer is the client's; every later one is for a request that nobody knows.
    async fn answer(
        &self,
        stream: &Stream,
        settings: &Settings,
        backend: &str,
        id: &str,
    ) -> Result<Verdict, Refusal> {
        let find = || self.exchange.fetched(backend, id).ok_or(UNKNOWN_REQUEST);
        find()?;
        let message = stream.request_body(settings.max_body_bytes).await;
        let parked = find()?;
        self.exchange.forget(&parked);
        let settle = |outcome| parked.settle(stream.runtime(), outcome);
        let Ok(message) = message else {
            settle(Outcome::TooLarge);
            return Err(TOO_LARGE);
        };
        match wire::response(&message, parked.is_head) {
            Some(response) => {
                settle(Outcome::Answered(response));
                Ok(Verdict::Reply(Reply::empty(200)))
            }
            None => {
                settle(Outcome::Unreadable);
                Err(NOT_A_RESPONSE)
            }
        }
    }
}

impl Filter for InvertingProxy {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move { self.handle(&stream).await.into() })
    }
}

/// Counts a client that has left; a story that is dropped drops it.
struct Place<'a> {
    runtime: &'a Runtime,
    left: bool,
}

impl Place<'_> {
    fn kept(mut self) {
        self.left = false;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.left {
            self.runtime.count(&["left"]);
        }
    }
}

/// Whom the guard let in: the address, else the subject.
fn user(stream: &Stream) -> Option<String> {
    let principal = stream.host().property(&["lockgate_principal"])?;
    let principal = Json::parse(&principal).ok()?;
    let text = |name: &str| principal.field(name).and_then(Json::str);
    let user = text("email").or_else(|| text("subject"))?;
    // As it may stand in a header.
    user.bytes().all(|byte| byte.is_ascii_graphic()).then(|| user.into_owned())
}

/// A backend's answer. It begins as an answer of the proxy's, which is all that a filter can begin; as that
/// comes back, it is given the backend's status and headers, as the bytes that they are.
fn relayed(stream: Stream, response: Response) -> Verdict {
    let Response { status, headers, body } = response;
    let mut out = Headers::default();
    out.push(":status", decimal(u64::from(status)).as_bytes());
    for (name, value) in headers.iter() {
        out.push(name, value);
    }
    // Without a body the length is another's: what a GET would have had, where the backend has said so.
    if stream.text(":method") != "HEAD" && !matches!(status, 204 | 304) {
        out.push("content-length", decimal(body.len() as u64).as_bytes());
    }
    let reply = Reply { status: 200, headers: Vec::new(), body };
    Verdict::ReplyThen(reply, Box::pin(async move { stream.host().set_headers(Map::Response, &out) }))
}

fn decimal(number: u64) -> String {
    let mut out = String::new();
    push_decimal(&mut out, number);
    out
}

/// Ids are hexadecimal, so nothing needs escaping.
fn json(ids: &[String]) -> Reply {
    let mut body = String::from("[");
    for (index, id) in ids.iter().enumerate() {
        body.push_str(if index == 0 { "\"" } else { ",\"" });
        body.push_str(id);
        body.push('"');
    }
    body.push(']');
    Reply::with_body(200, "application/json", body.into_bytes())
}

const NOT_GUARDED: Refusal =
    Refusal { status: 503, reason: "not_guarded", sentence: "This address is not set up." };

const SEVERAL_WORKERS: Refusal = Refusal {
    status: 503,
    reason: "several_workers",
    sentence: "This proxy runs with more than one worker, and clients and agents do not meet.",
};

const NO_RANDOMNESS: Refusal =
    Refusal { status: 503, reason: "no_randomness", sentence: "The request cannot be passed on right now." };

const NOT_PLAIN: Refusal =
    Refusal { status: 400, reason: "bad_target", sentence: "This request cannot be passed on." };

const GRPC: Refusal = Refusal { status: 501, reason: "grpc", sentence: "gRPC does not pass this proxy." };

const TOO_LARGE: Refusal =
    Refusal { status: 413, reason: "too_large", sentence: "The body is larger than this address takes." };

const NO_AGENT: Refusal = Refusal {
    status: 503,
    reason: "no_agent",
    sentence: "The service behind this address is not connected.",
};

const BUSY: Refusal =
    Refusal { status: 503, reason: "busy", sentence: "Too many requests wait. Please send it again." };

const NOT_FETCHED: Refusal = Refusal {
    status: 504,
    reason: "not_fetched",
    sentence: "The service behind this address did not take the request.",
};

const NOT_ANSWERED: Refusal = Refusal {
    status: 504,
    reason: "not_answered",
    sentence: "The service behind this address took the request and did not answer.",
};

const UNREADABLE: Refusal = Refusal {
    status: 502,
    reason: "unreadable",
    sentence: "The answer of the service behind this address could not be read.",
};

const RESPONSE_TOO_LARGE: Refusal = Refusal {
    status: 502,
    reason: "response_too_large",
    sentence: "The answer of the service behind this address is too large.",
};

const NO_BACKEND_ID: Refusal = Refusal {
    status: 400,
    reason: "no_backend_id",
    sentence: "X-Inverting-Proxy-Backend-ID must be there once.",
};

const NO_REQUEST_ID: Refusal = Refusal {
    status: 400,
    reason: "no_request_id",
    sentence: "X-Inverting-Proxy-Request-ID must be there once.",
};

const OTHER_BACKEND: Refusal =
    Refusal { status: 403, reason: "other_backend", sentence: "You are no agent of this backend." };

const NO_CALL: Refusal =
    Refusal { status: 404, reason: "no_call", sentence: "An agent asks for pending, request and response." };

const WRONG_METHOD: Refusal =
    Refusal { status: 405, reason: "wrong_method", sentence: "This method is not for this address." };

const UNKNOWN_REQUEST: Refusal = Refusal {
    status: 404,
    reason: "unknown_request",
    sentence: "No such request waits, or it was fetched before.",
};

const NOT_A_RESPONSE: Refusal =
    Refusal { status: 400, reason: "not_a_response", sentence: "This is not a whole HTTP response." };
