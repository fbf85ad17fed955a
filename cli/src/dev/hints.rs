//! What a newcomer can paste. Lines that are indented are commands.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use super::queue::Queue;
use super::sign_in::{Provider, USERS};

/// What there is to try.
pub(super) struct Hints<'a> {
    /// The chain.
    pub(super) address: SocketAddr,
    /// A shell expression that yields the secret.
    pub(super) signing_secret: String,
    pub(super) services: SocketAddr,
    pub(super) queue: &'a Queue,
    /// Absent where nobody can sign in.
    pub(super) provider: Option<&'a Provider>,
    /// Whether a token of the local services opens the door.
    pub(super) admits_services: bool,
    /// Whether the configuration is the shipped one; nothing is known of the routes of another.
    pub(super) shipped: bool,
}

impl fmt::Display for Hints<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shipped {
            self.slack(f)?;
            self.door(f)?;
        }
        self.dead_letters(f)?;
        write!(f, "\nr and Enter: rebuild and restart. Control-C: end.\n")
    }
}

impl Hints<'_> {
    fn slack(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, signing_secret, .. } = self;
        write!(
            f,
            r#"
A Slack command, signed as Slack signs; it is answered at once and reaches the upstream a moment later:

  BODY='command=%2Fhello&text=world&user_name=you'; NOW=$(date +%s)
  MAC=$(printf 'v0:%s:%s' "$NOW" "$BODY" | openssl dgst -sha256 -hmac "{signing_secret}" | sed 's/.* //')
  curl -i http://{address}/slack/command -H "X-Slack-Request-Timestamp: $NOW" -H "X-Slack-Signature: v0=$MAC" -d "$BODY"

The same without a signature is refused:

  curl -i http://{address}/slack/command -d 'command=%2Fhello'
"#
        )
    }

    fn door(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, services, .. } = self;
        match self.provider {
            None => {}
            Some(Provider::Theirs) => write!(
                f,
                "\nTo sign in, open http://{address}/ in a browser. \
                 The provider must know http://{address}/_lockgate/callback as a redirect URI.\n"
            )?,
            Some(Provider::Ours { .. }) => {
                let [(alice, _), (bob, _), (mallory, _)] = USERS;
                write!(
                    f,
                    "\nTo sign in, open http://{address}/ in a browser and choose {alice} or {bob}; {mallory} is told no.\n"
                )?;
            }
        }
        if self.provider.is_some() && self.admits_services {
            write!(
                f,
                r#"
A program's request, with a token as a service account has it on Google Cloud; stored, and answered at once:

  TOKEN=$(curl -fsS -H 'Metadata-Flavor: Google' 'http://{services}/computeMetadata/v1/instance/service-accounts/default/identity?audience=http://{address}&format=full')
  curl -i http://{address}/zapier/hello -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"greeting": "hello"}}'
  curl -i http://{address}/wal/some/path -H "Authorization: Bearer $TOKEN" -d 'kept until it is taken'
"#
            )?;
        }
        write!(f, "\nEverything else waits for a sign-in:\n\n  curl -i http://{address}/\n")
    }

    fn dead_letters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { services, queue, .. } = self;
        write!(
            f,
            r#"
What could not be delivered:

  GOOGLE_API_BASE=http://{services} METADATA_BASE=http://{services} \
    {tool} replay --subscription {subscription} --list
"#,
            tool = tool(),
            subscription = queue.dead_letter_subscription,
        )
    }
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
