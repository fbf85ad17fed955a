//! Keeping a session alive (RFC 6749, section 6), once for all who share it.
//!
//! A refresh token is often good for one use, and a second use ends the sign-in at the provider. So one
//! stream of the whole process refreshes: it holds a lease in shared data. The others go on with the
//! session while it is good, and wait for the outcome when it is not. The outcome, sealed, is kept for
//! five minutes under the old session's key, for requests that still carry the old cookie.

use std::rc::Rc;

use lockgate_common::encoding::push_decimal;
use lockgate_common::flow::Stream;
use lockgate_common::hmac;
use lockgate_common::host::Host;
use lockgate_common::http::Refusal;
use lockgate_common::runtime::Runtime;

use crate::callback::take_tokens;
use crate::door::Door;
use crate::id_token::{self, Expected, IdTokenError};
use crate::marks::NOT_YET_THERE;
use crate::provider::{DEADLINE_MS, Provider};
use crate::refuse::PROVIDER_DOWN;
use crate::seal::{Keyring, Purpose};
use crate::session::Session;
use crate::token_endpoint::{self, GrantError};
use crate::userinfo;
use crate::visit::Opened;

/// How long an outcome is kept, in seconds: for a browser that did not get the newer cookie, as its
/// connection broke, and comes again with the old one.
pub const KEPT_S: u64 = 300;

/// After a provider's failure the next try waits this long, in seconds.
const COOL_DOWN_S: u64 = 10;

/// The same for a session whose tokens have expired: people wait.
const SHORT_COOL_DOWN_S: u64 = 1;

/// A lease whose holder has said nothing for this long is free, in seconds: its VM died.
const LEASE_S: u64 = 15;

/// How often a stream that waits for another worker's refresh looks, in milliseconds.
const LOOK_MS: u64 = 50;

/// What became of a refresh.
pub enum Refreshed {
    /// A newer session.
    Newer(Rc<Opened>),
    /// No newer one, but this one is good for now.
    StillGood,
    /// The provider ended it.
    Over,
}

/// What is kept of an outcome.
enum Outcome {
    Session(Box<Session>),
    /// The provider did not answer.
    Failed,
    /// The provider refused.
    Refused,
}

/// Refreshes a session, or finds out what other streams' refreshes brought: an old cookie may be several
/// behind.
pub async fn refresh(
    door: &Rc<Door>,
    stream: &Stream,
    opened: &Rc<Opened>,
    deadline: u64,
) -> Result<Refreshed, Refusal> {
    let keys = door.keyring(deadline).await?;
    let mut opened = opened.clone();
    let (mut is_newer, mut renewed) = (false, false);
    loop {
        let key = key(&opened.session);
        let now_ms = stream.host().now_ms();
        let now_s = now_ms / 1_000;
        let expired = opened.session.token_expired(now_s);
        let good = |opened| if is_newer { Refreshed::Newer(opened) } else { Refreshed::StillGood };
        match outcome(stream.host(), &keys, &key, now_s) {
            Some(Outcome::Session(session)) => {
                let Some(newer) = Opened::new(door, *session) else { return Ok(Refreshed::Over) };
                opened = Rc::new(newer);
                is_newer = true;
                // Tokens that age as soon as they come are not asked for again by the same request.
                if renewed || !opened.session.needs_refresh(now_s) {
                    return Ok(Refreshed::Newer(opened));
                }
                continue;
            }
            Some(_) if !expired => return Ok(good(opened)),
            Some(Outcome::Failed) => return Err(PROVIDER_DOWN),
            Some(Outcome::Refused) => return Ok(Refreshed::Over),
            None => {}
        }
        if take_lease(stream.host(), &key, now_s) {
            // Who held the lease until now may have been refreshing this session.
            if outcome(stream.host(), &keys, &key, now_s).is_some() {
                give_lease_back(stream.host(), &key);
                continue;
            }
            let story = renew(door.clone(), keys.clone(), opened.clone(), key.clone());
            // The outcome is in shared data by its end; a client that leaves does not stop it.
            stream.runtime().in_root(story, deadline).await;
            renewed = true;
            let now_s = stream.host().now_ms() / 1_000;
            if outcome(stream.host(), &keys, &key, now_s).is_none() {
                return if expired { Err(PROVIDER_DOWN) } else { Ok(good(opened)) };
            }
        } else if !expired {
            return Ok(good(opened));
        } else if now_ms >= deadline || stream.runtime().is_crowded() {
            return Err(PROVIDER_DOWN);
        } else {
            stream.runtime().sleep((now_ms + LOOK_MS).min(deadline)).await;
        }
    }
}

/// The session that this one became, as far as this process knows.
pub fn newest(
    door: &Door,
    host: &dyn Host,
    keys: &Keyring,
    session: &Session,
    now_s: u64,
) -> Option<Rc<Opened>> {
    session.refresh_token.as_ref()?;
    let mut newest = None;
    let mut at = key(session);
    while let Some(Outcome::Session(newer)) = outcome(host, keys, &at, now_s) {
        at = key(&newer);
        newest = Some(newer);
    }
    newest.and_then(|session| Opened::new(door, *session)).map(Rc::new)
}

/// The root's part: asks the provider, keeps the outcome, gives the lease back.
async fn renew(door: Rc<Door>, keys: Rc<Keyring>, opened: Rc<Opened>, key: String) {
    let runtime = door.runtime.clone();
    let result = match door.provider(&opened.session.provider) {
        Some(provider) => ask(&door, &runtime, &provider, &opened.session).await,
        None => Err(Outcome::Refused),
    };
    let now_s = runtime.host().now_ms() / 1_000;
    let (code, kept_s, plain) = match &result {
        Ok(session) => (b's', KEPT_S, session.encode()),
        Err(Outcome::Failed) if opened.session.token_expired(now_s) => (b'f', SHORT_COOL_DOWN_S, Vec::new()),
        Err(Outcome::Failed) => (b'f', COOL_DOWN_S, Vec::new()),
        Err(_) => (b'r', KEPT_S, Vec::new()),
    };
    runtime.count(&[if result.is_ok() { "refreshed" } else { "refresh_failed" }]);
    if let Some(sealed) = keys.seal(runtime.host(), Purpose::Refreshed, &key, &plain) {
        let mut value = vec![code];
        value.extend_from_slice(&(now_s + kept_s).to_be_bytes());
        value.extend_from_slice(sealed.as_bytes());
        let _ = runtime.host().set_shared(&outcome_name(&key), &value, 0);
    }
    give_lease_back(runtime.host(), &key);
}

async fn ask(
    door: &Rc<Door>,
    runtime: &Rc<Runtime>,
    provider: &Provider,
    session: &Session,
) -> Result<Session, Outcome> {
    let deadline = runtime.host().now_ms() + DEADLINE_MS;
    let refresh_token = session.refresh_token.as_deref().ok_or(Outcome::Refused)?;
    let tokens = token_endpoint::refresh(runtime, provider, refresh_token).await;
    let tokens = tokens.map_err(|error| match error {
        GrantError::InvalidGrant => Outcome::Refused,
        GrantError::Unavailable | GrantError::TooLarge | GrantError::Refused => Outcome::Failed,
    })?;
    let mut newer = session.clone();
    newer.generation = newer.generation.saturating_add(1);
    // A provider need not send an ID token again; where it does, the claims are as of now.
    if let Some(text) = &tokens.id_token {
        let access_token = tokens.access_token.as_deref();
        let expected = Expected { nonce: None, subject: Some(&session.subject), access_token };
        let id_token = id_token::check(runtime, provider, text, &expected, deadline).await;
        let id_token = id_token.map_err(|error| match error {
            IdTokenError::NoKeys => Outcome::Failed,
            IdTokenError::Wrong(_) => Outcome::Refused,
        })?;
        let discovery = provider.discovery.value(deadline).await.map_err(|_| Outcome::Failed)?;
        let claims = id_token.claims();
        let (needed, wanted) = (door.needed(provider), door.wanted(provider));
        let claims = userinfo::complete(runtime, &discovery, claims, access_token, &needed, &wanted).await;
        newer.claims = claims.map_err(|_| Outcome::Failed)?;
    }
    let now_s = runtime.host().now_ms() / 1_000;
    take_tokens(door, provider, &mut newer, tokens, now_s);
    Ok(newer)
}

/// A session as it is between two refreshes.
fn key(session: &Session) -> String {
    let mut key = session.id.clone();
    key.push('.');
    push_decimal(&mut key, session.generation);
    key
}

fn outcome(host: &dyn Host, keys: &Keyring, key: &str, now_s: u64) -> Option<Outcome> {
    let value = host.shared(&outcome_name(key)).0?;
    let (code, rest) = value.split_first()?;
    let (until, sealed) = rest.split_first_chunk::<8>()?;
    if now_s >= u64::from_be_bytes(*until) {
        return None;
    }
    // Another session's outcome in the same place does not open under this key.
    let plain = keys.open(Purpose::Refreshed, key, std::str::from_utf8(sealed).ok()?).ok()?;
    match code {
        b's' => Session::decode(&plain).map(Box::new).map(Outcome::Session),
        b'f' => Some(Outcome::Failed),
        _ => Some(Outcome::Refused),
    }
}

/// Whether this stream is the one to refresh.
fn take_lease(host: &dyn Host, key: &str, now_s: u64) -> bool {
    let name = lease_name(lease_slot(key));
    let (held, version) = host.shared(&name);
    let since = held.as_deref().and_then(|held| Some(u64::from_be_bytes(*held.first_chunk::<8>()?)));
    if since.is_some_and(|since| now_s < since + LEASE_S) {
        return false;
    }
    let expected = if version == 0 { NOT_YET_THERE } else { version };
    host.set_shared(&name, &now_s.to_be_bytes(), expected).is_ok()
}

fn give_lease_back(host: &dyn Host, key: &str) {
    let _ = host.set_shared(&lease_name(lease_slot(key)), b"", 0);
}

fn slot(key: &str) -> u16 {
    let hash = hmac::sign(b"lockgate refresh slot", &[key.as_bytes()]);
    hash.first_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

fn lease_slot(key: &str) -> u8 {
    slot(key) as u8
}

fn lease_name(slot: u8) -> String {
    let mut name = String::from("lockgate.oidc.lease.");
    push_decimal(&mut name, u64::from(slot));
    name
}

/// 1,024 places, so that two outcomes that are kept rarely meet in one; the later then displaces the other.
fn outcome_name(key: &str) -> String {
    let mut name = String::from("lockgate.oidc.refreshed.");
    push_decimal(&mut name, u64::from(slot(key) % 1_024));
    name
}
