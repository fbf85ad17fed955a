//! A session at the end of its tokens: one refresh, whichever of two workers is asked how often.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockgate_e2e::cookie_jar::set_cookies;
use lockgate_e2e::oidc_provider::{ProviderFault, Wrong};
use lockgate_e2e::relying_party::RelyingParty;
use lockgate_e2e::visitor::connections_of_workers;
use lockgate_e2e::{Client, Response};

use super::*;

async fn two_workers(provider: &OidcProvider) -> Stack {
    let config = door_config(provider.issuer(), |_| {});
    let stack = started_for(provider, door_stack(&config).concurrency(2)).await;
    assert_eq!(connections_of_workers(&stack).await.len(), 2);
    stack
}

fn asked_with(session: &str) -> Request {
    Request::get("/data").header("accept", "*/*").header("cookie", format!("{SESSION}={session}"))
}

/// The session that an answer sets, if it sets one.
fn session_in(answer: &Response) -> Option<String> {
    set_cookies(answer).into_iter().find(|cookie| cookie.name == SESSION).map(|cookie| cookie.value)
}

/// The refresh tokens that the provider was given, in order.
async fn refresh_tokens(provider: &OidcProvider) -> Vec<Value> {
    let calls = provider.calls("token").await;
    let refreshes = calls.iter().filter(|call| call["form"]["grant_type"] == "refresh_token");
    refreshes.map(|call| call["form"]["refresh_token"].clone()).collect()
}

/// Each of them was used once, and each refresh succeeded.
async fn assert_each_used_once(provider: &OidcProvider, stack: &Stack) {
    let mut tokens = refresh_tokens(provider).await;
    let count = tokens.len();
    tokens.sort_by_key(Value::to_string);
    tokens.dedup();
    assert_eq!((tokens.len(), provider.reuses().await), (count, 0));
    assert_eq!(stack.admin().stat("wasmcustom.lockgate.oidc.refreshed").await, count as u64);
    assert_eq!(stack.admin().stat("wasmcustom.lockgate.oidc.refresh_failed").await, 0);
}

/// Asks on one connection, over and over, with the newest session that any of them has been given.
async fn keep_asking(client: Client, newest: Arc<Mutex<String>>, done: Arc<AtomicBool>) -> Vec<u16> {
    let mut connection = client.connect().await;
    let mut statuses = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let session = newest.lock().unwrap().clone();
        let request = asked_with(&session).header("host", client.address().to_string());
        connection.write(&request.to_bytes()).await;
        let answer = connection.read("GET").await.unwrap();
        statuses.push(answer.status);
        if let Some(newer) = session_in(&answer) {
            *newest.lock().unwrap() = newer;
        }
        // A page that asks a hundred times a second, not as often as the machine can.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    statuses
}

/// The same as a browser of its own, which shares a session and has its own copy of the cookie.
async fn keep_asking_alone(mut agent: UserAgent, url: String, done: Arc<AtomicBool>) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !done.load(Ordering::Relaxed) {
        statuses.push(agent.fetch(&url).await.response.status);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_refresh_tokens_are_used_once_while_many_connections_of_two_workers_go_on() {
    const REFRESHES: usize = 3;
    let provider = OidcProvider::builder().ttl("AccessToken", Duration::from_secs(3)).start().await;
    let stack = two_workers(&provider).await;
    let agent = signed_in(&stack, "grace").await;
    let newest = Arc::new(Mutex::new(agent.jar.value(SESSION).unwrap().to_owned()));
    let done = Arc::new(AtomicBool::new(false));
    let mut asking = Vec::new();
    for _ in 0..12 {
        asking.push(tokio::spawn(keep_asking(stack.client(), Arc::clone(&newest), Arc::clone(&done))));
    }
    for _ in 0..4 {
        let url = format!("{}/data", public_url(&stack));
        asking.push(tokio::spawn(keep_asking_alone(agent.clone(), url, Arc::clone(&done))));
    }
    provider.wait_for_calls("token", 1 + REFRESHES).await;
    done.store(true, Ordering::Relaxed);
    let mut statuses = Vec::new();
    for asking in asking {
        statuses.extend(asking.await.unwrap());
    }
    let workers = connections_of_workers(&stack).await;
    println!("{} answers, by workers with {workers:?} connections", statuses.len());
    assert!(workers.iter().all(|count| *count > 4), "{workers:?}");
    let others: Vec<_> = statuses.iter().filter(|status| **status != 200).collect();
    assert!(statuses.len() > 500 && others.is_empty(), "{} answers, {others:?}", statuses.len());
    assert!(refresh_tokens(&provider).await.len() >= REFRESHES);
    assert_each_used_once(&provider, &stack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_an_expired_session_wait_for_one_refresh_whichever_worker_they_come_to() {
    let short = Duration::from_secs(2);
    let builder = OidcProvider::builder().ttl("AccessToken", short).ttl("ClientCredentials", short);
    let provider = builder.start().await;
    let stack = two_workers(&provider).await;
    let agent = signed_in(&stack, "heidi").await;
    let session = agent.jar.value(SESSION).unwrap().to_owned();
    // A token as long as those of the session, and later than they are: when it has expired, so
    // have they.
    let party = RelyingParty::discover(provider.issuer(), provider.client_id(), provider.secret(), "").await;
    let later = party.client_credentials("", None).await;
    until("the tokens' end", async || {
        let told = party.post("introspection_endpoint", &[("token", &later)]).await.json();
        (told["active"] == false).then_some(())
    })
    .await;

    // Whatever is asked now waits.
    provider.fail(&[ProviderFault::at("token", Wrong::Hold)]).await;
    let before = connections_of_workers(&stack).await;
    let mut asking = Vec::new();
    for _ in 0..40 {
        let (client, request) = (stack.client(), asked_with(&session));
        asking.push(tokio::spawn(async move { client.send(&request).await }));
    }
    provider.wait_for_calls("token", 2).await;
    stack.admin().wait_for_stat("http.lockgate.downstream_rq_active", |active| active == 40).await;
    let taken = connections_of_workers(&stack).await;
    assert!(taken.iter().zip(&before).all(|(now, before)| now > before), "{before:?} {taken:?}");
    provider.heal().await;
    for asking in asking {
        let answer = asking.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(session_in(&answer).is_some(), "the newer session for each of them");
    }
    assert_eq!(refresh_tokens(&provider).await.len(), 1);
    assert_each_used_once(&provider, &stack).await;
}
