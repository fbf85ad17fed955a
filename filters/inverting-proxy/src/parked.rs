//! What waits: requests for an agent, and agents for requests. Everything is bounded, and a request whose
//! client has left is forgotten at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lockgate_common::event::Event;
use lockgate_common::runtime::Runtime;

use crate::wire::Response;

/// How long an agent that does not ask any more is waited for, in milliseconds. The original's asks again
/// at once, and after a failure within 3 s.
const AGENT_GONE_MS: u64 = 60_000;

/// An id that was handed out and not fetched is handed out again after this, in milliseconds: the answer
/// that held it may have gone into a dead connection. The original's agent knows an id it has had.
const OFFER_AGAIN_MS: u64 = 5_000;

/// Ids in one answer; the original's promise to its agents.
const MAX_IDS: usize = 100;

/// What may wait at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests.
    pub parked: usize,
    /// Their bytes.
    pub parked_bytes: usize,
    /// Agents' questions.
    pub polls: usize,
}

/// As much waits as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A request that waits for its answer.
pub struct Parked {
    /// 128 random bits in hexadecimal.
    pub id: String,
    /// Whom it is for.
    pub backend: String,
    /// The request as it goes over the wire.
    pub wire: Vec<u8>,
    /// Who sent it, where a guard knows.
    pub user: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Whether it is a HEAD request, whose answer has no body.
    pub is_head: bool,
    /// Whether it may be handed to an agent twice (RFC 9110, 9.2.2).
    pub is_idempotent: bool,
    offered_ms: Cell<Option<u64>>,
    fetched_ms: Cell<Option<u64>>,
    settled: Event<()>,
    outcome: RefCell<Option<Outcome>>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend's answer.
    Answered(Response),
    /// The agent brought something that is no answer.
    Unreadable,
    /// The agent brought an answer that is larger than may be.
    TooLarge,
}

impl Parked {
    /// A request that nobody knows of yet.
    pub fn new(
        id: String,
        backend: &str,
        wire: Vec<u8>,
        user: Option<String>,
        method: &str,
        since_ms: u64,
    ) -> Self {
        Self {
            id,
            backend: backend.to_owned(),
            wire,
            user,
            since_ms,
            is_head: method == "HEAD",
            is_idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"),
            offered_ms: Cell::new(None),
            fetched_ms: Cell::new(None),
            settled: Event::default(),
            outcome: RefCell::default(),
        }
    }

    /// When it was fetched first.
    pub fn fetched_ms(&self) -> Option<u64> {
        self.fetched_ms.get()
    }

    /// Waits until it is settled, or until `deadline` (milliseconds since 1970).
    pub async fn outcome(&self, runtime: &Rc<Runtime>, deadline: u64) -> Option<Outcome> {
        self.settled.wait(runtime, deadline).await?;
        self.outcome.take()
    }

    /// Tells its client.
    pub fn settle(&self, runtime: &Runtime, outcome: Outcome) {
        self.outcome.replace(Some(outcome));
        self.settled.settle(runtime, ());
    }

    /// When it is to be handed out next; never once it is fetched.
    fn due_ms(&self) -> Option<u64> {
        match (self.fetched_ms.get(), self.offered_ms.get()) {
            (Some(_), _) => None,
            (None, Some(offered)) => Some(offered + OFFER_AGAIN_MS),
            (None, None) => Some(0),
        }
    }
}

/// Everything that waits.
pub struct Exchange {
    limits: Limits,
    backends: Vec<Backend>,
    requests: RefCell<Vec<Rc<Parked>>>,
    bytes: Cell<usize>,
    polls: Cell<usize>,
}

struct Backend {
    id: String,
    polls: Cell<usize>,
    /// When its agent asked last, in milliseconds since 1970.
    seen_ms: Cell<u64>,
    /// The next request for it.
    arrival: RefCell<Event<()>>,
}

impl Exchange {
    /// An exchange for these backends. From `now_ms` on their agents have a moment to come.
    pub fn new(limits: Limits, mut backends: Vec<String>, now_ms: u64) -> Rc<Self> {
        backends.sort();
        backends.dedup();
        let backend =
            |id| Backend { id, polls: Cell::new(0), seen_ms: Cell::new(now_ms), arrival: RefCell::default() };
        Rc::new(Self {
            limits,
            backends: backends.into_iter().map(backend).collect(),
            requests: RefCell::default(),
            bytes: Cell::new(0),
            polls: Cell::new(0),
        })
    }

    /// Whether nothing waits.
    pub fn is_idle(&self) -> bool {
        self.requests.borrow().is_empty() && self.polls.get() == 0
    }

    /// Whether an agent of the backend asks for requests, or did a moment ago.
    pub fn has_agent(&self, backend: &str, now_ms: u64) -> bool {
        self.backend(backend)
            .is_some_and(|backend| backend.polls.get() > 0 || now_ms < backend.seen_ms.get() + AGENT_GONE_MS)
    }

    /// Lets a request wait, for as long as the ticket is held, and tells the agents that wait for one.
    pub fn park(self: &Rc<Self>, parked: Parked, runtime: &Runtime) -> Result<Ticket, Full> {
        let bytes = self.bytes.get() + parked.wire.len();
        if self.requests.borrow().len() >= self.limits.parked || bytes > self.limits.parked_bytes {
            return Err(Full);
        }
        let parked = Rc::new(parked);
        self.bytes.set(bytes);
        self.requests.borrow_mut().push(parked.clone());
        if let Some(backend) = self.backend(&parked.backend) {
            backend.arrival.take().settle(runtime, ());
        }
        Ok(Ticket { exchange: self.clone(), parked })
    }

    /// Counts an agent's question, for as long as the guard is held.
    pub fn poll(self: &Rc<Self>, backend: &str, runtime: &Rc<Runtime>) -> Result<Poll, Full> {
        if self.polls.get() >= self.limits.polls {
            return Err(Full);
        }
        self.polls.set(self.polls.get() + 1);
        if let Some(backend) = self.backend(backend) {
            backend.polls.set(backend.polls.get() + 1);
        }
        Ok(Poll { exchange: self.clone(), backend: backend.to_owned(), runtime: runtime.clone() })
    }

    /// The requests of a backend that are to be handed out now, the oldest first. They are then not handed
    /// out again for a while.
    pub fn offer(&self, backend: &str, now_ms: u64) -> Vec<String> {
        let requests = self.requests.borrow();
        let due = |parked: &&Rc<Parked>| {
            parked.backend == backend && parked.due_ms().is_some_and(|due| due <= now_ms)
        };
        let offered = requests.iter().filter(due).take(MAX_IDS).map(|parked| {
            parked.offered_ms.set(Some(now_ms));
            parked.id.clone()
        });
        offered.collect()
    }

    /// What a question of the backend's agent waits for: the next request, or the time at which one is handed
    /// out again.
    pub fn next(&self, backend: &str) -> (Event<()>, Option<u64>) {
        let arrival = self.backend(backend).map(|backend| backend.arrival.borrow().clone());
        let requests = self.requests.borrow();
        let mine = requests.iter().filter(|parked| parked.backend == backend);
        (arrival.unwrap_or_default(), mine.filter_map(|parked| parked.due_ms()).min())
    }

    /// Hands a request to its backend's agent. One that could do harm if it were done twice is handed over
    /// once: an agent that asks again may have lost our answer, or may have passed it on.
    pub fn fetch(&self, backend: &str, id: &str, now_ms: u64) -> Option<Rc<Parked>> {
        let parked = self.find(backend, id)?;
        match parked.fetched_ms.get() {
            None => parked.fetched_ms.set(Some(now_ms)),
            Some(_) if parked.is_idempotent => {}
            Some(_) => return None,
        }
        Some(parked)
    }

    /// A request that was fetched and waits for its answer.
    pub fn fetched(&self, backend: &str, id: &str) -> Option<Rc<Parked>> {
        self.find(backend, id).filter(|parked| parked.fetched_ms.get().is_some())
    }

    /// Forgets a request.
    pub fn forget(&self, parked: &Rc<Parked>) {
        let mut requests = self.requests.borrow_mut();
        let before = requests.len();
        requests.retain(|other| !Rc::ptr_eq(other, parked));
        if requests.len() < before {
            self.bytes.set(self.bytes.get().saturating_sub(parked.wire.len()));
        }
    }

    fn find(&self, backend: &str, id: &str) -> Option<Rc<Parked>> {
        let requests = self.requests.borrow();
        requests.iter().find(|parked| parked.id == id && parked.backend == backend).cloned()
    }

    fn backend(&self, id: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.id == id)
    }
}

/// A client's place; dropped when it is answered, and when it leaves.
pub struct Ticket {
    exchange: Rc<Exchange>,
    /// Its request.
    pub parked: Rc<Parked>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.exchange.forget(&self.parked);
    }
}

/// An agent's place; dropped when it is answered, and when it leaves.
pub struct Poll {
    exchange: Rc<Exchange>,
    backend: String,
    runtime: Rc<Runtime>,
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.exchange.polls.set(self.exchange.polls.get().saturating_sub(1));
        if let Some(backend) = self.exchange.backend(&self.backend) {
            backend.polls.set(backend.polls.get().saturating_sub(1));
            backend.seen_ms.set(self.runtime.host().now_ms());
        }
    }
}
