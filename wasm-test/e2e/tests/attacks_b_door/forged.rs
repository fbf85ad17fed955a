//! Headers that say who somebody is, from whoever is nobody.

use lockgate_e2e::guarded_routes::{
    AUDIENCE, IDENTITY, guarded_stack, no_invalid_token, with_cookies, with_token,
};
use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Request, h2c, slack};
use serde_json::json;

use crate::{PERSON, made_up, program_token, provider, stack, staff, told};

/// The spellings that one server or another takes for the same name.
fn spellings(name: &str) -> Vec<String> {
    let capital =
        |word: &str| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default();
    let title: Vec<String> = name.split('-').map(capital).collect();
    vec![
        name.to_owned(),
        name.to_uppercase(),
        title.join("-"),
        name.replace('-', "_"),
        title.join("_"),
        name.to_uppercase().replace('-', "_"),
        name.replacen('-', "_", 1),
    ]
}

fn with_forgeries(mut request: Request) -> Request {
    for name in told() {
        for spelling in spellings(name) {
            for value in ["forged", "", "forged, forged", "forged"] {
                request = request.header(&spelling, value);
            }
        }
    }
    request
}

/// Spellings that only some servers take for the same name (PHP reads any sign as `_`); the door knows
/// them, too.
fn with_odd_forgeries(mut request: Request) -> Request {
    for name in told() {
        for sign in [".", "~", "!", "|"] {
            request = request.header(name.replace('-', sign), "forged");
        }
    }
    request
}

#[tokio::test]
async fn a_forged_word_about_somebody_reaches_the_upstream_on_no_path() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let client = stack.client();
    let mut wrong = Vec::new();
    let program = [("x-lockgate-subject", "program-1"), ("remote-user", "program-1")];
    for (marker, status, expected, request) in [
        ("forge-open", 200, &[][..], Request::get("/public/forge-open")),
        ("forge-page", 200, &PERSON, with_cookies(&stack, &agent, Request::get("/forge-page"))),
        (
            "forge-post",
            200,
            &PERSON,
            with_cookies(&stack, &agent, Request::post("/forge-post", "text/plain", "x")),
        ),
        ("forge-api", 200, &PERSON, with_cookies(&stack, &agent, Request::get("/api/forge-api"))),
        ("forge-program", 200, &program, with_token(Request::get("/forge-program"), &program_token())),
        ("forge-mixed", 200, &program, {
            let request = with_token(Request::get("/forge-mixed"), &program_token());
            with_cookies(&stack, &agent, request)
        }),
    ] {
        let answer = client.send(&with_odd_forgeries(with_forgeries(request))).await;
        assert_eq!(answer.status, status, "{marker}: {}", answer.text());
        let delivered = stack.delivered(marker).await;
        wrong.extend(made_up(&delivered, expected).into_iter().map(|made_up| format!("{marker}: {made_up}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_forged_word_about_somebody_is_neither_stored_nor_played_back() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let client = stack.client();
    let wal = with_cookies(&stack, &agent, Request::post("/wal/forge-stored", "text/plain", "x"));
    assert_eq!(client.send(&with_forgeries(wal)).await.status, 202);
    let zapier = Request::post("/zapier/forge-zapier", "application/json", r#"{"a":"forge-zapier"}"#);
    assert_eq!(client.send(&with_forgeries(with_token(zapier, &program_token()))).await.status, 202);
    let command = with_forgeries(slack::command("/slack/command", "forge-command"));
    assert_eq!(client.send(&slack::signed(command, SLACK_SECRET)).await.status, 200);
    let mut wrong = Vec::new();
    for marker in ["forge-stored", "forge-zapier", "forge-command"] {
        let delivered = stack.delivered(marker).await;
        if delivered.contains("forged") {
            wrong.push(format!("{marker}: {:?}", delivered.headers));
        }
        let stored = stack.stored(marker).into_iter().filter(|message| message.contains("forged"));
        wrong.extend(stored.map(|message| format!("{marker} was stored: {}", message.envelope())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let command = stack.delivered("forge-command").await;
    for name in IDENTITY.map(|(name, _)| name).into_iter().chain(["x-lockgate-assertion", "x-lockgate-oidc"])
    {
        assert!(!command.headers.contains(name), "{name} of a webhook: {:?}", command.headers);
    }
    let principal = stack.delivered("forge-stored").await.headers.text("x-lockgate-principal").unwrap();
    assert!(principal.contains("person-1"), "{principal}");
    let principal = stack.delivered("forge-zapier").await.headers.text("x-lockgate-principal").unwrap();
    assert!(principal.contains("program-1"), "{principal}");
}

#[tokio::test]
async fn a_forged_word_changes_nothing_on_the_doors_own_pages() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let forged = |request: Request| with_forgeries(request);
    let answer = stack.client().send(&forged(Request::get("/_lockgate/userinfo"))).await;
    assert_eq!(answer.status, 401);
    let known = with_cookies(&stack, &agent, Request::get("/_lockgate/userinfo"));
    let answer = stack.client().send(&forged(known)).await;
    assert_eq!((answer.status, answer.json()["sub"].as_str()), (200, Some("person-1")));
    for target in ["/_lockgate/callback?code=x&state=y", "/_lockgate/sign-in", "/_lockgate/signed-out"] {
        let answer = stack.client().send(&forged(Request::get(target))).await;
        assert!(!answer.text().contains("forged"), "{target}: {}", answer.text());
        assert!(
            !answer.headers.pairs().any(|(_, value)| value.windows(6).any(|w| w == b"forged")),
            "{target}"
        );
    }
}

#[tokio::test]
async fn over_http2_a_forged_word_goes_no_further_either() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let address = stack.client().address();
    let plain = Request::get("/h2-forged");
    for (marker, request, expected) in [
        ("/h2-forged", with_cookies(&stack, &agent, plain), &PERSON[..]),
        ("/public/h2-open", Request::get("/public/h2-open"), &[]),
    ] {
        let mut sent = request;
        for (name, value) in with_forgeries(Request::get("/")).headers.pairs() {
            // Upper case cannot be written there: RFC 9113, section 8.2.1.
            if !name.iter().any(u8::is_ascii_uppercase) {
                sent.headers.push(name, value);
            }
        }
        assert_eq!(h2c::send(address, &sent).await.unwrap().status, 200, "{marker}");
        let delivered = stack.delivered(marker).await;
        assert_eq!(made_up(&delivered, expected), [""; 0], "{marker}");
    }
}

#[tokio::test]
async fn a_forged_mark_opens_no_route() {
    let stack = stack().await;
    for name in [
        "lockgate_oidc",
        "wasm.lockgate_oidc",
        "lockgate-oidc",
        "x-lockgate-oidc",
        "lockgate_principal",
        "wasm.lockgate_principal",
        "lockgate_pubsub_playback",
        "x-envoy-filter-state",
        "filter-state",
    ] {
        for target in ["/marked", "/admin/marked", "/wal/marked", "/zapier/marked", "/wal-playback"] {
            let request = Request::post(target, "application/json", r#"{"x":"marked-by-header"}"#);
            let answer = stack.client().send(&request.header(name, "passed")).await;
            assert!(matches!(answer.status, 401 | 403), "{name} on {target}: {}", answer.status);
        }
    }
    stack.assert_no_trace("marked-by-header");
}

#[tokio::test]
async fn what_a_connection_header_names_is_still_judged() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for named in [
        "authorization",
        "cookie",
        "x-lockgate-subject",
        "x-lockgate-email, x-user-email, remote-user",
        "close, authorization, cookie",
    ] {
        let marker = "/named-by-connection";
        let answer = stack.client().send(&Request::get(marker).header("connection", named)).await;
        assert!(matches!(answer.status, 400 | 401), "{named}: {}", answer.status);
        stack.assert_no_trace(marker);
        // Whoever is let in is told of, even so.
        let target = format!("/named-good-{}", named.len());
        let good = with_cookies(&stack, &agent, Request::get(&target).header("connection", named));
        if stack.client().send(&good).await.status == 200 {
            assert_eq!(made_up(&stack.delivered(&target).await, &PERSON), [""; 0], "{named}");
        }
    }
}

#[tokio::test]
async fn no_claim_of_anybody_can_begin_another_header() {
    let stack = guarded_stack(provider(), |config| {
        config["sign_in"]["headers"] = json!({
            "x-lockgate-subject": "sub", "x-lockgate-email": "email", "x-name": "name",
            "x-auth-request-groups": "groups", "x-address": "/address/street",
        });
    });
    let stack = stack.start().await;
    let hostile = "a\r\nx-injected: 1\r\n\r\n\u{0}\u{1b}[31m\u{7f}\u{85}\u{2028}\u{e4} %41,b";
    let claims = |token: lockgate_e2e::signing_keys::Jwt| {
        token
            .claim("name", json!(hostile))
            .claim("email", json!(format!("{hostile}@example.com")))
            .claim("email_verified", json!(true))
            .claim("groups", json!([hostile, "admins", "a,b"]))
            .claim("address", json!({"street": hostile}))
    };
    let token = claims(provider().mint_access_token(AUDIENCE, "program-1")).compact();
    assert_eq!(stack.client().send(&with_token(Request::get("/hostile-claims"), &token)).await.status, 200);
    let delivered = stack.delivered("/hostile-claims").await;
    let value = "a%0D%0Ax-injected: 1%0D%0A%0D%0A%00%1B[31m%7F%C2%85%E2%80%A8%C3%A4 %2541,b";
    assert_eq!(delivered.headers.text("x-name").as_deref(), Some(value));
    assert_eq!(delivered.headers.text("x-address").as_deref(), Some(value));
    let groups = format!("{},admins,a%2Cb", value.replace(",b", "%2Cb"));
    assert_eq!(delivered.headers.text("x-auth-request-groups").as_deref(), Some(&*groups));
    assert!(!delivered.headers.contains("x-lockgate-email") && !delivered.headers.contains("x-injected"));
    for subject in [hostile, "a\nb", "a\u{0}", ""] {
        let token = claims(provider().mint_access_token(AUDIENCE, subject)).compact();
        let answer = stack.client().send(&with_token(Request::get("/hostile-subject"), &token)).await;
        assert_eq!(no_invalid_token(&answer), None, "{subject:?}");
    }
    stack.assert_no_trace("/hostile-subject");
}
