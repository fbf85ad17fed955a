//! The request's story.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::{rfc3339, uuid_v7};
use lockgate_common::envelope::{Envelope, MAX_HEAD_BYTES};
use lockgate_common::flow::{Filter, Stream, Verdict};
use lockgate_common::http::{Refusal, is_plain_target, is_restorable_method};
use lockgate_common::publish::{PublishError, message_of};
use lockgate_common::readiness::all_ready;
use lockgate_common::rules::{Match, first_fit};
use lockgate_common::runtime::{Runtime, Story, part};

use crate::config::{self, Settings};
use crate::request;

/// The filter as configured.
pub struct PubsubEnqueue {
    rules: Vec<(Match, Settings)>,
}

impl PubsubEnqueue {
    /// Reads the configuration.
    pub fn configure(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError> {
        Ok(Rc::new(Self { rules: config::rules(fields, runtime)? }))
    }

    async fn enqueue(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        let host = stream.host();
        let property = |name: &str| {
            host.property(&[name])
                .and_then(|value| String::from_utf8(value).ok())
                .filter(|value| !value.is_empty())
        };
        let settings = first_fit(&self.rules, stream)?;
        // A guard whose line was forgotten in the proxy's configuration left no mark.
        if settings.marks.iter().any(|mark| property(mark).as_deref() != Some("passed")) {
            return Err(NOT_GUARDED);
        }
        if property("lockgate_disposition").as_deref() == Some("pass") {
            return Ok(Verdict::Continue);
        }
        if request::is_loop(stream.headers()) {
            return Err(LOOP);
        }
        let (method, target) =
            (stream.text(":method"), request::target(&settings.path, stream.text(":path")));
        if !is_restorable_method(method) || !is_plain_target(&target) {
            return Err(NOT_PLAIN);
        }
        let received_ms = host.now_ms();
        let deadline = received_ms + settings.deadline_ms;
        let body = stream.request_body(settings.max_body_bytes).await.map_err(|_| TOO_LARGE)?;

        let mut random = [0; 10];
        // Sorted by time even without; ids then meet only within a millisecond.
        let _ = host.random(&mut random);
        let envelope = Envelope {
            id: uuid_v7(received_ms, random).into(),
            dedup: request::dedup(property("lockgate_dedup"), stream.headers()),
            received_at: rfc3339(received_ms).into(),
            route: settings.name.as_str().into(),
            method: method.into(),
            path: target,
            headers: request::stored_headers(&settings.headers, stream.headers()),
            principal: property("lockgate_principal").map(Into::into),
            trace: request::trace(stream.headers()),
        };
        let keys = match &settings.log_key {
            None => None,
            Some(source) => {
                let secret = part(source.value(deadline)).await.map_err(|_| NO_KEY)?;
                Some(settings.log_keys.of(&secret).ok_or(NO_KEY)?)
            }
        };
        let data = envelope.encode(&body, keys.as_deref());
        if data.len() > settings.max_body_bytes + MAX_HEAD_BYTES {
            return Err(TOO_LARGE);
        }
        let kind = property("lockgate_kind");
        let message = message_of(&data, &request::attributes(&envelope, kind.as_deref()));
        settings.publisher.publish(message, deadline).await.map_err(refusal)?;
        stream.runtime().count(&["enqueued"]);
        Ok(Verdict::Reply(request::reply(&settings.reply, &envelope.id)))
    }
}

impl Filter for PubsubEnqueue {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move { self.enqueue(&stream).await.into() })
    }

    fn is_ready(&self) -> bool {
        all_ready(self.rules.iter().map(|(_, settings)| settings.is_ready()))
    }
}

const NOT_GUARDED: Refusal =
    Refusal { status: 503, reason: "not_guarded", sentence: "This address is not set up." };

const LOOP: Refusal = Refusal { status: 508, reason: "loop", sentence: "This request has been here before." };

const NOT_PLAIN: Refusal =
    Refusal { status: 400, reason: "bad_target", sentence: "This path or method cannot be stored." };

const TOO_LARGE: Refusal =
    Refusal { status: 413, reason: "too_large", sentence: "The body is larger than this address takes." };

const NO_KEY: Refusal = Refusal {
    status: 503,
    reason: "no_log_key",
    sentence: "The request could not be stored. Please send it again.",
};

/// Always 5xx, never 4xx: the sender did nothing wrong, and one that tells the two apart would not
/// send again.
fn refusal(error: PublishError) -> Refusal {
    let sentence = "The request could not be stored. Please send it again.";
    Refusal { status: 503, reason: error.reason(), sentence }
}
