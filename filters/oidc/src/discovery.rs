//! A provider's metadata (OpenID Connect Discovery 1.0, RFC 8414).

use lockgate_common::json::Json;
use lockgate_common::services::{Service, Services};

/// What of a provider's metadata is used.
pub struct Discovery {
    /// Where a browser is sent to sign in, with a query where the provider has one.
    pub authorization_endpoint: Option<String>,
    /// Where codes and refresh tokens are exchanged.
    pub token_endpoint: Option<Service>,
    /// Where the signing keys are.
    pub jwks_uri: Service,
    /// Further claims.
    pub userinfo_endpoint: Option<Service>,
    /// Where refresh tokens are revoked (RFC 7009).
    pub revocation_endpoint: Option<Service>,
    /// Where a browser is sent to sign out (OpenID Connect RP-Initiated Logout 1.0).
    pub end_session_endpoint: Option<String>,
    /// Whether every authorization response names its issuer (RFC 9207, section 3).
    pub names_issuer: bool,
    /// Whether the client's secret goes into the form instead of the `Authorization` header.
    pub secret_in_form: bool,
}

/// Why a metadata document is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryError {
    /// Not JSON, or an endpoint is missing that is needed.
    Malformed,
    /// It is another issuer's (Discovery, 4.3: the two must be identical).
    Issuer,
    /// An endpoint is not https, or leads into a private network the issuer is not in.
    Endpoint,
}

/// The address of an issuer's document (Discovery, 4: behind the issuer, whose last slash is left out).
pub fn address(issuer: &str) -> String {
    [issuer.trim_end_matches('/'), "/.well-known/openid-configuration"].concat()
}

impl Discovery {
    /// Reads a document that was fetched for `issuer`. One that only signs tokens publishes no endpoints
    /// to sign in at, and need not; one that people sign in with (`signs_in`) must.
    pub fn parse(
        text: &[u8],
        issuer: &str,
        signs_in: bool,
        services: &Services,
    ) -> Result<Self, DiscoveryError> {
        let json = Json::parse(text).map_err(|_| DiscoveryError::Malformed)?;
        let text = |name: &str| json.field(name).and_then(Json::str);
        if text("issuer").ok_or(DiscoveryError::Malformed)? != issuer {
            return Err(DiscoveryError::Issuer);
        }
        let optional = |name: &str| match text(name) {
            Some(address) => services.discovered(&address, issuer).map(Some).ok_or(DiscoveryError::Endpoint),
            None => Ok(None),
        };
        let page = |name: &str| match text(name) {
            // A browser goes there, so only the form of the address is checked.
            Some(address) => services
                .discovered(&address, issuer)
                .map(|_| Some(address.into_owned()))
                .ok_or(DiscoveryError::Endpoint),
            None => Ok(None),
        };
        let methods = json.field("token_endpoint_auth_methods_supported");
        let supports = |method: &str| {
            let mut methods = methods.into_iter().flat_map(Json::elements);
            methods.any(|json| json.str().is_some_and(|text| text == method))
        };
        let authorization_endpoint = page("authorization_endpoint")?;
        let token_endpoint = optional("token_endpoint")?;
        if signs_in && (authorization_endpoint.is_none() || token_endpoint.is_none()) {
            return Err(DiscoveryError::Malformed);
        }
        Ok(Self {
            authorization_endpoint,
            token_endpoint,
            jwks_uri: optional("jwks_uri")?.ok_or(DiscoveryError::Malformed)?,
            userinfo_endpoint: optional("userinfo_endpoint")?,
            revocation_endpoint: optional("revocation_endpoint")?,
            end_session_endpoint: page("end_session_endpoint")?,
            names_issuer: json.field("authorization_response_iss_parameter_supported").and_then(Json::bool)
                == Some(true),
            // Absent means client_secret_basic (Discovery, 3).
            secret_in_form: !supports("client_secret_basic") && supports("client_secret_post"),
        })
    }
}
