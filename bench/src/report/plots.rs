//! Which plots there are, and of which tables.

use super::Report;
use super::plot::{Bar, Group, Line, Panel, Range, bars, panels, ranges};
use crate::table::Table;

const COLD_START: &str = "cold-start.svg";
const DOOR: &str = "door.svg";
const SLACK: &str = "slack.svg";
const LATENCY: &str = "latency.svg";
const GROWTH: &str = "growth.svg";
const MEMORY: &str = "memory.svg";

/// The plots that stand below a table, with what they say to those who cannot see them.
pub(super) fn of(table: &str) -> &'static [(&'static str, &'static str)] {
    match table {
        "cold-start" => &[(COLD_START, "Cold start: time from exec to the first correct answer")],
        "door-not-needed" => &[(DOOR, "The door: CPU time of a request, by contender")],
        "slack-20k" => &[
            (SLACK, "A Slack command: CPU time, by contender"),
            (LATENCY, "Latency at a fixed arrival rate, by contender"),
        ],
        "streams" => &[(GROWTH, "How cost grows with routes, keys, bytes and waiting streams")],
        "memory" => &[(MEMORY, "Memory at rest with two workers, by contender")],
        _ => &[],
    }
}

/// File names and contents; of what was not measured there is none.
pub(super) fn all(report: &Report) -> Vec<(&'static str, String)> {
    let group = |id: &str, heading: &str, quantity: &str| -> Option<Group> {
        let table = report.table(id)?;
        let bars = table
            .rows
            .iter()
            .filter_map(|row| Some(Bar { name: row.name.clone(), figure: table.spread(row, quantity)? }));
        Some(Group { heading: heading.to_owned(), bars: bars.collect() })
    };
    let groups = |wanted: &[(&str, &str, &str)]| -> Vec<Group> {
        wanted.iter().filter_map(|(id, heading, quantity)| group(id, heading, quantity)).collect()
    };
    let mut plots = Vec::new();
    let mut add = |name, groups: Vec<Group>, title: &str, unit: &str, digits| {
        if !groups.is_empty() {
            plots.push((name, bars(title, unit, digits, &groups)));
        }
    };
    let cold = [
        ("cold-start", "a Slack command", "first_answer_ms"),
        ("cold-start-page", "a signed-in person's page", "first_answer_ms"),
    ];
    add(COLD_START, groups(&cold), "Cold start: exec to the first correct answer", "ms", 0);
    let door = [
        ("door-known", "a visitor it knows", "cpu_us"),
        ("door-first-sight", "a token seen for the first time", "cpu_us"),
    ];
    add(DOOR, groups(&door), "The door: CPU time of a request, at saturation", "µs", 0);
    let slack = [
        ("slack-300", "300 B, acknowledged", "cpu_us"),
        ("slack-20k", "20 kB, acknowledged", "cpu_us"),
        ("lone", "300 B, one client", "cpu_us"),
        ("playback", "300 B, played back", "cpu_us"),
    ];
    add(SLACK, groups(&slack), "A Slack command: CPU time of a request", "µs", 0);
    let memory = group("memory", "two workers", "rest_mb").map(|mut group| {
        group.bars.retain_mut(|bar| match bar.name.strip_suffix(", 2 workers") {
            Some(name) => {
                bar.name = name.to_owned();
                true
            }
            None => false,
        });
        vec![group]
    });
    add(MEMORY, memory.unwrap_or_default(), "Memory at rest, programs and libraries included", "MB", 0);

    let latencies: Vec<_> =
        [("slack-300", "A Slack command of 300 B"), ("door-known", "The door, a visitor it knows")]
            .into_iter()
            .filter_map(|(id, heading)| latency(report.table(id)?, heading))
            .collect();
    if !latencies.is_empty() {
        plots.push((LATENCY, ranges("Latency at a fixed arrival rate: p50, p90, p99", &latencies)));
    }
    let growth: Vec<_> = [
        ("routes", "CPU time, µs: routes, each with a rule", "routes", "cpu_us", false),
        ("keys", "CPU time, µs: first sight, keys of the issuer", "keys", "cpu_us", false),
        ("bodies", "CPU time, µs: bytes of a command", "bytes", "cpu_us", true),
        ("streams", "Memory at most, MB: streams that wait at once", "streams", "peak_mb", false),
    ]
    .into_iter()
    .filter_map(|(id, heading, x, quantity, logarithmic)| {
        let lines = lines(report.table(id)?, quantity);
        Some(Panel { heading: heading.to_owned(), x, y_is_logarithmic: logarithmic, lines })
    })
    .collect();
    if !growth.is_empty() {
        plots.push((GROWTH, panels("How cost grows", &growth)));
    }
    plots
}

fn latency(table: &Table, heading: &str) -> Option<(String, Vec<Range>)> {
    let rate = table.rate?;
    let ranges = table.rows.iter().filter_map(|row| {
        let at = |quantity: &str| table.spread(row, quantity).map(|spread| spread.median);
        Some(Range { name: row.name.clone(), percentiles: [at("p50_ms")?, at("p90_ms")?, at("p99_ms")?] })
    });
    Some((format!("{heading}, {rate:.0} requests/s"), ranges.collect()))
}

/// A line for each contender: the rows of one kind, by size.
fn lines(table: &Table, quantity: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for row in &table.rows {
        let (Some(size), Some(figure)) = (row.size, table.spread(row, quantity)) else { continue };
        let kind = row.name.rsplit_once(", ").map_or(row.name.as_str(), |(kind, _)| kind);
        let point = (size, figure.median);
        match lines.iter_mut().find(|line| line.name == kind) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name: kind.to_owned(), points: vec![point] }),
        }
    }
    lines
}
