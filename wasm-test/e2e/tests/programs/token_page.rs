//! A signed-in person takes a token to the command line, and the door's two kinds of visitor meet.

use lockgate_e2e::door::{door_config, door_stack, public_url};
use lockgate_e2e::oidc_login::sign_in;
use lockgate_e2e::oidc_provider::{CLIENT_ID, CLIENT_SECRET, OidcProvider};
use lockgate_e2e::relying_party::RelyingParty;
use lockgate_e2e::user_agent::UserAgent;

use super::*;

/// A door for people of the certified provider, which takes that provider's opaque tokens of programs,
/// too.
async fn door(token_page: bool) -> (OidcProvider, Stack) {
    let provider = OidcProvider::builder().token_claims(&["email", "email_verified"]).start().await;
    let config = door_config(provider.issuer(), |config| {
        config["sign_in"]["token_page"] = json!(token_page);
        config["sign_in"]["tokens"] = json!({"introspection": {
            "endpoint": format!("{}/token/introspection", provider.issuer()),
            "client_id": CLIENT_ID,
            "client_secret": {"env": "OIDC_CLIENT_SECRET"},
        }});
    });
    let stack = door_stack(&config).start().await;
    provider.register_gateway(&public_url(&stack), &[]).await;
    (provider, stack)
}

/// What stands in the page's text field.
fn shown(page: &str) -> &str {
    let (_, rest) = page.split_once("<textarea").unwrap_or_else(|| panic!("no text field: {page}"));
    let text = rest.split_once('>').and_then(|(_, rest)| rest.split_once("</textarea>"));
    text.map_or_else(|| panic!("no end: {page}"), |(text, _)| text)
}

#[tokio::test]
async fn the_token_that_a_person_is_shown_lets_their_program_in_as_them() {
    let (provider, stack) = door(true).await;
    let public_url = public_url(&stack);
    let mut agent = UserAgent::new();
    let page = sign_in(&mut agent, &format!("{public_url}/_lockgate/sign-in"), "alice").await;
    assert_eq!((page.response.status, page.url.path()), (200, "/"));
    let page = agent.open(&format!("{public_url}/_lockgate/token")).await;
    assert_eq!(page.response.status, 200);
    assert_eq!(page.response.headers.text("cache-control").as_deref(), Some("no-store"));
    let html = page.response.text();
    let token = shown(&html);

    let answer = ask(&stack, "/command-line", token).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = stack.delivered("/command-line").await;
    assert_eq!(seen.headers.text("x-lockgate-subject").as_deref(), Some("alice"));
    assert_eq!(seen.headers.text("x-lockgate-email").as_deref(), Some("alice@example.com"));
    assert!(!seen.contains(token), "{seen:?}");
    assert_eq!(provider.count("introspection").await, 1);
}

#[tokio::test]
async fn the_token_is_shown_after_signing_in_alone_and_to_nobody_elses_page() {
    let (_provider, stack) = door(true).await;
    let address = format!("{}/_lockgate/token", public_url(&stack));
    let mut agent = UserAgent::new();
    let refused = agent.fetch(&address).await;
    assert_eq!((refused.response.status, agent.jar.header(&refused.url)), (401, None));
    let page = sign_in(&mut agent, &address, "bob").await;
    assert_eq!(page.url.to_string(), address, "whoever asked for the token comes back to it");
    shown(&page.response.text());
    let policy = page.response.headers.text("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[tokio::test]
async fn there_is_no_such_page_unless_it_is_asked_for() {
    let (_provider, stack) = door(false).await;
    let public_url = public_url(&stack);
    let mut agent = UserAgent::new();
    let page = sign_in(&mut agent, &format!("{public_url}/"), "carol").await;
    assert_eq!(page.response.status, 200);
    assert_eq!(agent.open(&format!("{public_url}/_lockgate/token")).await.response.status, 404);
}

#[tokio::test]
async fn a_token_decides_alone_whatever_the_cookie_says() {
    let (provider, stack) = door(false).await;
    let public_url = public_url(&stack);
    let mut agent = UserAgent::new();
    let page = sign_in(&mut agent, &format!("{public_url}/"), "dave").await;
    let cookies = agent.jar.header(&page.url).expect("a session");
    let party =
        RelyingParty::discover(provider.issuer(), CLIENT_ID, CLIENT_SECRET, "http://x.localhost/").await;
    let good = party.client_credentials("openid", None).await;
    let send = async |path: &str, cookie: &str, token: &str| {
        let request = with_token(path, token).header("cookie", cookie);
        stack.client().send(&request).await
    };
    for (name, cookie) in [("no", "lockgate=not-a-session; a=b"), ("good", &*cookies)] {
        let path = format!("/{name}-session-good-token");
        assert_eq!(send(&path, cookie, &good).await.status, 200, "{name}");
        let seen = stack.delivered(&path).await;
        assert_eq!(seen.headers.text("x-lockgate-subject").as_deref(), Some(CLIENT_ID), "{name}");
        assert!(!seen.contains("lockgate="), "{name}: {seen:?}");
        let answer = send("/bad-token-", cookie, "not-a-token").await;
        assert_eq!(answer.status, 401, "{name}");
        assert_eq!(answer.headers.text("www-authenticate").as_deref(), Some(INVALID_TOKEN));
    }
    stack.assert_no_trace("/bad-token-");
    let kept = stack.client().send(&Request::get("/session").header("cookie", &cookies)).await;
    assert_eq!(kept.status, 200, "the session is as good as before");
}

/// The proxy joins them with a comma before any filter sees them.
#[tokio::test]
async fn two_credentials_are_refused_beside_a_session_too() {
    let (_provider, stack) = door(false).await;
    let mut agent = UserAgent::new();
    let page = sign_in(&mut agent, &format!("{}/", public_url(&stack)), "erin").await;
    let cookies = agent.jar.header(&page.url).expect("a session");
    for pair in [["Basic eDp5", "Bearer x"], ["Bearer x", "Basic eDp5"], ["Basic eDp5", "Basic eDp6"]] {
        let request =
            Request::get("/two-headers-").header("cookie", &cookies).header("authorization", pair[0]);
        let answer = stack.client().send(&request.header("authorization", pair[1])).await;
        assert_eq!(answer.status, 401, "{pair:?} beside a session");
    }
    stack.assert_no_trace("/two-headers-");
}
