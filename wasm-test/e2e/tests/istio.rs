//! The very manifests that are shipped, in Envoy as Istio's control plane and agent would run it.

use lockgate_e2e::istio::{Line, Mesh, Place};
use lockgate_e2e::stack::{SLACK_SECRET, workspace};
use lockgate_e2e::tokens::Tokens;
use lockgate_e2e::{Answer, Request, Response, Stack, Upstream, slack};
use serde_json::{Value, json};

#[path = "istio/gateway.rs"]
mod gateway;
#[path = "istio/partly.rs"]
mod partly;
#[path = "istio/sidecar.rs"]
mod sidecar;

const HOST: &str = "orders.example.com";
const GOOGLE: &str = "https://accounts.google.com";

/// The Envoys of the supported Istios, each with how they treat a manifest.
fn envoys() -> Vec<(String, Line)> {
    let named = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} names no Envoy. Run:\n  make e2e"))
    };
    let older = named("OLDER_ENVOYS");
    let line = |envoy: &str| if envoy.contains("1.36") { Line::From1_28 } else { Line::From1_30 };
    let older: Vec<_> = older.split_whitespace().map(|envoy| (envoy.to_owned(), line(envoy))).collect();
    assert!(older.len() > 1, "OLDER_ENVOYS names too few");
    older.into_iter().chain([(named("ENVOY"), Line::From1_30)]).collect()
}

fn manifests(name: &str) -> String {
    let path = workspace().join("envoy/istio/manifests").join(format!("{name}.yaml"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An issuer's discovery document, and whatever else a test has it answer.
fn issuer(issuer: &'static str, jwks_uri: &'static str) -> Upstream {
    let server = Upstream::on_free_port();
    server.program(move |request| {
        let document = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": jwks_uri,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        let asked = request.path() == "/.well-known/openid-configuration";
        asked.then(|| Answer::with_body(200, "application/json", &document.to_string()))
    });
    server
}

/// Sends it to the host that the manifests are for.
async fn send(stack: &Stack, request: Request) -> Response {
    stack.client().send(&request.header("host", HOST)).await
}

/// A token of the issuer whose keys the stack's services publish.
fn token(stack: &Stack, issuer: &str, audience: &str, claims: Value) -> String {
    let tokens = Tokens::new(&stack.services_directory(), issuer, audience);
    tokens.push_with(|all| all.extend(claims.as_object().cloned().unwrap_or_default()))
}

fn bearer(request: Request, token: &str) -> Request {
    request.header("authorization", format!("Bearer {token}"))
}

/// One that is signed by somebody else.
fn forged(token: &str) -> String {
    let (text, _) = token.rsplit_once('.').unwrap();
    format!("{text}.{}", "A".repeat(342))
}

fn command(text: &str, secret: &str) -> Request {
    let fields = [("command", "/ship"), ("text", text)];
    slack::signed(slack::form("/slack/command", &fields), secret)
}
