//! What is said of a run: on the terminal, as JSON, as Markdown and as plots.

mod machine;
mod markdown;
mod plot;
mod plots;
mod targets;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::Result;
use crate::contenders::Kit;
use crate::sections::Effort;
use crate::stats::Spread;
use crate::table::{Row, Table};
pub(crate) use machine::Machine;

/// A run.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) effort: Effort,
    pub(crate) seconds: f64,
    pub(crate) tables: Vec<Table>,
}

impl Report {
    pub(crate) fn new(kit: &Kit, effort: Effort) -> Result<Self> {
        Ok(Self { machine: Machine::look(kit)?, effort, seconds: 0.0, tables: Vec::new() })
    }

    /// Everything for a terminal: the Markdown is made to be read as it is.
    pub(crate) fn text(&self) -> String {
        markdown::page(self)
    }

    /// Writes `results.json`, `results.md` and the plots.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("results.json"), serde_json::to_string_pretty(&self.json())? + "\n")?;
        fs::write(directory.join("results.md"), self.text())?;
        for (name, svg) in plots::all(self) {
            fs::write(directory.join(name), svg)?;
        }
        Ok(())
    }

    fn table(&self, id: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == id)
    }

    fn json(&self) -> Value {
        let targets: Vec<_> = targets::all(self)
            .into_iter()
            .map(|target| {
                json!({
                    "figure": target.figure, "unit": target.unit, "measured": spread_json(target.measured),
                    "at_most": target.at_most, "aim": target.aim, "verdict": target.verdict().word(),
                })
            })
            .collect();
        json!({
            "machine": self.machine.json(),
            "rounds": self.effort.rounds,
            "starts": self.effort.starts,
            "seconds_a_measurement": self.effort.time.as_secs_f64(),
            "seconds": self.seconds.round(),
            "targets": targets,
            "tables": self.tables.iter().map(table_json).collect::<Vec<_>>(),
        })
    }
}

fn table_json(table: &Table) -> Value {
    let quantities = table
        .quantities
        .iter()
        .map(|quantity| json!({"id": quantity.id, "title": quantity.title, "unit": quantity.unit}));
    json!({
        "id": table.id, "title": table.title, "how": table.how, "fixed_rate": table.rate,
        "quantities": quantities.collect::<Vec<_>>(),
        "rows": table.rows.iter().map(|row| row_json(table, row)).collect::<Vec<_>>(),
    })
}

fn row_json(table: &Table, row: &Row) -> Value {
    let mut figures = serde_json::Map::new();
    for (quantity, samples) in table.quantities.iter().zip(&row.samples) {
        let Some(spread) = table.spread(row, quantity.id) else { continue };
        let mut figure = spread_json(spread);
        if let Some(ratio) = table.ratio(row, quantity.id).filter(|_| quantity.compared) {
            figure["ratio"] = spread_json(ratio);
        }
        figure["rounds"] = samples.iter().copied().map(rounded).collect();
        figures.insert(quantity.id.to_owned(), figure);
    }
    json!({"name": row.name, "size": row.size, "against": row.against, "figures": figures})
}

fn spread_json(spread: Spread) -> Value {
    json!({
        "median": rounded(spread.median),
        "quarter_below": rounded(spread.low),
        "quarter_above": rounded(spread.high),
    })
}

/// To five significant digits: what is committed should not change where nothing did.
fn rounded(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return json!(value.is_finite().then_some(0.0));
    }
    let unit = 10_f64.powf(4.0 - value.abs().log10().floor());
    json!((value * unit).round() / unit)
}
