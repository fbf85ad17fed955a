//! The door's own pages, below `/_lockgate/`.

use std::rc::Rc;

use lockgate_common::encoding::{push_percent, rfc3339};
use lockgate_common::flow::Stream;
use lockgate_common::form;
use lockgate_common::http::{Refusal, Reply};
use lockgate_common::json::write_string;
use lockgate_common::runtime::part;

use crate::door::Door;
use crate::identity::Identity;
use crate::refuse::{NO_ASSERTION, NO_CREDENTIALS, NO_PAGE, REPEATED_HEADER, WRONG_METHOD};
use crate::site::OWN_PREFIX;
use crate::{callback, login, navigation, pages, sign_out, visit};

/// The one page of the door's that a sign-in may lead to.
const TOKEN_PAGE: &str = "/_lockgate/token";

/// Answers a request for one of them.
pub async fn answer(door: &Rc<Door>, stream: &Stream, deadline: u64) -> Result<Reply, Refusal> {
    let target = stream.text(":path");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let page = path.strip_prefix(OWN_PREFIX).unwrap_or_default();
    let get = matches!(stream.text(":method"), "GET" | "HEAD");
    let post = stream.text(":method") == "POST";
    let people = door.sessions.is_some();
    match page {
        "ready" if get => Ok(ready(door)),
        "jwks" if get => part(jwks(door, deadline)).await,
        "userinfo" if get => part(userinfo(door, stream, deadline)).await,
        "sign-in" if get && people => part(sign_in(door, stream, query)).await,
        "sign-out" if get && people => part(sign_out::ask(door, stream, deadline)).await,
        "sign-out" if post && people => part(sign_out::sign_out(door, stream, deadline)).await,
        "signed-out" if get && people => Ok(pages::signed_out(&stream.request_id())),
        "token" if get && door.token_page => part(token(door, stream, deadline)).await,
        _ if get && people && door.providers.iter().any(|provider| provider.callback_path == path) => {
            part(callback::answer(door, stream, path, query)).await
        }
        "ready" | "jwks" | "userinfo" | "sign-in" | "sign-out" | "signed-out" | "token" if !get => {
            Err(WRONG_METHOD)
        }
        _ => Err(NO_PAGE),
    }
}

/// Where several providers are offered.
pub fn to_chooser(return_to: &str) -> Reply {
    login::redirect(302, chooser_path(return_to))
}

fn ready(door: &Door) -> Reply {
    if door.is_ready() {
        return Reply::empty(204);
    }
    let text = b"Not ready: keys or secrets are not there yet.\n".to_vec();
    let mut reply = Reply::with_body(503, "text/plain; charset=utf-8", text);
    reply.headers.push(("retry-after", "1".to_owned()));
    reply
}

async fn jwks(door: &Door, deadline: u64) -> Result<Reply, Refusal> {
    let assertions = door.assertions.as_ref().ok_or(NO_PAGE)?;
    let keys = assertions.keys(deadline).await.map_err(|_| NO_ASSERTION)?;
    let mut reply = Reply::with_body(200, "application/json", keys.jwks().into_bytes());
    reply.headers.push(("cache-control", "public, max-age=300".to_owned()));
    Ok(reply)
}

/// Signing in with the provider that was chosen, or the choice.
async fn sign_in(door: &Rc<Door>, stream: &Stream, query: &str) -> Result<Reply, Refusal> {
    let return_to = form::first(query.as_bytes(), "return_to");
    let return_to = match return_to.as_deref() {
        Some(TOKEN_PAGE) if door.token_page => TOKEN_PAGE.to_owned(),
        other => navigation::return_path(other.unwrap_or("/")),
    };
    if !stream.text(":authority").eq_ignore_ascii_case(&door.site.authority) {
        return Ok(login::redirect(302, door.site.address(&chooser_path(&return_to))));
    }
    let chosen = form::first(query.as_bytes(), "provider");
    match (chosen, door.providers.as_slice()) {
        (Some(name), _) => {
            let provider = door.provider(&name).ok_or(NO_PAGE)?;
            login::begin(door, stream, &provider, &return_to).await
        }
        (None, [only]) => login::begin(door, stream, only, &return_to).await,
        (None, several) => {
            let choice = |provider: &Rc<crate::provider::Provider>| {
                let mut href = chooser_path(&return_to);
                href.push_str("&provider=");
                href.push_str(&provider.name);
                href
            };
            let choices: Vec<(&str, String)> =
                several.iter().map(|provider| (provider.title.as_str(), choice(provider))).collect();
            Ok(pages::chooser(&choices, &stream.request_id()))
        }
    }
}

fn chooser_path(return_to: &str) -> String {
    let mut path = String::from("/_lockgate/sign-in?return_to=");
    push_percent(&mut path, return_to);
    path
}

/// Who is signed in, as JSON; for pages that greet somebody, and for programs that try their token.
async fn userinfo(door: &Rc<Door>, stream: &Stream, deadline: u64) -> Result<Reply, Refusal> {
    let token = lockgate_common::bearer::token(stream.headers()).map_err(|_| REPEATED_HEADER)?;
    let (identity, until_s, cookie) = match token {
        Some(token) => (door.programs.check(stream, token, deadline).await?, None, Vec::new()),
        None => {
            let visit = visit::current(door, stream, deadline).await?.ok_or(NO_CREDENTIALS)?;
            let cookie = visit::cookie(door, stream, &visit).await;
            (visit.opened.identity.clone(), Some(door.ends_s(&visit.opened.session)), cookie)
        }
    };
    let mut reply = Reply::with_body(200, "application/json", describe(&identity, until_s));
    reply.headers.push(("cache-control", "no-store".to_owned()));
    reply.headers.extend(cookie.into_iter().map(|line| ("set-cookie", line)));
    Ok(reply)
}

fn describe(identity: &Identity, until_s: Option<u64>) -> Vec<u8> {
    let mut out = b"{\"sub\":".to_vec();
    write_string(&mut out, &identity.subject);
    out.extend_from_slice(b",\"iss\":");
    write_string(&mut out, &identity.issuer);
    if let Some(email) = &identity.email {
        out.extend_from_slice(b",\"email\":");
        write_string(&mut out, email);
    }
    if let Some(until_s) = until_s {
        out.extend_from_slice(b",\"session_ends\":");
        write_string(&mut out, &rfc3339(until_s * 1_000));
    }
    if identity.person {
        out.extend_from_slice(b",\"claims\":");
        out.extend_from_slice(identity.claims.as_bytes());
    }
    out.extend_from_slice(b"}\n");
    out
}

/// The access token of whoever is signed in, for a command line.
async fn token(door: &Rc<Door>, stream: &Stream, deadline: u64) -> Result<Reply, Refusal> {
    let visit = match visit::current(door, stream, deadline).await? {
        Some(visit) => visit,
        None if navigation::is_navigation(stream.headers(), stream.text(":method")) => {
            return Ok(to_chooser(TOKEN_PAGE));
        }
        None => return Err(NO_CREDENTIALS),
    };
    let session = &visit.opened.session;
    let token = session.access_token.as_deref().ok_or(NO_PAGE)?;
    let expires = session.token_expires_s.map(|at_s| rfc3339(at_s * 1_000)).unwrap_or_default();
    let mut reply = pages::token(token, &expires, &stream.request_id());
    let cookie = visit::cookie(door, stream, &visit).await;
    reply.headers.extend(cookie.into_iter().map(|line| ("set-cookie", line)));
    Ok(reply)
}
