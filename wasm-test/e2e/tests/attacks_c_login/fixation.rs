//! Cookies that somebody else has put into the browser, and one kind of sealed text as another.

use lockgate_e2e::Client;
use lockgate_e2e::cookie_jar::{Cookie, set_cookies};
use lockgate_e2e::http1::{Request, Response};
use lockgate_e2e::siege::{Siege, is_callback, navigation};
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::UserAgent;
use serde_json::json;

use crate::{assert_no_login, door};

#[tokio::test]
async fn a_planted_session_is_not_the_victims_after_they_sign_in() {
    let door = door().await;
    door.provider.set_person(json!({"sub": "mallory"}));
    let planted = door.cookies(&door.signed_in().await);
    let session = planted.split_once("lockgate=").unwrap().1;
    door.provider.set_person(json!({"sub": "alice"}));
    let mut victim = UserAgent::new();
    victim.jar.plant("127.0.0.1", "lockgate", session);
    victim.jar.plant("127.0.0.1", "lockgate-login-AAAAAA", "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(door.whose(&door.cookies(&victim)).await.as_deref(), Some("mallory"), "so it was planted");

    let page = door.visit(&mut victim, "/_lockgate/sign-in?return_to=/alice").await;
    assert_eq!((page.response.status, page.url.path()), (200, "/alice"));
    assert_eq!(door.whose(&door.cookies(&victim)).await.as_deref(), Some("alice"));
    assert_ne!(victim.jar.value("lockgate"), Some(session), "another session");
    assert_eq!(
        door.whose(&planted).await.as_deref(),
        Some("mallory"),
        "what Mallory knows is still Mallory's"
    );

    // Sign-ins one after the other are sessions of their own, too.
    let first = door.cookies(&victim);
    door.visit(&mut victim, "/_lockgate/sign-in").await;
    assert_ne!(door.cookies(&victim), first);
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_planted_login_cookie_that_no_door_makes_is_not_used() {
    let door = door().await;
    for value in
        ["", "x", "AAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA=="]
    {
        for name in ["lockgate-login", "lockgate-login-AAAAAA", "lockgate-login-BBBBBB", "lockgate-login-"] {
            let mut victim = UserAgent::new();
            victim.jar.plant("127.0.0.1", name, value);
            let page = door.visit(&mut victim, "/alice").await;
            assert_eq!((page.response.status, page.url.path()), (200, "/alice"), "{name}={value}");
            let logins = victim.jar.cookies().filter(|cookie| cookie.name.starts_with("lockgate-login"));
            let own = logins.filter(|cookie| (&*cookie.name, &*cookie.value) != (name, value)).count();
            assert_eq!(own, 1, "{name}={value}: a cookie of this login's own");
        }
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_login_is_no_session_and_a_session_no_login() {
    let door = door().await;
    let mut agent = UserAgent::new();
    let callback = door.callback(&mut agent, "/x").await;
    let state = callback.query("state").unwrap();
    let login = door.cookies(&agent);
    let (login_name, login) = login.split_once('=').unwrap();
    let session = door.cookies(&door.signed_in().await);
    let session = session.split_once("lockgate=1.").unwrap().1;
    for cookies in [
        format!("lockgate=1.{state}"),
        format!("lockgate={state}"),
        format!("lockgate=1.{login}"),
        format!("lockgate={login}; {login_name}={login}"),
        format!("{login_name}=1.{session}"),
        format!("{login_name}={session}"),
        format!("lockgate-login-{}={session}", &session[..6]),
        format!("lockgate.0=1.{session}"),
        format!("lockgate.1=1.{session}"),
        format!("Lockgate=1.{session}"),
        format!("__Host-lockgate=1.{session}"),
    ] {
        assert_eq!(door.asks(&cookies).await.status, 401, "{cookies}");
        assert_eq!(door.whose(&cookies).await, None, "{cookies}");
    }
    for cookies in [
        format!("{login_name}=1.{session}"),
        format!("lockgate-login-{}={session}", &session[..6]),
        format!("lockgate={login}"),
    ] {
        assert_no_login(&cookies, &door.opens(&callback.target, &cookies).await, 400);
    }
    assert_eq!(
        door.asks(format!("lockgate=1.{session}")).await.status,
        200,
        "it is a session where it belongs"
    );
    door.assert_unharmed().await;
}

/// A browser's request to a door that is `https://app.example.com` to its visitors.
async fn over_https(siege: &Siege, target: &str, cookies: &str) -> Response {
    let request = navigation(target).header("host", "app.example.com").header("cookie", cookies);
    siege.stack.client().send(&request).await
}

/// Begins a login there; the cookie, and the provider's answer.
async fn begin(siege: &Siege, cookies: &str) -> (Cookie, Url) {
    let begun = over_https(siege, "/in", cookies).await;
    let authorize = Url::parse(&begun.headers.text("location").unwrap());
    let redirect = Client::new(authorize.address()).send(&Request::get(&authorize.target)).await;
    let callback = Url::parse(&redirect.headers.text("location").unwrap());
    assert!(is_callback(&callback) && callback.origin() == "https://app.example.com", "{callback}");
    (set_cookies(&begun).swap_remove(0), callback)
}

#[tokio::test]
async fn on_https_no_other_host_can_plant_a_cookie_of_the_door() {
    let siege = Siege::start(1, |config| config["public_url"] = json!("https://app.example.com")).await;
    let (login, callback) = begin(&siege, "").await;
    let kept = |cookie: &Cookie| {
        let Cookie { secure, http_only, path, domain, same_site, .. } = cookie.clone();
        (secure, http_only, path, domain, same_site)
    };
    let strict = (true, true, Some("/".to_owned()), None, Some("lax".to_owned()));
    let end = &login.value[..6];
    assert_eq!((&*login.name, kept(&login)), (&*format!("__Host-lockgate-login-{end}"), strict.clone()));

    // A sibling host can set all of these, and none of them counts.
    for name in ["lockgate", "__Secure-lockgate", "__host-lockgate", "__HOST-lockgate"] {
        let planted = format!("{name}-login-{end}={}", login.value);
        let answer = over_https(&siege, &callback.target, &planted).await;
        assert_no_login(name, &answer, 400);
        assert_eq!(siege.stack.reason(&answer).await, "state_of_another_browser", "{name}");
    }
    let own =
        format!("lockgate-login-AAAAAA=AAAAAAAAAAAAAAAAAAAAAA; {}={}; lockgate=x", login.name, login.value);
    let answer = over_https(&siege, &callback.target, &own).await;
    assert_eq!((answer.status, answer.headers.text("location").as_deref()), (302, Some("/in")));
    let session = set_cookies(&answer).into_iter().find(|cookie| cookie.name == "__Host-lockgate").unwrap();
    assert_eq!(kept(&session), strict);

    let asks = async |cookies: String| {
        let request = Request::get("/asks").header("host", "app.example.com").header("cookie", cookies);
        siege.stack.client().send(&request).await.status
    };
    assert_eq!(asks(format!("__Host-lockgate={}", session.value)).await, 200);
    for name in ["lockgate", "__Secure-lockgate", "__host-lockgate"] {
        assert_eq!(asks(format!("{name}={}", session.value)).await, 401, "{name}");
    }
    let beside = format!("lockgate={v}; __Host-lockgate={v}; __Secure-lockgate=x", v = session.value);
    assert_eq!(asks(beside).await, 200, "a planted one does not count as a second");
    let sent = siege.stack.upstream().requests().since(0);
    let last = sent.last().unwrap().headers.text("cookie");
    let planted = format!("lockgate={}; __Secure-lockgate=x", session.value);
    assert_eq!(last.as_deref(), Some(&*planted), "it is the application's, like any other");
}
