//! Whether a backend is well: while its agent asks, it is sent a request of the filter's own every now and then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::push_hex;
use lockgate_common::event::Event;
use lockgate_common::host::Level;
use lockgate_common::http::is_plain_target;
use lockgate_common::runtime::Runtime;

use crate::parked::{Exchange, Outcome, Parked};
use crate::registry::Backend;

/// How long an answer may take where the interval is longer, in milliseconds.
const ANSWER_MS: u64 = 30_000;

/// How a backend is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The target of the request.
    pub path: String,
    /// From one request to the next, in milliseconds; an answer may take as long, and at most 30 s.
    pub interval_ms: u64,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_after: u64,
}

impl Check {
    /// Reads a backend's `health`, if it is there.
    pub fn read(backend: &Fields<'_>) -> Result<Option<Self>, ConfigError> {
        if backend.optional("health").is_none() {
            return Ok(None);
        }
        let fields = backend.object("health", &["path", "interval_ms", "unhealthy_after"])?;
        let expected = "the path of a GET request, as \"/health\"";
        let path = fields.text("path", expected)?;
        if !is_target(&path) {
            return Err(fields.error("path", expected));
        }
        Ok(Some(Self {
            path,
            interval_ms: fields.number("interval_ms", 1_000, 600_000, 10_000)?,
            unhealthy_after: fields.number("unhealthy_after", 1, 100, 2)?,
        }))
    }
}

/// Whether this can be asked for.
pub fn is_target(text: &str) -> bool {
    text.len() <= 256 && is_plain_target(text)
}

/// What is known of a backend. Nothing is not well: the first good answer opens it.
pub struct Health {
    check: Check,
    healthy: Cell<bool>,
    failures: Cell<u64>,
    watched: Cell<bool>,
    /// It is to be looked at now, and not at the end of the interval.
    now: RefCell<Event<()>>,
}

impl Health {
    /// Of a backend that was not looked at yet.
    pub fn new(check: Check) -> Self {
        Self {
            check,
            healthy: Cell::new(false),
            failures: Cell::new(0),
            watched: Cell::new(false),
            now: RefCell::default(),
        }
    }

    /// Whether requests may wait for it.
    pub fn is_healthy(&self) -> bool {
        self.healthy.get()
    }

    /// Another agent may bring another service.
    fn forget(&self, runtime: &Runtime) {
        self.healthy.set(false);
        self.failures.set(0);
        self.now.take().settle(runtime, ());
    }

    /// Takes in how a look at it went; whether that changes what it is.
    fn note(&self, well: bool) -> bool {
        let before = self.healthy.get();
        if well {
            self.failures.set(0);
            self.healthy.set(true);
        } else {
            self.failures.set(self.failures.get() + 1);
            if self.failures.get() >= self.check.unhealthy_after {
                self.healthy.set(false);
            }
        }
        self.healthy.get() != before
    }
}

/// Looks at a backend for as long as its agent asks, where it is to be looked at; `anew` where that agent was gone.
pub fn watch(exchange: &Rc<Exchange>, backend: &Rc<Backend>, anew: bool, runtime: &Rc<Runtime>) {
    let Some(health) = &backend.health else { return };
    if anew {
        health.forget(runtime);
    }
    if !health.watched.replace(true) {
        let (exchange, backend, of) = (exchange.clone(), backend.clone(), runtime.clone());
        runtime.spawn(Box::pin(async move { look(&exchange, &backend, &of).await }));
    }
}

/// Looks at once, and again at the end of each interval.
async fn look(exchange: &Rc<Exchange>, backend: &Rc<Backend>, runtime: &Rc<Runtime>) {
    let Some(health) = &backend.health else { return };
    loop {
        let begun = runtime.host().now_ms();
        if !backend.has_agent(begun) {
            health.watched.set(false);
            return;
        }
        let well = is_well(exchange, backend, &health.check, runtime).await;
        runtime.count(&[if well { "probe_passed" } else { "probe_failed" }]);
        if health.note(well) {
            tell(runtime, &backend.id, well);
        }
        let now = health.now.borrow().clone();
        now.wait(runtime, begun + health.check.interval_ms).await;
    }
}

/// Whether it answers one request in time, and with a 2xx.
async fn is_well(
    exchange: &Rc<Exchange>,
    backend: &Rc<Backend>,
    check: &Check,
    runtime: &Rc<Runtime>,
) -> bool {
    let now = runtime.host().now_ms();
    let mut bytes = [0; 16];
    if !runtime.host().random(&mut bytes) {
        return false;
    }
    let mut id = String::new();
    push_hex(&mut id, &bytes);
    let head = ["GET ", &check.path, " HTTP/1.1\r\nhost: localhost\r\nuser-agent: lockgate-health\r\n\r\n"];
    let probe = Parked::probe(id, backend, head.concat().into_bytes(), now);
    let ticket = exchange.look(probe, runtime);
    let outcome = ticket.parked.outcome(runtime, now + check.interval_ms.min(ANSWER_MS)).await;
    matches!(outcome, Some(Outcome::Answered(response)) if (200..300).contains(&response.status))
}

fn tell(runtime: &Runtime, id: &str, well: bool) {
    let (level, is) = if well { (Level::Info, " is healthy") } else { (Level::Warn, " is unhealthy") };
    runtime.host().log(level, &["lockgate filter=inverting-proxy backend ", id, is].concat());
}

#[cfg(test)]
mod tests {
    use lockgate_common::json::Json;

    use super::*;

    fn check(text: &str) -> Result<Option<Check>, String> {
        let fields = Fields::new(Json::parse(text.as_bytes()).unwrap(), "backends[0]", &["health"]).unwrap();
        Check::read(&fields).map_err(|error| error.line())
    }

    #[test]
    fn a_check_has_a_path_and_bounds() {
        let read = check(r#"{"health":{"path":"/health?deep=1"}}"#).unwrap().unwrap();
        assert_eq!((read.interval_ms, read.unhealthy_after), (10_000, 2));
        assert_eq!(check("{}"), Ok(None));
        for (text, expected) in [
            (r#"{"health":{}}"#, "backends[0].health.path: given nothing, expected the path"),
            (r#"{"health":{"path":"x"}}"#, "backends[0].health.path: given \"x\", expected the path"),
            (r#"{"health":{"path":"/ HTTP/1.1\r\n"}}"#, "backends[0].health.path: "),
            (r#"{"health":{"path":"/","interval_ms":999}}"#, "backends[0].health.interval_ms: given 999"),
            (r#"{"health":{"path":"/","unhealthy_after":0}}"#, "backends[0].health.unhealthy_after: given 0"),
            (r#"{"health":{"path":"/","every":1}}"#, "backends[0].health.every: given 1, expected no such"),
        ] {
            let said = check(text).unwrap_err();
            assert!(said.starts_with(expected), "{said}");
        }
    }

    #[test]
    fn the_first_good_answer_opens_and_failures_in_a_row_close() {
        let health = Health::new(check(r#"{"health":{"path":"/","unhealthy_after":2}}"#).unwrap().unwrap());
        assert!(!health.is_healthy());
        assert!(health.note(true) && health.is_healthy());
        assert!(!health.note(false) && health.is_healthy());
        assert!(!health.note(true) && !health.note(false) && health.is_healthy(), "not in a row");
        assert!(health.note(false) && !health.is_healthy());
        assert!(health.note(true) && health.is_healthy());
    }
}
