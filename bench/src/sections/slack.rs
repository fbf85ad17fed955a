//! A Slack command until it is acknowledged.

use super::{BARE, Effort, NGINX, serve};
use crate::Result;
use crate::backend::ACCESS_TOKEN;
use crate::contenders::{Chain, Contender, Deployment, Floor, Kit, SLACK_SECRET};
use crate::http::{once, request};
use crate::load::Expected;
use crate::slack::{ACKNOWLEDGED, PUBLISH_PATH, command, command_at, commands, form, publish_body};
use crate::table::Table;
use crate::tokens::now_s;
use crate::turns::{BATCH, CPU_ALONE, Measured, P50, P90, P99, Runner, SPEED, Source, Turns, compare};
use crate::visitors::ADMITTED;

/// The floor.
const QUEUE: &str = "the queue alone";

/// Different commands in turn.
const DIFFERENT: usize = 64;

pub(super) fn under_load(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    let mut contenders = vec![kit.nginx(1)?.serve()?];
    contenders.extend(serve(kit, Chain::Log)?);
    let unsealed = Deployment { sealed: false, ..Deployment::of(Chain::Log) };
    contenders.push(kit.lockgate(&unsealed)?.named("Lockgate, log.wasm, not sealed").serve()?);
    contenders.extend(serve(kit, Chain::Whole)?);
    for contender in &contenders {
        check(kit, contender)?;
    }
    let floor = kit.floor(Floor::Publishes, &Deployment::of(Chain::Log))?.serve()?;
    let mut tables = Vec::new();
    for (id, title, bytes) in [
        ("slack-300", "A Slack command of 300 B, acknowledged", 300),
        ("slack-20k", "A Slack command of 20 kB, acknowledged", 20_000),
    ] {
        let quantities: Vec<_> = SPEED.into_iter().chain([BATCH]).collect();
        let mut table = Table::new(
            id,
            title,
            "Signature, age, publish; the sender is told once the queue has said that it has it. The queue \
             answers at once and is the same for all; nginx publishes each command by itself and makes JSON \
             of the form before, Lockgate stores the request as it came, with its headers, sealed by LOG_KEY \
             unless it says otherwise, and makes JSON when it is played back. The queue alone: the same \
             publish without anything before it, on the servers' processor. The filter that only publishes \
             checks nothing and sends a constant.",
            &quantities,
        );
        let mut runners = vec![queue_alone(kit, bytes)];
        if bytes == 300 {
            runners.push(runner(&floor, bytes));
        }
        runners.extend(contenders.iter().map(|contender| runner(contender, bytes)));
        for runner in &runners {
            table.add(&runner.name, Some(NGINX));
        }
        let rate = compare(&kit.backend, &mut table, &mut runners, effort.turns())?;
        table.told_rate(rate);
        tables.push(table);
    }
    Ok(tables)
}

/// Commands of so many bytes for a contender that stores them.
fn runner(contender: &Contender, bytes: usize) -> Runner<'_> {
    let source = Source::Made(Box::new(move || commands(bytes, DIFFERENT)));
    Runner::new(contender, source, ACKNOWLEDGED).publishing()
}

pub(super) fn alone(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    let bare = kit.bare(1)?.serve()?;
    let floor = kit.floor(Floor::Publishes, &Deployment::of(Chain::Log))?.serve()?;
    let mut contenders = vec![kit.nginx(1)?.serve()?];
    contenders.extend(serve(kit, Chain::Log)?);
    contenders.extend(serve(kit, Chain::Whole)?);
    for contender in &contenders {
        check(kit, contender)?;
    }
    let mut table = Table::new(
        "lone",
        "A lone Slack command of 300 B",
        "One client that waits for each answer. Bare Envoy passes the same request on to the upstream, one \
         hop, and checks nothing. The filter that only publishes checks nothing, and makes the one call.",
        &[CPU_ALONE, P50, P90, P99],
    );
    let passed_on = Source::Made(Box::new(|| commands(300, DIFFERENT)));
    let mut runners = vec![Runner::new(&bare, passed_on, ADMITTED), runner(&floor, 300)];
    runners.extend(contenders.iter().map(|contender| runner(contender, 300)));
    for runner in &runners {
        table.add(&runner.name, Some(BARE));
    }
    let turns = Turns { connections: 1, fixed: None, ..effort.turns() };
    compare(&kit.backend, &mut table, &mut runners, turns)?;
    Ok(vec![table])
}

/// The publish that nginx makes, sent by the load itself.
fn queue_alone(kit: &Kit, bytes: usize) -> Runner<'_> {
    let authorization = ["Bearer ", ACCESS_TOKEN].concat();
    let headers =
        [("host", "queue"), ("content-type", "application/json"), ("authorization", authorization.as_str())];
    let publish = request("POST", PUBLISH_PATH, &headers, &publish_body(bytes));
    Runner {
        name: QUEUE.to_owned(),
        address: kit.backend.address(),
        measured: Measured::Backend(&kit.backend),
        source: Source::Made(Box::new(move || vec![publish.clone()])),
        expected: Expected { status: 200, body: None },
        publishes: true,
    }
}

/// Checks that a command is stored whole, and that a forged one, an old one and one without a signature
/// are refused and stored nowhere.
fn check(kit: &Kit, contender: &Contender) -> Result<()> {
    let form = form(300, 7);
    let (answer, seen) = kit.backend.record(|| once(contender.address, &command(&form, SLACK_SECRET)))?;
    let name = &contender.name;
    if answer.status != ACKNOWLEDGED.status || ACKNOWLEDGED.body != Some(answer.body.as_slice()) {
        return Err(format!("{name} does not acknowledge a command: {}", answer.status).into());
    }
    let stored: Vec<_> = seen.iter().filter(|request| request.target.ends_with(":publish")).collect();
    let [publish] = stored.as_slice() else {
        return Err(format!("{name} publishes a command {} times", stored.len()).into());
    };
    let json: serde_json::Value = serde_json::from_slice(&publish.body)?;
    let data = json["messages"][0]["data"].as_str().unwrap_or_default();
    let data = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data)?;
    // The one stores the form as it came, the other its fields.
    let text = String::from_utf8_lossy(&data);
    let whole = text.contains(&*String::from_utf8_lossy(&form)) || text.contains("13345.000007");
    if !whole {
        return Err(format!("{name} stores something else than the command: {text}").into());
    }
    let good = String::from_utf8_lossy(&command(&form, SLACK_SECRET)).into_owned();
    let unsigned = good.replace("x-slack-signature", "x-other-signature").into_bytes();
    let old = command_at(&form, SLACK_SECRET, now_s() - 301);
    let forged = command(&form, "another secret");
    for (what, bytes) in [("forged", forged), ("old", old), ("unsigned", unsigned)] {
        let (answer, seen) = kit.backend.record(|| once(contender.address, &bytes))?;
        let stored = seen.iter().any(|request| request.target.ends_with(":publish"));
        if !(400..500).contains(&answer.status) || stored {
            return Err(format!("{name} takes a command that is {what}: {}", answer.status).into());
        }
    }
    Ok(())
}
