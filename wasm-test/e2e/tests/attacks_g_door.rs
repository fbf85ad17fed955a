//! Attacks on the door's virtual machine and on Envoy around it: no input may trap, a body passes as it

use std::sync::OnceLock;
use std::time::Duration;

use lockgate_e2e::byte_stream::{ByteServer, ByteStream};
use lockgate_e2e::door::public_url;
use lockgate_e2e::guarded_routes::{
    AUDIENCE, guarded_stack, navigation, signed_in, traps, with_cookies, with_token,
};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Answer, Request, Response, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

#[path = "attacks_g_door/bodies.rs"]
mod bodies;
#[path = "attacks_g_door/crowds.rs"]
mod crowds;
#[path = "attacks_g_door/grpc.rs"]
mod grpc;
#[path = "attacks_g_door/odd_input.rs"]
mod odd_input;
#[path = "attacks_g_door/websockets.rs"]
mod websockets;

fn provider() -> &'static HostileProvider {
    static PROVIDER: OnceLock<HostileProvider> = OnceLock::new();
    PROVIDER.get_or_init(HostileProvider::start)
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, guarded_stack(provider(), |_| {})).await
}

async fn staff(stack: &Stack) -> UserAgent {
    static AGENT: OnceCell<UserAgent> = OnceCell::const_new();
    AGENT.get_or_init(|| signed_in(stack)).await.clone()
}

/// The door lets in whom it should and nobody else, and has not trapped since a log position.
async fn assert_alive(stack: &Stack, provider: &HostileProvider, since: usize) {
    let client = stack.client();
    let token = provider.mint_access_token(AUDIENCE, "alive").compact();
    assert_eq!(client.send(&with_token(Request::get("/alive"), &token)).await.status, 200);
    assert_eq!(client.send(&Request::get("/alive")).await.status, 401);
    assert_eq!(client.send(&navigation("/alive")).await.status, 302);
    assert_eq!(client.send(&Request::get("/public/alive")).await.status, 200);
    assert_eq!(traps(stack, since), [""; 0]);
}

/// A door before a service that a test speaks for, in front of which people sign in for a second at
/// most: their first request finds the session in need of a refresh.
struct Piped {
    stack: Stack,
    provider: HostileProvider,
    upstream: ByteServer,
}

impl Piped {
    async fn start() -> Self {
        let provider = HostileProvider::start();
        let upstream = ByteServer::start().await;
        let stack = guarded_stack(&provider, |config| {
            // All of it is in the ID token, so that nothing else is asked.
            config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub"});
        });
        let stack = stack.upstream(upstream.address()).start().await;
        Self { stack, provider, upstream }
    }

    /// The head of a request with a browser's cookies.
    fn head(&self, agent: &UserAgent, request: Request) -> Vec<u8> {
        let host = self.stack.client().address().to_string();
        with_cookies(&self.stack, agent, request.header("host", host)).to_bytes()
    }

    async fn connect(&self) -> ByteStream {
        ByteStream::connect(self.stack.client().address()).await
    }

    /// Somebody whose session needs a refresh with their next request, and has expired a second later.
    async fn in_need_of_a_refresh(&self) -> UserAgent {
        self.provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
        let agent = signed_in(&self.stack).await;
        self.provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
        agent
    }
}

async fn head_of(stream: &mut ByteStream) -> String {
    String::from_utf8_lossy(&stream.read_until(b"\r\n\r\n").await.unwrap()).into_owned()
}

/// The connection of the upstream on which a request with this marker comes.
async fn accept(piped: &Piped, marker: &str) -> (ByteStream, String) {
    let mut stream = piped.upstream.accept().await;
    let head = head_of(&mut stream).await;
    assert!(head.contains(marker), "{head}");
    (stream, head)
}

#[tokio::test]
async fn a_connection_is_nobodys_identity() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let address = stack.client().address().to_string();
    let known = with_cookies(&stack, &agent, Request::get("/kept-alive-1").header("host", &address));
    let nobody = Request::get("/kept-alive-2").header("host", &address);
    // One behind the other, each asked alone; and all at once, before the first is answered.
    let mut connection = stack.client().connect().await;
    for (request, status) in [(&known, 200), (&nobody, 401), (&known, 200), (&nobody, 401)] {
        connection.write(&request.to_bytes()).await;
        assert_eq!(connection.read("GET").await.unwrap().status, status);
    }
    for all in [[&known, &nobody, &known], [&nobody, &known, &nobody], [&nobody, &nobody, &known]] {
        let mut connection = stack.client().connect().await;
        connection.write(&all.map(Request::to_bytes).concat()).await;
        for (number, request) in all.into_iter().enumerate() {
            let expected = if request == &known { 200 } else { 401 };
            match connection.read("GET").await {
                Ok(answer) => assert_eq!(answer.status, expected, "{number}"),
                // Envoy may close behind a refusal.
                Err(_) => assert!(number > 0),
            }
        }
    }
    stack.assert_no_trace("/kept-alive-2");
}

#[tokio::test]
async fn every_filter_that_traps_is_loaded_again_and_stays_shut_until_then() {
    let stack = stack().await;
    fn wasm<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(members) => {
                if members.contains_key("vm_config") {
                    found.push(value);
                }
                members.values().for_each(|value| wasm(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| wasm(value, found)),
            _ => {}
        }
    }
    let dump = stack.admin().config_dump().await;
    let mut plugins = Vec::new();
    wasm(&dump, &mut plugins);
    assert!(plugins.iter().any(|plugin| plugin["root_id"] == "oidc"), "{plugins:#?}");
    for plugin in plugins {
        let policy = (&plugin["failure_policy"], &plugin["fail_open"]);
        assert_eq!(policy, (&json!("FAIL_RELOAD"), &Value::Null), "{}", plugin["root_id"]);
    }
}

#[tokio::test]
async fn an_upstream_that_fails_does_not_open_or_harm_the_door() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    let agent = signed_in(&stack).await;
    let other = public_url(&stack).replace("http://", "");
    stack.upstream().program(move |request| match request.path() {
        "/reset" => Some(Answer::Reset),
        "/garbage" => Some(Answer::Raw(b"not http\r\n\r\n".to_vec())),
        "/cookie" => {
            let mut response = Response::new(200);
            response.headers.push("set-cookie", "lockgate=1.evil; Path=/");
            response.headers.push("set-cookie", "app=1");
            response.headers.push("location", format!("http://{other}/x"));
            Some(Answer::Respond(response, Duration::ZERO))
        }
        "/cut" => Some(Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour".to_vec())),
        _ => None,
    });
    let known = |target: &str| with_cookies(&stack, &agent, Request::get(target));
    for target in ["/reset", "/garbage"] {
        let answer = stack.client().send(&known(target)).await;
        assert!(matches!(answer.status, 502 | 503), "{target}: {}", answer.status);
    }
    assert!(stack.client().try_send(&known("/cut")).await.is_err());
    assert_eq!(stack.client().send(&known("/cookie")).await.status, 200);
    stack.upstream().leave().await;
    assert_eq!(stack.client().send(&known("/absent")).await.status, 503);
    assert_eq!(stack.client().send(&Request::get("/absent")).await.status, 401);
    stack.upstream().come_back();
    let back = async { while stack.client().send(&known("/back")).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, back).await.expect("the upstream is back");
    assert_eq!(traps(&stack, 0), [""; 0]);
}
