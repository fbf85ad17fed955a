//! Attack family K: the proxy's identity. Metadata down, error texts in a token's place, an audience of
//! the attacker's choice, and the user's own token at another service.

use std::time::Duration;

use lockgate_e2e::door::{COOKIE_SECRET, door_config};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::identity::{AUDIENCE, asked, assert_shown, builder, claims, is_identity};
use lockgate_e2e::oidc_provider::CLIENT_SECRET;
use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Envelope, Fault, Request, Stack, slack};
use serde_json::json;

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_nothing_is_lost() {
    for fault in [
        Fault::Refused(500),
        Fault::Refused(403),
        // With a body that is no token.
        Fault::Refused(200),
        Fault::Reset,
        Fault::AnswerCut,
        Fault::AnswerLost,
        Fault::Hang,
    ] {
        let stack = builder("").start().await;
        stack.proxy().program(move |call| is_identity(call).then_some(fault));
        let request = Request::get("/public/nothing").header("authorization", "Bearer forged");
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 503, "{fault:?}");
        assert_eq!(answer.text(), "The service cannot be reached right now. Please try again.\n");
        assert_eq!(stack.reason(&answer).await, "no_identity");
        stack.assert_no_trace("nothing");

        let command = slack::signed(slack::command("/slack/command", "waits-"), SLACK_SECRET);
        assert_eq!(stack.client().send(&command).await.status, 200, "what is stored needs no identity");
        assert!(stack.upstream().requests().is_empty(), "{fault:?}");
        stack.proxy().heal();
        assert_shown(&stack.delivered("waits-").await.request);
        assert_eq!(stack.dead_letters().with("waits-"), [], "{fault:?}");
    }
}

#[tokio::test]
async fn while_the_metadata_server_is_gone_the_token_that_is_there_stays_good() {
    let stack = builder("").start().await;
    assert_eq!(stack.client().send(&Request::get("/public/before")).await.status, 200);
    stack.proxy().leave().await;
    for number in 0..20 {
        let target = format!("/public/meanwhile-{number}");
        assert_eq!(stack.client().send(&Request::get(&target)).await.status, 200);
        assert_shown(&stack.delivered(&target).await.request);
    }
    stack.proxy().come_back();
}

#[tokio::test]
async fn the_audience_and_the_account_are_the_configurations_whatever_a_client_says() {
    let stack = builder("").start().await;
    for (number, (name, value)) in [
        ("host", "attacker.example"),
        ("x-forwarded-host", "attacker.example"),
        ("x-lockgate-upstream-identity", "passed"),
        ("x-goog-authenticated-user-email", "accounts.google.com:ceo@example.com"),
        ("x_serverless_authorization", "Bearer forged"),
        ("X-SERVERLESS-AUTHORIZATION", "Bearer forged"),
        ("x-serverless-authorization", "\u{e9}\u{ff}"),
        ("authorization", "Bearer \u{e9}\u{ff}"),
        ("authorization", ""),
        ("metadata-flavor", "Google"),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/public/attack-{number}?audience=https://attacker.example");
        let request = Request::get(&target).header(name, value);
        assert_eq!(stack.client().send(&request).await.status, 200, "{name}");
        assert_shown(&stack.delivered(&format!("attack-{number}?")).await.request);
    }
    let asked = asked(&stack);
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].request.target.contains("attacker"), "{:?}", asked[0].request);
}

#[tokio::test]
async fn an_envelope_cannot_bring_an_identity_of_its_own() {
    let stack = builder("").start().await;
    for header in ["authorization", "x-serverless-authorization"] {
        let marker = format!("smuggled-{header}");
        let envelope = Envelope::new(&marker, "POST", &format!("/{marker}")).header(header, "Bearer forged");
        assert_eq!(stack.push(&envelope).await.status, 204);
        stack.dead_letters().wait_for(&marker).await;
        assert_eq!(stack.upstream().requests().matching(|request| request.contains(&marker)).len(), 0);
    }
}

/// A door with an identity for the upstream in this header, and a route that hands tokens on or does not.
async fn door(provider: &HostileProvider, header: &str, forwards: bool) -> Stack {
    let config = door_config(provider.issuer(), |config| {
        config["upstream"]["identity"] = json!({"audience": AUDIENCE, "header": header});
        config["sign_in"]["tokens"] = json!({"jwt": [{"issuer": provider.issuer(), "audiences": ["api"]}]});
        let route = json!({"name": "api", "match": {"path_prefix": "/api"}, "guard": "oidc",
                           "forward_token": forwards});
        config["routes"].as_array_mut().unwrap().insert(0, route);
    });
    let builder = Stack::builder().config(&config).variable("COOKIE_SECRET", COOKIE_SECRET);
    builder.variable("OIDC_CLIENT_SECRET", CLIENT_SECRET).start().await
}

#[tokio::test]
async fn the_users_own_token_goes_to_nobody_but_who_is_to_have_it() {
    let provider = HostileProvider::start();
    let token = provider.mint_access_token("api", "person-1").compact();
    for (header, forwards) in [
        ("authorization", false),
        ("x-serverless-authorization", false),
        ("x-serverless-authorization", true),
    ] {
        let stack = door(&provider, header, forwards).await;
        let request = Request::get("/api/x").header("authorization", format!("Bearer {token}"));
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let reached = stack.delivered("/api/x").await.request;
        assert_eq!(claims(&reached, header).unwrap()["aud"], AUDIENCE);
        assert_eq!(reached.contains(&token), forwards, "{header}, forward_token: {forwards}");
        let told = stack.proxy().calls().matching(|call| call.request.contains(&token));
        assert!(told.is_empty(), "no service of Google's is shown it: {told:?}");

        // Nobody without a token of their own gets the proxy's.
        assert_eq!(stack.client().send(&Request::get("/api/y")).await.status, 401);
        stack.assert_no_trace("/api/y");
    }
}

#[tokio::test]
async fn thousands_that_wait_for_a_token_and_leave_are_forgotten() {
    let stack = builder("").start().await;
    stack.proxy().program(|call| is_identity(call).then_some(Fault::Hang));
    let client = stack.client();
    for _ in 0..10 {
        let crowd = (0..100).map(|_| {
            tokio::spawn(async move {
                let request = Request::get("/public/leaves");
                let _ = tokio::time::timeout(Duration::from_millis(50), client.send(&request)).await;
            })
        });
        for one in crowd.collect::<Vec<_>>() {
            one.await.unwrap();
        }
    }
    stack.proxy().heal();
    let healed = async { while client.send(&Request::get("/public/stays")).await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(15), healed).await.expect("it serves again");
    assert_shown(&stack.delivered("/public/stays").await.request);
    stack.assert_no_trace("/public/leaves");
}
