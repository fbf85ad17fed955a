//! The way back: state, code and issuer.

use lockgate_e2e::cookie_jar::set_cookies;
use lockgate_e2e::door::{OTHER_COOKIE_SECRET, door_config, door_stack};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::siege::{Siege, is_callback, with_parameter, with_parameters};
use lockgate_e2e::url::{Url, encode};
use lockgate_e2e::user_agent::UserAgent;
use serde_json::json;

use crate::{assert_no_login, door};

/// The same text with another character at a place.
fn with_other_character(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_callback_is_taken_only_from_the_browser_that_began_the_login() {
    let door = door().await;
    let mut alice = UserAgent::new();
    let callback = door.callback(&mut alice, "/alice").await;
    let cookies = door.cookies(&alice);
    let mut mallory = UserAgent::new();
    let hers = door.callback(&mut mallory, "/mallory").await;
    let spent = door.provider.count(Endpoint::Token);

    // Its name ends as its value begins.
    let (name, login) = cookies.split_once('=').unwrap();
    assert!(
        name.len() == "lockgate-login-".len() + 6 && login.starts_with(&name["lockgate-login-".len()..]),
        "{cookies}"
    );
    let of_mallory = door.cookies(&mallory);
    let other_case = login.to_ascii_uppercase();
    let browsers: [(&str, Vec<u8>); 16] = [
        ("no cookie", Vec::new()),
        ("another browser's", of_mallory.clone().into()),
        ("another browser's twice", format!("{of_mallory}; {of_mallory}").into()),
        ("empty", format!("{name}=").into()),
        ("cut off", cookies[..cookies.len() - 1].into()),
        ("no more than its name", format!("{name}={}", &login[..6]).into()),
        ("longer", format!("{cookies}A").into()),
        ("in other case", format!("{name}={other_case}").into()),
        ("of another name", format!("lockgate-login-AAAAAA={login}").into()),
        ("of no name of its own", format!("lockgate-login={login}").into()),
        ("of a name in other case", format!("Lockgate-Login-{}={login}", &login[..6]).into()),
        ("of a longer name", format!("lockgate-login-{}={login}", &login[..7]).into()),
        ("as the session", format!("lockgate={login}").into()),
        ("quoted", format!("{name}=\"{login}\"").into()),
        ("not UTF-8", [cookies.as_bytes(), b"\xff"].concat()),
        ("long", format!("{name}={login}{}", "A".repeat(20_000)).into()),
    ];
    for (what, cookies) in browsers {
        let answer = door.opens(&callback.target, cookies).await;
        assert_no_login(what, &answer, 400);
        assert_eq!(door.stack.reason(&answer).await, "state_of_another_browser", "{what}");
        assert!(!answer.text().contains(login), "{what}");
    }
    let answer = door.opens(&hers.target, &cookies).await;
    assert_no_login("another's state", &answer, 400);
    assert_eq!(door.stack.reason(&answer).await, "state_of_another_browser");

    assert_eq!(door.provider.count(Endpoint::Token), spent, "no code was spent");
    let page = alice.follow(&callback.to_string()).await;
    assert_eq!(
        (page.response.status, page.url.path()),
        (200, "/alice"),
        "the login itself is as good as before"
    );
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_state_that_was_not_sealed_here_is_none() {
    let door = door().await;
    let mut alice = UserAgent::new();
    let callback = door.callback(&mut alice, "/alice").await;
    let cookies = door.cookies(&alice);
    let state = callback.query("state").unwrap();
    let session = door.cookies(&door.signed_in().await);
    let session = session.split_once("lockgate=1.").unwrap().1.to_owned();
    let spent = door.provider.count(Endpoint::Token);

    let mut states: Vec<String> = vec![
        "x".into(),
        "1".into(),
        "null".into(),
        format!("{state}="),
        format!("{state}A"),
        format!("A{state}"),
        format!("{state}.{state}"),
        format!("{state}{state}"),
        format!(" {state}"),
        format!("{state}\u{0}"),
        format!("{state}\r\nset-cookie: lockgate=1"),
        state.to_ascii_lowercase(),
        state.replace(['-', '_'], "+"),
        session.clone(),
        format!("1.{session}"),
        "\u{fffd}\u{e4}".into(),
        "A".repeat(50_000),
        "{\"p\":\"company\"}".into(),
        r#"{"p":"company","b":"x","n":"n","v":"v","r":"//evil.example","t":1}"#.into(),
    ];
    states.extend((0..state.len()).step_by(5).map(|at| with_other_character(&state, at)));
    states.extend((1..6).map(|end| with_other_character(&state, state.len() - end)));
    states.extend((1..state.len()).step_by(17).map(|length| state[..length].to_owned()));
    states.retain(|other| *other != state);
    for state in &states {
        let target = with_parameter(&callback, "state", state).target;
        let answer = door.opens(&target, &cookies).await;
        assert_no_login(&state.escape_debug().to_string(), &answer, 400);
        assert_eq!(door.stack.reason(&answer).await, "state_invalid", "{}", state.escape_debug());
    }
    for target in [
        with_parameters(&callback, |pairs| pairs.retain(|(name, _)| name != "state")).target,
        "/_lockgate/callback".into(),
        "/_lockgate/callback?".into(),
        "/_lockgate/callback?STATE=x&code=y".into(),
    ] {
        let answer = door.opens(&target, &cookies).await;
        assert_no_login(&target, &answer, 400);
        assert_eq!(door.stack.reason(&answer).await, "state_missing", "{target}");
    }
    let empty = with_parameter(&callback, "state", "");
    assert_no_login("empty", &door.opens(&empty.target, &cookies).await, 400);
    assert_eq!(door.provider.count(Endpoint::Token), spent, "no code was spent");
    assert_eq!(alice.follow(&callback.to_string()).await.url.path(), "/alice");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_state_of_another_deployment_is_none() {
    let door = door().await;
    let config = door_config(door.provider.issuer(), |_| {});
    let other = door_stack(&config).variable("COOKIE_SECRET", OTHER_COOKIE_SECRET).start().await;
    let other_url = lockgate_e2e::door::public_url(&other);
    let mut agent = UserAgent::new();
    let begun = agent.follow_until(&format!("{other_url}/x"), is_callback).await.location().unwrap();
    // Both are 127.0.0.1: the browser has the other's cookie here, too.
    assert!(door.cookies(&agent).starts_with("lockgate-login-"));
    let here = Url::parse(&door.url(&begun.target));
    let answer = agent.open(&here.to_string()).await.response;
    assert_no_login("another deployment's", &answer, 400);
    assert_eq!(door.stack.reason(&answer).await, "state_invalid");
    // At home it is good; the session that comes of it is not good here.
    assert_eq!(agent.follow(&begun.to_string()).await.response.status, 200);
    assert_eq!(door.asks(door.cookies(&agent)).await.status, 401);
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_callback_is_good_once_whichever_worker_sees_it() {
    let door = door().await;
    let mut alice = UserAgent::new();
    for round in 0..5 {
        let callback = door.callback(&mut alice, "/once").await;
        let cookies = door.cookies(&alice);
        let exchanged = door.provider.count(Endpoint::Token);
        let client = door.stack.client();
        let race = (0..20).map(|_| {
            let request = lockgate_e2e::siege::navigation(&callback.target).header("cookie", &cookies);
            tokio::spawn(async move { client.send(&request).await })
        });
        let mut signed_in = 0;
        for answer in race.collect::<Vec<_>>() {
            let answer = answer.await.unwrap();
            if answer.status == 302 {
                signed_in += 1;
            } else {
                assert_no_login("a replay", &answer, 400);
                assert_eq!(door.stack.reason(&answer).await, "state_replayed");
            }
        }
        assert_eq!((round, signed_in), (round, 1));
        assert_eq!(door.provider.count(Endpoint::Token), exchanged + 1);
        let answer = door.opens(&callback.target, &cookies).await;
        assert_no_login("much later", &answer, 400);
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_code_is_good_for_the_login_it_was_given_to() {
    let door = door().await;
    let (mut alice, mut mallory) = (UserAgent::new(), UserAgent::new());
    let callback = door.callback(&mut alice, "/alice").await;
    let code = callback.query("code").unwrap();
    // Mallory has seen Alice's code, and puts it into a login of her own: PKCE.
    let hers = door.callback(&mut mallory, "/mallory").await;
    let answer = mallory.open(&with_parameter(&hers, "code", &code).to_string()).await.response;
    assert_no_login("an injected code", &answer, 400);
    assert_eq!(door.stack.reason(&answer).await, "code_refused");

    // The code is spent by then, and a code that was used signs nobody in.
    for (who, agent) in [("alice", &mut alice), ("mallory", &mut mallory)] {
        let begun = door.callback(agent, "/again").await;
        let answer = agent.open(&with_parameter(&begun, "code", &code).to_string()).await.response;
        assert_no_login(who, &answer, 400);
        assert_eq!(door.stack.reason(&answer).await, "code_refused", "{who}");
    }
    for (code, status) in
        [("", 400), ("x", 400), (&*"c".repeat(4_097), 400), ("a\r\nb: c", 400), ("\u{0}", 400)]
    {
        let begun = door.callback(&mut mallory, "/again").await;
        let answer = mallory.open(&with_parameter(&begun, "code", code).to_string()).await.response;
        assert_no_login(&code.escape_debug().to_string(), &answer, status);
    }
    let begun = door.callback(&mut mallory, "/again").await;
    let without = with_parameters(&begun, |pairs| pairs.retain(|(name, _)| name != "code"));
    assert_no_login("no code", &mallory.open(&without.to_string()).await.response, 400);
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_parameter_that_stands_twice_is_no_answer() {
    let door = door().await;
    let mut alice = UserAgent::new();
    let callback = door.callback(&mut alice, "/alice").await;
    let cookies = door.cookies(&alice);
    let spent = door.provider.count(Endpoint::Token);
    let of = |name: &str| encode(&callback.query(name).unwrap());
    for added in [
        format!("code={}", of("code")),
        "code=another".into(),
        "code=".into(),
        "code".into(),
        "%63ode=another".into(),
        "c%6fd%65=another".into(),
        format!("state={}", of("state")),
        "state=x".into(),
        "stat%65=x".into(),
        format!("iss={}", of("iss")),
        "iss=https://evil.example".into(),
        "error=a&error=b".into(),
        "error=access_denied&%65rror=access_denied".into(),
    ] {
        for target in
            [format!("{}&{added}", callback.target), callback.target.replacen('?', &format!("?{added}&"), 1)]
        {
            let answer = door.opens(&target, &cookies).await;
            assert_no_login(&added, &answer, 400);
            assert_eq!(door.stack.reason(&answer).await, "callback_malformed", "{added}");
        }
    }
    assert_eq!(door.provider.count(Endpoint::Token), spent, "no code was spent");
    // Others are nobody's concern: a provider may add some.
    let with_more = format!("{}&session_state=a&session_state=b&scope=&=&&&x=%C3%A4", callback.target);
    assert_eq!(door.opens(&with_more, &cookies).await.status, 302);
    door.assert_unharmed().await;
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_refused() {
    let door = door().await;
    let mut alice = UserAgent::new();
    let callback = door.callback(&mut alice, "/alice").await;
    let cookies = door.cookies(&alice);
    let spent = door.provider.count(Endpoint::Token);
    let issuer = door.provider.issuer().to_owned();
    for other in [
        "https://evil.example".into(),
        format!("{issuer}/"),
        issuer.replace("localhost", "LOCALHOST"),
        issuer.replace("localhost", "127.0.0.1"),
        issuer.replace("http:", "https:"),
        format!("{issuer}#"),
        format!(" {issuer}"),
        format!("{issuer}\n"),
        format!("{issuer} https://evil.example"),
        String::new(),
    ] {
        let answer = door.opens(&with_parameter(&callback, "iss", &other).target, &cookies).await;
        assert_no_login(&other, &answer, 400);
        assert_eq!(door.stack.reason(&answer).await, "issuer_mismatch", "{other:?}");
    }
    // Where the provider's metadata says that it always names itself, its absence is an attack, too.
    let unnamed = with_parameters(&callback, |pairs| pairs.retain(|(name, _)| name != "iss"));
    let answer = door.opens(&unnamed.target, &cookies).await;
    assert_no_login("unnamed", &answer, 400);
    assert_eq!(door.stack.reason(&answer).await, "issuer_mismatch");
    assert_eq!(door.provider.count(Endpoint::Token), spent, "no code was spent");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn two_providers_cannot_be_mixed_up() {
    // RFC 9700, 4.4: neither names itself, so only the redirect URI tells them apart.
    let other = HostileProvider::named("localhost", "");
    let second = json!({
        "name": "other", "issuer": other.issuer(), "client_id": lockgate_e2e::oidc_provider::CLIENT_ID,
        "client_secret": {"env": "OIDC_CLIENT_SECRET"},
    });
    let provider = HostileProvider::named("localhost", "");
    for provider in [&provider, &other] {
        provider.behave(|manners| manners.names_itself = false);
    }
    let config = door_config(provider.issuer(), |config| {
        config["sign_in"]["providers"].as_array_mut().unwrap().push(second);
    });
    let siege = Siege::new(door_stack(&config).start().await, provider);
    siege.provider.behave(|manners| manners.names_itself = false);
    let mut agent = UserAgent::new();
    let [company, others] =
        ["company", "other"].map(|name| format!("/_lockgate/sign-in?provider={name}&return_to=/in"));
    let of_company = siege.callback(&mut agent, &company).await;
    let of_other = siege.callback(&mut agent, &others).await;
    assert_eq!(of_company.path(), "/_lockgate/callback");
    assert_eq!(of_other.path(), "/_lockgate/callback/other");
    let cookies = siege.cookies(&agent);

    // The honest provider's code, sent to the address of the evil one, and the other way round.
    let crossed = |to: &Url, from: &Url| format!("{}?{}", to.path(), from.target.split_once('?').unwrap().1);
    for target in [crossed(&of_other, &of_company), crossed(&of_company, &of_other)] {
        let answer = siege.opens(&target, &cookies).await;
        assert_no_login(&target, &answer, 400);
        assert_eq!(siege.stack.reason(&answer).await, "state_invalid");
    }
    for target in ["/_lockgate/callback/company", "/_lockgate/callback/", "/_lockgate/callback/other/x"] {
        let target = format!("{target}?{}", of_company.target.split_once('?').unwrap().1);
        assert_eq!(siege.opens(&target, &cookies).await.status, 404, "{target}");
    }
    let swapped = with_parameter(&of_other, "code", &of_company.query("code").unwrap());
    let answer = siege.opens(&swapped.target, &cookies).await;
    assert_no_login("the one's code at the other", &answer, 400);
    assert_eq!(siege.provider.count(Endpoint::Token), 0, "the honest provider's code was not spent");
    let page = agent.follow(&of_company.to_string()).await;
    assert_eq!((page.response.status, page.url.path()), (200, "/in"));

    // The other's tokens say that they are the first one's.
    let issuer = siege.provider.issuer().to_owned();
    let key = siege.provider.key();
    other.edit_id_token(move |token| *token = token.clone().claim("iss", json!(issuer)).sealed_by(&key));
    let answer = UserAgent::new().follow(&siege.url(&others)).await.response;
    assert_no_login("an ID token of another issuer", &answer, 400);
    assert_eq!(siege.stack.reason(&answer).await, "id_token_issuer");
}

#[tokio::test]
async fn what_a_provider_says_of_an_error_is_shown_to_nobody() {
    let door = door().await;
    let mut alice = UserAgent::new();
    let callback = door.callback(&mut alice, "/alice").await;
    let cookies = door.cookies(&alice);
    let state = encode(&callback.query("state").unwrap());
    let issuer = encode(door.provider.issuer());
    let code = encode(&callback.query("code").unwrap());
    let spent = door.provider.count(Endpoint::Token);
    let texts = [
        "<script>alert('evil')</script>",
        "\"><img src=x onerror=evil()>",
        "evil\r\nset-cookie: evil=1\r\n\r\n<h1>evil</h1>",
        "evil\u{0}\u{1b}[31m",
        "javascript:evil()",
        "{{evil}} ${evil} %{evil}",
        &"evil ".repeat(500),
    ];
    let kinds = [
        ("access_denied", 403),
        ("login_required", 403),
        ("temporarily_unavailable", 503),
        ("server_error", 503),
        ("invalid_scope", 502),
        ("unauthorized_client", 502),
        ("evil", 502),
    ];
    for text in texts {
        let evil = encode(text);
        let queries =
            kinds.map(|(error, status)| (format!("error={error}&error_description={evil}"), status));
        let more = [
            (format!("error={evil}&error_uri={evil}"), 502),
            (format!("error=access_denied&error_uri={evil}&{evil}={evil}"), 403),
            // A code beside the error is not taken for one.
            (format!("error=access_denied&code={code}&error_description={evil}"), 403),
        ];
        for (query, status) in queries.into_iter().chain(more) {
            for html in [true, false] {
                let target = format!("/_lockgate/callback?{query}&state={state}&iss={issuer}");
                let mut request = lockgate_e2e::siege::navigation(&target).header("cookie", &cookies);
                if !html {
                    request.headers.remove("accept");
                }
                let answer = door.stack.client().send(&request).await;
                assert_no_login(&query, &answer, status);
                assert!(!answer.text().contains("evil"), "{}", answer.text());
                let told = answer.headers.pairs().any(|(name, value)| {
                    [name, value].iter().any(|part| part.windows(4).any(|word| word == b"evil"))
                });
                assert!(!told, "{:?}", answer.headers);
                assert_eq!(answer.text().contains("<h1>"), html);
            }
            // From nowhere, it says nothing either.
            let answer = door.opens(&format!("/_lockgate/callback?{query}"), &cookies).await;
            assert_no_login(&query, &answer, 400);
            assert!(!answer.text().contains("evil"), "{}", answer.text());
        }
    }
    let told: Vec<_> = door.log().into_iter().filter(|line| line.contains("evil")).collect();
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(door.provider.count(Endpoint::Token), spent, "no code was spent");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_request_id_of_the_callers_choice_is_text_in_a_page_and_in_the_log() {
    let door = door().await;
    let ids: [&[u8]; 8] = [
        b"<script>alert(1)</script>",
        b"\"><img src=x onerror=alert(1)>",
        b"a refused reason=none status=200 request_id=b",
        b"a\tb",
        b"\xff\xfe",
        b"%0d%0aset-cookie: a=b",
        b"\xc2\x85\xe2\x80\xa8",
        &[b'x'; 20_000],
    ];
    for id in ids {
        for target in ["/_lockgate/callback?code=x", "/_lockgate/nothing-here", "/_lockgate/signed-out"] {
            let request = lockgate_e2e::siege::navigation(target).header("x-request-id", id);
            let answer = door.stack.client().send(&request).await;
            let text = answer.text();
            let shown = text.split("<footer>").nth(1).unwrap_or_else(|| panic!("a page: {text}"));
            let shown = shown.split("</footer>").next().unwrap();
            assert!(
                shown.len() < 100 && !shown.contains(['<', '>', '"', '=', '\t']),
                "{}: {shown}",
                id.escape_ascii()
            );
            assert!(!answer.headers.contains("set-cookie"), "{}", id.escape_ascii());
        }
    }
    // The access log is JSON; the filters' own lines have names and values.
    for line in door.log().iter().filter(|line| !line.starts_with('{') && line.contains(" refused reason=")) {
        assert!(!line.contains(['<', '>', '"']) && line.matches('=').count() == 4, "{line}");
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_callback_in_the_victims_browser_signs_nobody_in_as_the_attacker() {
    // Login CSRF: everything in the address is Mallory's own, and genuine.
    let door = door().await;
    let mallory = json!({"sub": "mallory", "email": "mallory@example.com", "email_verified": true});
    for stage in ["has never been here", "is signing in", "is signed in"] {
        door.provider.set_person(mallory.clone());
        let trap = door.callback(&mut UserAgent::new(), "/mallory").await;
        door.provider
            .set_person(json!({"sub": "alice", "email": "alice@example.com", "email_verified": true}));
        let mut victim = UserAgent::new();
        let begun = match stage {
            "is signing in" => Some(door.callback(&mut victim, "/alice").await),
            "is signed in" => {
                assert_eq!(door.visit(&mut victim, "/alice").await.response.status, 200);
                None
            }
            _ => None,
        };
        let before = door.cookies(&victim);
        let answer = victim.open(&trap.to_string()).await.response;
        assert_no_login(stage, &answer, 400);
        assert_eq!(door.stack.reason(&answer).await, "state_of_another_browser", "{stage}");
        assert_eq!(door.cookies(&victim), before, "{stage}");
        let page = match begun {
            Some(callback) => victim.follow(&callback.to_string()).await,
            None => door.visit(&mut victim, "/alice").await,
        };
        assert_eq!((page.response.status, page.url.path()), (200, "/alice"), "{stage}");
        assert_eq!(door.whose(&door.cookies(&victim)).await.as_deref(), Some("alice"), "{stage}");
        let seen = door.stack.upstream().requests().since(0);
        assert!(seen.iter().all(|request| !request.contains("mallory")), "{stage}");
    }
    assert_eq!(set_cookies(&door.opens("/_lockgate/callback", "").await), []);
    door.assert_unharmed().await;
}
