//! People who sign in before a backend that only an agent reaches: what the backend learns of them, and which of
//! their credentials it never sees.

use lockgate_e2e::door::public_url;
use lockgate_e2e::guarded_routes::{AUDIENCE, guarded_stack, navigation, signed_in, with_cookies};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Request, Stack};
use serde_json::{Value, json};

use crate::agent::{Agent, field};
use crate::sent;

async fn start(provider: &HostileProvider) -> (Stack, Agent) {
    let stack = guarded_stack(provider, |config| {
        for group in ["log", "slack"] {
            config.as_object_mut().unwrap().remove(group);
        }
        config["routes"] = json!([
            {"name": "agent", "match": {"path_prefix": "/agent"}, "guard": "oidc",
             "allow": [{"emails": ["agent@example.com"]}], "invert": {"agent_of": ["reports"]}},
            {"name": "open", "match": {"path_prefix": "/open"}, "guard": "public",
             "invert": {"backend": "reports"}},
            {"name": "open-desk", "match": {"path_prefix": "/open-desk"}, "guard": "public",
             "invert": {"backend": "reports", "session_cookie": "open_desk"}},
            {"name": "desk", "match": {"path_prefix": "/desk"}, "guard": "oidc",
             "invert": {"backend": "reports", "session_cookie": "desk"}},
            {"name": "rest", "match": {"path_prefix": "/"}, "guard": "oidc",
             "invert": {"backend": "reports"}},
        ]);
    });
    let stack = stack.start().await;
    let agent = Agent::new(stack.client(), provider.mint(person("agent")).compact());
    (stack, agent)
}

fn person(name: &str) -> Value {
    json!({"aud": AUDIENCE, "sub": name, "email": format!("{name}@example.com"), "email_verified": true})
}

async fn browser(stack: &Stack, provider: &HostileProvider, name: &str) -> UserAgent {
    provider.set_person(person(name));
    signed_in(stack).await
}

#[tokio::test]
async fn a_backend_learns_who_it_is_and_sees_no_credential_of_the_doors() {
    let provider = HostileProvider::start();
    let (stack, agent) = start(&provider).await;
    let mut eva = browser(&stack, &provider, "eva").await;
    eva.jar.plant("127.0.0.1", "theirs", "1");
    let session = eva.jar.value("lockgate").unwrap().to_owned();
    let token = provider.mint(person("eva")).compact();
    for (path, authorization, known, passes) in [
        ("/x", None, true, None),
        // The scheme is the service's own affair, the bearer token the door's.
        ("/x", Some("Basic ZXZhOmE=".to_owned()), true, Some("Basic ZXZhOmE=".to_owned())),
        ("/x", Some(format!("Bearer {token}")), true, None),
        ("/desk/x", Some(format!("Bearer {token}")), true, None),
        ("/open/x", None, false, None),
        // Where nobody is asked, a token is for whoever is behind.
        ("/open/x", Some(format!("Bearer {token}")), false, Some(format!("Bearer {token}"))),
        ("/open-desk/x", None, false, None),
    ] {
        let mut request = with_cookies(&stack, &eva, navigation(path))
            .header("x-inverting-proxy-user-id", "forged@example.com")
            .header("x-lockgate-subject", "forged")
            .header("proxy-authorization", "Basic YTpi");
        if let Some(value) = &authorization {
            request = request.header("authorization", value);
        }
        let waiting = sent(stack.client(), request);
        let id = agent.next().await;
        let fetched = agent.fetch(&id).await;
        let seen = fetched.text();
        assert_eq!(agent.answer(&id, crate::message("200 OK", b"", "")).await.status, 200);
        assert_eq!(waiting.await.unwrap().status, 200, "{path}");
        let user = fetched.headers.text("x-inverting-proxy-user-id");
        assert_eq!(user.as_deref(), known.then_some("eva@example.com"), "{path}");
        assert_eq!(field(&seen, "x-lockgate-subject"), known.then_some("eva"), "{path}");
        assert_eq!(field(&seen, "authorization"), passes.as_deref(), "{path} {authorization:?}");
        assert_eq!(field(&seen, "cookie"), Some("theirs=1"), "{path}");
        for credential in ["lockgate=", session.as_str(), "forged", "proxy-authorization"] {
            assert!(!seen.contains(credential), "{path}: {credential} in {seen}");
        }
    }
}

#[tokio::test]
async fn a_session_of_somebody_who_signed_in_opens_for_nobody_else() {
    let provider = HostileProvider::start();
    let (stack, agent) = start(&provider).await;
    let mut eva = browser(&stack, &provider, "eva").await;
    let ben = browser(&stack, &provider, "ben").await;
    let url = Url::parse(&format!("{}/desk", public_url(&stack)));
    let visit = async |person: &UserAgent, head: &str| {
        let request = with_cookies(&stack, person, navigation("/desk"));
        let waiting = sent(stack.client(), request);
        let request = agent.serve(head).await;
        (field(&request, "cookie").unwrap_or_default().to_owned(), waiting.await.unwrap())
    };
    let (_, answer) = visit(&eva, "200 OK\r\nSet-Cookie: who=eva").await;
    eva.jar.take(&url, &answer);
    assert_eq!(visit(&eva, "200 OK").await.0, "who=eva");

    let mut thief = ben.clone();
    thief.jar.plant("127.0.0.1", "desk", eva.jar.value("desk").unwrap());
    assert_eq!(visit(&thief, "200 OK").await.0, "");
    // Who signs in behind her in the same browser is not her either, and she finds it again.
    let (mut shared, door) = (eva.clone(), ben.jar.value("lockgate").unwrap().to_owned());
    shared.jar.tamper("lockgate", |_| door);
    assert_eq!(visit(&shared, "200 OK").await.0, "");
    assert_eq!(visit(&eva, "200 OK").await.0, "who=eva");
    let nobody = stack
        .client()
        .send(&Request::get("/desk").header("cookie", format!("desk={}", eva.jar.value("desk").unwrap())))
        .await;
    assert_eq!(nobody.status, 401);
}
