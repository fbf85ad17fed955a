//! One stack for all tests of a file.

use std::ops::Deref;

use tokio::sync::OnceCell;

use crate::stack::print_log;
use crate::{Builder, Stack};

/// A stack that the tests of a file share. It lives until the test process ends.
#[derive(Debug)]
pub struct Shared {
    stack: &'static Stack,
    since: [usize; 2],
}

impl Shared {
    /// The stack in `cell`, started by the first test that asks.
    pub async fn of(cell: &'static OnceCell<Stack>, builder: Builder) -> Self {
        let stack = cell.get_or_init(|| builder.start()).await;
        Self { stack, since: [stack.gateway_log.len(), stack.services_log.len()] }
    }
}

impl Deref for Shared {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.stack
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let [gateway, services] = self.since;
            print_log("lockgate run", &self.stack.gateway_log.since(gateway));
            print_log("lockgate local", &self.stack.services_log.since(services));
        }
    }
}
