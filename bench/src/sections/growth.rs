//! How cost grows with what there is more of.

use std::time::{Duration, Instant};

use super::door::{KNOWN, UNKNOWN};
use super::{Effort, NGINX, serve};
use crate::Result;
use crate::contenders::{CACHE, Chain, Contender, Deployment, Guard, Kit, Recipe};
use crate::load::{Expected, Load, Pace, Requests};
use crate::process::Process;
use crate::slack::{ACKNOWLEDGED, commands};
use crate::table::{Quantity, Table};
use crate::turns::{CPU, CPU_ALONE, P50, P99, RATE, Runner, Source, Turns, compare, in_turn};
use crate::visitors::{ADMITTED, page_with_token, token, tokens, with_token};

const MEMORY: Quantity =
    Quantity { id: "memory_mb", title: "memory", unit: "MB", digits: 1, compared: false };
const PEAK: Quantity =
    Quantity { id: "peak_mb", title: "memory at most", unit: "MB", digits: 1, compared: false };
const REFUSED: Quantity =
    Quantity { id: "refused", title: "told 503", unit: "streams", digits: 0, compared: false };
const LAST: Quantity =
    Quantity { id: "last_ms", title: "last answer", unit: "ms", digits: 0, compared: false };

fn sized(name: &str, size: usize, what: &str) -> String {
    let what = if size == 1 { what.trim_end_matches('s') } else { what };
    format!("{name}, {size} {what}")
}

/// A contender for each size, all running side by side.
struct Sized {
    contender: Contender,
    /// Its name without the size.
    kind: String,
    size: usize,
}

fn serve_sized(recipe: Recipe, size: usize, what: &str) -> Result<Sized> {
    let kind = recipe.name.clone();
    let contender = recipe.named(sized(&kind, size, what)).serve()?;
    Ok(Sized { contender, kind, size })
}

fn add_rows(table: &mut Table, all: &[Sized], reference: &str, what: &str) {
    for it in all {
        let against = sized(reference, it.size, what);
        table.add_size(&it.contender.name, it.size as f64, Some(&against));
    }
}

fn push_memory(table: &mut Table, all: &[Sized]) -> Result<()> {
    for it in all {
        table.push(&it.contender.name, MEMORY, it.contender.process.memory()?.mb());
    }
    Ok(())
}

pub(super) fn routes(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    let mut all = Vec::new();
    for size in [1, 10, 100, 500] {
        let deployment = Deployment { routes: size, ..Deployment::of(Chain::Whole) };
        all.push(serve_sized(kit.native(Guard::Nobody, &deployment)?, size, "routes")?);
        all.push(serve_sized(kit.native(Guard::JwtAuthn(Some(CACHE)), &deployment)?, size, "routes")?);
        all.push(serve_sized(kit.lockgate(&deployment)?, size, "routes")?);
    }
    let mut table = Table::new(
        "routes",
        "How cost grows: routes, each with a rule",
        "A known token at the last of so many routes, each of which has a rule of its own about who may \
         pass; the shipped routes come after them. At saturation; memory after it.",
        &[CPU_ALONE, RATE, MEMORY],
    )
    .against("jwt_authn with cache + rbac with as many routes");
    add_rows(&mut table, &all, KNOWN, "routes");
    let known = token(&kit.signer, &kit.backend.issuer(1), 0)?;
    let mut runners: Vec<_> = all
        .iter()
        .map(|it| {
            let request = with_token(&format!("/part-{}/17?view=full", it.size), &known);
            let source = Source::Made(Box::new(move || vec![request.clone()]));
            Runner::new(&it.contender, source, ADMITTED)
        })
        .collect();
    compare(&kit.backend, &mut table, &mut runners, short(effort))?;
    push_memory(&mut table, &all)?;
    Ok(vec![table])
}

/// Many points, each measured for half as long.
fn short(effort: &Effort) -> Turns {
    let pace = Pace::Saturating(effort.time / 2);
    Turns { rounds: effort.few(), pace, warm_up: pace, fixed: None, ..effort.turns() }
}

pub(super) fn keys(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    const FRESH: usize = 400;
    let mut all = Vec::new();
    for size in [1, 10, 100, 1_000] {
        let deployment = Deployment { keys: size, ..Deployment::of(Chain::Whole) };
        all.push(serve_sized(kit.native(Guard::JwtAuthn(None), &deployment)?, size, "keys")?);
        all.push(serve_sized(kit.lockgate(&deployment)?, size, "keys")?);
    }
    let mut table = Table::new(
        "keys",
        "How cost grows: signing keys of the issuer",
        "Every request brings another RS256 token, signed with the last of so many keys, or with the \
         hundredth: Lockgate reads no more of a set. The other keys are on P-256. At saturation; memory \
         after it.",
        &[CPU_ALONE, RATE, MEMORY],
    )
    .against("jwt_authn without cache + rbac with as many keys");
    add_rows(&mut table, &all, UNKNOWN, "keys");
    let mut runners = Vec::new();
    for it in &all {
        let issuer = kit.backend.issuer(it.size);
        let minted = tokens(&kit.signer, &issuer, 0..FRESH * (effort.few() + 1))?;
        let requests = minted.iter().map(|token| page_with_token(token)).collect();
        runners.push(Runner::new(&it.contender, Source::Kept(Requests::once(requests)), ADMITTED));
    }
    let pace = Pace::Counted(FRESH);
    compare(&kit.backend, &mut table, &mut runners, Turns { pace, warm_up: pace, ..short(effort) })?;
    push_memory(&mut table, &all)?;
    Ok(vec![table])
}

pub(super) fn bodies(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    const BYTES_A_TURN: usize = 20_000_000;
    let mut contenders = vec![kit.nginx(1)?.serve()?];
    contenders.extend(serve(kit, Chain::Log)?);
    let mut table = Table::new(
        "bodies",
        "How cost grows: bytes of a Slack command",
        "Commands of so many bytes, acknowledged, on eight connections; 20 MB a turn, 2,000 commands at most. \
         At saturation.",
        &[CPU_ALONE, RATE, P50, P99],
    )
    .against("nginx with Lua with as many bytes");
    for kilobytes in [1, 10, 100, 1_000] {
        let size = kilobytes * 1_000;
        let mut runners: Vec<_> = contenders
            .iter()
            .map(|contender| {
                let source = Source::Made(Box::new(move || commands(size, 8)));
                let mut runner = Runner::new(contender, source, ACKNOWLEDGED).publishing();
                runner.name = sized(&runner.name, kilobytes, "kB");
                runner
            })
            .collect();
        for runner in &runners {
            table.add_size(&runner.name, size as f64, Some(&sized(NGINX, kilobytes, "kB")));
        }
        let pace = Pace::Counted((BYTES_A_TURN / size).min(2_000));
        let turns = Turns { connections: 8, pace, warm_up: pace, ..short(effort) };
        compare(&kit.backend, &mut table, &mut runners, turns)?;
    }
    Ok(vec![table])
}

pub(super) fn streams(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    const QUEUE_TAKES: Duration = Duration::from_millis(400);
    let began = Instant::now();
    let mut all = Vec::new();
    for size in [1, 10, 100, 500, 1_000] {
        all.push(serve_sized(kit.nginx(1)?, size, "streams")?);
        all.push(serve_sized(kit.lockgate(&Deployment::of(Chain::Log))?, size, "streams")?);
    }
    let mut table = Table::new(
        "streams",
        "How cost grows: streams that wait at once",
        "So many clients send a Slack command of 300 B at the same instant, and the queue takes 400 ms for \
         every publish. A worker of Lockgate holds at most 512 streams and tells the others 503 with \
         Retry-After. Each size has a process of its own; memory is read every 20 ms.",
        &[LAST, REFUSED, CPU_ALONE, PEAK],
    )
    .against("nginx with Lua with as many streams");
    add_rows(&mut table, &all, NGINX, "streams");
    for it in &all {
        // The first request of a process fetches the access token; that is not what is counted.
        let mut load = Load::connect(it.contender.address, 8)?;
        load.run(&mut Requests::repeated(commands(300, 64)), &ACKNOWLEDGED, Pace::Counted(500))?.correct()?;
    }
    in_turn(effort.few(), all.len(), |_, index| {
        let Some(it) = all.get(index) else { return Ok(()) };
        let mut load = Load::connect(it.contender.address, it.size)?;
        let before = it.contender.process.cpu_ns()?;
        kit.backend.set_delay(QUEUE_TAKES);
        let mut requests = Requests::repeated(commands(300, 64));
        let pace = Pace::Counted(it.size);
        let (outcome, peak) = while_sampling(&it.contender.process, || {
            load.run(&mut requests, &Expected { status: 200, body: None }, pace)
        })?;
        kit.backend.set_delay(Duration::ZERO);
        let outcome = outcome?;
        let refused = outcome.statuses.get(&503).copied().unwrap_or_default();
        let stored = outcome.statuses.get(&200).copied().unwrap_or_default();
        if stored + refused != it.size || (refused > 0 && it.size <= 512) {
            return Err(format!("{}: answers by status: {:?}", it.contender.name, outcome.statuses).into());
        }
        let cpu_us = (it.contender.process.cpu_ns()? - before) as f64 / 1e3 / it.size as f64;
        let last_ms = outcome.elapsed.as_secs_f64() * 1e3;
        for (quantity, value) in [(LAST, last_ms), (REFUSED, refused as f64), (CPU, cpu_us), (PEAK, peak)] {
            table.push(&it.contender.name, quantity, value);
        }
        Ok(())
    })?;
    eprintln!("bench: {}, {:.0} s", table.title, began.elapsed().as_secs_f64());
    Ok(vec![table])
}

/// Runs `action` and says how much memory a process had at most meanwhile, in MB.
pub(super) fn while_sampling<T>(process: &Process, action: impl FnOnce() -> T) -> Result<(T, f64)> {
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let sampling = scope.spawn(move || -> Result<f64> {
            let mut most = 0.0_f64;
            loop {
                most = most.max(process.memory()?.mb());
                let pause = is_done.recv_timeout(Duration::from_millis(20));
                if pause != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    return Ok(most);
                }
            }
        });
        let result = action();
        drop(done);
        let most = sampling.join().map_err(|_| "the sampling thread ended early")??;
        Ok((result, most))
    })
}

pub(super) fn workers(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    let known = token(&kit.signer, &kit.backend.issuer(1), 0)?;
    let known = page_with_token(&known);
    let (mut door, mut slack) = (Vec::new(), Vec::new());
    for size in [1, 2] {
        let of = |chain| Deployment { workers: size, ..Deployment::of(chain) };
        door.push(serve_sized_anywhere(kit.native(Guard::Nobody, &of(Chain::Whole))?, size)?);
        door.push(serve_sized_anywhere(kit.native(Guard::JwtAuthn(Some(CACHE)), &of(Chain::Whole))?, size)?);
        door.push(serve_sized_anywhere(kit.lockgate(&of(Chain::Whole))?, size)?);
        slack.push(serve_sized_anywhere(kit.nginx(size)?, size)?);
        slack.push(serve_sized_anywhere(kit.lockgate(&of(Chain::Log))?, size)?);
    }
    let how = "On any processor, so that two workers can use both; the load takes its share of them. At \
               saturation.";
    let mut tables = Vec::new();
    for (id, title, all) in [
        ("workers-door", "Workers: a known token", &door),
        ("workers-slack", "Workers: a Slack command of 300 B", &slack),
    ] {
        let mut table = Table::new(id, title, how, &[CPU_ALONE, RATE, P50, P99]);
        table.against = Some("one worker of the same");
        for it in all {
            let one = sized(&it.kind, 1, "workers");
            table.add_size(&it.contender.name, it.size as f64, Some(&one));
        }
        let mut runners: Vec<_> = all
            .iter()
            .map(|it| {
                if id == "workers-door" {
                    let request = known.clone();
                    let source = Source::Made(Box::new(move || vec![request.clone()]));
                    Runner::new(&it.contender, source, ADMITTED)
                } else {
                    let source = Source::Made(Box::new(|| commands(300, 64)));
                    Runner::new(&it.contender, source, ACKNOWLEDGED).publishing()
                }
            })
            .collect();
        compare(
            &kit.backend,
            &mut table,
            &mut runners,
            Turns { rounds: effort.few(), fixed: None, ..effort.turns() },
        )?;
        tables.push(table);
    }
    Ok(tables)
}

fn serve_sized_anywhere(recipe: Recipe, size: usize) -> Result<Sized> {
    let kind = recipe.name.clone();
    let contender = recipe.named(sized(&kind, size, "workers")).serve_anywhere()?;
    Ok(Sized { contender, kind, size })
}
