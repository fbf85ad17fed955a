//! Attacks by way of the door's logs, pages and statistics: nothing secret gets in, nothing that is

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lockgate_e2e::door::public_url;
use lockgate_e2e::guarded_routes::{
    AUDIENCE, guarded_stack, navigation, sign_in, signed_in, with_cookies, with_token,
};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::url::{Url, encode};
use lockgate_e2e::user_agent::{Page, UserAgent};
use lockgate_e2e::visitor::until;
use lockgate_e2e::{Builder, Request, Response, Stack};
use serde_json::{Value, json};

#[path = "attacks_m_door/traffic.rs"]
mod traffic;

use traffic::traffic;

fn builder(provider: &HostileProvider) -> Builder {
    guarded_stack(provider, |config| {
        config["sign_in"]["headers"] = json!({"x-lockgate-subject": "sub"});
        config["sign_in"]["token_page"] = json!(true);
        let routes = config["routes"].as_array_mut().unwrap();
        routes.insert(0, json!({
            "name": "forwards", "match": {"path_prefix": "/forwards"}, "guard": "oidc", "forward_token": true,
        }));
    })
}

/// Lines in which one of the secrets stands. An address may stand in the lines of the audit.
fn leaks(place: &str, lines: impl IntoIterator<Item = String>, secrets: &[(String, String)]) -> Vec<String> {
    let mut leaks = Vec::new();
    for line in lines {
        for (what, secret) in secrets {
            let audited = what == "the person's address" && line.contains("lockgate audit event=");
            if line.contains(&**secret) && !audited {
                leaks.push(format!("{place}: {what} in {line}"));
            }
        }
    }
    leaks
}

fn files(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    found
}

#[tokio::test]
async fn nothing_that_must_stay_secret_is_written_down_anywhere() {
    for level in ["info", "warning"] {
        let provider = HostileProvider::start();
        let stack = builder(&provider).variable("ENVOY_LOG_LEVEL", level).start().await;
        let secrets = traffic(&stack, &provider).await.all();
        let kinds: BTreeSet<&str> = secrets.iter().map(|(what, _)| what.as_str()).collect();
        for kind in [
            "state",
            "nonce",
            "code",
            "code_verifier",
            "code_challenge",
            "access_token",
            "refresh_token",
            "id_token",
            "the cookie lockgate",
            "the client's authorization",
        ] {
            assert!(kinds.contains(kind), "no {kind} was looked at: {kinds:?}");
        }
        let login = kinds.iter().any(|kind| kind.starts_with("the cookie lockgate-login-"));
        assert!(login, "no login cookie was looked at: {kinds:?}");
        let mut wrong = Vec::new();
        for page in [
            "/config_dump?include_eds",
            "/stats",
            "/stats/prometheus",
            "/clusters",
            "/listeners",
            "/server_info",
            "/certs",
            "/memory",
            "/init_dump",
        ] {
            let text = stack.admin().text(page).await;
            wrong.extend(leaks(page, text.lines().map(str::to_owned), &secrets));
        }
        let rendered = files(&stack.directory().join("state"));
        assert!(
            rendered.iter().any(|(_, text)| text.contains("lockgate.guard")),
            "the rendered file was looked at"
        );
        for (path, text) in rendered {
            wrong.extend(leaks(&path, text.lines().map(str::to_owned), &secrets));
        }
        stack.stop_gateway().await;
        let lines = stack.gateway_log().since(0);
        for wanted in
            ["\"/_lockgate/callback\"", "lockgate audit event=signed_in", "refused reason=token_expired"]
        {
            assert!(lines.iter().any(|line| line.contains(wanted)), "at {level}: no line with {wanted}");
        }
        wrong.extend(leaks(&format!("the log at {level}"), lines, &secrets));
        assert!(wrong.is_empty(), "{} times: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    }
}

/// What of a line of Envoy's log is the filter's own.
fn said(line: &str) -> Option<&str> {
    let (head, said) = line.split_once(": lockgate ")?;
    assert!(head.contains("wasm log"), "a line of somebody else's making: {line}");
    Some(said)
}

/// The fields of a line, which stand in this order, each once.
fn fields<'a>(line: &'a str, names: &[&str]) -> Vec<&'a str> {
    let parts: Vec<(&str, &str)> =
        line.split(' ').map(|part| part.split_once('=').unwrap_or((part, ""))).collect();
    let found: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, names, "{line}");
    parts.into_iter().map(|(_, value)| value).collect()
}

const SESSION: [&str; 8] =
    ["audit", "event", "provider", "issuer", "subject", "email", "session", "request_id"];

fn audited(stack: &Stack, since: usize) -> Vec<String> {
    let lines = stack.gateway_log().since(since);
    lines
        .iter()
        .filter_map(|line| said(line))
        .filter(|said| said.starts_with("audit "))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_sign_in_and_a_sign_out_are_one_line_each_by_default_and_at_info() {
    for level in [None, Some("info")] {
        let provider = HostileProvider::start();
        let mut builder = builder(&provider);
        if let Some(level) = level {
            builder = builder.variable("ENVOY_LOG_LEVEL", level);
        }
        let stack = builder.start().await;
        let since = stack.gateway_log().len();
        let mut agent = UserAgent::new();
        let back = sign_in(&stack, &mut agent).await;
        let ask = agent.open(&format!("{}/_lockgate/sign-out", public_url(&stack))).await;
        let out = agent.submit(&ask, &ask.forms()[0]).await;
        let told = |page: &Page| page.response.headers.text("x-request-id").unwrap();
        stack.gateway_log().wait_for("signed out", 1, |line| line.contains("event=signed_out ")).await;
        let lines = audited(&stack, since);
        assert_eq!(lines.len(), 2, "{lines:#?}");
        let mut sessions = BTreeSet::new();
        for (line, event, id) in
            [(&lines[0], "signed_in", told(&back)), (&lines[1], "signed_out", told(&out))]
        {
            let values = fields(line, &SESSION);
            let session = values[6];
            let expected =
                ["", event, "company", provider.issuer(), "person-1", "person@example.com", session, &id];
            assert_eq!(values, expected);
            assert!((8..=16).contains(&session.len()), "half of the session's id: {line}");
            sessions.insert(session.to_owned());
        }
        assert_eq!(sessions.len(), 1, "both lines name one session");
    }
}

#[tokio::test]
async fn a_providers_sign_out_is_a_line_of_its_own() {
    let provider = HostileProvider::start();
    let stack = builder(&provider).start().await;
    let since = stack.gateway_log().len();
    for (token, sessions) in [
        (provider.mint_logout_token(Some("person-1"), None), "all"),
        (provider.mint_logout_token(None, Some("sid-1")), "one"),
    ] {
        let form = format!("logout_token={}", token.compact());
        let request =
            Request::post("/_lockgate/back-channel-logout", "application/x-www-form-urlencoded", form);
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let id = answer.headers.text("x-request-id").unwrap();
        let ends = format!("request_id={id}");
        stack
            .gateway_log()
            .wait_for("the line", 1, |line| line.contains("audit ") && line.ends_with(&ends))
            .await;
        let line = audited(&stack, since).pop().unwrap();
        let values = fields(&line, &["audit", "event", "issuer", "sessions", "request_id"]);
        assert_eq!(values, ["", "signed_out_by_provider", provider.issuer(), sessions, &id]);
    }
}

#[tokio::test]
async fn a_refusal_is_a_line_with_its_reason_and_the_id_that_its_sender_was_told() {
    let provider = HostileProvider::start();
    let stack = builder(&provider).start().await;
    let agent = signed_in(&stack).await;
    let known = |request: Request| with_cookies(&stack, &agent, request);
    let expired = provider.mint_access_token(AUDIENCE, "x").claim("exp", json!(1)).compact();
    let client = stack.client();
    for (reason, status, request) in [
        ("no_credentials", 401, Request::get("/x")),
        ("no_session", 401, Request { method: "POST".into(), ..navigation("/x") }),
        ("not_allowed", 403, known(Request::get("/admin"))),
        ("denied", 403, known(Request::post("/reports", "text/plain", "x"))),
        ("token_expired", 401, with_token(Request::get("/x"), &expired)),
        ("token_inactive", 401, with_token(Request::get("/x"), "unknown-to-anybody")),
        ("repeated_cookie", 400, Request::get("/x").header("cookie", "lockgate=1.a; lockgate=1.b")),
        ("state_missing", 400, Request::get("/_lockgate/callback?code=x")),
        ("state_invalid", 400, Request::get("/_lockgate/callback?code=x&state=y")),
        ("callback_malformed", 400, Request::get("/_lockgate/callback?state=x&state=y")),
        ("cross_origin", 403, known(Request::post("/_lockgate/sign-out", "text/plain", ""))),
        ("no_page", 404, Request::get("/_lockgate/x")),
        ("wrong_method", 405, Request::post("/_lockgate/userinfo", "text/plain", "")),
    ] {
        for request in [request.clone(), request.header("accept", "text/html")] {
            let since = stack.gateway_log().len();
            let before = stack.admin().stat(&format!("wasmcustom.lockgate.oidc.refused.{reason}")).await;
            let answer = client.send(&request).await;
            // A browser without fetch metadata that takes pages is about to show one.
            if answer.status == 302 {
                continue;
            }
            assert_eq!(answer.status, status, "{reason}: {}", answer.text());
            let id = answer.headers.text("x-request-id").unwrap();
            assert_eq!(stack.reason(&answer).await, reason);
            let lines = stack.gateway_log().since(since);
            let own: Vec<&str> =
                lines.iter().filter_map(|line| said(line)).filter(|said| said.contains(&id)).collect();
            assert_eq!(own.len(), 1, "{own:#?}");
            let values = fields(own[0], &["filter", "refused", "reason", "status", "request_id"]);
            assert_eq!(values, ["oidc", "", reason, &status.to_string(), &id]);
            let after = stack.admin().stat(&format!("wasmcustom.lockgate.oidc.refused.{reason}")).await;
            assert_eq!(after, before + 1, "{reason} is counted once");
        }
    }
}

#[tokio::test]
async fn nothing_that_is_logged_ends_its_value_or_its_line() {
    let provider = HostileProvider::start();
    let stack = builder(&provider).start().await;
    let client = stack.client();
    let since = stack.gateway_log().len();
    for id in [
        &b"a\",\"status\":\"200"[..],
        b"x lockgate audit event=signed_in provider=company",
        b"\x1b[31mred",
        b"a\\",
        b"\xff\xfe",
        b"%0a%0d",
        b"a b\tc=d",
        &[b'i'; 20_000],
    ] {
        for request in
            [Request::get("/x"), navigation("/_lockgate/callback?state=x"), Request::get("/_lockgate/x")]
        {
            client.send(&request.header("x-request-id", id)).await;
        }
    }
    for (subject, email) in [
        ("root provider=other issuer=evil event=signed_out", "a@example.com"),
        ("\"quoted\" 'x' \\", "a=b@example.com"),
        ("\u{e4}\u{1f4a9}\u{2028}\u{202e}", "\u{e4}@example.com"),
        ("a=b", "request_id=1@example.com"),
        (&"s".repeat(255), &format!("{}@example.com", "e".repeat(2_000))),
    ] {
        provider.set_person(json!({
            "sub": subject, "email": email, "email_verified": true, "name": "x", "groups": ["staff"],
        }));
        let before = audited(&stack, since).len();
        sign_in(&stack, &mut UserAgent::new()).await;
        let lines = until("the line of this sign-in", async || {
            let lines = audited(&stack, since);
            (lines.len() > before).then_some(lines)
        })
        .await;
        assert_eq!(lines.len(), before + 1, "{lines:#?}");
        let values =
            fields(lines.last().unwrap(), &SESSION).into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!((&*values[1], &*values[2], &*values[3]), ("signed_in", "company", provider.issuer()));
        assert!(
            values
                .iter()
                .all(|value| value.len() <= 128 && value.bytes().all(|byte| byte.is_ascii_graphic()))
        );
    }
    stack.stop_gateway().await;
    for line in stack.gateway_log().since(since) {
        assert!(!line.chars().any(|c| c.is_control() && c != '\t'), "{}", line.escape_debug());
        if line.starts_with('{') {
            let object: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            // What is no HTTP (DPE) has no path.
            let has_path = object["path"].is_string() || object["flags"] == "DPE";
            assert!(object["status"].is_number() && has_path, "{line}");
        } else {
            let own = line.starts_with('[') || line.starts_with("ready ") || line.starts_with("lockgate");
            assert!(own, "a line of its own making: {line}");
        }
        assert!(line.len() < 4_000, "a line of {} bytes", line.len());
    }
}

#[tokio::test]
async fn whoever_has_no_name_for_a_log_does_not_get_in_and_is_not_sent_in_circles() {
    let provider = HostileProvider::start();
    let stack = builder(&provider).start().await;
    for subject in [
        "a\nlockgate audit event=signed_in provider=company",
        "a\r\nb",
        "a\u{0}b",
        "a\u{1b}[2Jb",
        "a\u{7f}",
        "",
    ] {
        provider.set_person(json!({
            "sub": subject, "email": "a@example.com", "email_verified": true, "name": "x",
            "groups": ["staff"],
        }));
        let since = stack.gateway_log().len();
        let mut agent = UserAgent::new();
        let page = sign_in(&stack, &mut agent).await;
        // With a redirect to the front page it would begin again, without an end.
        assert!((400..500).contains(&page.response.status), "{subject:?}: {}", page.response.status);
        assert!(!page.response.headers.contains("set-cookie"), "{subject:?}");
        assert_eq!(audited(&stack, since), [""; 0], "{subject:?}");
        for line in stack.gateway_log().since(since) {
            assert!(
                !line.starts_with("lockgate audit") && !line.chars().any(char::is_control),
                "{}",
                line.escape_debug()
            );
        }
    }
}

#[tokio::test]
async fn an_error_tells_its_id_and_nothing_of_the_inside() {
    let provider = HostileProvider::start();
    let stack = builder(&provider).start().await;
    let agent = signed_in(&stack).await;
    let client = stack.client();
    let known = |request: Request| with_cookies(&stack, &agent, request);
    let login = client.send(&navigation("/page")).await;
    let binding = login.headers.text("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let state = Url::parse(&login.headers.text("location").unwrap()).query("state").unwrap();
    let back = |query: &str| navigation(&format!("/_lockgate/callback?{query}")).header("cookie", &binding);
    let issuer = encode(provider.issuer());
    let mut answers: Vec<(String, Response)> = Vec::new();
    for request in [
        Request { method: "POST".into(), ..navigation("/page") },
        navigation("/page").header("sec-purpose", "prefetch"),
        known(navigation("/admin")),
        with_token(navigation("/page"), "bad"),
        with_token(navigation("/page"), "a.b.c"),
        navigation("/page").header("cookie", "lockgate=1.a; lockgate=1.b"),
        back("code=x"),
        back("code=x&state=y"),
        back("state=x&state=y"),
        back(&format!("error=access_denied&error_description=<script>&state={state}&iss={issuer}")),
        back(&format!("error=<script>alert(1)</script>&state={state}&iss={issuer}")),
        back(&format!("error=server_error&state={state}&iss={issuer}")),
        back(&format!("code=wrong&state={state}&iss={issuer}")),
        back(&format!("code=wrong&state={state}&iss={issuer}")),
        back(&format!("code=wrong&state={state}&iss=https://evil.example")),
        navigation(&format!("/_lockgate/callback?code=x&state={state}&iss={issuer}")),
        navigation("/_lockgate/sign-in?provider=<script>"),
        navigation("/_lockgate/nothing-there"),
        Request { method: "DELETE".into(), ..navigation("/_lockgate/userinfo") },
        known(Request { method: "POST".into(), ..navigation("/_lockgate/sign-out") }),
        Request::get("/_lockgate/jwks"),
    ] {
        answers.push((format!("{} {}", request.method, request.target), client.send(&request).await));
    }
    provider.leave().await;
    answers.push((
        "an issuer that is down".to_owned(),
        client.send(&with_token(navigation("/x"), "opaque-1")).await,
    ));
    stack.upstream().leave().await;
    answers.push(("an upstream that is down".to_owned(), client.send(&known(navigation("/x"))).await));
    let mut wrong = Vec::new();
    for (name, answer) in answers {
        let text = answer.text();
        let lower = text.to_lowercase();
        // The door's own addresses, and the words of its style, are no secret.
        let told = lower.replace("/_lockgate/", "").replace("monospace", "");
        let inside = [
            "envoy",
            "wasm",
            "rbac",
            "upstream",
            "cluster",
            "lockgate",
            "filter",
            "127.0.0.1",
            "jwks",
            "kid",
            "nonce",
            "pkce",
            "state",
            "cookie_secret",
            "client_secret",
            "oidc",
            "backtrace",
            "panicked",
            "src/",
            ".rs",
            "script",
            "evil",
            "refused reason",
        ];
        let found: Vec<&str> = inside.into_iter().filter(|word| told.contains(word)).collect();
        if !found.is_empty() {
            wrong.push(format!("{name} tells {found:?}: {} {text}", answer.status));
        }
        let id = answer.headers.text("x-request-id").unwrap_or_default();
        if answer.status < 400 || id.is_empty() {
            wrong.push(format!("{name}: {} with the id {id:?}", answer.status));
        }
        let page = answer.headers.text("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if page && !text.contains(&format!("Request id: {id}<")) {
            wrong.push(format!("{name}: a page without its id: {text}"));
        }
        if page
            && !answer
                .headers
                .text("content-security-policy")
                .is_some_and(|policy| policy.starts_with("default-src 'none'"))
        {
            wrong.push(format!("{name}: a page without a policy"));
        }
        if answer.headers.contains("server")
            || answer.headers.pairs().any(|(name, _)| name.starts_with(b"x-envoy-"))
        {
            wrong.push(format!("{name}: {:?}", answer.headers));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_the_door_does_is_counted() {
    let provider = HostileProvider::start();
    let stack = builder(&provider).start().await;
    let name = |counter: &str| format!("wasmcustom.lockgate.oidc.{counter}");
    // Before anything has happened they are there, so that a graph can begin.
    let stats = stack.admin().text("/stats").await;
    let from_the_start =
        ["signed_in", "signed_out", "refreshed", "refresh_failed", "key_fetches", "cache.hit", "cache.miss"];
    for counter in from_the_start {
        assert!(
            stats.lines().any(|line| line.starts_with(&format!("{}: ", name(counter)))),
            "{counter} is not there"
        );
    }
    stack.admin().wait_for_stat(&name("key_fetches"), |fetches| fetches >= 1).await;
    let count = async |counter: &str| stack.admin().stat(&name(counter)).await;
    assert_eq!(count("signed_in").await, 0);

    provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
    let mut agent = UserAgent::new();
    sign_in(&stack, &mut agent).await;
    provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    assert_eq!((count("signed_in").await, count("login_began").await), (1, 1));
    agent.open(&format!("{}/page", public_url(&stack))).await;
    assert_eq!((count("refreshed").await, count("refresh_failed").await), (1, 0));
    let (hits, misses) = (count("cache.hit").await, count("cache.miss").await);
    assert!(misses >= 1);
    for _ in 0..3 {
        agent.open(&format!("{}/page", public_url(&stack))).await;
    }
    assert!(count("cache.hit").await >= hits + 2, "a cookie that was opened is opened once");
    assert!(count("cache.miss").await <= misses + 1);
    let token = provider.mint_access_token(AUDIENCE, "x").compact();
    let (hits, misses) = (count("cache.hit").await, count("cache.miss").await);
    for _ in 0..3 {
        stack.client().send(&with_token(Request::get("/x"), &token)).await;
    }
    assert_eq!((count("cache.hit").await, count("cache.miss").await), (hits + 2, misses + 1));
    let opaque = provider.access_token(&json!({"sub": "x"}));
    for (counter, token) in [("asked.active", &*opaque), ("asked.inactive", "unknown-token")] {
        stack.client().send(&with_token(Request::get("/x"), token)).await;
        assert_eq!(count(counter).await, 1, "{counter}");
    }
    let ask = agent.open(&format!("{}/_lockgate/sign-out", public_url(&stack))).await;
    agent.submit(&ask, &ask.forms()[0]).await;
    assert_eq!(count("signed_out").await, 1);
    provider.leave().await;
    stack.client().send(&with_token(Request::get("/x"), "another-token")).await;
    assert_eq!(count("asked.unavailable").await, 1);
    provider.come_back();
    let refused = stack.admin().text("/stats?filter=lockgate.oidc.refused").await;
    for reason in ["token_inactive", "issuer_unavailable"] {
        assert!(refused.contains(&format!("refused.{reason}: 1")), "{reason}: {refused}");
    }
    // Names come from the code alone: nobody can make new ones, or put anything into them.
    for number in 0..20 {
        let odd = Request::get(&format!("/x-{number}")).header("x-request-id", format!("odd-{number}"));
        stack.client().send(&with_token(odd, &format!("odd-token-{number}"))).await;
    }
    let names = stack.admin().text("/stats?filter=wasmcustom").await;
    assert!(!names.contains("odd-") && !names.contains(CLIENT_ID), "{names}");
    assert!(names.lines().count() < 60, "{} counters", names.lines().count());
}
