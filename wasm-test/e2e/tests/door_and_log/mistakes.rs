//! A mistake in the sign-in group stops the start, and says which field, what was given, and what would
//! do. The tool's own tests have the rest.

use super::*;

/// What `lockgate run` says before it ends, and that it ends in failure.
async fn said(stack: &Stack, config: &str, variables: &[(&str, &str)]) -> String {
    std::fs::write(stack.directory().join("lockgate.yaml"), config).unwrap();
    let mut command = stack.lockgate("run");
    command.envs(variables.iter().copied());
    let process = Process::start("lockgate run", &mut command, Arc::new(Journal::default()));
    let status = process.wait_exit(PATIENCE).await;
    assert!(!status.success(), "it ends as if all were well");
    process.log().since(0).join("\n")
}

#[tokio::test]
async fn a_mistake_stops_the_start_and_names_the_field_what_was_given_and_a_fix() {
    let stack = door_stack(&door_config("http://127.0.0.1:1", |_| {})).start().await;
    stack.kill_gateway();
    let changed = |change: &dyn Fn(&mut Value)| door_config("http://127.0.0.1:1", change);
    let issuer =
        |issuer: &'static str| changed(&move |c| c["sign_in"]["providers"][0]["issuer"] = json!(issuer));
    for (config, variables, expected) in [
        (
            issuer("http://login.example.com"),
            &[][..],
            &["sign_in.providers[0].issuer: given \"http://login.example.com\"", "https"][..],
        ),
        (
            changed(&|c| c["sign_in"]["provders"] = json!([])),
            &[],
            &["sign_in.provders", "unknown field", "providers"],
        ),
        (
            changed(&|c| c["sign_in"]["policies"] = json!([])),
            &[],
            &["lets nobody in; expected allow, or a policy that allows, for example"],
        ),
        (
            changed(&|c| {
                c["sign_in"]["policies"] = json!([{"effect": "allow", "domains": ["@example.com"]}])
            }),
            &[],
            &["sign_in.policies[0].domains: given \"@example.com\", expected domains", "example.com"],
        ),
        (
            changed(&|c| c["sign_in"]["policies"] = json!([{"effect": "allow"}])),
            &[],
            &["sign_in.policies[0]: names nobody; expected at least one condition, for example"],
        ),
        (
            changed(&|c| c["routes"][2]["allow"] = json!([])),
            &[],
            &["routes[2].allow: names nobody; expected at least one entry, for example"],
        ),
        (
            changed(&|c| c["routes"][3]["cors"] = json!({"origins": ["*"], "credentials": true})),
            &[],
            &["routes[3].cors.origins: given \"*\", expected the origins by name beside credentials"],
        ),
        (
            changed(&|c| c["sign_in"]["session"] = json!({"idle": "1h", "lifetime": "5s"})),
            &[],
            &["sign_in.session.lifetime: given \"5s\", expected between"],
        ),
        (
            changed(&|c| c["sign_in"]["cookie_secret"] = json!("c2VjcmV0LWluLXRoZS1maWxl")),
            &[],
            &["sign_in.cookie_secret", "env"],
        ),
        (
            changed(&|_| {}),
            &[("COOKIE_SECRET", "dG9vLXNob3J0")],
            &["COOKIE_SECRET", "COOKIE_SECRET=$(openssl"],
        ),
        (
            changed(&|_| {}),
            &[("COOKIE_SECRET", "")],
            &["sign_in", "COOKIE_SECRET (for example COOKIE_SECRET=$(openssl"],
        ),
        (
            changed(&|c| c["sign_in"]["assertion"] = json!({"key": {"env": "ASSERTION_KEY"}})),
            &[("ASSERTION_KEY", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----")],
            &[
                "sign_in.assertion.key: ASSERTION_KEY is not a private key on P-256",
                "ASSERTION_KEY=$(openssl",
            ],
        ),
        (
            changed(&|c| {
                c["sign_in"]["assertion"] = json!({"key": {"env": "ASSERTION_KEY"}, "lifetime": "20s"});
            }),
            &[("ASSERTION_KEY", &*key_pem(1))],
            &["sign_in.assertion.lifetime: given \"20s\", expected between 30s and"],
        ),
        (
            changed(&|c| c["sign_in"]["headers"] = json!({"authorization": "sub"})),
            &[],
            &["sign_in.headers.authorization: given \"authorization\", expected a header of its own"],
        ),
    ] {
        let said = said(&stack, &config, variables).await;
        for expected in expected {
            assert!(said.contains(expected), "{expected}: {said}");
        }
        for secret in ["c2VjcmV0", "dG9vLXNob3J0", CLIENT_SECRET] {
            assert!(!said.contains(secret), "{said}");
        }
        assert!(!said.contains("starting workers"), "Envoy was started: {said}");
    }
}

#[tokio::test]
async fn a_group_that_is_set_in_part_names_what_is_missing() {
    let stack = door_stack(&door_config("http://127.0.0.1:1", |_| {})).start().await;
    stack.kill_gateway();
    let set = [("OIDC_ISSUER", "https://login.example.com"), ("COOKIE_SECRET", "")];
    let said = said(&stack, SHIPPED, &set).await;
    for missing in
        ["OIDC_CLIENT_ID", "COOKIE_SECRET=$(openssl rand -base64 32)", "ALLOWED_EMAIL_DOMAINS=example.com"]
    {
        assert!(said.contains(missing), "{missing}: {said}");
    }
}
