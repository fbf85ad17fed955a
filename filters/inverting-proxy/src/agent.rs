//! The story of an agent's three calls: which requests wait, one of them, its answer.

use std::rc::Rc;

use lockgate_common::encoding::rfc3339;
use lockgate_common::flow::{Stream, Verdict};
use lockgate_common::http::{Refusal, Reply, path_without_query};
use lockgate_common::runtime::part;

use crate::config::{Agents, Settings};
use crate::flow::{BUSY, InvertingProxy, REQUEST_ID, TOO_LARGE, WRONG_METHOD};
use crate::parked::{Exchange, Outcome};
use crate::registry::Backend;
use crate::{health, principal, wire};

const BACKEND_ID: &str = "x-inverting-proxy-backend-id";
const START_TIME: &str = "x-inverting-proxy-request-start-time";
const USER_ID: &str = "x-inverting-proxy-user-id";

pub(crate) async fn agent(
    proxy: &InvertingProxy,
    stream: &Stream,
    settings: &Settings,
    agents: &Agents,
) -> Result<Verdict, Refusal> {
    let exchange = &proxy.exchange;
    let headers = stream.headers();
    let text = |name| {
        let value = headers.single(name).ok().flatten()?;
        std::str::from_utf8(value).ok().filter(|value| !value.is_empty())
    };
    let backend = proxy.registry.find(text(BACKEND_ID).ok_or(NO_BACKEND_ID)?);
    // Whether there is one is for its agent to know.
    let backend = backend.filter(|backend| speaks_for(agents, backend, stream)).ok_or(OTHER_BACKEND)?;
    let backend = &backend;
    let path = path_without_query(stream.text(":path"));
    let id = || text(REQUEST_ID).ok_or(NO_REQUEST_ID);
    match (stream.text(":method"), path.rsplit_once("/agent/").map(|(_, call)| call)) {
        ("GET", Some("pending")) => part(pending(exchange, stream, settings, backend)).await,
        ("GET", Some("request")) => fetch(exchange, stream, backend, id()?),
        ("POST", Some("response")) => part(answer(exchange, stream, settings, backend, id()?)).await,
        (_, Some("pending" | "request" | "response")) => Err(WRONG_METHOD),
        _ => Err(NO_CALL),
    }
}

fn speaks_for(agents: &Agents, backend: &Backend, stream: &Stream) -> bool {
    match agents {
        Agents::Of(ids) => ids.contains(&backend.id),
        Agents::Registered => backend
            .terms
            .as_ref()
            .is_some_and(|terms| principal::address(stream).is_some_and(|account| terms.is_agent(&account))),
    }
}

/// Waits until there are requests, and answers with their ids; with none once the time is over.
async fn pending(
    exchange: &Rc<Exchange>,
    stream: &Stream,
    settings: &Settings,
    backend: &Rc<Backend>,
) -> Result<Verdict, Refusal> {
    let (runtime, host) = (stream.runtime(), stream.host());
    let deadline = host.now_ms() + settings.poll_ms;
    let was_gone = !backend.has_agent(host.now_ms());
    let _poll = exchange.poll(backend, runtime).map_err(|_| BUSY)?;
    health::watch(exchange, backend, was_gone, runtime);
    loop {
        if backend.is_removed() {
            return Err(OTHER_BACKEND);
        }
        let now = host.now_ms();
        let ids = exchange.offer(backend, now);
        if !ids.is_empty() || now >= deadline {
            return Ok(Verdict::Reply(json(&ids)));
        }
        let (arrival, again) = exchange.next(backend);
        let until = again.map_or(deadline, |again| again.min(deadline));
        if arrival.wait(runtime, until).await.is_none() && host.now_ms() < until {
            // As many wait for the root as may.
            return Err(BUSY);
        }
    }
}

fn fetch(
    exchange: &Rc<Exchange>,
    stream: &Stream,
    backend: &Rc<Backend>,
    id: &str,
) -> Result<Verdict, Refusal> {
    let parked = exchange.fetch(backend, id, stream.host().now_ms()).ok_or(UNKNOWN_REQUEST)?;
    let mut reply = Reply::with_body(200, "application/octet-stream", parked.wire.clone());
    reply.headers.push((REQUEST_ID, parked.id.clone()));
    reply.headers.push((START_TIME, rfc3339(parked.since_ms)));
    reply.headers.extend(parked.user.clone().map(|user| (USER_ID, user)));
    if !parked.is_probe {
        stream.runtime().count(&["fetched"]);
    }
    Ok(Verdict::Reply(reply))
}

/// The first whole answer is the client's; every later one is for a request that nobody knows.
async fn answer(
    exchange: &Rc<Exchange>,
    stream: &Stream,
    settings: &Settings,
    backend: &Rc<Backend>,
    id: &str,
) -> Result<Verdict, Refusal> {
    let find = || exchange.fetched(backend, id).ok_or(UNKNOWN_REQUEST);
    find()?;
    let message = stream.request_body(settings.max_body_bytes).await;
    let parked = find()?;
    exchange.forget(&parked);
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

const UNKNOWN_REQUEST: Refusal = Refusal {
    status: 404,
    reason: "unknown_request",
    sentence: "No such request waits, or it was fetched before.",
};

const NOT_A_RESPONSE: Refusal =
    Refusal { status: 400, reason: "not_a_response", sentence: "This is not a whole HTTP response." };
