//! Google's tokens: identity tokens of service accounts, by the shipped configuration, and the access
//! tokens of an OAuth client, which Google's tokeninfo tells about.

use lockgate_e2e::Answer;

use super::*;

const SHIPPED: &str = include_str!("../../../../envoy/lockgate.yaml");
const ACCOUNT: &str = "job@project-1.iam.gserviceaccount.com";
const OAUTH_CLIENT: &str = "1234-abc.apps.googleusercontent.com";

#[tokio::test]
async fn a_service_accounts_identity_token_is_good_where_it_is_listed() {
    let google = HostileProvider::start();
    let stack = Stack::builder()
        .config(SHIPPED)
        .variable("TOKEN_JWKS_URI", &google.url("/jwks"))
        .variable("ALLOWED_SERVICE_ACCOUNTS", &format!("{ACCOUNT},other@project-1.iam.gserviceaccount.com"))
        .start()
        .await;
    let audience = format!("http://{}", stack.client().address());
    // https://cloud.google.com/docs/authentication/token-types#id-contents
    let token = || {
        google.mint(json!({
            "iss": "https://accounts.google.com", "aud": audience, "azp": "112233445566778899000",
            "sub": "112233445566778899000", "email": ACCOUNT, "email_verified": true,
        }))
    };
    for (name, token) in [("url", token()), ("name", token().claim("iss", json!("accounts.google.com")))] {
        let path = format!("/account-{name}-");
        let answer = ask(&stack, &path, &token.compact()).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let seen = stack.delivered(&path).await;
        assert_eq!(seen.headers.text("x-lockgate-email").as_deref(), Some(ACCOUNT));
        assert_eq!(seen.headers.text("x-lockgate-subject").as_deref(), Some("112233445566778899000"));
    }
    for (name, token, reason) in [
        ("stranger", token().claim("email", json!("job@project-2.iam.gserviceaccount.com")), "token_claims"),
        ("case", token().claim("email", json!(ACCOUNT.to_uppercase())), "token_claims"),
        ("no-email", token().claim("email", Value::Null), "token_claims"),
        ("push", token().claim("aud", json!(stack.push_audience())), "token_audience"),
        ("elsewhere", token().claim("aud", json!("https://app.example.com")), "token_audience"),
        ("a-slash-more", token().claim("aud", json!(format!("{audience}/"))), "token_audience"),
        ("issuer", token().claim("iss", json!("https://accounts.google.com/")), "token_issuer"),
        ("own-issuer", token().claim("iss", json!(google.issuer())), "token_issuer"),
    ] {
        assert_refused(&stack, &format!("/account-{name}-"), &token.compact(), reason).await;
    }
    // An address that Google has not verified is nobody's.
    for unverified in [json!(false), Value::Null, json!("yes")] {
        let token = token().claim("email_verified", unverified.clone()).claim("jti", unverified);
        let answer = ask(&stack, "/unverified-", &token.compact()).await;
        assert_eq!((answer.status, &*stack.reason(&answer).await), (403, "not_allowed"));
    }
    stack.assert_no_trace("/unverified-");
    assert_eq!(google.count(Endpoint::Jwks), google.calls().len(), "no metadata is needed");
}

async fn zapiers_door(google: &HostileProvider) -> Stack {
    let config = programs_only(&json!({
        "google": {"client_ids": [OAUTH_CLIENT], "tokeninfo": google.url("/tokeninfo")},
    }));
    Stack::builder().config(&config).start().await
}

fn person(name: &str) -> Value {
    json!({
        "sub": format!("10987654321-{name}"), "aud": OAUTH_CLIENT, "client_id": OAUTH_CLIENT,
        "email": format!("{name}@example.com"), "email_verified": true,
        "scope": "openid https://www.googleapis.com/auth/userinfo.email",
    })
}

#[tokio::test]
async fn an_access_token_of_the_oauth_client_is_asked_about_once() {
    let google = HostileProvider::start();
    let stack = zapiers_door(&google).await;
    let token = google.access_token(&person("zoe"));
    for path in ["/tokeninfo-1", "/other/2", "/3"] {
        let answer = ask(&stack, path, &token).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let seen = stack.delivered("/tokeninfo-1").await;
    assert_eq!(seen.headers.text("x-lockgate-email").as_deref(), Some("zoe@example.com"));
    assert_eq!(seen.headers.text("x-lockgate-subject").as_deref(), Some("10987654321-zoe"));
    let [call] = &google.calls_to(Endpoint::Tokeninfo)[..] else { panic!("not one call") };
    assert_eq!((&*call.request.method, call.parameter("access_token")), ("POST", Some(token)));
    assert_eq!(call.request.target, "/tokeninfo", "an address is logged in more places");
}

#[tokio::test]
async fn an_expired_token_is_refused_so_that_zapier_fetches_another() {
    let google = HostileProvider::start();
    let stack = zapiers_door(&google).await;
    google.behave(|manners| manners.access_lifetime = Duration::from_secs(2));
    let asked = Instant::now();
    let token = google.access_token(&person("zoe"));
    // Its end is in whole seconds.
    let end = asked + Duration::from_secs(1)..Instant::now() + Duration::from_secs(3);
    assert_eq!(ask(&stack, "/until", &token).await.status, 200);
    passes_until(&stack, &token, end).await;
    google.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    assert_eq!(ask(&stack, "/fresh", &google.access_token(&person("zoe"))).await.status, 200);
}

#[tokio::test]
async fn another_clients_token_is_no_good_and_google_down_is_no_answer() {
    let google = HostileProvider::start();
    let stack = zapiers_door(&google).await;
    let mut another = person("mallory");
    another["aud"] = json!("6666-evil.apps.googleusercontent.com");
    another["azp"] = json!(OAUTH_CLIENT);
    assert_refused(&stack, "/another-", &google.access_token(&another), "token_audience").await;
    assert_refused(&stack, "/unknown-", "ya29.nobody-knows-it", "token_inactive").await;

    let token = google.access_token(&person("zoe"));
    for answer in [
        Answer::status(500),
        Answer::status(429),
        Answer::status(302),
        Answer::with_body(200, "text/html", "<html>"),
        Answer::Reset,
    ] {
        google.answer(Endpoint::Tokeninfo, move |_| Some(answer.clone()));
        let refused = ask(&stack, "/unasked-", &token).await;
        assert_eq!((refused.status, &*stack.reason(&refused).await), (503, "issuer_unavailable"));
    }
    stack.assert_no_trace("/unasked-");
    google.heal();
    assert_eq!(ask(&stack, "/asked", &token).await.status, 200);
}
