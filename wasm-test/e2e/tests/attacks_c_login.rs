//! Attacks on the login: what comes back from the provider was asked for, by this browser, once, and
//! nothing that a provider or a stranger says opens the door or leads away from it.

use lockgate_e2e::cookie_jar::set_cookies;
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::siege::{Siege, Turn};
use lockgate_e2e::signing_keys::SigningKey;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Request, Response};
use serde_json::json;
use tokio::sync::OnceCell;

#[path = "attacks_c_login/callbacks.rs"]
mod callbacks;
#[path = "attacks_c_login/claims.rs"]
mod claims;
#[path = "attacks_c_login/discovery.rs"]
mod discovery;
#[path = "attacks_c_login/fixation.rs"]
mod fixation;
#[path = "attacks_c_login/id_tokens.rs"]
mod id_tokens;
#[path = "attacks_c_login/return_address.rs"]
mod return_address;
#[path = "attacks_c_login/token_answers.rs"]
mod token_answers;

/// The door of this file. Its provider publishes every key that a token of these tests is signed
/// with, from the beginning: a door asks for new ones at most once in ten seconds.
async fn door() -> Turn {
    static DOOR: OnceCell<Siege> = OnceCell::const_new();
    let start = async {
        let provider = HostileProvider::named("localhost", "");
        for key in [SigningKey::weak_rsa(), SigningKey::p256(0), SigningKey::rsa(1), SigningKey::rsa(0)] {
            provider.rotate_keys(key, true);
        }
        let told = json!({
            "x-lockgate-subject": "sub", "x-lockgate-email": "email", "x-person-name": "name",
            "x-person-groups": "groups",
        });
        Siege::before(provider, 2, |config| config["sign_in"]["headers"] = told).await
    };
    Turn::at(&DOOR, start).await
}

/// A login that must come to nothing: this status and no cookie, nowhere to go, and nothing of what
/// the provider said.
fn assert_no_login(what: &str, response: &Response, status: u16) {
    let text = response.text();
    let shown = text.split("<main>").last().unwrap_or_default();
    assert_eq!(response.status, status, "{what}: {:?}\n{shown}", response.headers);
    assert_eq!(set_cookies(response), [], "{what}");
    assert!(!response.headers.contains("location"), "{what}: {:?}", response.headers);
    if text.contains("<h1>") {
        let policy = response.headers.text("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none';"), "{what}: {policy}");
    }
}

#[tokio::test]
async fn fifty_scripts_without_a_session_begin_no_login() {
    let door = door().await;
    let asked = door.provider.calls().len();
    let began = door.counter("login_began").await;
    let client = door.stack.client();
    let scripts = (0..50).map(|number| {
        let mut request = match number % 5 {
            0 => Request::get("/api/scripts"),
            1 => Request::get("/api/scripts").header("accept", "text/html").header("sec-fetch-mode", "cors"),
            2 => Request::post("/api/scripts", "application/json", "{}"),
            3 => Request::get("/api/scripts")
                .header("accept", "text/html")
                .header("x-requested-with", "XMLHttpRequest"),
            _ => lockgate_e2e::siege::navigation("/api/scripts").header("purpose", "prefetch"),
        };
        if number % 2 == 0 {
            request = request.header("cookie", "theme=dark; lockgate-login-AAAAAA=AAAAAAAAAAAAAAAAAAAAAA");
        }
        tokio::spawn(async move { client.send(&request).await })
    });
    for script in scripts.collect::<Vec<_>>() {
        let answer = script.await.unwrap();
        assert_no_login("a script", &answer, 401);
        let challenge = answer.headers.text("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
    }
    assert_eq!(door.provider.calls().len(), asked, "the provider was asked for something");
    assert_eq!(door.counter("login_began").await, began);
    door.stack.assert_no_trace("/api/scripts");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn forty_tabs_that_are_opened_one_after_the_other_all_sign_in() {
    let door = door().await;
    let mut agent = UserAgent::new();
    let mut tabs = Vec::new();
    for tab in 0..40 {
        tabs.push(door.callback(&mut agent, &format!("/tab/{tab}?a=1&b=2")).await);
    }
    let names = agent.jar.names("lockgate");
    assert!(
        names.len() == 1 && names[0].starts_with("lockgate-login-"),
        "one cookie for all of them: {names:?}"
    );
    // In another order than they were opened in.
    for tab in (0..40).map(|number| (number * 7 + 3) % 40) {
        let page = agent.follow(&tabs[tab].to_string()).await;
        let landed = (page.response.status, page.url.target.clone());
        assert_eq!(landed, (200, format!("/tab/{tab}?a=1&b=2")), "{}", page.response.text());
    }
    assert_eq!(agent.jar.names("lockgate").len(), 2, "{:?}", agent.jar.names(""));
    assert_eq!(agent.jar.refused(), [""; 0]);
    door.assert_unharmed().await;
}

#[tokio::test]
async fn forty_tabs_that_are_opened_at_once_all_sign_in() {
    // A browser that restores its windows: all are under way before the first is answered.
    let door = door().await;
    let client = door.stack.client();
    let tabs = (0..40).map(|tab| {
        let request = lockgate_e2e::siege::navigation(&format!("/restored/{tab}"));
        tokio::spawn(async move { client.send(&request).await })
    });
    let mut agent = UserAgent::new();
    let mut begun = Vec::new();
    for tab in tabs.collect::<Vec<_>>() {
        let response = tab.await.unwrap();
        let url = lockgate_e2e::url::Url::parse(&door.url("/"));
        agent.jar.take(&url, &response);
        begun.push(response.headers.text("location").unwrap());
    }
    // None of them could know of another: one each, and no more.
    let kept = agent.jar.names("lockgate-login-").len();
    assert!(kept <= 40, "{kept} cookies are left behind");
    let mut failed = Vec::new();
    for (tab, location) in begun.iter().enumerate() {
        let page = agent.follow(location).await;
        if (page.response.status, &*page.url.target) != (200, &*format!("/restored/{tab}")) {
            failed.push((tab, page.response.status, door.stack.reason(&page.response).await));
        }
    }
    assert!(failed.is_empty(), "{} tabs did not sign in: {:?}", failed.len(), &failed[..3.min(failed.len())]);
    for _ in 0..5 {
        door.visit(&mut agent, "/_lockgate/sign-in?return_to=/later").await;
    }
    assert_eq!(agent.jar.names("lockgate-login-").len(), kept, "a later login adds none");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_form_is_never_sent_on_to_the_provider() {
    let door = door().await;
    let asked = door.provider.calls().len();
    let marker = "the-body-of-a-form";
    let form = |method: &str, target: &str| {
        let mut request = lockgate_e2e::siege::navigation(target);
        request.method = method.to_owned();
        let origin = door.url("");
        let request = request.header("origin", origin).header("sec-fetch-site", "same-origin");
        request.header("content-type", "application/x-www-form-urlencoded").body(format!("a={marker}"))
    };
    let client = door.stack.client();
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = client.send(&form(method, "/protected?next=/x")).await;
        assert_no_login(method, &answer, 401);
        assert!(answer.text().contains("was not taken"), "a page that says so: {}", answer.text());
    }
    let large = form("POST", "/protected").body(format!("{marker}{}", "x".repeat(900_000)));
    assert_no_login("a large form", &client.send_chunked(&large, 65_536).await, 401);

    // The way back takes no form either (OAuth 2.0 Form Post Response Mode), nor does the way there.
    let callback = door.callback(&mut UserAgent::new(), "/form-post").await;
    let query = callback.target.split_once('?').unwrap().1.to_owned();
    for target in ["/_lockgate/callback", "/_lockgate/sign-in", &callback.target] {
        let answer = client.send(&form("POST", target).body(query.clone())).await;
        assert!([404, 405].contains(&answer.status), "{target}: {}", answer.status);
        assert_eq!(set_cookies(&answer), [], "{target}");
    }
    let told = door.provider.calls().since(asked);
    assert!(told.iter().all(|call| !call.request.contains(marker)), "{told:?}");
    door.stack.assert_no_trace(marker);
    door.assert_unharmed().await;
}
