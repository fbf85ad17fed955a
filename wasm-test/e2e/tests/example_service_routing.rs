//! `envoy/examples/service-routing`: requests find the instances of the service that they name, however
//! these come and go. Instances are addresses of this machine.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lockgate_e2e::example::Example;
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::stack::workspace;
use lockgate_e2e::{Answer, Client, Request, Response, Upstream};
use tempfile::TempDir;

const EDGE: u16 = 8080;
const ADMIN: u16 = 9901;
const OUTGOING: u16 = 4140;
const INCOMING: u16 = 4141;
const AUDIT: u16 = 8000;
const PORTS: [u16; 7] = [EDGE, ADMIN, OUTGOING, INCOMING, AUDIT, 8001, 8600];

/// The running example, and which instances its services have.
struct Routing {
    example: Example,
    registry: TempDir,
}

impl Routing {
    async fn start() -> Self {
        let registry = tempfile::tempdir().unwrap();
        let directory = registry.path().display().to_string();
        let example = Example::start_with("service-routing", &PORTS, &[("REGISTRY", &directory)]).await;
        Self { example, registry }
    }

    /// An Envoy's port on one of the machines.
    fn client(&self, machine: u8, port: u16) -> Client {
        Client::new(([127, 0, 0, machine], self.example.port(port)).into())
    }

    /// The port that clients ask in the one-hop form.
    fn edge(&self) -> Client {
        self.client(1, EDGE)
    }

    /// An instance of `audit` that does as it is told.
    fn instance(&self, machine: u8) -> Upstream {
        Upstream::at(([127, 0, 0, machine], self.example.port(AUDIT)).into())
    }

    /// Says which machines have instances of a service, and returns once Envoy on a machine knows.
    async fn register(&self, service: &str, machines: &[u8], envoy: u8) {
        self.say(service, machines);
        let admin = self.client(envoy, ADMIN);
        let prefix = format!("{service}::127.0.0.");
        let known = async {
            loop {
                let clusters = admin.send(&Request::get("/clusters")).await.text();
                let mut known: Vec<u8> = clusters
                    .lines()
                    .filter_map(|line| line.strip_prefix(&prefix)?.split_once(':')?.0.parse().ok())
                    .collect();
                known.sort_unstable();
                known.dedup();
                if known == machines {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, known).await.expect("Envoy hears of the instances");
    }

    fn say(&self, service: &str, machines: &[u8]) {
        let addresses = machines.iter().map(|machine| format!("127.0.0.{machine}"));
        let mut register = Command::new(folder().join("register"));
        let said = register.arg(service).args(addresses).env("REGISTRY", self.registry.path()).output();
        assert!(said.as_ref().is_ok_and(|said| said.status.success()), "{said:?}");
    }

    async fn stat(&self, name: &str) -> u64 {
        let stats = self.client(1, ADMIN).send(&Request::get("/stats")).await.text();
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Waits until a counter or gauge of Envoy's is as wanted.
    async fn wait_for_stat(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        let reached = async { while !wanted(self.stat(name).await) {} };
        let in_time = tokio::time::timeout(PATIENCE, reached).await;
        assert!(in_time.is_ok(), "{name} is {}", self.stat(name).await);
    }
}

fn folder() -> PathBuf {
    workspace().join("envoy/examples/service-routing")
}

fn marker(answer: &Response) -> (u16, Option<String>) {
    (answer.status, answer.headers.text("x-route-error"))
}

fn marked(status: u16, error: &str) -> (u16, Option<String>) {
    (status, Some(error.to_owned()))
}

/// What `curl` prints: status, error and body.
fn curl(arguments: &[&str]) -> String {
    let format = "%{http_code} %header{x-route-error} ";
    let Output { stdout, stderr, .. } =
        Command::new("curl").args(["-sS", "-w", format, "-o", "-"]).args(arguments).output().unwrap();
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[tokio::test]
async fn the_path_or_the_host_names_the_service() {
    let routing = Routing::start().await;
    let edge = format!("127.0.0.1:{}", routing.example.port(EDGE));
    routing.register("audit", &[11], 1).await;
    for (host, target, expected) in [
        ("api.company.com", "/audit/health", "audit at 127.0.0.11: I am healthy!\n200  "),
        ("api.company.com:4140", "/audit/health", "audit at 127.0.0.11: I am healthy!\n200  "),
        ("api.company.com", "/audit", "audit at 127.0.0.11: GET / for api.company.com\n200  "),
        ("api.company.com", "/audit/", "audit at 127.0.0.11: GET / for api.company.com\n200  "),
        ("api.company.com", "/audit?a=/b", "audit at 127.0.0.11: GET /?a=/b for api.company.com\n200  "),
        (
            "api.company.com",
            "/audit/audit/x?a=1",
            "audit at 127.0.0.11: GET /audit/x?a=1 for api.company.com\n200  ",
        ),
        ("api.company.com", "/orders/audit", "orders at 127.0.0.12: GET /audit for api.company.com\n200  "),
        ("api.company.com", "/orders/../audit/x", "audit at 127.0.0.11: GET /x for api.company.com\n200  "),
        ("audit.company.com", "/health", "audit at 127.0.0.11: I am healthy!\n200  "),
        ("AUDIT.company.com:8080", "/health", "audit at 127.0.0.11: I am healthy!\n200  "),
        ("audit.company.com", "/audit/x", "audit at 127.0.0.11: GET /audit/x for audit.company.com\n200  "),
        ("api.company.com", "/auditx/health", "There is no such service.\n404 unknown-service "),
        ("api.company.com", "/", "There is no such service.\n404 unknown-service "),
        ("billing.company.com", "/health", "There is no such service.\n404 unknown-service "),
        ("billing.company.com", "/audit/health", "There is no such service.\n404 unknown-service "),
    ] {
        let (host, url) = (format!("host: {host}"), format!("http://{edge}{target}"));
        assert_eq!(curl(&["--path-as-is", "-H", &host, &url]), expected, "{host} {target}");
    }
}

#[tokio::test]
async fn each_failure_has_an_answer_of_its_own() {
    let routing = Routing::start().await;
    let ask = async |request: Request| marker(&routing.edge().send(&request).await);
    assert_eq!(ask(Request::get("/audix").header("host", "localhost")).await, marked(404, "unknown-service"));

    routing.register("audit", &[], 1).await;
    assert_eq!(ask(Request::get("/audit/x")).await, marked(503, "no-instance"));

    routing.register("audit", &[21], 1).await;
    assert_eq!(ask(Request::get("/audit/x")).await, marked(503, "no-answer"), "nobody is there");

    let instance = routing.instance(21);
    instance.program(|request| match request.path() {
        "/hangs" => Some(Answer::Hang),
        "/resets" => Some(Answer::Reset),
        _ => {
            let mut answer = Response::new(503);
            answer.headers.push("x-route-error", "no-instance");
            Some(Answer::Respond(answer, Duration::ZERO))
        }
    });
    assert_eq!(ask(Request::get("/audit/resets")).await, marked(503, "no-answer"));
    assert_eq!(ask(Request::get("/audit/x")).await, (503, None), "that is the service's own answer");
    for (method, tries) in [("POST", 1), ("GET", 3)] {
        let since = instance.requests().len();
        // A client has no say in it.
        let request = Request::new(method, "/audit/hangs")
            .header("x-envoy-retry-on", "5xx")
            .header("x-envoy-max-retries", "9")
            .header("x-envoy-upstream-rq-per-try-timeout-ms", "100");
        assert_eq!(ask(request).await, marked(504, "deadline"), "{method}");
        assert_eq!(instance.requests().since(since).len(), tries, "{method}");
    }
}

#[tokio::test]
async fn what_may_be_repeated_is_tried_again_and_nothing_else() {
    let routing = Routing::start().await;
    let instance = routing.instance(21);
    routing.register("audit", &[21], 1).await;
    for first in [Answer::status(500), Answer::status(503), Answer::Reset] {
        for (method, tries) in [
            ("GET", 2),
            ("HEAD", 2),
            ("OPTIONS", 2),
            ("TRACE", 2),
            ("PUT", 2),
            ("DELETE", 2),
            ("POST", 1),
            ("PATCH", 1),
        ] {
            instance.program_in_turn(
                move |request| request.method == method,
                [first.clone(), Answer::status(200)],
            );
            let since = instance.requests().len();
            let mut request = Request::new(method, "/audit/x");
            if ["PUT", "POST", "PATCH"].contains(&method) {
                request = request.body("once or twice");
            }
            let status = routing.edge().send(&request).await.status;
            assert_eq!(status == 200, tries == 2, "{method} after {first:?}: {status}");
            let requests = instance.requests().since(since);
            assert_eq!(requests.len(), tries, "{method} after {first:?}");
            assert!(requests.iter().all(|each| each.method == method && each.body == request.body));
        }
    }
    // Only what Envoy can keep: its buffer has 1 MiB.
    for (size, tries) in [(1_000_000, 2), (1_100_000, 1)] {
        instance.program_in_turn(|_| true, [Answer::status(503), Answer::status(200)]);
        let since = instance.requests().len();
        let request = Request::new("PUT", "/audit/x").body(vec![b'x'; size]);
        let status = routing.edge().send_chunked(&request, 100_000).await.status;
        assert_eq!(status, if tries == 2 { 200 } else { 503 }, "{size}");
        let requests = instance.requests().since(since);
        assert!(requests.len() == tries && requests.iter().all(|each| each.body == request.body), "{size}");
    }
}

#[tokio::test]
async fn retries_have_a_budget() {
    let routing = Routing::start().await;
    let instance = routing.instance(21);
    instance.program(|_| Some(Answer::status(503).after(Duration::from_secs(1))));
    routing.register("audit", &[21], 1).await;
    let client = routing.edge();
    let crowd =
        (0..60).map(|_| tokio::spawn(async move { client.send(&Request::get("/audit/x")).await.status }));
    for status in crowd.collect::<Vec<_>>() {
        assert_eq!(status.await.unwrap(), 503);
    }
    let retries = instance.requests().len() - 60;
    // A fifth of those under way, and again of those that are then left; without it there would be 120.
    assert!((12..=24).contains(&retries), "{retries} retries");
    assert!(routing.stat("cluster.audit.upstream_rq_retry_overflow").await >= 40);
}

#[tokio::test]
async fn an_instance_that_fails_five_times_in_a_row_rests() {
    let routing = Routing::start().await;
    let (well, ill) = (routing.instance(21), routing.instance(22));
    ill.program(|_| Some(Answer::status(500)));
    routing.register("audit", &[21, 22], 1).await;
    let ask = async || assert_eq!(routing.edge().send(&Request::get("/audit/x")).await.status, 200);
    let ejected = "cluster.audit.outlier_detection.ejections_active";
    let failed = async {
        while routing.stat(ejected).await == 0 {
            ask().await
        }
    };
    tokio::time::timeout(PATIENCE, failed).await.expect("it is ejected");
    assert_eq!(ill.requests().len(), 5);
    let since = well.requests().len();
    for _ in 0..30 {
        ask().await;
    }
    assert_eq!((ill.requests().len(), well.requests().len() - since), (5, 30));

    ill.program(|_| Some(Answer::status(200)));
    routing.wait_for_stat(ejected, |active| active == 0).await;
    let back = async {
        while ill.requests().len() == 5 {
            ask().await
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("it is asked again");
}

#[tokio::test]
async fn a_silent_name_server_changes_nothing() {
    let routing = Routing::start().await;
    let instance = routing.instance(21);
    routing.register("audit", &[21], 1).await;
    let server = std::fs::read_to_string(routing.registry.path().join("pid")).unwrap();
    let server = rustix::process::Pid::from_raw(server.trim().parse().unwrap()).unwrap();
    let before = routing.stat("cluster.audit.update_failure").await;
    rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
    routing.wait_for_stat("cluster.audit.update_failure", |failures| failures > before).await;
    assert_eq!(routing.edge().send(&Request::get("/audit/x")).await.status, 200);
    assert_eq!(instance.requests().len(), 1);
}

#[tokio::test]
async fn instances_come_and_go_under_load_and_no_request_fails() {
    let routing = Routing::start().await;
    let [first, second, third] = [21, 22, 23].map(|machine| routing.instance(machine));
    for instance in [&first, &second, &third] {
        instance.program(|_| Some(Answer::status(200).after(Duration::from_millis(10))));
    }
    routing.register("audit", &[21, 22], 1).await;

    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = ["GET", "HEAD", "PUT", "DELETE", "GET", "HEAD", "PUT", "DELETE"]
        .map(|method| {
            let (client, over, sent) = (routing.edge(), Arc::clone(&over), Arc::clone(&sent));
            tokio::spawn(async move {
                let request = Request::new(method, "/audit/x");
                // However long the rest takes, the load has an end.
                for _ in 0..5_000 {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = client.send(&request).await;
                    assert_eq!(marker(&answer), (200, None), "{method}");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .into();
    let asked = async |instance: &Upstream| {
        let since = instance.requests().len();
        assert!(instance.requests().reaches(PATIENCE, |all| all.len() > since + 20).await, "is not asked");
    };
    asked(&first).await;
    asked(&second).await;
    // One comes.
    routing.register("audit", &[21, 22, 23], 1).await;
    asked(&third).await;
    // One goes as it should: it says so, and stays until everybody knows.
    routing.register("audit", &[22, 23], 1).await;
    asked(&second).await;
    first.leave().await;
    // One is gone, requests in its hands, and nobody knows.
    second.leave().await;
    asked(&third).await;
    second.come_back();
    asked(&second).await;
    // One takes the place of all others while they leave.
    first.come_back();
    routing.register("audit", &[21], 1).await;
    second.leave().await;
    third.leave().await;
    asked(&first).await;

    over.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    let retries = routing.stat("cluster.audit.upstream_rq_retry").await;
    let sent = sent.load(Ordering::Relaxed);
    println!("{sent} requests, {retries} of them tried again");
    assert!(retries > 0 && sent > 100, "{sent} requests, {retries} retries");
}

#[tokio::test]
async fn two_hops_choose_a_machine_and_then_what_is_on_it() {
    let routing = Routing::start().await;
    let outgoing = routing.client(11, OUTGOING);
    let get = |target: &str| Request::get(target).header("host", "api.company.com");
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let answer = outgoing.send(&get("/audit/health")).await;
        assert_eq!(answer.status, 200);
        seen.insert(answer.text());
    }
    assert_eq!(seen.len(), 2, "both machines are chosen: {seen:?}");
    let answer = outgoing.send(&get("/orders/x?a=1")).await;
    assert_eq!(answer.text(), "orders at 127.0.0.12: GET /x?a=1 for api.company.com\n");
    let answer = outgoing.send(&Request::get("/health").header("host", "orders.company.com")).await;
    assert_eq!(answer.text(), "orders at 127.0.0.12: I am healthy!\n");
    let answer = outgoing.send(&get("/ordersx/health")).await;
    assert_eq!(marker(&answer), marked(404, "unknown-service"));

    // Whoever comes in is for this machine, whatever else there is.
    let incoming = routing.client(11, INCOMING);
    for _ in 0..10 {
        let answer = incoming.send(&get("/audit/health")).await;
        assert_eq!(answer.text(), "audit at 127.0.0.11: I am healthy!\n");
    }
    let answer = incoming.send(&get("/orders/health")).await;
    assert_eq!(marker(&answer), marked(503, "no-answer"));
    let answer = incoming.send(&get("/ordersx/health")).await;
    assert_eq!(marker(&answer), marked(404, "unknown-service"));

    // A machine that has no instance of its own, or is not there at all, is no matter while another has.
    routing.register("orders", &[11, 12, 31], 11).await;
    for _ in 0..20 {
        let answer = outgoing.send(&get("/orders/health")).await;
        assert_eq!(answer.text(), "orders at 127.0.0.12: I am healthy!\n");
    }

    // Between the hops the segment and the host are still there.
    let peer = Upstream::at(([127, 0, 0, 21], routing.example.port(INCOMING)).into());
    routing.register("audit", &[21], 11).await;
    assert_eq!(outgoing.send(&get("/audit/x?a=1")).await.status, 200);
    let between = peer.requests().wait_for("the request", 1, |_| true).await;
    assert_eq!(between[0].target, "/audit/x?a=1");
    assert_eq!(between[0].headers.text("host").as_deref(), Some("api.company.com"));
}
