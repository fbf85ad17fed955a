//! In the sidecar: commands are stored and played back, and programs come in.

use lockgate_e2e::pubsub::{Message, published};
use lockgate_e2e::{Client, push_request};

use super::*;

const TOPIC: &str = "projects/example/topics/orders";
const CALLER: &str = "caller@example.iam.gserviceaccount.com";
const PUSHER: &str = "push@example.iam.gserviceaccount.com";
const URL: &str = "https://orders.example.com";

pub(crate) fn place() -> Place {
    Place::Sidecar(8080)
}

pub(crate) async fn start(envoy: &str, mesh: Mesh, google: &Upstream) -> Stack {
    let mesh = mesh.stand_in("accounts.google.com", google.address());
    let stack = Stack::builder().variable("ENVOY", envoy).mesh(mesh).start().await;
    for topic in [TOPIC, "projects/example/topics/orders-dead"] {
        let token = stack.pubsub().access_token().await;
        let create = Request::new("PUT", &format!("/v1/{topic}")).header("content-type", "application/json");
        let answer = Client::new(stack.google_address()).send(&bearer(create, &token).body("{}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    stack
}

pub(crate) fn google() -> Upstream {
    issuer(GOOGLE, "https://www.googleapis.com/oauth2/v3/certs")
}

/// What was published with this marker.
fn stored(stack: &Stack, marker: &str) -> Vec<Message> {
    let calls = stack.proxy().calls().matching(|call| call.request.path() == format!("/v1/{TOPIC}:publish"));
    let messages = calls.iter().flat_map(|call| published(&call.request));
    messages.filter(|message| message.contains(marker)).collect()
}

async fn push(stack: &Stack, message: &Message, token: &str) -> u16 {
    let push = push_request(&message.data, message.attributes.clone().into());
    send(stack, bearer(push, token)).await.status
}

#[tokio::test]
async fn a_command_is_stored_and_played_back_and_a_program_comes_in() {
    let google = google();
    for (envoy, line) in envoys() {
        println!("{envoy}");
        let mesh = Mesh::new(line).manifests(&manifests("sidecar"), place());
        let stack = start(&envoy, mesh, &google).await;

        let answer = send(&stack, command("parcel-1", SLACK_SECRET)).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"response_type": "in_channel"})));
        let [message] = &stored(&stack, "parcel-1")[..] else { panic!("not one message") };
        let pushed_by =
            |email: &str, audience: &str| token(&stack, GOOGLE, audience, json!({"email": email}));
        let genuine = pushed_by(PUSHER, "https://orders.example.com/wal-playback");
        for stranger in [
            forged(&genuine),
            pushed_by(CALLER, "https://orders.example.com/wal-playback"),
            pushed_by(PUSHER, URL),
        ] {
            assert!((401..=403).contains(&push(&stack, message, &stranger).await));
        }
        assert!(stack.upstream().requests().matching(|_| true).is_empty(), "played back for a stranger");
        assert_eq!(push(&stack, message, &genuine).await, 204);
        let delivered = stack.delivered("parcel-1").await;
        assert_eq!(
            (delivered.path(), delivered.json()),
            ("/slack/command", json!({"command": "/ship", "text": "parcel-1"}))
        );
        assert!(!delivered.headers.contains("authorization"));

        let program = token(&stack, GOOGLE, URL, json!({"email": CALLER}));
        let asked = Request::get("/orders/program-1").header("x-lockgate-email", "root@example.com");
        assert_eq!(send(&stack, bearer(asked, &program)).await.status, 200);
        let seen = stack.delivered("program-1").await;
        assert_eq!(seen.headers.all("x-lockgate-email"), [CALLER.as_bytes()]);
        let order = bearer(Request::post("/wal/orders", "text/plain", "order-1"), &program);
        assert_eq!(send(&stack, order).await.status, 202);
        assert_eq!(stored(&stack, "order-1").len(), 1);

        let other = token(&stack, GOOGLE, URL, json!({"email": "other@example.com"}));
        let strangers = [
            (command("stranger", "another secret"), 401),
            (slack::form("/slack/command", &[("text", "stranger")]), 401),
            (Request::get("/orders/stranger"), 401),
            (bearer(Request::get("/orders/stranger"), &forged(&program)), 401),
            (bearer(Request::get("/orders/stranger"), &other), 401),
            (Request::post("/wal/stranger", "text/plain", "stranger"), 401),
            (Request::get("/orders%2fstranger"), 400),
        ];
        for (request, status) in strangers {
            let target = request.target.clone();
            assert_eq!(send(&stack, request).await.status, status, "{target}");
        }
        assert!(stored(&stack, "stranger").is_empty());
        stack.assert_no_trace("stranger");
    }
}
