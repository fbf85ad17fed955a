//! A person at the door as a test has them come: signed in, waiting for what is due, and looking at
//! every worker of Envoy.

use std::time::Duration;

use crate::door::public_url;
use crate::http1::{Request, Response};
use crate::journal::PATIENCE;
use crate::oidc_login::sign_in;
use crate::stack::Stack;
use crate::user_agent::UserAgent;

/// The name of the session cookie on loopback.
pub const SESSION: &str = "lockgate";

/// A browser of somebody who has just signed in, at the one provider there is.
///
/// # Panics
/// When that does not lead to a page.
pub async fn signed_in(stack: &Stack, account: &str) -> UserAgent {
    let mut agent = UserAgent::new();
    let page = sign_in(&mut agent, &format!("{}/", public_url(stack)), account).await;
    assert_eq!(page.response.status, 200, "{} answers {}", page.url, page.response.text());
    agent
}

/// Asks again and again until there is an answer: for what nobody tells, such as the end of a
/// lifetime.
///
/// # Panics
/// When there is none after [`PATIENCE`].
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// How many connections each worker of Envoy has taken so far.
pub async fn connections_of_workers(stack: &Stack) -> Vec<u64> {
    let stats = stack.admin().text("/stats?filter=worker_[0-9]*.downstream_cx_total").await;
    let listener = format!("listener.{}.", stack.client().address().to_string().replace(':', "_"));
    let lines = stats.lines().filter_map(|line| line.strip_prefix(&listener)?.split_once(": "));
    lines.map(|(_, count)| count.parse().expect("a number")).collect()
}

/// Sends a request, each time on a connection of its own, until each worker of Envoy has had one.
///
/// # Panics
/// When the kernel gives all connections to the same worker.
pub async fn from_every_worker(stack: &Stack, request: &Request) -> Vec<Response> {
    let before = connections_of_workers(stack).await;
    let mut responses = Vec::new();
    while responses.len() < 100 {
        responses.push(stack.client().send(request).await);
        let now = connections_of_workers(stack).await;
        if now.iter().zip(&before).all(|(now, before)| now > before) {
            return responses;
        }
    }
    panic!("of 100 connections none came to one of the workers: {before:?}");
}
