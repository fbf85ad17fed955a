//! The name of a secret. The value is read by the filters alone, so it can stand in no rendered file,
//! and an error about a name never repeats what was given: it may be the secret itself.

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::{Value, json};

use super::interpolate::is_variable_name;
use super::url::is_secret_version;

/// Where a secret is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretName {
    /// An environment variable; a value `sm://projects/…` names a Secret Manager version.
    Env(String),
    /// A Secret Manager version, `projects/P/secrets/S/versions/V`.
    SecretManager(String),
}

const EXPECTED: &str = "expected a secret's name, never its value: {env: NAME} with a variable's name in upper case, \
    or {sm: projects/P/secrets/S/versions/latest}";

impl SecretName {
    /// As a filter's configuration has it.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Env(name) => json!({ "env": name }),
            Self::SecretManager(version) => json!({ "sm": version }),
        }
    }

    /// The environment variable that has to reach the filters.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Env(name) => Some(name),
            Self::SecretManager(_) => None,
        }
    }
}

/// Whether a variable's value names a Secret Manager version in its place.
pub(super) fn is_elsewhere(value: &str) -> bool {
    value.strip_prefix("sm://").is_some_and(is_secret_version)
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused = || D::Error::custom(EXPECTED);
        let value = serde_norway::Value::deserialize(deserializer).map_err(|_| refused())?;
        let mapping = value.as_mapping().filter(|mapping| mapping.len() == 1).ok_or_else(refused)?;
        let text = |key: &str| mapping.get(key).and_then(serde_norway::Value::as_str);
        match (text("env"), text("sm")) {
            (Some(name), None) if is_variable_name(name) => Ok(Self::Env(name.to_owned())),
            (None, Some(version)) if is_secret_version(version) => {
                Ok(Self::SecretManager(version.to_owned()))
            }
            _ => Err(refused()),
        }
    }
}
