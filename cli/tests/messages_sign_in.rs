//! What is said about a sign-in group that cannot be used, and what a group is that can.

mod support;

use std::path::Path;

use lockgate::config::{self, Config, Environment};
use support::{MARKERS, everything, variables};

/// The shipped configuration with one line changed.
fn changed(line: &str, instead: &str) -> String {
    assert!(config::SHIPPED.contains(line), "{line}");
    config::SHIPPED.replacen(line, instead, 1)
}

fn parse(text: &str, environment: &Environment) -> Result<Config, String> {
    config::parse(text, Path::new("."), environment).map_err(|problems| problems.to_string())
}

fn said(text: &str, environment: &Environment) -> String {
    let said = parse(text, environment).err().unwrap_or_default();
    assert!(MARKERS.iter().all(|marker| !said.contains(marker)), "{said}");
    said
}

fn with(pairs: &[(&str, &str)]) -> Environment {
    let mut environment = everything();
    environment.extend(variables(pairs));
    environment
}

fn without(names: &[&str]) -> Environment {
    let mut environment = everything();
    environment.retain(|name, _| !names.contains(&name.as_str()));
    environment
}

/// Only these variables of the group, beside those of the others.
fn only(names: &[&str]) -> Environment {
    let group = [
        "OIDC_ISSUER",
        "OIDC_CLIENT_ID",
        "OIDC_CLIENT_SECRET",
        "COOKIE_SECRET",
        "ASSERTION_KEY",
        "ALLOWED_EMAIL_DOMAINS",
        "ALLOWED_SERVICE_ACCOUNTS",
        "GOOGLE_CLIENT_IDS",
    ];
    let mut environment = everything();
    environment.retain(|name, _| !group.contains(&name.as_str()) || names.contains(&name.as_str()));
    environment
}

/// A small file with this group, and one route behind the door.
fn file(sign_in: &str, route: &str) -> String {
    format!(
        "version: 1\nlisten: 127.0.0.1:8080\npublic_url: https://app.example.com\n\
         upstream: {{url: https://service.example.com}}\nsign_in:\n{sign_in}\n\
         routes:\n  - {{name: x, match: {{path_prefix: /x}}, guard: oidc{route}}}\n"
    )
}

const COMPANY: &str = "  cookie_secret: {env: COOKIE_SECRET}
  providers: [{name: company, issuer: 'https://login.example.com', client_id: lockgate}]
";

#[test]
fn a_group_of_which_nothing_is_set_is_left_out_and_the_door_stays_closed() {
    let config = parse(config::SHIPPED, &only(&[])).unwrap();
    assert!(config.sign_in.is_none());
    assert!(config.variables().iter().all(|name| ["LOG_KEY", "SLACK_SIGNING_SECRET"].contains(name)));
}

#[test]
fn what_is_missing_of_the_group_is_named_with_an_example() {
    for (given, expected) in [
        (
            &["OIDC_ISSUER"][..],
            &[
                "sign_in: is partly set; missing: OIDC_CLIENT_ID (the id that",
                "OIDC_CLIENT_SECRET (a public client has no client_secret",
                "COOKIE_SECRET (for example COOKIE_SECRET=$(openssl rand -base64 32))",
                "ALLOWED_EMAIL_DOMAINS (for example ALLOWED_EMAIL_DOMAINS=example.com)",
            ][..],
        ),
        (&["COOKIE_SECRET"], &["missing: OIDC_ISSUER (for example OIDC_ISSUER=https://login.example.com)"]),
        (&["ALLOWED_EMAIL_DOMAINS"], &["missing: OIDC_ISSUER", "COOKIE_SECRET"]),
        (&["ASSERTION_KEY"], &["missing: OIDC_ISSUER", "ALLOWED_EMAIL_DOMAINS"]),
        (&["GOOGLE_CLIENT_IDS"], &["missing: ALLOWED_EMAIL_DOMAINS"]),
    ] {
        let said = said(config::SHIPPED, &only(given));
        assert!(expected.iter().all(|expected| said.contains(expected)), "{given:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(given.iter().all(|given| !said.contains(&format!("{given} ("))), "{given:?}: {said}");
    }
    let no_address = said(config::SHIPPED, &without(&["PUBLIC_URL"]));
    assert!(
        no_address.contains("PUBLIC_URL (for example PUBLIC_URL=https://app.example.com)"),
        "{no_address}"
    );
    let wrong = said(config::SHIPPED, &with(&[("PUBLIC_URL", "http://app.example.com")]));
    assert!(wrong.starts_with("public_url: given") && wrong.lines().count() == 1, "{wrong}");
    let mut programs = only(&["ALLOWED_SERVICE_ACCOUNTS"]);
    programs.remove("PUBLIC_URL");
    let said = said(config::SHIPPED, &programs);
    assert!(said.contains("sign_in.tokens.jwt[0].audiences: is missing, and so is"), "{said}");
    assert!(said.contains("PUBLIC_URL=https://app.example.com"), "{said}");
}

#[test]
fn programs_alone_need_neither_a_provider_nor_a_cookie_nor_an_address() {
    let mut environment = only(&["GOOGLE_CLIENT_IDS", "ALLOWED_EMAIL_DOMAINS"]);
    environment.remove("PUBLIC_URL");
    let sign_in = parse(config::SHIPPED, &environment).unwrap().sign_in.unwrap();
    assert!(sign_in.login.is_none() && sign_in.tokens.unwrap().jwt.is_empty());
}

#[test]
fn a_group_that_has_no_variables_is_always_meant() {
    let said = said(&file("  policies: [{effect: allow, anyone: true}]", ""), &Environment::new());
    assert!(said.contains("missing: sign_in.providers (for example [{name: company"), "{said}");
    assert!(said.contains("COOKIE_SECRET=$(openssl"), "{said}");
}

#[test]
fn a_secret_that_is_none_is_found_before_the_start_and_never_shown() {
    for (name, value) in [
        ("COOKIE_SECRET", "c2hvcnQ="),
        ("COOKIE_SECRET", "not base64, not at all"),
        ("COOKIE_SECRET", "sm://elsewhere"),
        ("COOKIE_SECRET", "Y29va2llLW1hcmtlci1jb29raWUtbWFya2VyLTEyMzQ=,"),
        ("ASSERTION_KEY", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
        ("ASSERTION_KEY", "hush"),
    ] {
        let said = said(config::SHIPPED, &with(&[(name, value)]));
        assert!(said.contains(&format!("{name} is not ")), "{value}: {said}");
        assert!(said.contains(&format!("{name}=$(openssl ")), "{said}");
        assert!(!said.contains(value), "{said}");
    }
    let two = format!("{0}, {0}", MARKERS[2]);
    let elsewhere = "sm://projects/p/secrets/s/versions/latest";
    for (name, value) in
        [("COOKIE_SECRET", two.as_str()), ("COOKIE_SECRET", elsewhere), ("ASSERTION_KEY", elsewhere)]
    {
        assert_eq!(said(config::SHIPPED, &with(&[(name, value)])), "");
    }
    let key = everything()["ASSERTION_KEY"].clone();
    let two = format!("{key}\n{key}");
    assert_eq!(said(config::SHIPPED, &with(&[("ASSERTION_KEY", &two)])), "");
}

#[test]
fn each_bad_variable_is_named_with_what_was_given_and_what_would_do() {
    for (name, value, expected) in [
        (
            "OIDC_ISSUER",
            "http://login.example.com",
            "sign_in.providers[0].issuer: given \"http://login.example.com\", expected the issuer exactly as",
        ),
        ("OIDC_ISSUER", "https://login.example.com?x=1", "issuer: given \"https://login.example.com?x=1\""),
        ("OIDC_ISSUER", "https://login.example.com/#x", "issuer: given"),
        ("OIDC_ISSUER", "login.example.com", "issuer: given \"login.example.com\""),
        ("TOKEN_ISSUER", "http://10.0.0.1", "sign_in.tokens.jwt[0].issuer: given \"http://10.0.0.1\""),
        (
            "ALLOWED_EMAIL_DOMAINS",
            "alice@example.com",
            "sign_in.policies[0].domains: given \"alice@example.com\", expected domains in lower case",
        ),
        ("ALLOWED_EMAIL_DOMAINS", "Example.com", "domains: given \"Example.com\""),
        ("ALLOWED_EMAIL_DOMAINS", "localhost", "domains: given \"localhost\""),
        ("ALLOWED_EMAIL_DOMAINS", "*.example.com", "domains: given \"*.example.com\""),
        ("ALLOWED_EMAIL_DOMAINS", "*,example.com", "domains: expected * alone"),
        ("ALLOWED_EMAIL_DOMAINS", ",", "sign_in.policies[0].domains: is empty"),
        ("ALLOWED_SERVICE_ACCOUNTS", "job", "sign_in.policies[1].emails: given \"job\""),
        ("TOKEN_ISSUER", "https://login.example.com/", ""),
    ] {
        let said = said(config::SHIPPED, &with(&[(name, value)]));
        assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{name}={value}: {said}");
    }
}

#[test]
fn each_bad_line_of_the_group_is_named_by_its_place() {
    let providers = "      client_id: ${OIDC_CLIENT_ID}\n";
    for (line, instead, expected) in [
        (
            "name: login",
            "name: Login",
            "sign_in.providers[0].name: given \"Login\", expected lower-case letters",
        ),
        (providers, "      client_id: [x]\n", "sign_in.providers[0].client_id: invalid type: sequence"),
        (
            providers,
            "      client_id: x\n      scopes: [email]\n",
            "providers[0].scopes: given \"email\", expected openid among them",
        ),
        (
            providers,
            "      client_id: x\n      scopes: openid email\n",
            "providers[0].scopes: given \"openid email\", expected a list",
        ),
        (
            providers,
            "      client_id: x\n      algorithms: [none]\n",
            "providers[0].algorithms: given \"none\", expected what a proxy can verify",
        ),
        (
            providers,
            "      client_id: x\n      parameters: {state: x}\n",
            "providers[0].parameters.state: is set by the door itself",
        ),
        (
            providers,
            "      client_id: x\n      trust_email: perhaps\n",
            "providers[0].trust_email: given \"perhaps\", expected true or false",
        ),
        (
            providers,
            "      client_id: x\n    - {name: login, issuer: 'https://b.example.com', client_id: y}\n    - name: c\n      issuer: ${OIDC_ISSUER}\n      client_id: z\n",
            "providers[1].name: given \"login\", expected a name that no other provider has",
        ),
        (
            "  assertion:\n",
            "  session: {idle: 13h}\n  assertion:\n",
            "sign_in.session.idle: given \"46800s\", expected between 1m and sign_in.session.lifetime",
        ),
        (
            "  assertion:\n",
            "  session: {idle: 1h, lifetime: 30s}\n  assertion:\n",
            "sign_in.session.lifetime: given \"30s\", expected between 1m and 168h",
        ),
        (
            "    key: {env: ASSERTION_KEY}",
            "    key: {env: ASSERTION_KEY}\n    lifetime: 2h",
            "sign_in.assertion.lifetime: given \"7200s\", expected between 30s and 1h",
        ),
        (
            "    google: {client_ids: \"${GOOGLE_CLIENT_IDS}\"}",
            "    google: {client_ids: x, cache: 2h}",
            "sign_in.tokens.google.cache: given \"7200s\", expected whole seconds from 1s to 1h",
        ),
        (
            "    google: {client_ids: \"${GOOGLE_CLIENT_IDS}\"}",
            "    google: {client_ids: []}",
            "sign_in.tokens.google.client_ids: is empty",
        ),
        (
            "    google: {client_ids: \"${GOOGLE_CLIENT_IDS}\"}",
            "    google: {client_ids: x, tokeninfo: 'http://example.com'}",
            "sign_in.tokens.google.tokeninfo: given \"http://example.com\"",
        ),
        (
            "        claims: {email: \"${ALLOWED_SERVICE_ACCOUNTS}\"}\n",
            "        claims: {}\n",
            "sign_in.tokens.jwt[0].claims: is empty",
        ),
        (
            "        jwks_uri: ${TOKEN_JWKS_URI}\n",
            "        jwks_uri: http://example.com/keys\n",
            "sign_in.tokens.jwt[0].jwks_uri: given \"http://example.com/keys\"",
        ),
        (
            "        claims: {email: \"${ALLOWED_SERVICE_ACCOUNTS}\"}\n",
            "        audiences: [lockgate]\n",
            "sign_in.tokens.jwt: given \"lockgate\", expected an audience of your own: this is the client_id of a login",
        ),
        (
            "        claims: {email: \"${ALLOWED_SERVICE_ACCOUNTS}\"}\n",
            "        audiences: ['https://app.example.com/wal-playback']\n",
            "expected another audience than log.push.audience",
        ),
        (
            "        claims: {email: \"${ALLOWED_SERVICE_ACCOUNTS}\"}\n",
            "      - {issuer: 'https://accounts.google.com'}\n",
            "sign_in.tokens.jwt: given \"https://accounts.google.com\", expected each issuer once",
        ),
        (
            "        claims: {email: \"${ALLOWED_SERVICE_ACCOUNTS}\"}\n",
            "        audience_claim: client_id\n",
            "sign_in.tokens.jwt[0].audiences: is missing; expected the clients",
        ),
    ] {
        let said = said(&changed(line, instead), &everything());
        assert!(said.contains(expected), "{instead}: {said}");
    }
}

#[test]
fn a_client_id_may_be_an_audience_where_id_tokens_do_not_name_it() {
    let tokens =
        "      - {issuer: 'https://pool.example.com', audience_claim: client_id, audiences: [lockgate]}\n";
    let claims = "        claims: {email: \"${ALLOWED_SERVICE_ACCOUNTS}\"}\n";
    assert_eq!(said(&changed(claims, &format!("{claims}{tokens}")), &everything()), "");
}

#[test]
fn sign_ins_are_told_where_people_sign_in_on_a_topic_of_their_own() {
    let with_events =
        |events: &str| changed("  assertion:\n", &format!("  events: {events}\n  assertion:\n"));
    let topic = |text: &str, environment: &Environment| {
        parse(text, environment).unwrap().sign_in.unwrap().event_topic().map(str::to_owned)
    };
    let own = "projects/p/topics/sign-ins";
    let variable = with_events("{topic: '${EVENTS}'}");
    assert_eq!(topic(&variable, &with(&[("EVENTS", own)])).as_deref(), Some(own));
    assert_eq!(topic(&variable, &everything()), None);
    let programs = only(&["GOOGLE_CLIENT_IDS", "ALLOWED_EMAIL_DOMAINS"]);
    assert_eq!(topic(&variable, &programs), None);
    for (events, environment, expected) in [
        ("{}", everything(), "sign_in.events.topic: is missing; expected, for example, projects/"),
        (
            "{topic: sign-ins}",
            everything(),
            "sign_in.events.topic: given \"sign-ins\", expected a topic's full",
        ),
        ("{queue: x}", everything(), "sign_in.events.queue: unknown field `queue`"),
        ("{topic: projects/p/topics/lockgate}", everything(), "expected a topic of its own"),
        ("{topic: projects/p/topics/lockgate-dead}", everything(), "expected a topic of its own"),
        ("{topic: projects/p/topics/sign-ins}", programs, "missing: OIDC_ISSUER"),
    ] {
        let said = said(&with_events(events), &environment);
        assert!(said.contains(expected), "{events}: {said}");
    }
}

#[test]
fn an_issuer_is_taken_exactly_as_it_was_written() {
    for issuer in
        ["https://login.example.com/", "https://Login.example.com:443/realms/A", "http://localhost:9400"]
    {
        let config = parse(config::SHIPPED, &with(&[("OIDC_ISSUER", issuer)])).unwrap();
        let login = config.sign_in.unwrap().login.unwrap();
        assert_eq!(login.providers[0].issuer, issuer);
    }
}

#[test]
fn an_introspection_needs_a_client() {
    let introspection = |fields: &str| {
        let group = format!(
            "  tokens: {{introspection: {{{fields}}}}}\n  policies: [{{effect: allow, anyone: true}}]"
        );
        said(&file(&group, ""), &variables(&[("SECRET", "x")]))
    };
    let whole = "endpoint: 'https://h.example.com/introspect', client_id: a, client_secret: {env: SECRET}";
    assert_eq!(introspection(whole), "");
    for (fields, expected) in [
        (
            "endpoint: 'https://h.example.com/introspect'",
            "sign_in.tokens.introspection.client_id: is missing",
        ),
        ("client_id: a", "sign_in.tokens.introspection.endpoint: is missing"),
        ("endpoint: 'http://h.example.com', client_id: a, client_secret: {env: SECRET}", "endpoint: given"),
        (&format!("{whole}, scopes: [a]"), "introspection.scopes: expected only beside token_endpoint"),
        (&format!("{whole}, token_endpoint: 'http://h.example.com'"), "introspection.token_endpoint: given"),
        (
            "endpoint: 'https://h.example.com', client_id: a, client_secret: {env: OTHER}",
            "client_secret: is missing",
        ),
    ] {
        let said = introspection(fields);
        assert!(said.contains(expected), "{fields}: {said}");
    }
}

#[test]
fn nobody_and_everybody_are_let_in_only_where_it_is_said() {
    let policies = |policies: &str, route: &str| {
        said(
            &file(&format!("{COMPANY}  policies: {policies}"), route),
            &variables(&[("COOKIE_SECRET", MARKERS[2])]),
        )
    };
    for (good, route) in [
        ("[{effect: allow, anyone: true}]", ""),
        ("[{effect: allow, domains: '*'}]", ""),
        ("[]", ", allow: [{groups: [admins]}]"),
        ("[]", ", allow: [{emails: [Alice@example.com]}]"),
        ("[{effect: allow, anyone: true}, {effect: deny, anyone: true, actions: [write]}]", ""),
        (
            "[{effect: allow, anyone: true}, {effect: deny, emails: '${UNSET}'}]",
            ", deny: [{emails: '${UNSET}'}]",
        ),
        ("[{effect: allow, claims: {hd: example.com, /a/b: [c]}, scopes: [a, b], subjects: [s]}]", ""),
        ("[{effect: allow, issuers: ['https://login.example.com'], groups: [a]}]", ""),
    ] {
        assert_eq!(policies(good, route), "", "{good}{route}");
    }
    for (bad, route, expected) in [
        ("[]", "", "routes[0]: lets nobody in; expected allow, or a policy that allows"),
        ("[{effect: deny, groups: [guests]}]", "", "routes[0]: lets nobody in"),
        ("[{effect: allow, emails: '${UNSET}'}]", ", allow: [{groups: [a]}]", "partly set; missing: UNSET"),
        ("[{effect: allow}]", "", "sign_in.policies[0]: names nobody; expected at least one condition"),
        ("[{effect: allow, emails: []}]", "", "sign_in.policies[0].emails: is empty"),
        ("[{effect: allow, claims: {}}]", "", "sign_in.policies[0].claims: is empty"),
        ("[{effect: allow, claims: {a: []}}]", "", "sign_in.policies[0].claims.a: is empty"),
        ("[{effect: allow, groups: ['']}]", "", "sign_in.policies[0].groups: given \"\""),
        ("[{effect: allow, anyone: true, groups: [a]}]", "", "sign_in.policies[0]: expected anyone alone"),
        (
            "[{effect: allow, domains: ['*'], groups: [a]}]",
            "",
            "sign_in.policies[0]: expected domains: * alone",
        ),
        (
            "[{effect: allow, anyone: false}]",
            "",
            "sign_in.policies[0].anyone: given \"false\", expected true",
        ),
        ("[{effect: deny, anyone: true}]", "", "sign_in.policies[0]: would refuse everybody everywhere"),
        ("[{effect: forbid, anyone: true}]", "", "sign_in.policies[0].effect: unknown variant `forbid`"),
        ("[{effect: allow, anyone: true, actions: [delete]}]", "", "policies[0].actions: given \"delete\""),
        (
            "[{effect: allow, anyone: true, match: {pattern: '/a*'}}]",
            "",
            "policies[0].match.pattern: given \"/a*\"",
        ),
        ("[{effect: allow, issuers: ['https://login.example.com/']}]", "", "policies[0].issuers: given"),
        ("[{effect: allow, groups: [a], emails: '${UNSET}'}]", "", "sign_in: is partly set; missing: UNSET"),
        (
            "[{effect: allow, anyone: true}, {effect: deny, groups: [a], emails: '${UNSET}'}]",
            "",
            "sign_in.policies[1]: UNSET is not set, and a condition cannot be left out",
        ),
        ("[{effect: allow, anyone: true}]", ", allow: []", "routes[0].allow: names nobody"),
        (
            "[{effect: allow, anyone: true}]",
            ", allow: [{emails: '${UNSET}'}]",
            "routes[0].allow: lets nobody in: UNSET",
        ),
        (
            "[{effect: allow, anyone: true}]",
            ", deny: [{anyone: true}]",
            "routes[0].deny: would refuse everybody",
        ),
        ("[{effect: allow, anyone: true}]", ", deny: [{}]", "routes[0].deny[0]: names nobody"),
    ] {
        let said = policies(bad, route);
        assert!(said.contains(expected), "{bad}{route}: {said}");
    }
}

#[test]
fn everyone_who_is_signed_in_is_not_every_program() {
    let environment = with(&[("ALLOWED_EMAIL_DOMAINS", "*")]);
    let sign_in = parse(config::SHIPPED, &environment).unwrap().sign_in.unwrap();
    let who = sign_in.policies[0].who.to_json();
    assert_eq!(who, serde_json::json!({"issuers": ["https://login.example.com"]}));
    let mut programs = only(&["GOOGLE_CLIENT_IDS"]);
    programs.extend(variables(&[("ALLOWED_EMAIL_DOMAINS", "*")]));
    let said = said(config::SHIPPED, &programs);
    assert!(said.contains("there is no provider to sign in with; expected domains"), "{said}");
}

#[test]
fn headers_for_the_upstream_are_ones_that_mean_nothing_else() {
    let headers = |name: &str, claim: &str| {
        let group =
            format!("{COMPANY}  headers: {{{name}: {claim}}}\n  policies: [{{effect: allow, anyone: true}}]");
        said(&file(&group, ""), &variables(&[("COOKIE_SECRET", MARKERS[2])]))
    };
    for (name, claim) in
        [("x-user", "email"), ("x-lockgate-roles", "/realm_access/roles"), ("remote-user", "sub")]
    {
        assert_eq!(headers(name, claim), "");
    }
    for name in [
        "X-User",
        "x_user",
        "'x user'",
        "host",
        "authorization",
        "cookie",
        "connection",
        "te",
        "content-length",
        "x-forwarded-user",
        "x-envoy-x",
        "x-request-id",
        "x-lockgate-assertion",
        "transfer-encoding",
        "1x",
    ] {
        let said = headers(name, "email");
        assert!(said.contains("expected a header of its own in lower case"), "{name}: {said}");
    }
    for claim in ["''", "/a~2"] {
        assert!(headers("x-user", claim).contains("sign_in.headers.x-user: given"), "{claim}");
    }
}

#[test]
fn what_belongs_to_the_door_stands_only_on_its_routes() {
    for (line, instead, expected) in [
        (
            "    guard: slack\n",
            "    guard: slack\n    allow: [{anyone: true}]\n",
            "routes[0].allow: expected only",
        ),
        (
            "    guard: slack\n",
            "    guard: slack\n    forward_token: true\n",
            "routes[0].forward_token: expected only",
        ),
        (
            "    guard: slack\n",
            "    guard: slack\n    cors: {origins: ['https://a.example.com']}\n",
            "routes[0].cors: expected only beside guard: oidc or public",
        ),
        (
            "    guard: oidc\n",
            "    guard: oidc\n    forward_token: true\n",
            "routes[3].forward_token: expected only without enqueue",
        ),
    ] {
        let said = said(&changed(line, instead), &everything());
        assert!(said.contains(expected), "{instead}: {said}");
    }
}

#[test]
fn cors_grants_are_exact_and_never_everybody_with_cookies() {
    let cors = |cors: &str| {
        let line = "    guard: oidc\n";
        said(&changed(line, &format!("{line}    cors: {{{cors}}}\n")), &everything())
    };
    for good in [
        "origins: ['https://a.example.com', 'http://localhost:5173'], credentials: true, max_age: 10m",
        "origins: '*'",
        "origins: ['https://a.example.com:8443'], methods: [GET], headers: [x-a]",
    ] {
        assert_eq!(cors(good), "", "{good}");
    }
    for (bad, expected) in [
        ("credentials: true", "routes[3].cors.origins: is missing"),
        ("origins: []", "routes[3].cors.origins: is missing"),
        ("origins: '*', credentials: true", "cors.origins: given \"*\", expected the origins by name"),
        ("origins: ['*', 'https://a.example.com']", "cors.origins: given \"*\", expected either"),
        ("origins: ['https://a.example.com/']", "cors.origins: given \"https://a.example.com/\""),
        ("origins: ['https://a.example.com/x']", "cors.origins: given"),
        ("origins: ['https://a.example.com:443']", "cors.origins: given"),
        ("origins: ['https://*.example.com']", "cors.origins: given"),
        ("origins: ['null']", "cors.origins: given \"null\""),
        ("origins: ['https://a.example.com'], methods: [get]", "cors.methods: given \"get\""),
        ("origins: ['https://a.example.com'], headers: [X-A]", "cors.headers: given \"X-A\""),
        ("origins: ['https://a.example.com'], max_age: 48h", "cors.max_age: given \"172800s\""),
    ] {
        let said = cors(bad);
        assert!(said.contains(expected), "{bad}: {said}");
    }
}

/// What the manual shows is taken as it stands.
#[test]
fn the_manuals_examples_are_fine() {
    let manual = std::fs::read_to_string(support::root().join("cli/README.md")).unwrap();
    let examples: Vec<&str> =
        manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let environment = with(&[("INTROSPECTION_SECRET", "x"), ("WEBHOOK_KEY", "x")]);
    let [whole, group] = examples[..] else { panic!("{} examples", examples.len()) };
    assert_eq!(said(whole, &environment), "");
    let rest = "version: 1\nlisten: 127.0.0.1:8080\nupstream: {url: https://service.example.com}\n";
    assert_eq!(said(&format!("{rest}{group}"), &environment), "");
}

#[test]
fn plain_http_is_warned_of_where_it_is_allowed() {
    let config = parse(config::SHIPPED, &with(&[("PUBLIC_URL", "http://127.0.0.1:8080")])).unwrap();
    assert!(config.warning().unwrap().contains("cookies are not Secure"));
    assert!(parse(config::SHIPPED, &everything()).unwrap().warning().is_none());
}
