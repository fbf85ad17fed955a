//! Tells a topic of each sign-in, for whoever keeps what this proxy does not: who has been here before.
//!
//! An event is behind the sign-in, never in its way: it is published after the browser was answered, and
//! what cannot be published is counted and logged. The id of its data is the person's, not the event's: of
//! all events with one id a consumer acts on the first, and has one for each new person.

use std::rc::Rc;

use lockgate_common::access_token::AccessTokens;
use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::{push_hex, rfc3339};
use lockgate_common::flow::Stream;
use lockgate_common::host::Level;
use lockgate_common::json::{write_string, write_strings};
use lockgate_common::publish::{Publisher, is_topic, message_of};
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
pub struct Events {
    runtime: Rc<Runtime>,
    publisher: Publisher,
}

impl Events {
    /// Reads `events`, where they are configured.
    #[inline(never)]
    pub fn from_config(
        document: &Fields<'_>,
        runtime: &Rc<Runtime>,
        services: &Rc<Services>,
    ) -> Result<Option<Rc<Self>>, ConfigError> {
        let Some(json) = document.optional("events") else { return Ok(None) };
        let fields = Fields::new(json, "events", &["topic"])?;
        let topic = fields.text("topic", TOPIC)?;
        if !is_topic(&topic) {
            return Err(fields.error("topic", TOPIC));
        }
        for counter in [PUBLISHED, FAILED] {
            runtime.define_counter(&[counter]);
        }
        let tokens = AccessTokens::new(runtime, services);
        let publisher = Publisher::new(runtime, services, &tokens, &topic);
        Ok(Some(Rc::new(Self { runtime: runtime.clone(), publisher })))
    }

    /// Somebody has signed in. Nobody waits for what becomes of it.
    pub fn signed_in(self: &Rc<Self>, stream: &Stream, opened: &Opened) {
        let request_id = stream.request_id();
        // Each one that waits holds it once.
        if Rc::strong_count(self) > MAX_WAITING {
            return self.give_up("busy", &request_id);
        }
        let message = message(opened, &request_id);
        let events = self.clone();
        self.runtime.spawn(Box::pin(async move {
            let deadline = events.runtime.host().now_ms() + DEADLINE_MS;
            match events.publisher.publish(message, deadline).await {
                Ok(()) => events.runtime.count(&[PUBLISHED]),
                Err(error) => events.give_up(error.reason(), &request_id),
            }
        }));
    }

    fn give_up(&self, reason: &str, request_id: &str) {
        self.runtime.count(&[FAILED]);
        let line = ["lockgate filter=oidc event not published reason=", reason, " request_id=", request_id];
        self.runtime.host().log(Level::Warn, &line.concat());
    }
}

const TOPIC: &str = "projects/P/topics/T";
const PUBLISHED: &str = "event_published";
const FAILED: &str = "event_failed";

/// The event: who, by whose word, and nothing that opens a door.
fn message(opened: &Opened, request_id: &str) -> Vec<u8> {
    let (session, identity) = (&opened.session, &opened.identity);
    let dedup = dedup(&session.issuer, &session.subject);
    let time = rfc3339(session.signed_in_s * 1_000);
    let mut data = Vec::new();
    let texts = [
        ("{\"event\":", SIGNED_IN),
        (",\"dedup\":", &dedup),
        (",\"time\":", &time),
        (",\"provider\":", &session.provider),
        (",\"issuer\":", &session.issuer),
        (",\"subject\":", &session.subject),
        (",\"request_id\":", request_id),
    ];
    for (name, text) in texts {
        data.extend_from_slice(name.as_bytes());
        write_string(&mut data, text);
    }
    if let Some(email) = &identity.email {
        data.extend_from_slice(b",\"email\":");
        write_string(&mut data, email);
    }
    data.extend_from_slice(b",\"groups\":");
    write_strings(&mut data, &identity.groups);
    data.push(b'}');
    message_of(&data, &[("event", SIGNED_IN.to_owned()), ("dedup", dedup)])
}

/// The same for one person for ever, and for nobody else: SHA-256 of the issuer, a line feed, and the
/// subject, in hexadecimal. Neither has a line feed in it.
fn dedup(issuer: &str, subject: &str) -> String {
    let mut hex = String::new();
    push_hex(&mut hex, &Sha256::digest([issuer, "\n", subject].concat().as_bytes()));
    hex
}
