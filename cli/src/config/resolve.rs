//! As written → as used. Notes every problem it meets instead of stopping at the first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::interpolate::Variables;
use super::invert::RawInvert;
use super::log_format::LogFormat;
use super::problem::{Problem, Problems};
use super::raw::{Raw, RawServices, RawSlack, RawUpstream};
use super::resolved::{Config, Guard, Services, Slack, Upstream};
use super::secret::SecretName;
use super::upstream_identity::IdentityHeader;
use super::url::{PublicUrl, Scheme, Url};
use super::{Environment, backends, invert, log, mesh, routes, seconds, sign_in, upstream_identity};

/// What resolving needs beside the file.
pub(super) struct Context<'a> {
    pub(super) environment: &'a Environment,
    pub(super) variables: &'a Variables,
    /// Where adapter files are looked for.
    pub(super) directory: &'a Path,
}

impl Context<'_> {
    /// A required value, or the problem that names the variable it would have come from.
    pub(super) fn required<T>(&self, field: &str, value: Option<T>, example: &str) -> Result<T, Problem> {
        value.ok_or_else(|| match self.variables.unset.get(field) {
            Some(name) => {
                Problem::new(field, format!("{name} is not set; expected, for example, {name}={example}"))
            }
            None => Problem::new(field, format!("is missing; expected, for example, {example}")),
        })
    }

    /// Names what is missing of a group, with an example.
    pub(super) fn missing(&self, field: &str, example: &str) -> String {
        match self.variables.unset.get(field) {
            Some(name) if !example.contains(' ') => format!("{name} (for example {name}={example})"),
            Some(name) => format!("{name} ({example})"),
            None => format!("{field} (for example {example})"),
        }
    }

    /// A secret's variable and value, where it is one that is set.
    pub(super) fn value<'s>(&'s self, secret: &'s SecretName) -> Option<(&'s str, &'s str)> {
        let name = secret.variable()?;
        let value = self.environment.get(name).filter(|value| !value.is_empty())?;
        Some((name, value))
    }

    /// Whether a named secret can be had as far as this environment tells.
    pub(super) fn has(&self, secret: &SecretName) -> bool {
        secret.variable().is_none_or(|name| self.environment.get(name).is_some_and(|value| !value.is_empty()))
    }
}

pub(super) fn resolve(raw: Raw, context: &Context<'_>) -> Result<Config, Problems> {
    let mut problems = Problems::none();
    if raw.version.is_none_or(|version| version.0 != 1) {
        problems.push(Problem::new("version", "expected version: 1"));
    }
    let listen = context
        .required("listen", raw.listen, "127.0.0.1:8080")
        .and_then(|text| address("listen", &text, "an address and port, for example 0.0.0.0:8080"));
    let listen = problems.keep(listen);
    let admin = raw.admin.unwrap_or_else(|| "127.0.0.1:9901".to_owned());
    let admin = problems.keep(admin_address(&admin));
    if let (Some(listen), Some(admin)) = (listen, admin)
        && listen.port() == admin.port()
    {
        problems.push(Problem::given("admin", admin, "another port than listen, for example 127.0.0.1:9901"));
    }
    let public_url = problems.keep(public_url(raw.public_url));
    let address = match &public_url {
        Some(Some(url)) => PublicUrl::Known(url),
        Some(None) => PublicUrl::Absent,
        None => PublicUrl::Wrong,
    };
    let ca_file = raw.ca_file.unwrap_or_else(|| "/etc/ssl/certs/ca-certificates.crt".to_owned());
    let limits = raw.limits.resolve(&mut problems);
    let budgets =
        raw.budgets.resolve(raw.upstream.as_ref().and_then(|upstream| upstream.timeout), &mut problems);
    // Where agents fetch what clients send, there may be nothing else behind.
    let inverts = raw.routes.iter().any(|route| route.invert.as_ref().is_some_and(RawInvert::is_client));
    let upstream = problems.keep(upstream(raw.upstream, inverts && raw.log.is_none(), context));
    let services = services(raw.services, &mut problems);
    let log_format = problems.keep(LogFormat::of(context.environment)).unwrap_or(LogFormat::Plain);
    // A group with a problem is meant to be there: its routes are no further problem.
    let before = problems.count();
    let slack = slack(raw.slack, context, &mut problems);
    let has_slack = slack.is_some() || problems.count() > before;
    let before = problems.count();
    let log = log::resolve(raw.log, context, &mut problems);
    let has_log = log.is_some() || problems.count() > before;
    let before = problems.count();
    let upstream_url = upstream.as_ref().and_then(|upstream| upstream.url.as_ref());
    let sign_in = sign_in::resolve(raw.sign_in, address, upstream_url, context, &mut problems);
    if let (Some(sign_in), Some(log)) = (&sign_in, &log) {
        sign_in::check_push_audience(sign_in, log, &mut problems);
        sign_in::check_event_topic(sign_in, log, &mut problems);
    }
    let door = match (&sign_in, problems.count() > before) {
        (_, true) => routes::Door::Unknown,
        (None, false) => routes::Door::Closed,
        (Some(sign_in), false) => {
            routes::Door::Known { issuers: sign_in.issuers(), allows: sign_in.allows() }
        }
    };
    let groups = routes::Groups { slack: has_slack, log: has_log, door };
    let routes = routes::resolve(raw.routes, &groups, context, &mut problems);
    invert::check_sessions(&routes, address, &mut problems);
    let backends = problems.keep(backends::resolve(raw.inverting_proxy, context));
    if let Some(backends) = &backends {
        invert::check(&routes, backends, &limits, &mut problems);
    }
    let backends = backends.unwrap_or_default();
    let identity = upstream.as_ref().and_then(|upstream| upstream.identity.as_ref());
    if identity.is_some_and(|identity| identity.header == IdentityHeader::Authorization)
        && let Some(index) = routes.iter().position(|route| route.guard.forwards_token())
    {
        let expected =
            "upstream.identity.header: x-serverless-authorization, since both use Authorization otherwise";
        problems.push(Problem::given(&format!("routes[{index}].forward_token"), true, expected));
    }
    if let Some(sign_in) = &sign_in
        && problems.count() == before
        && !sign_in.allows()
        && !routes.iter().any(|route| matches!(&route.guard, Guard::Oidc(access) if access.allow.is_some()))
    {
        problems.push(sign_in::nobody());
    }
    let in_mesh = raw.mesh.is_some();
    let mesh = mesh::resolve(raw.mesh, address, upstream_url, context, &mut problems);
    if let Some(index) = routes.iter().position(|route| route.invert.is_some())
        && in_mesh
    {
        let expected = "expected none beside mesh, whose proxies have several workers";
        problems.push(Problem::new(&format!("routes[{index}].invert"), expected));
    }
    let asserts_to_nobody = sign_in
        .as_ref()
        .and_then(|sign_in| sign_in.assertion.as_ref())
        .is_some_and(|it| it.audience.is_empty());
    if upstream.as_ref().is_some_and(|upstream| upstream.url.is_none()) && asserts_to_nobody {
        let message = "is missing; expected for whom it is, for example https://my-service.example.com";
        problems.push(Problem::new("sign_in.assertion.audience", message));
    }
    let config =
        listen.zip(admin).zip(upstream).zip(services).map(|(((listen, admin), upstream), services)| Config {
            listen,
            admin,
            public_url: public_url.flatten(),
            trusted_hops: raw.trusted_hops.map_or(0, |hops| hops.0),
            ca_file,
            upstream,
            services,
            slack,
            log,
            sign_in,
            mesh,
            log_format,
            limits,
            budgets,
            routes,
            backends,
        });
    problems.or(config)
}

fn address(field: &str, text: &str, expected: &str) -> Result<SocketAddr, Problem> {
    text.parse::<SocketAddr>()
        .ok()
        .filter(|address| address.port() != 0)
        .ok_or_else(|| Problem::given(field, text, expected))
}

/// The admin interface shows the configuration and ends the process, to anybody who reaches it.
fn admin_address(text: &str) -> Result<SocketAddr, Problem> {
    let expected = "a loopback address and port, for example 127.0.0.1:9901";
    let admin = address("admin", text, expected)?;
    if admin.ip().is_loopback() { Ok(admin) } else { Err(Problem::given("admin", text, expected)) }
}

fn public_url(text: Option<String>) -> Result<Option<Url>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let expected =
        "the address that users see, https or http on loopback, for example https://app.example.com";
    let url = Url::parse("public_url", &text, expected)?;
    let fine = url.path.is_empty() && (url.scheme == Scheme::Https || url.is_loopback());
    if fine { Ok(Some(url)) } else { Err(Problem::given("public_url", url, expected)) }
}

fn upstream(raw: Option<RawUpstream>, optional: bool, context: &Context<'_>) -> Result<Upstream, Problem> {
    let example = "https://my-service-abc123-ew.a.run.app";
    let (url, identity) = raw.map_or((None, None), |upstream| (upstream.url, upstream.identity));
    if url.is_none() && optional {
        return Ok(Upstream { url: None, identity: None });
    }
    let text = context.required("upstream.url", url, example)?;
    let expected = "the service's address, and a path that is put before every other, without a query or a \
                    password, for example https://my-service-abc123-ew.a.run.app";
    let url = Url::parse("upstream.url", &text, expected)?;
    let identity = identity.map(|raw| upstream_identity::resolve(raw, context)).transpose()?;
    Ok(Upstream { url: Some(url), identity: identity.flatten() })
}

fn services(raw: RawServices, problems: &mut Problems) -> Option<Services> {
    let mut base = |field: &str, text: Option<&String>, default: &str| {
        let expected =
            "https, or http on loopback or of the metadata server, for example http://127.0.0.1:8085";
        let text = text.map_or(default, String::as_str);
        let url = Url::parse(field, text, expected).and_then(|url| {
            if url.is_private_enough() { Ok(url) } else { Err(Problem::given(field, url, expected)) }
        });
        problems.keep(url)
    };
    let api = raw.google_api_base.as_ref();
    Some(Services {
        pubsub: base("services.google_api_base", api, "https://pubsub.googleapis.com")?,
        secret_manager: base("services.google_api_base", api, "https://secretmanager.googleapis.com")?,
        metadata: base(
            "services.metadata_base",
            raw.metadata_base.as_ref(),
            "http://metadata.google.internal",
        )?,
        clusters: BTreeMap::new(),
    })
}

/// One field makes the group, so it is either whole or absent.
fn slack(raw: Option<RawSlack>, context: &Context<'_>, problems: &mut Problems) -> Option<Slack> {
    let example = "{env: SLACK_SIGNING_SECRET}";
    let raw = raw?;
    let secret = problems.keep(context.required("slack.signing_secret", raw.signing_secret, example))?;
    let overlap = raw.overlap.map_or(Duration::from_secs(600), |span| span.0);
    if overlap > Duration::from_secs(86_400) || overlap.subsec_nanos() != 0 {
        let expected = "whole seconds, at most 24h, for example 10m";
        problems.push(Problem::given("slack.overlap", seconds(overlap), expected));
    }
    context.has(&secret).then_some(Slack { signing_secret: secret, overlap })
}
