//! What the filters call: a mesh must know each host, and its cluster encrypts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Error, resource};
use crate::config::{Config, GOOGLE, Mesh, Scheme, SignIn, Url};

/// The hosts that are called, each with its scheme and port.
pub(super) struct Called(BTreeMap<String, (Scheme, u16)>);

pub(super) fn called(config: &Config, mesh: &Mesh) -> Result<Called, Error> {
    let mut called = Called(BTreeMap::new());
    for address in addresses(config) {
        let Ok(url) = Url::parse("", &address, "") else { return Err(Error::NoName(address)) };
        called.add(&url)?;
    }
    for host in &mesh.hosts {
        called.0.entry(host.clone()).or_insert((Scheme::Https, 443));
    }
    // A gateway may lead out of the mesh.
    if let Some(url) = config.upstream.url.as_ref().filter(|url| url.scheme == Scheme::Https) {
        called.add(url)?;
    }
    Ok(called)
}

/// Every address that some filter asks, as far as the configuration names it.
fn addresses(config: &Config) -> Vec<String> {
    let services = &config.services;
    let mut addresses: Vec<String> = Vec::new();
    let identity = config.upstream.identity.as_ref();
    if config.slack.is_some() || config.log.is_some() || config.sign_in.is_some() || identity.is_some() {
        // A secret's variable may name one that is elsewhere.
        addresses.extend([services.metadata.to_string(), services.secret_manager.to_string()]);
    }
    // Google's key files name it.
    if identity.is_some_and(|identity| identity.key.is_some()) {
        addresses.push("https://oauth2.googleapis.com".to_owned());
    }
    if let Some(log) = &config.log {
        addresses.extend([services.pubsub.to_string(), log.push.jwks_uri.to_string()]);
    }
    if config.sign_in.as_ref().is_some_and(|sign_in| sign_in.event_topic().is_some()) {
        addresses.push(services.pubsub.to_string());
    }
    addresses.extend(config.sign_in.iter().flat_map(asked));
    addresses
}

/// What signing in and checking tokens asks. Of a discovery document only its issuer's host is known here, and
/// what Google's names besides.
fn asked(sign_in: &SignIn) -> Vec<String> {
    let providers = sign_in.login.iter().flat_map(|login| &login.providers);
    let people: Vec<&str> = providers.map(|provider| provider.issuer.as_str()).collect();
    let tokens = sign_in.tokens.as_ref();
    let mut asked: Vec<&str> = people.clone();
    let jwt = tokens.iter().flat_map(|tokens| &tokens.jwt);
    asked.extend(jwt.map(|jwt| jwt.jwks_uri.as_ref().unwrap_or(&jwt.issuer).as_str()));
    if asked.contains(&GOOGLE) {
        asked.push("https://www.googleapis.com");
    }
    if people.contains(&GOOGLE) {
        asked.extend(["https://oauth2.googleapis.com", "https://openidconnect.googleapis.com"]);
    }
    if let Some(introspection) = tokens.and_then(|tokens| tokens.introspection.as_ref()) {
        asked.push(&introspection.endpoint);
        asked.extend(introspection.token_endpoint.as_deref());
    }
    if let Some(google) = tokens.and_then(|tokens| tokens.google.as_ref()) {
        asked.push(google.tokeninfo.as_deref().unwrap_or("https://oauth2.googleapis.com"));
    }
    asked.into_iter().map(str::to_owned).collect()
}

impl Called {
    fn add(&mut self, url: &Url) -> Result<(), Error> {
        if url.ip().is_some() || url.is_loopback() {
            return Err(Error::NoName(url.host.clone()));
        }
        let address = (url.scheme, url.port);
        match *self.0.entry(url.host.clone()).or_insert(address) == address {
            true => Ok(()),
            false => Err(Error::TwoPorts(url.host.clone())),
        }
    }

    /// The cluster that leads to each host.
    pub(super) fn clusters(&self, mesh: &Mesh) -> BTreeMap<String, String> {
        let cluster = |(host, &(scheme, port)): (&String, &(Scheme, u16))| {
            (host.clone(), cluster(mesh, host, scheme, port))
        };
        self.0.iter().map(cluster).collect()
    }

    /// ServiceEntries, and DestinationRules for those that are to be encrypted.
    pub(super) fn resources(&self, mesh: &Mesh) -> Vec<Value> {
        let mut by_address: BTreeMap<(bool, u16), Vec<&String>> = BTreeMap::new();
        for (host, &(scheme, port)) in &self.0 {
            by_address.entry((scheme == Scheme::Https, port)).or_default().push(host);
        }
        let entries =
            by_address.into_iter().map(|((tls, port), hosts)| service_entry(mesh, tls, port, &hosts));
        let encrypted = self.0.iter().filter(|(_, (scheme, _))| *scheme == Scheme::Https);
        entries.chain(encrypted.map(|(host, _)| destination_rule(mesh, host))).collect()
    }
}

/// A subset, so that the service's own calls to such a host, which are encrypted already, stay as they are.
pub(super) fn cluster(mesh: &Mesh, host: &str, scheme: Scheme, port: u16) -> String {
    let subset = if scheme == Scheme::Https { mesh.name.as_str() } else { "" };
    format!("outbound|{port}|{subset}|{host}")
}

fn service_entry(mesh: &Mesh, tls: bool, port: u16, hosts: &[&String]) -> Value {
    let protocol = if tls { "https" } else { "http" };
    resource(
        ("networking.istio.io/v1", "ServiceEntry"),
        mesh,
        &format!("{}-{protocol}-{port}", mesh.name),
        json!({
            "hosts": hosts,
            "exportTo": ["."],
            "location": "MESH_EXTERNAL",
            "resolution": "DNS",
            "ports": [{"number": port, "name": protocol, "protocol": protocol.to_ascii_uppercase()}],
        }),
    )
}

fn destination_rule(mesh: &Mesh, host: &str) -> Value {
    resource(
        ("networking.istio.io/v1", "DestinationRule"),
        mesh,
        &format!("{}-{host}", mesh.name),
        json!({
            "host": host,
            "exportTo": ["."],
            "subsets": [{
                "name": mesh.name,
                "trafficPolicy": {
                    "connectionPool": {"tcp": {"connectTimeout": "2s"}},
                    // The proxy's own certificate authorities are the system's.
                    "tls": {"mode": "SIMPLE", "sni": host, "subjectAltNames": [host]},
                },
            }],
        }),
    )
}
