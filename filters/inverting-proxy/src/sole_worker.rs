//! Clients and agents must meet in one VM, and each of Envoy's workers has its own. A second worker that
//! serves requests is found out through the data that the workers share: the first holds a lease there.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lockgate_common::encoding::push_hex;
use lockgate_common::host::Host;
use lockgate_common::runtime::Runtime;

/// How long a lease holds, in milliseconds. After a trap the worker's new VM waits for it to end.
const LEASE_MS: u64 = 6_000;

/// How often it is prolonged while something waits, in milliseconds.
const PROLONG_MS: u64 = 2_000;

/// Why a request cannot be served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// Another worker serves.
    SeveralWorkers,
    /// Without random bits this worker has no name.
    NoRandomness,
}

/// This worker's lease.
pub struct SoleWorker {
    key: String,
    name: RefCell<String>,
    until_ms: Cell<u64>,
    kept: Cell<bool>,
}

impl SoleWorker {
    /// For the plugin of this name: each has requests of its own.
    pub fn new(plugin: &str) -> Rc<Self> {
        Rc::new(Self {
            key: ["lockgate.inverting-proxy.worker.", plugin].concat(),
            name: RefCell::default(),
            until_ms: Cell::new(0),
            kept: Cell::new(false),
        })
    }

    /// Takes the lease, or prolongs it; then keeps it for as long as `busy` says.
    pub fn serve(
        self: &Rc<Self>,
        runtime: &Rc<Runtime>,
        busy: impl Fn() -> bool + 'static,
    ) -> Result<(), Unserved> {
        self.prolong(runtime.host())?;
        if !self.kept.replace(true) {
            let (own, of) = (self.clone(), runtime.clone());
            runtime.spawn(Box::pin(async move {
                loop {
                    of.sleep(of.host().now_ms() + PROLONG_MS).await;
                    if !busy() || own.prolong(of.host()).is_err() {
                        own.kept.set(false);
                        return;
                    }
                }
            }));
        }
        Ok(())
    }

    fn prolong(&self, host: &dyn Host) -> Result<(), Unserved> {
        let now = host.now_ms();
        if now + LEASE_MS < self.until_ms.get() + PROLONG_MS {
            return Ok(());
        }
        if self.name.borrow().is_empty() {
            let mut bytes = [0; 16];
            if !host.random(&mut bytes) {
                return Err(Unserved::NoRandomness);
            }
            push_hex(&mut self.name.borrow_mut(), &bytes);
        }
        let name = self.name.borrow();
        let (value, version) = host.shared(&self.key);
        let text = value.as_deref().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        let (holder, until) = text.split_once(' ').unwrap_or_default();
        if holder != name.as_str() && until.parse().is_ok_and(|until: u64| now < until) {
            return Err(Unserved::SeveralWorkers);
        }
        let until = now + LEASE_MS;
        let mut lease = name.clone();
        lease.push(' ');
        lockgate_common::encoding::push_decimal(&mut lease, until);
        // Somebody else wrote in between: another worker.
        host.set_shared(&self.key, lease.as_bytes(), version).map_err(|_| Unserved::SeveralWorkers)?;
        self.until_ms.set(until);
        Ok(())
    }
}
