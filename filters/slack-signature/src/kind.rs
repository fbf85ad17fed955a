//! What kind of request Slack sent, and what is done with each.

use std::borrow::Cow;

use lockgate_common::form::{self, Field};
use lockgate_common::json::{Json, write_string};

/// What becomes of a verified request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// On to the log.
    Enqueue,
    /// On to the upstream, whose answer Slack waits for.
    Pass,
    /// An empty 200 from here: acknowledged, and nothing else (a modal closes).
    Answer,
}

/// Slack's kinds of request (docs.slack.dev: Events API, interactivity payloads, slash commands),
/// each with what is done unless configured otherwise: those whose answer carries something a user
/// sees cannot wait in a log.
const KINDS: &[(&str, Action)] = &[
    ("command", Action::Enqueue),
    ("event_callback", Action::Enqueue),
    ("app_rate_limited", Action::Enqueue),
    ("block_actions", Action::Enqueue),
    ("interactive_message", Action::Enqueue),
    ("message_action", Action::Enqueue),
    ("shortcut", Action::Enqueue),
    ("view_submission", Action::Pass),
    ("view_closed", Action::Enqueue),
    ("block_suggestion", Action::Pass),
    ("dialog_submission", Action::Pass),
    ("dialog_cancellation", Action::Enqueue),
    ("dialog_suggestion", Action::Pass),
    ("unknown", Action::Enqueue),
];

/// What is done with each kind.
pub struct Actions(Vec<Action>);

impl Default for Actions {
    fn default() -> Self {
        Self(KINDS.iter().map(|(_, action)| *action).collect())
    }
}

impl Actions {
    /// Configures a kind, or with `default` all of them; false for a name that is no kind.
    pub fn set(&mut self, kind: &str, action: Action) -> bool {
        if kind == "default" {
            self.0.fill(action);
            return true;
        }
        let slot = position(kind).and_then(|index| self.0.get_mut(index));
        slot.map(|slot| *slot = action).is_some()
    }

    /// What is done with a kind.
    pub fn of(&self, kind: &str) -> Action {
        position(kind).and_then(|index| self.0.get(index)).copied().unwrap_or(Action::Enqueue)
    }
}

fn position(kind: &str) -> Option<usize> {
    KINDS.iter().position(|(name, _)| *name == kind)
}

/// A request, sorted.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Slack asks whether this address is the app's; the answer is the challenge.
    Challenge(String),
    /// Slack looks at the certificate; the answer is an empty 200.
    SslCheck,
    /// One of [`KINDS`].
    Other {
        /// Its name.
        kind: &'static str,
        /// The workspace it comes from, where it says so.
        team: Option<String>,
        /// Slack's own id of an event, the same when it is sent again.
        event_id: Option<String>,
    },
}

/// Sorts a verified request.
pub fn sort(content_type: &str, body: &[u8]) -> Request {
    if is_json(content_type) {
        return Json::parse(body).map_or_else(|_| other("unknown"), sort_json);
    }
    // One look at all of it: a command's text may be long.
    let names = ["ssl_check", "payload", "command", "team_id"];
    let mut found: [Option<Field<'_>>; 4] = [None; 4];
    for field in form::fields(body) {
        for (name, found) in names.iter().zip(&mut found) {
            if found.is_none() && field.is(name) {
                *found = Some(field);
            }
        }
    }
    let [ssl_check, payload, command, team] = found;
    if value(ssl_check).is_some_and(|value| value == "1") {
        return Request::SslCheck;
    }
    if let Some(payload) = value(payload) {
        return Json::parse(payload.as_bytes()).map_or_else(|_| other("unknown"), sort_json);
    }
    let kind = if command.is_some() { "command" } else { "unknown" };
    Request::Other { kind, team: value(team).map(Cow::into_owned), event_id: None }
}

fn value(field: Option<Field<'_>>) -> Option<Cow<'_, str>> {
    field.and_then(|field| field.value().ok())
}

/// Whether a form, or a query, is Slack's look at the certificate. It comes unsigned, so nothing
/// else in it is to be believed, and it goes nowhere.
pub fn is_ssl_check(form: &[u8]) -> bool {
    form::first(form, "ssl_check").is_some_and(|value| value == "1")
}

/// Who was verified, as the log keeps it.
pub fn principal(team: Option<&str>) -> Vec<u8> {
    let mut json = br#"{"filter":"slack-signature","issuer":"https://slack.com""#.to_vec();
    if let Some(team) = team {
        json.extend_from_slice(b",\"subject\":");
        write_string(&mut json, team);
    }
    json.push(b'}');
    json
}

fn sort_json(json: Json<'_>) -> Request {
    let text = |pointer: &str| json.pointer(pointer).and_then(Json::str).map(Cow::into_owned);
    let kind = text("/type").unwrap_or_default();
    if kind == "url_verification"
        && let Some(challenge) = text("/challenge")
    {
        return Request::Challenge(challenge);
    }
    let known = KINDS.iter().map(|(name, _)| *name).find(|name| *name == kind && *name != "command");
    Request::Other {
        kind: known.unwrap_or("unknown"),
        team: text("/team_id").or_else(|| text("/team/id")),
        event_id: text("/event_id"),
    }
}

fn other(kind: &'static str) -> Request {
    Request::Other { kind, team: None, event_id: None }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
