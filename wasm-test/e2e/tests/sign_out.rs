//! Signing out, end to end: by the button here, at the provider, and by the provider's word alone.

use lockgate_e2e::door::{door_config, door_stack, public_url, start_door};
use lockgate_e2e::oidc_login::{confirm_sign_out, sign_in};
use lockgate_e2e::oidc_provider::OidcProvider;
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::{Page, UserAgent};
use lockgate_e2e::visitor::{SESSION, connections_of_workers, from_every_worker, signed_in};
use lockgate_e2e::{Request, Stack};
use serde_json::{Value, json};

/// Two workers, and a provider that knows where they are.
async fn door(change: impl FnOnce(&mut Value)) -> (OidcProvider, Stack) {
    let provider = OidcProvider::builder().start().await;
    let config = door_config(provider.issuer(), change);
    let stack = door_stack(&config).concurrency(2).start().await;
    assert_eq!(connections_of_workers(&stack).await.len(), 2);
    provider.register_gateway(&public_url(&stack), &[]).await;
    (provider, stack)
}

/// A script's request with the cookies that a browser has now.
fn with_cookies_of(agent: &UserAgent, stack: &Stack) -> Request {
    let cookies = agent.jar.header(&Url::parse(&public_url(stack))).unwrap();
    Request::get("/data").header("accept", "*/*").header("cookie", cookies)
}

/// What every worker says to it: one status, or the test fails.
async fn status_everywhere(stack: &Stack, request: &Request) -> u16 {
    let answers = from_every_worker(stack, request).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.dedup();
    let [status] = statuses[..] else { panic!("the workers do not agree: {statuses:?}") };
    status
}

/// Opens the page that asks, and presses its button; follows nothing.
async fn press_the_button(agent: &mut UserAgent, stack: &Stack) -> Page {
    let asked = agent.open(&format!("{}/_lockgate/sign-out", public_url(stack))).await;
    let [form] = &asked.forms()[..] else { panic!("not one form: {}", asked.response.text()) };
    assert_eq!((&*form.method, &*form.action), ("POST", "/_lockgate/sign-out"));
    agent.submit(&asked, form).await
}

#[tokio::test]
async fn the_button_signs_out_on_every_worker_and_at_the_provider() {
    let (provider, stack) = door(|config| {
        config["sign_in"]["providers"][0]["keep_id_token"] = json!(true);
    })
    .await;
    let site = public_url(&stack);
    let mut agent = signed_in(&stack, "alice").await;
    let (copy, mut stolen) = (with_cookies_of(&agent, &stack), agent.clone());
    let another = with_cookies_of(&signed_in(&stack, "bob").await, &stack);
    assert_eq!(status_everywhere(&stack, &copy).await, 200);
    agent.open(&format!("{site}/_lockgate/sign-out")).await;
    assert_eq!(status_everywhere(&stack, &copy).await, 200, "the page has only asked");

    let pressed = press_the_button(&mut agent, &stack).await;
    assert_eq!(status_everywhere(&stack, &copy).await, 401);
    assert_eq!(status_everywhere(&stack, &another).await, 200, "and nobody else");
    assert_eq!(agent.jar.value(SESSION), None);
    assert_eq!(pressed.response.headers.text("clear-site-data").as_deref(), Some("\"cache\""));
    provider.wait_for_calls("revocation", 1).await;

    let there = pressed.location().unwrap();
    assert_eq!((pressed.response.status, &*there.origin()), (303, provider.issuer()));
    assert!(there.query("id_token_hint").is_some(), "{there}");
    let asked = agent.go_on(pressed, |_| false).await;
    let end = confirm_sign_out(&mut agent, &asked).await;
    assert_eq!((end.url.to_string(), end.response.status), (format!("{site}/_lockgate/signed-out"), 200));
    assert!(end.response.text().contains("You have signed out."), "{}", end.response.text());
    let next = agent.follow(&format!("{site}/page")).await;
    assert_eq!(next.url.origin(), provider.issuer());
    assert!(next.form_with("password").is_some(), "the provider does not know the browser any more");

    // The provider has told the back channel of it, too: both may, in any order.
    for event in ["event=signed_out provider=company", "event=signed_out_by_provider"] {
        stack.gateway_log().wait_for(event, 1, |line| line.contains(event)).await;
    }
    let page = sign_in(&mut agent, &format!("{site}/page"), "alice").await;
    assert_eq!((page.url.path(), page.response.text().as_str()), ("/page", "upstream"));
    assert_eq!(stolen.fetch(&format!("{site}/data")).await.response.status, 401, "the old one stays dead");
}

#[tokio::test]
async fn a_provider_that_is_not_to_be_asked_still_knows_who_that_is() {
    let (provider, stack) = door(|config| {
        config["sign_in"]["providers"][0]["end_session"] = json!(false);
    })
    .await;
    let site = public_url(&stack);
    let mut agent = signed_in(&stack, "carol").await;
    let old = with_cookies_of(&agent, &stack);
    let pressed = press_the_button(&mut agent, &stack).await;
    let end = agent.go_on(pressed, |_| false).await;
    assert_eq!((end.url.path(), end.response.status), ("/_lockgate/signed-out", 200));
    assert_eq!(status_everywhere(&stack, &old).await, 401);
    assert_eq!(provider.count("end_session").await, 0);

    // It asks for consent, since the refresh token was revoked, and not who that is.
    let since = agent.history.len();
    let page = sign_in(&mut agent, &format!("{site}/page"), "somebody else").await;
    assert_eq!(page.response.text(), "upstream");
    assert!(agent.history[since..].iter().all(|page| page.form_with("password").is_none()));
    let reached = stack.upstream().requests().matching(|request| request.path() == "/page");
    assert_eq!(reached[0].headers.text("x-lockgate-subject").as_deref(), Some("carol"));
    assert_eq!(status_everywhere(&stack, &with_cookies_of(&agent, &stack)).await, 200);
}

#[tokio::test]
async fn an_administrators_logout_is_known_to_both_workers_at_once_and_ends_no_other_session() {
    let (provider, stack) = door(|_| {}).await;
    let mut laptop = signed_in(&stack, "dave").await;
    let phone = signed_in(&stack, "dave").await;
    let other = signed_in(&stack, "erin").await;
    let [of_laptop, of_phone, of_other] =
        [&laptop, &phone, &other].map(|agent| with_cookies_of(agent, &stack));
    for request in [&of_laptop, &of_phone, &of_other] {
        assert_eq!(status_everywhere(&stack, request).await, 200, "each worker has seen it");
    }
    let told = provider.logout_everywhere("dave").await;
    let errors: Vec<_> = told.as_array().unwrap().iter().map(|told| told["error"].clone()).collect();
    assert_eq!(errors, [Value::Null, Value::Null], "{told}");
    assert_eq!(status_everywhere(&stack, &of_laptop).await, 401);
    assert_eq!(status_everywhere(&stack, &of_phone).await, 401);
    assert_eq!(status_everywhere(&stack, &of_other).await, 200);
    assert_eq!(stack.admin().stat("wasmcustom.lockgate.oidc_back_channel.signed_out").await, 2);

    let page = sign_in(&mut laptop, &format!("{}/page?a=1", public_url(&stack)), "dave").await;
    assert_eq!((&*page.url.target, page.response.status), ("/page?a=1", 200));
    assert_eq!(status_everywhere(&stack, &with_cookies_of(&laptop, &stack)).await, 200);
    assert_eq!(status_everywhere(&stack, &of_phone).await, 401, "signing in revives no other session");
}

#[tokio::test]
async fn who_signs_out_at_the_provider_is_signed_out_here() {
    let provider = OidcProvider::builder().start().await;
    let stack = start_door(&provider, |_| {}).await;
    let mut agent = signed_in(&stack, "frank").await;
    assert_eq!(status_everywhere(&stack, &with_cookies_of(&agent, &stack)).await, 200);
    let there = agent.follow(&format!("{}/session/end", provider.issuer())).await;
    let done = confirm_sign_out(&mut agent, &there).await;
    assert_eq!((done.url.origin(), done.response.status), (provider.issuer().to_owned(), 200));
    assert!(agent.jar.value(SESSION).is_some(), "the browser has its cookie still");
    assert_eq!(status_everywhere(&stack, &with_cookies_of(&agent, &stack)).await, 401);
    let page = agent.follow(&format!("{}/page", public_url(&stack))).await;
    assert!(page.form_with("password").is_some(), "{}", page.url);
}
