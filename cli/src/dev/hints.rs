//! What a newcomer can paste.

use std::net::SocketAddr;
use std::path::Path;

use super::queue::Queue;

/// `signing_secret` is a shell expression that yields the secret.
pub(super) fn hints(
    address: SocketAddr,
    signing_secret: &str,
    services: SocketAddr,
    queue: &Queue,
) -> String {
    format!(
        r#"
A Slack command, signed as Slack signs; it is answered at once and reaches the upstream a moment later:

  BODY='command=%2Fhello&text=world&user_name=you'; NOW=$(date +%s)
  MAC=$(printf 'v0:%s:%s' "$NOW" "$BODY" | openssl dgst -sha256 -hmac "{signing_secret}" | sed 's/.* //')
  curl -i http://{address}/slack/command -H "X-Slack-Request-Timestamp: $NOW" -H "X-Slack-Signature: v0=$MAC" -d "$BODY"

The same without a signature is refused:

  curl -i http://{address}/slack/command -d 'command=%2Fhello'

Everything else waits for a sign-in:

  curl -i http://{address}/

What could not be delivered:

  GOOGLE_API_BASE=http://{services} METADATA_BASE=http://{services} \
    {tool} replay --subscription {subscription} --list

r and Enter: rebuild and restart. Control-C: end.
"#,
        tool = tool(),
        subscription = queue.dead_letter_subscription,
    )
}

/// This binary, as a shell finds it from anywhere.
fn tool() -> String {
    std::env::current_exe().map_or_else(|_| "lockgate".to_owned(), |path| path.display().to_string())
}

/// A shell expression for the secret: its file, or the variable it was given in.
pub(super) fn secret_expression(file: Option<&Path>) -> String {
    match file {
        Some(path) => format!("$(cat '{}')", path.display()),
        None => "$SLACK_SIGNING_SECRET".to_owned(),
    }
}
