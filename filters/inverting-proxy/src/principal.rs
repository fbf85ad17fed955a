//! Whom the guard let in.

use std::borrow::Cow;

use lockgate_common::flow::Stream;
use lockgate_common::json::Json;

/// Who it is: the address, else the subject; as it may stand in a header.
pub(crate) fn name(stream: &Stream) -> Option<String> {
    read(stream, |principal| {
        let text = |name: &str| principal.field(name).and_then(Json::str);
        text("email").or_else(|| text("subject"))
    })
    .filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// The e-mail address. The door names one only where it is verified.
pub(crate) fn address(stream: &Stream) -> Option<String> {
    read(stream, |principal| principal.field("email").and_then(Json::str))
}

/// What tells one user from another; empty where no guard stands. An e-mail address may pass to somebody else.
pub(crate) fn identity(stream: &Stream) -> String {
    read(stream, |principal| {
        let text = |name: &str| principal.field(name).and_then(Json::str).unwrap_or_default();
        // The first two are configured, and have no line break: what is behind the second is the subject.
        Some([&*text("filter"), "\n", &*text("issuer"), "\n", &*text("subject")].concat().into())
    })
    .unwrap_or_default()
}

fn read(stream: &Stream, part: impl Fn(Json<'_>) -> Option<Cow<'_, str>>) -> Option<String> {
    let principal = stream.host().property(&["lockgate_principal"])?;
    part(Json::parse(&principal).ok()?).map(Cow::into_owned)
}
