//! One fetch for many streams: coalesced, throttled, refreshed when it is used and ages, the last
//! good value kept while it is valid. All of it per worker: each has its own VM.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::event::Event;
use crate::host::Level;
use crate::runtime::{Counted, Runtime, Story};

/// How often a value that is there may be fetched anew because somebody doubts it. An attacker chooses
/// unknown key ids and wrong signatures, so this bounds what they can make us ask for.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// The least time between two fetches of the same thing, in milliseconds.
    pub interval_ms: u64,
    /// Streams that may wait for the interval's end at once; to the others there is nothing newer.
    pub may_wait: usize,
}

/// Keys are published long before they are used, so nobody waits.
const KEYS: Throttle = Throttle { interval_ms: 10_000, may_wait: 0 };

/// After a failed fetch the next is not tried for this long, in milliseconds.
const COOL_DOWN_MS: u64 = 1_000;

/// Why a shared value cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The service refused, failed, or answered what cannot be read.
    Unavailable,
    /// It has not answered by the deadline.
    TimedOut,
}

/// What a fetch brought.
pub struct Fetched<T> {
    /// The value.
    pub value: T,
    /// From here on a use starts a new fetch, and goes on with this value (ms since 1970).
    pub refresh_ms: u64,
    /// From here on the value is not used any more (ms since 1970).
    pub expires_ms: u64,
}

/// Tells the story of one fetch.
pub type Fetch<T> = Box<dyn Fn() -> Story<Result<Fetched<T>, FetchError>>>;

/// A value that all streams of a root share.
pub struct Shared<T>(Rc<State<T>>);

struct State<T> {
    runtime: Rc<Runtime>,
    name: &'static str,
    throttle: Throttle,
    fetch: Fetch<T>,
    fetched: RefCell<Option<Fetched<T>>>,
    in_flight: RefCell<Option<Event<()>>>,
    last_start_ms: Cell<u64>,
    /// How many were begun.
    fetches: Cell<u64>,
    /// Whether the last fetch brought nothing.
    failed: Cell<bool>,
    not_before_ms: Cell<u64>,
    /// Streams that wait for the throttle's interval to end.
    waiting: Cell<usize>,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone + 'static> Shared<T> {
    /// A value not fetched yet; `name` is for the log.
    pub fn new(runtime: &Rc<Runtime>, name: &'static str, fetch: Fetch<T>) -> Self {
        Self::throttled(runtime, name, KEYS, fetch)
    }

    /// The same, fetched anew as often as `throttle` lets it be.
    pub fn throttled(runtime: &Rc<Runtime>, name: &'static str, throttle: Throttle, fetch: Fetch<T>) -> Self {
        Self(Rc::new(State {
            runtime: runtime.clone(),
            name,
            throttle,
            fetch,
            fetched: RefCell::default(),
            in_flight: RefCell::default(),
            last_start_ms: Cell::new(0),
            fetches: Cell::new(0),
            failed: Cell::new(false),
            not_before_ms: Cell::new(0),
            waiting: Cell::new(0),
        }))
    }

    /// The value if it is valid now; a value that ages is fetched anew behind it.
    pub fn current(&self) -> Option<T> {
        let now = self.0.runtime.host().now_ms();
        let (value, ages) = {
            let fetched = self.0.fetched.borrow();
            let fetched = fetched.as_ref().filter(|fetched| now < fetched.expires_ms)?;
            (fetched.value.clone(), now >= fetched.refresh_ms)
        };
        if ages {
            self.start(now);
        }
        Some(value)
    }

    /// Whether the value is there; a fetch is started where it is not, and nobody waits for it.
    pub fn prefetch(&self) -> bool {
        let is_there = self.current().is_some();
        if !is_there {
            self.start(self.0.runtime.host().now_ms());
        }
        is_there
    }

    /// The value, waiting for a fetch until `deadline` (ms since 1970) where there is none.
    pub async fn value(&self, deadline: u64) -> Result<T, FetchError> {
        if let Some(value) = self.current() {
            return Ok(value);
        }
        let Some(event) = self.start(self.0.runtime.host().now_ms()) else {
            return Err(FetchError::Unavailable);
        };
        match event.wait(&self.0.runtime, deadline).await {
            Some(()) => self.current().ok_or(FetchError::Unavailable),
            None => Err(FetchError::TimedOut),
        }
    }

    /// The value as fetched after now; none where the throttle does not allow a fetch in time. An error where
    /// the last fetch brought nothing: whether there is a newer value is then not known.
    pub async fn newer(&self, deadline: u64) -> Result<Option<T>, FetchError> {
        let known = self.0.fetches.get();
        let mut event = self.0.in_flight.borrow().clone();
        if event.is_none() && self.wait_for_turn(deadline).await {
            // Somebody else may have fetched while this one waited.
            event = match self.0.fetches.get() == known {
                true => self.start(self.0.runtime.host().now_ms()),
                false => self.0.in_flight.borrow().clone(),
            };
        }
        let joined = event.is_some();
        if let Some(event) = event {
            event.wait(&self.0.runtime, deadline).await.ok_or(FetchError::TimedOut)?;
        }
        if self.0.failed.get() {
            return Err(FetchError::Unavailable);
        }
        let is_newer = joined || self.0.fetches.get() != known;
        Ok(if is_newer { self.current() } else { None })
    }

    /// Whether a fetch may begin: at once, or after a wait that ends before `deadline`.
    async fn wait_for_turn(&self, deadline: u64) -> bool {
        let state = &self.0;
        let now = state.runtime.host().now_ms();
        let turn = state.last_start_ms.get() + state.throttle.interval_ms;
        if now >= turn {
            return true;
        }
        if turn >= deadline || state.waiting.get() >= state.throttle.may_wait {
            return false;
        }
        let waiting = Counted::new(&state.waiting);
        state.runtime.sleep(turn).await;
        drop(waiting);
        state.runtime.host().now_ms() >= turn
    }

    /// Drops the value: the service it is for says that it is no good.
    pub fn forget(&self) {
        self.0.fetched.replace(None);
    }

    /// Joins the fetch that is running, or starts one; `None` while cooling down.
    fn start(&self, now: u64) -> Option<Event<()>> {
        if let Some(event) = &*self.0.in_flight.borrow() {
            return Some(event.clone());
        }
        if now < self.0.not_before_ms.get() {
            return None;
        }
        let event = Event::default();
        self.0.in_flight.replace(Some(event.clone()));
        self.0.last_start_ms.set(now);
        self.0.fetches.set(self.0.fetches.get() + 1);
        let shared = self.clone();
        self.0.runtime.spawn(Box::pin(async move { shared.run().await }));
        Some(event)
    }

    async fn run(&self) {
        let state = &self.0;
        match (state.fetch)().await {
            Ok(fetched) => {
                state.failed.set(false);
                state.fetched.replace(Some(fetched));
            }
            Err(_) => {
                state.failed.set(true);
                state.not_before_ms.set(state.runtime.host().now_ms() + COOL_DOWN_MS);
                let mut line = String::from("lockgate filter=");
                line.push_str(state.runtime.filter());
                line.push_str(" could not fetch: ");
                line.push_str(state.name);
                state.runtime.host().log(Level::Warn, &line);
            }
        }
        if let Some(event) = state.in_flight.take() {
            event.settle(&state.runtime, ());
        }
    }
}
