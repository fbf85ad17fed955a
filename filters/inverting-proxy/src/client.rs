//! The story of a client's request: it waits for an agent, and is answered with what that brings.

use std::rc::Rc;

use lockgate_common::encoding::{push_decimal, push_hex};
use lockgate_common::flow::{Stream, Verdict};
use lockgate_common::host::{Level, Map};
use lockgate_common::http::{Headers, Refusal, Reply, path_without_query};
use lockgate_common::runtime::{Runtime, part};

use crate::config::{Settings, To};
use crate::flow::{BUSY, InvertingProxy, NO_RANDOMNESS, REQUEST_ID, TOO_LARGE};
use crate::parked::{Outcome, Parked};
use crate::principal;
use crate::registry::{Backend, Closed, Registry};
use crate::sessions::Visit;
use crate::wire::{self, Response};

/// Tells a client that the answer is the proxy's; a backend's own never has it.
const MARK: &str = "x-lockgate-refused";

/// A refusal is marked, and names the request where an agent may know it.
pub(crate) async fn client(proxy: &InvertingProxy, stream: &Stream, settings: &Settings, to: &To) -> Verdict {
    let (id, refusal) = match part(park(proxy, stream, settings, to)).await {
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
    proxy: &InvertingProxy,
    stream: &Stream,
    settings: &Settings,
    to: &To,
) -> Result<Response, (Option<String>, Refusal)> {
    let (runtime, host) = (stream.runtime(), stream.host());
    let unknown = |refusal| (None, refusal);
    // Its answer ends with trailers, which a proxy's own answer cannot have.
    if stream.text("content-type").starts_with("application/grpc") {
        return Err(unknown(GRPC));
    }
    // Before it is asked to send a body for nobody.
    let backend = backend(&proxy.registry, stream, to, host.now_ms()).map_err(unknown)?;
    let body = stream.request_body(settings.max_body_bytes).await.map_err(|_| unknown(TOO_LARGE))?;
    let now = host.now_ms();
    let (method, target) = (stream.text(":method"), stream.text(":path"));
    let owner = (backend.clone(), principal::identity(stream));
    let visit = proxy.sessions.visit(settings.session_cookie.as_ref(), owner, stream.headers(), target);
    let own = visit.request(stream.headers(), now);
    let headers = own.as_ref().unwrap_or(stream.headers());
    let wire =
        wire::request(method, target, stream.text(":authority"), headers, &body).ok_or(unknown(NOT_PLAIN))?;
    let mut bytes = [0; 16];
    if !host.random(&mut bytes) {
        return Err(unknown(NO_RANDOMNESS));
    }
    let mut id = String::new();
    push_hex(&mut id, &bytes);
    // While the body came.
    if backend.is_removed() {
        return Err(unknown(NO_AGENT));
    }
    let parked = Parked::new(id, &backend, wire, principal::name(stream), method, now);
    let ticket = proxy.exchange.park(parked, runtime).map_err(|_| unknown(BUSY))?;
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
        Some(Outcome::Answered(mut response)) => {
            take_cookies(stream, &visit, &mut response);
            Ok(response)
        }
        Some(Outcome::Unreadable) => refused(UNREADABLE),
        Some(Outcome::TooLarge) => refused(RESPONSE_TOO_LARGE),
        Some(Outcome::Removed) => refused(NO_AGENT),
        None if parked.fetched_ms().is_some() => refused(NOT_ANSWERED),
        None => refused(NOT_FETCHED),
    }
}

/// Which backend it is for, where one may be waited for.
fn backend(registry: &Registry, stream: &Stream, to: &To, now_ms: u64) -> Result<Rc<Backend>, Refusal> {
    let chosen = match to {
        To::Backend(id) => {
            let backend = registry.find(id).ok_or(NO_BACKEND)?;
            backend.is_open(now_ms).map(|()| backend)
        }
        To::ByUser => {
            let user = principal::address(stream).ok_or(NO_ADDRESS)?;
            registry.choose(&user, path_without_query(stream.text(":path")), now_ms)
        }
    };
    chosen.map_err(|closed| match closed {
        Closed::NoBackend => NO_BACKEND,
        Closed::NoAgent => NO_AGENT,
        Closed::Unhealthy => UNHEALTHY,
    })
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

/// Cookies that found no room are lost to the client, and never a reason to keep an answer from it.
fn take_cookies(stream: &Stream, visit: &Visit<'_>, response: &mut Response) {
    let (runtime, host) = (stream.runtime(), stream.host());
    let taken = visit.answer(response, host.now_ms(), |bytes| host.random(bytes));
    if taken.began {
        runtime.count(&["sessions", "began"]);
    }
    (0..taken.evicted).for_each(|_| runtime.count(&["sessions", "evicted"]));
    (0..taken.dropped).for_each(|_| runtime.count(&["cookies", "dropped"]));
    if taken.first_dropped {
        let line = "lockgate filter=inverting-proxy cookies dropped: the session is full backend=";
        host.log(Level::Warn, &[line, &visit.backend.id].concat());
    }
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

const NOT_PLAIN: Refusal =
    Refusal { status: 400, reason: "bad_target", sentence: "This request cannot be passed on." };

const GRPC: Refusal = Refusal { status: 501, reason: "grpc", sentence: "gRPC does not pass this proxy." };

const NO_AGENT: Refusal = Refusal {
    status: 503,
    reason: "no_agent",
    sentence: "The service behind this address is not connected.",
};

const NO_BACKEND: Refusal =
    Refusal { status: 404, reason: "no_backend", sentence: "There is no service for you at this address." };

const NO_ADDRESS: Refusal = Refusal {
    status: 403,
    reason: "no_address",
    sentence: "This address is for people whose e-mail address is known.",
};

const UNHEALTHY: Refusal =
    Refusal { status: 503, reason: "unhealthy", sentence: "The service behind this address is not well." };

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
