//! Programs: whose bearer token a request came with (RFC 6750).

use std::cell::RefCell;
use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::from_base64url;
use lockgate_common::event::Event;
use lockgate_common::flow::Stream;
use lockgate_common::http::Refusal;
use lockgate_common::json::{Json, Kind};
use lockgate_common::jwt::{MAX_TOKEN_BYTES, Token};
use lockgate_common::runtime::Runtime;
use lockgate_common::services::Services;

use crate::cache::Cache;
use crate::identity::{Identity, reduce};
use crate::issuer::Issuer;
use crate::opaque::{Introspection, Tokeninfo, Verdict};
use crate::provider::Provider;
use crate::refuse::{ISSUER_DOWN, NO_TOKENS, invalid_token};

/// Tokens that are remembered at most, and their bytes, per worker.
const MAX_CACHED: usize = 2_048;
const MAX_CACHED_BYTES: usize = 4 << 20;

/// Tokens that issuers are asked for at once, per worker. Whoever sends tokens of their own making
/// chooses how many; beyond this they are told to come again.
const MAX_ASKED: usize = 64;

/// How long a token that is not good is remembered, in milliseconds.
const REFUSED_MS: u64 = 10_000;

/// Whose tokens are taken.
pub struct Programs {
    issuers: Vec<Issuer>,
    introspection: Option<Rc<Introspection>>,
    google: Option<Rc<Tokeninfo>>,
    /// The claims that conditions and headers look at.
    claims: Rc<Vec<String>>,
    known: Rc<Cache<Known>>,
    asked: Asked,
}

/// Tokens whose issuer is being asked, and who waits for the answer.
type Asked = Rc<RefCell<Vec<(Vec<u8>, Event<Verdict>)>>>;

enum Known {
    Good(Rc<Identity>),
    Refused(&'static str),
}

impl Programs {
    /// Reads `tokens`.
    #[inline(never)]
    pub fn from_config(
        document: &Fields<'_>,
        claims: &[String],
        providers: &[Rc<Provider>],
        runtime: &Rc<Runtime>,
        services: &Rc<Services>,
    ) -> Result<Self, ConfigError> {
        let fields = document.object("tokens", &["jwt", "introspection", "google"])?;
        let jwt = fields.list("jwt")?.into_iter();
        let issuers = jwt.map(|(path, json)| Issuer::from_config(json, &path, providers, runtime, services));
        let introspection = fields.optional("introspection").map(|json| {
            let path = fields.join("introspection");
            Introspection::from_config(&Fields::new(json, &path, Introspection::SETTINGS)?, runtime, services)
        });
        let google = fields.optional("google").map(|json| {
            Tokeninfo::from_config(&Fields::new(json, &fields.join("google"), Tokeninfo::SETTINGS)?, services)
        });
        Ok(Self {
            issuers: issuers.collect::<Result<_, _>>()?,
            introspection: introspection.transpose()?,
            google: google.transpose()?,
            claims: Rc::new(claims.to_vec()),
            known: Rc::new(Cache::new(MAX_CACHED, MAX_CACHED_BYTES)),
            asked: Rc::default(),
        })
    }

    /// Whether any token is taken.
    pub fn are_welcome(&self) -> bool {
        !self.issuers.is_empty() || self.introspection.is_some() || self.google.is_some()
    }

    /// What tokens are checked with is there; asked for where it is not.
    pub fn is_ready(&self) -> bool {
        let missing = self.issuers.iter().filter(|issuer| !issuer.is_ready()).count();
        let introspection = self.introspection.as_ref().is_none_or(|endpoint| endpoint.is_ready());
        introspection && missing == 0
    }

    /// Whose token it is.
    pub async fn check(&self, stream: &Stream, token: &[u8], deadline: u64) -> Result<Rc<Identity>, Refusal> {
        let now_ms = stream.host().now_ms();
        if let Some(known) = self.known.find(token, now_ms) {
            stream.runtime().count(&["cache", "hit"]);
            return match &*known {
                Known::Good(identity) => Ok(identity.clone()),
                Known::Refused(reason) => Err(invalid_token(reason)),
            };
        }
        stream.runtime().count(&["cache", "miss"]);
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid_token("token_malformed"));
        }
        let signed = Token::parse(token);
        if let Ok(signed) = &signed
            && let Some(issuer) = self.issuers.iter().find(|issuer| issuer.issued(signed))
        {
            let (identity, expires_ms) = issuer.check(stream, signed, deadline).await?;
            let identity = reduced(identity, &self.claims);
            self.known.insert(token.to_vec(), Rc::new(Known::Good(identity.clone())), expires_ms);
            return Ok(identity);
        }
        let text =
            std::str::from_utf8(token).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        let Some(text) = text.filter(|text| self.may_ask_for(text)) else {
            return Err(match (self.are_welcome(), signed) {
                (false, _) => NO_TOKENS,
                (true, Ok(_)) => invalid_token("token_issuer"),
                (true, Err(lockgate_common::jwt::TokenError::Algorithm)) => invalid_token("token_algorithm"),
                (true, Err(_)) => invalid_token("token_malformed"),
            });
        };
        let verdict = self.ask(stream, text, deadline).await?;
        match verdict {
            Verdict::Active(identity, _) => Ok(identity),
            Verdict::Inactive(reason) => Err(invalid_token(reason)),
            Verdict::Unavailable => Err(ISSUER_DOWN),
        }
    }

    /// Whether a token may be shown to whoever can read opaque ones. One that is signed names its issuer,
    /// and is shown to nobody else.
    fn may_ask_for(&self, token: &str) -> bool {
        match named_issuer(token) {
            None => self.introspection.is_some() || self.google.is_some(),
            Some(issuer) => self.introspection.as_ref().is_some_and(|other| other.issuer == issuer),
        }
    }

    /// Asks the issuer, once for all streams that came with the token.
    async fn ask(&self, stream: &Stream, token: &str, deadline: u64) -> Result<Verdict, Refusal> {
        let running = {
            let asked = self.asked.borrow();
            asked.iter().find(|(other, _)| other == token.as_bytes()).map(|(_, event)| event.clone())
        };
        let event = match running {
            Some(event) => event,
            None if self.asked.borrow().len() >= MAX_ASKED => return Err(ISSUER_DOWN),
            None => self.start(stream.runtime(), token),
        };
        event.wait(stream.runtime(), deadline).await.ok_or(ISSUER_DOWN)
    }

    fn start(&self, runtime: &Rc<Runtime>, token: &str) -> Event<Verdict> {
        let event = Event::default();
        self.asked.borrow_mut().push((token.as_bytes().to_vec(), event.clone()));
        let (introspection, google) = (self.introspection.clone(), self.google.clone());
        let (known, asked, claims) = (self.known.clone(), self.asked.clone(), self.claims.clone());
        let (asking, settled, token) = (runtime.clone(), event.clone(), token.to_owned());
        runtime.spawn(Box::pin(async move {
            // Google's access tokens say so themselves; where only one of the two is configured, it is asked.
            let verdict = match (&introspection, &google) {
                (None, Some(google)) => google.ask(&asking, &token).await,
                (Some(_), Some(google)) if token.starts_with("ya29.") => google.ask(&asking, &token).await,
                (Some(introspection), _) => introspection.ask(&asking, &token).await,
                (None, None) => Verdict::Unavailable,
            };
            let verdict = match verdict {
                Verdict::Active(identity, until_ms) => {
                    Verdict::Active(reduced(Rc::unwrap_or_clone(identity), &claims), until_ms)
                }
                other => other,
            };
            let now_ms = asking.host().now_ms();
            let (answer, remembered) = match &verdict {
                Verdict::Active(identity, until_ms) => {
                    ("active", Some((Known::Good(identity.clone()), *until_ms)))
                }
                Verdict::Inactive(reason) => {
                    ("inactive", Some((Known::Refused(reason), now_ms + REFUSED_MS)))
                }
                // Nothing is known of the token, so nothing is remembered.
                Verdict::Unavailable => ("unavailable", None),
            };
            if let Some((known_as, until_ms)) = remembered {
                known.insert(token.clone().into_bytes(), Rc::new(known_as), until_ms);
            }
            asking.count(&["asked", answer]);
            asked.borrow_mut().retain(|(other, _)| other != token.as_bytes());
            settled.settle(&asking, verdict);
        }));
        event
    }
}

/// The `iss` of what is a JWT in form, whatever its signature; empty where it has none.
fn named_issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let object = |part: Option<&str>| from_base64url(part?.as_bytes());
    let header = object(parts.next())?;
    Json::parse(&header).ok().filter(|json| json.kind() == Kind::Object)?;
    let claims = object(parts.next()).unwrap_or_default();
    let claims = Json::parse(&claims).ok();
    Some(claims.and_then(|claims| Some(claims.field("iss")?.str()?.into_owned())).unwrap_or_default())
}

/// Keeps of the claims what is looked at: a token may have thousands of bytes of them.
fn reduced(mut identity: Identity, claims: &[String]) -> Rc<Identity> {
    if let Ok(json) = Json::parse(identity.claims.as_bytes()) {
        identity.claims = reduce(json, claims);
    }
    Rc::new(identity)
}
