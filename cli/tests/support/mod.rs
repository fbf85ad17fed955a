//! What the tests of `render` and `run` share: an environment with everything set, and a module.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod gateway;
pub(crate) mod terraform;

use std::path::{Path, PathBuf};

use lockgate::config::{self, Environment};
use lockgate::render::{self, Modules};

/// Secret values that must never be seen again; of the key, one line.
pub(crate) const MARKERS: [&str; 5] = [
    "marker-of-a-signing-secret",
    "bWFya2VyLW1hcmtlci1tYXJrZXItbWFya2VyLTEyMzQ=",
    "Y29va2llLW1hcmtlci1jb29raWUtbWFya2VyLTEyMzQ=",
    "marker-of-a-client-secret",
    "fgxNB2SQ1nTcxaImNTmx4/pgzo+hRANCAARP0j3FJlM/1F7c5Sw88/BnHIBu69un",
];

/// A key as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes it.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglNOwceQYWYhIzsyE\n\
    fgxNB2SQ1nTcxaImNTmx4/pgzo+hRANCAARP0j3FJlM/1F7c5Sw88/BnHIBu69un\n\
    6ybnbve9Swn6j788b9TWfQhq6T1avLAyZD2KS3S7GdZUUXQhYnxCph+C\n\
    -----END PRIVATE KEY-----";

/// Variables of a deployment with every group.
pub(crate) fn everything() -> Environment {
    variables(&[
        ("LISTEN_ADDRESS", "0.0.0.0"),
        ("PUBLIC_URL", "https://app.example.com"),
        ("TRUSTED_HOPS", "1"),
        ("UPSTREAM_URL", "https://service-abc123-ew.a.run.app"),
        ("SLACK_SIGNING_SECRET", MARKERS[0]),
        ("LOG_KEY", MARKERS[1]),
        ("PUBSUB_TOPIC", "projects/p/topics/lockgate"),
        ("DEAD_LETTER_TOPIC", "projects/p/topics/lockgate-dead"),
        ("PUSH_AUDIENCE", "https://app.example.com/wal-playback"),
        ("PUSH_SERVICE_ACCOUNT", "push@p.iam.gserviceaccount.com"),
        ("OIDC_ISSUER", "https://login.example.com"),
        ("OIDC_CLIENT_ID", "lockgate"),
        ("OIDC_CLIENT_SECRET", MARKERS[3]),
        ("COOKIE_SECRET", MARKERS[2]),
        ("ASSERTION_KEY", KEY),
        ("ALLOWED_EMAIL_DOMAINS", "example.com,example.org"),
        ("ALLOWED_SERVICE_ACCOUNTS", "job@p.iam.gserviceaccount.com"),
        ("GOOGLE_CLIENT_IDS", "1234-abc.apps.googleusercontent.com"),
    ])
}

pub(crate) fn variables(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The Envoy to test with.
pub(crate) fn envoy() -> std::ffi::OsString {
    std::env::var_os("ENVOY").unwrap_or_else(|| panic!("ENVOY names no Envoy: run `make test`, or set it"))
}

/// The OpenID provider to test with.
pub(crate) fn sign_in_provider() -> std::ffi::OsString {
    std::env::var_os("OIDC_PROVIDER")
        .unwrap_or_else(|| panic!("OIDC_PROVIDER names no oidc-provider-mock: run `make test`, or set it"))
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Renders a configuration whose adapter files are beside the examples.
pub(crate) fn render(text: &str, environment: &Environment, modules: &Path) -> Result<String, String> {
    render_in(&root().join("envoy/examples"), text, environment, modules)
}

/// Renders a configuration whose adapter files are in this directory.
pub(crate) fn render_in(
    directory: &Path,
    text: &str,
    environment: &Environment,
    modules: &Path,
) -> Result<String, String> {
    let config = config::parse(text, directory, environment).map_err(|problems| problems.to_string())?;
    Ok(render::bootstrap(&config, &Modules::at(modules)).unwrap())
}

/// The smallest module that Envoy's V8 loads as a filter: it has a memory, an allocator and the ABI's
/// version, and does nothing.
pub(crate) const NOTHING: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x09\x02\x60\0\0\x60\x01\x7f\x01\x7f\
    \x03\x03\x02\0\x01\
    \x05\x03\x01\0\x01\
    \x07\x3f\x03\x06memory\x02\0\x17proxy_abi_version_0_2_1\0\0\x18proxy_on_memory_allocate\0\x01\
    \x0a\x09\x02\x02\0\x0b\x04\0\x41\0\x0b";
