//! Commands as Slack sends them, signed.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::contenders::{PUBLIC_HOST, SLACK_SECRET};
use crate::http::request;
use crate::load::Expected;
use crate::tokens::now_s;

/// What Lockgate and the seed's design answer once a command is stored.
pub(crate) const ACKNOWLEDGED: Expected =
    Expected { status: 200, body: Some(b"{\"response_type\":\"in_channel\"}") };

/// A command's form of exactly `bytes` bytes (at least 300): what the user typed makes up the length.
pub(crate) fn form(bytes: usize, number: usize) -> Vec<u8> {
    let mut form = format!(
        "token=legacy-verification-token&team_id=T0001&team_domain=example&channel_id=C2147483705\
         &channel_name=test&user_id=U2147483697&user_name=Steve&command=%2Fweather&api_app_id=A123456\
         &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F1234%2F5678&trigger_id=13345.{number:06}\
         &text="
    );
    while form.len() < bytes {
        form.push(if form.len() % 7 == 0 { '+' } else { 'w' });
    }
    form.into_bytes()
}

/// Signed commands, each another, as of now: they are good for five minutes.
pub(crate) fn commands(bytes: usize, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| command(&form(bytes, number), SLACK_SECRET)).collect()
}

/// Where the queue takes messages.
pub(crate) const PUBLISH_PATH: &str = "/v1/projects/bench/topics/log:publish";

/// The publish of a command with a form of so many bytes.
pub(crate) fn publish_body(bytes: usize) -> Vec<u8> {
    let data = STANDARD.encode(form(bytes, 1));
    format!("{{\"messages\":[{{\"data\":\"{data}\",\"attributes\":{{\"method\":\"POST\"}}}}]}}").into_bytes()
}

/// A command with this form, signed with this secret.
pub(crate) fn command(form: &[u8], secret: &str) -> Vec<u8> {
    command_at(form, secret, now_s())
}

/// The same, signed when it was this many seconds after 1970.
pub(crate) fn command_at(form: &[u8], secret: &str, time: u64) -> Vec<u8> {
    let time = time.to_string();
    let signature = signature(secret, &time, form);
    let headers = [
        ("host", PUBLIC_HOST),
        ("user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)"),
        ("accept-encoding", "gzip,deflate"),
        ("accept", "application/json,*/*"),
        ("x-slack-request-timestamp", time.as_str()),
        ("x-slack-signature", signature.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    request("POST", "/slack/command", &headers, form)
}

fn signature(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut text = "v0=".to_owned();
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        for part in [b"v0:", timestamp.as_bytes(), b":", body] {
            mac.update(part);
        }
        for byte in mac.finalize().into_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_slacks_own_example() {
        // docs.slack.dev/authentication/verifying-requests-from-slack
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
            &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
            &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com\
            %2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
            &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        assert_eq!(
            signature("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", body.as_bytes()),
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        );
    }

    #[test]
    fn a_form_has_the_length_that_was_asked_for() {
        for bytes in [300, 1_000, 20_000] {
            assert_eq!(form(bytes, 17).len(), bytes);
        }
        assert_ne!(form(300, 1), form(300, 2));
    }
}
