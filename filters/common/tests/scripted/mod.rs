//! A host that does what a test says, and remembers what it was asked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use lockgate_common::host::{Body, Call, Host, HostError, Level, Map, Metric, Phase};
use lockgate_common::http::{Headers, Reply};

/// What happened to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Resumed,
    Replied(u32),
}

#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) now_ms: Cell<u64>,
    pub(crate) calls: RefCell<Vec<Call>>,
    pub(crate) refuse_calls: Cell<bool>,
    pub(crate) endings: RefCell<Vec<(u32, Ending)>>,
    pub(crate) gone: RefCell<BTreeSet<u32>>,
    pub(crate) entered: Cell<u32>,
    pub(crate) wakes: Cell<u32>,
    pub(crate) tick_ms: Cell<u64>,
    pub(crate) log: RefCell<Vec<String>>,
    pub(crate) counts: RefCell<BTreeMap<String, u64>>,
    pub(crate) request: RefCell<Headers>,
    pub(crate) response: RefCell<Headers>,
    pub(crate) body: RefCell<Vec<u8>>,
    pub(crate) answer: RefCell<(u16, Vec<u8>)>,
    metrics: RefCell<Vec<String>>,
}

impl Scripted {
    pub(crate) fn new() -> Rc<Self> {
        let host = Self::default();
        host.now_ms.set(1_000_000);
        Rc::new(host)
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
    }

    pub(crate) fn endings(&self) -> Vec<(u32, Ending)> {
        self.endings.take()
    }
}

impl Host for Scripted {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }
    fn random(&self, bytes: &mut [u8]) -> bool {
        bytes.fill(7);
        true
    }
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn log(&self, _: Level, line: &str) {
        self.log.borrow_mut().push(line.to_owned());
    }
    fn enter(&self, context: u32) -> Result<(), HostError> {
        if self.gone.borrow().contains(&context) {
            return Err(HostError::BadArgument);
        }
        self.entered.set(context);
        Ok(())
    }
    fn headers(&self, map: Map) -> Headers {
        match map {
            Map::Request => self.request.borrow().clone(),
            Map::Response => self.response.borrow().clone(),
            Map::CallResponse => {
                let status = self.answer.borrow().0.to_string();
                Headers::from_iter([(":status", status)])
            }
        }
    }
    fn set_headers(&self, map: Map, headers: &Headers) {
        match map {
            Map::Response => self.response.replace(headers.clone()),
            _ => self.request.replace(headers.clone()),
        };
    }
    fn set_header(&self, _: Map, _: &str, _: Option<&[u8]>) {}
    fn add_header(&self, _: Map, _: &str, _: &[u8]) {}
    fn body(&self, body: Body, _: usize) -> Option<Vec<u8>> {
        match body {
            Body::CallResponse => Some(self.answer.borrow().1.clone()),
            _ => Some(self.body.borrow().clone()),
        }
    }
    fn set_body(&self, _: Body, _: usize, bytes: &[u8]) {
        self.body.replace(bytes.to_vec());
    }
    fn resume(&self, _: Phase) {
        self.endings.borrow_mut().push((self.entered.get(), Ending::Resumed));
    }
    fn reply(&self, reply: &Reply) {
        self.endings.borrow_mut().push((self.entered.get(), Ending::Replied(reply.status)));
    }
    fn property(&self, _: &[&str]) -> Option<Vec<u8>> {
        None
    }
    fn set_property(&self, _: &str, _: &[u8]) {}
    fn dispatch(&self, call: &Call) -> Result<u32, HostError> {
        if self.refuse_calls.get() {
            return Err(HostError::BadArgument);
        }
        self.calls.borrow_mut().push(call.clone());
        Ok(self.calls.borrow().len() as u32)
    }
    fn foreign(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, HostError> {
        Err(HostError::NotFound)
    }
    fn shared(&self, _: &str) -> (Option<Vec<u8>>, u32) {
        (None, 0)
    }
    fn set_shared(&self, _: &str, _: &[u8], _: u32) -> Result<(), HostError> {
        Ok(())
    }
    fn register_queue(&self, _: &str) -> Option<u32> {
        Some(1)
    }
    fn enqueue(&self, _: u32) {
        self.wakes.set(self.wakes.get() + 1);
    }
    fn dequeue(&self, _: u32) -> bool {
        let wakes = self.wakes.get();
        self.wakes.set(wakes.saturating_sub(1));
        wakes > 0
    }
    fn set_tick(&self, ms: u64) {
        self.tick_ms.set(ms);
    }
    fn define_metric(&self, _: Metric, name: &str) -> Option<u32> {
        self.metrics.borrow_mut().push(name.to_owned());
        Some(self.metrics.borrow().len() as u32 - 1)
    }
    fn increment(&self, metric: u32) {
        let name = self.metrics.borrow()[metric as usize].clone();
        *self.counts.borrow_mut().entry(name).or_default() += 1;
    }
    fn record(&self, _: u32, _: u64) {}
}
