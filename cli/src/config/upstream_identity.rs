//! What the upstream is shown of the proxy itself: an identity token of its own account.

use lockgate_common::secret::Secret;
use serde::Deserialize;
use upstream_identity::key::KeyFile;

use super::problem::Problem;
use super::resolve::Context;
use super::secret::{SecretName, is_elsewhere};

/// An identity token for the upstream.
#[derive(Clone, Debug)]
pub struct UpstreamIdentity {
    /// Whom it is for; the upstream's own address on Cloud Run.
    pub audience: String,
    /// The header that carries it.
    pub header: IdentityHeader,
    /// A service account's key; the metadata server is asked when absent.
    pub key: Option<SecretName>,
}

/// Cloud Run takes the token in either header.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum IdentityHeader {
    /// In the place of whatever the sender put there.
    #[serde(rename = "authorization")]
    Authorization,
    /// Beside it.
    #[serde(rename = "x-serverless-authorization")]
    Serverless,
}

impl IdentityHeader {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Serverless => "x-serverless-authorization",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {audience: https://my-service.example.com}")]
pub(super) struct RawUpstreamIdentity {
    audience: Option<String>,
    header: Option<IdentityHeader>,
    key: Option<SecretName>,
}

/// Without an audience there is none.
pub(super) fn resolve(
    raw: RawUpstreamIdentity,
    context: &Context<'_>,
) -> Result<Option<UpstreamIdentity>, Problem> {
    let key = raw.key.filter(|key| context.has(key));
    let Some(audience) = raw.audience else {
        let example = "https://my-service-abc123-ew.a.run.app";
        return match key {
            None => Ok(None),
            Some(_) => Err(Problem::new(
                "upstream.identity",
                format!(
                    "is partly set; missing: {}. Set it, or leave the key out",
                    context.missing("upstream.identity.audience", example)
                ),
            )),
        };
    };
    if !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
        let expected = "whom the token is for, for example https://my-service-abc123-ew.a.run.app";
        return Err(Problem::given("upstream.identity.audience", audience, expected));
    }
    if let Some((name, value)) = key.as_ref().and_then(|key| context.value(key))
        && !is_elsewhere(value)
        && KeyFile::parse(&Secret::new(value.as_bytes().to_vec())).is_none()
    {
        let message = format!(
            "{name} is not a service account's key; expected the JSON file as the console gives it, or that in \
             base64, for example {name}=$(base64 -w0 key.json)"
        );
        return Err(Problem::new("upstream.identity.key", message));
    }
    Ok(Some(UpstreamIdentity { audience, header: raw.header.unwrap_or(IdentityHeader::Authorization), key }))
}
