//! A line that is forgotten in Envoy's configuration opens nothing behind the door either: who was kept
//! out before is kept out without it.

use lockgate_e2e::door::{add_log, door_config, door_stack};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::stack::{LOG_KEY, SLACK_SECRET};
use lockgate_e2e::{Envelope, Request, Stack, push_request, slack};
use serde_json::json;

#[path = "forgotten_lines/rendered.rs"]
mod rendered;

use rendered::Rendered;

const PAGE: &str = "https://page.example.com";

/// Every kind of route that a configuration with a door can have.
fn config(issuer: &HostileProvider) -> String {
    door_config(issuer.issuer(), |config| {
        let cors = json!({"origins": [PAGE], "credentials": true});
        let enqueue = json!({"reply": "accepted"});
        config["sign_in"]["tokens"] = json!({"jwt": [{"issuer": issuer.issuer(), "audiences": ["api"]}]});
        config["routes"] = json!([
            {"name": "slack", "match": {"path": "/slack/command"}, "guard": "slack", "enqueue": enqueue},
            {"name": "slack-on", "match": {"path": "/slack/on"}, "guard": "slack"},
            {"name": "hooks", "match": {"path_prefix": "/hooks"}, "guard": "public", "enqueue": enqueue},
            {"name": "form", "match": {"path_prefix": "/form"}, "guard": "oidc", "adapter": "plain"},
            {"name": "form-log", "match": {"path_prefix": "/form-log"}, "guard": "oidc", "adapter": "plain",
             "enqueue": enqueue},
            {"name": "form-open", "match": {"path_prefix": "/form-open"}, "guard": "public", "adapter": "plain"},
            {"name": "api", "match": {"path_prefix": "/api", "methods": ["GET", "POST"]}, "guard": "oidc", "cors": cors},
            {"name": "cors", "match": {"path_prefix": "/cors"}, "guard": "oidc", "cors": cors},
            {"name": "public", "match": {"path_prefix": "/public"}, "guard": "public", "cors": cors},
            {"name": "admin", "match": {"path_prefix": "/admin"}, "guard": "oidc", "allow": [{"groups": ["admins"]}]},
            {"name": "rest", "match": {"path_prefix": "/"}, "guard": "oidc"},
        ]);
        add_log(config);
        config["log"]["restored"] = json!([{"match": {"path_prefix": "/restored"}, "adapter": "plain"}]);
    })
}

/// What a request shows of who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// All that its route asks for.
    Known,
    /// Nothing, or something forged.
    Nobody,
}

use Sender::{Known, Nobody};

struct Probes {
    stack: Stack,
    issuer: HostileProvider,
}

impl Probes {
    /// A request that a line of the table is there for, with a marker in it.
    fn request(&self, route: &str, sender: Sender, marker: &str) -> Request {
        let secret = if sender == Known { SLACK_SECRET } else { "another secret" };
        let token = |request: Request| {
            let token = self.issuer.mint_access_token("api", "program").claim("groups", json!(["admins"]));
            match sender {
                Known => request.header("authorization", format!("Bearer {}", token.compact())),
                Nobody => request,
            }
        };
        let text = |path: &str| token(Request::post(path, "text/plain", marker));
        let form = |path: &str| token(slack::form(path, &[("a", marker)]));
        let preflight = |path: &str| {
            let request = Request::new("OPTIONS", &format!("{path}?{marker}"));
            let origin = if sender == Known { PAGE } else { "https://evil.example.com" };
            // Of another origin, and not even a preflight: that one would be answered, with nothing.
            let asked = if sender == Known { "POST" } else { "DELETE" };
            request.header("origin", origin).header("access-control-request-method", asked)
        };
        match route {
            "slack" => slack::signed(slack::command("/slack/command", marker), secret),
            "slack-on" => slack::signed(slack::command("/slack/on", marker), secret),
            "hooks" => text("/hooks/x"),
            "form" => form("/form/x"),
            "form-log" => form("/form-log/x"),
            "form-open" => form("/form-open/x"),
            "api" => token(Request::get(&format!("/api/x?{marker}")).header("origin", PAGE)),
            "api-preflight" => preflight("/api/x"),
            "cors" => text("/cors/x"),
            "public" => text("/public/x"),
            "admin" => text("/admin/x"),
            "wal" => text("/wal/x"),
            "rest" => text("/elsewhere"),
            "wal-playback" => {
                let envelope = Envelope::new(marker, "POST", "/restored/x");
                let envelope = envelope.header("content-type", "application/x-www-form-urlencoded");
                let data = envelope.body(format!("a={marker}")).sealed(LOG_KEY);
                let push = push_request(&data, json!({}));
                let token = match sender {
                    Known => self.stack.tokens().push(),
                    Nobody => {
                        self.stack.tokens().push_with(|claims| claims["email"] = json!("x@example.com"))
                    }
                };
                push.header("authorization", format!("Bearer {token}"))
            }
            "back-channel-logout" => {
                let logout = self.issuer.mint_logout_token(Some(marker), None);
                let logout = if sender == Known { logout } else { logout.claim("aud", json!("another")) };
                slack::form("/_lockgate/back-channel-logout", &[("logout_token", &logout.compact())])
            }
            "lockgate" => Request::get(&format!("/_lockgate/userinfo?{marker}")),
            "health" => Request::get(&format!("/health?{marker}")),
            "lockgate-health" => Request::get(&format!("/_lockgate/health?{marker}")),
            "path-parameters" => Request::get(&format!("/public/..;/x?{marker}")),
            "ready-asked" => Request::get("/_lockgate/ready"),
            other => panic!("no probe for the route {other}"),
        }
    }

    /// Sends it; whether it was refused, and what became of it if not, or not wholly.
    async fn refused(&self, route: &str, sender: Sender, marker: &str) -> Result<(), String> {
        let status = match route {
            "ready-asked" => self.stack.ready_soon().await,
            _ => self.stack.client().send(&self.request(route, sender, marker)).await.status,
        };
        let reached = self.stack.upstream().requests().matching(|request| request.contains(marker));
        let stored = self.stack.stored(marker);
        match status >= 400 && reached.is_empty() && stored.is_empty() {
            true => Ok(()),
            false => Err(format!("{route} by {sender:?}: {}; {reached:?}; {stored:?}", status)),
        }
    }
}

/// Lines that let nobody in who is not known.
const GUARDED: [&str; 14] = [
    "slack",
    "slack-on",
    "form",
    "form-log",
    "api",
    "api-preflight",
    "cors",
    "admin",
    "wal",
    "rest",
    "wal-playback",
    "back-channel-logout",
    "lockgate",
    "path-parameters",
];

#[tokio::test]
async fn each_deleted_entry_keeps_out_whom_the_door_kept_out() {
    let issuer = HostileProvider::start();
    let stack = door_stack(&config(&issuer)).start().await;
    let probes = Probes { stack, issuer };
    let stack = &probes.stack;
    stack.kill_gateway();
    let rendered = Rendered::of(stack).await;
    let entries = rendered.entries();
    assert!(entries.len() > 20, "{entries:?}");

    let control = rendered.start(stack).await;
    for entry in &entries {
        let known = probes.request(&entry.route, Known, "control");
        let status = match &*entry.route {
            "ready-asked" => stack.ready_soon().await,
            _ => stack.client().send(&known).await.status,
        };
        assert!(status < 300 || entry.route == "path-parameters", "{entry}: {status}");
    }
    for route in GUARDED {
        let marker = format!("kept-out-of-{route}-");
        assert_eq!(probes.refused(route, Nobody, &marker).await, Ok(()));
    }
    drop(control);

    let mut opened = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let envoy = rendered.without(entry).start(stack).await;
        for route in GUARDED {
            let marker = format!("nobody-{number}-at-{route}-");
            let refused = probes.refused(route, Nobody, &marker).await;
            opened.extend(refused.err().map(|what| format!("{entry}: {what}")));
        }
        // Its own line is closed for everybody; only what CORS adds is an answer's header and no more.
        let adds_headers = entry.filter == "envoy.filters.http.cors" && !entry.route.ends_with("-preflight");
        if !adds_headers {
            let refused = probes.refused(&entry.route, Known, &format!("known-{number}-")).await;
            opened.extend(refused.err().map(|what| format!("{entry}: {what}")));
        }
        drop(envoy);
    }
    assert!(opened.is_empty(), "{opened:#?}");
}
