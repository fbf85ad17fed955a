//! The token that Pub/Sub signs each push with (cloud.google.com/pubsub/docs/authenticate-push-
//! subscriptions): checked in full before a byte of the body is looked at.

use std::cell::RefCell;
use std::rc::Rc;

use lockgate_common::bearer;
use lockgate_common::fetch::Shared;
use lockgate_common::flow::Stream;
use lockgate_common::http::Refusal;
use lockgate_common::json::Json;
use lockgate_common::jwks::Keys;
use lockgate_common::jwt::{self, Token, TokenError};

/// Verified tokens that are remembered: Google sends the same one for up to an hour.
const MAX_REMEMBERED: usize = 8;

/// What a push token must say.
pub struct PushTokens {
    /// Accepted issuers.
    pub issuers: Vec<String>,
    /// The audience set on the subscription.
    pub audience: String,
    /// The service account set on the subscription.
    pub email: String,
    /// The issuer's keys.
    pub keys: Shared<Rc<Keys>>,
    /// Whole tokens and their `exp`, in seconds since 1970.
    pub remembered: RefCell<Vec<(Vec<u8>, u64)>>,
}

impl PushTokens {
    /// Refuses a stream whose token is not the subscription's, waiting for keys until `deadline`
    /// (ms since 1970).
    pub async fn check(&self, stream: &Stream, deadline: u64) -> Result<(), Refusal> {
        let bytes = bearer::token(stream.headers()).map_err(|_| REPEATED)?.ok_or(NO_TOKEN)?;
        let now_ms = stream.host().now_ms();
        if self.remembers(bytes, now_ms / 1_000) {
            return Ok(());
        }
        let token = Token::parse(bytes).map_err(refusal)?;
        token.expect(&self.issuers, &self.audience, now_ms).map_err(refusal)?;
        self.expect_account(&token)?;
        token.verify_published(&self.keys, stream.host(), deadline).await.map_err(refusal)?;

        let mut remembered = self.remembered.borrow_mut();
        remembered.truncate(MAX_REMEMBERED - 1);
        remembered.insert(0, (bytes.to_vec(), token.expires_s().map_err(refusal)?));
        Ok(())
    }

    fn remembers(&self, token: &[u8], now_s: u64) -> bool {
        let mut remembered = self.remembered.borrow_mut();
        remembered.retain(|(_, expires_s)| *expires_s > now_s);
        remembered.iter().any(|(other, _)| other == token)
    }

    fn expect_account(&self, token: &Token) -> Result<(), Refusal> {
        let claims = token.claims();
        let email = jwt::text(claims, "email").map_err(|_| WRONG_ACCOUNT)?;
        let verified = claims.unique_field("email_verified").ok().flatten().and_then(Json::bool);
        if email == self.email && verified == Some(true) { Ok(()) } else { Err(WRONG_ACCOUNT) }
    }
}

const NO_TOKEN: Refusal = Refusal { status: 401, reason: "no_token", sentence: "A token is needed." };

const REPEATED: Refusal =
    Refusal { status: 401, reason: "repeated_header", sentence: "The authorization header stands twice." };

const WRONG_ACCOUNT: Refusal =
    Refusal { status: 403, reason: "wrong_account", sentence: "This account may not play back." };

const NO_KEYS: Refusal =
    Refusal { status: 503, reason: "no_keys", sentence: "Tokens cannot be checked right now." };

fn refusal(error: TokenError) -> Refusal {
    let reason = match error {
        TokenError::Malformed => "token_malformed",
        TokenError::Algorithm => "token_algorithm",
        TokenError::UnknownKey => "token_unknown_key",
        TokenError::Signature => "token_signature",
        TokenError::Expired => "token_expired",
        TokenError::NotYet => "token_not_yet",
        TokenError::Issuer => "token_issuer",
        TokenError::Audience => "token_audience",
        TokenError::Unverifiable => return NO_KEYS,
    };
    Refusal { status: 401, reason, sentence: "The token is not valid here." }
}
