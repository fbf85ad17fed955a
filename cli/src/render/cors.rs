//! Envoy's own CORS filter. It answers preflights, and lets a page of another origin read the answers.

use serde_json::{Value, json};

use super::typed;
use crate::config::{Config, Cors};

/// The filter's name in the chain, and that of a route's policy.
pub(super) const CORS: &str = "envoy.filters.http.cors";

/// Where some route has a policy. It needs no switching on: without a policy it does nothing.
pub(super) fn filter(config: &Config) -> Option<Value> {
    let used = config.routes.iter().any(|route| route.cors.is_some());
    used.then(|| {
        json!({"name": CORS, "typed_config": typed("envoy.extensions.filters.http.cors.v3.Cors", json!({}))})
    })
}

pub(super) fn policy(cors: &Cors) -> Value {
    let origins: Vec<Value> = cors.origins.iter().map(|origin| json!({"exact": origin})).collect();
    let mut policy = json!({
        "allow_origin_string_match": origins,
        "allow_methods": cors.methods.join(", "),
        "allow_headers": cors.headers.join(", "),
    });
    if let Value::Object(policy) = &mut policy {
        if let Some(seconds) = cors.max_age_s {
            policy.insert("max_age".to_owned(), seconds.to_string().into());
        }
        if cors.credentials {
            policy.insert("allow_credentials".to_owned(), true.into());
        }
        // The preflight of another origin is answered too, without a grant: it has no session to judge.
        policy.insert("forward_not_matching_preflights".to_owned(), false.into());
    }
    typed("envoy.extensions.filters.http.cors.v3.CorsPolicy", policy)
}
