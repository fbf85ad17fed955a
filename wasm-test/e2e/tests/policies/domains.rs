//! E-mail domains: exactly the configured ones, verified, of whoever signs in and of programs.

use lockgate_e2e::door::{door_stack, public_url};
use lockgate_e2e::user_agent::UserAgent;

use super::*;

async fn by_domain() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let policies = json!([{"effect": "allow", "domains": ["example.com", "ex-ample.co.uk"]}]);
    Shared::of(&STACK, Stack::builder().config(&config(policies, json!([])).await)).await
}

#[tokio::test]
async fn a_domain_is_what_stands_behind_the_at_and_no_more_and_no_less() {
    let stack = by_domain().await;
    for (email, allowed) in [
        ("a@example.com", true),
        ("A.B+c@EXAMPLE.com", true),
        ("a@ex-ample.co.uk", true),
        ("a@exampleXcom", false),
        ("a@example-com", false),
        ("a@example.com.evil.org", false),
        ("a@sub.example.com", false),
        ("a@evil-example.com", false),
        ("a@ex-ample-co.uk", false),
        ("a@exXample.co.uk", false),
        ("a@co.uk", false),
        ("a@evil.org@example.com", false),
        ("\"a@example.com\"@evil.org", false),
        ("a@evil.org\n@example.com", false),
        ("a@example.com ", false),
        ("a@example.com\u{0}.evil.org", false),
        ("a@ex\u{430}mple.com", false),
        ("example.com", false),
        ("@example.com", false),
        ("a@", false),
        ("", false),
    ] {
        let token = token(json!({"email": email, "email_verified": true})).await;
        let answer = ask(&stack, Request::get("/domain"), &token).await;
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{email:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_address_that_is_not_verified_or_not_there_is_no_address() {
    let stack = by_domain().await;
    let email = "a@example.com";
    for claims in [
        json!({"email": email}),
        json!({"email": email, "email_verified": false}),
        json!({"email": email, "email_verified": "false"}),
        json!({"email": email, "email_verified": 1}),
        json!({"email": [email], "email_verified": true}),
        json!({"email": {"x": email}, "email_verified": true}),
        json!({"email": null, "email_verified": true}),
        json!({"upn": email, "preferred_username": email, "email_verified": true}),
        json!({"sub": email, "email_verified": true}),
        json!({}),
    ] {
        let answer = ask(&stack, Request::get("/no-address-"), &token(claims.clone()).await).await;
        assert_forbidden(&stack, &answer, "not_allowed", &claims.to_string()).await;
    }
    // Nobody at all, on the other hand, is an invalid token.
    for claims in [json!({"sub": null}), json!({"sub": ""}), json!({"sub": 7}), json!({"sub": ["a"]})] {
        let mut nobody = token(json!({"email": email, "email_verified": true})).await;
        nobody = nobody.claim("sub", claims["sub"].clone());
        let answer = ask(&stack, Request::get("/no-address-"), &nobody).await;
        assert_eq!((answer.status, &*stack.reason(&answer).await), (401, "token_subject"), "{claims}");
    }
    stack.assert_no_trace("/no-address-");
}

#[tokio::test]
async fn a_person_of_another_domain_sees_a_page_and_no_redirect_again() {
    let provider = HostileProvider::start();
    let config = door_config(provider.issuer(), |config| {
        config["sign_in"]["policies"] = json!([{"effect": "allow", "domains": ["ex-ample.com"]}]);
    });
    let stack = door_stack(&config).start().await;
    let address = format!("{}/page-of-a-domain?a=1&b=2", public_url(&stack));
    for (email, verified, status) in [
        ("a@ex-ample.com", true, 200),
        ("a@example.com", true, 403),
        ("a@ex-ample.com.evil.org", true, 403),
        ("a@ex-ample.com", false, 403),
    ] {
        provider.set_person(json!({"sub": "person", "email": email, "email_verified": verified}));
        let mut agent = UserAgent::new();
        let page = agent.follow(&address).await;
        assert_eq!(page.response.status, status, "{email} {verified}");
        assert_eq!(page.url.to_string(), address, "{email} {verified}");
        if status == 403 {
            let html = page.response.text();
            assert!(html.contains("Not allowed") && html.contains("/_lockgate/sign-out"), "{html}");
            // The session is there, so nothing leads to the provider again.
            let seen = agent.history.len();
            assert_eq!(agent.follow(&address).await.response.status, 403);
            assert_eq!(agent.history.len(), seen + 1);
        }
    }
    let reached = stack.upstream().requests().matching(|request| request.path() == "/page-of-a-domain");
    assert_eq!(reached.len(), 1);
    assert_eq!(reached[0].target, "/page-of-a-domain?a=1&b=2");
}
