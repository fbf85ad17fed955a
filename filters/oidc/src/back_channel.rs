//! A provider says that somebody signed out (OpenID Connect Back-Channel Logout 1.0).
//!
//! A plugin of its own, because it reads a body. What it learns goes into shared data, where every worker
//! of the process finds it; other instances learn it at their next refresh, or when a lifetime ends.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::fetch::Shared;
use lockgate_common::flow::{Filter, Stream, Verdict};
use lockgate_common::form;
use lockgate_common::host::Level;
use lockgate_common::http::{Refusal, Reply};
use lockgate_common::json::{Json, Kind as JsonKind};
use lockgate_common::jwks::{Algorithm, Keys};
use lockgate_common::jwt::{self, Token, TokenError};
use lockgate_common::rules::{Match, first_fit};
use lockgate_common::runtime::{Runtime, Story};
use lockgate_common::services::Services;

use crate::marks::{self, Kind};
use crate::provider::{self, DEADLINE_MS};
use crate::refuse::{NO_KEYS, NO_STORE};
use crate::visit::{provider_session_fact, subject_fact};

/// The longest life of a session, in seconds: seven days. A revocation is remembered as long.
pub const MAX_SESSION_S: u64 = 7 * 86_400;

/// The largest request, in bytes.
const MAX_BODY_BYTES: usize = 32 * 1024;

/// The event that makes a token a logout token (Back-Channel Logout, 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The filter as configured.
pub struct BackChannel {
    providers: Vec<Speaker>,
    rules: Vec<(Match, ())>,
}

/// A provider as far as its logout tokens go.
struct Speaker {
    issuer: String,
    client_id: String,
    algorithms: Vec<Algorithm>,
    keys: Shared<Rc<Keys>>,
}

impl BackChannel {
    /// Reads the configuration.
    pub fn configure(document: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError> {
        let services = Rc::new(Services::from_document(document)?);
        let mut providers = Vec::new();
        for (path, json) in document.list("providers")? {
            let fields = Fields::new(json, &path, &["name", "issuer", "client_id", "algorithms"])?;
            let issuer = provider::issuer(&fields, &services)?;
            let discovery = provider::discovered(runtime, &services, &issuer, false, &fields.join("issuer"));
            providers.push(Speaker {
                client_id: fields.text("client_id", "the id that the provider gave this application")?,
                algorithms: provider::algorithms(&fields)?,
                keys: provider::keys(runtime, &discovery),
                issuer,
            });
        }
        let rule = |(path, json): (String, _)| {
            let fields = Fields::new(json, &path, &["match"])?;
            Ok((
                Match::from_config(fields.required("match", "what the rule is for")?, &fields.join("match"))?,
                (),
            ))
        };
        let rules = document.list("rules")?.into_iter().map(rule).collect::<Result<_, _>>()?;
        Ok(Rc::new(Self { providers, rules }))
    }

    async fn take(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        first_fit(&self.rules, stream)?;
        let deadline = stream.host().now_ms() + DEADLINE_MS;
        let body = stream.request_body(MAX_BODY_BYTES).await.map_err(|_| TOO_LARGE)?;
        let text = logout_token(&body).ok_or(NO_TOKEN)?;
        let token = Token::parse(text.as_bytes()).map_err(refusal)?;
        let issued =
            |provider: &&Speaker| token.expect_issuer(std::slice::from_ref(&provider.issuer)).is_ok();
        let provider = self.providers.iter().find(issued).ok_or(refusal(TokenError::Issuer))?;
        let now_ms = stream.host().now_ms();
        let logout = Logout::check(provider, &token, now_ms)?;
        token.verify_published(&provider.keys, stream.host(), deadline).await.map_err(refusal)?;

        let (host, now_s) = (stream.host(), now_ms / 1_000);
        // `jti` is remembered for as long as the token could be sent again (2.6, item 8).
        let seen = [provider.issuer.as_str(), "\0", &logout.id].concat();
        if marks::is_marked(host, Kind::UsedLogoutToken, seen.as_bytes(), now_s).is_some() {
            return Err(REPLAYED);
        }
        let fact = match (&logout.session, &logout.subject) {
            (Some(session), _) => provider_session_fact(&provider.issuer, session),
            (None, Some(subject)) => subject_fact(&provider.issuer, subject),
            (None, None) => return Err(NOBODY),
        };
        // First the revocation: if it cannot be stored, the provider's next try must not look like a replay.
        if !marks::mark(host, Kind::Revoked, &fact, now_s + MAX_SESSION_S, now_s)
            || !marks::mark(host, Kind::UsedLogoutToken, seen.as_bytes(), logout.expires_s, now_s)
        {
            return Err(NO_STORE);
        }
        stream.runtime().count(&["signed_out"]);
        report(stream, &provider.issuer, logout.session.is_some());
        let mut reply = Reply::empty(200);
        reply.headers.push(("cache-control", "no-store".to_owned()));
        Ok(Verdict::Reply(reply))
    }
}

impl Filter for BackChannel {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move {
            self.take(&stream).await.unwrap_or_else(|refusal| {
                let mut reply = refusal.reply();
                // No answer is to be kept (2.8).
                reply.headers.push(("cache-control", "no-store".to_owned()));
                Verdict::RefuseWith(refusal, reply)
            })
        })
    }
}

/// What a logout token says.
struct Logout {
    id: String,
    session: Option<String>,
    subject: Option<String>,
    expires_s: u64,
}

impl Logout {
    /// The validation of Back-Channel Logout 1.0, 2.6, but for the signature and the replay.
    fn check(provider: &Speaker, token: &Token, now_ms: u64) -> Result<Self, Refusal> {
        // `logout+jwt` is recommended; some providers send none, or JWT (2.4).
        if token.kind().is_some_and(|kind| {
            !["jwt", "logout+jwt", "application/logout+jwt"]
                .iter()
                .any(|known| kind.eq_ignore_ascii_case(known))
        }) {
            return Err(wrong("logout_token_type"));
        }
        if !provider.algorithms.contains(&token.algorithm()) {
            return Err(refusal(TokenError::Algorithm));
        }
        token.expect_audience(&[provider.client_id.as_str()]).map_err(refusal)?;
        token.expect_times(now_ms).map_err(refusal)?;
        let claims = token.claims();
        if jwt::seconds(claims, "iat").map_err(refusal)?.is_none() || claims.field("nonce").is_some() {
            return Err(wrong("logout_token_claims"));
        }
        let events = claims.unique_field("events").ok().flatten();
        let event = events.and_then(|events| events.unique_field(EVENT).ok().flatten());
        if event.is_none_or(|event| event.kind() != JsonKind::Object) {
            return Err(wrong("logout_token_event"));
        }
        let text = |name: &str| -> Result<Option<String>, Refusal> {
            let claim = claims.unique_field(name).map_err(|_| wrong("logout_token_claims"))?;
            let text =
                |json: Json<'_>| json.str().filter(|text| !text.is_empty()).map(|text| text.into_owned());
            claim.map(|claim| text(claim).ok_or(wrong("logout_token_claims"))).transpose()
        };
        Ok(Self {
            id: text("jti")?.ok_or(wrong("logout_token_claims"))?,
            session: text("sid")?,
            subject: text("sub")?,
            expires_s: token.expires_s().map_err(refusal)? + jwt::LEEWAY_S,
        })
    }
}

/// `logout_token` of a form (2.5), once.
fn logout_token(body: &[u8]) -> Option<String> {
    let mut found = None;
    for pair in form::pairs(body) {
        let (name, value) = pair.ok()?;
        if name == "logout_token" && found.replace(value.into_owned()).is_some() {
            return None;
        }
    }
    found
}

fn report(stream: &Stream, issuer: &str, one_session: bool) {
    let mut line = String::from("lockgate audit event=signed_out_by_provider issuer=");
    line.push_str(issuer);
    line.push_str(if one_session { " sessions=one" } else { " sessions=all" });
    line.push_str(" request_id=");
    line.push_str(&stream.request_id());
    stream.host().log(Level::Info, &line);
}

/// A logout that is not valid is answered 400 (2.8).
fn wrong(reason: &'static str) -> Refusal {
    Refusal { status: 400, reason, sentence: "The logout token is not valid." }
}

fn refusal(error: TokenError) -> Refusal {
    wrong(match error {
        TokenError::Malformed => "logout_token_malformed",
        TokenError::Algorithm => "logout_token_algorithm",
        TokenError::UnknownKey => "logout_token_unknown_key",
        TokenError::Signature => "logout_token_signature",
        TokenError::Expired => "logout_token_expired",
        TokenError::NotYet => "logout_token_not_yet",
        TokenError::Issuer => "logout_token_issuer",
        TokenError::Audience => "logout_token_audience",
        TokenError::Unverifiable => return NO_KEYS,
    })
}

const TOO_LARGE: Refusal =
    Refusal { status: 413, reason: "too_large", sentence: "The body is larger than this address takes." };

const NO_TOKEN: Refusal =
    Refusal { status: 400, reason: "no_logout_token", sentence: "A logout token is needed, once." };

const REPLAYED: Refusal =
    Refusal { status: 400, reason: "logout_token_replayed", sentence: "The logout token was taken already." };

const NOBODY: Refusal = Refusal {
    status: 400,
    reason: "logout_token_of_nobody",
    sentence: "The logout token names neither a session nor a subject.",
};
