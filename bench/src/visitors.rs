//! Who comes to the door: people with a session, programs with a token. Signing in is done once, as a
//! browser does it; what is measured is every request after that.

use std::net::SocketAddr;

use crate::Result;
use crate::backend::{Backend, UPSTREAM_BODY};
use crate::contenders::{PUBLIC_HOST, PUBLIC_URL};
use crate::http::{Answer, once, request};
use crate::load::Expected;
use crate::tokens::{self, Signer};

/// The upstream's answer: the request was let through.
pub(crate) const ADMITTED: Expected = Expected { status: 200, body: Some(UPSTREAM_BODY) };

const PAGE: &str = "/orders/17?view=full";

/// A browser that opens a page, with these cookies.
pub(crate) fn page(cookie: &str) -> Vec<u8> {
    if cookie.is_empty() { navigation(PAGE, &[]) } else { navigation(PAGE, &[("cookie", cookie)]) }
}

/// The same request with a program's token instead, so that only the credential differs.
pub(crate) fn with_token(path: &str, token: &str) -> Vec<u8> {
    navigation(path, &[("authorization", &["Bearer ", token].concat())])
}

/// With a token at the usual page.
pub(crate) fn page_with_token(token: &str) -> Vec<u8> {
    with_token(PAGE, token)
}

fn navigation(target: &str, credential: &[(&str, &str)]) -> Vec<u8> {
    let mut headers = vec![
        ("host", PUBLIC_HOST),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "none"),
        ("sec-fetch-user", "?1"),
        ("priority", "u=0, i"),
    ];
    headers.extend_from_slice(credential);
    request("GET", target, &headers, b"")
}

/// A token of the program for the site.
pub(crate) fn token(signer: &Signer, issuer: &str, number: usize) -> Result<String> {
    signer.sign(&tokens::program(issuer, PUBLIC_URL, number))
}

/// So many different tokens, minted by all processors.
pub(crate) fn tokens(signer: &Signer, issuer: &str, numbers: std::ops::Range<usize>) -> Result<Vec<String>> {
    let all: Vec<usize> = numbers.collect();
    let part = all.len().div_ceil(crate::process::processors().len().max(1)).max(1);
    std::thread::scope(|scope| {
        let minting: Vec<_> = all
            .chunks(part)
            .map(|numbers| {
                scope.spawn(move || -> Result<Vec<String>> {
                    numbers.iter().map(|number| token(signer, issuer, *number)).collect()
                })
            })
            .collect();
        let mut minted = Vec::with_capacity(all.len());
        for thread in minting {
            minted.extend(thread.join().map_err(|_| "minting ended early")??);
        }
        Ok(minted)
    })
}

/// Signs a person in at Lockgate, and returns the `cookie` header to come back with.
pub(crate) fn signed_in(address: SocketAddr) -> Result<String> {
    sign_in(address, "/_lockgate/callback")
}

/// The same at Envoy's `oauth2`.
pub(crate) fn signed_in_natively(address: SocketAddr) -> Result<String> {
    sign_in(address, "/callback")
}

/// Opens a page, is sent to the provider, and comes back with a code, which is the nonce: the provider of
/// the measurements takes it for one.
fn sign_in(address: SocketAddr, callback: &str) -> Result<String> {
    let begun = once(address, &page(""))?;
    let location = begun.values("location").next().unwrap_or_default();
    let parameter = |name: &str| {
        let pairs = location.split(['?', '&']);
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let Some(state) = parameter("state") else {
        return Err(format!("nobody is sent to sign in: {} {:?}", begun.status, begun.headers).into());
    };
    let code = parameter("nonce").unwrap_or("code");
    let target = format!("{callback}?code={code}&state={state}");
    let back = navigation(&target, &[("cookie", &cookies(&begun))]);
    let done = once(address, &back)?;
    let session = cookies(&done);
    if done.status != 302 || session.is_empty() {
        let said = String::from_utf8_lossy(&done.body).into_owned();
        return Err(format!("nobody is signed in: {} {:?} {said}", done.status, done.headers).into());
    }
    Ok(session)
}

/// The cookies that an answer sets, as they are sent back; those that it deletes are left out.
fn cookies(answer: &Answer) -> String {
    let set = answer.values("set-cookie").filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.contains("max-age=0") && !line.contains("expires=thu, 01 jan 1970")
    });
    let pairs = set
        .filter_map(|line| line.split(';').next())
        .filter(|pair| pair.split_once('=').is_some_and(|(_, value)| !value.is_empty()));
    pairs.collect::<Vec<_>>().join("; ")
}

/// Checks that a door is one: that this credential is admitted, that the upstream learns who it is, and
/// that neither nothing nor a token whose signature is another's is.
pub(crate) fn check_door(
    backend: &Backend,
    address: SocketAddr,
    good: &[u8],
    email: &str,
    bad: &[u8],
) -> Result<()> {
    let (answer, seen) = backend.record(|| once(address, good))?;
    let told = seen
        .iter()
        .filter(|request| request.target.starts_with("/orders"))
        .find_map(|request| request.header("x-lockgate-email").map(str::to_owned));
    if answer.status != 200 || answer.body != UPSTREAM_BODY || told.as_deref() != Some(email) {
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(format!("{email} is not admitted: {} {body}; told: {told:?}", answer.status).into());
    }
    for (what, request) in [("nobody", page("")), ("a forged credential", bad.to_vec())] {
        let (answer, seen) = backend.record(|| once(address, &request))?;
        if answer.status == 200 || seen.iter().any(|request| request.target.starts_with("/orders")) {
            return Err(format!("{what} is admitted").into());
        }
    }
    Ok(())
}

/// A token whose signature was made for another one.
pub(crate) fn forged(token: &str, other: &str) -> String {
    let (text, _) = token.rsplit_once('.').unwrap_or_default();
    let (_, signature) = other.rsplit_once('.').unwrap_or_default();
    [text, signature].join(".")
}
