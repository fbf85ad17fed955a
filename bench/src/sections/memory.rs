//! Memory at rest, under load and after it.

use std::time::{Duration, Instant};

use super::cold_start::precompiled;
use super::growth::while_sampling;
use super::{Effort, with_beside};
use crate::Result;
use crate::contenders::{CACHE, Chain, Contender, Deployment, Floor, Guard, Kit, Recipe};
use crate::load::{Expected, Load, Pace, Requests};
use crate::slack::{ACKNOWLEDGED, commands};
use crate::table::{Quantity, Table};
use crate::visitors::{ADMITTED, page, page_with_token, tokens};

const REST: Quantity = Quantity { id: "rest_mb", title: "at rest", unit: "MB", digits: 1, compared: false };
const OWN: Quantity =
    Quantity { id: "rest_own_mb", title: "at rest, without files", unit: "MB", digits: 1, compared: false };
const LOADED: Quantity =
    Quantity { id: "load_mb", title: "under load at most", unit: "MB", digits: 1, compared: false };
const AFTER: Quantity =
    Quantity { id: "after_mb", title: "5 s after it", unit: "MB", digits: 1, compared: false };

/// The row, with two workers, that memory is compared with.
pub(crate) const BARE: &str = "bare Envoy, 2 workers";
/// The row of the whole chain as the container has it.
pub(crate) const PRECOMPILED: &str = "lockgate run, lockgate.wasm, precompiled, 2 workers";
/// The row of the whole chain.
pub(crate) const WHOLE: &str = "Lockgate, lockgate.wasm, 2 workers";

const QUIET: Duration = Duration::from_secs(5);

/// What somebody does under load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Pages,
    Tokens,
    Commands,
    CommandsAndTokens,
}

pub(super) fn measure(kit: &Kit, effort: &Effort) -> Result<Vec<Table>> {
    let began = Instant::now();
    let mut recipes: Vec<(Recipe, Work)> = Vec::new();
    for workers in [1, 2] {
        let named = |recipe: Recipe| {
            let name = format!("{}, {workers} worker{}", recipe.name, if workers == 1 { "" } else { "s" });
            recipe.named(name)
        };
        let of = |chain| Deployment { workers, ..Deployment::of(chain) };
        recipes.push((named(kit.bare(workers)?), Work::Pages));
        recipes.push((named(kit.native(Guard::Nobody, &of(Chain::Whole))?), Work::Pages));
        recipes.push((named(kit.floor(Floor::Passes, &of(Chain::Whole))?), Work::Pages));
        let native = kit.native(Guard::JwtAuthn(Some(CACHE)), &of(Chain::Whole))?;
        recipes.push((named(native), Work::Tokens));
        recipes.push((named(kit.nginx(workers)?), Work::Commands));
        for deployment in with_beside(kit, of(Chain::Log)) {
            recipes.push((named(kit.lockgate(&deployment)?), Work::Commands));
        }
        for deployment in with_beside(kit, of(Chain::Whole)) {
            recipes.push((named(kit.lockgate(&deployment)?), Work::CommandsAndTokens));
        }
        let compiled = Deployment { modules: Some(kit.precompiled()?), ..of(Chain::Whole) };
        let recipe = kit.lockgate_run(&compiled)?;
        let name = precompiled(&recipe.name);
        recipes.push((named(recipe.named(name)), Work::CommandsAndTokens));
        let separate = Deployment { separate: true, ..of(Chain::Whole) };
        recipes.push((named(kit.lockgate(&separate)?), Work::CommandsAndTokens));
    }
    let mut table = Table::new(
        "memory",
        "Memory",
        "Of all processes of a contender: at rest a second after the first answer; the most that was seen \
         under load (64 connections; Slack commands of 300 B and 20 kB where there is a log, pages with 1,000 \
         different tokens where there is a door, pages where there is neither); and when it has been \
         idle for 5 s after that. A fresh process for each round. Programs and libraries count once.",
        &[REST, OWN, LOADED, AFTER],
    );
    for (recipe, _) in &recipes {
        table.add(&recipe.name, None);
    }
    let minted = tokens(&kit.signer, &kit.backend.issuer(1), 0..1_000)?;
    let fresh: Vec<_> = minted.iter().map(|token| page_with_token(token)).collect();
    for _ in 0..effort.rounds.min(1) {
        let contenders: Vec<_> =
            recipes.iter().map(|(recipe, _)| recipe.serve_anywhere()).collect::<Result<_>>()?;
        for (contender, (_, work)) in contenders.iter().zip(&recipes) {
            load(contender, *work, &fresh, Pace::Counted(1))?;
        }
        std::thread::sleep(Duration::from_secs(1));
        for contender in &contenders {
            let memory = contender.process.memory()?;
            table.push(&contender.name, REST, memory.mb());
            table.push(&contender.name, OWN, memory.own_mb());
        }
        for (contender, (_, work)) in contenders.iter().zip(&recipes) {
            let pace = Pace::Saturating(effort.time);
            let (done, most) = while_sampling(&contender.process, || load(contender, *work, &fresh, pace))?;
            done?;
            table.push(&contender.name, LOADED, most);
        }
        std::thread::sleep(QUIET);
        for contender in &contenders {
            table.push(&contender.name, AFTER, contender.process.memory()?.mb());
        }
    }
    eprintln!("bench: {}, {:.0} s", table.title, began.elapsed().as_secs_f64());
    Ok(vec![table])
}

fn load(contender: &Contender, work: Work, fresh: &[Vec<u8>], pace: Pace) -> Result<()> {
    let run = |requests: Vec<Vec<u8>>, expected: &Expected, pace: Pace| -> Result<()> {
        let connections = if matches!(pace, Pace::Counted(1)) { 1 } else { 64 };
        let mut load = Load::connect(contender.address, connections)?;
        let outcome = load.run(&mut Requests::repeated(requests), expected, pace)?.correct();
        outcome.map(drop).map_err(|error| format!("{}: {error}", contender.name).into())
    };
    if matches!(work, Work::Commands | Work::CommandsAndTokens) {
        run(commands(300, 64), &ACKNOWLEDGED, pace)?;
        run(commands(20_000, 64), &ACKNOWLEDGED, pace)?;
    }
    match work {
        Work::Pages => run(vec![page("")], &ADMITTED, pace),
        Work::Tokens | Work::CommandsAndTokens => run(fresh.to_vec(), &ADMITTED, pace),
        Work::Commands => Ok(()),
    }
}
