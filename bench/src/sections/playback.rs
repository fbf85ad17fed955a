//! A stored request on its way back: push token, restored request, upstream, acknowledgement.

use serde_json::{Value, json};

use super::{Effort, NGINX, serve};
use crate::Result;
use crate::contenders::{Chain, Contender, Kit, PUBLIC_HOST, PUSH_AUDIENCE, SLACK_SECRET};
use crate::http::{once, request};
use crate::load::Expected;
use crate::slack::{command, form};
use crate::table::Table;
use crate::tokens;
use crate::turns::{Runner, SPEED, Source, compare};
use crate::visitors::{ADMITTED, forged};

const DELIVERED: Expected = Expected { status: 204, body: None };

pub(super) fn measure(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    let bare = kit.bare(1)?.serve()?;
    let mut contenders = vec![kit.nginx(1)?.serve()?];
    contenders.extend(serve(kit, Chain::Log)?);
    let claims = tokens::push(&kit.backend.url(), PUSH_AUDIENCE);
    let token = kit.signer.sign(&claims)?;
    let other = kit.signer.sign(&json!({"iss": kit.backend.url()}))?;
    let mut pushes = Vec::new();
    for contender in &contenders {
        let message = stored_by(kit, contender)?;
        check(kit, contender, &message, &token, &other)?;
        pushes.push(push(&message, &token));
    }
    let mut table = Table::new(
        "playback",
        "A Slack command of 300 B, played back",
        "A push with the token that Pub/Sub sends for an hour, of what the contender stored itself; the \
         upstream answers at once, and the push is acknowledged then. Lockgate verifies the token's \
         signature, the envelope's seal, and makes JSON of the form; nginx believes a token for a minute \
         after it asked the tokeninfo endpoint. Bare Envoy passes the push on as it is.",
        &SPEED,
    );
    let first = pushes.last().cloned().unwrap_or_default();
    let made = |push: Vec<u8>| Source::Made(Box::new(move || vec![push.clone()]));
    let mut runners = vec![Runner::new(&bare, made(first), ADMITTED)];
    for (contender, push) in contenders.iter().zip(pushes) {
        runners.push(Runner::new(contender, made(push), DELIVERED));
    }
    for runner in &runners {
        table.add(&runner.name, Some(NGINX));
    }
    let rate = compare(&kit.backend, &mut table, &mut runners, effort.turns())?;
    table.told_rate(rate);
    Ok(vec![table])
}

/// The message that a contender publishes for a command.
fn stored_by(kit: &Kit, contender: &Contender) -> Result<Value> {
    let bytes = command(&form(300, 7), SLACK_SECRET);
    let (_, seen) = kit.backend.record(|| once(contender.address, &bytes))?;
    let publish = seen.iter().find(|request| request.target.ends_with(":publish"));
    let publish = publish.ok_or_else(|| format!("{} publishes nothing", contender.name))?;
    let json: Value = serde_json::from_slice(&publish.body)?;
    Ok(json["messages"][0].clone())
}

/// A push as Pub/Sub makes it.
fn push(message: &Value, token: &str) -> Vec<u8> {
    let mut message = message.clone();
    for (name, value) in [
        ("messageId", "1234567890123456"),
        ("message_id", "1234567890123456"),
        ("publishTime", "2026-01-01T00:00:00.000Z"),
        ("publish_time", "2026-01-01T00:00:00.000Z"),
    ] {
        message[name] = value.into();
    }
    let body = json!({
        "message": message,
        "subscription": "projects/bench/subscriptions/playback",
        "deliveryAttempt": 1,
    });
    let authorization = ["Bearer ", token].concat();
    let headers = [
        ("host", PUBLIC_HOST),
        ("user-agent", "CloudPubSub-Google"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("authorization", authorization.as_str()),
    ];
    request("POST", "/wal-playback", &headers, body.to_string().as_bytes())
}

/// Checks that the upstream gets the command's fields as JSON, and nothing where the token is forged.
fn check(kit: &Kit, contender: &Contender, message: &Value, token: &str, other: &str) -> Result<()> {
    let name = &contender.name;
    let is_restored = |target: &str| target == "/slack/command" || target == "/engine-rest/signal";
    let (answer, seen) = kit.backend.record(|| once(contender.address, &push(message, token)))?;
    let restored = seen.iter().find(|request| is_restored(&request.target));
    let restored = restored.ok_or_else(|| format!("{name} restores nothing: {}", answer.status))?;
    let json: Value = serde_json::from_slice(&restored.body)?;
    // The seed's engine wants each field typed.
    let field = [&json["trigger_id"], &json["variables"]["trigger_id"]["value"]];
    if answer.status != DELIVERED.status || !field.contains(&&json!("13345.000007")) {
        return Err(format!("{name} restores something else: {} {json}", answer.status).into());
    }
    let bad = push(message, &forged(token, other));
    let (answer, seen) = kit.backend.record(|| once(contender.address, &bad))?;
    if answer.status < 400 || seen.iter().any(|request| is_restored(&request.target)) {
        return Err(format!("{name} takes a forged push: {}", answer.status).into());
    }
    Ok(())
}
