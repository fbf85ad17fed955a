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
        fs::write(directory.join("results.json"), layout(&self.json(), 0) + "\n")?;
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

/// JSON in which a contender's figures are one line, so that a change of them is.
fn layout(value: &Value, depth: usize) -> String {
    const LINES: usize = 4;
    let indent = " ".repeat(depth + 1);
    let (open, close, items): (_, _, Vec<String>) = match value {
        _ if depth >= LINES => return value.to_string(),
        Value::Array(items) => ('[', ']', items.iter().map(|item| layout(item, depth + 1)).collect()),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, item)| format!("{}: {}", json!(name), layout(item, depth + 1)));
            ('{', '}', fields.collect())
        }
        other => return other.to_string(),
    };
    let items: Vec<_> = items.into_iter().map(|item| format!("\n{indent}{item}")).collect();
    format!("{open}{}\n{}{close}", items.join(","), " ".repeat(depth))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laid_out_json_is_the_same_json() {
        let value = json!({"a": [1, {"b": [{"c": {"d": [1, 2]}}], "e": {}}], "f": "x\ny", "g": []});
        let text = layout(&value, 0);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains(r#"{"c":{"d":[1,2]}}"#), "{text}");
    }

    #[test]
    fn figures_have_five_digits() {
        let figures = [123_456.7, 0.123_456_7, 0.0, f64::NAN].map(rounded);
        assert_eq!(figures, [json!(123_460.0), json!(0.12346), json!(0.0), Value::Null]);
    }
}
