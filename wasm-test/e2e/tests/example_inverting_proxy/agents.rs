//! What the proxy tells agents: each id once, and what is wrong with a call.

use std::collections::BTreeSet;

use lockgate_e2e::Request;

use crate::agent::{REQUEST_ID, message};
use crate::{sent, start};

const BACKEND_ID: &str = "X-Inverting-Proxy-Backend-ID";

#[tokio::test]
async fn of_several_questions_at_once_each_id_goes_to_one() {
    let (_example, edge, agent) = start().await;
    let questions: Vec<_> = (0..4)
        .map(|_| {
            let agent = agent.clone();
            tokio::spawn(async move {
                let mut given = Vec::new();
                // Until one of its requests says that it is the last.
                loop {
                    for id in agent.asks().await {
                        let request = agent.fetch(&id).await.text();
                        assert_eq!(agent.answer(&id, message("200 OK", b"", "")).await.status, 200, "twice");
                        if request.starts_with("GET /end ") {
                            return given;
                        }
                        given.push(id);
                    }
                }
            })
        })
        .collect();
    let waiting: Vec<_> = (0..100).map(|number| sent(edge, Request::get(&format!("/{number}")))).collect();
    for response in waiting {
        assert_eq!(response.await.unwrap().status, 200);
    }
    for _ in &questions {
        assert_eq!(sent(edge, Request::get("/end")).await.unwrap().status, 200);
    }
    let mut ids = Vec::new();
    for question in questions {
        ids.extend(question.await.unwrap());
    }
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (100, 100));
}

#[tokio::test]
async fn a_call_that_names_nothing_or_too_much_is_told_so() {
    let (_example, edge, agent) = start().await;
    let waiting = sent(edge, Request::get("/"));
    let id = agent.next().await;
    let call = |method: &str, call: &str| agent.known(Request::new(method, &format!("/agent/{call}")));
    let of = |request: Request, backend: &str| request.header(BACKEND_ID, backend);
    let reports = |method: &str, name: &str| of(call(method, name), "reports");
    for (request, status) in [
        (call("GET", "pending"), 400),
        (of(reports("GET", "pending"), "reports"), 400),
        (of(call("GET", "pending"), "payroll"), 403),
        (reports("GET", "request"), 400),
        (reports("GET", "request").header(REQUEST_ID, &id).header(REQUEST_ID, &id), 400),
        (reports("GET", "request").header(REQUEST_ID, "0123456789abcdef0123456789abcdef"), 404),
        (reports("POST", "response").body("HTTP/1.1 200 OK\r\n\r\n").header("content-length", "19"), 400),
        (reports("POST", "pending").header("content-length", "0"), 405),
        (reports("GET", "anything"), 404),
        (reports("GET", "request").header(REQUEST_ID, &id), 200),
    ] {
        let answer = edge.send(&request).await;
        assert_eq!(answer.status, status, "{request:?}: {}", answer.text());
    }
    let unknown = "f".repeat(32);
    assert_eq!(agent.answer(&unknown, message("200 OK", b"", "")).await.status, 404);
    assert_eq!(agent.answer(&id, message("200 OK", b"", "")).await.status, 200, "none of it has done harm");
    assert_eq!(waiting.await.unwrap().status, 200);
}
