//! Access tokens of an Amazon Cognito user pool, by the example that is shipped; what its emulator cannot be
//! had to say (`example_user_pools.rs` has the emulator itself).

use super::*;

const EXAMPLE: &str = include_str!("../../../../envoy/examples/user-pools/lockgate.yaml");
const APP: &str = "7d2jaq0a1b2c3d4e5f6g7h8i9j";

async fn pool() -> &'static HostileProvider {
    static POOL: OnceCell<HostileProvider> = OnceCell::const_new();
    POOL.get_or_init(async || HostileProvider::named("127.0.0.1", "/eu-west-1_AbCdEfGhI")).await
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let issuer = pool().await.issuer();
    let builder = Stack::builder()
        .config(EXAMPLE)
        .variable("USER_POOL_ISSUER", issuer)
        .variable("USER_POOL_CLIENT_ID", APP)
        .variable("OIDC_ISSUER", issuer)
        .variable("OIDC_CLIENT_ID", "the-proxys-own")
        .variable("OIDC_CLIENT_SECRET", "the app's secret")
        .variable("COOKIE_SECRET", lockgate_e2e::door::COOKIE_SECRET);
    Shared::of(&STACK, builder).await
}

/// As Cognito makes them: no `aud`, no `typ`.
/// <https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html>
fn access_token(pool: &HostileProvider, groups: Value) -> lockgate_e2e::signing_keys::Jwt {
    let claims = json!({
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "cognito:groups": groups,
        "client_id": APP,
        "origin_jti": "11111111-2222-3333-4444-555555555555",
        "event_id": "64f513be-32db-42b0-b78e-b02127b4f463",
        "token_use": "access",
        "scope": "openid profile",
        "auth_time": lockgate_e2e::slack::now(),
        "jti": "22222222-2222-3333-4444-555555555555",
        "username": "person",
    });
    let token = pool.mint(claims).head("typ", Value::Null);
    if groups.is_null() { token.claim("cognito:groups", Value::Null) } else { token }
}

#[tokio::test]
async fn a_member_comes_in_and_the_upstream_learns_the_groups() {
    let stack = stack().await;
    let token = access_token(pool().await, json!(["members", "eu, north"])).compact();
    assert_eq!(ask(&stack, "/hello?cognito-1", &token).await.status, 200);
    let seen = stack.delivered("cognito-1").await;
    let told = ["x-lockgate-subject", "x-lockgate-groups", "x-lockgate-email"].map(|n| seen.headers.text(n));
    let [subject, groups, email] = told.each_ref().map(|value| value.as_deref());
    assert_eq!(subject, Some("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"));
    assert_eq!((groups, email), (Some("members,eu%2C north"), None));
}

#[tokio::test]
async fn an_open_route_needs_no_token_and_a_protected_one_does() {
    let stack = stack().await;
    let client = stack.client();
    assert_eq!(client.send(&Request::get("/world")).await.status, 200);
    for path in ["/hello", "/users", "/elsewhere"] {
        let answer = client.send(&Request::get(path)).await;
        let challenge = answer.headers.text("www-authenticate");
        assert_eq!(
            (answer.status, challenge.as_deref()),
            (401, Some(r#"Bearer realm="lockgate""#)),
            "{path}"
        );
    }
    // What is brought to an open route is not looked at.
    assert_eq!(ask(&stack, "/world", "nonsense").await.status, 200);
}

#[tokio::test]
async fn only_an_access_token_of_this_app_and_pool_is_good() {
    let (stack, pool) = (stack().await, pool().await);
    let other_pool = HostileProvider::named("127.0.0.1", "/eu-west-1_AbCdEfGhI");
    let token = || access_token(pool, json!(["members"]));
    for (name, token, reason) in [
        ("signature", token().sealed_by(&SigningKey::rsa(1)), "token_signature"),
        ("expired", token().claim("exp", in_seconds(-120)), "token_expired"),
        ("pool", access_token(&other_pool, json!(["members"])), "token_issuer"),
        ("app", token().claim("client_id", json!("another")), "token_audience"),
        ("no-app", token().claim("client_id", Value::Null), "token_audience"),
        ("id", token().claim("token_use", json!("id")), "token_claims"),
        ("no-use", token().claim("token_use", Value::Null), "token_claims"),
        ("key", token().head("kid", json!("unknown")), "token_unknown_key"),
        ("no-key", token().head("kid", Value::Null).sealed_by(&SigningKey::rsa(1)), "token_signature"),
    ] {
        assert_refused(&stack, &format!("/hello?bad-{name}-"), &token.compact(), reason).await;
    }
    // Its ID tokens name the app in `aud`, and are no access tokens.
    let id_token = token().claim("aud", json!(APP)).claim("client_id", Value::Null);
    let id_token = id_token.claim("token_use", json!("id")).claim("email", json!("a@example.com"));
    assert_refused(&stack, "/hello?bad-id-token-", &id_token.compact(), "token_audience").await;
}

#[tokio::test]
async fn the_pools_groups_decide() {
    let (stack, pool) = (stack().await, pool().await);
    for (groups, path, status) in [
        (json!(["members"]), "/hello", 200),
        (json!(["other", "members"]), "/hello", 200),
        (json!(["admins"]), "/hello", 200),
        (json!("members"), "/hello", 200),
        (json!(["Members"]), "/hello", 403),
        (json!(["members-of-another"]), "/hello", 403),
        (json!("members,admins"), "/hello", 403),
        (json!([]), "/hello", 403),
        (json!([["members"]]), "/hello", 403),
        (json!({"members": true}), "/hello", 403),
        (Value::Null, "/hello", 403),
        // The route's own list stands in the place of the policies.
        (json!(["admins"]), "/users/7", 200),
        (json!(["members"]), "/users/7", 403),
        (Value::Null, "/users", 403),
    ] {
        let token = access_token(pool, groups.clone());
        // A claim of another name is no membership.
        let token = token.claim("groups", json!(["members", "admins"])).compact();
        let answer = ask(&stack, path, &token).await;
        assert_eq!(answer.status, status, "{groups} at {path}: {}", answer.text());
        if status == 403 {
            assert_eq!(stack.reason(&answer).await, "not_allowed");
        }
    }
}
