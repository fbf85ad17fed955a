//! One stream and the filters it passes, as in Envoy's `FilterManager`: requests walk the chain
//! forwards to the router, responses backwards to the client.

pub(crate) mod callbacks;
pub(crate) mod ends;
pub(crate) mod reply;
pub(crate) mod resume;
pub(crate) mod walk;

use std::collections::BTreeMap;

use crate::clock::Nanos;
use crate::filter_chain::reply::LocalReply;
use crate::headers::Headers;
use crate::vm::Cx;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Towards the upstream.
    Request,
    /// Towards the client.
    Response,
}

/// How far a filter lets a message go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Iteration {
    #[default]
    Continue,
    /// Headers or data stopped; what comes later still reaches this filter.
    StopSingle,
    /// Nothing reaches this filter until it is resumed.
    StopAll,
}

/// Where the bytes are that a data callback is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    #[default]
    None,
    /// The chunk that has just come.
    Chunk,
    /// What filters have held back.
    Buffer,
}

/// One filter's view of one side of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Half {
    pub(crate) iteration: Iteration,
    pub(crate) headers_continued: bool,
    pub(crate) end_stream: bool,
    pub(crate) from_current: bool,
    /// Whether the VM may use the headers and trailers: Envoy's context keeps pointers to them.
    pub(crate) headers_at_hand: bool,
    pub(crate) trailers_at_hand: bool,
    pub(crate) body: Source,
    pub(crate) buffering: bool,
}

/// One filter of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) plugin: usize,
    pub(crate) generation: u64,
    pub(crate) context: u32,
    pub(crate) created: bool,
    pub(crate) end_of_stream: bool,
    pub(crate) logging: bool,
    pub(crate) stream_failed: bool,
    pub(crate) failure_replied: bool,
    pub(crate) request: Half,
    pub(crate) response: Half,
}

/// One side of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    pub(crate) headers: Option<Headers>,
    pub(crate) trailers: Option<Headers>,
    pub(crate) chunk: Vec<u8>,
    pub(crate) buffer: Option<Vec<u8>>,
    pub(crate) over_limit: bool,
    /// Back-pressure instead of an error when the buffer is full.
    pub(crate) streaming: bool,
    pub(crate) observed_end: bool,
    pub(crate) aborted: bool,
    /// A callback of this side runs.
    pub(crate) calling: bool,
}

/// What has left the chain at its end: at the router, or at the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlet {
    pub(crate) headers: Option<Headers>,
    /// Whether the headers were all there was.
    pub(crate) headers_only: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Headers>,
    pub(crate) complete: bool,
    /// What was sent after the end.
    pub(crate) surplus: Vec<u8>,
}

/// One request and its response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) slots: Vec<Slot>,
    pub(crate) request: Path,
    pub(crate) response: Path,
    pub(crate) upstream: Outlet,
    pub(crate) client: Outlet,
    pub(crate) prepared: Option<LocalReply>,
    pub(crate) response_complete: bool,
    pub(crate) reset: bool,
    pub(crate) destroyed: bool,
    pub(crate) filter_state: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) details: String,
    pub(crate) protocol: &'static str,
    pub(crate) source: String,
    pub(crate) started: Nanos,
    pub(crate) idle_at: Nanos,
    pub(crate) received: usize,
    pub(crate) sent: usize,
}

impl Stream {
    pub(crate) fn path(&self, side: Side) -> &Path {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }

    pub(crate) fn path_mut(&mut self, side: Side) -> &mut Path {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// The slot a message meets as the `step`-th.
    pub(crate) fn slot_index(&self, side: Side, step: usize) -> Option<usize> {
        match side {
            Side::Request => (step < self.slots.len()).then_some(step),
            Side::Response => self.slots.len().checked_sub(step.saturating_add(1)),
        }
    }

    /// The opposite of [`Stream::slot_index`].
    pub(crate) fn step_of(&self, side: Side, slot: usize) -> usize {
        match side {
            Side::Request => slot,
            Side::Response => self.slots.len().saturating_sub(slot.saturating_add(1)),
        }
    }

    /// Whether a local reply or the response's end has cut this side off.
    pub(crate) fn stopped(&self, side: Side) -> bool {
        self.path(side).aborted || self.destroyed
    }
}

impl Slot {
    pub(crate) fn half(&self, side: Side) -> &Half {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }

    pub(crate) fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }
}

/// Where a function stands: which filter of which stream, on which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) stream: usize,
    pub(crate) slot: usize,
    pub(crate) side: Side,
}

impl At {
    /// The stream; `None` only for an index that was never given out.
    pub(crate) fn stream<'a>(&self, cx: &'a mut Cx<'_>) -> Option<&'a mut Stream> {
        cx.data_mut().streams.get_mut(self.stream)
    }

    /// The side of the stream.
    pub(crate) fn path<'a>(&self, cx: &'a mut Cx<'_>) -> Option<&'a mut Path> {
        self.stream(cx).map(|stream| stream.path_mut(self.side))
    }

    /// The filter's state.
    pub(crate) fn slot<'a>(&self, cx: &'a mut Cx<'_>) -> Option<&'a mut Slot> {
        let slot = self.slot;
        self.stream(cx)?.slots.get_mut(slot)
    }

    /// The filter's state on this side.
    pub(crate) fn half<'a>(&self, cx: &'a mut Cx<'_>) -> Option<&'a mut Half> {
        let side = self.side;
        self.slot(cx).map(|slot| slot.half_mut(side))
    }
}
