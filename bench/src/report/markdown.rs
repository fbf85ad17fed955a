//! The report as Markdown.

use std::fmt::Write;

use super::{Report, plots, targets};
use crate::stats::Spread;
use crate::table::{Quantity, Table};

pub(super) fn page(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a text cannot fail.
    let _ = write_page(&mut out, report);
    out
}

fn write_page(out: &mut String, report: &Report) -> std::fmt::Result {
    let machine = &report.machine;
    writeln!(out, "# Measurements\n")?;
    writeln!(out, "Made by `make bench`; [bench/README.md](../README.md) says how each figure is taken.\n")?;
    writeln!(
        out,
        "{}, commit {}. {}, {} processors, {:.0} GB; {}. Load average before the run: {:.2}. {} rounds of \
         {:.2} s, {} starts, {:.0} minutes in all.\n",
        machine.date,
        machine.commit,
        machine.processor,
        machine.processors,
        machine.memory_gb,
        machine.system,
        machine.load,
        report.effort.rounds,
        report.effort.time.as_secs_f64(),
        report.effort.starts,
        (report.seconds / 60.0).ceil(),
    )?;
    let versions = machine.versions.iter().map(|(name, version)| format!("{name} {version}"));
    writeln!(out, "{}.\n", versions.collect::<Vec<_>>().join("; "))?;
    let modules =
        machine.modules.iter().map(|(name, bytes)| format!("`{name}` {}", number(*bytes as f64, 0)));
    writeln!(out, "Modules, bytes: {}.\n", modules.collect::<Vec<_>>().join(", "))?;
    writeln!(
        out,
        "A figure is the median of the rounds; in parentheses are the quartiles. A ratio is taken within \
         each round, and then the median of the ratios.\n"
    )?;
    write_targets(out, report)?;
    for table in &report.tables {
        write_table(out, table)?;
        for (name, title) in plots::of(table.id) {
            writeln!(out, "![{title}]({name})\n")?;
        }
    }
    Ok(())
}

fn write_targets(out: &mut String, report: &Report) -> std::fmt::Result {
    let targets = targets::all(report);
    if targets.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Targets\n")?;
    writeln!(out, "| figure | measured | at most | aim | |\n|---|--:|--:|--:|---|")?;
    for target in targets {
        let digits = if target.unit == "MB" || target.unit == "ms" && target.at_most > 10.0 { 0 } else { 2 };
        let bound = |value: f64| format!("{value} {}", target.unit);
        writeln!(
            out,
            "| {} | {} {} | {} | {} | {} |",
            target.figure,
            with_spread(target.measured, digits),
            target.unit,
            bound(target.at_most),
            target.aim.map(bound).unwrap_or_default(),
            target.verdict().word(),
        )?;
    }
    if let Some(pass) = report
        .table("slack-20k")
        .and_then(|table| table.difference("Lockgate, log.wasm", "Lockgate, log.wasm, not sealed", "cpu_us"))
    {
        writeln!(
            out,
            "\nAt 20 kB the floor is SHA-256 in WebAssembly: one pass over the request (sealed less not \
             sealed) costs {} µs of CPU, and a sealed command takes two.",
            with_spread(pass, 0)
        )?;
    }
    writeln!(out)
}

fn write_table(out: &mut String, table: &Table) -> std::fmt::Result {
    writeln!(out, "## {}\n\n{}\n", table.title, table.how)?;
    let (mut head, mut line) = ("| |".to_owned(), "|---|".to_owned());
    for quantity in &table.quantities {
        let unit = if quantity.unit.is_empty() { String::new() } else { format!(", {}", quantity.unit) };
        write!(head, " {}{unit} |", quantity.title)?;
        line.push_str("--:|");
        if has_ratio(table, *quantity) {
            head.push_str(" × |");
            line.push_str("--:|");
        }
    }
    writeln!(out, "{head}\n{line}")?;
    for row in &table.rows {
        write!(out, "| {} |", row.name)?;
        for quantity in &table.quantities {
            let figure = table.spread(row, quantity.id);
            let text = figure.map(|figure| with_spread(figure, quantity.digits)).unwrap_or_default();
            write!(out, " {text} |")?;
            if has_ratio(table, *quantity) {
                let ratio = table.ratio(row, quantity.id);
                let text = ratio.map(|ratio| format!("{:.2}", ratio.median)).unwrap_or_default();
                write!(out, " {text} |")?;
            }
        }
        writeln!(out)?;
    }
    let only = table.rows.first().and_then(|row| row.against.as_deref());
    match table.against.or(only) {
        Some(reference) => writeln!(out, "\n× is against {reference}.\n"),
        None => writeln!(out),
    }
}

/// Whether a quantity's ratios are shown.
fn has_ratio(table: &Table, quantity: Quantity) -> bool {
    quantity.compared && table.rows.iter().any(|row| row.against.is_some())
}

fn with_spread(spread: Spread, digits: usize) -> String {
    let [median, low, high] = [spread.median, spread.low, spread.high].map(|value| number(value, digits));
    if low == median && high == median { median } else { format!("{median} ({low}–{high})") }
}

/// With commas between thousands.
pub(super) fn number(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut out = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    let sign =
        if value < 0.0 && text.contains(|digit: char| ('1'..='9').contains(&digit)) { "−" } else { "" };
    match rest {
        Some(rest) => format!("{sign}{out}.{rest}"),
        None => [sign, &out].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(number(1_234_567.891, 1), "1,234,567.9");
        assert_eq!(number(999.0, 0), "999");
        assert_eq!(number(-1_000.4, 0), "−1,000");
        assert_eq!(number(-0.001, 2), "0.00");
    }

    #[test]
    fn what_did_not_vary_has_no_spread() {
        assert_eq!(with_spread(Spread { median: 1.0, low: 0.999, high: 1.001 }, 1), "1.0");
        assert_eq!(with_spread(Spread { median: 1.0, low: 0.5, high: 2.0 }, 1), "1.0 (0.5–2.0)");
    }
}
