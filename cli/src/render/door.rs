//! The configuration of the sign-in filter, and of the one beside it that takes a provider's word that
//! somebody signed out.

use serde_json::{Map, Value, json};

use super::{READY, plugins};
use crate::config::{
    Access, AudienceClaim, COOKIE, Config, Effect, Google, Guard, Introspection, Jwt, Login, Match,
    PathMatch, Policy, Provider, Route, SignIn, Tokens, Who,
};

/// Where a provider tells of sign-outs.
pub(super) const BACK_CHANNEL: &str = "/_lockgate/back-channel-logout";

/// Where a browser comes back from the first provider; from the others behind their name.
const CALLBACK: &str = "/_lockgate/callback";

pub(super) fn plugin(config: &Config, sign_in: &SignIn) -> Value {
    let mut plugin = Map::new();
    let mut set = |name: &str, value: Value| plugin.insert(name.to_owned(), value);
    set("version", 1.into());
    set(
        "services",
        match sign_in.event_topic() {
            Some(_) => plugins::services(config),
            None => services(config),
        },
    );
    if let Some(url) = &config.public_url {
        set("public_url", url.to_string().into());
    }
    if let Some(login) = &sign_in.login {
        set("session", session(login));
        let providers = login.providers.iter().enumerate();
        set("providers", providers.map(|(index, provider)| self::provider(index, provider)).collect());
    }
    if let Some(tokens) = &sign_in.tokens {
        set("tokens", self::tokens(tokens));
    }
    if sign_in.login.as_ref().is_some_and(|login| login.token_page) {
        set("token_page", true.into());
    }
    if !sign_in.headers.is_empty() {
        let headers = sign_in.headers.iter().map(|(name, claim)| (name.clone(), claim.as_str().into()));
        set("identity", Value::Object(headers.collect()));
    }
    if let Some(assertion) = &sign_in.assertion {
        let value = json!({
            "keys": assertion.keys.to_json(),
            "audience": assertion.audience,
            "lifetime_s": assertion.lifetime.as_secs(),
        });
        set("assertion", value);
    }
    if !sign_in.policies.is_empty() {
        set("policies", sign_in.policies.iter().map(policy).collect());
    }
    set("rules", rules(config, sign_in));
    set("ready_path", READY.into());
    Value::Object(plugin)
}

/// The plugin behind [`BACK_CHANNEL`].
pub(super) fn back_channel(config: &Config, sign_in: &SignIn) -> Value {
    let providers = sign_in.login.iter().flat_map(|login| &login.providers);
    let providers = providers.filter(|provider| provider.back_channel_logout).map(|provider| {
        let mut out = Map::new();
        out.insert("name".to_owned(), provider.name.as_str().into());
        out.insert("issuer".to_owned(), provider.issuer.as_str().into());
        out.insert("client_id".to_owned(), provider.client_id.as_str().into());
        list(&mut out, "algorithms", &provider.algorithms);
        Value::Object(out)
    });
    json!({
        "version": 1,
        "services": services(config),
        "providers": providers.collect::<Vec<_>>(),
        "rules": [{"match": {"path": BACK_CHANNEL, "methods": ["POST"]}}],
    })
}

/// Without the queue, which it has no use for.
fn services(config: &Config) -> Value {
    let mut services = plugins::services(config);
    if let Value::Object(services) = &mut services {
        services.shift_remove("pubsub");
    }
    services
}

fn session(login: &Login) -> Value {
    let mut session = json!({
        "secret": login.cookie_secret.to_json(),
        "cookie": COOKIE,
        "idle_s": login.idle.as_secs(),
        "lifetime_s": login.lifetime.as_secs(),
    });
    if let (Value::Object(session), Some(topic)) = (&mut session, &login.event_topic) {
        session.insert("event_topic".to_owned(), topic.as_str().into());
    }
    session
}

fn provider(index: usize, provider: &Provider) -> Value {
    let mut out = Map::new();
    out.insert("name".to_owned(), provider.name.as_str().into());
    if let Some(title) = &provider.title {
        out.insert("title".to_owned(), title.as_str().into());
    }
    out.insert("issuer".to_owned(), provider.issuer.as_str().into());
    out.insert("client_id".to_owned(), provider.client_id.as_str().into());
    if let Some(secret) = &provider.client_secret {
        out.insert("client_secret".to_owned(), secret.to_json());
    }
    list(&mut out, "scopes", &provider.scopes);
    if !provider.parameters.is_empty() {
        out.insert("parameters".to_owned(), json!(provider.parameters));
    }
    list(&mut out, "algorithms", &provider.algorithms);
    list(&mut out, "audiences", &provider.audiences);
    provider.claim_rules.add_to(&mut out);
    if !provider.end_session {
        out.insert("end_session".to_owned(), false.into());
    }
    if provider.keep_id_token {
        out.insert("keep_id_token".to_owned(), true.into());
    }
    let callback = match index {
        0 => CALLBACK.to_owned(),
        _ => format!("{CALLBACK}/{}", provider.name),
    };
    out.insert("callback_path".to_owned(), callback.into());
    Value::Object(out)
}

fn tokens(tokens: &Tokens) -> Value {
    let mut out = Map::new();
    if !tokens.jwt.is_empty() {
        out.insert("jwt".to_owned(), tokens.jwt.iter().map(jwt).collect());
    }
    if let Some(introspection) = &tokens.introspection {
        out.insert("introspection".to_owned(), self::introspection(introspection));
    }
    if let Some(Google { client_ids, tokeninfo, cache_s }) = &tokens.google {
        let mut google = json!({"client_ids": client_ids, "cache_s": cache_s});
        if let (Value::Object(google), Some(address)) = (&mut google, tokeninfo) {
            google.insert("tokeninfo".to_owned(), address.as_str().into());
        }
        out.insert("google".to_owned(), google);
    }
    Value::Object(out)
}

fn jwt(jwt: &Jwt) -> Value {
    let mut out = Map::new();
    out.insert("issuer".to_owned(), jwt.issuer.as_str().into());
    if let Some(uri) = &jwt.jwks_uri {
        out.insert("jwks_uri".to_owned(), uri.as_str().into());
    }
    list(&mut out, "audiences", &jwt.audiences);
    if jwt.audience_claim == AudienceClaim::ClientId {
        out.insert("audience_claim".to_owned(), "client_id".into());
    }
    if !jwt.claims.is_empty() {
        let claims = jwt.claims.iter().map(|(name, values)| (name.clone(), values.clone().into()));
        out.insert("claims".to_owned(), Value::Object(claims.collect()));
    }
    list(&mut out, "algorithms", &jwt.algorithms);
    jwt.claim_rules.add_to(&mut out);
    Value::Object(out)
}

fn introspection(introspection: &Introspection) -> Value {
    let mut out = Map::new();
    let texts = [
        ("endpoint", Some(&introspection.endpoint)),
        ("issuer", Some(&introspection.issuer)),
        ("client_id", Some(&introspection.client_id)),
        ("token_endpoint", introspection.token_endpoint.as_ref()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            out.insert(name.to_owned(), text.as_str().into());
        }
    }
    out.insert("client_secret".to_owned(), introspection.client_secret.to_json());
    list(&mut out, "scopes", &introspection.scopes);
    list(&mut out, "audiences", &introspection.audiences);
    out.insert("cache_s".to_owned(), introspection.cache_s.into());
    introspection.claim_rules.add_to(&mut out);
    Value::Object(out)
}

fn policy(policy: &Policy) -> Value {
    let mut out = Map::new();
    let effect = match policy.effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
    };
    out.insert("effect".to_owned(), effect.into());
    if let Some(matching) = &policy.matching {
        out.insert("match".to_owned(), matching.to_json());
    }
    list(&mut out, "actions", &policy.actions);
    if let Value::Object(who) = policy.who.to_json() {
        out.extend(who);
    }
    Value::Object(out)
}

/// One rule for each route with this guard or with none, in order, and one for everything else. Where no
/// policy lets anybody in, there is none for everything else, and what no rule fits is refused.
fn rules(config: &Config, sign_in: &SignIn) -> Value {
    let rule = |route: &Route| match &route.guard {
        Guard::Oidc(access) => Some(self::rule(&route.matching, access)),
        Guard::Public => Some(json!({"match": route.matching.to_json(), "public": true})),
        Guard::Slack(_) | Guard::Push => None,
    };
    let everything =
        Match { path: PathMatch::Prefix("/".to_owned()), methods: Vec::new(), hosts: Vec::new() };
    let rest = sign_in.allows().then(|| self::rule(&everything, &Access::default()));
    config.routes.iter().filter_map(rule).chain(rest).collect()
}

fn rule(matching: &Match, access: &Access) -> Value {
    let mut out = Map::new();
    out.insert("match".to_owned(), matching.to_json());
    if let Some(allow) = &access.allow {
        out.insert("allow".to_owned(), allow.iter().map(Who::to_json).collect());
    }
    if !access.deny.is_empty() {
        out.insert("deny".to_owned(), access.deny.iter().map(Who::to_json).collect());
    }
    if access.forward_token {
        out.insert("forward_token".to_owned(), true.into());
    }
    Value::Object(out)
}

fn list(object: &mut Map<String, Value>, name: &str, values: &[String]) {
    if !values.is_empty() {
        object.insert(name.to_owned(), values.to_vec().into());
    }
}
