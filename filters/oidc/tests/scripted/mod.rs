//! A host that has randomness and shared data, as the proxy keeps it, and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use lockgate_common::host::{Body, Call, Host, HostError, Level, Map, Metric, Phase};
use lockgate_common::http::{Headers, Reply};

/// What another worker does between a read and a write.
type Meanwhile = Box<dyn FnOnce(&Scripted)>;

/// Values and versions by key. As in proxy-wasm-cpp-host, one counter numbers the versions of all keys,
/// version 0 is never compared, and no version is where there is no value.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) no_randomness: Cell<bool>,
    pub(crate) shared: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    pub(crate) before_next_write: RefCell<Option<Meanwhile>>,
    pub(crate) writes_fail: Cell<Option<HostError>>,
    pub(crate) reads: Cell<u32>,
    drawn: Cell<u64>,
    version: Cell<u32>,
}

impl Host for Scripted {
    fn now_ms(&self) -> u64 {
        0
    }
    fn random(&self, bytes: &mut [u8]) -> bool {
        // Distinct, which is all that the tests need.
        self.drawn.set(self.drawn.get() + 1);
        for (to, from) in bytes.iter_mut().zip(self.drawn.get().to_le_bytes()) {
            *to = from;
        }
        !self.no_randomness.get()
    }
    fn shared(&self, key: &str) -> (Option<Vec<u8>>, u32) {
        self.reads.set(self.reads.get() + 1);
        match self.shared.borrow().get(key) {
            Some((value, version)) => (Some(value.clone()), *version),
            None => (None, 0),
        }
    }
    fn set_shared(&self, key: &str, value: &[u8], version: u32) -> Result<(), HostError> {
        let meanwhile = self.before_next_write.take();
        if let Some(meanwhile) = meanwhile {
            meanwhile(self);
        }
        if let Some(error) = self.writes_fail.get() {
            return Err(error);
        }
        let mut shared = self.shared.borrow_mut();
        if version != 0 && shared.get(key).is_some_and(|(_, current)| *current != version) {
            return Err(HostError::Conflict);
        }
        self.version.set(self.version.get() + 1);
        shared.insert(key.to_owned(), (value.to_vec(), self.version.get()));
        Ok(())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn log(&self, _: Level, _: &str) {}
    fn enter(&self, _: u32) -> Result<(), HostError> {
        Err(HostError::BadArgument)
    }
    fn headers(&self, _: Map) -> Headers {
        Headers::default()
    }
    fn set_headers(&self, _: Map, _: &Headers) {}
    fn set_header(&self, _: Map, _: &str, _: Option<&[u8]>) {}
    fn add_header(&self, _: Map, _: &str, _: &[u8]) {}
    fn body(&self, _: Body, _: usize) -> Option<Vec<u8>> {
        None
    }
    fn set_body(&self, _: Body, _: usize, _: &[u8]) {}
    fn resume(&self, _: Phase) {}
    fn reply(&self, _: &Reply) {}
    fn property(&self, _: &[&str]) -> Option<Vec<u8>> {
        None
    }
    fn set_property(&self, _: &str, _: &[u8]) {}
    fn dispatch(&self, _: &Call) -> Result<u32, HostError> {
        Err(HostError::BadArgument)
    }
    fn foreign(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, HostError> {
        Err(HostError::NotFound)
    }
    fn register_queue(&self, _: &str) -> Option<u32> {
        None
    }
    fn enqueue(&self, _: u32) {}
    fn dequeue(&self, _: u32) -> bool {
        false
    }
    fn set_tick(&self, _: u64) {}
    fn define_metric(&self, _: Metric, _: &str) -> Option<u32> {
        None
    }
    fn increment(&self, _: u32) {}
    fn record(&self, _: u32, _: u64) {}
}
