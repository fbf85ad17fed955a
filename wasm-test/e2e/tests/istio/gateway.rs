//! In a gateway: people sign in, a provider signs them out, pages of another origin call, and the secrets
//! are Secret Manager's.

use lockgate_e2e::cookie_jar::set_cookies;
use lockgate_e2e::door::COOKIE_SECRET;
use lockgate_e2e::url::Url;

use super::*;

const PROVIDER: &str = "https://login.example.com";
const CLIENT: &str = "lockgate";

fn place() -> Place {
    Place::Gateway {
        host: HOST.to_owned(),
        cluster: "outbound|8080||orders.orders.svc.cluster.local".to_owned(),
    }
}

/// The provider: its keys are at a host that only its discovery document names.
fn provider() -> Upstream {
    issuer(PROVIDER, "https://tokens.example.com/keys")
}

async fn start(envoy: &str, line: Line, provider: &Upstream) -> Stack {
    let mesh = Mesh::new(line)
        .manifests(&manifests("gateway"), place())
        .stand_in("login.example.com", provider.address())
        .stand_in("tokens.example.com", provider.address());
    let stack = Stack::builder().variable("ENVOY", envoy).mesh(mesh).start().await;
    let secrets = [
        ("slack-signing-secret", SLACK_SECRET),
        ("cookie-secret", COOKIE_SECRET),
        ("client-secret", "of the client"),
    ];
    for (name, value) in secrets {
        let directory = stack.services_directory().join("secrets").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("half-written"), value).unwrap();
        std::fs::rename(directory.join("half-written"), directory.join("1")).unwrap();
    }
    let keys = Tokens::new(&stack.services_directory(), PROVIDER, CLIENT).key_set().to_owned();
    provider.program(move |request| {
        (request.path() == "/keys").then(|| Answer::with_body(200, "application/json", &keys))
    });
    stack
}

fn page(cookies: &str) -> Request {
    Request::get("/app/page").header("accept", "text/html").header("cookie", cookies)
}

fn cookies(response: &Response) -> String {
    let cookies = set_cookies(response).into_iter().map(|cookie| format!("{}={}", cookie.name, cookie.value));
    cookies.collect::<Vec<_>>().join("; ")
}

/// The whole way from the first page to the cookie of a session.
async fn sign_in(stack: &Stack, provider: &Upstream) -> String {
    let to_provider = send(stack, page("")).await;
    assert_eq!(to_provider.status, 302, "{}", to_provider.text());
    let location = Url::parse(&to_provider.headers.text("location").unwrap());
    assert_eq!(location.origin(), PROVIDER);
    let id_token = token(
        stack,
        PROVIDER,
        CLIENT,
        json!({
            "sub": "alice", "azp": CLIENT, "email": "alice@example.com", "nonce": location.query("nonce").unwrap(),
        }),
    );
    provider.program(move |request| {
        let answer = json!({"access_token": "opaque", "token_type": "Bearer", "expires_in": 3600, "id_token": id_token});
        (request.path() == "/token").then(|| Answer::with_body(200, "application/json", &answer.to_string()))
    });
    let back = format!("/_lockgate/callback?code=a-code&state={}", location.query("state").unwrap());
    let back = Request::get(&back).header("accept", "text/html").header("cookie", cookies(&to_provider));
    let signed_in = send(stack, back).await;
    assert!(signed_in.status < 400, "{} {}", signed_in.status, signed_in.text());
    cookies(&signed_in)
}

#[tokio::test]
async fn people_sign_in_and_their_provider_signs_them_out() {
    for (envoy, line) in envoys() {
        println!("{envoy}");
        let provider = provider();
        let stack = start(&envoy, line, &provider).await;
        let session = sign_in(&stack, &provider).await;
        assert_eq!(send(&stack, page(&session)).await.status, 200);
        let seen = stack.delivered("/app/page").await;
        assert_eq!(seen.headers.text("x-lockgate-email").as_deref(), Some("alice@example.com"));
        assert_eq!(seen.headers.text("host").as_deref(), Some(HOST), "the name that its client used");

        // The filter that hears of it reads a body, so it is no WasmPlugin; the guard is one.
        let event = "http://schemas.openid.net/event/backchannel-logout";
        let claims = json!({"sub": "alice", "jti": "logout-1", "events": {event: {}}});
        let logout_token = token(&stack, PROVIDER, CLIENT, claims);
        let told = |token: &str| slack::form("/_lockgate/back-channel-logout", &[("logout_token", token)]);
        assert_eq!(send(&stack, told(&forged(&logout_token))).await.status, 400);
        assert_eq!(send(&stack, page(&session)).await.status, 200);
        assert_eq!(send(&stack, told(&logout_token)).await.status, 200);
        assert_eq!(send(&stack, page(&session)).await.status, 302, "the session has ended");
    }
}

#[tokio::test]
async fn programs_webhooks_and_other_origins_are_judged_there_too() {
    for (envoy, line) in envoys() {
        println!("{envoy}");
        let provider = provider();
        let stack = start(&envoy, line, &provider).await;
        let program = token(&stack, PROVIDER, "https://orders.example.com", json!({"sub": "reporter"}));
        assert_eq!(send(&stack, bearer(Request::get("/app/program-1"), &program)).await.status, 200);
        assert_eq!(send(&stack, command("webhook-1", SLACK_SECRET)).await.status, 200);
        stack.delivered("webhook-1").await;

        let preflight = |origin: &str| {
            Request::new("OPTIONS", "/app/x")
                .header("origin", origin)
                .header("access-control-request-method", "PUT")
        };
        let answer = send(&stack, preflight("https://www.example.com")).await;
        assert_eq!(answer.status, 200);
        let granted = answer.headers.text("access-control-allow-origin");
        assert_eq!(granted.as_deref(), Some("https://www.example.com"));
        let answer = send(&stack, preflight("https://stranger.example.com")).await;
        assert!(!answer.headers.contains("access-control-allow-origin"));

        let strangers = [
            (command("stranger", "another secret"), 401),
            (Request::get("/app/stranger"), 401),
            (bearer(Request::get("/app/stranger"), &forged(&program)), 401),
            (Request::get("/_lockgate/stranger"), 404),
        ];
        for (request, status) in strangers {
            let target = request.target.clone();
            assert_eq!(send(&stack, request).await.status, status, "{target}");
        }
        stack.assert_no_trace("stranger");
        let elsewhere =
            stack.client().send(&Request::get("/app/stranger").header("host", "other.example.com")).await;
        assert_eq!(elsewhere.status, 401, "a host that has no route");
    }
}
