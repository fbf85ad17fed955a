//! Many at once: those who wait, those who leave, and those who are too many.

use std::time::{Duration, Instant};

use lockgate_e2e::guarded_routes::{
    AUDIENCE, guarded_stack, navigation, signed_in, traps, with_cookies, with_token,
};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::visitor::until;
use lockgate_e2e::{Fault, Request, Response, Stack};
use serde_json::json;

use crate::assert_alive;

const ACTIVE: &str = "http.lockgate.downstream_rq_active";

/// What Envoy holds of memory, in bytes.
async fn allocated(stack: &Stack) -> u64 {
    stack.admin().stat("server.memory_allocated").await
}

#[tokio::test]
async fn thousands_who_wait_and_leave_leave_nothing_behind() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    let agent = signed_in(&stack).await;
    let since = stack.gateway_log().len();
    assert_alive(&stack, &provider, since).await;
    let address = stack.client().address().to_string();
    // Opaque tokens wait for tokeninfo, and a browser without a session for nothing.
    let hold = provider.hold(Endpoint::Tokeninfo);
    let mut after = Vec::new();
    for round in 0..8 {
        let mut connections = Vec::new();
        for caller in 0..400 {
            let request = match caller % 2 {
                // Half of them ask for one token, the others each for one of their own.
                0 => with_token(Request::get("/left"), "one-for-all"),
                _ => with_token(Request::get("/left"), &format!("opaque-{round}-{caller}")),
            };
            let request = request.header("host", &address).header("x-pad", "p".repeat(4_000));
            let mut connection = stack.client().connect().await;
            connection.write(&request.to_bytes()).await;
            connections.push(connection);
        }
        stack.admin().wait_for_stat(ACTIVE, |active| active >= 1).await;
        drop(connections);
        stack.admin().wait_for_stat(ACTIVE, |active| active == 0).await;
        after.push(allocated(&stack).await);
        // Whoever has a session or a signed token waits for none of it.
        let known = with_cookies(&stack, &agent, Request::get("/meanwhile"));
        assert_eq!(stack.client().send(&known).await.status, 200);
        let token = provider.mint_access_token(AUDIENCE, &format!("meanwhile-{round}")).compact();
        assert_eq!(stack.client().send(&with_token(Request::get("/meanwhile"), &token)).await.status, 200);
    }
    hold.release();
    provider.heal();
    stack.assert_no_trace("/left");
    let grown = after[7].saturating_sub(after[3]);
    assert!(grown < 4 << 20, "{grown} bytes more after each of the last rounds: {after:?}");
    let token = provider.access_token(&json!({"sub": "x", "email": "x@example.com", "email_verified": true}));
    let recovered = with_token(Request::get("/recovered"), &token);
    until("tokens are asked for again", async || {
        (stack.client().send(&recovered).await.status == 200).then_some(())
    })
    .await;
    assert_alive(&stack, &provider, since).await;
}

#[tokio::test]
async fn people_who_leave_while_their_session_is_refreshed_do_not_stop_it() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |config| {
        config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub"});
    });
    let stack = stack.start().await;
    provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
    let agent = signed_in(&stack).await;
    provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    let hold = provider.hold(Endpoint::Token);
    let before = provider.count(Endpoint::Token);
    let address = stack.client().address().to_string();
    let mut connections = Vec::new();
    for _ in 0..200 {
        let request = with_cookies(&stack, &agent, Request::get("/left").header("host", &address));
        let mut connection = stack.client().connect().await;
        connection.write(&request.to_bytes()).await;
        connections.push(connection);
    }
    provider.wait_for_calls(Endpoint::Token, before + 1).await;
    drop(connections);
    stack.admin().wait_for_stat(ACTIVE, |active| active == 0).await;
    hold.release();
    stack.admin().wait_for_stat("wasmcustom.lockgate.oidc.refreshed", |refreshed| refreshed == 1).await;
    let answer = stack.client().send(&with_cookies(&stack, &agent, Request::get("/stayed"))).await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers.text("set-cookie").unwrap().starts_with("lockgate="), "the newer session");
    assert_eq!((provider.count(Endpoint::Token), provider.reuses()), (before + 1, 0));
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn six_hundred_who_wait_for_slow_metadata_are_answered_in_time_and_then_it_heals() {
    let provider = HostileProvider::start();
    let hold = provider.hold(Endpoint::Discovery);
    let stack = guarded_stack(&provider, |_| {}).start().await;
    provider.wait_for_calls(Endpoint::Discovery, 1).await;
    let client = stack.client();
    let begin = Instant::now();
    let callers = (0..600).map(|_| {
        tokio::spawn(async move {
            let answer = client.try_send(&navigation("/page")).await;
            (answer, begin.elapsed())
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut answers: Vec<(Response, Duration)> = Vec::new();
    let mut unanswered = Vec::new();
    for caller in callers {
        match caller.await.unwrap() {
            (Ok(answer), took) => answers.push((answer, took)),
            (Err(error), took) => unanswered.push(format!("{error} after {took:?}")),
        }
    }
    assert!(unanswered.is_empty(), "{} were not answered: {:#?}", unanswered.len(), unanswered.first());
    for (answer, took) in &answers {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.headers.contains("retry-after") && !answer.headers.contains("set-cookie"));
        assert!(answer.text().contains("<h1>"), "a page for a browser: {}", answer.text());
        assert!(*took < Duration::from_secs(9), "{took:?}");
    }
    // Only so many wait at all; the others are told at once.
    let at_once = answers.iter().filter(|(_, took)| *took < Duration::from_secs(3)).count();
    assert!(at_once >= 60, "{at_once} of 600 were told at once");
    // Programs and what is open do not wait for it.
    assert_eq!(client.send(&Request::get("/public/meanwhile")).await.status, 200);
    assert_eq!(client.send(&Request::get("/page")).await.status, 401);
    assert!(provider.count(Endpoint::Discovery) < 20, "{} calls", provider.count(Endpoint::Discovery));
    hold.release();
    provider.heal();
    until("a sign-in begins", async || (client.send(&navigation("/page")).await.status == 302).then_some(()))
        .await;
    signed_in(&stack).await;
    stack.admin().wait_for_stat(ACTIVE, |active| active == 0).await;
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn more_than_may_wait_for_a_tokens_issuer_are_sent_away_and_it_serves_on() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    assert_alive(&stack, &provider, 0).await;
    let hold = provider.hold(Endpoint::Tokeninfo);
    let client = stack.client();
    let begin = Instant::now();
    let callers = (0..700).map(|caller| {
        tokio::spawn(async move {
            let token = format!("crowd-{}", caller % 100);
            client.send(&with_token(Request::get("/crowd"), &token)).await
        })
    });
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        let answer = caller.await.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.headers.contains("retry-after"));
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    // No more than 64 tokens are asked for at once.
    assert!(provider.count(Endpoint::Tokeninfo) <= 2 * 64, "{} calls", provider.count(Endpoint::Tokeninfo));
    stack.assert_no_trace("/crowd");
    hold.release();
    provider.heal();
    assert_alive(&stack, &provider, 0).await;
}

/// As many as may wait at once, in one worker, and a few more.
const CROWD: usize = 520;

/// What a crowd is told that waits for one answer of the provider, which comes when all are there.
async fn crowd(request: Request, stack: &Stack, release: impl Future<Output = ()>) -> Vec<u16> {
    let client = stack.client();
    let callers = (0..CROWD).map(|_| {
        let request = request.clone();
        tokio::spawn(async move { client.try_send(&request).await.map_or(0, |answer| answer.status) })
    });
    let callers: Vec<_> = callers.collect();
    // Those that may not wait have been answered; the others are there.
    stack.admin().wait_for_stat(ACTIVE, |active| (400..=512).contains(&active)).await;
    release.await;
    let mut told = Vec::new();
    for caller in callers {
        told.push(caller.await.unwrap());
    }
    told
}

#[tokio::test]
async fn a_crowd_that_waits_for_one_answer_is_told_it_without_a_trap() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    assert_alive(&stack, &provider, 0).await;
    let good = provider.access_token(&json!({"sub": "x"}));
    let body = "b".repeat(2_000);
    let mut wrong = Vec::new();
    for (name, status, request) in [
        ("let in", 200, with_token(Request::get("/crowd-in"), &good)),
        ("refused", 401, with_token(Request::get("/crowd-out"), "opaque")),
        ("refused pages", 401, with_token(navigation("/crowd-out"), "opaque-page")),
        (
            "refused with bodies",
            401,
            with_token(Request::post("/crowd-out", "text/plain", body.clone()), "opaque-b"),
        ),
        ("let in with bodies", 200, {
            let good = provider.access_token(&json!({"sub": "y"}));
            with_token(Request::post("/crowd-in", "text/plain", body), &good)
        }),
    ] {
        let since = stack.gateway_log().len();
        let hold = provider.hold(Endpoint::Tokeninfo);
        let told = crowd(request, &stack, async {
            hold.release();
            provider.heal();
        })
        .await;
        let others: Vec<u16> = told.iter().copied().filter(|told| *told != status && *told != 503).collect();
        wrong.extend(traps(&stack, since).into_iter().map(|trap| format!("{name}: {trap}")));
        if !others.is_empty() {
            wrong.push(format!("{name}: {} of {CROWD} were told {:?}", others.len(), others.first()));
        }
        let sent_away = told.iter().filter(|told| **told == 503).count();
        if sent_away > CROWD - 400 {
            wrong.push(format!("{name}: {sent_away} were sent away"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stack.assert_no_trace("/crowd-out");
    assert_alive(&stack, &provider, 0).await;
}

#[tokio::test]
async fn a_crowd_that_waits_for_one_refresh_goes_on_without_a_trap() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |config| {
        config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub"});
    });
    let stack = stack.start().await;
    provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
    let agent = signed_in(&stack).await;
    provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    // Expired, so that everybody waits for the one who asks.
    let expired = Instant::now() + Duration::from_millis(2_100);
    until("the session's end", async || (Instant::now() > expired).then_some(())).await;
    let hold = provider.hold(Endpoint::Token);
    let before = provider.count(Endpoint::Token);
    let request = with_cookies(&stack, &agent, Request::get("/crowd-refreshed"));
    let told = crowd(request, &stack, async {
        hold.release();
        provider.heal();
    })
    .await;
    let wrong: Vec<u16> = told.iter().copied().filter(|told| !matches!(told, 200 | 503)).collect();
    assert_eq!(traps(&stack, 0), [""; 0]);
    assert!(wrong.is_empty(), "{} of {CROWD} were told {:?}", wrong.len(), wrong.first());
    assert!(told.iter().filter(|told| **told == 200).count() >= 400);
    assert_eq!((provider.count(Endpoint::Token), provider.reuses()), (before + 1, 0));
}

#[tokio::test]
async fn a_crowd_that_waits_for_metadata_is_sent_to_sign_in_without_a_trap() {
    let provider = HostileProvider::start();
    let hold = provider.hold(Endpoint::Discovery);
    let stack = guarded_stack(&provider, |_| {}).start().await;
    provider.wait_for_calls(Endpoint::Discovery, 1).await;
    let told = crowd(navigation("/page"), &stack, async {
        hold.release();
        provider.heal();
    })
    .await;
    assert_eq!(traps(&stack, 0), [""; 0]);
    let wrong: Vec<u16> = told.iter().copied().filter(|told| !matches!(told, 302 | 503)).collect();
    assert!(wrong.is_empty(), "{} of {CROWD} were told {:?}", wrong.len(), wrong.first());
    assert!(told.iter().filter(|told| **told == 302).count() >= 400);
}

#[tokio::test]
async fn a_crowd_that_waits_for_the_queue_is_told_without_a_trap() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    let token = provider.mint_access_token(AUDIENCE, "program-1").compact();
    // Whoever comes waits for the queue's access token, and hears at one moment that there is none.
    stack.proxy().program(|call| call.path().ends_with("/token").then_some(Fault::Hang));
    let request = with_token(Request::post("/wal/crowd-stored", "text/plain", "x"), &token);
    let told = crowd(request, &stack, async {}).await;
    assert_eq!(traps(&stack, 0), [""; 0]);
    let wrong: Vec<u16> = told.iter().copied().filter(|told| *told != 503).collect();
    assert!(wrong.is_empty(), "{} of {CROWD} were told {:?}", wrong.len(), wrong.first());
    stack.assert_no_trace("crowd-stored");
    stack.proxy().heal();
    let request = with_token(Request::post("/wal/behind-the-crowd", "text/plain", "x"), &token);
    until("the queue takes messages again", async || {
        (stack.client().send(&request).await.status == 202).then_some(())
    })
    .await;
}
