//! Dead letters: what they are, and sending them round again.

mod letter;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{Environment, Problem, Url};
use crate::google::{self, PubSub};
use letter::{COLUMNS, Letter};

/// Messages of one pull.
const PAGE: usize = 100;

/// Pub/Sub may answer a pull with nothing although there is something; only several in a row say
/// that there is no more.
const EMPTY_PULLS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

/// What to do with which dead letters.
#[derive(Clone, Debug)]
pub struct Options {
    /// The dead-letter topic's pull subscription, `projects/P/subscriptions/S`.
    pub subscription: String,
    /// The topic they go back to; they are only listed when absent.
    pub to: Option<String>,
    /// Only these; all when empty.
    pub ids: Vec<String>,
    /// At most so many.
    pub limit: usize,
}

/// Why a replay ended early. What was not acknowledged is still there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A service's address or a name cannot be used.
    #[error(transparent)]
    Config(#[from] Problem),
    /// Pub/Sub or the metadata server said no.
    #[error(transparent)]
    Google(#[from] google::Error),
    /// The list could not be written.
    #[error("the list cannot be written: {0}")]
    Output(#[from] io::Error),
    /// Ids that no dead letter has.
    #[error("no dead letter has the id {0}; `lockgate replay --list` shows what there is")]
    Unknown(String),
}

/// Lists dead letters or sends them to their topic again. Blocks.
///
/// # Errors
/// The first thing that goes wrong; a dead letter is acknowledged only after its publish succeeded.
pub fn replay(options: &Options, environment: &Environment, out: &mut dyn Write) -> Result<(), Error> {
    check_name("--subscription", &options.subscription, "subscriptions")?;
    if let Some(topic) = &options.to {
        check_name("--to", topic, "topics")?;
    }
    let pubsub = connect(environment)?;
    let mut session = Session { pubsub: &pubsub, options, held: Vec::new() };
    let done = session.work(out);
    // What was only looked at is free again at once, whatever happened.
    let released = session.release();
    let mut missing: BTreeSet<&str> = options.ids.iter().map(String::as_str).collect();
    for id in done? {
        missing.remove(id.as_str());
    }
    released?;
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Unknown(missing.into_iter().collect::<Vec<_>>().join(", ")))
    }
}

struct Session<'a> {
    pubsub: &'a PubSub,
    options: &'a Options,
    /// Deliveries that are not acknowledged.
    held: Vec<String>,
}

impl Session<'_> {
    /// Returns the ids that were met and wanted.
    fn work(&mut self, out: &mut dyn Write) -> Result<BTreeSet<String>, Error> {
        // A letter that fails again comes back while this still runs; it is not sent a third time.
        let mut seen = BTreeSet::new();
        let mut done = BTreeSet::new();
        let mut empty = 0;
        if self.options.to.is_none() {
            writeln!(out, "{COLUMNS}")?;
        }
        while empty < EMPTY_PULLS {
            let mut new = false;
            for letter in self.pull()? {
                if !seen.insert(letter.id.clone()) {
                    continue;
                }
                new = true;
                if !self.options.ids.is_empty() && !self.options.ids.contains(&letter.id) {
                    continue;
                }
                self.handle(&letter, out)?;
                done.insert(letter.id);
                if done.len() == self.options.limit || done.len() == self.options.ids.len() {
                    return Ok(done);
                }
            }
            empty = if new { 0 } else { empty + 1 };
            if !new {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(done)
    }

    fn handle(&mut self, letter: &Letter, out: &mut dyn Write) -> Result<(), Error> {
        if let Some(topic) = &self.options.to {
            self.pubsub.post(&format!("{topic}:publish"), &json!({"messages": [letter.message()]}))?;
            let acknowledge = format!("{}:acknowledge", self.options.subscription);
            self.pubsub.post(&acknowledge, &json!({"ackIds": [letter.ack_id]}))?;
            self.held.retain(|held| *held != letter.ack_id);
        }
        writeln!(out, "{letter}")?;
        Ok(())
    }

    fn pull(&mut self) -> Result<Vec<Letter>, Error> {
        let request = json!({"maxMessages": PAGE, "returnImmediately": true});
        let answer = self.pubsub.post(&format!("{}:pull", self.options.subscription), &request)?;
        let received = answer.get("receivedMessages").and_then(Value::as_array).cloned().unwrap_or_default();
        let letters: Vec<Letter> = received.iter().filter_map(Letter::read).collect();
        self.held.extend(letters.iter().map(|letter| letter.ack_id.clone()));
        Ok(letters)
    }

    fn release(&mut self) -> Result<(), Error> {
        let modify = format!("{}:modifyAckDeadline", self.options.subscription);
        for ack_ids in std::mem::take(&mut self.held).chunks(PAGE) {
            self.pubsub.post(&modify, &json!({"ackIds": ack_ids, "ackDeadlineSeconds": 0}))?;
        }
        Ok(())
    }
}

fn connect(environment: &Environment) -> Result<PubSub, Error> {
    let base = |name: &str, default: &str| {
        let text = environment.get(name).filter(|text| !text.is_empty()).map_or(default, String::as_str);
        let expected =
            "https, or http on loopback or of the metadata server, for example http://127.0.0.1:8085";
        let url = Url::parse(name, text, expected)?;
        if url.is_private_enough() { Ok(url.to_string()) } else { Err(Problem::given(name, url, expected)) }
    };
    let api = base("GOOGLE_API_BASE", "https://pubsub.googleapis.com")?;
    match environment.get("GOOGLE_ACCESS_TOKEN").filter(|token| !token.is_empty()) {
        Some(token) => Ok(PubSub::with_token(&api, token)),
        None => {
            Ok(PubSub::of_this_machine(&api, &base("METADATA_BASE", "http://metadata.google.internal")?)?)
        }
    }
}

fn check_name(argument: &str, name: &str, collection: &str) -> Result<(), Problem> {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~+%".contains(&b))
    };
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", project, kind, id] if *kind == collection && plain(project) && plain(id) => Ok(()),
        _ => Err(Problem::given(
            argument,
            name,
            &format!("a full name, for example projects/my-project/{collection}/lockgate-dead"),
        )),
    }
}
