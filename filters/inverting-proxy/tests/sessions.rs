//! A session's rules, with time and randomness under control. The sender is a browser that holds what it was
//! last given.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;

use inverting_proxy::definition::{Definition, Terms};
use inverting_proxy::registry::Registry;
use inverting_proxy::session_cookie::SessionCookie;
use inverting_proxy::sessions::{Limits, MAX_SESSION_BYTES, Sessions, Taken, Visit};
use inverting_proxy::wire::Response;
use lockgate_common::http::Headers;
use proptest::prelude::*;

const NOW: u64 = 1_795_320_000_000;
const HOUR: u64 = 3_600_000;

fn definition(id: &str) -> Definition {
    Definition { id: id.to_owned(), terms: None, check: None }
}

fn response(set: &[&str]) -> Response {
    let headers = set.iter().map(|line| ("set-cookie", *line)).collect();
    Response { status: 200, headers, body: b"ok".to_vec() }
}

struct Jar {
    sessions: Sessions,
    cookie: SessionCookie,
    registry: Registry,
    now: Cell<u64>,
    next: Cell<u8>,
}

impl Jar {
    fn new() -> Self {
        Self::limited(1_000, 16 << 20)
    }

    fn limited(sessions: usize, bytes: usize) -> Self {
        Self {
            sessions: Sessions::new(Limits { sessions, bytes }, vec!["__Host-sid".into(), "other".into()]),
            cookie: SessionCookie { name: "__Host-sid".into(), secure: true },
            registry: Registry::new(vec![definition("a"), definition("b")], NOW),
            now: Cell::new(NOW),
            next: Cell::new(0),
        }
    }

    fn later(&self, ms: u64) {
        self.now.set(self.now.get() + ms);
    }

    fn visit<'a>(&'a self, backend: &str, user: &str, headers: &Headers, path: &'a str) -> Visit<'a> {
        let owner = (self.registry.find(backend).unwrap(), user.to_owned());
        self.sessions.visit(Some(&self.cookie), owner, headers, path)
    }

    /// The `cookie` header that the backend gets of a user's request.
    fn request_of(&self, user: &str, path: &str, cookie: &str) -> String {
        let headers: Headers = [("x-a", "1"), ("cookie", cookie), ("x-b", "2")].into_iter().collect();
        let sent = self.visit("a", user, &headers, path).request(&headers, self.now.get()).unwrap();
        assert_eq!((sent.first("x-a"), sent.first("x-b")), (Some(b"1".as_slice()), Some(b"2".as_slice())));
        let cookie = sent.single("cookie").unwrap().unwrap_or_default();
        String::from_utf8(cookie.to_vec()).unwrap()
    }

    fn request(&self, path: &str, cookie: &str) -> String {
        self.request_of("", path, cookie)
    }

    /// What the client is told to set, once the backend has set these in its answer to a request with `cookie`.
    fn answer_of(&self, user: &str, path: &str, cookie: &str, set: &[&str]) -> (Vec<String>, Taken) {
        let headers: Headers = [("cookie", cookie)].into_iter().collect();
        let visit = self.visit("a", user, &headers, path);
        let lines = set.iter().map(|line| ("set-cookie", *line));
        let headers = [("x-a", "1")].into_iter().chain(lines).chain([("x-b", "2")]).collect();
        let mut response = Response { status: 200, headers, body: Vec::new() };
        let taken = visit.answer(&mut response, self.now.get(), |id| {
            self.next.set(self.next.get() + 1);
            *id = [self.next.get(); 16];
            true
        });
        let headers = response.headers;
        assert_eq!(
            (headers.first("x-a"), headers.first("x-b")),
            (Some(b"1".as_slice()), Some(b"2".as_slice()))
        );
        let set = headers.iter().filter(|(name, _)| *name == "set-cookie");
        let set = set.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()).collect();
        (set, taken)
    }

    fn answer(&self, cookie: &str, set: &[&str]) -> Vec<String> {
        self.answer_of("", "/", cookie, set).0
    }

    /// The cookie of a session that these begin.
    fn begun(&self, set: &[&str]) -> String {
        let lines = self.answer("", set);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].split(';').next().unwrap().to_owned()
    }
}

#[test]
fn a_client_holds_one_cookie_and_the_backend_gets_its_own() {
    let jar = Jar::new();
    let lines = jar.answer("", &["a=1; Path=/; HttpOnly", "b=2; Secure; Domain=elsewhere.example"]);
    let id = "01".repeat(16);
    assert_eq!(lines, [format!("__Host-sid={id}; Path=/; HttpOnly; SameSite=Lax; Max-Age=43200; Secure")]);
    let cookie = format!("__Host-sid={id}");
    assert_eq!(jar.request("/", &cookie), "a=1; b=2");
    assert_eq!(jar.answer(&cookie, &["b=3", "c=4"]), [""; 0], "one that goes on is not set again");
    assert_eq!(jar.request("/", &cookie), "a=1; b=3; c=4");
}

#[test]
fn without_a_cookie_of_the_backends_no_session_begins() {
    let jar = Jar::new();
    for set in [&[][..], &["nonsense"], &["a=; Max-Age=0"], &["a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]] {
        let (lines, taken) = jar.answer_of("", "/", "", set);
        assert_eq!((lines.len(), taken), (0, Taken::default()), "{set:?}");
    }
}

#[test]
fn what_else_a_client_holds_passes_and_the_session_comes_first() {
    let jar = Jar::new();
    let cookie = jar.begun(&["a=1"]);
    for (sent, got) in [
        (format!("x=1; {cookie}; y=\"2\";z"), "a=1; x=1; y=\"2\"; z"),
        (format!("a=forged; {cookie}; a = forged; A=2"), "a=1; A=2"),
        (cookie.clone(), "a=1"),
        ("x=1;;y=2".to_owned(), "x=1; y=2"),
        ("__Host-sid=; x=1".to_owned(), "x=1"),
        ("__Host-sid; x=1".to_owned(), "x=1"),
        (format!("__Host-sid={}", "7".repeat(32)), ""),
        (format!("{cookie}; {cookie}"), ""),
        (format!("{cookie}0"), ""),
    ] {
        assert_eq!(jar.request("/", &sent), got, "{sent}");
    }
}

#[test]
fn an_id_that_a_client_brings_is_never_adopted() {
    let jar = Jar::new();
    let fixed = format!("__Host-sid={}", "7".repeat(32));
    let lines = jar.answer(&fixed, &["a=1"]);
    assert!(lines[0].starts_with(&format!("__Host-sid={};", "01".repeat(16))), "{lines:?}");
    assert_eq!(jar.request("/", &fixed), "");
}

#[test]
fn a_session_is_its_users_alone() {
    let jar = Jar::new();
    let (lines, _) = jar.answer_of("eva", "/", "", &["a=1"]);
    let cookie = lines[0].split(';').next().unwrap().to_owned();
    assert_eq!(jar.request_of("eva", "/", &cookie), "a=1");
    for other in ["ben", "", "eva2"] {
        assert_eq!(jar.request_of(other, "/", &cookie), "", "{other}");
        let (lines, taken) = jar.answer_of(other, "/", &cookie, &["a=2"]);
        assert!(taken.began && !lines[0].starts_with(&cookie), "{other}: {lines:?}");
    }
    assert_eq!(jar.request_of("eva", "/", &cookie), "a=1", "and nobody else writes to it");
}

#[test]
fn a_backend_gets_the_cookies_that_it_has_set_and_no_others() {
    let jar = Jar::new();
    let cookie = jar.begun(&["a=1; Domain=example.com", "x=1"]);
    let headers: Headers = [("cookie", cookie.as_str())].into_iter().collect();
    let of = |backend: &str| {
        let sent = jar.visit(backend, "", &headers, "/").request(&headers, NOW).unwrap();
        sent.first("cookie").map(|value| String::from_utf8(value.to_vec()).unwrap()).unwrap_or_default()
    };
    assert_eq!((of("a"), of("b")), ("a=1; x=1".into(), String::new()));
    let mut response = response(&["x=2", "a=; Max-Age=0"]);
    let taken = jar.visit("b", "", &headers, "/").answer(&mut response, NOW, |_| false);
    assert_eq!((taken, response.headers.first("set-cookie")), (Taken::default(), None));
    assert_eq!((of("a"), of("b")), ("a=1; x=1".into(), "x=2".into()), "in the one session");
}

#[test]
fn a_backend_that_was_made_anew_is_another() {
    let jar = Jar::new();
    let registered = |id: &str| Definition {
        terms: Some(Terms {
            end_user: None,
            backend_user: "agent@example.com".into(),
            path_prefixes: vec!["/".into()],
        }),
        ..definition(id)
    };
    jar.registry.put(registered("c"), NOW).unwrap();
    let mut response = response(&["a=1"]);
    jar.visit("c", "", &Headers::default(), "/").answer(&mut response, NOW, |_| true);
    let cookie = response.headers.first("set-cookie").unwrap().split(|byte| *byte == b';').next().unwrap();
    let headers: Headers = [("cookie", cookie)].into_iter().collect();
    let sent = || jar.visit("c", "", &headers, "/").request(&headers, NOW).unwrap();
    assert_eq!(sent().first("cookie"), Some(b"a=1".as_slice()));
    jar.registry.remove("c").unwrap();
    jar.registry.put(registered("c"), NOW).unwrap();
    assert_eq!(sent().first("cookie"), None);
}

#[test]
fn no_backend_learns_a_session_of_another_name() {
    let jar = Jar::new();
    assert_eq!(jar.request("/", "other=1; x=2"), "x=2");
    let headers: Headers = [("cookie", "other=1; __Host-sid=2; x=2")].into_iter().collect();
    let owner = || (jar.registry.find("a").unwrap(), String::new());
    let visit = jar.sessions.visit(None, owner(), &headers, "/");
    assert_eq!(visit.request(&headers, NOW).unwrap().first("cookie"), Some(b"x=2".as_slice()));
    let mut answer = response(&["a=1", "b=2"]);
    assert_eq!(visit.answer(&mut answer, NOW, |_| true), Taken::default());
    assert_eq!(answer, response(&["a=1", "b=2"]), "where there is no session, a backend sets its own");

    let none = Sessions::new(Limits { sessions: 1, bytes: 1 << 16 }, Vec::new());
    assert_eq!(none.visit(None, owner(), &headers, "/").request(&headers, NOW), None);
}

#[test]
fn cookies_are_sent_where_their_path_fits_the_longest_first() {
    let jar = Jar::new();
    let cookie = jar.begun(&["root=1; Path=/"]);
    jar.answer_of("", "/a/b/page?x=/y", &cookie, &["default=2", "deep=3; Path=/a/b/page", "a=4; Path=/a"]);
    jar.answer(&cookie, &["root=5; Path=/a", "root=1; Path=/"]);
    assert_eq!(jar.request("/", &cookie), "root=1");
    assert_eq!(jar.request("/a?x=1", &cookie), "a=4; root=5; root=1");
    assert_eq!(jar.request("/a/b", &cookie), "default=2; a=4; root=5; root=1");
    assert_eq!(jar.request("/a/b/page", &cookie), "deep=3; default=2; a=4; root=5; root=1");
    assert_eq!(jar.request("/ab", &cookie), "root=1");
    jar.answer(&cookie, &["root=; Max-Age=0"]);
    assert_eq!(jar.request("/a", &cookie), "a=4; root=5", "only the one with that path is deleted");
}

#[test]
fn cookies_end_in_their_time_and_a_session_twelve_hours_after_it_began() {
    let jar = Jar::new();
    let cookie = jar.begun(&["short=1; Max-Age=60", "date=2; Expires=Sun, 22 Nov 2026 04:30:00 GMT", "a=3"]);
    assert_eq!(jar.request("/", &cookie), "short=1; date=2; a=3");
    jar.later(60_000);
    assert_eq!(jar.request("/", &cookie), "date=2; a=3");
    jar.later(30 * 60_000 - 60_000);
    assert_eq!(jar.request("/", &cookie), "a=3");
    jar.answer(&cookie, &["a=; Max-Age=0"]);
    assert_eq!(jar.request("/", &cookie), "", "deleted");
    jar.answer(&cookie, &["a=4"]);
    jar.later(11 * HOUR + 30 * 60_000 - 1);
    assert_eq!(jar.request("/", &cookie), "a=4");
    jar.later(1);
    assert_eq!(jar.request("/", &cookie), "");
    let lines = jar.answer(&cookie, &["a=5"]);
    assert!(!lines[0].starts_with(&cookie), "a new one begins: {lines:?}");
}

#[test]
fn answers_that_come_at_once_keep_each_others_cookies() {
    let jar = Jar::new();
    let cookie = jar.begun(&["a=1"]);
    // Both requests were sent before either answer.
    let sent = jar.request("/", &cookie);
    assert_eq!(sent, jar.request("/", &cookie));
    assert_eq!((jar.answer(&cookie, &["b=2"]).len(), jar.answer(&cookie, &["c=3"]).len()), (0, 0));
    assert_eq!(jar.request("/", &cookie), "a=1; b=2; c=3");
}

#[test]
fn a_full_session_drops_what_was_not_used_for_longest() {
    let jar = Jar::new();
    let cookie = jar.begun(&["first=1; Path=/unused", "second=2; Path=/used"]);
    let many: Vec<String> = (0..48).map(|number| format!("c{number}=x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (_, taken) = jar.answer_of("", "/", &cookie, &many);
    assert_eq!(taken, Taken::default());
    jar.later(1);
    assert_eq!(jar.request("/used", &cookie).split("; ").count(), 49);
    let (_, taken) = jar.answer_of("", "/", &cookie, &["new=1"]);
    assert_eq!(taken, Taken { dropped: 1, first_dropped: true, ..Taken::default() });
    assert_eq!(jar.request("/unused", &cookie).split("; ").count(), 49, "that one is gone");
    let (_, taken) = jar.answer_of("", "/", &cookie, &["c1=y"]);
    assert_eq!(taken.dropped, 0, "one in the place of another needs no room");
    let (_, taken) = jar.answer_of("", "/", &cookie, &["newer=1"]);
    assert_eq!((taken.dropped, taken.first_dropped), (1, false), "which is logged once");
}

#[test]
fn a_session_has_so_many_bytes() {
    let jar = Jar::new();
    let large = "x".repeat(4_000);
    let cookie = jar.begun(&[&format!("a={large}"), &format!("b={large}"), &format!("c={large}")]);
    jar.later(1);
    let (_, taken) = jar.answer_of("", "/", &cookie, &[&format!("d={large}")]);
    assert_eq!(taken.dropped, 1);
    let sent = jar.request("/", &cookie);
    assert!(sent.len() < MAX_SESSION_BYTES && sent.starts_with("b=") && sent.contains("; d="));
    // A path that no cookie says itself, as long as a request may have it.
    let path = format!("/{}/x", "y".repeat(MAX_SESSION_BYTES));
    let (_, taken) = jar.answer_of("", &path, &cookie, &["huge=1"]);
    assert_eq!(taken.dropped, 1);
    assert!(jar.request("/", &cookie) == sent, "nothing else went for it");
}

#[test]
fn of_too_many_sessions_the_one_that_was_not_used_for_longest_goes() {
    let jar = Jar::limited(2, 16 << 20);
    let (first, second) = (jar.begun(&["a=1"]), jar.begun(&["b=2"]));
    assert_eq!(jar.request("/", &first), "a=1");
    let (lines, taken) = jar.answer_of("", "/", "", &["c=3"]);
    assert_eq!((taken.began, taken.evicted), (true, 1));
    assert_eq!(jar.request("/", &second), "");
    assert_eq!(jar.request("/", &first), "a=1");
    assert_eq!(jar.request("/", lines[0].split(';').next().unwrap()), "c=3");

    let jar = Jar::limited(1_000, 64 << 10);
    let large: Vec<String> = (0..3).map(|number| format!("c{number}={}", "x".repeat(4_000))).collect();
    let large: Vec<&str> = large.iter().map(String::as_str).collect();
    let cookies: Vec<String> = (0..6).map(|_| jar.begun(&large)).collect();
    let kept = cookies.iter().filter(|cookie| !jar.request("/", cookie).is_empty()).count();
    assert_eq!(kept, 5, "of twelve thousand bytes each");
}

#[test]
fn without_randomness_no_session_begins_and_the_answer_passes() {
    let jar = Jar::new();
    let mut answer = response(&["a=1"]);
    assert_eq!(jar.visit("a", "", &Headers::default(), "/").answer(&mut answer, NOW, |_| false).dropped, 1);
    assert_eq!(answer, response(&[]));
}

proptest! {
    /// Whatever a backend sets and a client holds: no `set-cookie` but ours goes out, and what goes to the backend
    /// is one header that no byte ends, without our cookie.
    #[test]
    fn nothing_gets_through_as_it_came(
        set in proptest::collection::vec("[ -~\t\u{1}é]{0,40}", 0..6),
        held in "[ -~]{0,60}",
        path in "/[a-c/]{0,6}",
    ) {
        let jar = Jar::new();
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let (lines, taken) = jar.answer_of("", &path, &held, &set);
        prop_assert_eq!(lines.len(), usize::from(taken.began));
        let cookie = lines.first().map_or("", |line| line.split(';').next().unwrap());
        let sent = jar.request(&path, &format!("{held}; {cookie}"));
        prop_assert!(!sent.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t'), "{}", sent);
        prop_assert!(!sent.split(';').any(|piece| piece.trim().split('=').next().unwrap().trim() == "__Host-sid"));
    }
}
