//! A visitor with a session: the cookie opened, its lifetimes and revocations checked, refreshed where
//! it ages, and the cookie that the browser gets back.

use std::cell::Cell;
use std::rc::Rc;

use lockgate_common::flow::Stream;
use lockgate_common::http::Refusal;
use lockgate_common::json::Json;

use crate::cookies::{self, CookieError};
use crate::door::Door;
use crate::identity::Identity;
use crate::marks::{self, Kind};
use crate::refresh::{self, Refreshed};
use crate::refuse::REPEATED_COOKIE;
use crate::seal::Purpose;
use crate::session::Session;

/// A session cookie that was opened.
pub struct Opened {
    /// What it holds.
    pub session: Session,
    /// Whose it is.
    pub identity: Rc<Identity>,
    /// The revision of the revocations at which it was last found not revoked.
    revision: Cell<Option<u32>>,
}

impl Opened {
    /// A session with whose it is; none if its provider is not configured any more, or its claims make
    /// nobody.
    pub fn new(door: &Door, session: Session) -> Option<Self> {
        let provider =
            door.provider(&session.provider).filter(|provider| provider.issuer == session.issuer)?;
        let claims = Json::parse(session.claims.as_bytes()).ok()?;
        let identity = Identity::from_claims(claims, &session.issuer, &provider.claim_rules, true)?;
        let same = identity.subject == session.subject;
        same.then(|| Self { session, identity: Rc::new(identity), revision: Cell::new(None) })
    }

    /// Whether it was signed out, here or by its provider. One question to the host while nothing new
    /// was revoked.
    fn is_revoked(&self, stream: &Stream, now_s: u64) -> bool {
        let revision = marks::revision(stream.host());
        if self.revision.get() == Some(revision) {
            return false;
        }
        let revoked = revocable(&self.session).iter().any(|fact| {
            let at_s = marks::is_marked(stream.host(), Kind::Revoked, fact, now_s);
            at_s.is_some_and(|at_s| at_s >= self.session.signed_in_s)
        });
        if !revoked {
            self.revision.set(Some(revision));
        }
        revoked
    }
}

/// A session that may pass, and whether its cookie must be written anew.
pub struct Visit {
    /// The session.
    pub opened: Rc<Opened>,
    /// It was refreshed, or seen last so long ago that the idle limit would meet it.
    pub rewrite: bool,
    /// When, in seconds since 1970.
    pub at_s: u64,
}

/// What a revocation may name: this session, the provider's session, everything of its subject.
pub fn revocable(session: &Session) -> Vec<Vec<u8>> {
    let mut facts = vec![session_fact(&session.id), subject_fact(&session.issuer, &session.subject)];
    if let Some(id) = &session.provider_session {
        facts.push(provider_session_fact(&session.issuer, id));
    }
    facts
}

/// One session of ours.
pub fn session_fact(id: &str) -> Vec<u8> {
    ["id\0", id].concat().into_bytes()
}

/// All sessions of a provider's session (`sid`).
pub fn provider_session_fact(issuer: &str, id: &str) -> Vec<u8> {
    ["sid\0", issuer, "\0", id].concat().into_bytes()
}

/// All sessions of a subject.
pub fn subject_fact(issuer: &str, subject: &str) -> Vec<u8> {
    ["sub\0", issuer, "\0", subject].concat().into_bytes()
}

/// The session a request came with, whatever its age; none where there is none, or one that does not
/// open. Two cookies of one name are refused: a check must not depend on which of them is read.
pub async fn open(door: &Door, stream: &Stream, deadline: u64) -> Result<Option<Rc<Opened>>, Refusal> {
    let value = match cookies::session_value(stream.headers(), &door.site.cookie) {
        Ok(Some(value)) => value,
        Ok(None) | Err(CookieError::Broken) => return Ok(None),
        Err(CookieError::Repeated) => return Err(REPEATED_COOKIE),
    };
    let now_ms = stream.host().now_ms();
    let mut keys = door.keyring(deadline).await?;
    if let Some(opened) = door.opened.find(value.as_bytes(), now_ms) {
        stream.runtime().count(&["cache", "hit"]);
        return Ok(Some(opened));
    }
    stream.runtime().count(&["cache", "miss"]);
    let plain = loop {
        match keys.open(Purpose::Session, &door.site.cookie, &value) {
            Ok(plain) => break plain,
            // Its key may have been added since; asked as often as the throttle allows.
            Err(_) => match door.newer_keyring(deadline).await {
                Some(newer) if !Rc::ptr_eq(&newer, &keys) => keys = newer,
                _ => return Ok(None),
            },
        }
    };
    let opened = Session::decode(&plain).and_then(|session| Opened::new(door, session)).map(Rc::new);
    if let Some(opened) = &opened {
        door.opened.insert(value.into_bytes(), opened.clone(), now_ms + CACHED_MS);
    }
    Ok(opened)
}

/// An opened cookie is kept this long, in milliseconds; what it says is checked at each use.
const CACHED_MS: u64 = 600_000;

/// The session that lets a request pass, refreshed where it must be.
pub async fn current(door: &Rc<Door>, stream: &Stream, deadline: u64) -> Result<Option<Visit>, Refusal> {
    let Some(opened) = open(door, stream, deadline).await? else { return Ok(None) };
    let now_s = stream.host().now_ms() / 1_000;
    if !door.is_live(&opened.session, now_s) || opened.is_revoked(stream, now_s) {
        return Ok(None);
    }
    let touch = opened.session.should_touch(now_s, door.idle_s());
    if !opened.session.needs_refresh(now_s) {
        return Ok(Some(Visit { opened, rewrite: touch, at_s: now_s }));
    }
    match refresh::refresh(door, stream, &opened, deadline).await? {
        Refreshed::Newer(newer) if newer.is_revoked(stream, now_s) => Ok(None),
        Refreshed::Newer(newer) => Ok(Some(Visit { opened: newer, rewrite: true, at_s: now_s })),
        Refreshed::StillGood => Ok(Some(Visit { opened, rewrite: touch, at_s: now_s })),
        Refreshed::Over => Ok(None),
    }
}

/// The cookie that the browser gets with the response, as the session is by then: it may have been
/// refreshed or signed out while the upstream worked, and an older cookie must not undo that. Empty where
/// it needs none.
pub async fn cookie(door: &Rc<Door>, stream: &Stream, visit: &Visit) -> Vec<String> {
    if !visit.rewrite {
        return Vec::new();
    }
    // A session that cannot be written anew is still the one that the browser has.
    rewritten(door, stream, visit).await.unwrap_or_default()
}

async fn rewritten(door: &Rc<Door>, stream: &Stream, visit: &Visit) -> Result<Vec<String>, Refusal> {
    let now_ms = stream.host().now_ms();
    let now_s = now_ms / 1_000;
    let keys = door.keyring(now_ms).await?;
    let newest = refresh::newest(door, stream.host(), &keys, &visit.opened.session, now_s);
    // What became of it since is not known for longer.
    let too_late = visit.opened.session.refresh_token.is_some() && now_s >= visit.at_s + refresh::KEPT_S;
    if newest.is_none() && too_late {
        return Ok(Vec::new());
    }
    let opened = newest.as_ref().unwrap_or(&visit.opened);
    if opened.is_revoked(stream, now_s) {
        return Ok(Vec::new());
    }
    let mut session = opened.session.clone();
    session.seen_s = now_s;
    let sealed = door.seal(stream, &keys, &session)?;
    let present = cookies::present(stream.headers(), &door.site.cookie);
    let attributes = door.attributes(&session, now_s);
    Ok(cookies::set(&door.site.cookie, &sealed, attributes, present).unwrap_or_default())
}
