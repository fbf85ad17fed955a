//! Where Google's services are reached, and how a call to one looks.

use crate::config::{ConfigError, Fields};
use crate::host::Call;
use crate::secret::Secret;

/// Time for one answer of the metadata server, Secret Manager or a key set, in milliseconds.
const TIMEOUT_MS: u64 = 900;

/// The services of the configuration's `services`, each with its defaults.
pub struct Services {
    /// Publishing.
    pub pubsub: Service,
    /// Secrets.
    pub secret_manager: Service,
    /// Access tokens.
    pub metadata: Service,
    /// Time for one answer, in milliseconds.
    pub timeout_ms: u64,
    clusters: Clusters,
}

/// A service's base address and the cluster that leads there.
#[derive(Clone)]
pub struct Service {
    scheme: &'static str,
    authority: String,
    base_path: String,
    cluster: String,
}

struct Clusters {
    https: String,
    http: String,
    hosts: Vec<(String, String)>,
}

impl Services {
    /// Reads a document's `services`; what is absent has Google's own addresses.
    pub fn from_document(document: &Fields<'_>) -> Result<Self, ConfigError> {
        let fields = document.object("services", &["pubsub", "secret_manager", "metadata", "clusters"])?;
        let clusters = Clusters::from_config(&fields.object("clusters", &["https", "http", "hosts"])?)?;
        let service = |name: &'static str, default: &str| -> Result<Service, ConfigError> {
            let base = fields.optional_text(name)?.unwrap_or_else(|| default.to_owned());
            clusters.service(base.trim_end_matches('/')).ok_or_else(|| {
                fields.error(name, "an https address, or http on loopback or the metadata server")
            })
        };
        Ok(Self {
            pubsub: service("pubsub", "https://pubsub.googleapis.com")?,
            secret_manager: service("secret_manager", "https://secretmanager.googleapis.com")?,
            metadata: service("metadata", "http://metadata.google.internal")?,
            timeout_ms: TIMEOUT_MS,
            clusters,
        })
    }

    /// A further service by its whole address, as a key set's; `None` when its scheme or host is not
    /// allowed. Its path is kept as it is, a slash at its end included.
    pub fn endpoint(&self, address: &str) -> Option<Service> {
        self.clusters.service(address)
    }

    /// An endpoint that a discovery document names. It may not lead to this machine or into its network
    /// unless the issuer is there itself: whoever answers for the issuer does not get to choose what the
    /// proxy talks to.
    pub fn discovered(&self, address: &str, issuer: &str) -> Option<Service> {
        let (service, issuer) = (self.clusters.service(address)?, self.clusters.service(issuer)?);
        let (host, issuer_host) = (host_of(&service.authority), host_of(&issuer.authority));
        let outside = service.scheme == "https" && !is_private(host);
        (outside || is_private(issuer_host)).then_some(service)
    }
}

impl Clusters {
    fn from_config(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        let mut clusters =
            Self { https: "callout_https".into(), http: "callout_http".into(), hosts: Vec::new() };
        if let Some(name) = fields.optional_text("https")? {
            clusters.https = name;
        }
        if let Some(name) = fields.optional_text("http")? {
            clusters.http = name;
        }
        if let Some(hosts) = fields.optional("hosts") {
            for (host, cluster) in hosts.members() {
                let cluster = cluster
                    .str()
                    .ok_or_else(|| fields.error("hosts", "an object of cluster names by host"))?;
                clusters.hosts.push((host.into_owned(), cluster.into_owned()));
            }
        }
        Ok(clusters)
    }

    fn service(&self, base: &str) -> Option<Service> {
        let (scheme, rest) = match (base.strip_prefix("https://"), base.strip_prefix("http://")) {
            (Some(rest), _) => ("https", rest),
            (_, Some(rest)) => ("http", rest),
            _ => return None,
        };
        let (authority, base_path) = rest.split_once('/').map_or((rest, ""), |(authority, _)| {
            (authority, rest.get(authority.len()..).unwrap_or_default())
        });
        let host = host_of(authority);
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"@?#\\\"".contains(&byte);
        if host.is_empty()
            || !authority.bytes().all(plain)
            || !base_path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
            || (scheme == "http" && !plain_http_allowed(host))
        {
            return None;
        }
        let by_scheme = if scheme == "https" { &self.https } else { &self.http };
        let cluster =
            self.hosts.iter().find(|(name, _)| name == host).map_or(by_scheme, |(_, cluster)| cluster);
        Some(Service {
            scheme,
            authority: authority.to_owned(),
            base_path: base_path.to_owned(),
            cluster: cluster.clone(),
        })
    }
}

fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// Loopback, link-local and private addresses (RFC 1918, 3927, 4193, 6598), and names that mean them.
fn is_private(host: &str) -> bool {
    if let Ok(address) = host.parse::<std::net::Ipv4Addr>() {
        let [a, b, ..] = address.octets();
        return address.is_loopback()
            || address.is_private()
            || address.is_link_local()
            || address.is_unspecified()
            || (a == 100 && (64..128).contains(&b));
    }
    let ends = |end: &str| {
        host.len() > end.len()
            && host.get(host.len() - end.len()..).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
    };
    // IPv6 is for a mesh's own hosts; a number or a name without a dot is resolved by this machine alone.
    host.contains(':')
        || !host.contains('.')
        || host.ends_with('.')
        || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        || [".internal", ".local", ".localhost"].into_iter().any(ends)
}

/// Plain http is for this machine and for Google's metadata server, which has no other.
fn plain_http_allowed(host: &str) -> bool {
    let loopback_v4 = host.strip_prefix("127.").is_some_and(|rest| {
        rest.split('.').count() == 3 && rest.split('.').all(|part| part.parse::<u8>().is_ok())
    });
    loopback_v4 || matches!(host, "localhost" | "::1" | "metadata.google.internal" | "169.254.169.254")
}

impl Service {
    /// An authorised GET of `path`.
    pub fn get(&self, path: &str, token: &Secret) -> Call {
        let mut call = self.anonymous_get(path);
        call.headers.push(authorization(token));
        call
    }

    /// A GET of `path` that anybody may make, as of a key set.
    pub fn anonymous_get(&self, path: &str) -> Call {
        tried_again(self.call("GET", path, Vec::new()))
    }

    /// A GET of the metadata server, which answers only those who say that they mean it.
    pub fn metadata_get(&self, path: &str) -> Call {
        let mut call = self.anonymous_get(path);
        call.headers.push(("metadata-flavor", "Google".to_owned()));
        call
    }

    /// An authorised POST of JSON.
    pub fn post_json(&self, path: &str, token: &Secret, body: Vec<u8>) -> Call {
        let mut call = self.call("POST", path, body);
        call.headers.push(authorization(token));
        call.headers.push(("content-type", "application/json".to_owned()));
        call
    }

    /// A POST of a form (application/x-www-form-urlencoded) to the address itself.
    pub fn post_form(&self, body: String) -> Call {
        let mut call = self.call("POST", "", body.into_bytes());
        call.headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
        call.headers.push(("accept", "application/json".to_owned()));
        call
    }

    fn call(&self, method: &'static str, path: &str, body: Vec<u8>) -> Call {
        Call {
            cluster: self.cluster.clone(),
            scheme: self.scheme,
            authority: self.authority.clone(),
            method,
            path: [self.base_path.as_str(), path].concat(),
            headers: Vec::new(),
            body,
            timeout_ms: TIMEOUT_MS,
        }
    }
}

/// A call that may be made twice: a kept-alive connection that died while the instance was frozen is
/// tried once more.
pub fn tried_again(mut call: Call) -> Call {
    call.headers.push(("x-envoy-retry-on", "reset,connect-failure,refused-stream".to_owned()));
    call.headers.push(("x-envoy-max-retries", "1".to_owned()));
    call
}

fn authorization(token: &Secret) -> (&'static str, String) {
    let text = std::str::from_utf8(token.expose()).unwrap_or_default();
    ("authorization", ["Bearer ", text].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document;
    use crate::json::Json;

    fn services() -> Services {
        let json = Json::parse(br#"{"version":1,"rules":[{}]}"#).unwrap();
        Services::from_document(&document(json, &[]).unwrap()).unwrap()
    }

    #[test]
    fn a_public_issuer_cannot_lead_into_this_machine_or_its_network() {
        let services = services();
        for private in [
            "https://localhost/t",
            "https://127.0.0.1/t",
            "https://10.0.0.1/t",
            "https://192.168.1.1:8443/t",
            "https://172.16.0.1/t",
            "https://169.254.169.254/t",
            "https://100.64.0.1/t",
            "https://0.0.0.0/t",
            "https://[::1]/t",
            "https://[fd00::1]/t",
            "https://2130706433/t",
            "https://127.1/t",
            "https://metadata.google.internal/t",
            "https://vault.local/t",
            "https://service/t",
            "https://localhost./t",
            "http://127.0.0.1/t",
            "http://login.example.com/t",
            "ftp://login.example.com/t",
            "https://user@login.example.com/t",
        ] {
            assert!(services.discovered(private, "https://login.example.com").is_none(), "{private}");
        }
        assert!(services.discovered("https://tokens.example.net/t", "https://login.example.com").is_some());
        assert!(services.discovered("http://127.0.0.1:9000/t", "http://127.0.0.1:9400").is_some());
    }
}
