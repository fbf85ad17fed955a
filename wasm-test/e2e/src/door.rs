//! A configuration with the sign-in guard, and a stack around it.

use serde_json::{Value, json};

use crate::builder::Builder;
use crate::oidc_provider::{CLIENT_ID, CLIENT_SECRET, OidcProvider};
use crate::stack::Stack;

/// The value of `COOKIE_SECRET`: 32 bytes.
pub const COOKIE_SECRET: &str = "bG9ja2dhdGUtZTJlLWNvb2tpZS1zZWNyZXQtMzItYnk=";
/// Another, to rotate to.
pub const OTHER_COOKIE_SECRET: &str = "YW5vdGhlci1lMmUtY29va2llLXNlY3JldC1vZi0zMi0=";

/// A configuration in which one provider, named `company`, signs people in, everybody it knows may
/// come in, and the queue is left out. `change` may change all of it; what it gets is the file as
/// JSON, which is YAML too.
///
/// Routes, in this order: `/slack` (Slack's signature), `/public` (open), `/admin` (the groups
/// `admins`), and everything else (`oidc`).
pub fn door_config(issuer: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut config = json!({
        "version": 1,
        "listen": "127.0.0.1:${PORT}",
        "admin": "127.0.0.1:${ADMIN_PORT}",
        "public_url": "${PUBLIC_URL}",
        "upstream": {"url": "${UPSTREAM_URL}"},
        "services": {"google_api_base": "${GOOGLE_API_BASE}", "metadata_base": "${METADATA_BASE}"},
        "slack": {"signing_secret": {"env": "SLACK_SIGNING_SECRET"}},
        "sign_in": {
            "cookie_secret": {"env": "COOKIE_SECRET"},
            "session": {"idle": "60m", "lifetime": "240m"},
            "providers": [{
                "name": "company",
                "issuer": issuer,
                "client_id": CLIENT_ID,
                "client_secret": {"env": "OIDC_CLIENT_SECRET"},
                "back_channel_logout": true,
            }],
            "policies": [{"effect": "allow", "anyone": true}],
        },
        "routes": [
            {"name": "slack", "match": {"path_prefix": "/slack"}, "guard": "slack"},
            {"name": "public", "match": {"path_prefix": "/public"}, "guard": "public"},
            {"name": "admin", "match": {"path_prefix": "/admin"}, "guard": "oidc",
             "allow": [{"groups": ["admins"]}]},
            {"name": "rest", "match": {"path_prefix": "/"}, "guard": "oidc"},
        ],
    });
    change(&mut config);
    serde_json::to_string_pretty(&config).expect("JSON")
}

/// Adds the log to a configuration: what comes to `/wal` is enqueued behind the door, in the order of
/// routes before all others, and played back.
pub fn add_log(config: &mut Value) {
    config["log"] = json!({
        "topic": "${PUBSUB_TOPIC}",
        "dead_letter_topic": "${DEAD_LETTER_TOPIC}",
        "key": {"env": "LOG_KEY"},
        "push": {
            "audience": "${PUSH_AUDIENCE}",
            "service_account": "${PUSH_SERVICE_ACCOUNT}",
            "issuer": "${PUSH_ISSUER}",
            "jwks_uri": "${GOOGLE_API_BASE}/oauth2/v3/certs",
        },
    });
    let wal = json!({
        "name": "wal", "match": {"path_prefix": "/wal"}, "guard": "oidc",
        "enqueue": {"strip_prefix": "/wal", "reply": "accepted"},
    });
    let playback = json!({
        "name": "wal-playback", "match": {"path": "/wal-playback", "methods": ["POST"]}, "guard": "push",
    });
    if let Some(routes) = config["routes"].as_array_mut() {
        routes.splice(0..0, [wal, playback]);
    }
}

/// A stack with this configuration and the secrets it names.
pub fn door_stack(config: &str) -> Builder {
    Stack::builder()
        .config(config)
        .variable("COOKIE_SECRET", COOKIE_SECRET)
        .variable("OIDC_CLIENT_SECRET", CLIENT_SECRET)
}

/// Where the browser sees the gateway: the stack's `PUBLIC_URL`.
pub fn public_url(stack: &Stack) -> String {
    format!("http://{}", stack.client().address())
}

/// Starts a stack whose people sign in at this provider, and tells the provider where it is.
///
/// # Panics
/// When a part does not start.
pub async fn start_door(provider: &OidcProvider, change: impl FnOnce(&mut Value)) -> Stack {
    let stack = door_stack(&door_config(provider.issuer(), change)).start().await;
    provider.register_gateway(&public_url(&stack), &[]).await;
    stack
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_yaml_and_as_it_was_changed() {
        let text = door_config("http://127.0.0.1:1", |config| {
            config["sign_in"]["providers"][0]["scopes"] = json!(["openid"]);
        });
        let read: Value = serde_norway::from_str(&text).unwrap();
        assert_eq!(read["sign_in"]["providers"][0]["issuer"], "http://127.0.0.1:1");
        assert_eq!(read["sign_in"]["providers"][0]["scopes"], json!(["openid"]));
        assert_eq!(read["public_url"], "${PUBLIC_URL}");
    }
}
