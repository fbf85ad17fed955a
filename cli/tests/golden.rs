//! The rendered configuration, byte for byte, and what real Envoy says of it. `UPDATE_GOLDEN=1`
//! rewrites the files; `ENVOY` names the Envoy that checks them.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use lockgate::config::{self, Environment};
use support::{MARKERS, NOTHING, everything, render_in, root, variables};

struct Case {
    name: &'static str,
    /// Where its adapter files are.
    directory: PathBuf,
    text: String,
    environment: Environment,
}

impl Case {
    /// The file that is shipped.
    fn shipped(name: &'static str, environment: Environment) -> Self {
        Self { name, directory: root().join("envoy"), text: config::SHIPPED.to_owned(), environment }
    }

    /// A file below `envoy/examples`.
    fn example(name: &'static str, file: &str, environment: Environment) -> Self {
        let file = root().join("envoy/examples").join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        Self { name, directory: file.parent().unwrap().to_owned(), text, environment }
    }

    fn render(&self, module: &Path) -> String {
        render_in(&self.directory, &self.text, &self.environment, module).unwrap()
    }
}

fn cases() -> Vec<Case> {
    let mut laptop = everything();
    for (name, value) in [
        ("LISTEN_ADDRESS", "127.0.0.1"),
        ("PUBLIC_URL", "http://127.0.0.1:8080"),
        ("TRUSTED_HOPS", "0"),
        ("UPSTREAM_URL", "http://127.0.0.1:8090"),
        ("GOOGLE_API_BASE", "http://127.0.0.1:8085"),
        ("METADATA_BASE", "http://127.0.0.1:8085"),
        ("PUSH_ISSUER", "http://127.0.0.1:8085"),
        ("PUSH_AUDIENCE", "http://127.0.0.1:8080/wal-playback"),
        ("OIDC_ISSUER", "http://127.0.0.1:9400"),
        ("TOKEN_ISSUER", "http://127.0.0.1:8085"),
        ("TOKEN_JWKS_URI", "http://127.0.0.1:8085/oauth2/v3/certs"),
    ] {
        laptop.insert(name.to_owned(), value.to_owned());
    }
    let mut nothing = everything();
    nothing.retain(|name, _| name == "UPSTREAM_URL");
    let sign_in = [
        "OIDC_ISSUER",
        "OIDC_CLIENT_ID",
        "OIDC_CLIENT_SECRET",
        "COOKIE_SECRET",
        "ASSERTION_KEY",
        "ALLOWED_EMAIL_DOMAINS",
        "ALLOWED_SERVICE_ACCOUNTS",
        "GOOGLE_CLIENT_IDS",
    ];
    let mut log = everything();
    log.retain(|name, _| name != "SLACK_SIGNING_SECRET" && !sign_in.contains(&name.as_str()));
    let mut door = everything();
    door.retain(|name, _| {
        sign_in.contains(&name.as_str()) || ["UPSTREAM_URL", "PUBLIC_URL"].contains(&name.as_str())
    });
    let identity = variables(&[
        ("UPSTREAM_AUDIENCE", "https://my-service-abc123-ew.a.run.app"),
        ("UPSTREAM_IDENTITY_HEADER", "x-serverless-authorization"),
    ]);
    let mut cloud_run = everything();
    cloud_run.extend(identity.clone());
    let mut private = log.clone();
    private.extend(identity);
    let mut user_pools = everything();
    user_pools.extend(variables(&[
        ("USER_POOL_ISSUER", "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc123"),
        ("OIDC_ISSUER", "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc123"),
        ("USER_POOL_CLIENT_ID", "3ho4ek12345678909nh3fmhpko"),
        ("SIGN_IN_TOPIC", "projects/p/topics/sign-ins"),
    ]));
    let mut machines = everything();
    machines.extend(variables(&[
        ("INTROSPECTION_ENDPOINT", "http://127.0.0.1:4445/admin/oauth2/introspect"),
        ("INTROSPECTION_TOKEN_ENDPOINT", "https://hydra.example.com/oauth2/token"),
        ("INTROSPECTION_SCOPES", "hydra.introspect"),
        ("INTROSPECTION_CLIENT_ID", "lockgate"),
        ("INTROSPECTION_CLIENT_SECRET", MARKERS[3]),
        ("AUDIENCE", "https://orders.example.com"),
    ]));
    let mut introspection = everything();
    introspection.extend(variables(&[
        ("INTROSPECTION_ENDPOINT", "https://login.example.com/token/introspection"),
        ("INTROSPECTION_CLIENT_ID", "lockgate"),
        ("INTROSPECTION_CLIENT_SECRET", MARKERS[3]),
        ("ZAPIER_CLIENT_ID", "zapier"),
    ]));
    let mut inverting = everything();
    inverting.extend(variables(&[
        ("AGENT_CLIENT_ID", "109876543210987654321"),
        ("AGENT_ACCOUNT", "agent@my-project.iam.gserviceaccount.com"),
        ("PROGRAM_ACCOUNT", "program@my-project.iam.gserviceaccount.com"),
        ("AGENT_ACCOUNTS", "agent@my-project.iam.gserviceaccount.com"),
        ("ADMIN_ACCOUNTS", "alice@example.com"),
        ("WORK_ACCOUNTS", "alice@example.com,bob@example.com"),
    ]));
    let mut deployed = everything();
    deployed.extend(variables(&[("LOG_FORMAT", "google"), ("GOOGLE_CLOUD_PROJECT", "my-project")]));
    vec![
        Case::shipped("default", deployed.clone()),
        Case::shipped("laptop", laptop),
        Case::shipped("closed", nothing),
        Case::shipped("door-only", door),
        Case::shipped("log-only", log),
        Case::shipped("cloud-run", cloud_run),
        Case::shipped("private-upstream", private),
        Case::example("bolt", "bolt.yaml", everything()),
        Case::example("camunda", "camunda.yaml", everything()),
        Case::example("near-adapter", "near-adapter.yaml", everything()),
        Case::example("slack-only", "slack-only.yaml", everything()),
        Case::example("sign-in", "sign-in.yaml", everything()),
        Case::example("zapier", "zapier/google.yaml", everything()),
        Case::example("zapier-introspection", "zapier/introspection.yaml", introspection),
        Case::example("joined-logs", "joined-logs/lockgate.yaml", deployed),
        Case::example("user-pools", "user-pools/lockgate.yaml", user_pools),
        Case::example("machine-clients", "machine-clients/lockgate.yaml", machines),
        Case::example("inverting-proxy", "inverting-proxy/lockgate.yaml", inverting),
    ]
}

#[test]
fn the_rendered_configuration_is_the_golden_file() {
    for case in cases() {
        let (name, rendered) = (case.name, case.render(Path::new("dist")));
        let path = root().join("envoy/golden").join(format!("{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        let difference = golden.lines().zip(rendered.lines()).find(|(golden, rendered)| golden != rendered);
        assert!(
            golden == rendered,
            "{} differs, first at {difference:?}; UPDATE_GOLDEN=1 rewrites it",
            path.display()
        );
    }
}

#[test]
fn no_secret_is_in_any_rendered_configuration() {
    for case in cases() {
        let (name, rendered) = (case.name, case.render(Path::new("dist")));
        assert!(MARKERS.iter().all(|marker| !rendered.contains(marker)), "{name}");
    }
}

#[test]
fn real_envoy_takes_every_rendered_configuration() {
    let envoy = support::envoy();
    let directory = tempfile::tempdir().unwrap();
    let module: PathBuf = directory.path().join("log.wasm");
    std::fs::write(&module, NOTHING).unwrap();
    for case in cases() {
        let name = case.name;
        let file = directory.path().join(format!("{name}.yaml"));
        std::fs::write(&file, case.render(&module)).unwrap();
        let output = Command::new(&envoy).args(["--mode", "validate", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert!(!said.contains("deprecated"), "{name}: {said}");
    }
}
