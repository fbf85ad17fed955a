//! Signing in and staying signed in, end to end: the deployed configuration in real Envoy, and two
//! OpenID providers that others have written.

use std::time::Duration;

use lockgate_e2e::assertion::{key_pem, verified};
use lockgate_e2e::cookie_jar::set_cookies;
use lockgate_e2e::door::{door_config, door_stack, public_url, start_door};
use lockgate_e2e::oidc_login::{confirm_sign_out, sign_in, sign_in_until};
use lockgate_e2e::oidc_mock::OidcMock;
use lockgate_e2e::oidc_provider::OidcProvider;
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::{Page, UserAgent};
use lockgate_e2e::visitor::{SESSION, signed_in, until};
use lockgate_e2e::{Builder, Request, Stack};
use serde_json::{Value, json};

#[path = "sign_in/bad_minute.rs"]
mod bad_minute;
#[path = "sign_in/refresh.rs"]
mod refresh;

/// Tokens that are refreshed after three seconds and expire after four.
const SHORT: Duration = Duration::from_secs(4);

/// With a signed word for the upstream.
fn asserting(config: &mut Value) {
    config["sign_in"]["assertion"] = json!({"key": {"env": "ASSERTION_KEY"}, "audience": "https://upstream"});
}

async fn short_lived_provider() -> OidcProvider {
    OidcProvider::builder().ttl("AccessToken", SHORT).start().await
}

async fn started_for(provider: &OidcProvider, builder: Builder) -> Stack {
    let stack = builder.start().await;
    provider.register_gateway(&public_url(&stack), &[]).await;
    stack
}

/// What the whole thing is for: somebody who is not known follows a link into the site, signs in,
/// is where the link leads to, stays signed in beyond the life of the tokens, and signs out.
async fn a_whole_visit(stack: &Stack, account: &str) {
    let site = public_url(stack);
    let mut agent = UserAgent::new();
    let target = "/reports/7?from=2026-11-01&to=a%26b%3Dc%20d";
    let landing = sign_in(&mut agent, &format!("{site}{target}"), account).await;
    assert_eq!((&*landing.url.target, landing.response.status), (target, 200), "{}", landing.response.text());
    assert_eq!(landing.response.text(), "upstream");
    let [reached] = &stack.upstream().requests().matching(|r| r.target == target)[..] else {
        panic!("the upstream has not seen {target} once");
    };
    let email = format!("{account}@example.com");
    assert_eq!(reached.headers.text("x-lockgate-subject").as_deref(), Some(account));
    assert_eq!(reached.headers.text("x-lockgate-email"), Some(email.clone()));
    assert!(!reached.contains(agent.jar.value(SESSION).unwrap()), "the session at the upstream");

    let first = agent.jar.value(SESSION).unwrap().to_owned();
    until("the newer session", async || {
        let page = agent.open(&site).await;
        assert_eq!(page.response.status, 200, "{}", page.response.text());
        (agent.jar.value(SESSION) != Some(&first)).then_some(())
    })
    .await;
    assert_eq!(stack.admin().stat("wasmcustom.lockgate.oidc.refreshed").await, 1);
    assert_eq!(stack.admin().stat("wasmcustom.lockgate.oidc.refresh_failed").await, 0);

    let copy = agent.clone();
    let asked = agent.open(&format!("{site}/_lockgate/sign-out")).await;
    assert!(asked.response.text().contains(&email), "{}", asked.response.text());
    let pressed = agent.submit(&asked, &asked.forms()[0]).await;
    let there = agent.go_on(pressed, |_| false).await;
    assert_ne!(there.url.origin(), site, "the provider asks, too");
    let end = confirm_sign_out(&mut agent, &there).await;
    assert_eq!(end.url.to_string(), format!("{site}/_lockgate/signed-out"));
    assert_eq!((end.response.status, agent.jar.value(SESSION)), (200, None));
    for mut browser in [agent, copy] {
        assert_eq!(browser.fetch(&format!("{site}/again")).await.response.status, 401);
        assert_eq!(browser.open(&format!("{site}/again")).await.response.status, 302);
    }
    assert!(stack.upstream().requests().matching(|r| r.path() == "/again").is_empty());
}

#[tokio::test]
async fn a_whole_visit_with_a_certified_provider() {
    let provider = short_lived_provider().await;
    let config = door_config(provider.issuer(), asserting);
    let stack = started_for(&provider, door_stack(&config).variable("ASSERTION_KEY", &key_pem(0))).await;
    a_whole_visit(&stack, "alice").await;

    // The first code, and one refresh token, which was then worth nothing any more.
    let grants: Vec<_> =
        provider.calls("token").await.iter().map(|call| call["form"]["grant_type"].clone()).collect();
    assert_eq!(grants, ["authorization_code", "refresh_token"]);
    assert_eq!(provider.calls("revocation").await[0]["form"]["token_type_hint"], "refresh_token");
    let keys = stack.client().send(&Request::get("/_lockgate/jwks")).await.json();
    let reached = stack.upstream().requests().since(0);
    for request in reached {
        let claims = verified(&request.headers.text("x-lockgate-assertion").unwrap(), &keys);
        let expected =
            [public_url(&stack), "https://upstream".into(), "alice".into(), "alice@example.com".into()];
        assert_eq!(["iss", "aud", "sub", "email"].map(|name| claims[name].clone()), expected);
    }
}

#[tokio::test]
async fn a_whole_visit_with_the_provider_of_make_run() {
    let alice = json!({"sub": "alice", "email": "alice@example.com", "email_verified": true});
    let mock = OidcMock::with_lifetime(&[alice], SHORT).await;
    let stack = door_stack(&door_config(&mock.issuer(), |_| {})).start().await;
    a_whole_visit(&stack, "alice").await;
}

#[tokio::test]
async fn a_whole_visit_on_every_older_envoy() {
    let named = std::env::var("OLDER_ENVOYS").unwrap_or_default();
    if named.trim().is_empty() {
        // Past the test harness, which keeps to itself what a passing test prints.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: OLDER_ENVOYS names none\n");
    }
    for envoy in named.split_whitespace() {
        println!("with {envoy}");
        let provider = short_lived_provider().await;
        let builder = door_stack(&door_config(provider.issuer(), |_| {})).variable("ENVOY", envoy);
        a_whole_visit(&started_for(&provider, builder).await, "alice").await;
    }
}

/// The cookies that a sign-in leaves: attribute by attribute, as `name (Path) …`.
fn attributes(pages: &[Page]) -> Vec<String> {
    let cookies = pages.iter().flat_map(|page| set_cookies(&page.response));
    cookies
        .filter(|cookie| cookie.name.contains("lockgate"))
        .map(|cookie| {
            let path = cookie.path.as_deref().unwrap_or("none");
            let same_site = cookie.same_site.as_deref().unwrap_or("none");
            assert_eq!((cookie.domain, cookie.http_only), (None, true), "{}", cookie.name);
            let secure = if cookie.secure { " secure" } else { "" };
            // A login cookie's name ends with six characters of its value.
            let name = cookie.name.split_once("-login-").map_or(cookie.name.clone(), |(base, end)| {
                assert_eq!(end.len(), 6, "{}", cookie.name);
                format!("{base}-login-…")
            });
            format!("{name} {path} {same_site}{secure} {}", cookie.max_age.unwrap_or(0))
        })
        .collect()
}

#[tokio::test]
async fn on_loopback_a_sign_in_leaves_two_cookies_that_no_script_can_read() {
    let provider = OidcProvider::builder().start().await;
    let stack = start_door(&provider, |_| {}).await;
    let agent = signed_in(&stack, "bob").await;
    let site = public_url(&stack);
    let ours: Vec<_> = agent.history.into_iter().filter(|page| page.url.origin() == site).collect();
    // 600 seconds for signing in, and the 240 minutes of the configuration.
    assert_eq!(attributes(&ours), ["lockgate-login-… / lax 600", "lockgate / lax 14400"]);
    assert!(ours.iter().all(|page| page.response.headers.text("location").is_none()
        || page.response.headers.text("cache-control").as_deref() == Some("no-store")));
}

#[tokio::test]
async fn with_https_the_cookies_are_the_hosts_own_and_secure() {
    let site = "https://app.example.test";
    let provider = OidcProvider::builder().start().await;
    let config = door_config(provider.issuer(), |_| {});
    let stack = door_stack(&config).variable("PUBLIC_URL", site).start().await;
    provider.register_gateway(site, &[]).await;
    let mut agent = UserAgent::new();
    // As behind a load balancer, which ends TLS and keeps the name.
    let behind = async |agent: &mut UserAgent, target: &str| {
        let gateway = Url::parse(&format!("{}{target}", public_url(&stack)));
        let request = Request::get("/").header("host", "app.example.test").header("accept", "text/html");
        agent.try_send(&gateway, request).await.unwrap()
    };
    let asked = behind(&mut agent, "/page?a=1&b=2").await;
    let to_provider = asked.location().unwrap().to_string();
    let back = sign_in_until(&mut agent, &to_provider, "carol", |url| url.scheme == "https").await;
    let back = back.location().unwrap();
    assert!(back.to_string().starts_with(&format!("{site}/_lockgate/callback?")), "{back}");
    let landed = behind(&mut agent, &back.target).await;
    assert_eq!(landed.response.headers.text("location").as_deref(), Some("/page?a=1&b=2"));
    let expected = ["__Host-lockgate-login-… / lax secure 600", "__Host-lockgate / lax secure 14400"];
    assert_eq!(attributes(&[asked, landed]), expected);
    assert_eq!(agent.jar.refused(), [""; 0], "a browser takes them");
    assert_eq!(behind(&mut agent, "/page?a=1&b=2").await.response.text(), "upstream");
}

#[tokio::test]
async fn who_is_not_allowed_is_told_so_once_and_may_come_as_somebody_else() {
    let mallory = json!({"email": "mallory@example.com.evil.test", "email_verified": true});
    let unverified = json!({"email": "eve@example.com", "email_verified": false});
    let builder = OidcProvider::builder().account("mallory", mallory).account("eve", unverified);
    let provider = builder.start().await;
    let stack = start_door(&provider, |config| {
        config["sign_in"]["policies"] = json!([{"effect": "allow", "domains": ["example.com"]}]);
    })
    .await;
    let site = public_url(&stack);
    for account in ["mallory", "eve"] {
        let mut agent = UserAgent::new();
        let page = sign_in(&mut agent, &format!("{site}/page"), account).await;
        assert_eq!((page.url.path(), page.response.status), ("/page", 403));
        // From the page to the provider, back, and to the page: no second way around.
        let ours: Vec<_> = agent.history.iter().filter(|page| page.url.origin() == site).collect();
        assert_eq!(
            ours.iter().map(|page| page.url.path()).collect::<Vec<_>>(),
            ["/page", "/_lockgate/callback", "/page"]
        );
        let id = page.response.headers.text("x-request-id").unwrap();
        assert!(page.response.text().contains(&id), "{}", page.response.text());
        assert_eq!(agent.open(&format!("{site}/page")).await.response.status, 403);
        let answer = agent.fetch(&format!("{site}/data")).await.response;
        assert_eq!((answer.status, answer.headers.text("location")), (403, None));

        assert!(page.response.text().contains("href=\"/_lockgate/sign-out\">Sign in as somebody else"));
        let asked = agent.open(&format!("{site}/_lockgate/sign-out")).await;
        let pressed = agent.submit(&asked, &asked.forms()[0]).await;
        let there = agent.go_on(pressed, |_| false).await;
        let out = confirm_sign_out(&mut agent, &there).await;
        assert!(out.response.text().contains("href=\"/\">Sign in again"), "{}", out.response.text());
        let page = sign_in(&mut agent, &format!("{site}/"), "dave").await;
        assert_eq!((page.url.path(), page.response.text().as_str()), ("/", "upstream"));
    }
    let reached = stack.upstream().requests().since(0);
    let who: Vec<_> =
        reached.iter().map(|request| request.headers.text("x-lockgate-email").unwrap()).collect();
    assert_eq!(who, ["dave@example.com", "dave@example.com"]);
}

#[tokio::test]
async fn claims_that_only_userinfo_tells_decide_at_the_sign_in_and_at_each_refresh() {
    let frank = json!({"email": "frank@example.com", "email_verified": true, "groups": ["admins"]});
    let builder = OidcProvider::builder().claims_by_userinfo().ttl("AccessToken", SHORT);
    let provider = builder.account("frank", frank).start().await;
    let stack = start_door(&provider, |config| {
        config["sign_in"]["headers"] = json!({"x-lockgate-email": "email", "x-lockgate-groups": "groups"});
    })
    .await;
    let site = public_url(&stack);
    let mut agent = UserAgent::new();
    let page = sign_in(&mut agent, &format!("{site}/admin/1"), "frank").await;
    assert_eq!(page.response.text(), "upstream");
    let seen = stack.upstream().requests().since(0);
    assert_eq!(seen[0].headers.text("x-lockgate-email").as_deref(), Some("frank@example.com"));
    assert_eq!(seen[0].headers.text("x-lockgate-groups").as_deref(), Some("admins"));
    assert_eq!(provider.count("userinfo").await, 1);

    provider.set_account("frank", json!({"email": "frank@example.com", "groups": ["staff"]})).await;
    until("the refusal", async || {
        let status = agent.fetch(&format!("{site}/admin/2")).await.response.status;
        assert!(matches!(status, 200 | 403), "{status}");
        (status == 403).then_some(())
    })
    .await;
    assert_eq!(provider.count("userinfo").await, 2, "asked again at the refresh alone");
    assert_eq!(agent.fetch(&format!("{site}/data")).await.response.status, 200);
    let seen = stack.upstream().requests().matching(|r| r.path() == "/data");
    assert_eq!(seen[0].headers.text("x-lockgate-groups").as_deref(), Some("staff"));
    assert_eq!(seen[0].headers.text("x-lockgate-email"), None, "it is not called verified any more");
}
