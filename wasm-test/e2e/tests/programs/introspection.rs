//! Opaque tokens, which the door asks their issuer about (RFC 7662): the certified provider's, and
//! those of one that wants a token of the door's own.

use lockgate_e2e::oidc_provider::{CLIENT_ID, CLIENT_SECRET, OidcProvider, ProviderFault, Wrong};
use lockgate_e2e::relying_party::RelyingParty;

use super::*;

/// A door that asks the certified provider, and believes it for so long.
async fn asking(provider: &OidcProvider, cache: &str) -> Stack {
    let config = programs_only(&json!({"introspection": {
        "endpoint": format!("{}/token/introspection", provider.issuer()),
        "client_id": CLIENT_ID,
        "client_secret": {"env": "OIDC_CLIENT_SECRET"},
        "cache": cache,
    }}));
    Stack::builder().config(&config).variable("OIDC_CLIENT_SECRET", CLIENT_SECRET).start().await
}

async fn party(provider: &OidcProvider) -> RelyingParty {
    RelyingParty::discover(provider.issuer(), CLIENT_ID, CLIENT_SECRET, "http://127.0.0.1:1/none").await
}

#[tokio::test]
async fn a_programs_opaque_token_is_asked_about_once() {
    let provider = OidcProvider::builder().start().await;
    let stack = asking(&provider, "60s").await;
    let token = party(&provider).await.client_credentials("openid", None).await;
    assert!(!token.contains('.'), "{token}");
    let first = ask(&stack, "/opaque-1", &token).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let seen = stack.delivered("/opaque-1").await;
    // It has no subject, so it is its client.
    assert_eq!(seen.headers.text("x-lockgate-subject").as_deref(), Some("lockgate e2e"));
    assert!(!seen.contains(&token), "{seen:?}");
    for number in 0..20 {
        let path = if number % 2 == 0 { "/again" } else { "/other/route" };
        assert_eq!(ask(&stack, path, &token).await.status, 200);
    }
    let [call] = &provider.calls("introspection").await[..] else { panic!("not one call") };
    assert_eq!((&call["method"], &call["status"]), (&json!("POST"), &json!(200)));
    assert_eq!((&call["form"]["token"], &call["query"]), (&json!(token), &json!({})));
    assert_eq!(call["authorization"], "Basic");
}

#[tokio::test]
async fn a_revoked_token_passes_as_long_as_the_answer_is_believed_and_no_longer() {
    let provider = OidcProvider::builder().start().await;
    let stack = asking(&provider, "2s").await;
    let party = party(&provider).await;
    let token = party.client_credentials("openid", None).await;
    let first = Instant::now();
    assert_eq!(ask(&stack, "/until", &token).await.status, 200);
    // The proxy's clock has whole milliseconds.
    let believed = first + Duration::from_millis(1_990)..Instant::now() + Duration::from_secs(2);
    assert_eq!(party.post("revocation_endpoint", &[("token", &token)]).await.status, 200);
    passes_until(&stack, &token, believed).await;
    assert_eq!(provider.count("introspection").await, 2);
}

#[tokio::test]
async fn a_token_passes_to_its_end_however_long_the_answer_may_be_believed() {
    let provider = OidcProvider::builder().ttl("ClientCredentials", Duration::from_secs(2)).start().await;
    let stack = asking(&provider, "60s").await;
    let party = party(&provider).await;
    let asked = Instant::now();
    let token = party.client_credentials("openid", None).await;
    // Its end is in whole seconds.
    let end = asked + Duration::from_secs(1)..Instant::now() + Duration::from_secs(3);
    assert_eq!(ask(&stack, "/until", &token).await.status, 200);
    passes_until(&stack, &token, end).await;
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_refused_and_asked_about_once() {
    let provider = OidcProvider::builder().start().await;
    let stack = asking(&provider, "60s").await;
    for _ in 0..5 {
        assert_refused(&stack, "/unknown-", "nobody-knows-it", "token_inactive").await;
    }
    assert_eq!(provider.count("introspection").await, 1);
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_a_503_and_says_nothing_of_the_token() {
    let provider = OidcProvider::builder().start().await;
    let stack = asking(&provider, "60s").await;
    let token = party(&provider).await.client_credentials("openid", None).await;
    for wrong in [
        Wrong::Status(500, "down"),
        Wrong::Status(401, "{\"error\":\"invalid_client\"}"),
        Wrong::Status(429, "slow down"),
        Wrong::Status(200, "<html>"),
        Wrong::Status(200, "{\"active\":\"true\"}"),
        Wrong::Reset,
        Wrong::AnswerLost,
    ] {
        let what = format!("{wrong:?}");
        provider.fail(&[ProviderFault::at("introspection", wrong)]).await;
        let answer = ask(&stack, "/unasked-", &token).await;
        assert_eq!((answer.status, &*stack.reason(&answer).await), (503, "issuer_unavailable"), "{what}");
        assert!(answer.headers.contains("retry-after"), "{what}");
        assert!(!answer.headers.contains("www-authenticate"), "{what}: a program would throw its token away");
    }
    stack.assert_no_trace("/unasked-");
    provider.heal().await;
    assert_eq!(ask(&stack, "/asked", &token).await.status, 200);
    // What was answered before holds through an outage.
    provider.fail(&[ProviderFault::at("*", Wrong::Reset)]).await;
    assert_eq!(ask(&stack, "/believed", &token).await.status, 200);
}

/// A door that needs a token of its own to ask this issuer, with a secret that must be encoded.
async fn asking_with_a_token(issuer: &HostileProvider) -> Stack {
    let config = programs_only(&json!({"introspection": {
        "endpoint": issuer.url("/introspect"),
        "issuer": "hostile",
        "client_id": CLIENT_ID,
        "client_secret": {"env": "OIDC_CLIENT_SECRET"},
        "token_endpoint": issuer.url("/token"),
        "scopes": ["introspect", "read"],
    }}));
    Stack::builder().config(&config).variable("OIDC_CLIENT_SECRET", CLIENT_SECRET).start().await
}

/// Sends requests at once, and returns their statuses when all have been answered. `held` goes on when
/// so many have asked the cache in vain.
async fn at_once(
    stack: &Stack,
    tokens: Vec<String>,
    missed: u64,
    held: lockgate_e2e::hostile_provider::Hold,
) {
    let client = stack.client();
    let requests: Vec<_> = tokens
        .into_iter()
        .map(|token| tokio::spawn(async move { client.send(&with_token("/at-once", &token)).await.status }))
        .collect();
    stack.admin().wait_for_stat("wasmcustom.lockgate.oidc.cache.miss", |count| count == missed).await;
    held.release();
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn the_doors_own_token_is_renewed_once_for_all_who_need_it() {
    let issuer = HostileProvider::start();
    let stack = asking_with_a_token(&issuer).await;
    let new_token = |n: usize| issuer.access_token(&json!({"sub": format!("program-{n}")}));
    issuer.behave(|manners| manners.access_lifetime = Duration::from_secs(2));
    let first = new_token(0);
    assert_eq!(ask(&stack, "/own-token", &first).await.status, 200);
    issuer.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    let [own] = &issuer.calls_to(Endpoint::Token)[..] else { panic!("not one token") };
    assert_eq!(own.parameter("grant_type").as_deref(), Some("client_credentials"));
    assert_eq!(own.parameter("scope").as_deref(), Some("introspect read"));
    let basic = lockgate_e2e::relying_party::basic(CLIENT_ID, CLIENT_SECRET);
    assert_eq!(own.request.headers.text("authorization"), Some(basic));
    let asked = &issuer.calls_to(Endpoint::Introspection)[0];
    assert_eq!(asked.parameter("token"), Some(first));
    let bearer = asked.request.headers.text("authorization").unwrap();
    assert!(bearer.starts_with("Bearer opaque-"), "{bearer}");

    // The end of the door's token, as the door was told it.
    tokio::time::sleep_until((Instant::now() + Duration::from_secs(2)).into()).await;
    let held = issuer.hold(Endpoint::Token);
    at_once(&stack, (1..41).map(new_token).collect(), 41, held).await;
    assert_eq!(issuer.count(Endpoint::Token), 2, "one renewal for forty");
    assert_eq!(issuer.count(Endpoint::Introspection), 41);
    let own = issuer.calls_to(Endpoint::Introspection).into_iter().map(|call| call.request.headers);
    for bearer in own.filter_map(|headers| headers.text("authorization")) {
        let token = bearer.trim_start_matches("Bearer ");
        assert!(token.len() > 12 && stack.gateway_log().matching(|line| line.contains(token)).is_empty());
    }
}

#[tokio::test]
async fn requests_with_one_token_ask_once_also_at_once() {
    let issuer = HostileProvider::start();
    let stack = asking_with_a_token(&issuer).await;
    let token = issuer.access_token(&json!({"sub": "program"}));
    let held = issuer.hold(Endpoint::Introspection);
    at_once(&stack, vec![token; 40], 40, held).await;
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
}

#[tokio::test]
async fn a_token_of_the_doors_own_that_was_revoked_is_replaced() {
    let issuer = HostileProvider::start();
    let stack = asking_with_a_token(&issuer).await;
    assert_eq!(ask(&stack, "/x", &issuer.access_token(&json!({"sub": "a"}))).await.status, 200);
    issuer.revoke_everything();
    let token = issuer.access_token(&json!({"sub": "b"}));
    let answer = ask(&stack, "/revoked-", &token).await;
    assert!([200, 503].contains(&answer.status), "its own trouble is not the program's: {}", answer.status);
    assert_eq!(ask(&stack, "/replaced", &token).await.status, 200);
    assert_eq!(issuer.count(Endpoint::Token), 2);
}
