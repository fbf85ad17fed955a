//! A table of figures: contenders down, quantities across, every round kept.

use crate::stats::{Spread, ratio, spread};

/// A quantity: its name, its unit, and how many digits behind the point mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    /// In JSON.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) digits: usize,
    /// Whether its ratio to the reference is shown.
    pub(crate) compared: bool,
}

/// A section's figures.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// What was done and how it was measured, in a sentence or three.
    pub(crate) how: String,
    pub(crate) quantities: Vec<Quantity>,
    /// What ratios are to, where that is not the same row for all.
    pub(crate) against: Option<&'static str>,
    /// The fixed rate of what was measured at one, in requests a second.
    pub(crate) rate: Option<f64>,
    pub(crate) rows: Vec<Row>,
}

/// A contender's figures.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// The name of the row that its ratios are to.
    pub(crate) against: Option<String>,
    /// For plots of how something grows.
    pub(crate) size: Option<f64>,
    /// For each quantity the figure of each round; empty where it does not apply.
    pub(crate) samples: Vec<Vec<f64>>,
}

impl Table {
    pub(crate) fn new(id: &'static str, title: &str, how: &str, quantities: &[Quantity]) -> Self {
        let quantities = quantities.to_vec();
        Self {
            id,
            title: title.to_owned(),
            how: how.to_owned(),
            quantities,
            against: None,
            rate: None,
            rows: Vec::new(),
        }
    }

    /// Says what its ratios are to, where rows have references of their own.
    pub(crate) fn against(mut self, what: &'static str) -> Self {
        self.against = Some(what);
        self
    }

    /// Says which the fixed rate was.
    pub(crate) fn told_rate(&mut self, rate: Option<f64>) {
        if let Some(rate) = rate {
            self.how.push_str(&format!(" The fixed rate is {rate:.0} requests/s."));
            self.rate = Some(rate);
        }
    }

    /// Adds an empty row.
    pub(crate) fn add(&mut self, name: &str, against: Option<&str>) {
        self.rows.push(Row {
            name: name.to_owned(),
            against: against.map(str::to_owned),
            size: None,
            samples: vec![Vec::new(); self.quantities.len()],
        });
    }

    /// Adds an empty row for a size.
    pub(crate) fn add_size(&mut self, name: &str, size: f64, against: Option<&str>) {
        self.add(name, against);
        if let Some(row) = self.rows.last_mut() {
            row.size = Some(size);
        }
    }

    /// Keeps a round's figure.
    pub(crate) fn push(&mut self, row: &str, quantity: Quantity, value: f64) {
        let Some(column) = self.quantities.iter().position(|known| known.id == quantity.id) else { return };
        let row = self.rows.iter_mut().find(|known| known.name == row);
        if let Some(samples) = row.and_then(|row| row.samples.get_mut(column)) {
            samples.push(value);
        }
    }

    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    fn samples<'a>(&'a self, row: &'a Row, quantity: &str) -> &'a [f64] {
        let column = self.quantities.iter().position(|known| known.id == quantity);
        column.and_then(|column| row.samples.get(column)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn spread(&self, row: &Row, quantity: &str) -> Option<Spread> {
        spread(self.samples(row, quantity))
    }

    /// A row's ratio to its own reference.
    pub(crate) fn ratio(&self, row: &Row, quantity: &str) -> Option<Spread> {
        let reference = self.row(row.against.as_deref()?)?;
        ratio(self.samples(row, quantity), self.samples(reference, quantity))
    }

    /// A row's ratio to another, by name.
    pub(crate) fn ratio_of(&self, row: &str, reference: &str, quantity: &str) -> Option<Spread> {
        let (row, reference) = (self.row(row)?, self.row(reference)?);
        ratio(self.samples(row, quantity), self.samples(reference, quantity))
    }

    /// A row's difference to another, round by round.
    pub(crate) fn difference(&self, row: &str, reference: &str, quantity: &str) -> Option<Spread> {
        let (row, reference) = (self.row(row)?, self.row(reference)?);
        let pairs = self.samples(row, quantity).iter().zip(self.samples(reference, quantity));
        spread(&pairs.map(|(sample, against)| sample - against).collect::<Vec<_>>())
    }
}
