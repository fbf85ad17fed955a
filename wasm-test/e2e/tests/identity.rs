//! What the upstream learns of who came in: in headers, signed, at once and when a request is played
//! back; and that nobody else can say it.

use std::sync::Arc;
use std::time::Duration;

use lockgate_e2e::assertion::{key_id, key_pem, verified};
use lockgate_e2e::door::{add_log, door_config, door_stack, public_url};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::oidc_login::sign_in;
use lockgate_e2e::oidc_provider::{CLIENT_ID, OidcProvider};
use lockgate_e2e::signing_keys::Jwt;
use lockgate_e2e::slack::now;
use lockgate_e2e::upstream::Recorded;
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Client, Journal, Process, Request, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Who people sign in with, and who makes the programs' tokens.
struct Issuers {
    people: OidcProvider,
    programs: HostileProvider,
}

async fn issuers() -> &'static Issuers {
    static ISSUERS: OnceCell<Issuers> = OnceCell::const_new();
    ISSUERS
        .get_or_init(async || {
            let zoe = json!({
                "email": "zoe@example.com", "email_verified": true, "name": "Zoë, 100% \r\nx-admin: 1 ",
                "groups": ["staff", "eu, north", "ünïon"],
            });
            let unverified = json!({"email": "un@example.com", "email_verified": false, "groups": []});
            // Another host than the gateway's, which would get the provider's cookies, too.
            let people = OidcProvider::builder().host("localhost");
            let people = people.account("zoe", zoe).account("unverified", unverified);
            let (people, programs) = (people.start().await, HostileProvider::start());
            Issuers { people, programs }
        })
        .await
}

fn config(Issuers { people, programs }: &Issuers, change: impl FnOnce(&mut Value)) -> String {
    door_config(people.issuer(), |config| {
        add_log(config);
        let sign_in = &mut config["sign_in"];
        sign_in["tokens"] = json!({"jwt": [{"issuer": programs.issuer(), "audiences": ["api"]}]});
        sign_in["assertion"] = json!({"key": {"env": "ASSERTION_KEY"}});
        sign_in["headers"] = json!({
            "x-lockgate-subject": "sub", "x-lockgate-email": "email", "x-lockgate-name": "name",
            "x-lockgate-groups": "groups", "x-tenant": "/org/unit",
        });
        if let Some(routes) = config["routes"].as_array_mut() {
            let forwarding = json!({
                "name": "forwarding", "match": {"path_prefix": "/forwarding"}, "guard": "oidc", "forward_token": true,
            });
            routes.insert(0, forwarding);
        }
        change(config);
    })
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let issuers = issuers().await;
    let builder = door_stack(&config(issuers, |_| {})).variable("ASSERTION_KEY", &key_pem(1));
    let stack = Shared::of(&STACK, builder).await;
    static REGISTERED: OnceCell<()> = OnceCell::const_new();
    let register = async || issuers.people.register_gateway(&public_url(&stack), &[]).await;
    REGISTERED.get_or_init(register).await;
    stack
}

/// A browser in which somebody is signed in.
async fn signed_in(stack: &Stack, name: &str) -> UserAgent {
    let mut agent = UserAgent::new();
    let page = sign_in(&mut agent, &format!("{}/public-of-{name}", public_url(stack)), name).await;
    assert_eq!(page.response.status, 200, "{}", page.response.text());
    agent
}

/// Sends a request with a browser's cookies; the upstream gets it.
async fn by_person(stack: &Stack, agent: &mut UserAgent, request: Request) -> Recorded {
    let url = Url::parse(&format!("{}{}", public_url(stack), request.target));
    let marker = request.target.clone();
    let page = agent.try_send(&url, request).await.unwrap();
    assert_eq!(page.response.status, 200, "{}", page.response.text());
    stack.delivered(&marker).await
}

async fn token(claims: Value) -> Jwt {
    let mut all = json!({"aud": "api", "sub": "reporter", "client_id": "reporting"});
    for (name, value) in claims.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    issuers().await.programs.mint(all)
}

fn with_token(request: Request, token: &Jwt) -> Request {
    request.header("authorization", format!("Bearer {}", token.compact()))
}

/// The same by a program.
async fn by_program(stack: &Stack, request: Request, token: &Jwt) -> Recorded {
    let marker = request.target.clone();
    let answer = stack.client().send(&with_token(request, token)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    stack.delivered(&marker).await
}

fn told(seen: &Recorded, name: &str) -> Option<String> {
    assert!(seen.headers.all(name).len() < 2, "{name} stands twice: {seen:?}");
    seen.headers.text(name)
}

async fn key_set(stack: &Stack) -> Value {
    let answer = stack.client().send(&Request::get("/_lockgate/jwks")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers.text("content-type").as_deref(), Some("application/json"));
    answer.json()
}

/// The claims of the assertion that came with a request, after every check an upstream makes.
async fn asserted(stack: &Stack, seen: &Recorded) -> Value {
    let assertion = told(seen, "x-lockgate-assertion").expect("an assertion");
    let claims = verified(&assertion, &key_set(stack).await);
    assert_eq!(claims["iss"], public_url(stack));
    assert_eq!(claims["aud"], stack.upstream().url());
    let [issued, expires] = ["iat", "exp"].map(|name| claims[name].as_i64().unwrap_or_default());
    assert!((expires - issued) <= 300 && expires > now() && issued <= now(), "{claims}");
    claims
}

#[tokio::test]
async fn claims_of_a_person_become_headers_that_hold_nothing_else() {
    let stack = stack().await;
    let mut agent = signed_in(&stack, "zoe").await;
    let seen = by_person(&stack, &mut agent, Request::get("/told-person")).await;
    for (name, value) in [
        ("x-lockgate-subject", Some("zoe")),
        ("x-lockgate-email", Some("zoe@example.com")),
        ("x-lockgate-name", Some("Zo%C3%AB, 100%25 %0D%0Ax-admin: 1%20")),
        ("x-lockgate-groups", Some("staff,eu%2C north,%C3%BCn%C3%AFon")),
        ("x-tenant", None),
        ("x-admin", None),
        ("authorization", None),
        ("cookie", None),
    ] {
        assert_eq!(told(&seen, name).as_deref(), value, "{name}");
    }
    let mut unverified = signed_in(&stack, "unverified").await;
    let seen = by_person(&stack, &mut unverified, Request::get("/told-unverified")).await;
    assert_eq!(told(&seen, "x-lockgate-subject").as_deref(), Some("unverified"));
    assert_eq!((told(&seen, "x-lockgate-email"), told(&seen, "x-lockgate-groups")), (None, None));
    assert_eq!(asserted(&stack, &seen).await["email"], Value::Null);
}

#[tokio::test]
async fn claims_of_a_program_become_headers_too() {
    let stack = stack().await;
    let claims = json!({
        "email": "a@b.example", "email_verified": "true", "name": 12_345_678_901_234_567_890_u64,
        "groups": "one group", "org": {"unit": ["a", true, 7, null, {"x": 1}]},
    });
    let seen = by_program(&stack, Request::get("/told-program"), &token(claims).await).await;
    for (name, value) in [
        ("x-lockgate-subject", Some("reporter")),
        ("x-lockgate-email", Some("a@b.example")),
        ("x-lockgate-name", Some("12345678901234567890")),
        ("x-lockgate-groups", Some("one group")),
        ("x-tenant", Some("a,true,7")),
    ] {
        assert_eq!(told(&seen, name).as_deref(), value, "{name}");
    }
    // Half a value would be another one.
    let long = token(json!({"name": "n".repeat(1_025), "org": {"unit": "\u{1}\u{7f}"}})).await;
    let seen = by_program(&stack, Request::get("/told-long"), &long).await;
    assert_eq!((told(&seen, "x-lockgate-name"), told(&seen, "x-tenant").as_deref()), (None, Some("%01%7F")));
}

#[tokio::test]
async fn nobody_but_the_door_says_who_somebody_is() {
    let stack = stack().await;
    let spoofed = [
        "x-lockgate-subject",
        "X-Lockgate-Email",
        "x_lockgate_email",
        "X-LOCKGATE_NAME",
        "x-lockgate-groups",
        "x-lockgate-assertion",
        "x_lockgate_assertion",
        "x-lockgate-principal",
        "x-lockgate-anything",
        "x.tenant",
        "X-Tenant",
        "x_tenant",
    ];
    let forged = |target: &str| {
        let request =
            spoofed.iter().fold(Request::get(target), |request, name| request.header(name, "mallory"));
        spoofed.iter().fold(request, |request, name| request.header(name, ""))
    };
    let mut agent = signed_in(&stack, "zoe").await;
    let plain = token(json!({"name": null})).await;
    let cases = [
        ("/spoofed-person", by_person(&stack, &mut agent, forged("/spoofed-person")).await),
        ("/spoofed-program", by_program(&stack, forged("/spoofed-program"), &plain).await),
        ("/public/spoofed", {
            assert_eq!(stack.client().send(&forged("/public/spoofed")).await.status, 200);
            stack.delivered("/public/spoofed").await
        }),
        ("/public/by-person", by_person(&stack, &mut agent, forged("/public/by-person")).await),
    ];
    for (name, seen) in cases {
        assert!(!seen.contains("mallory"), "{name}: {seen:?}");
        let names: Vec<_> =
            seen.headers.pairs().map(|(name, _)| String::from_utf8_lossy(name).to_lowercase()).collect();
        let own = |name: &String| {
            name.replace(['_', '.'], "-").starts_with("x-lockgate-") || name.contains("tenant")
        };
        let left: Vec<_> = names.iter().filter(|name| own(name)).collect();
        if name.starts_with("/public") {
            assert!(left.is_empty(), "{name}: {left:?}");
        } else {
            assert!(left.iter().all(|name| !name.contains(['_', '.'])), "{name}: {left:?}");
            assert_eq!(seen.headers.all("x-lockgate-subject").len(), 1, "{name}: {left:?}");
        }
    }
}

#[tokio::test]
async fn an_assertion_says_for_five_minutes_who_it_is_and_anybody_can_check_it() {
    let stack = stack().await;
    let mut agent = signed_in(&stack, "zoe").await;
    let seen = by_person(&stack, &mut agent, Request::get("/asserted-person-1")).await;
    let claims = asserted(&stack, &seen).await;
    assert_eq!((&claims["sub"], &claims["email"]), (&json!("zoe"), &json!("zoe@example.com")));
    assert_eq!(claims["idp"], issuers().await.people.issuer());
    assert_eq!(claims["groups"], json!(["staff", "eu, north", "ünïon"]));
    let again = by_person(&stack, &mut agent, Request::post("/asserted-person-2", "text/plain", "x")).await;
    assert_eq!(told(&again, "x-lockgate-assertion"), told(&seen, "x-lockgate-assertion"), "it is used again");

    let program = token(json!({})).await;
    let seen = by_program(&stack, Request::get("/asserted-program"), &program).await;
    let claims = asserted(&stack, &seen).await;
    assert_eq!((&claims["sub"], &claims["email"]), (&json!("reporter"), &Value::Null));
    assert_eq!(claims["idp"], issuers().await.programs.issuer());

    // The same subject of another issuer is somebody else.
    let zoes_name = token(json!({"sub": "zoe"})).await;
    let seen = by_program(&stack, Request::get("/asserted-namesake"), &zoes_name).await;
    assert_eq!(asserted(&stack, &seen).await["idp"], issuers().await.programs.issuer());
}

#[tokio::test]
async fn of_two_keys_the_newest_signs_and_both_are_published() {
    let issuers = issuers().await;
    let config = config(issuers, |config| config["sign_in"]["assertion"]["lifetime"] = json!("1m"));
    // As in an environment variable: one key with its line breaks, one with `\n` for them.
    let keys = format!("{}{}", key_pem(5), key_pem(6).replace('\n', "\\n"));
    let stack = door_stack(&config).variable("ASSERTION_KEY", &keys).start().await;
    let set = key_set(&stack).await;
    let keys: Vec<_> = set["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(keys, [json!(key_id(5)), json!(key_id(6))]);
    for key in set["keys"].as_array().unwrap() {
        let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"], "no private part");
    }
    let seen = by_program(&stack, Request::get("/two-keys"), &token(json!({})).await).await;
    let assertion = told(&seen, "x-lockgate-assertion").unwrap();
    assert_eq!(lockgate_e2e::signing_keys::unverified(&assertion).0["kid"], key_id(5));
    let claims = asserted(&stack, &seen).await;
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
}

#[tokio::test]
async fn a_token_reaches_the_upstream_only_where_the_route_says_so() {
    let stack = stack().await;
    let issuers = issuers().await;
    let program = token(json!({})).await;
    let seen = by_program(&stack, Request::get("/forwarding/program"), &program).await;
    assert_eq!(told(&seen, "authorization"), Some(format!("Bearer {}", program.compact())));
    assert_eq!(
        told(&by_program(&stack, Request::get("/kept/program"), &program).await, "authorization"),
        None
    );

    let mut agent = signed_in(&stack, "zoe").await;
    let seen = by_person(&stack, &mut agent, Request::get("/forwarding/person").header("x-a", "b")).await;
    let bearer = told(&seen, "authorization").expect("the person's access token");
    let token = bearer.strip_prefix("Bearer ").expect("a bearer token");
    let party = lockgate_e2e::relying_party::RelyingParty::discover(
        issuers.people.issuer(),
        CLIENT_ID,
        issuers.people.secret(),
        "http://127.0.0.1:1/none",
    );
    assert_eq!(party.await.userinfo(token).await.json()["sub"], "zoe");
    assert_eq!(told(&seen, "cookie"), None);
    assert_eq!(told(&seen, "x-lockgate-subject").as_deref(), Some("zoe"));
    let seen = by_person(&stack, &mut agent, Request::get("/kept/person")).await;
    assert_eq!(told(&seen, "authorization"), None);
}

#[tokio::test]
async fn userinfo_says_who_it_is_to_themselves() {
    let stack = stack().await;
    let address = format!("{}/_lockgate/userinfo", public_url(&stack));
    let mut agent = signed_in(&stack, "zoe").await;
    let answer = agent.fetch(&address).await.response;
    assert_eq!((answer.status, answer.headers.text("cache-control").as_deref()), (200, Some("no-store")));
    let person = answer.json();
    assert_eq!((&person["sub"], &person["email"]), (&json!("zoe"), &json!("zoe@example.com")));
    assert_eq!(person["iss"], issuers().await.people.issuer());
    assert_eq!(person["claims"]["groups"], json!(["staff", "eu, north", "ünïon"]));
    assert!(person["session_ends"].is_string(), "{person}");

    let request = with_token(Request::get("/_lockgate/userinfo"), &token(json!({})).await);
    let program = stack.client().send(&request).await.json();
    assert_eq!(program, json!({"sub": "reporter", "iss": issuers().await.programs.issuer()}));

    let nobody = UserAgent::new().fetch(&address).await.response;
    assert_eq!(nobody.status, 401);
    assert!(!nobody.text().contains("sub"), "{}", nobody.text());
    let bad = with_token(Request::get("/_lockgate/userinfo"), &token(json!({"aud": "x"})).await);
    assert_eq!(stack.client().send(&bad).await.status, 401);
    stack.assert_no_trace("/_lockgate/userinfo");
}

#[tokio::test]
async fn the_requests_id_is_the_callers_where_they_gave_one() {
    let stack = stack().await;
    let token = token(json!({})).await;
    let given = Request::get("/id-given").header("x-request-id", "given-id-7c3e");
    let answer = stack.client().send(&with_token(given, &token)).await;
    assert_eq!(answer.headers.all("x-request-id"), [b"given-id-7c3e"]);
    assert_eq!(told(&stack.delivered("/id-given").await, "x-request-id").as_deref(), Some("given-id-7c3e"));

    let answer = stack.client().send(&with_token(Request::get("/id-made"), &token)).await;
    let made = answer.headers.text("x-request-id").expect("an id");
    assert_eq!(told(&stack.delivered("/id-made").await, "x-request-id"), Some(made));

    // A refusal has it too: in the answer, on the page, and in the log.
    let page = Request::post("/id-refused", "text/plain", "x").header("accept", "text/html");
    let answer = stack.client().send(&page.header("x-request-id", "given-id-9d1f")).await;
    assert_eq!((answer.status, &*stack.reason(&answer).await), (401, "no_session"));
    assert_eq!(answer.headers.all("x-request-id"), [b"given-id-9d1f"]);
    assert!(answer.text().contains("given-id-9d1f"), "{}", answer.text());
}

#[tokio::test]
async fn a_request_that_is_played_back_names_who_sent_it_and_says_it_signed() {
    let stack = stack().await;
    let issuers = issuers().await;
    let mut agent = signed_in(&stack, "zoe").await;
    let person = Url::parse(&format!("{}/wal/by-person", public_url(&stack)));
    let post =
        || Request::post("/wal/by-person", "text/plain", "x").header("x-lockgate-principal", "mallory");
    let answer = agent.try_send(&person, post()).await.unwrap().response;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let program = token(json!({"email": "a@b.example", "email_verified": true})).await;
    let request = with_token(Request::post("/wal/by-program", "text/plain", "x"), &program);
    assert_eq!(stack.client().send(&request).await.status, 202);

    for (path, issuer, subject, email) in [
        ("/by-person", issuers.people.issuer(), "zoe", "zoe@example.com"),
        ("/by-program", issuers.programs.issuer(), "reporter", "a@b.example"),
    ] {
        let seen = stack.delivered(path).await;
        let principal: Value = serde_json::from_str(&told(&seen, "x-lockgate-principal").unwrap()).unwrap();
        assert_eq!((&principal["filter"], &principal["issuer"]), (&json!("oidc"), &json!(issuer)), "{path}");
        assert_eq!((&principal["subject"], &principal["email"]), (&json!(subject), &json!(email)), "{path}");
        let claims = asserted(&stack, &seen).await;
        assert_eq!((&claims["idp"], &claims["sub"]), (&json!(issuer), &json!(subject)), "{path}");
        assert_eq!(claims["email"], email, "{path}");
        assert!(!seen.contains("mallory"), "{seen:?}");
        for name in ["authorization", "cookie", "x-lockgate-subject", "x-lockgate-email"] {
            assert_eq!(told(&seen, name), None, "{path}: {name}");
        }
        // What is stored holds no word that could be used again.
        let stored = &stack.stored(path)[0];
        assert!(!stored.contains("authorization") && !stored.contains("cookie"), "{}", stored.envelope());
        assert!(!stored.contains("assertion"), "{}", stored.envelope());
    }
}

#[tokio::test]
async fn an_older_envoy_serves_without_assertions_and_refuses_to_start_with_them() {
    let named = std::env::var("OLDER_ENVOYS").unwrap_or_default();
    let Some(envoy) = named.split_whitespace().find(|envoy| envoy.contains("1.36")) else {
        println!("SKIPPED: OLDER_ENVOYS names no Envoy 1.36; `make e2e` does");
        return;
    };
    let issuers = issuers().await;
    let without = config(issuers, |config| config["sign_in"]["assertion"] = Value::Null);
    let stack = door_stack(&without).variable("ENVOY", envoy).start().await;
    let seen = by_program(&stack, Request::get("/older"), &token(json!({})).await).await;
    assert_eq!(told(&seen, "x-lockgate-subject").as_deref(), Some("reporter"));
    assert_eq!(told(&seen, "x-lockgate-assertion"), None);
    assert_eq!(stack.client().send(&Request::get("/_lockgate/jwks")).await.status, 404);

    stack.kill_gateway();
    std::fs::write(stack.directory().join("lockgate.yaml"), config(issuers, |_| {})).unwrap();
    let mut command = stack.lockgate("run");
    command.env("ASSERTION_KEY", key_pem(1));
    let process = Process::start("lockgate run", &mut command, Arc::new(Journal::default()));
    let status = process.wait_exit(Duration::from_secs(60)).await;
    let lines = process.log().since(0);
    assert!(!status.success(), "{lines:?}");
    let said = |line: &String| {
        line.contains("assertion.keys: given")
            && line.contains("expected Envoy 1.37 or newer: this one has no function")
    };
    assert!(lines.iter().any(said), "{lines:#?}");
    assert!(Client::new(stack.client().address()).try_send(&Request::get("/health")).await.is_err());
}
