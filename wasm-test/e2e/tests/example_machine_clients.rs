//! The example `machine-clients`, as it is shipped: tokens from the certified provider, the door that has
//! them read by it, and the workload whose token is obtained beside it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use lockgate_e2e::example::Example;
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::oidc_provider::{CLIENT_ID, CLIENT_SECRET, OidcProvider};
use lockgate_e2e::relying_party::{RelyingParty, basic};
use lockgate_e2e::tls_front::{TlsFront, certificate};
use lockgate_e2e::url::Url;
use lockgate_e2e::{Client, Request, Response, Stack, Upstream};
use serde_json::{Value, json};

const DOOR: u16 = 8080;
const PROVIDER: u16 = 9400;
const WORKLOAD: u16 = 9090;
const AUDIENCE: &str = "https://orders.example.com";

struct Machines {
    example: Example,
    upstream: Upstream,
    /// The provider's, which tells what it was asked and does what is wrong on demand.
    control: Client,
}

impl Machines {
    /// The example with tokens that live for so many seconds.
    async fn start(token_seconds: u16) -> Self {
        let upstream = Upstream::on_free_port();
        let ports = [DOOR, PROVIDER, WORKLOAD, 8085, 8090, 9901, 9902];
        let variables = [("UPSTREAM_URL", &*upstream.url()), ("TOKEN_SECONDS", &*token_seconds.to_string())];
        let example = Example::start_with("machine-clients", &ports, &variables).await;
        let told = example.process.log().matching(|line| line.starts_with("{\"ready\"")).remove(0);
        let control = serde_json::from_str::<Value>(&told).unwrap()["control"].as_u64().unwrap();
        let control = Client::new((Ipv4Addr::LOCALHOST, u16::try_from(control).unwrap()).into());
        Self { example, upstream, control }
    }

    fn client(&self, port: u16) -> Client {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, self.example.port(port)).into();
        Client::new(address).with_deadline(PATIENCE)
    }

    /// What a client gets at the token endpoint.
    async fn token(&self, client: &str, secret: &str, scope: &str, resource: Option<&str>) -> String {
        let issuer = format!("http://127.0.0.1:{}", self.example.port(PROVIDER));
        let party = RelyingParty::discover(&issuer, client, secret, "http://127.0.0.1:1/none").await;
        party.client_credentials(scope, resource).await
    }

    async fn ask(&self, method: &str, path: &str, authorization: &str) -> Response {
        let request = Request::new(method, path).header("authorization", authorization);
        self.client(DOOR).send(&request).await
    }

    /// Why the door has refused, as its log says it.
    async fn reason(&self, answer: &Response) -> String {
        let id = answer.headers.text("x-request-id").unwrap();
        let ours = |line: &str| line.contains("refused reason=") && line.contains(&id);
        let line = self.example.process.wait_for_line("the refusal", 0, ours).await;
        line.split("reason=").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }

    async fn calls(&self, endpoint: &str) -> Vec<Value> {
        let request = Request::get(&format!("/calls?endpoint={endpoint}"));
        self.control.send(&request).await.json().as_array().unwrap().clone()
    }

    /// Returns when an endpoint has been called so often.
    async fn reached(&self, endpoint: &str, count: usize) {
        let request = Request::get(&format!("/reached?endpoint={endpoint}&count={count}"));
        self.control.send(&request).await;
    }

    async fn fail(&self, faults: Value) {
        let request = Request::post("/fail", "application/json", faults.to_string());
        assert_eq!(self.control.send(&request).await.status, 200);
    }
}

#[tokio::test]
async fn each_machine_may_do_what_the_policies_say_and_its_token_is_read_once() {
    let machines = Machines::start(60).await;
    let before = machines.calls("introspection").await.len();
    let for_orders = Some(AUDIENCE);
    let shop = machines.token("shop", "of+the shop: 100%/=", "", for_orders).await;
    let reporting = machines.token("reporting", "of reporting", "", for_orders).await;
    let auditor = machines.token("auditor", "of the auditor", "audit", for_orders).await;
    let stranger = machines.token("stranger", "of a stranger", "", for_orders).await;
    let for_invoices =
        machines.token("shop", "of+the shop: 100%/=", "", Some("https://invoices.example.com")).await;
    let for_nobody = machines.token("shop", "of+the shop: 100%/=", "", None).await;
    for (token, method, path, expected) in [
        (&*shop, "GET", "/orders/123", "200"),
        (&shop, "POST", "/orders/123", "200"),
        (&shop, "DELETE", "/orders/123", "200"),
        (&shop, "GET", "/orders/123/lines/7", "200"),
        (&shop, "PUT", "/orders/123/lines/7", "403 not_allowed"),
        (&shop, "GET", "/invoices/1", "403 not_allowed"),
        (&shop, "GET", "/orders/export", "200"),
        (&reporting, "GET", "/orders/123", "200"),
        (&reporting, "HEAD", "/orders/123", "200"),
        (&reporting, "POST", "/orders/123", "403 not_allowed"),
        // A denial beats the allowance.
        (&reporting, "GET", "/orders/export", "403 denied"),
        (&auditor, "GET", "/audit/7/events", "200"),
        (&auditor, "POST", "/audit/7/events", "403 not_allowed"),
        (&auditor, "GET", "/orders/123", "403 not_allowed"),
        // No policy is no permission.
        (&stranger, "GET", "/orders/123", "403 not_allowed"),
        (&for_invoices, "GET", "/orders/123", "401 token_audience"),
        (&for_nobody, "GET", "/orders/123", "401 token_audience"),
        ("made-up", "GET", "/orders/123", "401 token_inactive"),
    ] {
        let answer = machines.ask(method, path, &format!("Bearer {token}")).await;
        let mut seen = answer.status.to_string();
        if answer.status != 200 {
            seen = format!("{seen} {}", machines.reason(&answer).await);
        }
        assert_eq!(seen, expected, "{method} {path}");
    }
    let calls = machines.calls("introspection").await;
    assert_eq!(calls.len() - before, 7, "one question for each token, whatever it is shown for");
    for call in &calls {
        assert_eq!((&call["method"], &call["query"]), (&json!("POST"), &json!({})), "{call}");
        assert_eq!(call["authorization"], "Basic", "{call}");
    }
    assert!(calls.iter().any(|call| call["form"]["token"] == json!(shop)));
    assert_eq!(machines.upstream.requests().len(), 8, "what was refused went no further");
    let basic = basic("lockgate", "of the door");
    let credentials = basic.trim_start_matches("Basic ");
    for secret in [&*shop, &reporting, &auditor, &stranger, "of the door", "of+the+door", credentials] {
        let shown = machines.example.process.log().matching(|line| line.contains(secret));
        assert!(shown.is_empty(), "a token or a secret is written down: {shown:?}");
    }
}

#[tokio::test]
async fn the_service_learns_which_machine_it_is_and_never_its_token() {
    let machines = Machines::start(60).await;
    let token = machines.token("shop", "of+the shop: 100%/=", "", Some(AUDIENCE)).await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = Request::get(&format!("/orders/{scheme}"))
            .header("authorization", format!("{scheme} {token}"))
            .header("x-lockgate-client", "forged")
            .header("X_Lockgate_Subject", "forged");
        assert_eq!(machines.client(DOOR).send(&request).await.status, 200);
        let seen = machines.upstream.requests().matching(|seen| seen.target == request.target).remove(0);
        assert_eq!(seen.headers.all("x-lockgate-subject"), [b"shop"]);
        assert_eq!(seen.headers.all("x-lockgate-client"), [b"shop"]);
        assert!(!seen.contains("forged") && !seen.contains(&token), "{seen:?}");
    }
    // Nobody's, and not for machines.
    for request in [Request::get("/orders/1"), Request::get("/_lockgate/sign-in"), Request::get("/healthz")] {
        let answer = machines.client(DOOR).send(&request).await;
        assert!([401, 404].contains(&answer.status), "{}: {}", request.target, answer.status);
    }
    for (path, status) in [("/health", 204), ("/_lockgate/health", 204), ("/_lockgate/ready", 204)] {
        let answer = machines.client(DOOR).send(&Request::get(path)).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
    }
    assert_eq!(machines.upstream.requests().len(), 3);
}

#[tokio::test]
async fn while_the_issuer_cannot_be_asked_nobody_passes_and_nobody_is_called_wrong() {
    let machines = Machines::start(60).await;
    let token = machines.token("shop", "of+the shop: 100%/=", "", Some(AUDIENCE)).await;
    let bearer = format!("Bearer {token}");
    for wrong in [
        json!({"mode": "status", "status": 500, "body": "down"}),
        json!({"mode": "status", "status": 401, "body": "who are you"}),
        json!({"mode": "reset"}),
        json!({"mode": "hang"}),
    ] {
        let mut fault = wrong.clone();
        fault["endpoint"] = json!("introspection");
        machines.fail(json!([fault])).await;
        let answer = machines.ask("GET", "/orders/unasked", &bearer).await;
        assert_eq!((answer.status, &*machines.reason(&answer).await), (503, "issuer_unavailable"), "{wrong}");
        assert!(
            answer.headers.contains("retry-after") && !answer.headers.contains("www-authenticate"),
            "{wrong}"
        );
    }
    assert!(machines.upstream.requests().is_empty());
    machines.fail(json!([])).await;
    assert_eq!(machines.ask("GET", "/orders/asked", &bearer).await.status, 200);
    // What was answered holds through an outage.
    machines.fail(json!([{"endpoint": "*", "mode": "reset"}])).await;
    assert_eq!(machines.ask("POST", "/orders/believed", &bearer).await.status, 200);
}

#[tokio::test]
async fn a_workload_calls_with_a_token_that_it_never_sees_and_that_is_renewed_in_time() {
    let machines = Machines::start(6).await;
    let workload = machines.client(WORKLOAD);
    // Its own idea of who it is counts for nothing.
    let request =
        Request::post("/orders/7", "application/json", "{}").header("authorization", "Bearer its-own");
    assert_eq!(workload.send(&request).await.status, 200);
    let seen = machines.upstream.requests().since(0).remove(0);
    assert_eq!(seen.headers.all("x-lockgate-subject"), [b"shop"]);
    assert!(!seen.contains("its-own") && seen.text() == "{}", "{seen:?}");
    // What it may not do, it may not do this way either.
    assert_eq!(workload.send(&Request::get("/invoices/1")).await.status, 403);

    let renewed = machines.calls("token").await.len() + 2;
    let reached = machines.reached("token", renewed);
    tokio::pin!(reached);
    let mut count = 0;
    loop {
        tokio::select! {
            () = &mut reached => break,
            answer = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                workload.send(&Request::get("/orders/8")).await
            } => {
                assert_eq!(answer.status, 200, "the {count}th: {}", answer.text());
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count}");
    let calls = machines.calls("token").await;
    for call in &calls {
        assert_eq!(
            (&call["status"], &call["form"]["grant_type"]),
            (&json!(200), &json!("client_credentials"))
        );
        assert_eq!(call["form"]["client_secret"], "of+the shop: 100%/=", "every character of the secret");
        assert_eq!(call["form"]["resource"], AUDIENCE);
    }
}

#[tokio::test]
async fn a_workload_without_a_token_is_told_so_and_goes_on_when_there_is_one_again() {
    let machines = Machines::start(2).await;
    let workload = machines.client(WORKLOAD);
    let until = async |status: u16| {
        let begun = Instant::now();
        loop {
            let answer = workload.send(&Request::get("/orders/2")).await;
            if answer.status == status {
                return answer;
            }
            // Between the token's end as the provider has it and as Envoy has it, the door says 401.
            assert!([200, 401, 503].contains(&answer.status), "{answer:?}");
            assert!(begun.elapsed() < PATIENCE, "{answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(200).await;
    machines.fail(json!([{"endpoint": "token", "mode": "status", "status": 500, "body": "down"}])).await;
    let answer = until(503).await;
    assert_eq!(answer.text(), "The issuer gives no token at the moment.\n");
    assert!(answer.headers.contains("retry-after"), "{answer:?}");
    let passed = machines.upstream.requests().len();
    assert_eq!(workload.send(&Request::get("/orders/3")).await.status, 503);
    assert_eq!(machines.upstream.requests().len(), passed);
    machines.fail(json!([])).await;
    until(200).await;
    let secret = |line: &String| line.contains("of+the") || line.contains("of%2Bthe");
    assert!(machines.example.process.log().matching(secret).is_empty());
}

#[tokio::test]
async fn the_readmes_lines_say_what_they_say() {
    let machines = Machines::start(60).await;
    let (promised, printed) = machines.example.paste(2, &[]);
    assert_eq!(printed[..promised.len()], promised);
    assert_eq!(promised.len(), 5);
    assert_eq!(printed[promised.len()].trim(), "HTTP/1.1 401 Unauthorized");
    assert!(printed.iter().any(|line| line.ends_with("error=\"invalid_token\"")), "{printed:?}");
}

/// The example's door before a provider with TLS, whose certificate is from this authority.
async fn behind_tls(provider: &OidcProvider, front: &TlsFront, authority: Option<&str>) -> Response {
    let mut builder = Stack::builder()
        .config(include_str!("../../../envoy/examples/machine-clients/lockgate.yaml"))
        .variable("INTROSPECTION_ENDPOINT", &format!("{}/token/introspection", front.url()))
        .variable("INTROSPECTION_CLIENT_ID", CLIENT_ID)
        .variable("INTROSPECTION_CLIENT_SECRET", CLIENT_SECRET)
        .variable("AUDIENCE", AUDIENCE);
    if let Some(authority) = authority {
        builder = builder.variable("CA_FILE", authority);
    }
    let stack = builder.start().await;
    let party =
        RelyingParty::discover(provider.issuer(), CLIENT_ID, CLIENT_SECRET, "http://127.0.0.1:1/").await;
    let token = party.client_credentials("audit", Some(AUDIENCE)).await;
    let request = Request::get("/audit/7/events").header("authorization", format!("Bearer {token}"));
    stack.client().send(&request).await
}

#[tokio::test]
async fn the_issuer_is_asked_only_if_its_certificate_is_from_the_authority_that_was_named() {
    let provider = OidcProvider::builder().opaque_resource(AUDIENCE, "audit").start().await;
    let address = Url::parse(provider.issuer()).address();
    let front = TlsFront::start(address, address).await;
    let answer = behind_tls(&provider, &front, None).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(provider.count("introspection").await, 0);
    let answer = behind_tls(&provider, &front, certificate().to_str()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(provider.count("introspection").await, 1);
}
