//! The kit itself: a stack starts, loses its parts, and gets them back on the same ports.

use lockgate_e2e::Request;
use lockgate_e2e::stack::{DEAD_LETTER_TOPIC, Stack};
use serde_json::json;

#[tokio::test]
async fn a_killed_part_is_gone_and_comes_back_where_it_was() {
    let stack = Stack::builder().start().await;
    let client = stack.client();
    let request = Request::get("/public/page?a=1").header("x-marker", "one");
    assert_eq!(client.send(&request).await.text(), "upstream");
    let reached = stack.upstream().requests().wait_for("the page", 1, |r| r.path() == "/public/page");
    assert_eq!(reached.await[0].headers.all("x-marker"), [b"one"]);

    stack.kill_gateway();
    assert!(client.try_send(&request).await.is_err());
    stack.start_gateway().await;
    assert_eq!(client.send(&request).await.status, 200);

    stack.pubsub().publish(DEAD_LETTER_TOPIC, b"before", json!({})).await;
    stack.kill_services();
    assert!(lockgate_e2e::Client::new(stack.services_address()).try_send(&request).await.is_err());
    stack.start_services().await;
    stack.pubsub().publish(DEAD_LETTER_TOPIC, b"after", json!({})).await;
    for letter in ["before", "after"] {
        stack.dead_letters().wait_for(letter).await;
    }
}
