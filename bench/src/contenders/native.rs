//! Envoy's own filters behind Lockgate's own listener: what is rendered, with its guard replaced. The
//! access log, the hygiene of headers and paths, timeouts and clusters are the same, so a difference is
//! the guard's.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::lockgate::{Chain, Deployment, route_prefix};
use super::{Kit, PUBLIC_URL, Recipe};
use crate::Result;
use crate::process::free_address;
use crate::tokens::{CLIENT_ID, DOMAIN, PROGRAM};

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
/// Where what is rendered has its routes.
pub(super) const ROUTES: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config\
    /route_config/virtual_hosts/0/routes";

/// The cluster of the queue and of the provider.
pub(super) const SERVICES: &str = "services";

/// What stands in the place of Lockgate's guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Nothing: everybody passes.
    Nobody,
    /// `jwt_authn`, then `rbac` for the policies. With a number, it caches so many tokens.
    JwtAuthn(Option<u32>),
    /// `jwt_authn` with a cache alone: whoever the issuer knows passes.
    JwtAuthnAlone,
    /// `oauth2` for people, then `jwt_authn` with a cache and `rbac`.
    OAuth2,
}

impl Guard {
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "Envoy, Lockgate's listener, no guard",
            Self::JwtAuthn(Some(_)) => "Envoy, jwt_authn with cache + rbac",
            Self::JwtAuthn(None) => "Envoy, jwt_authn without cache + rbac",
            Self::JwtAuthnAlone => "Envoy, jwt_authn with cache",
            Self::OAuth2 => "Envoy, oauth2 + jwt_authn + rbac",
        }
    }
}

/// Tokens that `jwt_authn` keeps: as many as Lockgate's guard does.
pub(crate) const CACHE: u32 = 1_000;

impl Kit {
    /// Envoy with a native guard, in the place of a deployment's.
    pub(crate) fn native(&self, guard: Guard, deployment: &Deployment) -> Result<Recipe> {
        let (address, admin) = (free_address()?, free_address()?);
        let whole = Deployment { chain: Chain::Whole, ..deployment.clone() };
        let mut tree = self.rendered(&whole, address.port(), admin.port())?;
        let issuer = self.backend.issuer(deployment.keys);
        let filters = match guard {
            Guard::Nobody => Vec::new(),
            Guard::JwtAuthn(cache) => {
                vec![jwt_authn(&issuer, PUBLIC_URL, cache, deployment.routes), rbac(deployment.routes)]
            }
            Guard::JwtAuthnAlone => vec![jwt_authn(&issuer, PUBLIC_URL, Some(CACHE), deployment.routes)],
            Guard::OAuth2 => {
                let secrets = [self.secret("token", "bench-client-secret")?, self.secret("hmac", SECRET)?];
                let [token, hmac] = secrets.each_ref().map(|path| path.as_path());
                vec![oauth2(&issuer, token, hmac), jwt_authn(&issuer, CLIENT_ID, Some(CACHE), 0), rbac(0)]
            }
        };
        replace_guard(&mut tree, filters)?;
        add_cluster(&mut tree, self.backend.address())?;
        let file = self.write("native.json", &tree.to_string())?;
        Ok(self.envoy(guard.name(), &file, address, deployment.workers, Vec::new()))
    }

    /// A secret as Envoy's secret discovery reads it from a file.
    fn secret(&self, name: &str, value: &str) -> Result<std::path::PathBuf> {
        let secret = json!({"resources": [{
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": name,
            "generic_secret": {"secret": {"inline_string": value}},
        }]});
        self.write(&format!("{name}.json"), &secret.to_string())
    }
}

/// What `oauth2` seals its cookies with.
const SECRET: &str = "bench-hmac-secret-of-thirty-two-b";

/// Envoy with one listener that passes everything on.
pub(super) fn bare(address: SocketAddr, admin: SocketAddr, upstream: SocketAddr) -> Value {
    json!({
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": [{"name": "main", "address": socket(address), "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "bare",
                    "route_config": {"name": "main", "virtual_hosts": [{
                        "name": "main", "domains": ["*"],
                        "routes": [
                            {"match": {"path": "/health"}, "direct_response": {"status": 204}},
                            {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
                        ],
                    }]},
                    "http_filters": [router()],
                },
            }]}]}],
            "clusters": [cluster("upstream", upstream)],
        },
    })
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": socket(address)}},
        ]}]},
    })
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    })
}

/// Takes Lockgate's filters away and puts these in their place; what was open to those whom the guard
/// admitted is open.
pub(super) fn replace_guard(tree: &mut Value, mut filters: Vec<Value>) -> Result<()> {
    let manager = tree.pointer_mut(MANAGER).ok_or("what is rendered has no connection manager")?;
    let old = manager["http_filters"].as_array().ok_or("what is rendered has no HTTP filters")?;
    filters.extend(old.last().cloned());
    manager["http_filters"] = filters.into();
    let routes = tree.pointer_mut(ROUTES).and_then(Value::as_array_mut);
    let routes = routes.ok_or("what is rendered has no routes")?;
    routes.retain_mut(|route| {
        if let Some(route) = route.as_object_mut() {
            route.remove("typed_per_filter_config");
        }
        let condition = route["match"].as_object_mut().and_then(|matched| matched.remove("filter_state"));
        let admitted = condition.is_some_and(|keys| keys[0]["key"] == "wasm.lockgate_oidc");
        admitted || route.get("direct_response").is_some()
    });
    Ok(())
}

pub(super) fn add_cluster(tree: &mut Value, services: SocketAddr) -> Result<()> {
    let clusters = tree["static_resources"]["clusters"].as_array_mut();
    clusters.ok_or("what is rendered has no clusters")?.push(cluster(SERVICES, services));
    Ok(())
}

fn jwt_authn(issuer: &str, audience: &str, cache: Option<u32>, routes: usize) -> Value {
    let mut provider = json!({
        "issuer": issuer,
        "audiences": [audience],
        "remote_jwks": {
            "http_uri": {"uri": format!("{issuer}/keys"), "cluster": SERVICES, "timeout": "5s"},
            "cache_duration": "3600s",
            // The keys are there before the first request, as Lockgate's are.
            "async_fetch": {},
        },
        "claim_to_headers": [
            {"header_name": "x-lockgate-subject", "claim_name": "sub"},
            {"header_name": "x-lockgate-email", "claim_name": "email"},
        ],
        "payload_in_metadata": "claims",
    });
    if let Some(entries) = cache {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": entries});
    }
    let requires = json!({"provider_name": "issuer"});
    let mut rules: Vec<Value> = vec![json!({"match": {"path": "/health"}})];
    rules.extend((1..=routes).map(
        |number| json!({"match": {"path_separated_prefix": route_prefix(number)}, "requires": requires}),
    ));
    rules.push(json!({"match": {"prefix": "/"}, "requires": requires}));
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"issuer": provider},
            "rules": rules,
        },
    })
}

/// The policies of the shipped configuration: a verified address of the domain, or the program's. With
/// routes, a policy for each, as in the deployment they stand for.
fn rbac(routes: usize) -> Value {
    let claim = |name: &str, value: Value| {
        json!({"sourced_metadata": {"metadata_matcher": {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "claims"}, {"key": name}],
            "value": value,
        }}})
    };
    let verified = || claim("email_verified", json!({"bool_match": true}));
    let program = claim("email", json!({"string_match": {"exact": PROGRAM}}));
    let person = claim("email", json!({"string_match": {"suffix": format!("@{DOMAIN}")}}));
    let either = json!({"and_ids": {"ids": [verified(), {"or_ids": {"ids": [person, program.clone()]}}]}});
    let any = json!([{"any": true}]);
    let health = json!([{"url_path": {"path": {"exact": "/health"}}}]);
    let mut policies = json!({"health": {"permissions": health, "principals": any}});
    if routes == 0 {
        policies["all"] = json!({"permissions": any, "principals": [either]});
    }
    for number in 1..=routes {
        let path = json!([{"url_path": {"path": {"prefix": route_prefix(number) + "/"}}}]);
        let who = json!([{"and_ids": {"ids": [verified(), program]}}]);
        policies[format!("part-{number:04}")] = json!({"permissions": path, "principals": who});
    }
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": policies},
        },
    })
}

fn oauth2(issuer: &str, token_secret: &Path, hmac_secret: &Path) -> Value {
    let secret = |name: &str, path: &Path| json!({"name": name, "sds_config": {"path_config_source": {"path": path.to_string_lossy()}}});
    json!({
        "name": "envoy.filters.http.oauth2",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.oauth2.v3.OAuth2",
            "config": {
                "token_endpoint": {"cluster": SERVICES, "uri": format!("{issuer}/token"), "timeout": "5s"},
                "authorization_endpoint": format!("{issuer}/authorize"),
                "redirect_uri": format!("{PUBLIC_URL}/callback"),
                "redirect_path_matcher": {"path": {"exact": "/callback"}},
                "signout_path": {"path": {"exact": "/sign-out"}},
                "forward_bearer_token": true,
                "use_refresh_token": false,
                "auth_scopes": ["openid", "email", "profile"],
                "credentials": {
                    "client_id": CLIENT_ID,
                    "token_secret": secret("token", token_secret),
                    "hmac_secret": secret("hmac", hmac_secret),
                },
                "pass_through_matcher": [{"name": ":path", "string_match": {"exact": "/health"}}],
            },
        },
    })
}
