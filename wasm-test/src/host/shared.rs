//! Shared data and shared queues: what outlives a VM and what wakes a root.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::events::Event;
use crate::host::Status;
use crate::vm::{self, Cx};

/// The data and queues of one `vm_id`.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    data: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    last_cas: u32,
    queues: Vec<Queue>,
}

#[derive(Debug)]
struct Queue {
    name: Vec<u8>,
    /// The root that registered it last; it alone is woken.
    registrant: u32,
    items: VecDeque<Vec<u8>>,
}

impl Shared {
    pub(crate) fn value(&self, key: &[u8]) -> Option<&(Vec<u8>, u32)> {
        self.data.get(key)
    }

    /// Sets a value; with `cas` other than 0 only if nobody has set it since that number was read.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], cas: u32) -> Status {
        if cas != 0 && self.data.get(key).is_some_and(|(_, current)| *current != cas) {
            return Status::CasMismatch;
        }
        self.last_cas = self.last_cas.saturating_add(1);
        self.data.insert(key.to_vec(), (value.to_vec(), self.last_cas));
        Status::Ok
    }

    fn queue(&mut self, token: u32) -> Option<&mut Queue> {
        let index = usize::try_from(token).ok()?.checked_sub(1)?;
        self.queues.get_mut(index)
    }

    fn token(&self, name: &[u8]) -> Option<u32> {
        let index = self.queues.iter().position(|queue| queue.name == name)?;
        u32::try_from(index).ok()?.checked_add(1)
    }
}

/// `proxy_get_shared_data`.
pub(crate) fn get_data(cx: &mut Cx<'_>, key: (u32, u32), value_at: (u32, u32), cas_at: u32) -> Status {
    let Some(key) = vm::read(cx, key.0, key.1) else {
        return Status::InvalidMemoryAccess;
    };
    let Some((value, cas)) = cx.data().shared.value(&key).cloned() else {
        return Status::NotFound;
    };
    vm::give(cx, &value, value_at.0, value_at.1)
        .and_then(|()| vm::write(cx, cas_at, &cas.to_le_bytes()))
        .into()
}

/// `proxy_set_shared_data`.
pub(crate) fn set_data(cx: &mut Cx<'_>, key: (u32, u32), value: (u32, u32), cas: u32) -> Status {
    match (vm::read(cx, key.0, key.1), vm::read(cx, value.0, value.1)) {
        (Some(key), Some(value)) => cx.data_mut().shared.set(&key, &value, cas),
        _ => Status::InvalidMemoryAccess,
    }
}

/// `proxy_register_shared_queue`: the root of the caller is woken from now on.
pub(crate) fn register_queue(cx: &mut Cx<'_>, name: (u32, u32), token_at: u32) -> Status {
    let Some(name) = vm::read(cx, name.0, name.1) else {
        return Status::InvalidMemoryAccess;
    };
    let host = cx.data_mut();
    let registrant = host.vm.subject_root();
    let token = match host.shared.token(&name) {
        Some(token) => token,
        None => {
            let items = VecDeque::new();
            host.shared.queues.push(Queue { name, registrant, items });
            u32::try_from(host.shared.queues.len()).unwrap_or(0)
        }
    };
    if let Some(queue) = host.shared.queue(token) {
        queue.registrant = registrant;
    }
    vm::write(cx, token_at, &token.to_le_bytes()).into()
}

/// `proxy_resolve_shared_queue`. There is one `vm_id` here, so another one's queues are not found.
pub(crate) fn resolve_queue(cx: &mut Cx<'_>, vm_id: (u32, u32), name: (u32, u32), token_at: u32) -> Status {
    let (Some(vm_id), Some(name)) = (vm::read(cx, vm_id.0, vm_id.1), vm::read(cx, name.0, name.1)) else {
        return Status::InvalidMemoryAccess;
    };
    let host = cx.data();
    if !vm_id.is_empty() && vm_id != host.settings.vm_id.as_bytes() {
        return Status::NotFound;
    }
    match host.shared.token(&name) {
        Some(token) => vm::write(cx, token_at, &token.to_le_bytes()).into(),
        None => Status::NotFound,
    }
}

/// `proxy_enqueue_shared_queue`: the registrant is woken once for each item, after this callback.
pub(crate) fn enqueue(cx: &mut Cx<'_>, token: u32, item: (u32, u32)) -> Status {
    let Some(item) = vm::read(cx, item.0, item.1) else {
        return Status::InvalidMemoryAccess;
    };
    let host = cx.data_mut();
    let Some(queue) = host.shared.queue(token) else {
        return Status::NotFound;
    };
    queue.items.push_back(item);
    let context = queue.registrant;
    host.plan(Duration::ZERO, Event::QueueReady { context, token });
    Status::Ok
}

/// `proxy_dequeue_shared_queue`.
pub(crate) fn dequeue(cx: &mut Cx<'_>, token: u32, item_at: (u32, u32)) -> Status {
    let Some(queue) = cx.data_mut().shared.queue(token) else {
        return Status::NotFound;
    };
    match queue.items.pop_front() {
        Some(item) => vm::give(cx, &item, item_at.0, item_at.1).into(),
        None => Status::Empty,
    }
}
