//! Providers that cannot be asked, and metadata that leads elsewhere. One door stands before all of
//! them: whoever chooses one that works does not notice the others.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lockgate_e2e::door::{door_config, door_stack, public_url};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::siege::{is_callback, navigation};
use lockgate_e2e::signing_keys::SigningKey;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Answer, Process, Request, Response, Stack};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::assert_no_login;

/// Longer than a door waits for a provider, all told.
const BOUND: Duration = Duration::from_secs(7);

/// A door before the provider `fine` and before these.
async fn door_before(others: &[(String, HostileProvider)]) -> (Stack, HostileProvider) {
    let fine = HostileProvider::named("localhost", "");
    let config = door_config(fine.issuer(), |config| {
        let provider = |name: &str, provider: &HostileProvider| {
            json!({"name": name, "issuer": provider.issuer(), "client_id": CLIENT_ID,
                "client_secret": {"env": "OIDC_CLIENT_SECRET"}})
        };
        let all = std::iter::once(provider("fine", &fine));
        let all = all.chain(others.iter().map(|(name, other)| provider(name, other)));
        config["sign_in"]["providers"] = all.collect();
    });
    (door_stack(&config).start().await, fine)
}

fn hostile<F: Fn(&HostileProvider)>((name, hostility): (&str, F)) -> (String, HostileProvider) {
    let provider = HostileProvider::named("localhost", "");
    hostility(&provider);
    (name.to_owned(), provider)
}

fn sign_in_path(name: &str) -> String {
    format!("/_lockgate/sign-in?provider={name}&return_to=/{name}")
}

/// Begins a sign-in in a new browser; as far as the provider's yes.
async fn begin(stack: &Stack, name: &str) -> (UserAgent, lockgate_e2e::user_agent::Page) {
    let mut agent = UserAgent::new();
    let page = agent.follow_until(&format!("{}{}", public_url(stack), sign_in_path(name)), is_callback).await;
    (agent, page)
}

/// Signs in anew until it works.
async fn recovers(stack: &Stack, name: &str) {
    let tries = async {
        loop {
            let (mut agent, page) = begin(stack, name).await;
            let page = agent.go_on(page, |_| false).await;
            if page.response.status == 200 && page.url.path() == format!("/{name}") {
                return;
            }
            assert_eq!(page.response.status, 503, "{name}: {}", page.response.text());
        }
    };
    assert!(tokio::time::timeout(PATIENCE, tries).await.is_ok(), "{name} does not recover");
}

/// An honest answer made longer than anybody needs.
fn pad(provider: &HostileProvider, at: Endpoint, bytes: usize) {
    provider.edit_json(at, move |document| document["padding"] = json!("x".repeat(bytes)));
}

/// Envoy as `lockgate run` had it, without `lockgate run`: that one takes a document that does not fit
/// for a mistake of the configuration, and ends, in the first seconds after a start.
async fn alone(stack: &Stack) -> Process {
    stack.kill_gateway();
    let run = stack.lockgate("run");
    let variable = |name: &str| {
        let (_, value) = run.get_envs().find(|(other, _)| *other == name).unwrap();
        value.unwrap().to_owned()
    };
    let mut envoy = Command::new(variable("ENVOY"));
    let file = std::path::Path::new(&variable("STATE_DIR")).join("envoy.json");
    envoy.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "info", "-c"]).arg(file);
    envoy.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    envoy.current_dir(run.get_current_dir().unwrap());
    let process = Process::start("envoy", &mut envoy, Arc::default());
    stack.client().wait_for_listener().await;
    process
}

type Hostility = fn(&HostileProvider, Endpoint);

const HOSTILITIES: [(&str, Hostility); 17] = [
    ("hang", |it, at| it.answer(at, |_| Some(Answer::Hang))),
    ("slow", |it, at| it.delay(at, Duration::from_secs(60))),
    ("drip", |it, at| {
        // The beginning of an answer, and then nothing: the connection stays open for the next call.
        let mut response = Response::new(200);
        response.headers.push("content-length", "100000");
        response.body = b"{\"issuer\":".to_vec();
        it.answer(at, move |_| Some(Answer::Respond(response.clone(), Duration::ZERO)));
    }),
    ("reset", |it, at| it.answer(at, |_| Some(Answer::Reset))),
    ("not-http", |it, at| it.answer(at, |_| Some(Answer::Raw(b"evil\r\n\r\n".to_vec())))),
    ("status-500", |it, at| it.answer_json(at, 500, &json!({"error": "evil"}))),
    ("status-404", |it, at| it.answer(at, |_| Some(Answer::with_body(404, "text/html", "<h1>evil</h1>")))),
    ("status-500-honest", |it, at| it.edit(at, |_, response| response.status = 500)),
    ("status-302", |it, at| {
        let to = it.url("/elsewhere");
        it.edit(at, move |_, response| {
            response.status = 302;
            response.headers.push("location", &to);
        });
    }),
    ("html", |it, at| {
        it.answer(at, |_| Some(Answer::with_body(200, "text/html", "<script>evil()</script>")))
    }),
    ("nothing", |it, at| it.answer(at, |_| Some(Answer::status(200)))),
    ("list", |it, at| it.answer_json(at, 200, &json!([1, 2]))),
    ("cut-off", |it, at| it.edit(at, |_, response| response.body.truncate(response.body.len() - 1))),
    ("not-utf8", |it, at| it.edit(at, |_, response| response.body[2] = 0xff)),
    ("deep", |it, at| {
        it.answer(at, |_| Some(Answer::with_body(200, "application/json", &"[".repeat(200_000))))
    }),
    ("large", |it, at| pad(it, at, 300_000)),
    ("huge", |it, at| pad(it, at, 20 << 20)),
];

#[tokio::test]
async fn a_provider_without_metadata_is_a_503_page_in_bounded_time_and_recovers_by_itself() {
    let mut providers: Vec<_> = HOSTILITIES
        .map(|(name, hostility)| hostile((name, |it: &HostileProvider| hostility(it, Endpoint::Discovery))))
        .into();
    providers.push(hostile(("down", |_: &HostileProvider| {})));
    providers.last().unwrap().1.leave().await;
    let (stack, _fine) = door_before(&providers).await;
    let client = stack.client();
    let began = Instant::now();
    let all = providers.iter().map(|(name, _)| {
        let (name, request) = (name.clone(), navigation(&sign_in_path(name)));
        tokio::spawn(async move { (name, client.send(&request).await, began.elapsed()) })
    });
    let all: Vec<_> = all.collect();
    let while_they_hang = Instant::now();
    recovers(&stack, "fine").await;
    assert!(while_they_hang.elapsed() < Duration::from_secs(3), "{:?}", while_they_hang.elapsed());
    for asked in all {
        let (name, answer, took) = asked.await.unwrap();
        assert_no_login(&name, &answer, 503);
        assert!(
            answer.text().contains("<h1>") && !answer.text().contains("evil"),
            "{name}: {}",
            answer.text()
        );
        assert!(answer.headers.contains("retry-after"), "{name}");
        assert!(took < BOUND, "{name} took {took:?}");
    }
    assert_eq!(client.send(&Request::get("/_lockgate/ready")).await.status, 503);
    assert_eq!(client.send(&Request::get("/public/x")).await.status, 200);
    for (name, provider) in &providers {
        assert_eq!(provider.count(Endpoint::Other), 0, "{name}: a redirect was followed");
        provider.heal();
        provider.come_back();
    }
    for (name, _) in &providers {
        recovers(&stack, name).await;
    }
    assert_eq!(client.send(&Request::get("/_lockgate/ready")).await.status, 204);
    let lines = stack.gateway_log().matching(|line| line.contains("evil") || line.contains("panicked"));
    assert!(lines.is_empty(), "{lines:?}");
}

#[tokio::test]
async fn a_provider_without_keys_is_a_503_page_in_bounded_time_and_recovers_by_itself() {
    let mut providers: Vec<_> = HOSTILITIES
        .map(|(name, hostility)| hostile((name, |it: &HostileProvider| hostility(it, Endpoint::Jwks))))
        .into();
    let with = |name: &str, keys: Value| {
        hostile((name, move |it: &HostileProvider| it.answer_json(Endpoint::Jwks, 200, &keys)))
    };
    let changed = |name: &str, value: Value| {
        let mut key = SigningKey::rsa(0).jwk();
        key[name] = value;
        json!({"keys": [key]})
    };
    providers.extend([
        with("no-keys", json!({"keys": []})),
        with("keys-null", json!({"keys": null})),
        with("keys-text", json!({"keys": "x"})),
        with(
            "keys-of-nothing",
            json!({"keys": [null, 1, [], {}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-256"}]}),
        ),
        with("weak", json!({"keys": [SigningKey::weak_rsa().jwk()]})),
        with("secret", json!({"keys": [{"kty": "oct", "kid": SigningKey::rsa(0).kid(), "k": "AAAA"}]})),
        with("for-encryption", changed("use", json!("enc"))),
        with("for-another-algorithm", changed("alg", json!("RS512"))),
        with("no-modulus", changed("n", json!(""))),
        with("modulus-of-zeros", changed("n", json!("A".repeat(342)))),
        with("no-exponent", changed("e", json!(""))),
        with("not-base64", changed("n", json!("!\r\n\u{0}"))),
        with("large-exponent", changed("e", json!("_".repeat(342)))),
    ]);
    let (stack, _fine) = door_before(&providers).await;
    let began = Instant::now();
    let mut waiting = Vec::new();
    for (name, _) in &providers {
        let (mut agent, page) = begin(&stack, name).await;
        let location = page.location().unwrap_or_else(|| panic!("{name}: {}", page.response.text()));
        let name = name.clone();
        waiting.push(tokio::spawn(async move {
            let began = Instant::now();
            (name, agent.open(&location.to_string()).await.response, began.elapsed())
        }));
    }
    for asked in waiting {
        let (name, answer, took) = asked.await.unwrap();
        assert_no_login(&name, &answer, 503);
        assert!(
            answer.text().contains("<h1>") && !answer.text().contains("evil"),
            "{name}: {}",
            answer.text()
        );
        assert!(took < BOUND, "{name} took {took:?}");
    }
    assert!(began.elapsed() < 2 * BOUND, "{:?}", began.elapsed());
    providers.iter().for_each(|(_, provider)| provider.heal());
    for (name, _) in &providers {
        recovers(&stack, name).await;
    }
}

#[tokio::test]
async fn metadata_that_names_another_issuer_or_leads_elsewhere_is_not_used() {
    let elsewhere = HostileProvider::start();
    let trap = elsewhere.issuer().strip_prefix("http://").unwrap().to_owned();
    let mut cases: Vec<(String, &str, Value)> = Vec::new();
    for issuer in [
        json!("https://evil.example"),
        json!(""),
        json!("SLASH"),
        json!("UPPER"),
        json!(["SAME"]),
        Value::Null,
    ] {
        cases.push((format!("issuer-{}", cases.len()), "issuer", issuer));
    }
    let bad: [String; 21] = [
        "http://example.com/x".into(),
        "http://10.0.0.1/x".into(),
        "http://192.168.1.1/x".into(),
        "http://100.64.0.1/x".into(),
        "http://127.1/x".into(),
        "http://0x7f000001/x".into(),
        "http://2130706433/x".into(),
        "http://0.0.0.0/x".into(),
        "http://127.0.0.1.evil.example/x".into(),
        "http://localhost.evil.example/x".into(),
        format!("http://user@{trap}/x"),
        format!("http://{trap}@evil.example/x"),
        format!("http://{trap}/x#y"),
        format!("http://{trap}/x\r\nx-injected: 1"),
        format!("http://{trap} /x"),
        format!("http://{trap}\\@evil.example/x"),
        "ftp://127.0.0.1/x".into(),
        "file:///etc/passwd".into(),
        "javascript:alert(1)".into(),
        "//evil.example/x".into(),
        String::new(),
    ];
    let endpoints = [
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "userinfo_endpoint",
        "revocation_endpoint",
        "end_session_endpoint",
    ];
    for (number, address) in bad.iter().enumerate() {
        // All of them where a browser is sent to, and each where the proxy itself calls.
        for endpoint in [endpoints[0], endpoints[1 + number % 5]] {
            cases.push((format!("e{}", cases.len()), endpoint, json!(address)));
        }
    }
    for endpoint in &endpoints[..3] {
        cases.push((format!("absent-{}", cases.len()), endpoint, Value::Null));
        cases.push((format!("number-{}", cases.len()), endpoint, json!(7)));
    }
    let providers: Vec<_> = cases
        .iter()
        .map(|(name, member, value)| {
            let provider = HostileProvider::named("localhost", "");
            let issuer = provider.issuer();
            let value = value.to_string().replace("SLASH", &format!("{issuer}/")).replace("SAME", issuer);
            let value = value.replace("UPPER", &issuer.to_uppercase());
            let (member, value): (&str, Value) = (member, serde_json::from_str(&value).unwrap());
            provider.edit_json(Endpoint::Discovery, move |document| document[member] = value.clone());
            (name.clone(), provider)
        })
        .collect();
    for (_, provider) in &providers {
        provider.leave().await;
    }
    let (stack, _fine) = door_before(&providers).await;
    let envoy = alone(&stack).await;
    providers.iter().for_each(|(_, provider)| provider.come_back());
    let client = stack.client();
    let mut wrong = Vec::new();
    for ((name, member, value), (_, provider)) in cases.iter().zip(&providers) {
        let answer = client.send(&navigation(&sign_in_path(name))).await;
        if answer.status != 503 {
            let to = answer.headers.text("location");
            wrong.push(format!("{member}: {value} → {} {to:?}", answer.status));
            continue;
        }
        assert_no_login(name, &answer, 503);
        let given = format!("given {},", provider.issuer());
        let told = envoy.log().wait_for(name, 1, |line| line.contains(&given)).await.swap_remove(0);
        let kind = match *member {
            "issuer" if !value.is_null() && !value.is_array() => "names another issuer",
            _ if value.is_string() => "names an endpoint",
            _ => "is not a discovery document",
        };
        if !told.contains(kind) {
            wrong.push(format!("{member}: {value} is told of as {told}"));
        }
        assert!(*member == "issuer" || !told.contains("evil"), "{told}");
        assert!(!told.chars().any(char::is_control), "{}", told.escape_debug());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let counted = stack.admin().text("/stats?filter=discovery").await;
    for kind in ["issuer", "endpoint", "malformed"] {
        assert!(counted.contains(&format!("wasmcustom.lockgate.oidc.discovery.{kind}: ")), "{counted}");
    }
    let broken = envoy.log().matching(|line| line.starts_with("x-injected"));
    assert!(broken.is_empty(), "{broken:?}");
    assert!(elsewhere.calls().is_empty(), "{:?}", elsewhere.calls().since(0));
    recovers(&stack, "fine").await;
    // Whoever mends the document need not start the door again.
    for (name, provider) in providers.iter().step_by(5) {
        provider.heal();
        recovers(&stack, name).await;
    }
}
