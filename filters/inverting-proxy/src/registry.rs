//! The backends: whose requests each of them gets, whose account its agent has, and when that asked last. Those
//! of the configuration come back with it; those of administrators are in the memory of this process alone.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lockgate_common::event::Event;
use lockgate_common::runtime::Runtime;

use crate::definition::{Definition, Terms};
use crate::health::Health;

/// How long an agent that does not ask any more is waited for, in milliseconds. The original's asks again
/// at once, and after a failure within 3 s. The original itself takes a backend for gone after five minutes, for
/// which its clients would wait and get nothing.
const AGENT_GONE_MS: u64 = 60_000;

/// Backends at once.
pub const MAX_BACKENDS: usize = 256;

/// A backend, as long as anybody knows it: one that is deleted and created again is another.
pub struct Backend {
    /// As agents give it.
    pub id: String,
    /// Whose requests it gets, where that is not for routes alone to say.
    pub terms: Option<Terms>,
    /// Whether it is well, where that is looked at.
    pub health: Option<Health>,
    /// Whether it is the configuration's, and not an administrator's to change.
    pub is_configured: bool,
    polls: Cell<usize>,
    /// Until when its agent was last seen to ask, in milliseconds since 1970. One that was just made known has a
    /// moment to come.
    seen_ms: Cell<u64>,
    asked_ms: Cell<Option<u64>>,
    arrival: RefCell<Event<()>>,
    removed: Cell<bool>,
}

impl Backend {
    fn new(definition: Definition, is_configured: bool, now_ms: u64) -> Rc<Self> {
        Rc::new(Self {
            id: definition.id,
            terms: definition.terms,
            health: definition.check.map(Health::new),
            is_configured,
            polls: Cell::new(0),
            seen_ms: Cell::new(now_ms),
            asked_ms: Cell::new(None),
            arrival: RefCell::default(),
            removed: Cell::new(false),
        })
    }

    /// Whether its agent asks for requests, or did a moment ago.
    pub fn has_agent(&self, now_ms: u64) -> bool {
        self.polls.get() > 0 || now_ms < self.seen_ms.get() + AGENT_GONE_MS
    }

    /// When its agent began to ask last, in milliseconds since 1970; none if it never has.
    pub fn asked_ms(&self) -> Option<u64> {
        self.asked_ms.get()
    }

    /// Whether it was deleted or replaced, so that nothing may wait for it any more.
    pub fn is_removed(&self) -> bool {
        self.removed.get()
    }

    /// The next request for it.
    pub fn arrival(&self) -> Event<()> {
        self.arrival.borrow().clone()
    }

    /// Tells its agents that there is a request.
    pub fn arrived(&self, runtime: &Runtime) {
        self.arrival.take().settle(runtime, ());
    }

    /// Its agent begins to ask.
    pub fn asks(&self, now_ms: u64) {
        self.polls.set(self.polls.get() + 1);
        self.asked_ms.set(Some(now_ms));
    }

    /// Its agent has an answer, or is gone.
    pub fn asked(&self, now_ms: u64) {
        self.polls.set(self.polls.get().saturating_sub(1));
        self.seen_ms.set(now_ms);
    }

    /// Whether a request may wait for it now.
    pub fn is_open(&self, now_ms: u64) -> Result<(), Closed> {
        match () {
            () if !self.has_agent(now_ms) => Err(Closed::NoAgent),
            () if self.health.as_ref().is_some_and(|health| !health.is_healthy()) => Err(Closed::Unhealthy),
            () => Ok(()),
        }
    }
}

/// Why no request may wait for a backend; of several, the later says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closed {
    /// There is none.
    NoBackend,
    /// Its agent does not ask.
    NoAgent,
    /// It has not answered its last probes, or none yet.
    Unhealthy,
}

/// What became of a definition.
pub enum Put {
    /// It is a backend's.
    Created(Rc<Backend>),
    /// It was one's before.
    Unchanged(Rc<Backend>),
    /// It is a backend's in the place of this one, for which nothing may wait any more.
    Replaced(Rc<Backend>, Rc<Backend>),
}

/// Why backends cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchangeable {
    /// It is the configuration's.
    Configured,
    /// There are as many as may be.
    Full,
    /// There is none.
    Unknown,
}

/// Whether its agent has come, whether it is the user's own, how long its prefix is: the highest gets the request.
type Rank = (bool, bool, usize);

/// All backends, in the order in which they were made known.
pub struct Registry(RefCell<Vec<Rc<Backend>>>);

impl Registry {
    /// The backends of the configuration. From `now_ms` on their agents have a moment to come.
    pub fn new(definitions: Vec<Definition>, now_ms: u64) -> Self {
        let backends = definitions.into_iter().map(|definition| Backend::new(definition, true, now_ms));
        Self(RefCell::new(backends.collect()))
    }

    /// The backend of an id.
    pub fn find(&self, id: &str) -> Option<Rc<Backend>> {
        self.0.borrow().iter().find(|backend| backend.id == id).cloned()
    }

    /// All of them now.
    pub fn all(&self) -> Vec<Rc<Backend>> {
        self.0.borrow().clone()
    }

    /// The backend for a request of `user` for `path`: of the open ones that fit, the user's own before shared
    /// ones, then the one of the longest prefix, then the one that was made known first. One whose agent is still
    /// to come after the start is waited for only where there is no other.
    pub fn choose(&self, user: &str, path: &str, now_ms: u64) -> Result<Rc<Backend>, Closed> {
        let mut why = Closed::NoBackend;
        let mut best: Option<(Rank, &Rc<Backend>)> = None;
        let backends = self.0.borrow();
        for backend in backends.iter() {
            let Some((own, length)) = backend.terms.as_ref().and_then(|terms| terms.fit(user, path)) else {
                continue;
            };
            if let Err(closed) = backend.is_open(now_ms) {
                why = why.max(closed);
                continue;
            }
            let rank = (backend.asked_ms().is_some(), own, length);
            if best.is_none_or(|(other, _)| rank > other) {
                best = Some((rank, backend));
            }
        }
        best.map(|(_, backend)| backend.clone()).ok_or(why)
    }

    /// Makes an administrator's backend known, in the place of another of theirs that had its id.
    pub fn put(&self, definition: Definition, now_ms: u64) -> Result<Put, Unchangeable> {
        let mut backends = self.0.borrow_mut();
        let Some(place) = backends.iter_mut().find(|backend| backend.id == definition.id) else {
            if backends.len() >= MAX_BACKENDS {
                return Err(Unchangeable::Full);
            }
            let backend = Backend::new(definition, false, now_ms);
            backends.push(backend.clone());
            return Ok(Put::Created(backend));
        };
        if place.is_configured {
            return Err(Unchangeable::Configured);
        }
        if place.terms == definition.terms {
            return Ok(Put::Unchanged(place.clone()));
        }
        let backend = Backend::new(definition, false, now_ms);
        let before = std::mem::replace(place, backend.clone());
        before.removed.set(true);
        Ok(Put::Replaced(backend, before))
    }

    /// Forgets an administrator's backend.
    pub fn remove(&self, id: &str) -> Result<Rc<Backend>, Unchangeable> {
        let mut backends = self.0.borrow_mut();
        let index = backends.iter().position(|backend| backend.id == id).ok_or(Unchangeable::Unknown)?;
        if backends.get(index).is_some_and(|backend| backend.is_configured) {
            return Err(Unchangeable::Configured);
        }
        let backend = backends.remove(index);
        backend.removed.set(true);
        Ok(backend)
    }
}
