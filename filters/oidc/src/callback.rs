//! The way back from a provider: an authorization response (RFC 6749, 4.1.2; RFC 9207), the exchange of
//! its code, and the session that comes of it.

use std::borrow::Cow;
use std::rc::Rc;

use lockgate_common::flow::Stream;
use lockgate_common::form;
use lockgate_common::http::{Refusal, Reply};

use crate::audit;
use crate::cookies;
use crate::door::Door;
use crate::id_token::{self, Expected, IdTokenError};
use crate::login::{LIFE_S, LoginState, redirect, token};
use crate::marks::{self, Kind};
use crate::provider::{DEADLINE_MS, Provider};
use crate::refuse::{NO_RANDOM, PROVIDER_DOWN};
use crate::session::Session;
use crate::token_endpoint::{self, GrantError, Tokens};
use crate::userinfo::{self, ClaimsError};
use crate::visit::Opened;

/// What a provider says in the redirect's query.
#[derive(Default)]
pub struct Response<'a> {
    state: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    issuer: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
}

impl<'a> Response<'a> {
    /// Reads a query. A parameter may not stand twice (RFC 6749, 3.1); unknown ones are passed over.
    pub fn parse(query: &'a str) -> Option<Self> {
        let mut response = Self::default();
        for pair in form::pairs(query.as_bytes()) {
            let (name, value) = pair.ok()?;
            let slot = match &*name {
                "state" => &mut response.state,
                "code" => &mut response.code,
                "iss" => &mut response.issuer,
                "error" => &mut response.error,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(response)
    }
}

/// Answers the redirect back: a session and the way to where the browser wanted to go, or a refusal.
pub async fn answer(door: &Rc<Door>, stream: &Stream, path: &str, query: &str) -> Result<Reply, Refusal> {
    let response = Response::parse(query).ok_or(MALFORMED)?;
    let now_ms = stream.host().now_ms();
    let (now_s, deadline) = (now_ms / 1_000, now_ms + DEADLINE_MS);
    let keys = door.keyring(deadline).await?;
    let state = LoginState::open(&keys, response.state.as_deref().ok_or(NO_STATE)?).ok_or(BAD_STATE)?;
    let provider = door.provider(&state.provider).filter(|provider| provider.callback_path == path);
    let provider = provider.ok_or(BAD_STATE)?;
    if !cookies::logins(stream.headers(), &door.site.cookie).contains(&state.browser.as_str()) {
        return Err(OTHER_BROWSER);
    }
    if now_s > state.began_s + LIFE_S {
        return Err(STATE_EXPIRED);
    }
    check_issuer(&provider, &response, deadline).await?;
    if let Some(error) = &response.error {
        return Err(refused_there(error));
    }
    if !marks::mark(stream.host(), Kind::UsedState, state.nonce.as_bytes(), now_s + LIFE_S, now_s) {
        return Err(STATE_REPLAYED);
    }
    let code = response.code.filter(|code| !code.is_empty() && code.len() <= 4_096).ok_or(MALFORMED)?;

    let (story_door, story_provider, code) = (door.clone(), provider.clone(), code.into_owned());
    let LoginState { nonce, verifier, return_to, .. } = state;
    let story = async move {
        let opened = sign_in(&story_door, &story_provider, &code, &verifier, &nonce, deadline).await;
        opened.map(Rc::new)
    };
    let opened = stream.runtime().in_root(story, deadline).await.unwrap_or(Err(PROVIDER_DOWN))?;

    let session = &opened.session;
    let sealed = door.seal(stream, &keys, session)?;
    let present = cookies::present(stream.headers(), &door.site.cookie);
    let lines = cookies::set(&door.site.cookie, &sealed, door.attributes(session, now_s), present);
    let mut reply = redirect(302, return_to);
    reply.headers.extend(lines.ok_or(TOO_LARGE)?.into_iter().map(|line| ("set-cookie", line)));
    stream.runtime().count(&["signed_in"]);
    audit::session(stream, "signed_in", session);
    if let Some(events) = door.sessions.as_ref().and_then(|sessions| sessions.events.as_ref()) {
        events.signed_in(stream, &opened);
    }
    Ok(reply)
}

/// The mix-up defence of RFC 9207, 2.4: a named issuer is the one that was asked.
async fn check_issuer(provider: &Provider, response: &Response<'_>, deadline: u64) -> Result<(), Refusal> {
    match &response.issuer {
        Some(issuer) if *issuer == provider.issuer => Ok(()),
        Some(_) => Err(OTHER_ISSUER),
        None => {
            let discovery = provider.discovery.value(deadline).await.map_err(|_| PROVIDER_DOWN)?;
            if discovery.names_issuer { Err(OTHER_ISSUER) } else { Ok(()) }
        }
    }
}

async fn sign_in(
    door: &Rc<Door>,
    provider: &Provider,
    code: &str,
    verifier: &str,
    nonce: &str,
    deadline: u64,
) -> Result<Opened, Refusal> {
    let runtime = &door.runtime;
    let redirect_uri = door.site.address(&provider.callback_path);
    let tokens = token_endpoint::exchange(runtime, provider, code, verifier, &redirect_uri).await;
    let tokens = tokens.map_err(|error| match error {
        GrantError::Unavailable => PROVIDER_DOWN,
        GrantError::InvalidGrant => CODE_REFUSED,
        GrantError::TooLarge => TOO_LARGE,
        GrantError::Refused => CLIENT_REFUSED,
    })?;
    let text = tokens.id_token.as_deref().ok_or(NO_ID_TOKEN)?;
    let expected =
        Expected { nonce: Some(nonce), subject: None, access_token: tokens.access_token.as_deref() };
    let id_token = id_token::check(runtime, provider, text, &expected, deadline).await;
    let id_token = id_token.map_err(|error| match error {
        IdTokenError::NoKeys => PROVIDER_DOWN,
        IdTokenError::Wrong(reason) => Refusal { reason, ..NO_ID_TOKEN },
    })?;
    let claims = id_token.claims();
    let discovery = provider.discovery.value(deadline).await.map_err(|_| PROVIDER_DOWN)?;
    let access_token = tokens.access_token.as_deref();
    let (needed, wanted) = (door.needed(provider), door.wanted(provider));
    let kept = userinfo::complete(runtime, &discovery, claims, access_token, &needed, &wanted).await;
    let text = |name: &str| claims.field(name).and_then(|json| Some(json.str()?.into_owned()));
    let now_s = runtime.host().now_ms() / 1_000;
    let mut session = Session {
        id: token(runtime.host(), &mut [0; 16]).map_err(|_| NO_RANDOM)?,
        generation: 0,
        provider: provider.name.clone(),
        issuer: provider.issuer.clone(),
        subject: text("sub").ok_or(NO_ID_TOKEN)?,
        claims: kept.map_err(|error| match error {
            ClaimsError::Unavailable => PROVIDER_DOWN,
            ClaimsError::Repeated => Refusal { reason: "id_token_malformed", ..NO_ID_TOKEN },
            ClaimsError::TooLarge => TOO_LARGE,
        })?,
        provider_session: text("sid"),
        signed_in_s: now_s,
        seen_s: now_s,
        refresh_at_s: None,
        token_expires_s: None,
        refresh_token: None,
        access_token: None,
        id_token: None,
    };
    take_tokens(door, provider, &mut session, tokens, now_s);
    // A session that would not open would lead back here, for ever.
    Opened::new(door, session).ok_or(Refusal { reason: "id_token_subject", ..NO_ID_TOKEN })
}

/// What a session keeps of a provider's tokens: what it needs, and nothing else.
pub fn take_tokens(door: &Door, provider: &Provider, session: &mut Session, tokens: Tokens, now_s: u64) {
    /// The life of tokens whose provider does not tell, in seconds.
    const UNTOLD_S: u64 = 3_600;
    /// A longer life is no promise that anybody keeps, in seconds.
    const LONGEST_S: u64 = 90 * 86_400;
    session.seen_s = now_s;
    session.refresh_token = tokens.refresh_token.or(session.refresh_token.take());
    // Without a refresh token nothing would come at its end but another sign-in: the session's own
    // lifetimes hold alone.
    let life_s = tokens.expires_in_s.unwrap_or(UNTOLD_S).clamp(1, LONGEST_S);
    let refreshes = session.refresh_token.is_some();
    session.refresh_at_s = refreshes.then_some(now_s + life_s * 4 / 5);
    session.token_expires_s = refreshes.then_some(now_s + life_s);
    session.access_token = tokens.access_token.filter(|_| door.keeps_access_token);
    session.id_token = tokens.id_token.filter(|_| provider.keep_id_token).or(session.id_token.take());
}

/// A provider's own word for why it refused goes no further than the kind of answer it leads to.
fn refused_there(error: &str) -> Refusal {
    match error {
        "access_denied" | "login_required" | "consent_required" | "interaction_required" => DENIED_THERE,
        "temporarily_unavailable" | "server_error" => PROVIDER_DOWN,
        _ => CLIENT_REFUSED,
    }
}

const MALFORMED: Refusal = Refusal {
    status: 400,
    reason: "callback_malformed",
    sentence: "The sign-in service's answer cannot be read.",
};

const NO_STATE: Refusal =
    Refusal { status: 400, reason: "state_missing", sentence: "This sign-in did not begin here." };

const BAD_STATE: Refusal =
    Refusal { status: 400, reason: "state_invalid", sentence: "This sign-in did not begin here." };

const OTHER_BROWSER: Refusal = Refusal {
    status: 400,
    reason: "state_of_another_browser",
    sentence: "This sign-in did not begin in this browser.",
};

const STATE_EXPIRED: Refusal =
    Refusal { status: 400, reason: "state_expired", sentence: "This sign-in took too long." };

const STATE_REPLAYED: Refusal =
    Refusal { status: 400, reason: "state_replayed", sentence: "This sign-in was completed already." };

const OTHER_ISSUER: Refusal = Refusal {
    status: 400,
    reason: "issuer_mismatch",
    sentence: "Another sign-in service answered than was asked.",
};

const DENIED_THERE: Refusal =
    Refusal { status: 403, reason: "sign_in_denied", sentence: "The sign-in was declined." };

const CODE_REFUSED: Refusal =
    Refusal { status: 400, reason: "code_refused", sentence: "This sign-in is no longer good." };

const CLIENT_REFUSED: Refusal = Refusal {
    status: 502,
    reason: "client_refused",
    sentence: "The sign-in service does not accept this application.",
};

const NO_ID_TOKEN: Refusal = Refusal {
    status: 400,
    reason: "id_token_missing",
    sentence: "The sign-in service's answer does not hold.",
};

const TOO_LARGE: Refusal = Refusal {
    status: 502,
    reason: "session_too_large",
    sentence: "The sign-in service tells more of you than a browser can keep.",
};
