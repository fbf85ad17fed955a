//! One request for every way through the door, and everything in them that must stay secret.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockgate_e2e::cookie_jar::CookieJar;
use lockgate_e2e::door::{COOKIE_SECRET, public_url};
use lockgate_e2e::guarded_routes::{AUDIENCE, navigation, sign_in, with_cookies, with_token};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::oidc_provider::CLIENT_SECRET;
use lockgate_e2e::stack::{LOG_KEY, SLACK_SECRET};
use lockgate_e2e::url::{Url, encode};
use lockgate_e2e::user_agent::{Page, UserAgent};
use lockgate_e2e::{Answer, Request, Stack, slack};
use serde_json::json;

/// Everything that was to stay between two parties, by what it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Arc<Mutex<BTreeSet<(String, String)>>>);

impl Secrets {
    fn add(&self, what: &str, value: impl Into<String>) {
        let value = value.into();
        // What is short or a word stands anywhere.
        if value.len() >= 12 {
            self.0.lock().unwrap().insert((what.to_owned(), value));
        }
    }

    pub(crate) fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().iter().cloned().collect()
    }

    /// What a browser was given and sent.
    fn add_pages(&self, pages: &[Page]) {
        for page in pages {
            for url in [Some(page.url.clone()), page.location()].into_iter().flatten() {
                for (name, value) in url.pairs() {
                    if matches!(&*name, "state" | "nonce" | "code" | "code_challenge" | "id_token_hint") {
                        self.add(&name, &value);
                        self.add(&format!("{name}, encoded"), encode(&value));
                    }
                }
            }
        }
    }

    fn add_jar(&self, jar: &CookieJar, url: &Url) {
        for pair in jar.header(url).unwrap_or_default().split("; ") {
            if let Some((name, value)) = pair.split_once('=') {
                self.add(&format!("the cookie {name}"), value);
            }
        }
    }
}

/// What a caller keeps to itself, in every place a request has for it.
fn private(request: Request) -> Request {
    request
        .header("x-api-key", "private-api-key")
        .header("proxy-authorization", "Basic private-password")
        .header("referer", "https://x.example/?private-referer")
        .header("user-agent", "private-user-agent")
}

/// One request for every way through, and out of, the door; returns what must not be written down.
pub(crate) async fn traffic(stack: &Stack, provider: &HostileProvider) -> Secrets {
    let secrets = Secrets::default();
    for (what, value) in [
        ("COOKIE_SECRET", COOKIE_SECRET),
        ("OIDC_CLIENT_SECRET", CLIENT_SECRET),
        ("LOG_KEY", LOG_KEY),
        ("SLACK_SIGNING_SECRET", SLACK_SECRET),
    ] {
        secrets.add(what, value);
        secrets.add(&format!("{what}, encoded"), encode(value));
    }
    secrets.add("a private part of a request", "private-");
    secrets.add("the person's address", "person@example.com");
    secrets.add("the person's name", "A Person of Note");
    secrets.add("another's address", "mallory@evil.example");
    let seen = secrets.clone();
    provider.edit(Endpoint::Token, move |request, response| {
        for (name, value) in lockgate_e2e::url::decode_form(&request.text()) {
            if matches!(&*name, "code" | "code_verifier" | "refresh_token" | "client_secret") {
                seen.add(&name, value);
            }
        }
        if let Some(authorization) = request.headers.text("authorization") {
            seen.add("the client's authorization", authorization.trim_start_matches("Basic "));
        }
        for name in ["access_token", "refresh_token", "id_token"] {
            if let Some(value) = response.json()[name].as_str() {
                seen.add(name, value);
            }
        }
    });
    provider.set_person(json!({
        "sub": "person-1", "email": "person@example.com", "email_verified": true,
        "name": "A Person of Note", "groups": ["staff"],
    }));
    let url = Url::parse(&format!("{}/", public_url(stack)));
    let client = stack.client();

    // A sign-in that needs a refresh at once, the refresh, the token's page, and the sign-out.
    provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
    let mut agent = UserAgent::new();
    sign_in(stack, &mut agent).await;
    secrets.add_jar(&agent.jar, &url);
    provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    for target in
        ["/page?private-query=1", "/forwards?private-query=2", "/_lockgate/token", "/_lockgate/userinfo"]
    {
        agent.open(&format!("{}{target}", public_url(stack))).await;
        secrets.add_jar(&agent.jar, &url);
    }
    for request in [
        Request::get("/admin?private-query=3"),
        Request::post("/reports?private-query=4", "text/plain", "private-body"),
        Request::post("/wal/x?private-query=5", "text/plain", "private-body"),
        Request::post("/zapier/x?private-query=6", "application/json", "{\"private-body\":1}"),
        Request::post("/zapier/x?private-query=7", "application/json", "{\"private-body\""),
        Request::get("/_lockgate/sign-in?return_to=/private-return&provider=private-provider"),
    ] {
        client.send(&private(with_cookies(stack, &agent, request))).await;
    }
    let ask = agent.follow(&format!("{}/_lockgate/sign-out", public_url(stack))).await;
    let form = ask.forms().into_iter().next().expect("a button to sign out");
    let out = agent.submit(&ask, &form).await;
    agent.go_on(out, |url| url.path() == "/_lockgate/signed-out").await;
    secrets.add_pages(&agent.history);

    // Ways back that do not fit.
    for query in [
        "code=private-code&state=private-state",
        "code=private-code&state=private-state&state=private-state",
        "error=private-error&error_description=private-description&state=private-state",
        "code=private-code",
    ] {
        client.send(&private(navigation(&format!("/_lockgate/callback?{query}")))).await;
    }
    for breaks in [0, 1, 2] {
        let mut agent = UserAgent::new();
        provider.edit_id_token(move |token| match breaks {
            0 => *token = token.clone().claim("nonce", json!("private-nonce")),
            1 => *token = token.clone().unsigned("none"),
            _ => *token = token.clone().claim("aud", json!("private-audience")),
        });
        sign_in(stack, &mut agent).await;
        secrets.add_pages(&agent.history);
        secrets.add_jar(&agent.jar, &url);
    }
    provider.heal();
    provider.answer_json(
        Endpoint::Token,
        400,
        &json!({"error": "invalid_client", "error_description": "private-word of mallory@evil.example"}),
    );
    let mut agent = UserAgent::new();
    sign_in(stack, &mut agent).await;
    secrets.add_pages(&agent.history);
    provider.heal();

    // Tokens, good and bad, and cookies that are none.
    let claims = json!({"sub": "program-1", "email": "mallory@evil.example", "email_verified": true});
    let mut signed = provider.mint_access_token(AUDIENCE, "program-1");
    signed.claims.extend(claims.as_object().unwrap().clone());
    for token in [
        provider.access_token(&claims),
        signed.clone().compact(),
        signed.clone().claim("exp", json!(1)).compact(),
        signed.clone().unsigned("none").compact(),
        signed.with_hs256("x").compact(),
        "private-opaque-token".to_owned(),
        "ya29.private-opaque-token".to_owned(),
    ] {
        secrets.add("a token", &token);
        for target in ["/page?private-query=8", "/wal/x", "/admin", "/_lockgate/userinfo"] {
            client.send(&private(with_token(Request::get(target), &token))).await;
        }
    }
    for cookie in
        ["lockgate=1.private-cookie", "lockgate=private-cookie; lockgate=private-cookie", "x=private-cookie"]
    {
        client.send(&private(Request::get("/page").header("cookie", cookie))).await;
    }

    // A provider that signs people out, once rightly and once not.
    let logout = provider.mint_logout_token(Some("person-1"), None);
    for token in [logout.clone().compact(), logout.claim("aud", json!("other")).compact()] {
        secrets.add("a logout token", &token);
        let form = format!("logout_token={token}");
        let request =
            Request::post("/_lockgate/back-channel-logout", "application/x-www-form-urlencoded", form);
        client.send(&private(request)).await;
    }

    // A provider and an upstream that fail, and Slack beside it all.
    stack.upstream().program(|request| match request.path() {
        "/public/broken" => Some(Answer::Reset),
        "/public/tells" => Some(Answer::with_body(500, "text/plain", "private-answer")),
        _ => None,
    });
    for target in ["/public/broken?private-query=9", "/public/tells?private-query=10"] {
        client.send(&private(Request::get(target))).await;
    }
    let command = slack::command("/slack/command?private-query=11", "private-body");
    client.send(&slack::signed(private(command), SLACK_SECRET)).await;
    provider.leave().await;
    client.send(&with_token(Request::get("/page"), "private-token-of-an-outage")).await;
    provider.come_back();
    stack.upstream().program(|_| None);
    secrets
}
