//! Tells a topic of each sign-in, for whoever keeps what this proxy does not: who has been here before.
//!
//! An event is behind the sign-in, never in its way: it is published after the browser was answered, and
//! what cannot be published is counted and logged. The id in it is the person's, not the event's: of all
//! events with one id a consumer acts on the first, and so has one for each new person.

use std::rc::Rc;

use lockgate_common::access_token::AccessTokens;
use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::{push_hex, rfc3339};
use lockgate_common::flow::Stream;
use lockgate_common::host::Level;
use lockgate_common::json::{write_string, write_strings};
use lockgate_common::publish::{PublishError, Publisher, is_topic, message_of};
use lockgate_common::runtime::Runtime;
use lockgate_common::services::Services;
use sha2::{Digest, Sha256};

use crate::visit::Opened;

/// Time for everything that publishing an event takes, in milliseconds.
const DEADLINE_MS: u64 = 5_000;

/// Events that wait to be published at once, in one worker; beyond it the next is given up.
const MAX_WAITING: usize = 100;

/// What kind of event it is, as the audit line says it.
const SIGNED_IN: &str = "signed_in";

/// Where sign-ins are told.
pub struct Events(Publisher);

impl Events {
    /// Reads `event_topic` of the session's settings; none where there is no topic.
    #[inline(never)]
    pub fn from_config(
        fields: &Fields<'_>,
        runtime: &Rc<Runtime>,
        services: &Rc<Services>,
    ) -> Result<Option<Rc<Self>>, ConfigError> {
        let Some(topic) = fields.optional_text("event_topic")? else { return Ok(None) };
        if !is_topic(&topic) {
            return Err(fields.error("event_topic", "projects/P/topics/T"));
        }
        let tokens = AccessTokens::new(runtime, services);
        Ok(Some(Rc::new(Self(Publisher::new(runtime, services, &tokens, &topic)))))
    }

    /// Somebody has signed in. Nobody waits for what becomes of the event.
    pub fn signed_in(self: &Rc<Self>, stream: &Stream, opened: &Opened) {
        let (events, runtime) = (self.clone(), stream.runtime().clone());
        let request_id = stream.request_id();
        let message = message(opened, &request_id);
        stream.runtime().spawn(Box::pin(async move {
            let deadline = runtime.host().now_ms() + DEADLINE_MS;
            // Each task holds it once, and the configuration does.
            let published = match Rc::strong_count(&events) > MAX_WAITING + 1 {
                true => Err(PublishError::Busy),
                false => events.0.publish_alone(message, deadline).await,
            };
            match published {
                Ok(()) => runtime.count(&["event", "published"]),
                Err(error) => {
                    runtime.count(&["event", "failed"]);
                    let parts = [
                        "lockgate filter=oidc event not published reason=",
                        error.reason(),
                        " request_id=",
                        &request_id,
                    ];
                    runtime.host().log(Level::Warn, &parts.concat());
                }
            }
        }));
    }
}

/// The event: who, by whose word, and nothing that opens a door.
fn message(opened: &Opened, request_id: &str) -> Vec<u8> {
    let (session, identity) = (&opened.session, &opened.identity);
    let dedup = dedup(&session.issuer, &session.subject);
    let mut data = Vec::new();
    for (name, text) in [
        ("{\"event\":", SIGNED_IN),
        (",\"dedup\":", &dedup),
        (",\"time\":", &rfc3339(session.signed_in_s * 1_000)),
        (",\"provider\":", &session.provider),
        (",\"issuer\":", &session.issuer),
        (",\"subject\":", &session.subject),
        (",\"email\":", identity.email.as_deref().unwrap_or_default()),
        (",\"request_id\":", request_id),
    ] {
        if !text.is_empty() {
            data.extend_from_slice(name.as_bytes());
            write_string(&mut data, text);
        }
    }
    data.extend_from_slice(b",\"groups\":");
    write_strings(&mut data, &identity.groups);
    data.push(b'}');
    message_of(&data, &[("event", SIGNED_IN), ("dedup", &dedup)])
}

/// The same for one person for ever, and for nobody else: SHA-256 of the issuer, a line feed and the
/// subject, in hexadecimal. Neither has a line feed in it.
fn dedup(issuer: &str, subject: &str) -> String {
    let mut hex = String::new();
    push_hex(&mut hex, &Sha256::digest([issuer, "\n", subject].concat().as_bytes()));
    hex
}
