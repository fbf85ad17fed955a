//! A filter's counters and histograms, by name.

use std::cell::RefCell;

use crate::host::{Host, Metric};

/// The metrics that were used so far. Names come from the code alone, so there are few.
pub(crate) struct Metrics {
    filter: &'static str,
    ids: RefCell<Vec<(Vec<&'static str>, Option<u32>)>>,
}

impl Metrics {
    pub(crate) fn new(filter: &'static str) -> Self {
        Self { filter, ids: RefCell::default() }
    }

    pub(crate) fn count(&self, host: &dyn Host, parts: &[&'static str]) {
        if let Some(id) = self.id(host, Metric::Counter, parts) {
            host.increment(id);
        }
    }

    pub(crate) fn record_ms(&self, host: &dyn Host, parts: &[&'static str], ms: u64) {
        if let Some(id) = self.id(host, Metric::Histogram, parts) {
            host.record(id, ms);
        }
    }

    pub(crate) fn define_counter(&self, host: &dyn Host, parts: &[&'static str]) {
        self.id(host, Metric::Counter, parts);
    }

    fn id(&self, host: &dyn Host, kind: Metric, parts: &[&'static str]) -> Option<u32> {
        let mut ids = self.ids.borrow_mut();
        if let Some((_, id)) = ids.iter().find(|(other, _)| other == parts) {
            return *id;
        }
        let mut name = String::from("lockgate.");
        name.push_str(&self.filter.replace('-', "_"));
        for part in parts {
            name.push('.');
            name.push_str(part);
        }
        let id = host.define_metric(kind, &name);
        ids.push((parts.to_vec(), id));
        id
    }
}
