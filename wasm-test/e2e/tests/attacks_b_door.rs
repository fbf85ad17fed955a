//! Attacks by header at the door: what it says to the upstream, nobody else can say; what it decides
//! by, nobody else can set; and what a caller brought for it goes no further.

use std::sync::OnceLock;

use lockgate_e2e::door::public_url;
use lockgate_e2e::guarded_routes::{
    AUDIENCE, IDENTITY, guarded_stack, navigation, no_invalid_token, sign_in, signed_in, with_cookies,
    with_token,
};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Recorded, Request, Response, Shared, Stack, h2c, slack};
use serde_json::json;
use tokio::sync::OnceCell;

fn provider() -> &'static HostileProvider {
    static PROVIDER: OnceLock<HostileProvider> = OnceLock::new();
    PROVIDER.get_or_init(HostileProvider::start)
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let builder = guarded_stack(provider(), |config| config["limits"] = json!({"header_count": 1024}));
    Shared::of(&STACK, builder).await
}

async fn staff(stack: &Stack) -> UserAgent {
    static AGENT: OnceCell<UserAgent> = OnceCell::const_new();
    AGENT.get_or_init(|| signed_in(stack)).await.clone()
}

/// A token of a program that has no group and no e-mail address.
fn program_token() -> String {
    provider().mint_access_token(AUDIENCE, "program-1").compact()
}

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

/// Every header by which the upstream is told something, and others of the same prefix.
fn told() -> Vec<&'static str> {
    let others = [
        "x-lockgate-assertion",
        "x-lockgate-principal",
        "x-lockgate-groups",
        "x-lockgate-message-id",
        "x-lockgate-delivery-attempt",
        "x-lockgate-oidc",
        "x-lockgate-",
    ];
    IDENTITY.iter().map(|(name, _)| *name).chain(others).collect()
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

/// What of a request at the upstream a client has made up: header fields that say or look like saying
/// who somebody is, but for those of `expected`.
fn made_up(request: &Recorded, expected: &[(&str, &str)]) -> Vec<String> {
    let plain = |name: &str| -> String {
        let sign = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        name.chars().map(sign).collect()
    };
    let fields = request.headers.pairs().map(|(name, value)| {
        (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned())
    });
    let suspicious = |name: &str| {
        plain(name).starts_with("x-lockgate-") || IDENTITY.iter().any(|(told, _)| plain(name) == *told)
    };
    let known = |name: &str, value: &str| {
        name == "x-lockgate-principal" || expected.iter().any(|(n, v)| *n == name && *v == value)
    };
    let mut made_up: Vec<String> = fields
        .filter(|(name, value)| suspicious(name) && !known(name, value) || value.contains("forged"))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    for (name, value) in expected {
        if request.headers.all(name) != [value.as_bytes()] {
            made_up.push(format!("{name} is {:?}", request.headers.all(name)));
        }
    }
    made_up
}

/// What the upstream is told of the provider's person.
const PERSON: [(&str, &str); 5] = [
    ("x-lockgate-subject", "person-1"),
    ("x-lockgate-email", "person@example.com"),
    ("x-user-email", "person@example.com"),
    ("x-auth-request-groups", "staff"),
    ("remote-user", "person-1"),
];

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

/// Everything by which a client may claim to come another way, for another place, or with another method.
const WAYS: [(&str, &str); 23] = [
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-scheme", "https"),
    ("x-forwarded-port", "444"),
    ("x-forwarded-prefix", "/evil"),
    ("x-forwarded-server", "evil.example"),
    ("x-forwarded-uri", "/public/x"),
    ("x-forwarded-path", "/public/x"),
    ("x-forwarded-user", "root"),
    ("x-forwarded-email", "root@example.com"),
    ("forwarded", "for=127.0.0.1;host=evil.example;proto=https"),
    ("x-real-ip", "127.0.0.1"),
    ("x-client-ip", "127.0.0.1"),
    ("true-client-ip", "127.0.0.1"),
    ("x-original-url", "/public/x"),
    ("x-rewrite-url", "/public/x"),
    ("x-envoy-original-path", "/public/x"),
    ("x-envoy-internal", "true"),
    ("x-host", "evil.example"),
    ("x-original-host", "evil.example"),
    ("x-http-host-override", "evil.example"),
    ("x-http-method-override", "GET"),
];

#[tokio::test]
async fn what_a_client_says_of_its_way_decides_nothing() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for (name, value) in WAYS {
        let marker = format!("way-{name}-");
        let get = |target: &str| Request::get(target).header(name, value).header("x-marker", &marker);
        for request in
            [get("/rest/x"), get("/admin/x"), get("/api/x"), get("/wal/x"), get("/_lockgate/userinfo")]
        {
            assert_eq!(stack.client().send(&request).await.status, 401, "{request:?}");
        }
        let answer = stack.client().send(&with_cookies(&stack, &agent, get("/admin/x"))).await;
        assert_eq!(answer.status, 403, "{name}");
        let write = Request { method: "POST".to_owned(), ..get("/reports/x") };
        assert_eq!(stack.client().send(&with_cookies(&stack, &agent, write)).await.status, 403, "{name}");
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn nothing_that_a_client_says_of_its_way_reaches_the_upstream() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for target in ["/public/every-way", "/every-way"] {
        let mut request = with_cookies(&stack, &agent, Request::get(target));
        for (name, value) in WAYS.iter().filter(|(name, _)| name.starts_with("x-forwarded-")) {
            request = request.header(name, value);
        }
        let request = request.header("forwarded", "host=evil.example").header("x-real-ip", "10.9.8.7");
        let request = request.header("x-original-url", "/evil").header("x-rewrite-url", "/evil");
        assert_eq!(stack.client().send(&request).await.status, 200);
        let delivered = stack.delivered(target).await;
        for told in ["evil", "10.9.8.7", "444", "root"] {
            assert!(!delivered.contains(told), "{told} on {target}: {:?}", delivered.headers);
        }
        assert_eq!(delivered.headers.text("x-forwarded-proto").as_deref(), Some("http"), "{target}");
    }
}

/// Parts of an answer that lead somewhere: its location, cookies, and links.
fn leads(answer: &Response) -> String {
    let headers = answer.headers.pairs().map(|(name, value)| {
        format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    });
    headers.collect::<Vec<_>>().join("\n") + &answer.text()
}

#[tokio::test]
async fn the_redirect_uri_comes_from_the_configuration_whatever_host_is_named() {
    let stack = stack().await;
    let callback = format!("{}/_lockgate/callback", public_url(&stack));
    for (name, value) in WAYS {
        for target in ["/page", "/_lockgate/sign-in?return_to=/page"] {
            let answer = stack.client().send(&navigation(target).header(name, value)).await;
            let location = Url::parse(&answer.headers.text("location").unwrap());
            assert_eq!(answer.status, 302, "{name} on {target}");
            assert_eq!(location.query("redirect_uri").as_deref(), Some(&*callback), "{name} on {target}");
            assert_eq!(location.query("client_id").as_deref(), Some(CLIENT_ID));
            assert!(!leads(&answer).contains("evil"), "{name} on {target}: {}", leads(&answer));
        }
    }
    let hosts = [
        "evil.example",
        "evil.example:443",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost",
        "127.0.0.1.evil.example",
        "evil.example@127.0.0.1",
        "x_y",
        "[::1]",
        "evil.example/",
        "evil.example?",
        "evil.example#",
        "evil.example%2f",
        "127.0.0.1:evil",
    ];
    for host in hosts {
        for target in [
            "/page",
            "/admin/page",
            "/_lockgate/sign-in?return_to=/page",
            "/_lockgate/callback?code=x&state=y",
            "/_lockgate/sign-out",
            "/_lockgate/signed-out",
            "/_lockgate/userinfo",
            "/_lockgate/nothing",
        ] {
            let answer = stack.client().send(&navigation(target).header("host", host)).await;
            assert!(!leads(&answer).contains("evil"), "{host} on {target}: {}", leads(&answer));
            if let Some(location) = answer.headers.text("location") {
                let public =
                    location.starts_with(&format!("{}/", public_url(&stack))) || location.starts_with("/_");
                assert!(public, "{host} on {target}: {location}");
                assert!(!answer.headers.contains("set-cookie"), "{host} on {target}");
            }
        }
    }
}

#[tokio::test]
async fn behind_a_trusted_hop_the_redirect_uri_is_still_the_configured_one() {
    let stack = guarded_stack(provider(), |config| config["trusted_hops"] = json!(1)).start().await;
    let callback = format!("{}/_lockgate/callback", public_url(&stack));
    let mut agent = UserAgent::new();
    for (name, value) in WAYS.iter().filter(|(name, _)| name.contains("forwarded")) {
        let answer = stack.client().send(&navigation("/page").header(name, value)).await;
        let location = Url::parse(&answer.headers.text("location").unwrap());
        assert_eq!(location.query("redirect_uri").as_deref(), Some(&*callback), "{name}");
        assert!(!leads(&answer).contains("evil"), "{name}: {}", leads(&answer));
    }
    assert_eq!(sign_in(&stack, &mut agent).await.response.status, 302);
    let request =
        with_cookies(&stack, &agent, Request::get("/behind-a-hop").header("x-forwarded-user", "root"));
    assert_eq!(stack.client().send(&with_forgeries_few(request)).await.status, 200);
    assert_eq!(made_up(&stack.delivered("/behind-a-hop").await, &PERSON), [""; 0]);
}

/// As many forgeries as fit into the default number of headers.
fn with_forgeries_few(mut request: Request) -> Request {
    for name in told() {
        request = request.header(name, "forged").header(name.to_uppercase(), "forged");
    }
    request
}

#[tokio::test]
async fn no_answer_of_the_door_is_kept_by_a_cache() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let known = |request: Request| with_cookies(&stack, &agent, request);
    let mut wrong = Vec::new();
    for request in [
        navigation("/page"),
        navigation("/page").header("host", "evil.example"),
        Request::get("/page"),
        with_token(Request::get("/page"), "bad"),
        Request::post("/page", "text/plain", "x"),
        known(Request::get("/admin/x")),
        known(navigation("/admin/x")),
        known(Request::post("/reports/x", "text/plain", "x")),
        navigation("/_lockgate/sign-in"),
        navigation("/_lockgate/sign-in?provider=none"),
        navigation("/_lockgate/callback?code=x&state=y"),
        navigation("/_lockgate/callback?state=x&state=y"),
        known(navigation("/_lockgate/sign-out")),
        navigation("/_lockgate/sign-out"),
        Request::post("/_lockgate/sign-out", "text/plain", ""),
        navigation("/_lockgate/signed-out"),
        Request::get("/_lockgate/userinfo"),
        known(Request::get("/_lockgate/userinfo")),
        navigation("/_lockgate/nothing"),
        Request::get("/_lockgate/token"),
    ] {
        let answer = stack.client().send(&request).await;
        let kept = answer.headers.all("cache-control");
        if !(kept.len() == 1 && kept[0].starts_with(b"no-store")) {
            wrong.push(format!("{} {}: {} {kept:?}", request.method, request.target, answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

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
        ["", &good],
        [&good, ""],
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
        format!("Bearer \t {token}"),
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
        let bearer = value.starts_with("Bearer ") || value.starts_with("Bearer\t");
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
    let cookies = format!("first=1; {cookie}; lockgate-login=abcdefghijklmnopqrstuv; last=2; lockgatex=3");
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

#[tokio::test]
async fn an_address_that_leads_away_is_never_where_a_sign_in_leads() {
    let stack = stack().await;
    let origin = public_url(&stack);
    for address in [
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%5cevil.example",
        "/%2f/evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "evil.example",
        "http:evil.example",
        "/_lockgate/sign-out",
        "/x/..//evil.example",
        "/.//evil.example",
        "/..//evil.example",
        "@evil.example",
        "%2f%2fevil.example",
        "/a\r\nlocation: https://evil.example",
    ] {
        let mut agent = UserAgent::new();
        let start = Url::parse(&format!("{origin}/_lockgate/sign-in")).with_pairs(&[("return_to", address)]);
        let mut stopped = None;
        let page =
            agent.follow_until(&start.to_string(), |url| url.path().starts_with("/_lockgate/callback")).await;
        if let Some(callback) = page.location() {
            stopped = agent.open(&callback.to_string()).await.response.headers.text("location");
        }
        let location = stopped.unwrap_or_else(|| panic!("{address}: no way back: {}", page.response.text()));
        assert_eq!(location, "/", "{address}");
    }
}
