//! The durability promise: a SIGKILL at any instant loses nothing that was answered.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![cfg(unix)]

mod support;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use lockgate_local::{Options, Server};
use serde_json::{Value, json};
use support::{Api, SUBSCRIPTION, TOPIC, any_port, base64, soon, state_dir};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const STATE_DIR: &str = "LOCKGATE_LOCAL_CRASH_STATE_DIR";
const LISTEN: &str = "LOCKGATE_LOCAL_CRASH_LISTEN";
const ROUNDS: usize = 3;
const PUBLISHERS: usize = 16;
const ANSWERED_BEFORE_THE_KILL: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_when_the_server_is_killed_under_load() {
    let state = state_dir();
    let endpoint = Arc::new(Received::default());
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let routes = Router::new().fallback(receive).with_state(Arc::clone(&endpoint));
    tokio::spawn(async { axum::serve(listener, routes).await });

    let (mut server, address) = start(state.path(), any_port()).await;
    let api = Api::connect(address).await;
    api.create_topic(TOPIC).await;
    let retry = json!({ "minimumBackoff": "0.1s", "maximumBackoff": "0.2s" });
    api.subscribe(
        SUBSCRIPTION,
        TOPIC,
        json!({ "pushConfig": { "pushEndpoint": url }, "retryPolicy": retry }),
    )
    .await;

    let mut answered = HashSet::new();
    for _ in 0..ROUNDS {
        let round = publish_until_killed(&api, &mut server).await;
        assert!(round.len() >= ANSWERED_BEFORE_THE_KILL);
        answered.extend(round);
        // The same port, at once, while old connections are still being torn down.
        server = start(state.path(), address).await.0;
    }
    soon("every answered message", endpoint.all_of(&answered)).await;
    server.kill().await.unwrap();
}

/// Publishes from many tasks, kills the server once enough was answered, and returns every id that was answered.
async fn publish_until_killed(api: &Api, server: &mut Child) -> HashSet<String> {
    let answered = Arc::new(AtomicUsize::new(0));
    let enough = Arc::new(Notify::new());
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        let (api, answered, enough) = (api.clone(), Arc::clone(&answered), Arc::clone(&enough));
        publishers.spawn(async move {
            let mut ids = Vec::new();
            while let Some(id) = publish(&api).await {
                ids.push(id);
                if answered.fetch_add(1, Ordering::Relaxed) + 1 == ANSWERED_BEFORE_THE_KILL {
                    enough.notify_one();
                }
            }
            ids
        });
    }
    soon("enough answers", enough.notified()).await;
    server.kill().await.unwrap();
    publishers.join_all().await.into_iter().flatten().collect()
}

/// None when the server is gone.
async fn publish(api: &Api) -> Option<String> {
    let body = json!({ "messages": [{ "data": base64([7; 300]) }] }).to_string();
    let authorization = format!("Bearer {}", api.token);
    let answer = api.try_send(&format!("/v1/{TOPIC}:publish"), &authorization, body).await?;
    let answer: Value = serde_json::from_slice(&answer).ok()?;
    Some(answer["messageIds"][0].as_str()?.to_owned())
}

/// What the endpoint acknowledged. It refuses every third push, so that there is always something to do again.
#[derive(Default)]
struct Received {
    pushes: AtomicUsize,
    ids: Mutex<HashSet<String>>,
    changed: Notify,
}

impl Received {
    async fn all_of(&self, expected: &HashSet<String>) {
        loop {
            let changed = self.changed.notified();
            if expected.is_subset(&self.ids.lock().unwrap()) {
                return;
            }
            changed.await;
        }
    }
}

async fn receive(State(received): State<Arc<Received>>, body: Bytes) -> StatusCode {
    if received.pushes.fetch_add(1, Ordering::Relaxed) % 3 == 0 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let push: Value = serde_json::from_slice(&body).unwrap();
    let id = push["message"]["messageId"].as_str().unwrap().to_owned();
    received.ids.lock().unwrap().insert(id);
    received.changed.notify_waiters();
    StatusCode::NO_CONTENT
}

/// Starts a server in a process of its own: this test binary, told to run only the test below.
async fn start(state_dir: &Path, listen: SocketAddr) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server_process", "--nocapture"])
        .env(STATE_DIR, state_dir)
        .env(LISTEN, listen.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = soon("the server", async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if let Some((_, address)) = line.split_once("listening on ") {
                return address.parse().unwrap();
            }
        }
    });
    let address = address.await;
    (child, address)
}

/// Not a test: the process that the test above kills. Without its environment it does nothing.
#[tokio::test]
async fn server_process() {
    let (Ok(state_dir), Ok(listen)) = (std::env::var(STATE_DIR), std::env::var(LISTEN)) else {
        return;
    };
    let server = Server::bind(Options::new(listen.parse().unwrap(), state_dir)).await.unwrap();
    println!("listening on {}", server.local_addr());
    server.run(std::future::pending()).await.unwrap();
}
