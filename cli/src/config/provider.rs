//! A provider that people sign in with.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::issuer::{self, ClaimRules, is_line};
use super::problem::Problem;
use super::resolve::Context;
use super::scalars::{Flag, Texts};
use super::secret::SecretName;

/// Parameters of the authorization request that the filter sets itself.
const OWN_PARAMETERS: [&str; 9] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// A provider that people sign in with.
#[derive(Clone, Debug)]
pub struct Provider {
    /// In addresses and logs.
    pub name: String,
    /// For people; the name when absent.
    pub title: Option<String>,
    /// Exactly as in its tokens.
    pub issuer: String,
    /// This door's id there.
    pub client_id: String,
    /// Absent for a public client.
    pub client_secret: Option<SecretName>,
    /// The filter's own when empty.
    pub scopes: Vec<String>,
    /// Further parameters of the authorization request.
    pub parameters: BTreeMap<String, String>,
    /// The filter's own when empty.
    pub algorithms: Vec<String>,
    /// What an ID token's `aud` may name beside the client id.
    pub audiences: Vec<String>,
    /// How its claims are read.
    pub claim_rules: ClaimRules,
    /// Whether signing out here signs out there.
    pub end_session: bool,
    /// Whether the ID token is kept for that.
    pub keep_id_token: bool,
    /// Whether it tells of sign-outs by itself (OpenID Connect Back-Channel Logout 1.0).
    pub back_channel_logout: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with name, issuer, client_id and client_secret")]
pub(super) struct RawProvider {
    name: Option<String>,
    title: Option<String>,
    issuer: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretName>,
    scopes: Option<Texts>,
    #[serde(default)]
    parameters: BTreeMap<String, Option<String>>,
    algorithms: Option<Texts>,
    audiences: Option<Texts>,
    trust_email: Option<Flag>,
    groups_claim: Option<String>,
    end_session: Option<Flag>,
    keep_id_token: Option<Flag>,
    back_channel_logout: Option<Flag>,
}

impl RawProvider {
    /// Whether anything says that it is meant to be there.
    pub(super) fn is_present(&self, context: &Context<'_>) -> bool {
        let secret = self.client_secret.as_ref().is_some_and(|secret| context.has(secret));
        self.issuer.is_some() || self.client_id.is_some() || secret
    }

    /// What is missing, each with an example.
    pub(super) fn missing(&self, field: &str, context: &Context<'_>) -> Vec<String> {
        let at = |name: &str| format!("{field}.{name}");
        let mut missing = Vec::new();
        if self.issuer.is_none() {
            missing.push(context.missing(&at("issuer"), "https://login.example.com"));
        }
        if self.client_id.is_none() {
            missing.push(context.missing(&at("client_id"), "the id that the provider gave this application"));
        }
        let unset = self.client_secret.as_ref().filter(|secret| !context.has(secret));
        if let Some(name) = unset.and_then(SecretName::variable) {
            missing.push(format!("{name} (a public client has no client_secret in the configuration)"));
        }
        missing
    }

    /// One of which nothing is missing.
    pub(super) fn resolve(self, field: &str, context: &Context<'_>) -> Result<Provider, Problem> {
        let at = |name: &str| format!("{field}.{name}");
        let name = context.required(&at("name"), self.name, "company")?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(plain) {
            let expected = "lower-case letters, digits and hyphens, for example company";
            return Err(Problem::given(&at("name"), name, expected));
        }
        let lines = [("title", &self.title), ("client_id", &self.client_id)];
        for (name, text) in lines {
            if let Some(text) = text.as_ref().filter(|text| !is_line(text)) {
                return Err(Problem::given(&at(name), text, "one line that is not empty"));
            }
        }
        let scopes = issuer::scopes(field, self.scopes)?;
        if !scopes.is_empty() && !scopes.iter().any(|scope| scope == "openid") {
            let expected = "openid among them, or the provider says nothing of who signs in";
            return Err(Problem::given(&at("scopes"), scopes.join(", "), expected));
        }
        // One whose variable is not set is not sent.
        let parameters = self.parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let parameters: BTreeMap<String, String> = parameters.collect();
        for (parameter, value) in &parameters {
            let field = at(&format!("parameters.{parameter}"));
            if OWN_PARAMETERS.contains(&parameter.as_str()) {
                return Err(Problem::new(
                    &field,
                    "is set by the door itself; expected others, for example prompt",
                ));
            }
            if !is_line(parameter) || !is_line(value) {
                return Err(Problem::given(
                    &field,
                    value,
                    "one line that is not empty, for example select_account",
                ));
            }
        }
        let flag = |flag: Option<Flag>, default: bool| flag.map_or(default, |flag| flag.0);
        Ok(Provider {
            issuer: issuer::issuer(&at("issuer"), self.issuer.unwrap_or_default())?,
            client_id: self.client_id.unwrap_or_default(),
            client_secret: self.client_secret,
            algorithms: issuer::algorithms(field, self.algorithms)?,
            audiences: self.audiences.map_or_else(Vec::new, |list| list.0),
            claim_rules: ClaimRules::resolve(field, self.trust_email, self.groups_claim)?,
            end_session: flag(self.end_session, true),
            keep_id_token: flag(self.keep_id_token, false),
            back_channel_logout: flag(self.back_channel_logout, false),
            title: self.title,
            parameters,
            scopes,
            name,
        })
    }
}
