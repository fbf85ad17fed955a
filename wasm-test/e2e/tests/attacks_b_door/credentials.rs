//! What a caller brings for the door: one token or one session, which goes no further.

use lockgate_e2e::guarded_routes::{
    guarded_stack, navigation, no_invalid_token, signed_in, with_cookies, with_token,
};
use lockgate_e2e::{Request, h2c};
use serde_json::json;

use crate::{program_token, provider, stack, staff};

#[tokio::test]
async fn two_authorization_headers_are_refused_whatever_is_in_them() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let good = format!("Bearer {}", program_token());
    for (number, [first, second]) in [
        [&*good, &*good],
        [&good, "Bearer bad"],
        ["Bearer bad", &good],
        ["Basic eDp5", &good],
        [&good, "Basic eDp5"],
        ["Basic eDp5", "Basic eDp5"],
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("/two-authorizations-{number}-");
        let request = Request::get(&marker).header("authorization", first).header("Authorization", second);
        for request in [request.clone(), with_cookies(&stack, &agent, request.clone())] {
            let answer = stack.client().send(&request).await;
            assert_eq!(answer.status, 401, "{number}: {}", answer.text());
            let answer = h2c::send(stack.client().address(), &request).await.unwrap();
            assert_eq!(answer.status, 401, "{number}, HTTP/2: {}", answer.text());
        }
        stack.assert_no_trace(&marker);
        let answer = stack.client().send(&Request { target: "/_lockgate/userinfo".into(), ..request }).await;
        assert_eq!(answer.status, 401, "{number}, userinfo");
    }
}

#[tokio::test]
async fn one_authorization_header_is_read_as_one_token_however_it_is_spaced() {
    let stack = stack().await;
    let token = program_token();
    for (number, value) in [
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!("BEARER {token}"),
        format!("bEaReR {token}"),
        format!("Bearer   {token}"),
        format!("  Bearer {token}  "),
        format!("\tBearer {token}\t"),
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("/well-spaced-{number}-");
        let answer = stack.client().send(&Request::get(&marker).header("authorization", &value)).await;
        assert_eq!(answer.status, 200, "{value:?}: {}", answer.text());
        let delivered = stack.delivered(&marker).await;
        assert!(!delivered.contains(&token), "{value:?}: {:?}", delivered.headers);
        assert_eq!(delivered.headers.text("x-lockgate-subject").as_deref(), Some("program-1"));
    }
}

#[tokio::test]
async fn what_is_nearly_a_bearer_token_lets_nobody_in_and_shows_no_token_to_the_upstream() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let token = program_token();
    let mut wrong = Vec::new();
    for (number, value) in [
        format!("Bearer\t{token}"),
        format!("Bearer \t {token}"),
        format!("Bearer{token}"),
        format!("Bearer:{token}"),
        format!("Bearer={token}"),
        format!("Bearer,{token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {token} {token}"),
        format!("Bearer {token},"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token}; Bearer bad"),
        format!("Bearer bad, Bearer {token}"),
        format!("Bearer token={token}"),
        format!("Bearer Bearer {token}"),
        format!("Bearer %20{token}"),
        format!("Bearer {token}%00"),
        format!("Bearer\u{a0}{token}"),
        format!("Bearer \u{200b}{token}"),
        format!("\u{feff}Bearer {token}"),
        format!("Token {token}"),
        format!("JWT {token}"),
        format!("DPoP {token}"),
        token.clone(),
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("/badly-spaced-{number}-");
        let request = Request::get(&marker).header("authorization", &value);
        let answer = stack.client().send(&request).await;
        if !matches!(answer.status, 400 | 401) {
            wrong.push(format!("{}: {}", value.replace(&token, "TOKEN"), answer.status));
        }
        // Beside a session it may pass, as a credential of another scheme; but what many a server
        // reads as a bearer token must not be read by the upstream alone.
        let answer = stack.client().send(&with_cookies(&stack, &agent, request)).await;
        let bearer = ["Bearer ", "Bearer\t"].iter().any(|start| value.starts_with(start));
        if bearer
            && stack.upstream().requests().matching(|r| r.path() == marker).iter().any(|r| r.contains(&token))
        {
            wrong.push(format!("{} beside a session: {}", value.replace(&token, "TOKEN"), answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_token_is_taken_from_no_other_place() {
    let stack = stack().await;
    let token = program_token();
    for (number, request) in [
        Request::get(&format!("/elsewhere?access_token={token}")),
        Request::get(&format!("/elsewhere?token={token}&bearer={token}")),
        Request::post("/elsewhere", "application/x-www-form-urlencoded", format!("access_token={token}")),
        Request::get("/elsewhere").header("proxy-authorization", format!("Bearer {token}")),
        Request::get("/elsewhere").header("x-authorization", format!("Bearer {token}")),
        Request::get("/elsewhere").header("x-serverless-authorization", format!("Bearer {token}")),
        Request::get("/elsewhere").header("x-forwarded-access-token", &token),
        Request::get("/elsewhere").header("x-goog-iap-jwt-assertion", &token),
        Request::get("/elsewhere").header("cookie", format!("lockgate={token}")),
        Request::get("/elsewhere")
            .header("cookie", format!("access_token={token}; Authorization=Bearer {token}")),
        Request::get("/elsewhere").header("authorization_", format!("Bearer {token}")),
        Request::get("/elsewhere").header("sec-websocket-protocol", format!("bearer, {token}")),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 401, "{number}: {}", answer.text());
    }
    stack.assert_no_trace("/elsewhere");
}

#[tokio::test]
async fn a_bad_token_is_not_saved_by_a_good_cookie() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for target in
        ["/saved", "/api/saved", "/admin/saved", "/wal/saved", "/zapier/saved", "/_lockgate/userinfo"]
    {
        let request = with_token(with_cookies(&stack, &agent, navigation(target)), "bad");
        let answer = stack.client().send(&request).await;
        assert_eq!(no_invalid_token(&answer), None, "{target}");
    }
    stack.assert_no_trace("/saved");
}

#[tokio::test]
async fn neither_token_nor_cookie_reaches_the_upstream_on_any_path() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let token = program_token();
    let cookie = with_cookies(&stack, &agent, Request::get("/")).headers.text("cookie").unwrap();
    let session = cookie.split("lockgate=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let cookies =
        format!("first=1; {cookie}; lockgate-login-abcdef=abcdefghijklmnopqrstuv; last=2; lockgatex=3");
    let mut wrong = Vec::new();
    for (marker, request) in [
        ("/kept-page", Request::get("/kept-page").header("cookie", &cookies)),
        ("/kept-api", Request::get("/api/kept-api").header("cookie", &cookies)),
        ("/kept-token", with_token(Request::get("/kept-token").header("cookie", &cookies), &token)),
        ("/kept-open", Request::get("/public/kept-open").header("cookie", &cookies)),
        ("/kept-stored", Request::post("/wal/kept-stored", "text/plain", "x").header("cookie", &cookies)),
        ("/kept-program", with_token(Request::post("/wal/kept-program", "text/plain", "x"), &token)),
        ("/kept-zapier", with_token(Request::post("/zapier/kept-zapier", "application/json", "{}"), &token)),
    ] {
        let answer = stack.client().send(&request).await;
        assert!(answer.is_success(), "{marker}: {} {}", answer.status, answer.text());
        let delivered = stack.delivered(marker).await;
        for secret in [&*session, &token, "lockgate-login"] {
            if delivered.contains(secret) {
                wrong.push(format!("{marker}: {:?}", delivered.headers));
            }
            let stored = stack.stored(marker).into_iter().filter(|message| message.contains(secret));
            wrong
                .extend(stored.map(|message| format!("{marker} was stored with it: {}", message.envelope())));
        }
        let passes = matches!(marker, "/kept-page" | "/kept-api" | "/kept-token" | "/kept-open");
        let others = delivered.headers.text("cookie").unwrap_or_default();
        if passes && others != "first=1; last=2; lockgatex=3" {
            wrong.push(format!("{marker}: the other cookies became {others:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_token_is_forwarded_only_where_the_rule_says_so() {
    let stack = guarded_stack(provider(), |config| {
        config["routes"].as_array_mut().unwrap().insert(0, json!({
            "name": "forwards", "match": {"path_prefix": "/forwards"}, "guard": "oidc", "forward_token": true,
        }));
    });
    let stack = stack.start().await;
    let token = program_token();
    let agent = signed_in(&stack).await;
    let known = |target: &str| with_cookies(&stack, &agent, Request::get(target));
    let program = |target: &str| with_token(Request::get(target), &token);
    for request in [
        known("/forwards/person"),
        program("/forwards/program"),
        known("/plain-person"),
        program("/plain-program"),
    ] {
        assert_eq!(stack.client().send(&request).await.status, 200, "{}", request.target);
        let delivered = stack.delivered(&request.target).await;
        let told = delivered.headers.all("authorization");
        if !request.target.starts_with("/forwards/") {
            assert!(told.is_empty(), "{told:?}");
        } else if request.target.ends_with("/program") {
            assert_eq!(told, [format!("Bearer {token}").as_bytes()]);
        } else {
            // A person's is the access token, never the refresh token, nor the ID token.
            assert_eq!(told.len(), 1, "{told:?}");
            let person = String::from_utf8_lossy(told[0]).into_owned();
            assert!(person.starts_with("Bearer opaque-"), "{person}");
        }
        assert!(
            !delivered.contains("refresh-") && !delivered.contains("lockgate="),
            "{:?}",
            delivered.headers
        );
    }
    // What a client says of itself is not taken for the token of its session.
    let forged = known("/forwards/forged").header("authorization", "Basic eDp5");
    assert_eq!(stack.client().send(&forged).await.status, 200);
    let told = stack.delivered("/forwards/forged").await.headers.text("authorization").unwrap();
    assert!(told.starts_with("Bearer opaque-"), "{told}");
    for target in ["/public/../forwards/x", "/forwardsx", "//forwards/y"] {
        let marker = format!("near-{}-", target.len());
        let answer = stack.client().send(&known(target).header("x-marker", &marker)).await;
        assert_eq!(answer.status, 200, "{target}");
        let told = stack.delivered(&marker).await.headers.contains("authorization");
        assert_eq!(told, target != "/forwardsx", "{target}");
    }
}

#[tokio::test]
async fn a_credential_of_another_scheme_is_the_upstreams_own() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let request = with_cookies(&stack, &agent, Request::get("/basic").header("authorization", "Basic eDp5"));
    assert_eq!(stack.client().send(&request).await.status, 200);
    assert_eq!(stack.delivered("/basic").await.headers.all("authorization"), [b"Basic eDp5"]);
    assert_eq!(
        stack.client().send(&Request::get("/basic").header("authorization", "Basic eDp5")).await.status,
        401
    );
}

#[tokio::test]
async fn two_session_cookies_are_refused_however_they_came() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let cookie = with_cookies(&stack, &agent, Request::get("/")).headers.text("cookie").unwrap();
    let address = stack.client().address();
    let plain = Request::get("/two-sessions");
    for request in [
        plain.clone().header("cookie", format!("{cookie}; {cookie}")),
        plain.clone().header("cookie", format!("lockgate=1.x; {cookie}")),
        plain.clone().header("cookie", format!("{cookie}; lockgate=1.x")),
        plain.clone().header("cookie", &cookie).header("cookie", &cookie),
        plain.clone().header("cookie", &cookie).header("Cookie", "lockgate="),
        plain.clone().header("cookie", "a=b").header("cookie", format!("{cookie}; x=y; lockgate=")),
    ] {
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 400, "{:?}: {}", request.headers, answer.text());
        let answer = h2c::send(address, &request).await.unwrap();
        assert_eq!(answer.status, 400, "{:?}, HTTP/2: {}", request.headers, answer.text());
    }
    stack.assert_no_trace("/two-sessions");
    // A browser that speaks HTTP/2 may send each cookie on its own: RFC 9113, section 8.2.3.
    let crumbs =
        Request::get("/crumbs").header("cookie", "a=b").header("cookie", &cookie).header("cookie", "c=d");
    assert_eq!(h2c::send(address, &crumbs).await.unwrap().status, 200);
    assert_eq!(stack.delivered("/crumbs").await.headers.text("cookie").as_deref(), Some("a=b; c=d"));
}
