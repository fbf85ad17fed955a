//! From exec to the first correct answer.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{BARE, Effort, with_beside};
use crate::Result;
use crate::contenders::{Chain, Deployment, Floor, Guard, Kit, Recipe, SLACK_SECRET};
use crate::http::{exchange, once};
use crate::load::Expected;
use crate::process::Memory;
use crate::slack;
use crate::table::{Quantity, Table};
use crate::turns::in_turn;
use crate::visitors::{ADMITTED, page, signed_in, signed_in_natively};

const FIRST: Quantity =
    Quantity { id: "first_answer_ms", title: "first answer", unit: "ms", digits: 0, compared: true };
const CPU: Quantity = Quantity {
    id: "first_answer_cpu_ms",
    title: "CPU time until then",
    unit: "ms",
    digits: 0,
    compared: true,
};
const MEMORY: Quantity =
    Quantity { id: "memory_mb", title: "memory then", unit: "MB", digits: 1, compared: false };

/// A start that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Starter {
    recipe: Recipe,
    request: Box<dyn Fn() -> Vec<u8>>,
    expected: Expected,
}

pub(super) fn measure(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    Ok(vec![slack_command(kit, effort)?, signed_in_page(kit, effort)?])
}

fn slack_command(kit: &Kit, effort: &Effort) -> Result<Table> {
    let command = || slack::command(&slack::form(300, 1), SLACK_SECRET);
    let starter = |recipe, expected: Expected| Starter { recipe, request: Box::new(command), expected };
    let whole = Deployment { workers: 2, ..Deployment::of(Chain::Whole) };
    let mut starters = vec![
        starter(kit.bare(2)?, ADMITTED),
        starter(kit.native(Guard::Nobody, &whole)?, ADMITTED),
        starter(kit.floor(Floor::Passes, &whole)?, ADMITTED),
    ];
    for chain in [Chain::Log, Chain::Whole] {
        let two = Deployment { workers: 2, ..Deployment::of(chain) };
        for deployment in with_beside(kit, two.clone()) {
            starters.push(starter(kit.lockgate(&deployment)?, slack::ACKNOWLEDGED));
        }
        if !effort.brief {
            let separate = Deployment { separate: true, ..two };
            starters.push(starter(kit.lockgate(&separate)?, slack::ACKNOWLEDGED));
        }
    }
    starters.push(starter(kit.lockgate_run(&whole)?, slack::ACKNOWLEDGED));
    let compiled = kit.precompiled()?;
    for chain in [Chain::Log, Chain::Whole] {
        let two = Deployment { workers: 2, modules: Some(compiled.clone()), ..Deployment::of(chain) };
        let recipe = kit.lockgate_run(&two)?;
        let name = precompiled(&recipe.name);
        starters.push(starter(recipe.named(name), slack::ACKNOWLEDGED));
    }
    starters.push(starter(kit.nginx(2)?, slack::ACKNOWLEDGED));
    let table = Table::new(
        "cold-start",
        "Cold start: a Slack command",
        "From exec until the first correct answer to a signed command of 300 B (stored in the queue; those \
         that store nothing pass it on). Two workers, any processor, files in the page cache. A connection is tried \
         every half millisecond. CPU time of all threads, which a busy machine stretches less.",
        &[FIRST, CPU, MEMORY],
    );
    take_turns(table, &starters, effort)
}

/// The name of a row whose modules were compiled beforehand.
pub(super) fn precompiled(name: &str) -> String {
    [name, ", precompiled"].concat()
}

fn signed_in_page(kit: &Kit, effort: &Effort) -> Result<Table> {
    let whole = Deployment { workers: 2, ..Deployment::of(Chain::Whole) };
    let oauth2 = kit.native(Guard::OAuth2, &whole)?;
    let cookie = signed_in_natively(oauth2.serve()?.address)?;
    let bare = kit.bare(2)?;
    let mut starters = vec![
        Starter { recipe: bare, request: Box::new(|| page("")), expected: ADMITTED },
        Starter { recipe: oauth2, request: Box::new(move || page(&cookie)), expected: ADMITTED },
    ];
    for deployment in with_beside(kit, whole.clone()) {
        let recipe = kit.lockgate(&deployment)?;
        let cookie = signed_in(recipe.serve()?.address)?;
        starters.push(Starter { recipe, request: Box::new(move || page(&cookie)), expected: ADMITTED });
    }
    let compiled = Deployment { modules: Some(kit.precompiled()?), ..whole };
    let recipe = kit.lockgate_run(&compiled)?;
    let name = precompiled(&recipe.name);
    let recipe = recipe.named(name);
    let cookie = signed_in(recipe.serve()?.address)?;
    starters.push(Starter { recipe, request: Box::new(move || page(&cookie)), expected: ADMITTED });
    let table = Table::new(
        "cold-start-page",
        "Cold start: a signed-in person's page",
        "The same, for a page that somebody asks for who signed in before this start.",
        &[FIRST, CPU, MEMORY],
    );
    take_turns(table, &starters, effort)
}

fn take_turns(mut table: Table, starters: &[Starter], effort: &Effort) -> Result<Table> {
    let began = Instant::now();
    for starter in starters {
        table.add(&starter.recipe.name, Some(BARE));
        // Once for the page cache, and to know that it works at all.
        first_answer(starter)?;
    }
    in_turn(effort.starts, starters.len(), |_, index| {
        let Some(starter) = starters.get(index) else { return Ok(()) };
        let start = first_answer(starter)?;
        let name = &starter.recipe.name;
        table.push(name, FIRST, start.time.as_secs_f64() * 1e3);
        table.push(name, CPU, start.cpu_ns as f64 / 1e6);
        table.push(name, MEMORY, start.memory.mb());
        Ok(())
    })?;
    eprintln!("bench: {}, {:.0} s", table.title, began.elapsed().as_secs_f64());
    Ok(table)
}

/// What a start came to, at the first correct answer.
struct Start {
    time: Duration,
    cpu_ns: u64,
    memory: Memory,
}

fn first_answer(starter: &Starter) -> Result<Start> {
    let (recipe, expected) = (&starter.recipe, &starter.expected);
    let fits = |status: u16, body: &[u8]| {
        status == expected.status && expected.body.is_none_or(|known| known == body)
    };
    let request = (starter.request)();
    let began = Instant::now();
    let process = recipe.start_anywhere()?;
    let mut last = "nothing listens".to_owned();
    while began.elapsed() < PATIENCE {
        if let Ok(mut stream) = TcpStream::connect(recipe.address) {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            match exchange(&mut stream, &request) {
                Ok(answer) if fits(answer.status, &answer.body) => {
                    let time = began.elapsed();
                    return Ok(Start { time, cpu_ns: process.cpu_ns()?, memory: process.memory()? });
                }
                Ok(answer) => last = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
                Err(error) => last = error.to_string(),
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    // Whoever reads this wants to know what the contender had to say.
    let _ = once(recipe.address, &request);
    Err(format!("{}: no correct answer after {PATIENCE:?}; the last: {last}\n{}", recipe.name, recipe.said())
        .into())
}
