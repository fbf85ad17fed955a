//! Backends' cookies, kept here in the browser's place, which holds one cookie of ours instead.
//!
//! They are kept in memory. Sealed into that cookie they would need none; but two answers that are under way
//! at once, each with a cookie of its backend's, would then each bring the browser a whole jar, and the later
//! one would undo the other. Clients and agents meet in this one VM anyway.

use std::cell::RefCell;
use std::rc::Rc;

use lockgate_common::http::{Headers, path_without_query};

use crate::registry::Backend;
use crate::session_cookie::{Id, SessionCookie, pieces};
use crate::set_cookie::{SetCookie, default_path, pair, path_fits, set_cookie};
use crate::wire::Response;

/// How long a session lasts from its beginning, in milliseconds, whether it is used or not: as long as the
/// original's agent has it by default.
const LIFETIME_MS: u64 = 12 * 3_600_000;

/// Most cookies of a session; browsers keep that many of a host at least (RFC 6265, 6.1).
const MAX_COOKIES: usize = 50;

/// Most bytes of a session's cookies.
pub const MAX_SESSION_BYTES: usize = 16 * 1_024;

/// What a session and each of its cookies count beside their texts, in bytes: about what they take.
const OVERHEAD: usize = 128;

/// What may be kept at once. Beyond it the sessions that were not used for longest go, though never the one that
/// is in use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions.
    pub sessions: usize,
    /// Their bytes together.
    pub bytes: usize,
}

/// What taking an answer's cookies led to, for counters and the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// A session began.
    pub began: bool,
    /// Sessions that had to go.
    pub evicted: usize,
    /// Cookies that had to go, of this session.
    pub dropped: usize,
    /// Whether it is the first time that this session dropped some.
    pub first_dropped: bool,
}

/// All sessions.
pub struct Sessions {
    limits: Limits,
    /// The names of all cookies that clients hold for sessions. No backend is told one: it could be good with
    /// another.
    names: Vec<String>,
    /// The one that was not used for longest is the first.
    all: RefCell<Vec<Session>>,
}

struct Session {
    id: Id,
    user: String,
    ends_ms: u64,
    /// In the order in which they were made.
    cookies: Vec<Cookie>,
    has_dropped: bool,
}

struct Cookie {
    /// Which set it, and gets it.
    backend: Rc<Backend>,
    name: Vec<u8>,
    value: Vec<u8>,
    path: Vec<u8>,
    expires_ms: Option<u64>,
    used_ms: u64,
}

/// A request that a session may belong to.
pub struct Visit<'a> {
    sessions: &'a Sessions,
    cookie: Option<&'a SessionCookie>,
    /// The request's backend.
    pub backend: Rc<Backend>,
    user: String,
    /// As the client brought it.
    id: Option<Id>,
    path: &'a str,
}

impl Sessions {
    /// None yet. Clients hold cookies of these names for them.
    pub fn new(limits: Limits, names: Vec<String>) -> Self {
        Self { limits, names, all: RefCell::default() }
    }

    /// The visit of a request for a backend, of a user: whom the guard let in, or the empty text where none
    /// stands. A session is its user's alone; a cookie that got into somebody else's hands is nothing there.
    /// Without `cookie` there are no sessions here.
    pub fn visit<'a>(
        &'a self,
        cookie: Option<&'a SessionCookie>,
        (backend, user): (Rc<Backend>, String),
        headers: &Headers,
        target: &'a str,
    ) -> Visit<'a> {
        let id = cookie.and_then(|cookie| cookie.id(headers));
        Visit { sessions: self, cookie, backend, user, id, path: path_without_query(target) }
    }

    /// Has a session used: the last one to go. False where it is over, or another's.
    fn find(&self, id: Option<Id>, user: &str, now_ms: u64) -> bool {
        let mut all = self.all.borrow_mut();
        all.retain(|session| now_ms < session.ends_ms);
        let Some(at) = all.iter().position(|session| Some(session.id) == id && session.user == user) else {
            return false;
        };
        let session = all.remove(at);
        all.push(session);
        true
    }

    /// Makes room; the last one, which is in use, stays.
    fn evict(&self) -> usize {
        let mut all = self.all.borrow_mut();
        let mut bytes: usize = all.iter().map(Session::bytes).sum();
        let mut gone = 0;
        while all.len() > gone + 1 && (all.len() - gone > self.limits.sessions || bytes > self.limits.bytes) {
            bytes = bytes.saturating_sub(all.get(gone).map_or(0, Session::bytes));
            gone += 1;
        }
        all.drain(..gone);
        gone
    }
}

impl Visit<'_> {
    /// The request's headers as the backend is to have them, none where that is as they are: without cookies of
    /// sessions, with those that this session has of the backend for the path, the longer paths first and then
    /// the older cookies (RFC 6265, 5.4). What else the client holds follows, but for cookies of the same names.
    pub fn request(&self, headers: &Headers, now_ms: u64) -> Option<Headers> {
        if self.sessions.names.is_empty() {
            return None;
        }
        let mut out: Headers = headers.iter().filter(|(name, _)| *name != "cookie").collect();
        let mut mine: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut names: Vec<Vec<u8>> =
            self.sessions.names.iter().map(|name| name.clone().into_bytes()).collect();
        if self.sessions.find(self.id, &self.user, now_ms)
            && let Some(session) = self.sessions.all.borrow_mut().last_mut()
        {
            session.cookies.retain(|cookie| cookie.lives(now_ms));
            let fits = |cookie: &&mut Cookie| {
                Rc::ptr_eq(&cookie.backend, &self.backend) && path_fits(&cookie.path, self.path)
            };
            for cookie in session.cookies.iter_mut().filter(fits) {
                cookie.used_ms = now_ms;
                let length = cookie.path.len();
                let at = mine.iter().position(|(shorter, _)| *shorter < length).unwrap_or(mine.len());
                mine.insert(at, (length, [&cookie.name, b"=".as_slice(), &cookie.value].concat()));
                names.push(cookie.name.clone());
            }
        }
        let mut cookies: Vec<Vec<u8>> = mine.into_iter().map(|(_, cookie)| cookie).collect();
        let others = pieces(headers).filter(|piece| {
            let name = pair(piece).map_or(*piece, |(name, _)| name);
            !piece.is_empty() && !names.iter().any(|other| other == name)
        });
        cookies.extend(others.map(<[u8]>::to_vec));
        if !cookies.is_empty() {
            out.push("cookie", &cookies.join(b"; ".as_slice()));
        }
        Some(out)
    }

    /// Takes the cookies out of an answer and into the session. Where none goes on, one begins, if there is
    /// anything to keep: with an id that `random` makes, never with the one that the client brought.
    pub fn answer(
        &self,
        response: &mut Response,
        now_ms: u64,
        random: impl FnOnce(&mut Id) -> bool,
    ) -> Taken {
        let Some(cookie) = self.cookie else { return Taken::default() };
        let headers = std::mem::take(&mut response.headers);
        response.headers = headers.iter().filter(|(name, _)| *name != "set-cookie").collect();
        let lines = headers.iter().filter(|(name, _)| *name == "set-cookie").map(|(_, value)| value);
        let set: Vec<SetCookie<'_>> = lines.filter_map(|line| set_cookie(line, now_ms)).collect();
        let mut taken = Taken::default();
        if set.is_empty() {
            return taken;
        }
        if !self.sessions.find(self.id, &self.user, now_ms) {
            let mut id = Id::default();
            if !set.iter().any(|cookie| cookie.expires_ms.is_none_or(|end| now_ms < end)) {
                return taken;
            }
            if !random(&mut id) {
                taken.dropped = set.len();
                return taken;
            }
            taken.began = true;
            response.headers.push("set-cookie", cookie.line(id, LIFETIME_MS).as_bytes());
            let (user, ends_ms) = (self.user.clone(), now_ms + LIFETIME_MS);
            let session = Session { id, user, ends_ms, cookies: Vec::new(), has_dropped: false };
            self.sessions.all.borrow_mut().push(session);
        }
        if let Some(session) = self.sessions.all.borrow_mut().last_mut() {
            taken.dropped = set.iter().map(|cookie| session.keep(cookie, self, now_ms)).sum();
            taken.first_dropped = taken.dropped > 0 && !std::mem::replace(&mut session.has_dropped, true);
        }
        taken.evicted = self.sessions.evict();
        taken
    }
}

impl Session {
    fn bytes(&self) -> usize {
        OVERHEAD + self.user.len() + self.cookies.iter().map(Cookie::bytes).sum::<usize>()
    }

    /// Keeps a cookie in the place of the one that it is instead of (RFC 6265, 5.3, step 11), which a cookie whose
    /// time is over only removes. Where there is no room, those that were not used for longest go; it returns how
    /// many.
    fn keep(&mut self, set: &SetCookie<'_>, visit: &Visit<'_>, now_ms: u64) -> usize {
        self.cookies.retain(|cookie| cookie.lives(now_ms));
        let cookie = Cookie {
            backend: visit.backend.clone(),
            name: set.name.to_vec(),
            value: set.value.to_vec(),
            path: set.path.unwrap_or(default_path(visit.path).as_bytes()).to_vec(),
            expires_ms: set.expires_ms,
            used_ms: now_ms,
        };
        if cookie.bytes() > MAX_SESSION_BYTES {
            return 1;
        }
        let same = |other: &Cookie| {
            Rc::ptr_eq(&other.backend, &cookie.backend)
                && other.name == cookie.name
                && other.path == cookie.path
        };
        let mut at = self.cookies.iter().position(same).unwrap_or(self.cookies.len());
        if at < self.cookies.len() {
            self.cookies.remove(at);
        }
        if !cookie.lives(now_ms) {
            return 0;
        }
        let mut dropped = 0;
        while self.is_full_beside(&cookie) {
            let ages = self.cookies.iter().enumerate();
            let Some((oldest, _)) = ages.min_by_key(|(_, cookie)| cookie.used_ms) else { break };
            self.cookies.remove(oldest);
            at -= usize::from(oldest < at);
            dropped += 1;
        }
        self.cookies.insert(at, cookie);
        dropped
    }

    fn is_full_beside(&self, cookie: &Cookie) -> bool {
        let bytes: usize = self.cookies.iter().map(Cookie::bytes).sum();
        self.cookies.len() >= MAX_COOKIES || bytes + cookie.bytes() > MAX_SESSION_BYTES
    }
}

impl Cookie {
    fn bytes(&self) -> usize {
        OVERHEAD + self.name.len() + self.value.len() + self.path.len()
    }

    /// One of a backend that is no more goes to no other, be it of the same id.
    fn lives(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|end| now_ms < end) && !self.backend.is_removed()
    }
}
