//! The request's story.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::flow::{Filter, Stream, Verdict};
use lockgate_common::hmac::Key;
use lockgate_common::host::Map;
use lockgate_common::http::{Refusal, Reply};
use lockgate_common::readiness::all_ready;
use lockgate_common::rules::{Match, first_fit};
use lockgate_common::runtime::{Runtime, Story};

use crate::config::{self, Settings};
use crate::kind::{self, Action, Request};
use crate::signature::{SignatureError, Signed, keys};

/// The largest body that is read of a request without a signature, in bytes: only Slack's look at
/// the certificate comes so.
const MAX_UNSIGNED_BYTES: usize = 4_096;

/// The filter as configured.
pub struct SlackSignature {
    rules: Vec<(Match, Settings)>,
}

impl SlackSignature {
    /// Reads the configuration.
    pub fn configure(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError> {
        Ok(Rc::new(Self { rules: config::rules(fields, runtime)? }))
    }

    async fn check(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        let settings = first_fit(&self.rules, stream)?;
        let Some(signed) = Signed::from_headers(stream.headers()).map_err(refusal)? else {
            return answer_ssl_check(stream).await;
        };
        signed.check_time(stream.host().now_ms() / 1_000, settings.tolerance_s).map_err(refusal)?;
        let body = stream.request_body(settings.max_body_bytes).await.map_err(|_| TOO_LARGE)?;
        verify(stream, settings, &signed, &body).await?;
        stream.runtime().count(&["verified"]);

        match kind::sort(stream.text("content-type"), &body) {
            Request::Challenge(challenge) => {
                stream.runtime().count(&["answered"]);
                Ok(Verdict::Reply(Reply::with_body(200, "text/plain", challenge.into_bytes())))
            }
            Request::SslCheck => {
                stream.runtime().count(&["answered"]);
                Ok(Verdict::Reply(Reply::empty(200)))
            }
            Request::Other { kind, team, event_id } => {
                let host = stream.host();
                let action = settings.actions.of(kind);
                if action == Action::Answer {
                    stream.runtime().count(&["answered"]);
                    return Ok(Verdict::Reply(Reply::empty(200)));
                }
                host.set_property("lockgate_kind", kind.as_bytes());
                host.set_property("lockgate_principal", &kind::principal(team.as_deref()));
                if let Some(event_id) = event_id {
                    host.set_property("lockgate_dedup", event_id.as_bytes());
                }
                host.set_property("lockgate_slack_signature", b"passed");
                if action == Action::Pass {
                    stream.runtime().count(&["passed"]);
                    host.set_property("lockgate_disposition", b"pass");
                    // Any header write makes the proxy choose the route anew, by the marks set above. What
                    // goes into the log needs none.
                    host.set_header(Map::Request, "x-lockgate-principal", None);
                }
                Ok(Verdict::Continue)
            }
        }
    }
}

impl Filter for SlackSignature {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move { self.check(&stream).await.into() })
    }

    fn is_ready(&self) -> bool {
        all_ready(self.rules.iter().map(|(_, settings)| settings.signing_secrets.prefetch()))
    }
}

/// By the secret, by the one before for as long as they overlap, or by the one that is there by now: a secret
/// from Secret Manager that does not fit may have been replaced, and is fetched once more.
async fn verify(
    stream: &Stream,
    settings: &Settings,
    signed: &Signed<'_>,
    body: &[u8],
) -> Result<(), Refusal> {
    let deadline = stream.host().now_ms() + settings.deadline_ms;
    let source = &settings.signing_secrets;
    let check = |keys: Option<&[Key]>| signed.verify(body, keys.ok_or(NO_SECRET)?).map_err(refusal);
    let check_newest = |secret| check(settings.keys.of(secret).as_deref().map(Vec::as_slice));
    let secret = source.value(deadline).await.map_err(|_| NO_SECRET)?;
    let Err(error) = check_newest(&secret) else { return Ok(()) };
    if source.previous(settings.overlap_ms).is_some_and(|previous| check(keys(&previous).as_deref()).is_ok()) {
        return Ok(());
    }
    match source.newer(deadline).await {
        Some(newer) if !Rc::ptr_eq(&newer, &secret) => check_newest(&newer),
        _ => Err(error),
    }
}

async fn answer_ssl_check(stream: &Stream) -> Result<Verdict, Refusal> {
    let missing = refusal(SignatureError::Missing);
    let query = stream.text(":path").split_once('?').map_or("", |(_, query)| query);
    let body = stream.request_body(MAX_UNSIGNED_BYTES).await.map_err(|_| missing)?;
    let is_check = match stream.text(":method") {
        "GET" => kind::is_ssl_check(query.as_bytes()),
        "POST" => kind::is_ssl_check(&body),
        _ => false,
    };
    if !is_check {
        return Err(missing);
    }
    stream.runtime().count(&["answered"]);
    Ok(Verdict::Reply(Reply::empty(200)))
}

const TOO_LARGE: Refusal =
    Refusal { status: 413, reason: "too_large", sentence: "The body is larger than this address takes." };

const NO_SECRET: Refusal =
    Refusal { status: 503, reason: "no_secret", sentence: "Signatures cannot be checked right now." };

/// The one mapping from an error to an answer. Nothing that was computed is told.
fn refusal(error: SignatureError) -> Refusal {
    let (reason, sentence) = match error {
        SignatureError::Missing => ("missing_signature", "The request is not signed."),
        SignatureError::Repeated => ("repeated_header", "A signature header stands twice."),
        SignatureError::Timestamp => {
            ("bad_timestamp", "The signature's timestamp is not a number of seconds.")
        }
        SignatureError::Stale => {
            ("stale_timestamp", "The signature's timestamp is too far from the present.")
        }
        SignatureError::Mismatch => ("bad_signature", "The signature does not fit."),
    };
    Refusal { status: 401, reason, sentence }
}
