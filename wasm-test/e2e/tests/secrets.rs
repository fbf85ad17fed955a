//! Secrets: where they come from, how they change, and that they stand nowhere.

use std::path::Path;
use std::time::Duration;

use lockgate_e2e::stack::{self, LOG_KEY, SLACK_SECRET};
use lockgate_e2e::{Call, Fault, Request, Stack, slack};
use tokio::time::Instant;

const FROM_SECRET_MANAGER: &str = "sm://projects/e2e/secrets/slack/versions/latest";

/// A new version of the secret, as an operator of the local services makes one.
fn store(stack: &Stack, version: u32, value: &str) {
    let directory = stack.services_directory().join("secrets/slack");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("half-written"), value).unwrap();
    std::fs::rename(directory.join("half-written"), directory.join(version.to_string())).unwrap();
}

fn fetches(stack: &Stack) -> Vec<Call> {
    stack
        .proxy()
        .calls()
        .matching(|call| call.request.path().ends_with("/secrets/slack/versions/latest:access"))
}

async fn send(stack: &Stack, marker: &str, secret: &str) -> u16 {
    let request = slack::signed(slack::command("/slack/command", marker), secret);
    stack.client().send(&request).await.status
}

#[tokio::test]
async fn a_secret_stands_in_no_configuration_no_file_no_argument_and_no_log() {
    let stack = Stack::builder().variable("ENVOY_LOG_LEVEL", "info").start().await;
    assert_eq!(send(&stack, "planted", SLACK_SECRET).await, 200);
    assert_eq!(send(&stack, "planted-forged", "wrong").await, 401);
    stack.delivered("planted").await;
    let access_token = stack.proxy().calls().matching(|call| call.request.path().ends_with("/default/token"))
        [0]
    .answer
    .as_ref()
    .unwrap()
    .json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut places = Vec::new();
    for page in [
        "/config_dump?include_eds",
        "/server_info",
        "/stats",
        "/clusters",
        "/listeners",
        "/contention",
        "/runtime",
    ] {
        places.push((page.to_owned(), stack.admin().text(page).await));
    }
    assert!(places[0].1.contains("SLACK_SIGNING_SECRET"), "the configuration names the secret");
    for file in files(&stack.directory().join("state")) {
        places.push((file.clone(), String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned()));
    }
    assert!(places.iter().any(|(name, _)| name.ends_with("envoy.json")), "the rendered file was looked at");
    for process in std::fs::read_dir("/proc").unwrap() {
        let arguments = std::fs::read(process.unwrap().path().join("cmdline")).unwrap_or_default();
        places.push(("arguments".to_owned(), String::from_utf8_lossy(&arguments).into_owned()));
    }
    stack.stop_gateway().await;
    places.push(("log".to_owned(), stack.gateway_log().since(0).join("\n")));
    places.push(("log of the services".to_owned(), stack.services_log().since(0).join("\n")));
    for (name, text) in places {
        for secret in [SLACK_SECRET, LOG_KEY, &access_token] {
            assert!(!text.contains(secret), "{name} holds a secret");
        }
    }
}

fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn every_secret_of_a_list_is_accepted_while_it_is_rotated() {
    let secrets = format!("the-newer-secret, {SLACK_SECRET}");
    let stack = Stack::builder().variable("SLACK_SIGNING_SECRET", &secrets).start().await;
    assert_eq!(send(&stack, "newer", "the-newer-secret").await, 200);
    assert_eq!(send(&stack, "older", SLACK_SECRET).await, 200);
    for wrong in ["the-newer", &secrets, "", " "] {
        assert_eq!(send(&stack, "neither", wrong).await, 401, "{wrong:?}");
    }
    stack.assert_no_trace("neither");
}

#[tokio::test]
async fn a_secret_of_secret_manager_is_fetched_once_and_again_when_it_does_not_fit() {
    let stack = Stack::builder().variable("SLACK_SIGNING_SECRET", FROM_SECRET_MANAGER).start().await;
    // Every byte of standard base64 that is not a letter is in what is transferred.
    let first = "first~~~???>>>secret";
    store(&stack, 1, first);
    let client = stack.client();
    let many = (0..50).map(|number| {
        let request = slack::signed(slack::command("/slack/command", &format!("first-{number}")), first);
        tokio::spawn(async move { client.send(&request).await.status })
    });
    for status in many.collect::<Vec<_>>() {
        assert_eq!(status.await.unwrap(), 200);
    }
    let calls = fetches(&stack);
    assert_eq!(calls.len(), 1, "fetched once, though many waited");
    assert!(calls[0].request.headers.text("authorization").is_some_and(|value| value.starts_with("Bearer ")));
    assert!(!calls[0].request.contains("x-slack-signature"), "{:?}", calls[0].request);

    store(&stack, 2, "second secret");
    assert_eq!(send(&stack, "second", "second secret").await, 200, "no restart, and no wait for a period");
    assert_eq!(send(&stack, "first-overlaps", first).await, 200);
    let (fetched, since) = (fetches(&stack).len(), Instant::now());
    let client = stack.client();
    let flood = (0..200).map(|number| {
        let request = slack::signed(slack::command("/slack/command", &format!("flood-{number}-")), "wrong");
        tokio::spawn(async move { client.send(&request).await.status })
    });
    for status in flood.collect::<Vec<_>>() {
        assert_eq!(status.await.unwrap(), 401);
    }
    let looks = since.elapsed().as_millis() / 500 + 2;
    let made = fetches(&stack).len() - fetched;
    assert!(made as u128 <= looks, "a flood of wrong signatures made {made} fetches");
    stack.assert_no_trace("flood-");
}

/// Many commands at once, by two secrets in turn; how each was answered.
async fn under_both(
    stack: &Stack,
    name: &str,
    count: usize,
    secrets: [&'static str; 2],
) -> Vec<(String, u16)> {
    let client = stack.client();
    let sent = (0..count).map(|number| {
        let marker = format!("{name}-{number}-{}.", number % 2);
        let command = slack::command("/slack/command", &marker);
        let request = slack::signed(command, secrets[number % 2]);
        tokio::spawn(async move { (marker, client.send(&request).await.status) })
    });
    let mut answered = Vec::new();
    for one in sent.collect::<Vec<_>>() {
        answered.push(one.await.unwrap());
    }
    answered
}

#[tokio::test]
async fn a_rotation_under_load_refuses_nothing_valid_and_takes_nothing_stale_behind_the_overlap() {
    const OVERLAP: Duration = Duration::from_secs(3);
    let secret = "signing_secret: { env: SLACK_SIGNING_SECRET }";
    assert!(stack::CONFIG.contains(secret));
    let config = stack::CONFIG.replace(secret, &format!("{secret}\n  overlap: 3s"));
    let builder = Stack::builder().config(&config).concurrency(2);
    let stack = builder.variable("SLACK_SIGNING_SECRET", FROM_SECRET_MANAGER).start().await;
    store(&stack, 1, "before");
    for (marker, status) in under_both(&stack, "still", 40, ["before", "before"]).await {
        assert_eq!(status, 200, "{marker}");
    }
    store(&stack, 2, "behind");
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(2) {
        for (marker, status) in under_both(&stack, &format!("both-{rounds}"), 40, ["before", "behind"]).await
        {
            assert_eq!(status, 200, "{marker}");
        }
        rounds += 1;
    }
    // Each worker has seen the new one by now, so the overlap of each ends within its length.
    let over = Instant::now() + OVERLAP;
    assert!(rounds > 1, "there was load");
    tokio::time::sleep_until(over).await;
    for (marker, status) in under_both(&stack, "over", 40, ["before", "behind"]).await {
        assert_eq!(status, if marker.ends_with("-0.") { 401 } else { 200 }, "{marker}");
    }
    for number in (0..40).step_by(2) {
        stack.assert_no_trace(&format!("over-{number}-0."));
    }
}

#[tokio::test]
async fn a_secret_outlives_secret_manager() {
    let stack = Stack::builder().variable("SLACK_SIGNING_SECRET", FROM_SECRET_MANAGER).start().await;
    store(&stack, 1, SLACK_SECRET);
    assert_eq!(send(&stack, "fetched", SLACK_SECRET).await, 200);
    for fault in [Fault::Refused(403), Fault::Refused(500), Fault::Reset] {
        stack.proxy().program(move |call| call.path().contains("/secrets/").then_some(fault));
        assert_eq!(send(&stack, "wrong-meanwhile", "wrong").await, 401, "{fault:?}");
        assert_eq!(send(&stack, "kept", SLACK_SECRET).await, 200, "{fault:?}");
    }
}

#[tokio::test]
async fn while_a_secret_cannot_be_had_nothing_passes_and_nothing_is_told() {
    let stack = Stack::builder().variable("SLACK_SIGNING_SECRET", FROM_SECRET_MANAGER).start().await;
    store(&stack, 1, SLACK_SECRET);
    for fault in
        [Fault::Refused(403), Fault::Refused(500), Fault::Reset, Fault::AnswerCut, Fault::Refused(200)]
    {
        stack.proxy().program(move |call| call.path().contains("/secrets/").then_some(fault));
        let request = slack::signed(slack::command("/slack/command", "no-secret-yet"), SLACK_SECRET);
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 503, "{fault:?}");
        for told in ["secret", "projects/", "programmed", "403", "500"] {
            assert!(!answer.text().to_lowercase().contains(told), "{fault:?}: {}", answer.text());
        }
        assert!(answer.headers.contains("retry-after"));
    }
    stack.assert_no_trace("no-secret-yet");
    stack.proxy().heal();
    let recovered = async { while send(&stack, "secret-is-there", SLACK_SECRET).await != 200 {} };
    tokio::time::timeout(Duration::from_secs(15), recovered).await.expect("the filter recovers");
    assert_eq!(stack.client().send(&Request::get("/health")).await.status, 204);
}
