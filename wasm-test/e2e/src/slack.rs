//! Requests as Slack sends them, signed in Rust where many are needed.
//!
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack>. That this agrees with
//! Slack's own library is a test of [`crate::slack_clients`].

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::http1::Request;

/// Now, in seconds since 1970, as Slack stamps a request.
pub fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |now| now.as_secs() as i64)
}

/// The value of `X-Slack-Signature`.
pub fn signature(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    for part in [b"v0:", timestamp.as_bytes(), b":", body] {
        mac.update(part);
    }
    let mut text = "v0=".to_owned();
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Signs a request as of now.
pub fn signed(request: Request, secret: &str) -> Request {
    signed_at(request, secret, &now().to_string())
}

/// Signs a request with this timestamp, which need not be a number.
pub fn signed_at(request: Request, secret: &str, timestamp: &str) -> Request {
    let signature = signature(secret, timestamp, &request.body);
    request.header("x-slack-request-timestamp", timestamp).header("x-slack-signature", signature)
}

/// A slash command, unsigned; `text` is what the user typed after it.
pub fn command(target: &str, text: &str) -> Request {
    let fields = [
        ("token", "legacy-verification-token"),
        ("team_id", "T0001"),
        ("team_domain", "example"),
        ("channel_id", "C2147483705"),
        ("channel_name", "test"),
        ("user_id", "U2147483697"),
        ("user_name", "Steve"),
        ("command", "/weather"),
        ("text", text),
        ("api_app_id", "A123456"),
        ("is_enterprise_install", "false"),
        ("response_url", "https://hooks.slack.com/commands/1234/5678"),
        ("trigger_id", "13345224609.738474920.8088930838d88f008e0"),
    ];
    form(target, &fields)
}

/// An Events API callback, unsigned.
pub fn event(target: &str, event_id: &str, text: &str) -> Request {
    let body = serde_json::json!({
        "token": "legacy-verification-token",
        "team_id": "T0001",
        "api_app_id": "A123456",
        "event": {"type": "app_mention", "user": "U2147483697", "text": text,
                  "ts": "1515449522.000016", "channel": "C2147483705",
                  "event_ts": "1515449522000016"},
        "type": "event_callback",
        "event_id": event_id,
        "event_time": 1_515_449_522_000_016_i64,
        "authorizations": [],
    });
    Request::post(target, "application/json", body.to_string())
}

/// An interactive payload, unsigned: one form field, `payload`, that holds JSON.
pub fn interactive(target: &str, payload: &serde_json::Value) -> Request {
    form(target, &[("payload", &payload.to_string())])
}

/// A `block_actions` payload, with a value to recognise it by.
pub fn block_actions(value: &str) -> serde_json::Value {
    serde_json::json!({
        "type": "block_actions",
        "team": {"id": "T0001", "domain": "example"},
        "user": {"id": "U2147483697", "username": "Steve", "team_id": "T0001"},
        "api_app_id": "A123456",
        "token": "legacy-verification-token",
        "container": {"type": "message", "message_ts": "1515449522.000016"},
        "trigger_id": "13345224609.738474920.8088930838d88f008e0",
        "channel": {"id": "C2147483705", "name": "test"},
        "response_url": "https://hooks.slack.com/actions/1234/5678",
        "actions": [{"type": "button", "action_id": "approve", "block_id": "b1",
                     "value": value, "action_ts": "1515449522.000016"}],
    })
}

/// A form request: the fields in order, encoded as browsers and Slack do.
pub fn form(target: &str, fields: &[(&str, &str)]) -> Request {
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let body = pairs.collect::<Vec<_>>().join("&");
    Request::post(target, "application/x-www-form-urlencoded", body)
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of Slack's documentation.
    #[test]
    fn the_signature_is_the_one_of_slacks_documentation() {
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
    fn a_form_is_encoded_as_a_browser_does() {
        let request = form("/", &[("a b", "ü+&="), ("empty", "")]);
        assert_eq!(request.text(), "a+b=%C3%BC%2B%26%3D&empty=");
    }
}
