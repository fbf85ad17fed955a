//! What the door costs whoever comes through it.

use super::{Effort, serve};
use crate::Result;
use crate::contenders::{Chain, Contender, Deployment, Floor, Guard, Kit};
use crate::load::{Expected, Pace, Requests};
use crate::table::Table;
use crate::tokens::PROGRAM;
use crate::turns::{BUSY, CPU_ALONE, RATE, Runner, SPEED, Source, Turns, compare};
use crate::visitors::{
    ADMITTED, check_door, forged, page, page_with_token, signed_in, signed_in_natively, token, tokens,
};

/// The row that known visitors' costs are compared with.
pub(crate) const KNOWN: &str = "Envoy, jwt_authn with cache + rbac";
/// The same without the policies.
pub(crate) const KNOWN_ALONE: &str = "Envoy, jwt_authn with cache";
/// The row that first sight's cost is compared with.
pub(crate) const UNKNOWN: &str = "Envoy, jwt_authn without cache + rbac";
/// The row that costs nothing are compared with.
pub(crate) const NO_GUARD: &str = "Envoy, Lockgate's listener, no guard";

/// Tokens of one contender that are seen once in the rounds at saturation, and at the fixed rate at most.
const FRESH: usize = 1_500;
const FRESH_RATE: usize = 1_000;

pub(super) fn measure(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    let deployment = Deployment::of(Chain::Whole);
    let native = |guard| kit.native(guard, &deployment)?.serve();
    let bare = kit.bare(1)?.serve()?;
    let nobody = native(Guard::Nobody)?;
    let alone = native(Guard::JwtAuthnAlone)?;
    let cached = native(Guard::JwtAuthn(Some(crate::contenders::CACHE)))?;
    let uncached = native(Guard::JwtAuthn(None))?;
    let oauth2 = native(Guard::OAuth2)?;
    let ours = serve(kit, Chain::Whole)?;
    let passes = kit.floor(Floor::Passes, &deployment)?.serve()?;
    let verifies = kit.floor(Floor::Verifies, &deployment)?.serve()?;

    let issuer = kit.backend.issuer(1);
    let known = token(&kit.signer, &issuer, 0)?;
    let other = token(&kit.signer, &issuer, 1)?;
    let bad = page_with_token(&forged(&known, &other));
    let good = page_with_token(&known);
    for contender in [&alone, &cached, &uncached].into_iter().chain(&ours) {
        check_door(&kit.backend, contender.address, &good, PROGRAM, &bad)?;
    }
    let person = format!("alice@{}", crate::tokens::DOMAIN);
    let native_session = signed_in_natively(oauth2.address)?;
    check_door(&kit.backend, oauth2.address, &page(&native_session), &person, &page("BearerToken=x"))?;
    let mut sessions = Vec::new();
    for contender in &ours {
        let session = signed_in(contender.address)?;
        check_door(&kit.backend, contender.address, &page(&session), &person, &page("lockgate=x"))?;
        sessions.push(session);
    }

    let session = sessions.first().cloned().unwrap_or_default();
    let mut visitors = vec![
        (&bare, "", page(&session)),
        (&nobody, "", page(&session)),
        (&passes, "", page(&session)),
        (&alone, "", good.clone()),
        (&cached, "", good.clone()),
        (&uncached, "", good.clone()),
        (&oauth2, "", page(&native_session)),
    ];
    for (contender, session) in ours.iter().zip(&sessions) {
        visitors.push((contender, ", token", good.clone()));
        visitors.push((contender, ", session", page(session)));
    }
    let fresh_for = [&nobody, &verifies, &alone, &cached, &uncached].into_iter().chain(&ours).collect();
    let unguarded = [&bare, &nobody].into_iter().chain(&ours).collect();
    Ok(vec![
        known_visitors(kit, effort, visitors)?,
        first_sight(kit, effort, fresh_for)?,
        not_needed(kit, effort, unguarded)?,
    ])
}

fn known_visitors(kit: &Kit, effort: &Effort, visitors: Vec<(&Contender, &str, Vec<u8>)>) -> Result<Table> {
    let mut table = Table::new(
        "door-known",
        "The door: visitors it knows",
        "A page is asked for, again and again, by a program with one RS256 token or by a person with one \
         session; the request differs in its credential alone, and is passed on to an upstream that answers \
         at once.",
        &SPEED,
    );
    let mut runners = Vec::new();
    for (contender, what, request) in visitors {
        let source = Source::Made(Box::new(move || vec![request.clone()]));
        let mut runner = Runner::new(contender, source, ADMITTED);
        runner.name.push_str(what);
        table.add(&runner.name, Some(KNOWN));
        runners.push(runner);
    }
    let rate = compare(&kit.backend, &mut table, &mut runners, effort.turns())?;
    table.told_rate(rate);
    Ok(table)
}

fn first_sight(kit: &Kit, effort: &Effort, contenders: Vec<&Contender>) -> Result<Table> {
    let mut table = Table::new(
        "door-first-sight",
        "The door: a token seen for the first time",
        "Every request brings another RS256 token (2,048 bits), minted beforehand, so that each is verified.",
        &SPEED,
    );
    let fixed = (FRESH_RATE as f64 * effort.time.as_secs_f64()).ceil() as usize;
    let needed = FRESH + effort.rounds * (FRESH + fixed);
    let minted = tokens(&kit.signer, &kit.backend.issuer(1), 10..10 + needed)?;
    let requests: Vec<_> = minted.iter().map(|token| page_with_token(token)).collect();
    let mut runners: Vec<_> = contenders
        .into_iter()
        .map(|contender| {
            table.add(&contender.name, Some(UNKNOWN));
            Runner::new(contender, Source::Kept(Requests::once(requests.clone())), ADMITTED)
        })
        .collect();
    let turns = Turns {
        pace: Pace::Counted(FRESH),
        warm_up: Pace::Counted(FRESH),
        fixed: Some((effort.time, 0.4, FRESH_RATE as f64)),
        ..effort.turns()
    };
    let rate = compare(&kit.backend, &mut table, &mut runners, turns)?;
    table.told_rate(rate);
    Ok(table)
}

fn not_needed(kit: &Kit, effort: &Effort, contenders: Vec<&Contender>) -> Result<Table> {
    let mut table = Table::new(
        "door-not-needed",
        "A request that needs no filter",
        "`/health`, which Envoy answers itself: what a chain costs those who do not use it. At saturation.",
        &[CPU_ALONE, RATE, BUSY],
    );
    let health = crate::http::request("GET", "/health", &[("host", crate::contenders::PUBLIC_HOST)], b"");
    let mut runners: Vec<_> = contenders
        .into_iter()
        .map(|contender| {
            table.add(&contender.name, Some(NO_GUARD));
            let request = health.clone();
            let source = Source::Made(Box::new(move || vec![request.clone()]));
            Runner::new(contender, source, Expected { status: 204, body: None })
        })
        .collect();
    compare(&kit.backend, &mut table, &mut runners, Turns { fixed: None, ..effort.turns() })?;
    Ok(table)
}
