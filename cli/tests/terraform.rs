//! The Terraform code: real Terraform holds it to the schema of Google's provider and runs its own tests,
//! and what it would deploy is held to what the tool makes of it.
//!
//! `TERRAFORM` names Terraform; set to nothing, these tests are skipped and say so.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use lockgate::config::{self, Config, Environment};
use lockgate::render::{self, Modules};
use serde_json::Value;
use support::root;
use support::terraform::{EXAMPLE, Terraform, program};

const MODULE: &str = "modules/lockgate";
const ENVIRONMENT: &str = "modules/environment";
const MINIMAL: &str = "examples/minimal";

#[test]
fn the_code_is_formatted() {
    let Some(program) = program() else { return };
    let output = Command::new(program)
        .args(["fmt", "-check", "-recursive", "-diff"])
        .arg(root().join("terraform"))
        .output()
        .unwrap();
    assert!(output.status.success(), "terraform fmt:\n{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_example_fits_the_providers_schema() {
    let Some(terraform) = Terraform::with(MINIMAL) else { return };
    let said = terraform.run(&["validate"]);
    assert!(said.success, "{}", said.text);
}

#[test]
fn each_slip_is_found_before_it_meets_the_cloud() {
    let Some(terraform) = Terraform::with(MODULE) else { return };
    let slips = [
        (
            "pubsub.tf",
            "resource \"google_pubsub_topic_iam_member\" \"run_publishes\"",
            "resource \"google_pubsub_topics_iam_member\" \"run_publishes\"",
            "does not support resource type \"google_pubsub_topics_iam_member\"",
        ),
        (
            "pubsub.tf",
            "  message_retention_duration =",
            "  message_retention =",
            "An argument named \"message_retention\" is not expected here",
        ),
        ("pubsub.tf", "  retry_policy {", "  retry {", "Blocks of type \"retry\" are not expected here"),
        (
            "pubsub.tf",
            "    push_endpoint = module.environment.push_endpoint\n",
            "",
            "The argument \"push_endpoint\" is required",
        ),
        (
            "pubsub.tf",
            "      audience              =",
            "      audiences             =",
            "An argument named \"audiences\" is not expected here",
        ),
        (
            "pubsub.tf",
            "  max_delivery_attempts = 100",
            "  max_delivery_attempts = \"many\"",
            "\"max_delivery_attempts\": a number is required",
        ),
        (
            "secrets.tf",
            "  replication {\n    auto {}\n  }\n",
            "",
            "At least 1 \"replication\" blocks are required",
        ),
        (
            "outputs.tf",
            "google_service_account.run.email",
            "google_service_account.run.mail",
            "has no argument, nested block, or exported attribute named \"mail\"",
        ),
        ("alerts.tf", "\"ALIGN_DELTA\"", "\"ALIGN_DELTAS\"", "it may be ALIGN_NONE"),
    ];
    for (file, line, instead, _) in slips {
        let path = terraform.path(MODULE).join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(line), "{file}: {line}");
        std::fs::write(&path, text.replacen(line, instead, 1)).unwrap();
    }
    let said = terraform.run(&["validate"]).text;
    // Lines are broken where they end.
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for (_, _, instead, expected) in slips {
        assert!(words.contains(expected), "{instead}: {said}");
    }
}

#[test]
fn the_modules_own_tests_pass() {
    for (module, least) in [(MODULE, 10), (ENVIRONMENT, 5)] {
        let Some(terraform) = Terraform::with(module) else { return };
        let said = terraform.run(&["test"]);
        let passed =
            said.text.lines().filter(|line| line.starts_with("  run ") && line.ends_with("... pass"));
        assert!(said.success && passed.count() >= least, "{}", said.text);
    }
}

/// The example's sign-in with every secret that there is.
const SIGN_IN: &str =
    "-var=sign_in={provider={client_id=\"client\"},email_domains=[\"example.com\"],assertion=true}";

/// The state after one apply of the example.
fn state() -> Option<&'static Value> {
    static STATE: OnceLock<Option<Value>> = OnceLock::new();
    let apply = || {
        let terraform = Terraform::with(MINIMAL)?;
        let example = format!("-var-file={}", terraform.path(EXAMPLE).display());
        let said = terraform.run(&["test", "-json", "-verbose", &example, SIGN_IN]);
        assert!(said.success, "{}", said.text);
        let mut states = said.messages().into_iter().filter_map(|mut message| {
            (message["type"] == "test_state").then(|| message["test_state"].take())
        });
        states.next()
    };
    STATE.get_or_init(apply).as_ref()
}

/// Everything that one apply of the example makes.
fn applied() -> Option<&'static [Value]> {
    let resources = state()?["root_module"]["child_modules"][0]["resources"].as_array().unwrap();
    Some(resources)
}

#[test]
fn every_right_is_one_of_these_and_none_reaches_further_than_its_resource() {
    let Some(resources) = applied() else { return };
    let agent = "service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com";
    let (run, push) = (
        "lockgate-run@my-project.iam.gserviceaccount.com",
        "lockgate-push@my-project.iam.gserviceaccount.com",
    );
    let account = |email: &str| format!("serviceAccount:{email}");
    let secret = |name: &str| format!("secret_id lockgate-{name}");
    let mut expected: BTreeSet<[String; 3]> = [
        ("name lockgate", "roles/run.invoker", "allUsers".to_owned()),
        ("name lockgate", "roles/run.invoker", account(push)),
        ("name my-service", "roles/run.invoker", account(run)),
        ("topic lockgate", "roles/pubsub.publisher", account(run)),
        ("topic lockgate-dead", "roles/pubsub.publisher", account(run)),
        ("topic lockgate-dead", "roles/pubsub.publisher", account(agent)),
        ("subscription lockgate-playback", "roles/pubsub.subscriber", account(agent)),
        (
            &format!("service_account_id projects/my-project/serviceAccounts/{push}"),
            "roles/iam.serviceAccountTokenCreator",
            account(agent),
        ),
    ]
    .map(|(on, role, member)| [on.to_owned(), role.to_owned(), member])
    .into();
    for name in ["assertion-key", "cookie-secret", "log-key", "oidc-client-secret", "slack-signing-secret"] {
        expected.insert([secret(name), "roles/secretmanager.secretAccessor".to_owned(), account(run)]);
    }
    let mut rights = BTreeSet::new();
    let mut others = BTreeSet::new();
    for resource in resources {
        let values = &resource["values"];
        let kind = resource["type"].as_str().unwrap();
        if values["role"].is_null() {
            others.insert(kind);
            continue;
        }
        // An iam_policy or iam_binding would take away what others were given.
        assert!(kind.ends_with("_iam_member"), "{kind}");
        let text = |name: &str| values[name].as_str().unwrap_or_default().to_owned();
        let on = ["name", "topic", "subscription", "secret_id", "service_account_id"]
            .iter()
            .find(|name| values[**name].is_string())
            .map(|name| format!("{name} {}", text(name)))
            .unwrap_or_else(|| panic!("{kind} is on no resource"));
        rights.insert([on, text("role"), text("member")]);
    }
    assert_eq!(rights, expected);
    // No version of a secret, whose value would be in the state, and no key of an account.
    let expected = [
        "google_artifact_registry_repository",
        "google_cloud_run_v2_service",
        "google_monitoring_alert_policy",
        "google_pubsub_subscription",
        "google_pubsub_topic",
        "google_secret_manager_secret",
        "google_service_account",
    ];
    assert_eq!(others, BTreeSet::from(expected));
}

/// The values of the one resource of this type, with this name.
fn find<'a>(resources: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = resources.iter().filter(|resource| resource["type"] == kind && resource["name"] == name);
    &found.next().unwrap_or_else(|| panic!("{kind}.{name}"))["values"]
}

#[test]
fn the_numbers_of_the_cloud_are_those_that_the_tool_counts_on() {
    let Some(resources) = applied() else { return };
    let template = &find(resources, "google_cloud_run_v2_service", "main")["template"][0];
    let container = &template["containers"][0];
    let environment = deployed_environment(resources);
    let config = shipped(&environment);
    let budgets = &config.budgets;
    let seconds =
        |value: &Value| Duration::from_secs(value.as_str().unwrap().trim_end_matches('s').parse().unwrap());
    let playback = find(resources, "google_pubsub_subscription", "playback");
    assert_eq!(playback["ack_deadline_seconds"], budgets.push_ack_deadline.as_secs());
    assert_eq!(seconds(&template["timeout"]), budgets.request);
    assert!(budgets.upstream < budgets.playback() && budgets.playback() < budgets.push_ack_deadline);
    assert!(budgets.push_ack_deadline < budgets.request);
    assert_eq!(config.listen.to_string(), format!("0.0.0.0:{}", container["ports"][0]["container_port"]));
    assert_eq!(config.trusted_hops, 1);
    assert_eq!(
        environment["ENVOY_CONCURRENCY"],
        container["resources"][0]["limits"]["cpu"].as_str().unwrap()
    );
    // Room for the heap that Envoy stops at, and as much again for its code and the filters'.
    assert_eq!(container["resources"][0]["limits"]["memory"], "512Mi");
    assert_eq!(config.limits.heap, 256 << 20);
    let rendered = render::bootstrap(&config, &Modules::at(Path::new("dist"))).unwrap();
    for probe in ["startup_probe", "liveness_probe"] {
        let path = container[probe][0]["http_get"][0]["path"].as_str().unwrap();
        assert!(rendered.contains(&format!("path: {path}\n")), "{path} is no route");
    }
}

fn deployed_environment(resources: &[Value]) -> Environment {
    let template = &find(resources, "google_cloud_run_v2_service", "main")["template"][0];
    let variables = template["containers"][0]["env"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    variables.iter().map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect()
}

fn shipped(environment: &Environment) -> Config {
    config::parse(config::SHIPPED, Path::new("."), environment)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// What `make terraform-render` renders: the environment module by itself.
fn on_a_laptop(terraform: &Terraform, variables: &[&str]) -> Environment {
    let said = terraform.run(&[&["apply", "-auto-approve", "-json"], variables].concat());
    assert!(said.success, "{}", said.text);
    let outputs = said.messages().into_iter().rfind(|message| message["type"] == "outputs").unwrap();
    serde_json::from_value(outputs["outputs"]["variables"]["value"].clone()).unwrap()
}

#[test]
fn a_laptop_renders_what_is_deployed() {
    let Some(terraform) = Terraform::with(ENVIRONMENT) else { return };
    let example = format!("-var-file={}", terraform.path(EXAMPLE).display());
    let environment = on_a_laptop(&terraform, &[&example, SIGN_IN]);
    assert_eq!(environment, deployed_environment(applied().unwrap()));
    let config = shipped(&environment);
    assert!(config.slack.is_some() && config.log.is_some());
    assert!(config.sign_in.is_some_and(|sign_in| sign_in.login.is_some() && sign_in.allows()));
    let identity = config.upstream.identity.unwrap();
    assert_eq!(identity.audience, config.upstream.url.unwrap().to_string());
    assert_eq!(identity.header.name(), "authorization");
}

#[test]
fn whatever_groups_are_chosen_the_tool_takes_them() {
    let Some(terraform) = Terraform::with(ENVIRONMENT) else { return };
    let base = [
        "-var=project=my-project",
        "-var=project_number=123456789012",
        "-var=region=europe-west1",
        "-var=upstream_url=https://my-service.example.com",
    ];
    let people = "-var=sign_in={provider={client_id=\"client\"},email_domains=[\"*\"],assertion=true}";
    let programs = "-var=sign_in={service_accounts=[\"job@my-project.iam.gserviceaccount.com\"]}";
    let zapier = "-var=sign_in={google_client_ids=[\"1-a.apps.googleusercontent.com\"],email_domains=[\"example.com\"]}";
    let private = "-var=upstream_identity={header=\"x-serverless-authorization\"}";
    for (chosen, slack, log, login, tokens, assertion, identity) in [
        (&["-var=log=false"][..], false, false, false, false, false, None),
        (&[], false, true, false, false, false, None),
        (&["-var=slack=true"], true, true, false, false, false, None),
        (&["-var=log=false", people], false, false, true, false, true, None),
        (&[programs, private], false, true, false, true, false, Some("x-serverless-authorization")),
        (&[zapier, "-var=slack=true"], true, true, false, true, false, None),
    ] {
        let config = shipped(&on_a_laptop(&terraform, &[&base, chosen].concat()));
        let sign_in = config.sign_in.as_ref();
        let found = (
            config.slack.is_some(),
            config.log.is_some(),
            sign_in.is_some_and(|sign_in| sign_in.login.is_some()),
            sign_in.is_some_and(|sign_in| sign_in.tokens.is_some()),
            sign_in.is_some_and(|sign_in| sign_in.assertion.is_some()),
            config.upstream.identity.as_ref().map(|identity| identity.header.name()),
        );
        assert_eq!(found, (slack, log, login, tokens, assertion, identity), "{chosen:?}");
    }
}

#[test]
fn the_tool_reads_every_variable_that_is_set() {
    let Some(resources) = applied() else { return };
    let help = Command::new(env!("CARGO_BIN_EXE_lockgate")).args(["help", "run"]).output().unwrap();
    let container = std::fs::read_to_string(root().join("envoy/README.md")).unwrap();
    let read = format!("{}{}{container}", config::SHIPPED, String::from_utf8(help.stdout).unwrap());
    for name in deployed_environment(resources).keys() {
        assert!(read.contains(name), "nothing reads {name}");
    }
}

#[test]
fn the_environment_can_be_taken_over_by_a_shell() {
    let Some(terraform) = Terraform::with(ENVIRONMENT) else { return };
    let example = format!("-var-file={}", terraform.path(EXAMPLE).display());
    let odd = "it's $(HOME) `id` \"quoted\"\nand a second line";
    let further = format!("-var=environment={{ODD={}}}", Value::from(odd));
    let environment = on_a_laptop(&terraform, &[&example, &further]);
    assert_eq!(environment["ODD"], odd);
    let exports = terraform.run(&["output", "-raw", "exports"]);
    let output = Command::new("sh")
        .args(["-c", "eval \"$1\" && printf %s \"$ODD\" && exec \"$2\" render", "sh", &exports.text])
        .arg(env!("CARGO_BIN_EXE_lockgate"))
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        text.starts_with(&format!("{odd}node:")) && text.contains("projects/my-project/topics/lockgate"),
        "{text}"
    );
}

/// Runs the commands of the output as a person would, with a `gcloud` that keeps what it is given.
#[test]
fn the_commands_that_add_secrets_make_values_that_the_tool_takes() {
    let Some(state) = state() else { return };
    let commands = state["outputs"]["secret_commands"]["value"].as_str().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let gcloud = directory.path().join("gcloud");
    let script = "#!/bin/sh\n[ \"$1 $2 $3\" = 'secrets versions add' ] && [ \"$5 $6 $7\" = '--project my-project --data-file=-' ] \\\n    && cat > \"${0%/*}/$4\"\n";
    std::fs::write(&gcloud, script).unwrap();
    std::fs::set_permissions(&gcloud, PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::join_paths(
        std::iter::once(directory.path().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", commands])
        .env("PATH", path.unwrap())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // What a person types when asked.
    shell.stdin.take().unwrap().write_all(b"of the provider\nof Slack\n").unwrap();
    assert!(shell.wait().unwrap().success(), "{commands}");
    let mut environment = deployed_environment(applied().unwrap());
    let mut added = 0;
    for value in environment.values_mut() {
        let Some(name) = value.strip_prefix("sm://projects/my-project/secrets/") else { continue };
        let file = directory.path().join(name.trim_end_matches("/versions/latest"));
        *value = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        added += 1;
    }
    assert_eq!(added, 5);
    assert_eq!(environment["OIDC_CLIENT_SECRET"], "of the provider");
    assert_eq!(environment["SLACK_SIGNING_SECRET"], "of Slack");
    assert_eq!(environment["COOKIE_SECRET"].len(), 44);
    shipped(&environment);
}

/// A module's variables as they are declared, without what checks them.
fn declarations(module: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("terraform").join(module).join("variables.tf")).unwrap();
    let declaration = |text: &str| {
        let end = text.find("\n}\n").unwrap();
        text[..end].split("\n\n").next().unwrap().to_owned()
    };
    text.split("variable \"").skip(1).map(declaration).collect()
}

#[test]
fn the_module_hands_on_what_the_environment_takes() {
    let module = declarations(MODULE);
    let main = std::fs::read_to_string(root().join("terraform/modules/lockgate/main.tf")).unwrap();
    for declared in declarations(ENVIRONMENT) {
        let name = declared.split('"').next().unwrap();
        assert!(
            main.lines()
                .any(|line| line.trim_start().starts_with(name) && line.ends_with(&format!("= var.{name}"))),
            "{name}"
        );
        // The identity's service is the cloud's alone.
        if name != "upstream_identity" {
            assert!(module.contains(&declared), "{name} is declared in two ways");
        }
    }
}

#[test]
fn the_readme_names_outputs_that_there_are() {
    let readme = std::fs::read_to_string(root().join("terraform/README.md")).unwrap();
    let outputs = std::fs::read_to_string(root().join("terraform/examples/minimal/outputs.tf")).unwrap();
    let mut seen = 0;
    for rest in readme.split("terraform output ").skip(1) {
        let name: String = rest
            .trim_start_matches("-raw ")
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
            .collect();
        assert!(outputs.contains(&format!("output \"{name}\" {{")), "terraform/README.md names {name}");
        seen += 1;
    }
    assert!(seen > 5);
}
