//! Plots as SVG: bars with their quartiles, ranges of latency, and lines over a size.

use std::fmt::Write;

use super::markdown::number;
use crate::stats::Spread;

const WIDTH: f64 = 820.0;
const MARGIN: f64 = 20.0;
/// Room for names to the left of bars.
const NAMES: f64 = 290.0;
/// Room for a figure to their right.
const FIGURE: f64 = 110.0;
const ROW: f64 = 24.0;

/// Bars below a heading of their own.
pub(super) struct Group {
    pub(super) heading: String,
    pub(super) bars: Vec<Bar>,
}

/// A contender's figure.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) figure: Spread,
}

/// Latencies of a contender: p50, p90 and p99.
pub(super) struct Range {
    pub(super) name: String,
    pub(super) percentiles: [f64; 3],
}

/// One small plot of several.
pub(super) struct Panel {
    pub(super) heading: String,
    pub(super) x: &'static str,
    pub(super) y_is_logarithmic: bool,
    pub(super) lines: Vec<Line>,
}

/// A contender's figure by size.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Groups of horizontal bars, each group on a scale of its own.
pub(super) fn bars(title: &str, unit: &str, digits: usize, groups: &[Group]) -> String {
    let mut svg = Svg::new(title);
    let mut y = 62.0;
    for group in groups {
        svg.text(MARGIN, y + 14.0, &group.heading, "start", "heading");
        y += 26.0;
        let most = group.bars.iter().map(|bar| bar.figure.high).fold(0.0, f64::max);
        let scale = (WIDTH - 2.0 * MARGIN - NAMES - FIGURE) / most.max(f64::MIN_POSITIVE);
        for bar in &group.bars {
            let (left, middle) = (MARGIN + NAMES, y + ROW / 2.0);
            svg.text(left - 8.0, middle + 4.0, &bar.name, "end", "name");
            svg.rectangle(left, y + 4.0, bar.figure.median * scale, ROW - 8.0, colour(&bar.name));
            let (low, high) = (left + bar.figure.low * scale, left + bar.figure.high * scale);
            svg.line([(low, middle), (high, middle)], "#1f2328", 1.2);
            let text = format!("{} {unit}", number(bar.figure.median, digits));
            svg.text(high.max(left) + 8.0, middle + 4.0, &text, "start", "name");
            y += ROW;
        }
        y += 14.0;
    }
    svg.done(y)
}

/// Latencies on a logarithmic scale: a line from p50 to p99, a dot at each of the three.
pub(super) fn ranges(title: &str, groups: &[(String, Vec<Range>)]) -> String {
    let mut svg = Svg::new(title);
    let all = || groups.iter().flat_map(|(_, ranges)| ranges).flat_map(|range| range.percentiles);
    let least = all().fold(f64::INFINITY, f64::min);
    let most = all().fold(0.0, f64::max);
    let (left, right) = (MARGIN + NAMES, WIDTH - MARGIN - 30.0);
    let axis = Logarithmic::over(least, most, left, right);
    let mut y = 62.0;
    let top = y;
    for (heading, ranges) in groups {
        svg.text(MARGIN, y + 14.0, heading, "start", "heading");
        y += 26.0;
        for range in ranges {
            let middle = y + ROW / 2.0;
            let colour = colour(&range.name);
            svg.text(left - 8.0, middle + 4.0, &range.name, "end", "name");
            let places = range.percentiles.map(|value| axis.place(value));
            let [first, .., last] = places;
            svg.line([(first, middle), (last, middle)], colour, 3.0);
            for (place, radius) in places.into_iter().zip([5.5, 4.0, 3.0]) {
                svg.dot(place, middle, radius, colour);
            }
            y += ROW;
        }
        y += 14.0;
    }
    for tick in axis.ticks() {
        let x = axis.place(tick);
        svg.line_behind([(x, top), (x, y)]);
        svg.text(x, y + 14.0, &format!("{} ms", plain(tick)), "middle", "tick");
    }
    svg.done(y + 24.0)
}

/// Small plots, two in a row, over a logarithmic size.
pub(super) fn panels(title: &str, panels: &[Panel]) -> String {
    const HEIGHT: f64 = 290.0;
    let mut svg = Svg::new(title);
    let width = (WIDTH - 2.0 * MARGIN) / 2.0;
    for (index, panel) in panels.iter().enumerate() {
        let (column, row) = ((index % 2) as f64, (index / 2) as f64);
        panel.draw(&mut svg, MARGIN + column * width, 56.0 + row * HEIGHT, width - 16.0, HEIGHT - 24.0);
    }
    svg.done(56.0 + panels.len().div_ceil(2) as f64 * HEIGHT)
}

impl Panel {
    fn draw(&self, svg: &mut Svg, x: f64, y: f64, width: f64, height: f64) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let legend = 18.0 * self.lines.len() as f64;
        let (left, right) = (x + 58.0, x + width - 14.0);
        let (top, bottom) = (y + 34.0 + legend, y + height - 38.0);
        svg.text(x, y + 14.0, &self.heading, "start", "heading");
        for (index, line) in self.lines.iter().enumerate() {
            let middle = y + 30.0 + 18.0 * index as f64;
            svg.dot(left, middle, 4.0, colour(&line.name));
            svg.text(left + 10.0, middle + 4.0, &line.name, "start", "name");
        }
        let across = Logarithmic::over(
            points().map(|point| point.0).fold(f64::INFINITY, f64::min),
            points().map(|point| point.0).fold(0.0, f64::max),
            left,
            right,
        );
        let most = points().map(|point| point.1).fold(0.0, f64::max);
        let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let up: Box<dyn Fn(f64) -> f64> = if self.y_is_logarithmic {
            let axis = Logarithmic::over(least, most, bottom, top);
            for tick in axis.ticks() {
                svg.line_behind([(left, axis.place(tick)), (right, axis.place(tick))]);
                svg.text(left - 6.0, axis.place(tick) + 4.0, &plain(tick), "end", "tick");
            }
            Box::new(move |value| axis.place(value))
        } else {
            let step = step(most);
            let ceiling = (most / step).ceil() * step;
            let place = move |value: f64| bottom - (bottom - top) * value / ceiling;
            for tick in 0..=(ceiling / step).round() as u32 {
                let value = f64::from(tick) * step;
                svg.line_behind([(left, place(value)), (right, place(value))]);
                svg.text(left - 6.0, place(value) + 4.0, &plain(value), "end", "tick");
            }
            Box::new(place)
        };
        for tick in across.ticks() {
            svg.text(across.place(tick), bottom + 16.0, &plain(tick), "middle", "tick");
        }
        svg.text(f64::midpoint(left, right), bottom + 32.0, self.x, "middle", "tick");
        for line in &self.lines {
            let places: Vec<_> = line.points.iter().map(|(x, y)| (across.place(*x), up(*y))).collect();
            for pair in places.windows(2) {
                if let [from, to] = pair {
                    svg.line([*from, *to], colour(&line.name), 2.2);
                }
            }
            for (x, y) in places {
                svg.dot(x, y, 3.6, colour(&line.name));
            }
        }
    }
}

/// A logarithmic axis.
#[derive(Clone, Copy)]
struct Logarithmic {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Logarithmic {
    /// An axis a little longer than these values.
    fn over(least: f64, most: f64, from: f64, to: f64) -> Self {
        let (least, most) = (least.max(1e-6).log10(), most.max(1e-6).log10());
        let room = ((most - least) * 0.04).max(0.02);
        Self { least: least - room, most: most + room, from, to }
    }

    fn place(self, value: f64) -> f64 {
        let part = (value.max(1e-6).log10() - self.least) / (self.most - self.least);
        self.from + part * (self.to - self.from)
    }

    /// Powers of ten, with twos and fives between them where there is room.
    fn ticks(self) -> Vec<f64> {
        let steps: &[f64] = if self.most - self.least > 1.9 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = self.least.floor() as i32..=self.most.ceil() as i32;
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|tick| (self.least..=self.most).contains(&tick.log10())).collect()
    }
}

/// About five steps of 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    let rough = (most / 5.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

/// A tick's number, as short as it can be.
fn plain(value: f64) -> String {
    let thousands = [(1e6, "M"), (1e3, "k")];
    let scaled = thousands.into_iter().find(|(unit, _)| value >= *unit && (value / unit).fract() < 1e-9);
    match scaled {
        Some((unit, letter)) => format!("{:.0}{letter}", value / unit),
        None if value >= 1.0 || value == 0.0 => format!("{value:.0}"),
        None => format!("{value:.4}").trim_end_matches('0').to_owned(),
    }
}

/// Lockgate is blue, Envoy's own filters orange, nginx green, what does less than the job grey.
fn colour(name: &str) -> &'static str {
    if name.starts_with("Lockgate, lockgate.wasm") || name.starts_with("lockgate run") {
        "#0b5cc4"
    } else if name.starts_with("Lockgate") {
        "#5b9bea"
    } else if name.starts_with("nginx") {
        "#2c9c69"
    } else if name.contains("jwt_authn") {
        "#d98136"
    } else {
        "#a9b1bb"
    }
}

struct Svg {
    behind: String,
    before: String,
}

impl Svg {
    fn new(title: &str) -> Self {
        let mut svg = Self { behind: String::new(), before: String::new() };
        svg.text(MARGIN, 34.0, title, "start", "title");
        svg
    }

    // Writing into a text cannot fail, so the results below are of no interest.

    fn text(&mut self, x: f64, y: f64, text: &str, anchor: &str, class: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.before,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#
        );
    }

    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let _ = writeln!(
            self.before,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2" fill="{colour}"/>"#
        );
    }

    fn line(&mut self, [from, to]: [(f64, f64); 2], colour: &str, width: f64) {
        let _ = writeln!(
            self.before,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    fn line_behind(&mut self, [from, to]: [(f64, f64); 2]) {
        let _ = writeln!(
            self.behind,
            r##"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="#e3e7ec" stroke-width="1"/>"##,
            from.0, from.1, to.0, to.1
        );
    }

    fn dot(&mut self, x: f64, y: f64, radius: f64, colour: &str) {
        let _ = writeln!(self.before, r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{colour}"/>"#);
    }

    fn done(self, height: f64) -> String {
        // A ground of its own: the text is dark, and a page need not be light.
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" height="{height:.0}">
<style>
text {{ font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; font-size: 12.5px }}
.title {{ font-size: 17px; font-weight: 600 }}
.heading {{ font-size: 13.5px; font-weight: 600 }}
.tick {{ fill: #59636e; font-size: 11.5px }}
</style>
<rect width="{WIDTH}" height="{height:.0}" rx="8" fill="#ffffff"/>
{}{}</svg>
"##,
            self.behind, self.before
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_ticks_are_round() {
        assert_eq!([step(87.0), step(430.0), step(0.9)], [20.0, 100.0, 0.2]);
        let axis = Logarithmic::over(1.0, 500.0, 0.0, 100.0);
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0]);
        assert_eq!(Logarithmic::over(1.0, 20.0, 0.0, 1.0).ticks(), [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert!(axis.place(1.0) < axis.place(10.0) && axis.place(500.0) < 100.0);
        assert_eq!([0.05, 1.0, 1_500.0, 20_000.0, 1e6].map(plain), ["0.05", "1", "1500", "20k", "1M"]);
    }

    #[test]
    fn text_is_escaped() {
        let figure = Spread { median: 1.0, low: 1.0, high: 1.0 };
        let bar = Bar { name: "a < b & c".to_owned(), figure };
        let svg = bars("t", "µs", 0, &[Group { heading: "h".to_owned(), bars: vec![bar] }]);
        assert!(svg.contains("a &lt; b &amp; c"));
    }
}
