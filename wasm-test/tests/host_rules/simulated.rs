//! The simulated host.

use std::cell::Cell;
use std::time::Duration;

use wasm_test::{Answer, Gateway, Release, Request, Response};

use crate::probe;
use crate::proxy::{self, Options, Proxy, Stream};

pub(crate) struct Simulated {
    gateway: Gateway,
    limited: Gateway,
    idle: Gateway,
    seen: Cell<usize>,
}

impl Simulated {
    pub(crate) fn start(options: &Options, release: Release) -> Self {
        let build = || {
            let mut builder = Gateway::builder(&probe::bytes());
            for index in 0..options.filters {
                builder = builder.filter(&format!("probe-{index}"), "");
                if options.stops_on_headers {
                    builder = builder.allow_on_headers_stop_iteration();
                }
            }
            if options.fails_closed {
                builder = builder.fail_closed();
            } else {
                builder = builder.reload_interval(Duration::from_millis(10));
            }
            builder
                .env("PROBE", "given")
                .release(release)
                .body_limit(proxy::BODY_LIMIT)
                .upstream(proxy::upstream)
                .backend("backend", proxy::backend)
                .backend("refused", |_| Answer::Refuse)
                .empty_cluster("empty")
        };
        let gateway = build().start().unwrap();
        let limited = build().max_stream_duration(proxy::MAX_DURATION).start().unwrap();
        let idle = build().stream_idle_timeout(proxy::IDLE_TIMEOUT).start().unwrap();
        Self { gateway, limited, idle, seen: Cell::new(0) }
    }

    fn gateway(&self, request: &Request) -> &Gateway {
        match request.path.as_str() {
            path if path.starts_with("/limited") => &self.limited,
            path if path.starts_with("/idle") => &self.idle,
            _ => &self.gateway,
        }
    }
}

impl Proxy for Simulated {
    fn open(&self, request: Request) -> Box<dyn Stream> {
        let gateway = self.gateway(&request);
        Box::new(Open { stream: gateway.open(request), gateway: gateway.clone() })
    }

    fn open_body(&self, request: Request) -> Box<dyn Stream> {
        let gateway = self.gateway(&request);
        Box::new(Open { stream: gateway.open_body(request), gateway: gateway.clone() })
    }

    fn upstream(&self) -> Vec<Request> {
        let all = self.gateway.upstream_requests();
        let reports = |request: &Request| request.path == "/report";
        let all: Vec<_> = all.into_iter().filter(|request| !reports(request)).collect();
        let new = all.get(self.seen.get()..).unwrap_or_default().to_vec();
        self.seen.set(all.len());
        new
    }

    fn pass(&self) {
        self.gateway.advance(Duration::from_millis(10));
    }
}

struct Open {
    stream: wasm_test::Stream,
    gateway: Gateway,
}

impl Stream for Open {
    fn push(&mut self, chunk: &[u8]) {
        self.stream.push(chunk);
    }

    fn finish(&mut self) {
        self.stream.finish();
    }

    fn reset(&mut self) {
        self.stream.reset();
    }

    fn response(&mut self) -> Response {
        self.stream.wait()
    }

    fn is_silent(&mut self) -> bool {
        self.gateway.advance(Duration::from_millis(300));
        self.stream.response().is_none() && !self.stream.is_done()
    }
}
