//! One session cookie in the place of the backend's own.

use lockgate_e2e::cookie_jar::{CookieJar, set_cookies};
use lockgate_e2e::example::Example;
use lockgate_e2e::tokens::Tokens;
use lockgate_e2e::url::Url;
use lockgate_e2e::{Client, Request, Response};

use crate::agent::{ADMIN, Agent, EDGE, PORTS, SERVICES, counted, field};
use crate::{client, sent, start};

/// A browser, and what it is answered by a backend that says so.
struct Browser<'a> {
    edge: Client,
    agent: &'a Agent,
    jar: CookieJar,
    token: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(edge: Client, agent: &'a Agent) -> Self {
        Self { edge, agent, jar: CookieJar::default(), token: None }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.edge.address()))
    }

    fn request(&self, method: &str, path: &str) -> Request {
        let mut request = Request::new(method, path);
        if let Some(cookies) = self.jar.header(&self.url(path)) {
            request = request.header("cookie", cookies);
        }
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// The backend's `cookie` header, and the browser's answer.
    async fn visit(&mut self, method: &str, path: &str, head: &str) -> (String, Response) {
        let waiting = sent(self.edge, self.request(method, path));
        let request = self.agent.serve(head).await;
        let response = waiting.await.unwrap();
        self.jar.take(&self.url(path), &response);
        assert_eq!(self.jar.refused(), [""; 0], "as a browser sees it");
        (field(&request, "cookie").unwrap_or_default().to_owned(), response)
    }

    async fn cookies(&mut self, path: &str) -> String {
        self.visit("GET", path, "200 OK").await.0
    }
}

#[tokio::test]
async fn a_browser_holds_one_http_only_cookie_and_the_backend_gets_its_own() {
    let (example, edge, agent) = start().await;
    let mut browser = Browser::new(edge, &agent);
    let (before, answer) =
        browser.visit("GET", "/a/b", "200 OK\r\nSet-Cookie: a=1; Path=/\r\nX-A: 1\r\nSet-Cookie: b=2").await;
    assert_eq!((before.as_str(), answer.headers.text("x-a").unwrap().as_str()), ("", "1"));
    let set = set_cookies(&answer);
    let [cookie] = &set[..] else { panic!("one cookie and no other: {set:?}") };
    assert_eq!((cookie.name.as_str(), cookie.value.len()), ("reports_session", 32));
    assert!(cookie.http_only && !cookie.secure, "http on this machine: {cookie:?}");
    assert_eq!((cookie.path.as_deref(), cookie.same_site.as_deref()), (Some("/"), Some("lax")));
    assert_eq!((cookie.domain.as_deref(), cookie.max_age), (None, Some(12 * 3_600)));

    assert_eq!(browser.cookies("/a/c").await, "b=2; a=1");
    assert_eq!(browser.cookies("/c").await, "a=1");
    // A script's, or another service's of this host: what the session has of that name goes first.
    browser.jar.plant("127.0.0.1", "theme", "dark");
    browser.jar.plant("127.0.0.1", "a", "forged");
    assert_eq!(browser.cookies("/c").await, "a=1; theme=dark");

    for (method, head, path) in [
        ("HEAD", "200 OK\r\nSet-Cookie: head=1", "/"),
        ("GET", "204 No Content\r\nSet-Cookie: none=1", "/"),
        ("GET", "304 Not Modified\r\nSet-Cookie: same=1", "/"),
        ("POST", "302 Found\r\nLocation: /\r\nSet-Cookie: a=; Max-Age=0; Path=/", "/login"),
    ] {
        let (_, answer) = browser.visit(method, path, head).await;
        assert!(!answer.headers.contains("set-cookie"), "{method} {head}");
    }
    assert_eq!(browser.cookies("/").await, "head=1; none=1; same=1; theme=dark; a=forged");
    let date = "200 OK\r\nSet-Cookie: head=; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
    browser.visit("GET", "/", date).await;
    browser.jar.forget("a");
    assert_eq!(browser.cookies("/").await, "none=1; same=1; theme=dark");
    assert_eq!(counted(client(example.port(ADMIN)), "sessions.began").await, 1);
}

#[tokio::test]
async fn answers_that_are_under_way_at_once_keep_each_others_cookies() {
    let (_example, edge, agent) = start().await;
    let mut browser = Browser::new(edge, &agent);
    browser.visit("GET", "/", "200 OK\r\nSet-Cookie: first=1").await;
    let waiting: Vec<_> = (0..20).map(|_| sent(edge, browser.request("GET", "/"))).collect();
    let mut ids = Vec::new();
    while ids.len() < waiting.len() {
        ids.extend(agent.asks().await);
    }
    for id in &ids {
        assert_eq!(agent.fetch(id).await.status, 200);
    }
    for (number, id) in ids.iter().enumerate() {
        let head = format!("200 OK\r\nSet-Cookie: c{number}=1");
        assert_eq!(agent.answer(id, crate::message(&head, b"", "")).await.status, 200);
    }
    for response in waiting {
        assert!(!response.await.unwrap().headers.contains("set-cookie"), "the session goes on");
    }
    let expected: Vec<String> = (0..20).map(|number| format!("c{number}=1")).collect();
    assert_eq!(browser.cookies("/").await, format!("first=1; {}", expected.join("; ")));
}

#[tokio::test]
async fn a_session_is_nobody_elses() {
    let people = [("WORK_ACCOUNTS", "eva@example.com,ben@example.com")];
    let example = Example::start_with("inverting-proxy", &PORTS, &people).await;
    let edge = client(example.port(EDGE));
    let agent = Agent::of(&example, edge).await;
    let address = |port: u16| format!("http://127.0.0.1:{}", example.port(port));
    let tokens = Tokens::new(&example.state().join("lockgate/google"), &address(SERVICES), &address(EDGE));
    let token = |name: &str| {
        Some(tokens.push_with(|claims| {
            claims.insert("email".to_owned(), format!("{name}@example.com").into());
            claims.insert("sub".to_owned(), name.into());
        }))
    };
    let (mut eva, mut ben) = (Browser::new(edge, &agent), Browser::new(edge, &agent));
    (eva.token, ben.token) = (token("eva"), token("ben"));
    eva.visit("GET", "/desk", "200 OK\r\nSet-Cookie: who=eva; Path=/").await;
    assert_eq!(eva.cookies("/desk").await, "who=eva");
    let stolen = eva.jar.value("reports_desk").unwrap().to_owned();

    ben.jar.plant("127.0.0.1", "reports_desk", &stolen);
    assert_eq!(ben.cookies("/desk").await, "");
    ben.visit("GET", "/desk", "200 OK\r\nSet-Cookie: who=ben; Path=/").await;
    assert_ne!(ben.jar.value("reports_desk").unwrap(), stolen, "a session of his own");
    assert_eq!(
        (ben.cookies("/desk").await, eva.cookies("/desk").await),
        ("who=ben".into(), "who=eva".into())
    );
    // Without a guard there is nobody whose it could be, by whatever name; and the backend does not learn it.
    let mut nobody = Browser::new(edge, &agent);
    nobody.jar.plant("127.0.0.1", "reports_session", &stolen);
    nobody.jar.plant("127.0.0.1", "reports_desk", &stolen);
    assert_eq!(nobody.cookies("/").await, "");
    // An id that somebody else has thought of is not adopted.
    let fixed = "0123456789abcdef".repeat(2);
    ben.jar.plant("127.0.0.1", "reports_desk", &fixed);
    assert_eq!(ben.visit("GET", "/desk", "200 OK\r\nSet-Cookie: who=ben").await.0, "");
    assert_ne!(ben.jar.value("reports_desk").unwrap(), fixed);
}
