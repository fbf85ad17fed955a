//! The gateway: one worker of a proxy, a chain of filters in one VM, and time that stands still
//! until the test moves it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmtime::{AsContextMut, Linker, Module, Store};

use crate::answer::Answer;
use crate::builder::{Builder, StartError};
use crate::clock::Nanos;
use crate::events::{self, Event};
use crate::host::{Host, calls, imports};
use crate::http::{Request, Response};
use crate::observed::{HostCalls, Logs, Metrics};
use crate::stream::{self, Stream};
use crate::vm::{self, Cx};
use crate::worker;

pub(crate) type Backend = Rc<RefCell<dyn FnMut(&Request) -> Answer>>;

/// So many events without time passing mean that the filters go round in a circle.
const MAX_EVENTS_AT_ONCE: u32 = 100_000;

/// A running gateway. It is a handle: clones are the same gateway, and backends may use one.
#[derive(Clone)]
pub struct Gateway {
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    store: Store<Host>,
    linker: Linker<Host>,
    module: Module,
    backends: BTreeMap<String, Backend>,
    upstream: Backend,
}

/// A call that waits for the test to answer it ([`Answer::Hold`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    index: usize,
    /// The cluster.
    pub cluster: String,
    /// What was sent.
    pub request: Request,
}

impl Gateway {
    /// Describes a gateway for a module; [`Builder::start`] starts it.
    pub fn builder(wasm: &[u8]) -> Builder {
        Builder::new(wasm)
    }

    pub(crate) fn start(
        wasm: &[u8],
        host: Host,
        backends: BTreeMap<String, Backend>,
        upstream: Backend,
    ) -> Result<Self, StartError> {
        let without_log = |message: String| StartError { message, logs: Logs::default() };
        let module = vm::module(wasm).map_err(without_log)?;
        let engine = module.engine();
        let linker = imports::linker(engine).map_err(|error| without_log(error.to_string()))?;
        let mut store = Store::new(engine, host);
        store.limiter(|host| &mut host.limits);
        vm::check(&mut store, &linker, &module).map_err(without_log)?;
        if let Err(message) = worker::load(&mut store, &linker, &module) {
            let logs = Logs(store.data().log.lines.clone());
            return Err(StartError { message, logs });
        }
        let inner = Inner { store, linker, module, backends, upstream };
        let gateway = Self { inner: Rc::new(RefCell::new(inner)) };
        gateway.settle();
        Ok(gateway)
    }

    /// Sends a request and waits for the response, as a client would: time passes as needed, up to
    /// the stream's own limits. Status 0 means that the stream was reset before any header came.
    pub fn send(&self, request: Request) -> Response {
        let stream = self.open(request);
        stream.wait()
    }

    /// Sends a whole request, and lets happen what happens without time passing.
    pub fn open(&self, request: Request) -> Stream {
        self.begin(|cx| stream::begin_whole(cx, &request))
    }

    /// Sends the headers of a request whose body is to follow ([`Stream::push`]). A body that the
    /// request has already is not sent, only its framing.
    pub fn open_body(&self, request: Request) -> Stream {
        self.begin(|cx| stream::begin(cx, &request, false))
    }

    fn begin(&self, begin: impl FnOnce(&mut Cx<'_>) -> usize) -> Stream {
        self.settle();
        let index = {
            let inner = &mut *self.inner.borrow_mut();
            worker::reload(&mut inner.store, &inner.linker, &inner.module);
            begin(&mut inner.store.as_context_mut())
        };
        self.settle();
        Stream::new(self.clone(), index)
    }

    /// Lets time pass: ticks, timeouts and delayed answers happen when they are due.
    pub fn advance(&self, time: Duration) {
        let limit = self.with(|cx| cx.data().clock.after(time));
        self.run_until(limit);
        self.with(|cx| cx.data_mut().clock.set(limit));
    }

    /// The time inside the gateway.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.with(|cx| cx.data().clock.now()))
    }

    /// The log so far.
    pub fn logs(&self) -> Logs {
        Logs(self.with(|cx| cx.data().log.lines.clone()))
    }

    /// The metrics that the filters have defined.
    pub fn metrics(&self) -> Metrics {
        self.with(|cx| cx.data().metrics.clone())
    }

    /// How often each host function has been called.
    pub fn host_calls(&self) -> HostCalls {
        self.with(|cx| cx.data().host_calls.clone())
    }

    /// Filter state of the request that was sent last, by the name the filter gave it.
    pub fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        let stream = self.with(|cx| cx.data().streams.len().checked_sub(1))?;
        Stream::new(self.clone(), stream).filter_state(name)
    }

    /// Whether a VM has died since the start.
    pub fn trapped(&self) -> bool {
        !self.traps().is_empty()
    }

    /// Why VMs have died since the start.
    pub fn traps(&self) -> Vec<String> {
        self.with(|cx| cx.data().traps.clone())
    }

    /// All calls that were sent to a cluster, answered or not.
    pub fn calls(&self, cluster: &str) -> Vec<Request> {
        self.with(|cx| {
            let calls = cx.data().calls.iter().filter(|call| call.cluster == cluster);
            calls.map(|call| call.request.clone()).collect()
        })
    }

    /// All requests that have reached the upstream as a whole.
    pub fn upstream_requests(&self) -> Vec<Request> {
        self.with(|cx| {
            let host = cx.data();
            let asked = host.asked.iter().filter_map(|stream| host.streams.get(*stream));
            asked.filter_map(stream::upstream_request).collect()
        })
    }

    /// The calls that wait for an answer of the test, oldest first.
    pub fn held(&self) -> Vec<Call> {
        self.with(|cx| {
            let calls = cx.data().calls.iter().enumerate().filter(|(_, call)| call.held);
            let call = |(index, call): (usize, &calls::Callout)| Call {
                index,
                cluster: call.cluster.clone(),
                request: call.request.clone(),
            };
            calls.map(call).collect()
        })
    }

    /// Answers a call that was held. False where it has been answered meanwhile, by its timeout.
    pub fn answer(&self, call: &Call, answer: impl Into<Answer>) -> bool {
        let waits = self.with(|cx| {
            let waits = cx.data().calls.get(call.index).is_some_and(|call| !call.done);
            if waits {
                calls::answered(cx, call.index, answer.into());
            }
            waits
        });
        self.settle();
        waits
    }

    /// A value of the shared data.
    pub fn shared_data(&self, key: &str) -> Option<Vec<u8>> {
        self.with(|cx| cx.data().shared.value(key.as_bytes()).map(|(value, _)| value.clone()))
    }

    /// Sets a value of the shared data, as another worker might.
    pub fn set_shared_data(&self, key: &str, value: impl AsRef<[u8]>) {
        self.with(|cx| cx.data_mut().shared.set(key.as_bytes(), value.as_ref(), 0));
    }

    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        act(&mut self.inner.borrow_mut().store.as_context_mut())
    }

    /// Lets happen all that is due now.
    pub(crate) fn settle(&self) {
        let now = self.with(|cx| cx.data().clock.now());
        self.run_until(now);
    }

    /// Moves on to the next event; false where there is none.
    pub(crate) fn step(&self) -> bool {
        let next = self.with(|cx| cx.data().clock.next_at());
        if let Some(next) = next {
            self.run_until(next);
        }
        next.is_some()
    }

    fn run_until(&self, limit: Nanos) {
        let mut at_once = (0, 0);
        while let Some(event) = self.with(|cx| cx.data_mut().clock.next(limit)) {
            let now = self.with(|cx| cx.data().clock.now());
            at_once = if at_once.0 == now { (now, at_once.1 + 1) } else { (now, 0) };
            if at_once.1 > MAX_EVENTS_AT_ONCE {
                self.with(|cx| cx.data_mut().log.envoy("the filters go round in a circle"));
                return;
            }
            match event {
                Event::CallSent { call } => self.ask_backend(call),
                Event::UpstreamAsked { stream } => self.ask_upstream(stream),
                event => self.with(|cx| events::happen(cx, event)),
            }
        }
    }

    fn ask_backend(&self, index: usize) {
        let call = self.with(|cx| cx.data().calls.get(index).cloned());
        let Some(call) = call else { return };
        let backend = self.inner.borrow().backends.get(&call.cluster).cloned();
        let answer = backend.map_or(Answer::Refuse, |backend| ask(&backend, &call.request));
        self.with(|cx| calls::answered(cx, index, answer));
    }

    fn ask_upstream(&self, index: usize) {
        let request = self.with(|cx| {
            // It has reached the upstream even if the stream has been answered meanwhile.
            let host = cx.data_mut();
            let request = stream::complete_upstream_request(host.streams.get(index)?)?;
            host.asked.push(index);
            Some(request)
        });
        // A request that announced more than it brought is one the upstream still waits for.
        let Some(request) = request else { return };
        let upstream = self.inner.borrow().upstream.clone();
        let answer = ask(&upstream, &request);
        let event = Event::UpstreamAnswered { stream: index, answer };
        self.with(|cx| events::happen(cx, event));
    }
}

/// A backend that is asked while it answers, through a gateway of its own test, refuses.
fn ask(backend: &Backend, request: &Request) -> Answer {
    match backend.try_borrow_mut() {
        Ok(mut backend) => backend(request),
        Err(_) => Answer::Refuse,
    }
}
