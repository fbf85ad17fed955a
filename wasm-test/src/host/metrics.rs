//! Counters, gauges and histograms. Ids belong to a VM, values to the proxy.

use crate::host::Status;
pub(crate) use crate::observed::Metrics;
use crate::vm::{self, Cx};

const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
const HISTOGRAM: u32 = 2;

/// Ids carry the kind in their two lowest bits, and each definition is given a new one.
fn kind(id: u32) -> u32 {
    id & 3
}

/// `proxy_define_metric`.
pub(crate) fn define(cx: &mut Cx<'_>, of_kind: u32, name: u32, length: u32, id_at: u32) -> Status {
    let Some(name) = vm::read(cx, name, length) else {
        return Status::InvalidMemoryAccess;
    };
    if of_kind > HISTOGRAM {
        return Status::BadArgument;
    }
    let name = String::from_utf8_lossy(&name).into_owned();
    let host = cx.data_mut();
    match of_kind {
        COUNTER => drop(host.metrics.counters.entry(name.clone()).or_default()),
        GAUGE => drop(host.metrics.gauges.entry(name.clone()).or_default()),
        _ => drop(host.metrics.histograms.entry(name.clone()).or_default()),
    }
    let before = host.vm.metric_ids.keys().filter(|id| kind(**id) == of_kind).count();
    let id = u32::try_from(before).unwrap_or(0).saturating_add(1).saturating_mul(4) + of_kind;
    host.vm.metric_ids.insert(id, name);
    vm::write(cx, id_at, &id.to_le_bytes()).into()
}

/// `proxy_increment_metric`: a counter only upwards, a histogram not at all.
pub(crate) fn increment(cx: &mut Cx<'_>, id: u32, offset: i64) -> Status {
    let host = cx.data_mut();
    if kind(id) > GAUGE {
        return Status::BadArgument;
    }
    let Some(name) = host.vm.metric_ids.get(&id) else {
        return Status::NotFound;
    };
    if kind(id) == GAUGE {
        let gauge = host.metrics.gauges.entry(name.clone()).or_default();
        *gauge = gauge.saturating_add(offset);
        return Status::Ok;
    }
    match u64::try_from(offset) {
        Ok(offset) if offset > 0 => {
            let counter = host.metrics.counters.entry(name.clone()).or_default();
            *counter = counter.saturating_add(offset);
            Status::Ok
        }
        _ => Status::BadArgument,
    }
}

/// `proxy_record_metric`: adds to a counter, sets a gauge, records in a histogram.
pub(crate) fn record(cx: &mut Cx<'_>, id: u32, value: u64) -> Status {
    let host = cx.data_mut();
    let Some(name) = host.vm.metric_ids.get(&id).cloned() else {
        return Status::NotFound;
    };
    let metrics = &mut host.metrics;
    match kind(id) {
        COUNTER => {
            let counter = metrics.counters.entry(name).or_default();
            *counter = counter.saturating_add(value);
        }
        GAUGE => drop(metrics.gauges.insert(name, value.cast_signed())),
        _ => metrics.histograms.entry(name).or_default().push(value),
    }
    Status::Ok
}

/// `proxy_get_metric`.
pub(crate) fn read(cx: &mut Cx<'_>, id: u32, value_at: u32) -> Status {
    let host = cx.data_mut();
    if kind(id) > GAUGE {
        return Status::BadArgument;
    }
    let Some(name) = host.vm.metric_ids.get(&id) else {
        return Status::NotFound;
    };
    let value = match kind(id) {
        COUNTER => host.metrics.counter(name),
        _ => host.metrics.gauge(name).cast_unsigned(),
    };
    vm::write(cx, value_at, &value.to_le_bytes()).into()
}
