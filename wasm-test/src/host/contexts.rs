//! Contexts: which of them calls are about, which are still there, and what waits for a callback's
//! end.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::clock::Nanos;
use crate::events::Event;
use crate::filter_chain::{Side, reply::LocalReply};
use crate::host::{Host, Status};
use crate::http::Response;
use crate::vm::{Cx, Exports};

/// What a context id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// The root of one plugin.
    Root {
        /// Index of the plugin.
        plugin: usize,
    },
    /// One filter of one stream.
    Stream {
        /// Index of the stream.
        stream: usize,
        /// Position of the filter in the stream's chain.
        slot: usize,
        /// Index of the plugin.
        plugin: usize,
        /// Its root's context id.
        root: u32,
    },
}

/// What a host call asked for that happens once the callback has returned, since the VM must not
/// be entered twice.
#[derive(Debug)]
pub(crate) enum Deferred {
    Continue { stream: usize, slot: usize, side: Side },
    Reset { stream: usize },
    Reply { stream: usize, reply: LocalReply },
    ForgetCallResponse,
}

/// The VM of this worker, and what dies with it.
#[derive(Default)]
pub(crate) struct VmState {
    generation: u64,
    exports: Option<Rc<Exports>>,
    failed: bool,
    current: u32,
    effective: u32,
    /// Set by a local response: whatever the callback returns, iteration stops.
    pub(crate) stop_iteration: bool,
    pub(crate) deferred: VecDeque<Deferred>,
    pub(crate) last_load: Option<Nanos>,
    /// The plugin whose `on_configure` runs.
    pub(crate) configuring: Option<usize>,
    /// The answer that is being delivered, with the root it belongs to.
    pub(crate) call_response: Option<(u32, Response)>,
    pub(crate) next_call: u32,
    pub(crate) metric_ids: BTreeMap<u32, String>,
    contexts: BTreeMap<u32, Context>,
    next_context: u32,
    ticks: BTreeMap<u32, Tick>,
    epoch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Tick {
    period: Duration,
    epoch: u64,
}

/// What a call into the VM puts back when it returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered {
    current: u32,
    effective: u32,
}

impl VmState {
    /// Puts a new VM in the place of the one before.
    pub(crate) fn restart(&mut self, exports: Rc<Exports>) -> u64 {
        let generation = self.generation.saturating_add(1);
        let last_load = self.last_load;
        *self = Self { generation, exports: Some(exports), last_load, ..Self::default() };
        // 0 is the VM's own context.
        self.next_context = 1;
        generation
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn exports(&self) -> Option<Rc<Exports>> {
        self.exports.clone()
    }

    /// Whether the VM of `generation` is dead, by a trap or because another one took its place.
    pub(crate) fn is_failed(&self, generation: u64) -> bool {
        self.failed || generation != self.generation
    }

    /// True the first time.
    pub(crate) fn fail(&mut self) -> bool {
        !std::mem::replace(&mut self.failed, true)
    }

    pub(crate) fn enter(&mut self, context: u32) -> Entered {
        let before = Entered { current: self.current, effective: self.effective };
        self.current = context;
        self.effective = 0;
        before
    }

    pub(crate) fn leave(&mut self, before: Entered) {
        self.current = before.current;
        self.effective = before.effective;
    }

    pub(crate) fn create(&mut self, context: Context) -> u32 {
        let id = self.next_context;
        self.next_context = id.saturating_add(1);
        self.contexts.insert(id, context);
        id
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.contexts.remove(&id);
    }

    pub(crate) fn context(&self, id: u32) -> Option<Context> {
        self.contexts.get(&id).copied()
    }

    /// The context that a host call is about: the effective one while it exists, else the one that
    /// was called.
    pub(crate) fn subject(&self) -> u32 {
        let effective = self.effective != 0 && self.contexts.contains_key(&self.effective);
        if effective { self.effective } else { self.current }
    }

    /// The root of the context that a host call is about.
    pub(crate) fn subject_root(&self) -> u32 {
        let id = self.subject();
        match self.context(id) {
            Some(Context::Stream { root, .. }) => root,
            _ => id,
        }
    }

    /// The stream and filter that a host call is about.
    pub(crate) fn subject_stream(&self) -> Option<(usize, usize)> {
        match self.context(self.subject()) {
            Some(Context::Stream { stream, slot, .. }) => Some((stream, slot)),
            _ => None,
        }
    }

    /// The plugin that a context belongs to.
    pub(crate) fn plugin_of(&self, id: u32) -> Option<usize> {
        match self.context(id)? {
            Context::Root { plugin } | Context::Stream { plugin, .. } => Some(plugin),
        }
    }

    /// The root context of a plugin.
    pub(crate) fn root_of(&self, plugin: usize) -> Option<u32> {
        let wanted = Context::Root { plugin };
        self.contexts.iter().find(|(_, context)| **context == wanted).map(|(id, _)| *id)
    }

    /// Whether a tick that was planned is still wanted, and its period.
    pub(crate) fn tick_period(&self, context: u32, epoch: u64) -> Option<Duration> {
        self.ticks.get(&context).filter(|tick| tick.epoch == epoch).map(|tick| tick.period)
    }
}

/// `proxy_set_effective_context`: a context that is gone is refused, and the one before stays.
pub(crate) fn set_effective_context(cx: &mut Cx<'_>, id: u32) -> Status {
    let vm = &mut cx.data_mut().vm;
    if id != 0 && vm.context(id).is_none() {
        return Status::BadArgument;
    }
    vm.effective = id;
    Status::Ok
}

/// `proxy_set_tick_period_milliseconds`, for the root of the context in force; 0 stops it.
pub(crate) fn set_tick_period(cx: &mut Cx<'_>, milliseconds: u32) -> Status {
    let host = cx.data_mut();
    let root = host.vm.subject_root();
    let period = Duration::from_millis(milliseconds.into());
    host.vm.epoch = host.vm.epoch.saturating_add(1);
    let epoch = host.vm.epoch;
    if period.is_zero() {
        host.vm.ticks.remove(&root);
        return Status::Ok;
    }
    host.vm.ticks.insert(root, Tick { period, epoch });
    plan_tick(host, root, period, epoch);
    Status::Ok
}

/// Plans the next tick of a root.
pub(crate) fn plan_tick(host: &mut Host, context: u32, period: Duration, epoch: u64) {
    let generation = host.vm.generation;
    host.plan(period, Event::Tick { generation, context, epoch });
}

/// `proxy_done`: nothing here waits for it, because a root never ends before its gateway.
pub(crate) fn done() -> Status {
    Status::NotFound
}
