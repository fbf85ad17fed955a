//! The rendered configuration, byte for byte, and what real Envoy says of it. `UPDATE_GOLDEN=1`
//! rewrites the files; `ENVOY` names the Envoy that checks them.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use lockgate::config::{self, Environment};
use support::{MARKERS, NOTHING, everything, render, root, variables};

struct Case {
    name: &'static str,
    text: String,
    environment: Environment,
}

fn cases() -> Vec<Case> {
    let example = |name: &str| std::fs::read_to_string(root().join("envoy/examples").join(name)).unwrap();
    let case = |name, text| Case { name, text, environment: everything() };
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
    let mut hydra = everything();
    hydra.extend(variables(&[
        ("HYDRA_ADMIN_URL", "http://127.0.0.1:4445"),
        ("HYDRA_PUBLIC_URL", "https://hydra.example.com"),
        ("HYDRA_CLIENT_ID", "lockgate"),
        ("HYDRA_CLIENT_SECRET", MARKERS[3]),
    ]));
    let mut deployed = everything();
    deployed.extend(variables(&[("LOG_FORMAT", "google"), ("GOOGLE_CLOUD_PROJECT", "my-project")]));
    vec![
        Case { name: "default", text: config::SHIPPED.to_owned(), environment: deployed },
        Case { name: "laptop", text: config::SHIPPED.to_owned(), environment: laptop },
        Case { name: "closed", text: config::SHIPPED.to_owned(), environment: nothing },
        Case { name: "door-only", text: config::SHIPPED.to_owned(), environment: door },
        Case { name: "log-only", text: config::SHIPPED.to_owned(), environment: log },
        Case { name: "cloud-run", text: config::SHIPPED.to_owned(), environment: cloud_run },
        Case { name: "private-upstream", text: config::SHIPPED.to_owned(), environment: private },
        case("bolt", example("bolt.yaml")),
        case("camunda", example("camunda.yaml")),
        case("near-adapter", example("near-adapter.yaml")),
        case("slack-only", example("slack-only.yaml")),
        case("sign-in", example("sign-in.yaml")),
        case("zapier", example("zapier.yaml")),
        Case { name: "user-pools", text: example("user-pools/lockgate.yaml"), environment: user_pools },
        Case { name: "hydra", text: example("hydra.yaml"), environment: hydra },
    ]
}

#[test]
fn the_rendered_configuration_is_the_golden_file() {
    for Case { name, text, environment } in cases() {
        let rendered = render(&text, &environment, Path::new("dist")).unwrap();
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
    for Case { name, text, environment } in cases() {
        let rendered = render(&text, &environment, Path::new("dist")).unwrap();
        assert!(MARKERS.iter().all(|marker| !rendered.contains(marker)), "{name}");
    }
}

#[test]
fn real_envoy_takes_every_rendered_configuration() {
    let envoy = support::envoy();
    let directory = tempfile::tempdir().unwrap();
    let module: PathBuf = directory.path().join("log.wasm");
    std::fs::write(&module, NOTHING).unwrap();
    for Case { name, text, environment } in cases() {
        let file = directory.path().join(format!("{name}.yaml"));
        std::fs::write(&file, render(&text, &environment, &module).unwrap()).unwrap();
        let output = Command::new(&envoy).args(["--mode", "validate", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert!(!said.contains("deprecated"), "{name}: {said}");
    }
}
