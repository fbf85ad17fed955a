//! A provider that fails for a while, and people who are signed in.

use lockgate_e2e::oidc_provider::{ProviderFault, Wrong};

use super::*;

/// Asks as a script does, again and again, until it gets this status. Every other answer must have
/// been `meanwhile`. Several are asked at once: one of them may have to wait for the provider.
async fn ask_until(agent: &UserAgent, url: &str, meanwhile: u16, wanted: u16) {
    until(&format!("a {wanted}"), async || {
        let mut agents = [agent.clone(), agent.clone(), agent.clone()];
        let [one, two, three] = &mut agents;
        let answers = tokio::join!(one.fetch(url), two.fetch(url), three.fetch(url));
        let answers = [answers.0, answers.1, answers.2].map(|page| page.response.status);
        assert!(answers.iter().all(|status| [meanwhile, wanted].contains(status)), "{answers:?}");
        answers.contains(&wanted).then_some(())
    })
    .await;
}

/// Tokens are refreshed after four seconds and expire after five; the provider is bad from the
/// sign-in on.
async fn a_bad_minute(wrong: Wrong) {
    let provider = OidcProvider::builder().ttl("AccessToken", Duration::from_secs(5)).start().await;
    let stack = start_door(&provider, |_| {}).await;
    let agent = signed_in(&stack, "ivan").await;
    let data = format!("{}/data", public_url(&stack));
    provider.fail(&[ProviderFault::at("token", wrong)]).await;

    ask_until(&agent, &data, 200, 503).await;
    assert_eq!(provider.count("token").await, 2, "the code, and one refresh that failed");
    let mut browser = agent.clone();
    let page = browser.open(&format!("{}/page", public_url(&stack))).await;
    assert_eq!((page.response.status, page.location()), (503, None), "it is not asked to sign in");
    assert!(page.response.headers.contains("retry-after"));
    let id = page.response.headers.text("x-request-id").unwrap();
    assert!(page.response.text().contains(&id), "{}", page.response.text());

    provider.heal().await;
    ask_until(&agent, &data, 503, 200).await;
    assert_eq!(provider.reuses().await, 0);
    assert_eq!(stack.admin().stat("wasmcustom.lockgate.oidc.refreshed").await, 1);
    assert!(!stack.upstream().requests().is_empty());
}

#[tokio::test]
async fn a_provider_that_answers_500_ends_no_session_before_its_tokens_and_503_heals() {
    a_bad_minute(Wrong::Status(500, "down")).await;
}

#[tokio::test]
async fn a_provider_that_hangs_ends_no_session_before_its_tokens_and_503_heals() {
    a_bad_minute(Wrong::Hang).await;
}

#[tokio::test]
async fn an_account_that_is_closed_at_the_provider_is_out_at_the_end_of_its_tokens() {
    let provider = short_lived_provider().await;
    let stack = start_door(&provider, |_| {}).await;
    let mut agent = signed_in(&stack, "judy").await;
    provider.close_account("judy").await;
    let site = public_url(&stack);
    ask_until(&agent, &format!("{site}/data"), 200, 401).await;
    let page = agent.open(&format!("{site}/page?a=1")).await;
    let there = page.location().unwrap();
    assert_eq!((page.response.status, there.origin()), (302, provider.issuer().to_owned()));
}
