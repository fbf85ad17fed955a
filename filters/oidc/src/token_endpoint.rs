//! A provider's token endpoint: codes and refresh tokens in, tokens out (RFC 6749, sections 4.1.3 and 6).

use std::rc::Rc;

use lockgate_common::answer::Answer;
use lockgate_common::encoding::{base64, push_percent};
use lockgate_common::host::Call;
use lockgate_common::json::Json;
use lockgate_common::runtime::Runtime;
use lockgate_common::services::Service;

use crate::provider::{CALL_MS, Provider};

/// The longest token that is taken, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What the endpoint gave. No `Debug`: these are credentials.
#[derive(Clone, Default)]
pub struct Tokens {
    /// Who signed in.
    pub id_token: Option<String>,
    /// What the provider's own services take.
    pub access_token: Option<String>,
    /// What brings new ones.
    pub refresh_token: Option<String>,
    /// The access token's life, in seconds.
    pub expires_in_s: Option<u64>,
}

/// Why there are no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// The provider does not answer, or not what it should.
    Unavailable,
    /// `invalid_grant`: the code or refresh token is used, old or revoked.
    InvalidGrant,
    /// A token is longer than any session can hold.
    TooLarge,
    /// Another error, such as `invalid_client`: the configuration is wrong.
    Refused,
}

/// Exchanges a code. For tasks of the root.
pub async fn exchange(
    runtime: &Rc<Runtime>,
    provider: &Provider,
    code: &str,
    verifier: &str,
    redirect_uri: &str,
) -> Result<Tokens, GrantError> {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", verifier),
    ];
    grant(runtime, provider, &form).await
}

/// Exchanges a refresh token. For tasks of the root.
pub async fn refresh(
    runtime: &Rc<Runtime>,
    provider: &Provider,
    refresh_token: &str,
) -> Result<Tokens, GrantError> {
    grant(runtime, provider, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
}

/// Has the provider forget a refresh token (RFC 7009). Nobody waits for it, and whether it does is the
/// provider's affair: here the session is over already. For tasks of the root.
pub async fn revoke(runtime: &Rc<Runtime>, provider: &Provider, refresh_token: &str) {
    let deadline = runtime.host().now_ms() + CALL_MS;
    let Ok(discovery) = provider.discovery.value(deadline).await else { return };
    let Some(endpoint) = &discovery.revocation_endpoint else { return };
    let form = [("token", refresh_token), ("token_type_hint", "refresh_token")];
    if let Some(call) = post(provider, endpoint, discovery.secret_in_form, &form, deadline).await {
        runtime.call(call).await;
    }
}

async fn grant(
    runtime: &Rc<Runtime>,
    provider: &Provider,
    form: &[(&str, &str)],
) -> Result<Tokens, GrantError> {
    let deadline = runtime.host().now_ms() + CALL_MS;
    let discovery = provider.discovery.value(deadline).await.map_err(|_| GrantError::Unavailable)?;
    let endpoint = discovery.token_endpoint.as_ref().ok_or(GrantError::Unavailable)?;
    let call = post(provider, endpoint, discovery.secret_in_form, form, deadline);
    let answer = runtime.call(call.await.ok_or(GrantError::Unavailable)?).await;
    read(&answer)
}

/// A form with the client's authentication (RFC 6749, 2.3.1); none while its secret cannot be had.
async fn post(
    provider: &Provider,
    endpoint: &Service,
    secret_in_form: bool,
    pairs: &[(&str, &str)],
    deadline: u64,
) -> Option<Call> {
    let secret = match &provider.client_secret {
        Some(source) => Some(source.value(deadline).await.ok()?),
        None => None,
    };
    let secret = secret.as_ref().map(|secret| std::str::from_utf8(secret.expose()).map(str::trim));
    let mut form = String::new();
    for (name, value) in pairs {
        push_pair(&mut form, name, value);
    }
    let mut authorization = None;
    match secret.transpose().ok()? {
        Some(secret) if !secret_in_form => authorization = Some(basic(&provider.client_id, secret)),
        secret => {
            push_pair(&mut form, "client_id", &provider.client_id);
            if let Some(secret) = secret {
                push_pair(&mut form, "client_secret", secret);
            }
        }
    }
    let mut call = endpoint.post_form(form);
    call.timeout_ms = CALL_MS;
    call.headers.extend(authorization.map(|value| ("authorization", value)));
    Some(call)
}

/// HTTP Basic with both parts encoded as in a form, so that a `+` or `:` in them survives.
pub fn basic(client_id: &str, secret: &str) -> String {
    let mut pair = String::new();
    push_percent(&mut pair, client_id);
    pair.push(':');
    push_percent(&mut pair, secret);
    ["Basic ", &base64(pair.as_bytes())].concat()
}

/// Appends `name=value` to a form or query.
pub fn push_pair(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() && !out.ends_with(['?', '&']) {
        out.push('&');
    }
    push_percent(out, name);
    out.push('=');
    push_percent(out, value);
}

fn read(answer: &Answer) -> Result<Tokens, GrantError> {
    let json = Json::parse(&answer.body).ok();
    let json = json.filter(|json| json.kind() == lockgate_common::json::Kind::Object);
    if !answer.is_success() {
        let error = json.and_then(|json| json.field("error")?.str());
        return Err(match error.as_deref() {
            Some("invalid_grant") if answer.status < 500 => GrantError::InvalidGrant,
            Some("temporarily_unavailable" | "server_error" | "slow_down") | None => GrantError::Unavailable,
            Some(_) if answer.status < 500 => GrantError::Refused,
            Some(_) => GrantError::Unavailable,
        });
    }
    let json = json.ok_or(GrantError::Unavailable)?;
    let token = |name: &str| {
        let text = json.field(name).and_then(Json::str).filter(|text| !text.is_empty());
        match text {
            Some(text) if text.len() > MAX_TOKEN_BYTES => Err(GrantError::TooLarge),
            Some(text) if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(GrantError::Unavailable),
            text => Ok(text.map(|text| text.into_owned())),
        }
    };
    let expires_in_s = json.field("expires_in").and_then(|json| {
        // Some providers write the number as a text.
        json.u64().or_else(|| json.str()?.parse().ok())
    });
    Ok(Tokens {
        id_token: token("id_token")?,
        access_token: token("access_token")?,
        refresh_token: token("refresh_token")?,
        expires_in_s,
    })
}
