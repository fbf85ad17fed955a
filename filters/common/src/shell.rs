//! The callbacks of the proxy-wasm ABI, translated for [`Flow`] and [`Runtime`]; nothing else.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType};

use crate::config::{ConfigError, READY_PATH, document};
use crate::envoy::Envoy;
use crate::flow::{Definition, Filter, Flow, Step};
use crate::host::{Host, Level};
use crate::json::Json;
use crate::runtime::Runtime;

/// A root context that becomes one of `definitions` when it is configured.
pub fn root(context: u32, definitions: &'static [Definition]) -> Box<dyn RootContext> {
    Box::new(Root { context, definitions, envoy: Rc::default(), configured: RefCell::default() })
}

struct Root {
    context: u32,
    definitions: &'static [Definition],
    envoy: Rc<Envoy>,
    configured: RefCell<Option<Configured>>,
}

type Configured = (Rc<Runtime>, Rc<dyn Filter>);

impl Root {
    fn configure(&self, size: usize) -> Result<(), ConfigError> {
        let name = self.envoy.property(&["plugin_root_id"]).unwrap_or_default();
        let definition = match self.definitions {
            [only] => only,
            several => several.iter().find(|other| other.name.as_bytes() == name).ok_or_else(|| {
                let names: Vec<&str> = self.definitions.iter().map(|other| other.name).collect();
                ConfigError {
                    field: "root_id".to_owned(),
                    given: String::from_utf8_lossy(&name).into_owned(),
                    expected: names.join(", "),
                }
            })?,
        };
        let text = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size)
            .ok()
            .flatten()
            .unwrap_or_default();
        let json = Json::parse(&text).map_err(|_| ConfigError {
            field: "configuration".to_owned(),
            given: String::new(),
            expected: "JSON".to_owned(),
        })?;
        let runtime = Runtime::new(self.envoy.clone(), definition.name, self.context);
        let document = document(json, definition.sections)?;
        runtime.tell_ready_at(document.optional_text(READY_PATH)?);
        let filter = (definition.configure)(&document, &runtime)?;
        runtime.listen();
        for counter in definition.counters {
            runtime.define_counter(counter);
        }
        runtime.start();
        self.configured.replace(Some((runtime, filter)));
        Ok(())
    }

    fn with_runtime(&self, act: impl FnOnce(&Runtime)) {
        self.envoy.called(self.context);
        // Cloned, so that a filter that answers a stream from here leaves the cell free.
        let runtime = self.configured.borrow().as_ref().map(|(runtime, _)| runtime.clone());
        if let Some(runtime) = runtime {
            act(&runtime);
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _trailers: usize) {
        self.with_runtime(|runtime| runtime.on_call_response(token, headers, body));
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        self.envoy.called(self.context);
        match self.configure(size) {
            Ok(()) => true,
            Err(error) => {
                self.envoy.log(Level::Error, &["lockgate configuration: ", &error.line()].concat());
                false
            }
        }
    }

    fn on_tick(&mut self) {
        self.with_runtime(Runtime::on_tick);
    }

    fn on_queue_ready(&mut self, queue: u32) {
        self.with_runtime(|runtime| runtime.on_queue_ready(queue));
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        let configured = self.configured.borrow();
        let flow =
            configured.as_ref().map(|(runtime, filter)| Flow::new(context, filter.clone(), runtime.clone()));
        Some(Box::new(Stream { context, envoy: self.envoy.clone(), flow, refused: Cell::new(false) }))
    }
}

struct Stream {
    context: u32,
    envoy: Rc<Envoy>,
    /// Absent when the root was never configured; then nothing passes.
    flow: Option<Rc<Flow>>,
    refused: Cell<bool>,
}

impl Stream {
    fn step(&self, step: impl FnOnce(&Rc<Flow>) -> Step) -> Action {
        self.envoy.called(self.context);
        match &self.flow {
            Some(flow) => match step(flow) {
                Step::Continue => Action::Continue,
                Step::Pause => Action::Pause,
            },
            None => {
                if !self.refused.replace(true) {
                    self.envoy.reply(&crate::http::Reply::empty(503));
                }
                Action::Pause
            }
        }
    }
}

impl Drop for Stream {
    /// A callback like the others: what its story held is dropped behind this, and may look at the clock.
    fn drop(&mut self) {
        self.envoy.called(self.context);
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.step(|flow| flow.on_request_headers(end_of_stream))
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.step(|flow| flow.on_request_body(size, end_of_stream))
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.step(Flow::on_request_trailers)
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        if self.refused.get() { Action::Continue } else { self.step(Flow::on_response_headers) }
    }

    fn on_http_response_body(&mut self, size: usize, _end_of_stream: bool) -> Action {
        if self.refused.get() { Action::Continue } else { self.step(|flow| flow.on_response_body(size)) }
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        if self.refused.get() { Action::Continue } else { self.step(|flow| flow.on_response_trailers()) }
    }
}
