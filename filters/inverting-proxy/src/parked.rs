//! What waits: requests for an agent, and agents for requests. Everything is bounded, and a request whose
//! client has left is forgotten at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lockgate_common::event::Event;
use lockgate_common::runtime::Runtime;

use crate::registry::Backend;
use crate::wire::Response;

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
    pub backend: Rc<Backend>,
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
    /// Whether it is no client's, but the filter's own.
    pub is_probe: bool,
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
    /// There is no such backend any more.
    Removed,
}

impl Parked {
    /// A request that nobody knows of yet.
    pub fn new(
        id: String,
        backend: &Rc<Backend>,
        wire: Vec<u8>,
        user: Option<String>,
        method: &str,
        since_ms: u64,
    ) -> Self {
        Self {
            id,
            backend: backend.clone(),
            wire,
            user,
            since_ms,
            is_head: method == "HEAD",
            is_idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"),
            is_probe: false,
            offered_ms: Cell::new(None),
            fetched_ms: Cell::new(None),
            settled: Event::default(),
            outcome: RefCell::default(),
        }
    }

    /// A GET request of the filter's own.
    pub fn probe(id: String, backend: &Rc<Backend>, wire: Vec<u8>, since_ms: u64) -> Self {
        Self { is_probe: true, ..Self::new(id, backend, wire, None, "GET", since_ms) }
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

    fn is_for(&self, backend: &Rc<Backend>) -> bool {
        Rc::ptr_eq(&self.backend, backend)
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
    requests: RefCell<Vec<Rc<Parked>>>,
    /// How many of them are clients', and their bytes.
    clients: Cell<usize>,
    bytes: Cell<usize>,
    polls: Cell<usize>,
}

impl Exchange {
    /// One in which nothing waits yet.
    pub fn new(limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            limits,
            requests: RefCell::default(),
            clients: Cell::new(0),
            bytes: Cell::new(0),
            polls: Cell::new(0),
        })
    }

    /// Whether nothing waits.
    pub fn is_idle(&self) -> bool {
        self.requests.borrow().is_empty() && self.polls.get() == 0
    }

    /// Lets a client's request wait, for as long as the ticket is held, and tells the agents that wait for one.
    pub fn park(self: &Rc<Self>, parked: Parked, runtime: &Runtime) -> Result<Ticket, Full> {
        let bytes = self.bytes.get() + parked.wire.len();
        if self.clients.get() >= self.limits.parked || bytes > self.limits.parked_bytes {
            return Err(Full);
        }
        self.clients.set(self.clients.get() + 1);
        self.bytes.set(bytes);
        Ok(self.wait(parked, runtime))
    }

    /// Lets a probe wait. It takes nobody's place: there is one for each backend, and it is small.
    pub fn look(self: &Rc<Self>, probe: Parked, runtime: &Runtime) -> Ticket {
        self.wait(probe, runtime)
    }

    fn wait(self: &Rc<Self>, parked: Parked, runtime: &Runtime) -> Ticket {
        let parked = Rc::new(parked);
        self.requests.borrow_mut().push(parked.clone());
        parked.backend.arrived(runtime);
        Ticket { exchange: self.clone(), parked }
    }

    /// Tells everybody who waits for a backend, or asks for it, that there is none any more.
    pub fn dismiss(&self, backend: &Rc<Backend>, runtime: &Runtime) {
        for parked in self.requests.borrow().iter().filter(|parked| parked.is_for(backend)) {
            parked.settle(runtime, Outcome::Removed);
        }
        backend.arrived(runtime);
    }

    /// Counts an agent's question, for as long as the guard is held.
    pub fn poll(self: &Rc<Self>, backend: &Rc<Backend>, runtime: &Rc<Runtime>) -> Result<Poll, Full> {
        if self.polls.get() >= self.limits.polls {
            return Err(Full);
        }
        self.polls.set(self.polls.get() + 1);
        backend.asks(runtime.host().now_ms());
        Ok(Poll { exchange: self.clone(), backend: backend.clone(), runtime: runtime.clone() })
    }

    /// The requests of a backend that are to be handed out now, the oldest first. They are then not handed
    /// out again for a while.
    pub fn offer(&self, backend: &Rc<Backend>, now_ms: u64) -> Vec<String> {
        let requests = self.requests.borrow();
        let due =
            |parked: &&Rc<Parked>| parked.is_for(backend) && parked.due_ms().is_some_and(|due| due <= now_ms);
        let offered = requests.iter().filter(due).take(MAX_IDS).map(|parked| {
            parked.offered_ms.set(Some(now_ms));
            parked.id.clone()
        });
        offered.collect()
    }

    /// What a question of the backend's agent waits for: the next request, or the time at which one is handed
    /// out again.
    pub fn next(&self, backend: &Rc<Backend>) -> (Event<()>, Option<u64>) {
        let requests = self.requests.borrow();
        let mine = requests.iter().filter(|parked| parked.is_for(backend));
        (backend.arrival(), mine.filter_map(|parked| parked.due_ms()).min())
    }

    /// Hands a request to its backend's agent. One that could do harm if it were done twice is handed over
    /// once: an agent that asks again may have lost our answer, or may have passed it on.
    pub fn fetch(&self, backend: &Rc<Backend>, id: &str, now_ms: u64) -> Option<Rc<Parked>> {
        let parked = self.find(backend, id)?;
        match parked.fetched_ms.get() {
            None => parked.fetched_ms.set(Some(now_ms)),
            Some(_) if parked.is_idempotent => {}
            Some(_) => return None,
        }
        Some(parked)
    }

    /// A request that was fetched and waits for its answer.
    pub fn fetched(&self, backend: &Rc<Backend>, id: &str) -> Option<Rc<Parked>> {
        self.find(backend, id).filter(|parked| parked.fetched_ms.get().is_some())
    }

    /// Forgets a request.
    pub fn forget(&self, parked: &Rc<Parked>) {
        let mut requests = self.requests.borrow_mut();
        let before = requests.len();
        requests.retain(|other| !Rc::ptr_eq(other, parked));
        if requests.len() < before && !parked.is_probe {
            self.clients.set(self.clients.get().saturating_sub(1));
            self.bytes.set(self.bytes.get().saturating_sub(parked.wire.len()));
        }
    }

    fn find(&self, backend: &Rc<Backend>, id: &str) -> Option<Rc<Parked>> {
        let requests = self.requests.borrow();
        requests.iter().find(|parked| parked.id == id && parked.is_for(backend)).cloned()
    }
}

/// The place of a request; dropped when it is answered, and when its client leaves.
pub struct Ticket {
    exchange: Rc<Exchange>,
    /// The request.
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
    backend: Rc<Backend>,
    runtime: Rc<Runtime>,
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.exchange.polls.set(self.exchange.polls.get().saturating_sub(1));
        self.backend.asked(self.runtime.host().now_ms());
    }
}
