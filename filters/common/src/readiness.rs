//! Whether a filter has what it needs: keys, secrets, tokens.

use crate::flow::{Filter, Stream, Verdict};
use crate::host::Map;
use crate::http::Refusal;

/// What a filter that is ready leaves, with its name behind; the route that says so asks for all of them.
const MARK: &str = "lockgate_ready_";

/// Whether all of them are ready. Each is looked at, since looking is what has it fetched.
pub fn all_ready(parts: impl Iterator<Item = bool>) -> bool {
    parts.fold(true, |all, part| all & part)
}

/// What becomes of a request that asks whether the proxy is ready.
pub(crate) fn answer(filter: &dyn Filter, stream: &Stream) -> Verdict {
    if !filter.is_ready() {
        return Verdict::Refuse(NOT_READY);
    }
    let mark = [MARK, stream.runtime().filter()].concat();
    stream.host().set_property(&mark, b"passed");
    // Any header write makes the proxy choose the route anew, by the marks.
    stream.host().set_header(Map::Request, "x-lockgate-ready", None);
    Verdict::Continue
}

const NOT_READY: Refusal =
    Refusal { status: 503, reason: "not_ready", sentence: "Keys or secrets are not there yet." };
