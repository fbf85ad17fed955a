//! Whether a filter has what it needs: keys, secrets, tokens.

use std::rc::Rc;

use crate::flow::{Filter, Stream, Verdict};
use crate::host::Map;
use crate::http::Refusal;
use crate::runtime::Counted;

/// What a filter that is ready leaves, with its name behind; the route that says so asks for all of them.
const MARK: &str = "lockgate_ready_";

/// Whether all of them are ready. Each is looked at, since looking is what has it fetched.
pub fn all_ready(parts: impl Iterator<Item = bool>) -> bool {
    parts.fold(true, |all, part| all & part)
}

/// How long a probe waits for what it has fetched, in milliseconds: Cloud Run's gives up after a second
/// unless told otherwise (cloud.google.com/run/docs/configuring/healthchecks).
const PATIENCE_MS: u64 = 800;

/// How often it looks, in milliseconds.
const LOOK_MS: u64 = 20;

/// Probes that may wait at once: anybody can send one, and whoever waits takes a place from other requests.
const MAX_PROBES: usize = 8;

/// What becomes of a request that asks whether the proxy is ready.
pub(crate) async fn answer(filter: Rc<dyn Filter>, stream: Stream) -> Verdict {
    let runtime = stream.runtime();
    let deadline = runtime.host().now_ms() + PATIENCE_MS;
    let _waiting = Counted::new(&runtime.probes);
    while !filter.is_ready() {
        let now = runtime.host().now_ms();
        if now >= deadline || runtime.probes.get() > MAX_PROBES {
            return Verdict::Refuse(NOT_READY);
        }
        runtime.sleep(now + LOOK_MS).await;
    }
    let mark = [MARK, stream.runtime().filter()].concat();
    stream.host().set_property(&mark, b"passed");
    // Any header write makes the proxy choose the route anew, by the marks.
    stream.host().set_header(Map::Request, "x-lockgate-ready", None);
    Verdict::Continue
}

const NOT_READY: Refusal =
    Refusal { status: 503, reason: "not_ready", sentence: "Keys or secrets are not there yet." };
