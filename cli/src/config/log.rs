//! The log group: the topic, who pushes back from it, and what is done to restored requests.

use super::problem::{Problem, Problems};
use super::raw::{RawLog, RawPush, RawRestored, RawSign};
use super::resolve::Context;
use super::resolved::{Log, Push, Restored, Signature};
use super::routes::header_names;
use super::secret::SecretName;
use super::url::{Url, is_topic};

const GOOGLE: &str = "https://accounts.google.com";

/// Field below `log`, the variable that the shipped file fills it from, an example.
const REQUIRED: [(&str, &str); 4] = [
    ("log.topic", "projects/my-project/topics/lockgate"),
    ("log.dead_letter_topic", "projects/my-project/topics/lockgate-dead"),
    ("log.push.audience", "https://app.example.com/wal-playback"),
    ("log.push.service_account", "lockgate-push@my-project.iam.gserviceaccount.com"),
];

pub(super) fn resolve(raw: Option<RawLog>, context: &Context<'_>, problems: &mut Problems) -> Option<Log> {
    let raw = raw?;
    let given = [&raw.topic, &raw.dead_letter_topic, &raw.push.audience, &raw.push.service_account]
        .map(Option::is_some);
    let key = raw.key.filter(|key| context.has(key));
    if given == [false; 4] && key.is_none() && raw.push.jwks_uri.is_none() {
        return None;
    }
    if given != [true; 4] {
        problems.push(partly_set(given, context));
        return None;
    }
    let topic = problems.keep(topic("log.topic", raw.topic?));
    let dead_letter_topic = problems.keep(self::topic("log.dead_letter_topic", raw.dead_letter_topic?));
    if topic.is_some() && topic == dead_letter_topic {
        problems.push(Problem::new(
            "log.dead_letter_topic",
            "expected another topic than log.topic, or dead letters would be played back",
        ));
    }
    let push = problems.keep(push(raw.push));
    let restored = raw.restored.into_iter().enumerate();
    let restored = restored
        .filter_map(|(index, restored)| problems.keep(self::restored(index, restored, context)))
        .collect();
    let keep_headers =
        raw.keep_headers.and_then(|names| problems.keep(header_names("log.keep_headers", names)));
    Some(Log {
        topic: topic?,
        dead_letter_topic: dead_letter_topic?,
        key,
        push: push?,
        restored,
        retry_statuses: raw.retry_statuses.map(|set| set.into_iter().map(|status| status.0).collect()),
        permanent_statuses: raw
            .permanent_statuses
            .map(|set| set.into_iter().map(|status| status.0).collect()),
        keep_headers,
    })
}

fn partly_set(given: [bool; 4], context: &Context<'_>) -> Problem {
    let missing: Vec<String> = REQUIRED
        .iter()
        .zip(given)
        .filter(|(_, given)| !given)
        .map(|((field, example), _)| match context.variables.unset.get(*field) {
            Some(name) => format!("{name} (for example {example})"),
            None => format!("{field} (for example {example})"),
        })
        .collect();
    Problem::new(
        "log",
        format!("is partly set; missing: {}. Set all of it, or nothing of it", missing.join(", ")),
    )
}

/// A topic's full name.
pub(super) fn topic(field: &str, name: String) -> Result<String, Problem> {
    let expected = "a topic's full name, for example projects/my-project/topics/lockgate";
    if is_topic(&name) { Ok(name) } else { Err(Problem::given(field, name, expected)) }
}

fn push(raw: RawPush) -> Result<Push, Problem> {
    let audience = raw.audience.unwrap_or_default();
    if !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
        let expected = "the subscription's audience, for example https://app.example.com/wal-playback";
        return Err(Problem::given("log.push.audience", audience, expected));
    }
    let service_account = raw.service_account.unwrap_or_default();
    if service_account.split('@').filter(|part| !part.is_empty()).count() != 2 {
        let expected = "the e-mail address that pushes are signed for, for example push@my-project.iam.gserviceaccount.com";
        return Err(Problem::given("log.push.service_account", service_account, expected));
    }
    let issuer = private_url(
        "log.push.issuer",
        raw.issuer.as_deref().unwrap_or(GOOGLE),
        "https://accounts.google.com",
    )?;
    let jwks_uri = match raw.jwks_uri {
        Some(uri) => private_url("log.push.jwks_uri", &uri, "https://www.googleapis.com/oauth2/v3/certs")?,
        None if issuer.to_string() == GOOGLE => {
            private_url("log.push.jwks_uri", "https://www.googleapis.com/oauth2/v3/certs", "")?
        }
        // The stand-in for Google's services is its own issuer, and has the keys at Google's path.
        None if issuer.is_loopback() => {
            private_url("log.push.jwks_uri", &format!("{issuer}/oauth2/v3/certs"), "")?
        }
        None => {
            let message = "is missing; an issuer other than Google needs the address of its keys, \
                for example https://issuer.example.com/jwks.json";
            return Err(Problem::new("log.push.jwks_uri", message));
        }
    };
    Ok(Push { audience, service_account, issuer, jwks_uri })
}

fn private_url(field: &str, text: &str, example: &str) -> Result<Url, Problem> {
    let expected = format!("an https address, or http on loopback, for example {example}");
    let url = Url::parse(field, text, &expected)?;
    if url.is_private_enough() { Ok(url) } else { Err(Problem::given(field, url, &expected)) }
}

fn restored(index: usize, raw: RawRestored, context: &Context<'_>) -> Result<Restored, Problem> {
    let at = |name: &str| format!("log.restored[{index}].{name}");
    if raw.adapter.is_some() && raw.sign.is_some() {
        let message = "expected either adapter or sign: a signature is made over the body as it was stored";
        return Err(Problem::new(&format!("log.restored[{index}]"), message));
    }
    Ok(Restored {
        matching: raw.matching.resolve(&at("match"))?,
        adapter: raw.adapter.map(|adapter| adapter.resolve(&at("adapter"), context.directory)).transpose()?,
        sign: raw.sign.map(|sign| signature(&at("sign"), sign, context)).transpose()?,
    })
}

fn signature(field: &str, raw: RawSign, context: &Context<'_>) -> Result<Signature, Problem> {
    let set = |secret: SecretName, name: &str| match (context.has(&secret), secret.variable()) {
        (false, Some(variable)) => {
            Err(Problem::new(&format!("{field}.{name}"), format!("{variable} is not set")))
        }
        _ => Ok(secret),
    };
    match (raw.slack, raw.standard_webhooks) {
        (Some(secret), None) => Ok(Signature::Slack(set(secret, "slack")?)),
        (None, Some(secret)) => Ok(Signature::StandardWebhooks(set(secret, "standard_webhooks")?)),
        _ => Err(Problem::new(
            field,
            "expected exactly one of slack and standard_webhooks, for example {slack: {env: SLACK_SIGNING_SECRET}}",
        )),
    }
}
