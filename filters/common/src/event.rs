//! What stories wait for.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;

use crate::runtime::{Owner, Runtime};

/// Something that happens once, for any number of waiters.
pub struct Event<T>(Rc<RefCell<EventState<T>>>);

struct EventState<T> {
    value: Option<T>,
    waiters: Vec<Owner>,
}

impl<T> EventState<T> {
    /// What may never happen keeps nobody who has left, and a task once.
    fn enter(&mut self, waiter: Owner) {
        if self.waiters.len() == self.waiters.capacity() {
            self.waiters.retain(Owner::is_waiting);
        }
        if !waiter.is_among(self.waiters.iter()) {
            self.waiters.push(waiter);
        }
    }
}

impl<T> Clone for Event<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Event<T> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(EventState { value: None, waiters: Vec::new() })))
    }
}

impl<T: Clone> Event<T> {
    /// It happened. Whoever waits is polled in the root.
    pub fn settle(&self, runtime: &Runtime, value: T) {
        let mut state = self.0.borrow_mut();
        if state.value.is_none() {
            state.value = Some(value);
            runtime.ready(state.waiters.drain(..));
        }
    }

    /// Whether nobody but the holder of this one knows of it.
    pub fn is_abandoned(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    /// What happened, if it has.
    pub fn value(&self) -> Option<T> {
        self.0.borrow().value.clone()
    }

    /// Waits until it happened, or until `deadline` (milliseconds since 1970): then `None`.
    pub async fn wait(&self, runtime: &Rc<Runtime>, deadline: u64) -> Option<T> {
        if self.value().is_none() && runtime.is_crowded() {
            return None;
        }
        let _waiting = Waiting::new(runtime);
        std::future::poll_fn(|_| {
            if let Some(value) = self.value() {
                return Poll::Ready(Some(value));
            }
            if runtime.host().now_ms() >= deadline {
                return Poll::Ready(None);
            }
            if let Some(owner) = runtime.polled() {
                self.0.borrow_mut().enter(owner.clone());
                runtime.arm(deadline, owner);
            }
            Poll::Pending
        })
        .await
    }
}

/// Counts a waiter for as long as it waits; a stream that is destroyed drops it.
struct Waiting(Option<Rc<Runtime>>);

impl Waiting {
    fn new(runtime: &Rc<Runtime>) -> Self {
        let stream = matches!(runtime.polled(), Some(Owner::Stream(_)));
        Self(stream.then(|| {
            runtime.count_waiting(true);
            runtime.clone()
        }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(runtime) = &self.0 {
            runtime.count_waiting(false);
        }
    }
}
