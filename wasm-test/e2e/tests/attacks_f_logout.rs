//! Attacks on signing out: nobody else can do it to somebody, and once it is done no copy of the
//! cookie is worth anything.

use std::time::Duration;

use lockgate_e2e::cookie_jar::set_cookies;
use lockgate_e2e::door::{door_config, door_stack, public_url};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::siege::{Siege, Turn, navigation};
use lockgate_e2e::url::{Url, encode};
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Answer, Request, Response};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::Instant;

#[path = "attacks_f_logout/back_channel.rs"]
mod back_channel;

const SIGN_OUT: &str = "/_lockgate/sign-out";

/// The door of this file, and the second provider that it stands before. With two there is a choice,
/// so a sign-in begins where its provider is named.
async fn door() -> (Turn, &'static HostileProvider) {
    static OTHER: OnceCell<HostileProvider> = OnceCell::const_new();
    static DOOR: OnceCell<Siege> = OnceCell::const_new();
    let other = OTHER.get_or_init(async || HostileProvider::named("localhost", "")).await;
    let second = json!({
        "name": "other", "issuer": other.issuer(), "client_id": CLIENT_ID,
        "client_secret": {"env": "OIDC_CLIENT_SECRET"}, "back_channel_logout": true,
    });
    let start = Siege::start(2, |config| {
        config["sign_in"]["providers"].as_array_mut().unwrap().push(second);
    });
    let door = Turn::at(&DOOR, start).await;
    other.heal();
    (door, other)
}

/// Somebody who signs in at a provider of this name; their cookies.
async fn signed_in_at(door: &Siege, name: &str) -> String {
    let mut agent = UserAgent::new();
    let page = door.visit(&mut agent, &format!("/_lockgate/sign-in?provider={name}&return_to=/in")).await;
    assert_eq!((page.response.status, page.url.path()), (200, "/in"), "{}", page.response.text());
    door.cookies(&agent)
}

async fn signed_in(door: &Siege) -> String {
    signed_in_at(door, "company").await
}

/// The button of the door's own page.
async fn press(door: &Siege, cookies: &str) -> Response {
    let request = button(door).header("origin", door.url("")).header("cookie", cookies);
    door.stack.client().send(&request.header("sec-fetch-site", "same-origin")).await
}

/// The button's request, but for what says whose page it is on.
fn button(door: &Siege) -> Request {
    let request = Request::post(SIGN_OUT, "application/x-www-form-urlencoded", "");
    request
        .header("referer", door.url(SIGN_OUT))
        .header("sec-fetch-mode", "navigate")
        .header("accept", "text/html")
}

#[tokio::test]
async fn no_other_sites_page_can_press_the_button() {
    let (door, _) = door().await;
    let cookies = signed_in(&door).await;
    let own = door.url("");
    let authority = Url::parse(&own).authority();
    let same = Some("same-origin");
    let origins: Vec<(Option<String>, Option<&str>)> = vec![
        (None, None),
        (Some("https://evil.example".into()), None),
        (Some("https://evil.example".into()), Some("cross-site")),
        (Some("https://evil.example".into()), same),
        (Some("null".into()), None),
        (Some("null".into()), same),
        (Some(String::new()), same),
        (Some(own.clone()), Some("cross-site")),
        (Some(own.clone()), Some("same-site")),
        (Some(own.clone()), Some("none")),
        (Some(own.clone()), Some("")),
        (Some(own.clone()), Some("Same-Origin")),
        (None, Some("cross-site")),
        (None, Some("same-site")),
        (None, Some("none")),
        (None, Some("same-origin, cross-site")),
        (Some(format!("{own}/")), same),
        (Some(format!("{own}.evil.example")), same),
        (Some(format!("https://evil.example?{own}")), same),
        (Some(format!("http://evil@{authority}")), same),
        (Some(own.replace("http:", "https:")), same),
        (Some("http://127.0.0.1".into()), same),
        (Some("http://127.0.0.1:1".into()), same),
        (Some(own.replace("127.0.0.1", "localhost")), same),
        (Some(own.to_uppercase()), same),
        (Some(format!("{own} https://evil.example")), same),
        (Some(format!("{own}, https://evil.example")), same),
    ];
    let client = door.stack.client();
    for (origin, site) in origins {
        let mut request = button(&door).header("cookie", &cookies);
        if let Some(origin) = &origin {
            request = request.header("origin", origin);
        }
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        let what = format!("{origin:?} {site:?}");
        refused(&door, &what, client.send(&request).await).await;
    }
    // Twice, one of them right.
    for pair in [["https://evil.example", &own], [&own, "https://evil.example"], [&own, &own]] {
        let request = pair.iter().fold(button(&door).header("cookie", &cookies), |request, origin| {
            request.header("origin", origin)
        });
        refused(&door, "two origins", client.send(&request).await).await;
    }
    let twice = button(&door).header("cookie", &cookies).header("origin", &own);
    let twice = twice.header("sec-fetch-site", "same-origin").header("sec-fetch-site", "same-origin");
    refused(&door, "two sites", client.send(&twice).await).await;
    // What is the same origin is configured: no host of the attacker's choice makes another one so.
    let elsewhere = button(&door).header("cookie", &cookies).header("host", "evil.example");
    let elsewhere =
        elsewhere.header("origin", "http://evil.example").header("x-forwarded-host", "evil.example");
    refused(&door, "another host", client.send(&elsewhere).await).await;

    assert_eq!(door.whose(&cookies).await.as_deref(), Some("person-1"), "still signed in");
    assert_eq!(press(&door, &cookies).await.status, 303);
    assert_eq!(door.whose(&cookies).await, None);
    door_unharmed(&door).await;
}

async fn refused(door: &Turn, what: &str, answer: Response) {
    assert_eq!(answer.status, 403, "{what}: {}", answer.text());
    assert_eq!(door.stack.reason(&answer).await, "cross_origin", "{what}");
    assert!(!answer.headers.contains("set-cookie") && !answer.headers.contains("clear-site-data"), "{what}");
}

/// [`Turn::assert_unharmed`] is for a door before one provider: here one signs in by name.
async fn door_unharmed(door: &Turn) {
    door.reset();
    let cookies = signed_in(door).await;
    for pair in cookies.split("; ") {
        door.keep_secret(pair.split_once('=').unwrap().1);
    }
    assert_eq!(press(door, &cookies).await.status, 303);
    door.assert_silent().await;
}

#[tokio::test]
async fn an_address_alone_signs_nobody_out() {
    let (door, _) = door().await;
    let cookies = signed_in(&door).await;
    let own = door.url("");
    let get = |target: &str| {
        Request::get(target)
            .header("cookie", &cookies)
            .header("origin", &own)
            .header("sec-fetch-site", "same-origin")
    };
    let mut requests = vec![
        navigation(SIGN_OUT).header("cookie", &cookies),
        get(SIGN_OUT).header("sec-fetch-dest", "image").header("sec-fetch-mode", "no-cors"),
        get(SIGN_OUT).header("sec-fetch-dest", "iframe").header("sec-fetch-mode", "navigate"),
        get(SIGN_OUT).header("sec-purpose", "prefetch;prerender").header("sec-fetch-mode", "navigate"),
        get(SIGN_OUT).header("purpose", "prefetch"),
        get(SIGN_OUT).header("x-http-method-override", "POST"),
        get(SIGN_OUT).header("x-http-method", "POST").header("x-method-override", "POST"),
        get("/_lockgate/sign-out?_method=POST&confirm=1&sign-out=1"),
        get("/_lockgate/signed-out"),
        get("/_lockgate/sign-in?return_to=/_lockgate/sign-out"),
        get("/_lockgate/callback?logout=1"),
        get("/_lockgate/back-channel-logout?logout_token=x"),
        get("/_lockgate/back-channel-logout"),
    ];
    for method in ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "LOGOUT", "post"] {
        let mut request = get(SIGN_OUT);
        request.method = method.to_owned();
        requests.push(request);
    }
    for target in [
        "/_lockgate/sign-out/",
        "/_lockgate/sign-out;x",
        "/_lockgate/SIGN-OUT",
        "/_lockgate/sign-out%20",
        "/_lockgate/signout",
    ] {
        let mut request = get(target);
        request.method = "POST".to_owned();
        requests.push(request);
    }
    for request in requests {
        let what = format!("{} {}", request.method, request.target);
        let Ok(answer) = door.stack.client().try_send(&request).await else { continue };
        assert!(answer.status != 303 && answer.status < 500, "{what}: {} {}", answer.status, answer.text());
        let deleted = set_cookies(&answer).into_iter().any(|cookie| cookie.name == "lockgate");
        assert!(!deleted && !answer.headers.contains("clear-site-data"), "{what}: {:?}", answer.headers);
        assert_eq!(door.whose(&cookies).await.as_deref(), Some("person-1"), "{what}");
    }
    // Framed by another site, its button could be pressed by a click on something else.
    let page = door.opens(SIGN_OUT, &cookies).await;
    assert_eq!(page.headers.text("x-frame-options").as_deref(), Some("DENY"));
    assert!(page.headers.text("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    assert_eq!(
        page.headers.text("referrer-policy").as_deref(),
        Some("same-origin"),
        "its form must say whose it is"
    );
    door_unharmed(&door).await;
}

#[tokio::test]
async fn a_copy_of_the_cookie_is_worth_nothing_afterwards() {
    let (door, _) = door().await;
    let stolen = signed_in(&door).await;
    let bystander = signed_in(&door).await;
    assert_eq!(door.asks(&stolen).await.status, 200);
    let answer = press(&door, &stolen).await;
    assert_eq!(answer.status, 303);
    let gone = set_cookies(&answer);
    assert!(gone.iter().all(|cookie| cookie.max_age == Some(0) && cookie.value.is_empty()), "{gone:?}");
    assert_eq!(answer.headers.text("clear-site-data").as_deref(), Some("\"cache\""));
    let client = door.stack.client();
    // Enough for both workers to have seen it.
    for _ in 0..20 {
        assert_eq!(door.asks(&stolen).await.status, 401);
        assert_eq!(door.whose(&stolen).await, None);
        assert_eq!(door.opens("/x", &stolen).await.status, 302);
    }
    let alone: String = stolen.split("; ").find(|pair| pair.starts_with("lockgate=")).unwrap().to_owned();
    assert_eq!(door.asks(&alone).await.status, 401);
    let upgrade = Request::get("/socket")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("cookie", &stolen);
    assert_eq!(client.send(&upgrade).await.status, 401);
    let posted = Request::post("/form", "text/plain", "after-sign-out").header("cookie", &stolen);
    assert_eq!(client.send(&posted).await.status, 401);
    door.stack.assert_no_trace("after-sign-out");
    // Once more, and from somebody who never was here.
    for cookies in [&*stolen, "", "lockgate=x", "lockgate=1.AAAA"] {
        let answer = press(&door, cookies).await;
        assert!(matches!(answer.status, 303), "{cookies}: {}", answer.status);
    }
    assert_eq!(
        door.whose(&bystander).await.as_deref(),
        Some("person-1"),
        "another session of the same person lives"
    );
    door_unharmed(&door).await;
}

#[tokio::test]
async fn two_session_cookies_sign_nobody_out() {
    let (door, _) = door().await;
    let [one, other] = [signed_in(&door).await, signed_in(&door).await];
    let session =
        |cookies: &str| cookies.split("; ").find(|pair| pair.starts_with("lockgate=")).unwrap().to_owned();
    let answer = press(&door, &format!("{}; {}", session(&one), session(&other))).await;
    assert_eq!(answer.status, 400);
    assert_eq!(door.stack.reason(&answer).await, "repeated_cookie");
    for cookies in [one, other] {
        assert_eq!(door.whose(&cookies).await.as_deref(), Some("person-1"));
    }
    door_unharmed(&door).await;
}

#[tokio::test]
async fn nobody_chooses_where_a_sign_out_leads() {
    let (door, _) = door().await;
    let evil = encode("https://evil.example/");
    let query = format!(
        "return_to={evil}&post_logout_redirect_uri={evil}&redirect={evil}&client_id=evil&state=evil&id_token_hint=evil"
    );
    for target in [format!("{SIGN_OUT}?{query}"), SIGN_OUT.to_owned()] {
        let cookies = signed_in(&door).await;
        let asked = door.opens(&target, &cookies).await;
        assert!(!asked.text().contains("evil"), "{}", asked.text());
        let mut request =
            button(&door).body(query.clone()).header("origin", door.url("")).header("cookie", &cookies);
        request.target.clone_from(&target);
        for name in ["x-forwarded-host", "forwarded", "x-original-url"] {
            request = request.header(name, "evil.example");
        }
        let answer = door.stack.client().send(&request).await;
        assert_eq!(answer.status, 303);
        let location = Url::parse(&answer.headers.text("location").unwrap());
        assert_eq!(format!("{}{}", location.origin(), location.path()), door.provider.url("/logout"));
        let expected = [
            ("client_id", CLIENT_ID.to_owned()),
            ("post_logout_redirect_uri", door.url("/_lockgate/signed-out")),
        ];
        let pairs: Vec<_> = location.pairs();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (&**name, value.clone())).collect();
        assert_eq!(pairs, expected, "nothing else, and no token");
    }
    // Back here, nothing is believed either.
    let answer = door.opens(&format!("/_lockgate/signed-out?{query}"), "").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains("evil") && !answer.headers.contains("location"));
    door_unharmed(&door).await;
}

#[tokio::test]
async fn whoever_is_named_on_the_page_is_text() {
    let (door, _) = door().await;
    for name in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "</b></p><form action=https://evil.example>",
        "' onmouseover='alert(1)",
        "&lt;script&gt;",
        "{{7*7}}",
    ] {
        door.provider.set_person(json!({"sub": name}));
        let cookies = signed_in(&door).await;
        let page = door.opens(SIGN_OUT, &cookies).await;
        let text = page.text();
        let shown = text.split("<main>").nth(1).unwrap();
        for tag in ["<script", "<img", "<form action=https", "' onmouseover"] {
            assert!(!shown.contains(tag), "{name}: {shown}");
        }
        assert_eq!(shown.matches("<form").count(), 1, "{name}: {shown}");
        let escaped = name
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;");
        assert!(shown.contains(&escaped), "{name}: {shown}");
        // The form leads on to the provider, and wherever that one leads on to; nothing else does.
        let policy = page.headers.text("content-security-policy").unwrap();
        let end = "; frame-ancestors 'none'; base-uri 'none'; form-action 'self' http:";
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.ends_with(end),
            "{policy}"
        );
        // As JSON it is a string, and no page.
        let told =
            door.stack.client().send(&Request::get("/_lockgate/userinfo").header("cookie", &cookies)).await;
        assert_eq!(
            (told.json()["sub"].as_str(), told.headers.text("content-type").as_deref()),
            (Some(name), Some("application/json"))
        );
    }
    door_unharmed(&door).await;
}

#[tokio::test]
async fn many_sign_outs_at_once_are_all_sign_outs() {
    let (door, _) = door().await;
    let mut all = Vec::new();
    for _ in 0..30 {
        all.push(signed_in(&door).await);
    }
    let began = door.counter("signed_out").await;
    let client = door.stack.client();
    let pressed = all.iter().flat_map(|cookies| [cookies, cookies, cookies]).map(|cookies| {
        let request = button(&door).header("origin", door.url("")).header("cookie", cookies);
        tokio::spawn(async move { client.send(&request).await.status })
    });
    for pressed in pressed.collect::<Vec<_>>() {
        assert_eq!(pressed.await.unwrap(), 303);
    }
    for cookies in &all {
        assert_eq!(door.asks(cookies).await.status, 401);
    }
    assert!(door.counter("signed_out").await >= began + 30);
    let asked = door.provider.count(Endpoint::Token);
    assert_eq!(door.opens("/x", &all[0]).await.status, 302);
    assert_eq!(door.provider.count(Endpoint::Token), asked);
    door_unharmed(&door).await;
}

#[tokio::test]
async fn a_sign_out_waits_for_no_provider() {
    let provider = HostileProvider::named("localhost", "");
    let revoke = provider.url("/revoke");
    provider.edit_json(Endpoint::Discovery, move |document| document["revocation_endpoint"] = json!(revoke));
    provider.answer(Endpoint::Other, |_| Some(Answer::Hang));
    let stack = door_stack(&door_config(provider.issuer(), |_| {})).start().await;
    let mut agent = UserAgent::new();
    let page = agent.follow(&format!("{}/in", public_url(&stack))).await;
    assert_eq!(page.response.status, 200, "its metadata is there");
    let siege = Siege::new(stack, provider);
    siege.provider.answer(Endpoint::Other, |_| Some(Answer::Hang));
    let [first, second] = [signed_in(&siege).await, signed_in(&siege).await];

    // The refresh token is given back, and nobody waits until it is.
    let began = Instant::now();
    assert_eq!(press(&siege, &first).await.status, 303);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let call = siege.provider.wait_for_calls(Endpoint::Other, 1).await.swap_remove(0);
    assert_eq!(
        (&*call.request.target, call.parameter("token_type_hint").as_deref()),
        ("/revoke", Some("refresh_token"))
    );
    assert!(
        call.parameter("token").unwrap().starts_with("refresh-")
            && call.request.headers.contains("authorization")
    );
    assert_eq!(siege.asks(&first).await.status, 401);

    // With a provider that is gone, and a door that never knew it.
    siege.provider.leave().await;
    siege.stack.kill_gateway();
    siege.stack.start_gateway().await;
    let began = Instant::now();
    assert_eq!(siege.whose(&second).await.as_deref(), Some("person-1"), "its tokens are good");
    let answer = press(&siege, &second).await;
    assert_eq!(
        (answer.status, answer.headers.text("location").as_deref()),
        (303, Some("/_lockgate/signed-out"))
    );
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert_eq!(siege.asks(&second).await.status, 401);
    siege.assert_silent(0).await;
}
