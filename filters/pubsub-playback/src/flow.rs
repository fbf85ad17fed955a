//! The story of a push, and of the upstream's answer to what it held.

use std::cell::Cell;
use std::rc::Rc;

use lockgate_common::assertion::{self, SignError};
use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::{from_base64, push_decimal};
use lockgate_common::envelope::{Envelope, EnvelopeError, LogKeys};
use lockgate_common::flow::{Filter, Stream, Verdict, loggable};
use lockgate_common::host::Map;
use lockgate_common::http::{Headers, Refusal, Reply};
use lockgate_common::readiness::all_ready;
use lockgate_common::rules::{Match, first_fit};
use lockgate_common::runtime::{Runtime, Story, part};

use crate::config::{self, Settings};
use crate::outcome::Outcome;
use crate::principal::Principal;
use crate::push::Push;
use crate::{dead_letter, restore, sign};

/// The filter as configured.
pub struct PubsubPlayback {
    rules: Vec<(Match, Rc<Settings>)>,
}

impl PubsubPlayback {
    /// Reads the configuration.
    pub fn configure(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError> {
        let rules = config::rules(fields, runtime)?;
        Ok(Rc::new(Self {
            rules: rules.into_iter().map(|(matches, settings)| (matches, Rc::new(settings))).collect(),
        }))
    }

    async fn play_back(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        let settings = first_fit(&self.rules, stream)?;
        let deadline = stream.host().now_ms() + settings.deadline_ms;
        part(settings.tokens.check(stream, deadline)).await?;
        let body = stream.request_body(settings.max_body_bytes).await.map_err(|_| TOO_LARGE)?;

        let Some(push) = Push::parse(&body) else {
            return part(bury(stream, settings, &dead_letter::unreadable(&body), "not_a_push")).await;
        };
        let held = Held::new(&settings.held_bytes, push.data.len()).ok_or(BUSY)?;
        let keys = part(log_keys(settings, deadline)).await?;
        let Some(data) = from_base64(push.data.as_bytes()) else {
            return part(bury(stream, settings, &dead_letter::unreadable(&body), "not_base64")).await;
        };
        let (envelope, body) = match Envelope::decode(&data, keys.as_deref()) {
            Ok(opened) => opened,
            Err(EnvelopeError::Newer) => return Err(NEWER),
            Err(EnvelopeError::UnknownKey) => return Err(UNKNOWN_KEY),
            Err(EnvelopeError::Malformed) => {
                return part(bury(stream, settings, &push, "not_an_envelope")).await;
            }
            Err(EnvelopeError::Unsealed) => {
                return part(bury(stream, settings, &push, "not_sealed")).await;
            }
            Err(EnvelopeError::Forged) => return part(bury(stream, settings, &push, "bad_seal")).await,
        };
        let mut headers = match restore::headers(&envelope, &push, &settings.keep_headers, stream.headers()) {
            Ok(headers) => headers,
            Err(error) => return part(bury(stream, settings, &push, error.reason())).await,
        };
        part(sign_afresh(stream, settings, &envelope, &mut headers, body, deadline)).await?;
        if let (Some(assertions), Some(principal)) = (&settings.assertions, &envelope.principal) {
            let Some(principal) = Principal::parse(principal) else {
                return part(bury(stream, settings, &push, "bad_principal")).await;
            };
            let identity = principal.identity();
            let signed = part(assertions.header(&identity, stream.host(), deadline)).await;
            headers.push(assertion::HEADER, signed.map_err(no_assertion)?.as_bytes());
        }

        let request_id =
            loggable(&String::from_utf8_lossy(headers.first("x-request-id").unwrap_or_default()));
        // The mark first: the header writes behind it make the proxy choose the route anew.
        stream.host().set_property("lockgate_pubsub_playback", b"passed");
        stream.host().set_headers(Map::Request, &headers);
        stream.replace_request_body(body);
        Ok(Verdict::ContinueThen(acknowledge(stream.clone(), settings.clone(), push, held, request_id)))
    }
}

impl Filter for PubsubPlayback {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move { self.play_back(&stream).await.into() })
    }

    fn is_ready(&self) -> bool {
        all_ready(self.rules.iter().map(|(_, settings)| settings.is_ready()))
    }
}

/// The upstream's answer, or the proxy's in its place, → what Pub/Sub is told. The answer's headers
/// and body go nowhere.
fn acknowledge(
    stream: Stream,
    settings: Rc<Settings>,
    push: Push,
    held: Held,
    request_id: String,
) -> Story<()> {
    Box::pin(async move {
        let _held = held;
        let headers = stream.host().headers(Map::Response);
        let status =
            headers.first(":status").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let status: u16 = status.unwrap_or(502);
        // For the access log: what it calls the status is what Pub/Sub is told.
        let mut text = String::new();
        push_decimal(&mut text, u64::from(status));
        stream.host().set_property("lockgate_upstream_status", text.as_bytes());
        stream.discard_response_body();
        let runtime = stream.runtime();
        let told = match settings.statuses.outcome(status) {
            Outcome::Delivered => {
                runtime.count(&["played_back", "delivered"]);
                204
            }
            Outcome::Retry => {
                runtime.count(&["played_back", "retry"]);
                503
            }
            Outcome::Permanent => {
                let deadline = stream.host().now_ms() + settings.deadline_ms;
                let stored = dead_letter::publish(
                    &settings.dead_letters,
                    &stream,
                    &push,
                    "upstream_status",
                    Some(status),
                    &request_id,
                    deadline,
                );
                let stored = stored.await.is_ok();
                runtime.count(&["played_back", if stored { "dead_lettered" } else { "retry" }]);
                if stored { 204 } else { 503 }
            }
        };
        stream.replace_response(told);
    })
}

/// A message that can never be played back → a dead letter, and only then an acknowledgement.
async fn bury(
    stream: &Stream,
    settings: &Settings,
    push: &Push,
    reason: &'static str,
) -> Result<Verdict, Refusal> {
    let deadline = stream.host().now_ms() + settings.deadline_ms;
    let request_id = stream.request_id();
    dead_letter::publish(&settings.dead_letters, stream, push, reason, None, &request_id, deadline)
        .await
        .map_err(|_| NOT_BURIED)?;
    stream.runtime().count(&["played_back", "dead_lettered"]);
    Ok(Verdict::Reply(Reply::empty(204)))
}

/// A message is kept until the upstream has answered, in case it becomes a dead letter. What all of
/// them hold is bounded, as a VM has 1 GiB; Pub/Sub slows down when it is refused.
struct Held(Rc<Cell<usize>>, usize);

const MAX_HELD_BYTES: usize = 256_000_000;

impl Held {
    fn new(total: &Rc<Cell<usize>>, bytes: usize) -> Option<Self> {
        let held = total.get() + bytes;
        (held <= MAX_HELD_BYTES).then(|| {
            total.set(held);
            Self(total.clone(), bytes)
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(self.1));
    }
}

async fn log_keys(settings: &Settings, deadline: u64) -> Result<Option<Rc<LogKeys>>, Refusal> {
    let Some(source) = &settings.log_key else {
        return Ok(None);
    };
    let secret = source.value(deadline).await.map_err(|_| NO_KEY)?;
    settings.log_keys.of(&secret).map(Some).ok_or(NO_KEY)
}

async fn sign_afresh(
    stream: &Stream,
    settings: &Settings,
    envelope: &Envelope<'_>,
    headers: &mut Headers,
    body: &[u8],
    deadline: u64,
) -> Result<(), Refusal> {
    let fits = |rule: &&sign::SigningRule| rule.matches.fits(&envelope.method, "", &envelope.path);
    let Some(rule) = settings.sign.iter().find(fits) else {
        return Ok(());
    };
    let secret = rule.secret.value(deadline).await.map_err(|_| NO_KEY)?;
    let now_s = stream.host().now_ms() / 1_000;
    if sign::sign(headers, rule.scheme, &secret, &envelope.id, body, now_s) { Ok(()) } else { Err(NO_KEY) }
}

const TOO_LARGE: Refusal =
    Refusal { status: 413, reason: "too_large", sentence: "The body is larger than this address takes." };

const BUSY: Refusal =
    Refusal { status: 503, reason: "busy", sentence: "Too much is being played back. Please send it again." };

const NEWER: Refusal =
    Refusal { status: 503, reason: "newer_envelope", sentence: "This message cannot be played back yet." };

const UNKNOWN_KEY: Refusal =
    Refusal { status: 503, reason: "unknown_log_key", sentence: "This message cannot be played back yet." };

const NO_KEY: Refusal =
    Refusal { status: 503, reason: "no_secret", sentence: "This message cannot be played back right now." };

const NO_ASSERTION: Refusal = Refusal {
    status: 503,
    reason: "no_assertion",
    sentence: "This message cannot be played back right now.",
};

const NOT_BURIED: Refusal =
    Refusal { status: 503, reason: "dead_letter_failed", sentence: "This message cannot be kept right now." };

fn no_assertion(error: SignError) -> Refusal {
    match error {
        SignError::NoKeys => NO_KEY,
        SignError::NoFunction | SignError::Refused => NO_ASSERTION,
    }
}
