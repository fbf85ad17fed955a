//! The example for Zapier with Google, as it is shipped but for Google's address: its adapter before the log, and
//! the tokens that Zapier has.

use super::*;

const EXAMPLE: &str = include_str!("../../../../envoy/examples/zapier/google.yaml");
const OAUTH_CLIENT: &str = "1234-abc.apps.googleusercontent.com";

async fn google() -> &'static HostileProvider {
    static GOOGLE: OnceCell<HostileProvider> = OnceCell::const_new();
    GOOGLE.get_or_init(async || HostileProvider::start()).await
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let tokeninfo = format!("cache: 60s\n      tokeninfo: {}", google().await.url("/tokeninfo"));
    let signal = lockgate_e2e::stack::workspace().join("envoy/examples/zapier/signal.json");
    let config = EXAMPLE.replacen("cache: 60s", &tokeninfo, 1);
    let config = config.replacen("adapter: signal.json", &format!("adapter: {}", signal.display()), 1);
    assert!(config.contains("tokeninfo: http://") && config.contains("examples/zapier/signal.json"));
    let builder = Stack::builder()
        .config(&config)
        .variable("GOOGLE_CLIENT_IDS", &format!("other.apps.googleusercontent.com,{OAUTH_CLIENT}"))
        .variable("ALLOWED_EMAIL_DOMAINS", "example.com");
    Shared::of(&STACK, builder).await
}

async fn zapiers_token(email: &str) -> String {
    google().await.access_token(&json!({
        "sub": "109876543210", "aud": OAUTH_CLIENT, "email": email, "email_verified": true,
    }))
}

fn with_token(request: Request, token: &str) -> Request {
    request.header("authorization", format!("Bearer {token}"))
}

#[tokio::test]
async fn variables_are_wrapped_and_everything_else_is_as_it_was() {
    let stack = stack().await;
    let token = zapiers_token("zoe@example.com").await;
    for (body, expected) in [
        (
            json!({
                "name": "wrapped-1", "variables": {"a": "1", "b": 2, "c": {"d": []}},
                "processVariables": {"e": null}, "correlationKeys": {"f": "g"}, "other": {"variables": {"h": 1}},
            }),
            json!({
                "name": "wrapped-1",
                "variables": {
                    "a": {"type": "String", "value": "1"}, "b": {"type": "String", "value": 2},
                    "c": {"type": "String", "value": {"d": []}},
                },
                "processVariables": {"e": {"type": "String", "value": null}},
                "correlationKeys": {"f": {"type": "String", "value": "g"}},
                "other": {"variables": {"h": 1}},
            }),
        ),
        (json!({"name": "wrapped-2", "x": []}), json!({"name": "wrapped-2", "x": []})),
        (json!({"name": "wrapped-3", "variables": {}}), json!({"name": "wrapped-3", "variables": {}})),
    ] {
        let name = body["name"].as_str().unwrap();
        let request = with_token(post("/zapier/engine-rest/signal", &body.to_string()), &token);
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 202, "{name}: {}", answer.text());
        let seen = stack.delivered(name).await;
        assert_eq!((&*seen.target, seen.json()), ("/engine-rest/signal", expected), "{name}");
        assert_eq!(stack.stored(name)[0].body(), seen.body, "what is stored is what arrives");
        let principal: Value =
            serde_json::from_str(&seen.headers.text("x-lockgate-principal").unwrap()).unwrap();
        assert_eq!((&principal["email"], &principal["filter"]), (&json!("zoe@example.com"), &json!("oidc")));
        assert_eq!(principal["issuer"], "https://accounts.google.com");
    }
    let asked = google().await.calls_to(Endpoint::Tokeninfo);
    let asked = asked.iter().filter(|call| call.parameter("access_token").as_ref() == Some(&token));
    assert_eq!(asked.count(), 1, "one question for three messages");
}

#[tokio::test]
async fn what_is_no_object_is_refused_at_once() {
    let stack = stack().await;
    let token = zapiers_token("yan@example.com").await;
    for (number, body) in [
        "[]",
        "[{\"variables\":{}}]",
        "7",
        "\"text\"",
        "null",
        "",
        "{",
        "nonsense",
        r#"{"variables": [1]}"#,
        r#"{"variables": "x"}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("no-object-{number}-");
        let request =
            with_token(post("/zapier/engine-rest/signal", body), &token).header("x-marker", &marker);
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn only_zapiers_own_users_of_the_domain_come_in() {
    let stack = stack().await;
    let signal = || post("/zapier/engine-rest/signal", r#"{"name": "kept-out-"}"#);
    let expired = with_token(signal(), "ya29.expired");
    let answer = stack.client().send(&expired).await;
    let challenge = answer.headers.text("www-authenticate");
    let refreshes = Some(r#"Bearer realm="lockgate", error="invalid_token""#);
    assert_eq!((answer.status, challenge.as_deref()), (401, refreshes), "so that Zapier fetches another");
    let answer = stack.client().send(&signal()).await;
    assert_eq!((answer.status, answer.headers.contains("www-authenticate")), (401, true));
    let stranger = zapiers_token("mallory@example.com.evil.org").await;
    assert_eq!(stack.client().send(&with_token(signal(), &stranger)).await.status, 403);
    // The route takes POST alone; everything else is the upstream's, for who is let in.
    let get = with_token(Request::get("/zapier/x"), &zapiers_token("xia@example.com").await);
    assert_eq!(stack.client().send(&get).await.status, 200);
    assert_eq!(stack.client().send(&Request::get("/zapier/x")).await.status, 401);
    stack.assert_no_trace("kept-out-");
}
