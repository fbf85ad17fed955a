//! A backend's cookies, kept here in the browser's place, which holds one cookie of ours instead.
//!
//! They are kept in memory. Sealed into that cookie they would need none; but two answers that are under way
//! at once, each with a cookie of its backend's, would then each bring the browser a whole jar, and the later
//! one would undo the other. Clients and agents meet in this one VM anyway.

use std::cell::RefCell;

use lockgate_common::encoding::{from_hex, push_decimal, push_hex};
use lockgate_common::http::{Headers, path_without_query};

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

/// The cookie that a client holds instead of a backend's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie {
    /// Its name, as the client sees it.
    pub name: String,
    /// Whether it is sent over https alone.
    pub secure: bool,
}

/// What may be kept at once. Beyond it the sessions that were not used for longest go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions.
    pub sessions: usize,
    /// Their bytes together; at least [`MAX_SESSION_BYTES`] and what names their owner.
    pub bytes: usize,
}

/// Whose a session is: this backend's, with whom the guard knows. A cookie that got into somebody else's
/// hands is nothing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The backend's id.
    pub backend: String,
    /// Who the guard says it is; empty where no guard stands.
    pub user: String,
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
    /// The one that was not used for longest is the first.
    all: RefCell<Vec<Session>>,
}

struct Session {
    id: [u8; 16],
    owner: Owner,
    ends_ms: u64,
    /// In the order in which they were made.
    cookies: Vec<Cookie>,
    has_dropped: bool,
}

struct Cookie {
    name: Vec<u8>,
    value: Vec<u8>,
    path: Vec<u8>,
    expires_ms: Option<u64>,
    used_ms: u64,
}

/// A request that a session may belong to.
pub struct Visit<'a> {
    sessions: &'a Sessions,
    cookie: &'a SessionCookie,
    owner: Owner,
    /// As the client brought it: it may be nobody's.
    id: Option<[u8; 16]>,
    path: &'a str,
}

impl Sessions {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, all: RefCell::default() }
    }

    /// The visit of a request.
    pub fn visit<'a>(
        &'a self,
        cookie: &'a SessionCookie,
        owner: Owner,
        headers: &Headers,
        target: &'a str,
    ) -> Visit<'a> {
        let mut ids = pieces(headers).filter_map(pair).filter(|(name, _)| *name == cookie.name.as_bytes());
        // Of two, none: "the first valid one wins" is how checks are bypassed.
        let id = match (ids.next(), ids.next()) {
            (Some((_, value)), None) => from_hex(value),
            _ => None,
        };
        Visit { sessions: self, cookie, owner, id, path: path_without_query(target) }
    }

    /// Has a session used: the last one to go. False where it is over, or another's.
    fn find(&self, id: [u8; 16], owner: &Owner, now_ms: u64) -> bool {
        let mut all = self.all.borrow_mut();
        all.retain(|session| now_ms < session.ends_ms);
        let Some(at) = all.iter().position(|session| session.id == id && session.owner == *owner) else {
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
    /// The request's headers as the backend is to have them: without the session's cookie, with those that the
    /// session has for this path, the longer paths first and then the older cookies (RFC 6265, 5.4). What else
    /// the client holds follows, but for cookies of the same names.
    pub fn request(&self, headers: &Headers, now_ms: u64) -> Headers {
        let mut out: Headers = headers.iter().filter(|(name, _)| *name != "cookie").collect();
        let mut mine: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut names: Vec<Vec<u8>> = vec![self.cookie.name.clone().into_bytes()];
        if self.id.is_some_and(|id| self.sessions.find(id, &self.owner, now_ms))
            && let Some(session) = self.sessions.all.borrow_mut().last_mut()
        {
            session.cookies.retain(|cookie| cookie.lives(now_ms));
            for cookie in session.cookies.iter_mut().filter(|cookie| path_fits(&cookie.path, self.path)) {
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
        out
    }

    /// Takes the cookies out of an answer and into the session. Where none goes on, one begins, if there is
    /// anything to keep: with an id that `random` makes, never with the one that the client brought.
    pub fn answer(
        &self,
        response: &mut Response,
        now_ms: u64,
        random: impl FnOnce(&mut [u8; 16]) -> bool,
    ) -> Taken {
        let headers = std::mem::take(&mut response.headers);
        response.headers = headers.iter().filter(|(name, _)| *name != "set-cookie").collect();
        let lines = headers.iter().filter(|(name, _)| *name == "set-cookie").map(|(_, value)| value);
        let set: Vec<SetCookie<'_>> = lines.filter_map(|line| set_cookie(line, now_ms)).collect();
        let mut taken = Taken::default();
        if set.is_empty() {
            return taken;
        }
        if !self.id.is_some_and(|id| self.sessions.find(id, &self.owner, now_ms)) {
            let mut id = [0; 16];
            if !set.iter().any(|cookie| cookie.expires_ms.is_none_or(|end| now_ms < end)) {
                return taken;
            }
            if !random(&mut id) {
                taken.dropped = set.len();
                return taken;
            }
            taken.began = true;
            response.headers.push("set-cookie", line(self.cookie, id).as_bytes());
            let (owner, ends_ms) = (self.owner.clone(), now_ms + LIFETIME_MS);
            let session = Session { id, owner, ends_ms, cookies: Vec::new(), has_dropped: false };
            self.sessions.all.borrow_mut().push(session);
        }
        if let Some(session) = self.sessions.all.borrow_mut().last_mut() {
            taken.dropped = set.iter().map(|cookie| session.keep(cookie, self.path, now_ms)).sum();
            taken.first_dropped = taken.dropped > 0 && !std::mem::replace(&mut session.has_dropped, true);
        }
        taken.evicted = self.sessions.evict();
        taken
    }
}

impl Session {
    fn bytes(&self) -> usize {
        let owner = self.owner.backend.len() + self.owner.user.len();
        OVERHEAD + owner + self.cookies.iter().map(Cookie::bytes).sum::<usize>()
    }

    /// Keeps a cookie in the place of the one that it is instead of (RFC 6265, 5.3, step 11), which a cookie whose
    /// time is over only removes. Where there is no room, those that were not used for longest go; it returns how
    /// many.
    fn keep(&mut self, set: &SetCookie<'_>, request: &str, now_ms: u64) -> usize {
        self.cookies.retain(|cookie| cookie.lives(now_ms));
        let cookie = Cookie {
            name: set.name.to_vec(),
            value: set.value.to_vec(),
            path: set.path.unwrap_or(default_path(request).as_bytes()).to_vec(),
            expires_ms: set.expires_ms,
            used_ms: now_ms,
        };
        if cookie.bytes() > MAX_SESSION_BYTES {
            return 1;
        }
        let same = |other: &Cookie| other.name == cookie.name && other.path == cookie.path;
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

    fn lives(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|end| now_ms < end)
    }
}

/// The `Set-Cookie` line of a session that begins.
fn line(cookie: &SessionCookie, id: [u8; 16]) -> String {
    let mut line = [cookie.name.as_str(), "="].concat();
    push_hex(&mut line, &id);
    line.push_str("; Path=/; HttpOnly; SameSite=Lax; Max-Age=");
    push_decimal(&mut line, LIFETIME_MS / 1_000);
    if cookie.secure {
        line.push_str("; Secure");
    }
    line
}

/// What stands between the semicolons of the `cookie` headers, without white space around it.
fn pieces(headers: &Headers) -> impl Iterator<Item = &[u8]> {
    let values = headers.iter().filter(|(name, _)| *name == "cookie").map(|(_, value)| value);
    values.flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}
