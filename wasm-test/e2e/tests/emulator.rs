//! The chain behaves the same with Google's own Pub/Sub emulator as with the stand-in for it.

use std::io::Write;
use std::sync::Once;

use lockgate_e2e::{Emulator, Shared, Stack, scenarios};
use tokio::sync::{OnceCell, RwLock};

#[path = "emulator/calls.rs"]
mod calls;
#[path = "emulator/pushes.rs"]
mod pushes;

/// Something that stores what the chain enqueues.
struct Queue {
    stack: OnceCell<Stack>,
    /// Held for writing by a scenario that takes the upstream away.
    upstream: RwLock<()>,
}

static STAND_IN: Queue = Queue { stack: OnceCell::const_new(), upstream: RwLock::const_new(()) };
static EMULATOR: Queue = Queue { stack: OnceCell::const_new(), upstream: RwLock::const_new(()) };

impl Queue {
    /// The chain with this queue; none, and a line that says so, where it is not installed.
    async fn stack(&'static self) -> Option<Shared> {
        let mut builder = Stack::builder();
        if std::ptr::eq(self, &EMULATOR) {
            builder = builder.emulator(&Emulator::installed().map_err(say_skipped).ok()?);
        }
        Some(Shared::of(&self.stack, builder).await)
    }
}

/// What can be observed with the emulator, and with the stand-in.
async fn both<T>(observe: impl AsyncFn(&Stack) -> T) -> Option<[T; 2]> {
    let emulator = EMULATOR.stack().await?;
    let stand_in = STAND_IN.stack().await?;
    let (theirs, ours) = tokio::join!(observe(&emulator), observe(&stand_in));
    Some([theirs, ours])
}

/// Says so past the test harness, which keeps to itself what a passing test prints.
fn say_skipped(reason: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
    });
}

macro_rules! scenarios {
    ($queue:ident as $name:ident, $($scenario:ident),*) => {
        mod $name {
            use super::{$queue, scenarios};

            $(#[tokio::test]
            async fn $scenario() {
                let _upstream = $queue.upstream.read().await;
                if let Some(stack) = $queue.stack().await {
                    scenarios::$scenario(&stack).await;
                }
            })*

            #[tokio::test]
            async fn an_absent_upstream_gets_the_message_when_it_is_back() {
                let _upstream = $queue.upstream.write().await;
                if let Some(stack) = $queue.stack().await {
                    scenarios::an_absent_upstream_gets_the_message_when_it_is_back(&stack).await;
                }
            }
        }
    };
    ($($scenario:ident),* $(,)?) => {
        scenarios!(STAND_IN as stand_in, $($scenario),*);
        scenarios!(EMULATOR as emulator, $($scenario),*);
    };
}

scenarios!(
    a_command_is_stored_and_delivered,
    an_event_is_stored_and_delivered,
    a_request_in_the_log_comes_back_whole,
    a_failed_delivery_is_made_again_and_a_good_one_is_not,
    a_permanent_answer_makes_a_dead_letter,
    poison_in_the_topic_is_a_dead_letter_once,
);
