//! What is said about routes whose requests an agent fetches.

mod support;

use std::path::Path;
use std::time::Duration;

use lockgate::config::{self, Config, Problems};
use support::{everything, variables};

const FILE: &str = r"
version: 1
listen: 127.0.0.1:8080
public_url: https://app.example.com
sign_in:
  tokens: {jwt: [{issuer: https://accounts.google.com, audiences: [https://app.example.com]}]}
routes:
  - name: agent
    match: {path_prefix: /agent}
    guard: oidc
    allow: [{emails: [agent@my-project.iam.gserviceaccount.com]}]
    invert: {agent_of: [reports]}
  - name: reports
    match: {path_prefix: /}
    guard: public
    invert: {backend: reports}
";

fn parse(text: &str) -> Result<Config, Problems> {
    config::parse(text, Path::new("."), &variables(&[]))
}

#[test]
fn a_service_that_an_agent_stands_beside_needs_no_address() {
    let config = parse(FILE).unwrap();
    assert!(config.upstream.url.is_none() && config.inverts());
    assert!(config.connection_buffer() > 8 << 20);
    let closed = config::parse(config::SHIPPED, Path::new("."), &everything()).unwrap();
    assert!(!closed.inverts() && closed.connection_buffer() < 8 << 20);
}

#[test]
fn a_statement_for_no_upstream_says_for_whom_it_is() {
    let text =
        FILE.replacen("sign_in:", "sign_in:\n  assertion: {key: {sm: projects/p/secrets/s/versions/1}}", 1);
    let said = parse(&text).map(drop).unwrap_err().to_string();
    assert!(said.contains("sign_in.assertion.audience: is missing"), "{said}");
}

#[test]
fn each_bad_line_is_named_by_its_place() {
    for (line, instead, expected) in [
        (
            "{backend: reports}",
            "{backend: other}",
            "routes[1].invert.backend: given \"other\", expected a backend that",
        ),
        ("{backend: reports}", "{backend: a b}", "routes[1].invert.backend: given \"a b\", expected letters"),
        ("{backend: reports}", "{}", "routes[1].invert: expected backend"),
        ("{agent_of: [reports]}", "{agent_of: []}", "routes[0].invert: expected backend"),
        ("{agent_of: [reports]}", "{agent_of: [reports], fetch: 1s}", "routes[0].invert: expected backend"),
        ("{backend: reports}", "{backend: reports, agent_of: reports}", "routes[1].invert: expected backend"),
        (
            "{backend: reports}",
            "{backend: reports, fetch: 6m}",
            "routes[1].invert.fetch: given \"360s\", expected between 0.1s and 300s",
        ),
        (
            "{backend: reports}",
            "{backend: reports, response: 1h}",
            "routes[1].invert.response: given \"3600s\", expected between",
        ),
        (
            "{agent_of: [reports]}",
            "{agent_of: [reports], session_cookie: a}",
            "routes[0].invert: expected backend",
        ),
        (
            "{backend: reports}",
            "{backend: reports, session_cookie: a.b}",
            "routes[1].invert.session_cookie: given \"a.b\", expected at most 64 letters",
        ),
        (
            "{backend: reports}",
            "{backend: reports, session_cookie: __Host-a}",
            "routes[1].invert.session_cookie: given \"__Host-a\", expected at most",
        ),
        (
            "{backend: reports}",
            "{backend: reports, session_cookie: lockgate-login-abcdef}",
            "routes[1].invert.session_cookie: given \"lockgate-login-abcdef\", expected at most",
        ),
        (
            "    allow: [{emails: [agent@my-project.iam.gserviceaccount.com]}]\n",
            "",
            "routes[0].invert: expected guard: oidc and allow beside agent_of",
        ),
        (
            "guard: public",
            "guard: public\n    adapter: plain",
            "routes[1].invert: expected neither enqueue nor adapter",
        ),
        ("guard: public", "guard: slack", "routes[1].invert: expected only beside guard: oidc or public"),
        (
            "sign_in:\n  tokens: {jwt: [{issuer: https://accounts.google.com, audiences: [https://app.example.com]}]}\n",
            "",
            "routes[0].invert: needs sign_in, by which the agent is known",
        ),
        (
            "routes:",
            "limits: {response: 17MiB}\nroutes:",
            "limits.response: given \"17825792 bytes\", expected at most a sixteenth of limits.heap",
        ),
        (
            "routes:",
            "mesh: {namespace: a, workload: {app: a}, proxy: sidecar, images: oci://a/b}\nroutes:",
            "routes[0].invert: expected none beside mesh",
        ),
    ] {
        assert!(FILE.contains(line), "{line}");
        let said = parse(&FILE.replacen(line, instead, 1)).map(drop).unwrap_err().to_string();
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_session_cookie_has_one_kind_of_guard_and_a_scheme() {
    const SESSION: &str = "{backend: reports, session_cookie: a}";
    let with = |more: &str| parse(&[&FILE.replacen("{backend: reports}", SESSION, 1), more].concat());
    let config = with("").unwrap();
    assert_eq!(config.inverted().next().unwrap().session_cookie.as_deref(), Some("a"));
    let route = |guard: &str| {
        format!(
            "  - {{name: other, match: {{path_prefix: /other}}, guard: {guard}, \
             invert: {{backend: reports, session_cookie: a}}}}\n"
        )
    };
    with(&route("public")).unwrap();
    let guarded = "oidc, allow: [{emails: [eva@example.com]}]";
    let said = with(&route(guarded)).map(drop).unwrap_err().to_string();
    assert!(said.contains("routes[2].invert.session_cookie: given \"a\", expected a name that"), "{said}");

    let nowhere = FILE.replacen("public_url: https://app.example.com\n", "", 1);
    parse(&nowhere).unwrap();
    let said = parse(&nowhere.replacen("{backend: reports}", SESSION, 1)).map(drop).unwrap_err().to_string();
    assert!(said.contains("public_url: is missing, and says whether the cookie of routes[1]"), "{said}");
}

#[test]
fn a_service_with_an_address_is_still_asked_for_one() {
    let without = FILE.replacen("    invert: {backend: reports}\n", "", 1);
    let said = parse(&without).map(drop).unwrap_err().to_string();
    assert!(said.contains("upstream.url: is missing"), "{said}");
}

/// Beside what is above: a personal and a shared backend, and who chooses, serves and changes them.
const REGISTERED: &str = r"
inverting_proxy:
  backends:
    - {id: evas, end_user: eva@example.com, backend_user: agent@example.com, path_prefixes: [/], health: {path: /health}}
    - {id: shared, end_user: allUsers, backend_user: agent@example.com, path_prefixes: [/a, /b]}
    - {id: reports, health: {path: /, interval: 30s, unhealthy_after: 3}}
";

const ROUTES: &str = r"routes:
  - name: choose
    match: {path_prefix: /chosen}
    guard: oidc
    invert: {choose: by_user, fetch: 5s}
  - name: registered
    match: {path_prefix: /registered/agent}
    guard: oidc
    allow: [{emails: [agent@example.com]}]
    invert: {agents: registered}
  - name: administrators
    match: {path_prefix: /api/backends}
    guard: oidc
    allow: [{emails: [alice@example.com]}]
    invert: {admin: true}
";

fn registered() -> String {
    // Who may choose is for the policy of the file.
    let file = FILE.replacen("sign_in:", "sign_in:\n  policies: [{effect: allow, anyone: true}]", 1);
    [&file.replacen("routes:\n", ROUTES, 1), REGISTERED].concat()
}

#[test]
fn backends_have_users_and_health() {
    let config = parse(&registered()).unwrap();
    assert_eq!(config.backends.len(), 3);
    assert_eq!(config.backends[0].health.as_ref().unwrap().interval, Duration::from_secs(10));
    assert!(config.backends[2].terms.is_none());
    assert_eq!(config.inverted().count(), 2);
}

#[test]
fn each_bad_line_about_registered_backends_is_named_by_its_place() {
    for (line, instead, expected) in [
        (
            "{agents: registered}",
            "{agents: all}",
            "routes[1].invert.agents: given \"all\", expected registered",
        ),
        (
            "{choose: by_user,",
            "{choose: by_path,",
            "routes[0].invert.choose: given \"by_path\", expected by_user",
        ),
        ("{admin: true}", "{admin: false}", "routes[2].invert: expected backend or choose"),
        ("{admin: true}", "{admin: true, backend: a}", "routes[2].invert: expected backend or choose"),
        (
            "{admin: true}",
            "{admin: true}\n    cors: {origins: [https://a.b]}",
            "routes[2].cors: expected none",
        ),
        (
            "{agents: registered}",
            "{agents: registered, fetch: 1s}",
            "routes[1].invert: expected backend or choose",
        ),
        (
            "    allow: [{emails: [alice@example.com]}]\n",
            "",
            "routes[2].invert: expected guard: oidc and allow beside admin",
        ),
        (
            "    allow: [{emails: [agent@example.com]}]\n",
            "",
            "routes[1].invert: expected guard: oidc and allow beside agents",
        ),
        (
            "guard: oidc\n    invert: {choose",
            "guard: public\n    invert: {choose",
            "routes[0].invert: expected guard: oidc beside choose",
        ),
        (
            "{agents: registered}",
            "{agent_of: [x]}",
            "routes[0].invert.choose: given \"by_user\", expected a route for registered agents",
        ),
        (
            "{agents: registered}",
            "{agent_of: [x]}",
            "routes[2].invert.admin: given \"true\", expected a route",
        ),
        (
            "{agents: registered}",
            "{agent_of: [x]}",
            "inverting_proxy.backends[0].backend_user: given \"agent@example.com\", expected a route for",
        ),
        ("{id: evas, ", "{", "inverting_proxy.backends[0].id: is missing"),
        ("id: evas", "id: e/vas", "inverting_proxy.backends[0].id: given \"e/vas\", expected letters"),
        ("id: evas", "id: shared", "inverting_proxy.backends[1].id: given \"shared\", expected each id once"),
        (
            "id: evas",
            "id: reports",
            "inverting_proxy.backends[2].id: given \"reports\", expected each id once",
        ),
        (
            "{id: reports, ",
            "{id: reports, end_user: allUsers, backend_user: a@b.c, path_prefixes: [/], ",
            "inverting_proxy.backends[2].backend_user: given \"a@b.c\", expected none for a backend",
        ),
        (
            "id: reports, h",
            "id: others, h",
            "inverting_proxy.backends[2].id: given \"others\", expected a backend",
        ),
        ("end_user: eva@example.com, ", "", "inverting_proxy.backends[0].end_user: is missing"),
        ("eva@example.com", "eva", "inverting_proxy.backends[0].end_user: given \"eva\", expected an e-mail"),
        (
            "allUsers, backend_user: agent@example.com",
            "allUsers, backend_user: allUsers",
            "inverting_proxy.backends[1].backend_user: given \"allUsers\", expected the e-mail",
        ),
        ("[/a, /b]", "[/a, /b/]", "inverting_proxy.backends[1].path_prefixes: given \"/b/\", expected whole"),
        ("[/a, /b]", "[]", "inverting_proxy.backends[1].path_prefixes: given \"\", expected 1 to 32"),
        ("{path: /health}", "{path: health}", "inverting_proxy.backends[0].health.path: given \"health\""),
        ("{path: /health}", "{}", "inverting_proxy.backends[0].health.path: is missing"),
        ("interval: 30s", "interval: 0.5s", "inverting_proxy.backends[2].health.interval: given \"0.5s\""),
        (
            "unhealthy_after: 3",
            "unhealthy_after: 0",
            "inverting_proxy.backends[2].health.unhealthy_after: given",
        ),
        ("unhealthy_after: 3", "after: 3", "inverting_proxy.backends[2].health.after"),
    ] {
        let file = registered();
        assert!(file.contains(line), "{line}");
        let said = parse(&file.replacen(line, instead, 1)).map(drop).unwrap_err().to_string();
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_route_may_lead_to_a_registered_backend() {
    let file = registered().replacen("{backend: reports}", "{backend: evas}", 1);
    assert!(parse(&file).is_ok());
}
