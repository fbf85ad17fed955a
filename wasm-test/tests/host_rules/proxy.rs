//! What the simulated host and Envoy have in common, and the script that a scenario writes.

use std::time::Duration;

use wasm_test::{Answer, Request, Response};

/// What differs between scenarios.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// `allow_on_headers_stop_iteration`.
    pub(crate) stops_on_headers: bool,
    /// How many probes stand in the chain, in one VM.
    pub(crate) filters: usize,
    /// `FAIL_CLOSED` in the place of `FAIL_RELOAD`.
    pub(crate) fails_closed: bool,
}

/// One filter that may pause in headers and still see the body.
pub(crate) const STOPPING: Options = Options { stops_on_headers: true, ..DEFAULT };

/// Two such filters in one VM.
pub(crate) const CHAIN: Options = Options { filters: 2, ..STOPPING };

/// One filter as Envoy sets it up by itself.
pub(crate) const DEFAULT: Options = Options { stops_on_headers: false, filters: 1, fails_closed: false };

/// What a filter may hold back, in both hosts.
pub(crate) const BODY_LIMIT: usize = 65_536;

/// The limit of a stream on the paths below `/limited`.
pub(crate) const MAX_DURATION: Duration = Duration::from_millis(400);

/// The time without traffic after which a stream on the paths below `/idle` is given up.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_millis(400);

/// A host with the probe in it.
pub(crate) trait Proxy {
    fn open(&self, request: Request) -> Box<dyn Stream>;
    fn open_body(&self, request: Request) -> Box<dyn Stream>;
    /// The requests that have reached the upstream since the last time.
    fn upstream(&self) -> Vec<Request>;
    /// Lets a little time pass.
    fn pass(&self);
}

/// A request under way.
pub(crate) trait Stream {
    fn push(&mut self, chunk: &[u8]);
    fn finish(&mut self);
    fn reset(&mut self);
    /// Waits for the response.
    fn response(&mut self) -> Response;
    /// Whether nothing comes for a while.
    fn is_silent(&mut self) -> bool;
}

/// Runs a scenario and writes its report.
pub(crate) struct Script<'a> {
    proxy: &'a dyn Proxy,
    pub(crate) lines: Vec<String>,
}

impl<'a> Script<'a> {
    pub(crate) fn new(proxy: &'a dyn Proxy) -> Self {
        Self { proxy, lines: Vec::new() }
    }

    /// Sends a request and reports what the client, the upstream and the filter saw.
    pub(crate) fn send(&mut self, request: Request) {
        let mut stream = self.proxy.open(request);
        self.answered(&mut *stream);
        self.upstream();
        self.notes();
    }

    /// Reports what the clients of several streams get, whichever is the first, and what was seen.
    pub(crate) fn all_answered<const N: usize>(&mut self, streams: [&mut dyn Stream; N]) {
        streams.into_iter().for_each(|stream| self.answered(stream));
        self.upstream();
        self.notes();
    }

    pub(crate) fn open(&self, request: Request) -> Box<dyn Stream> {
        self.proxy.open(request)
    }

    pub(crate) fn open_body(&self, request: Request) -> Box<dyn Stream> {
        self.proxy.open_body(request)
    }

    /// Reports what the client gets.
    pub(crate) fn answered(&mut self, stream: &mut dyn Stream) {
        let response = stream.response();
        let mut line = format!("client: {}", response.status);
        for name in ["content-type", "content-length", "x-by", "x-again", "x-kept", "x-held"] {
            if let Some(value) = response.headers.text(name) {
                line += &format!(" {name}={value}");
            }
        }
        line += &format!(" {}", shown(&response.body));
        if !response.surplus.is_empty() {
            line += &format!(" and then {}", shown(&response.surplus));
        }
        if response.reset {
            line += " reset";
        }
        self.lines.push(line);
    }

    /// Reports whether the client is left without an answer.
    pub(crate) fn silent(&mut self, stream: &mut dyn Stream) {
        self.lines.push(format!("client: nothing={}", stream.is_silent()));
    }

    /// Reports what has reached the upstream.
    pub(crate) fn upstream(&mut self) {
        let mut lines = Vec::new();
        for request in self.proxy.upstream() {
            let mut line = format!("upstream: {} {}", request.method, request.path);
            for (name, value) in request.headers.iter() {
                let framing = ["content-length", "transfer-encoding", "content-type"];
                if name.starts_with("x-e") && !name.starts_with("x-envoy") || framing.contains(&name) {
                    line += &format!(" {name}={}", value.escape_ascii());
                }
            }
            line += &format!(" {}", shown(&request.body));
            if !request.surplus.is_empty() {
                line += &format!(" and then {}", shown(&request.surplus));
            }
            if let Some(trailer) = request.trailers.text("x-trailer") {
                line += &format!(" trailer={trailer}");
            }
            lines.push(line);
        }
        // Connections overtake each other.
        lines.sort();
        self.lines.extend(lines);
    }

    /// Reports what the filter has noted.
    pub(crate) fn notes(&mut self) {
        let notes = self.fetch_notes();
        self.lines.extend(notes);
    }

    /// Sends a request and reports only what the filter has noted under a name.
    pub(crate) fn noted(&mut self, request: Request, name: &str) {
        let _ = self.proxy.open(request).response();
        self.proxy.upstream();
        let notes = self.fetch_notes();
        self.lines.extend(notes.into_iter().filter(|note| note.starts_with(name)));
    }

    /// Has the filter call a foreign function, and returns its result.
    pub(crate) fn foreign(&mut self, request: Request) -> Vec<u8> {
        let _ = self.proxy.open(request).response();
        self.proxy.upstream();
        let notes = self.fetch_notes();
        let result = notes.iter().find_map(|note| note.split_once(": 0 \"")).map(|(_, text)| text);
        unescaped(result.and_then(|text| text.strip_suffix('"')).unwrap_or_default())
    }

    /// Waits until the filter has noted a line that starts with `last`, and reports all.
    pub(crate) fn notes_until(&mut self, last: &str) {
        for _ in 0..1000 {
            let notes = self.fetch_notes();
            let found = notes.iter().any(|note| note.starts_with(last));
            self.lines.extend(notes);
            if found {
                return;
            }
            self.proxy.pass();
        }
        self.lines.push(format!("never noted: {last}"));
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.lines.push(format!("-- {line}"));
    }

    fn fetch_notes(&self) -> Vec<String> {
        let response = self.proxy.open(Request::get("/report")).response();
        response.text().lines().map(|line| format!("  {line}")).collect()
    }
}

impl Script<'_> {
    /// Passes time until a request is answered 200 again.
    pub(crate) fn recovers(&mut self, request: &Request) {
        for _ in 0..1000 {
            if self.proxy.open(request.clone()).response().status == 200 {
                self.lines.push("client: 200 again".to_owned());
                return;
            }
            self.proxy.pass();
        }
        self.lines.push("never recovered".to_owned());
    }
}

/// The bytes that `escape_ascii` has written.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        bytes.push(match char {
            '\\' => match rest.next().unwrap() {
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                other => other as u8,
            },
            other => other as u8,
        });
    }
    bytes
}

fn shown(bytes: &[u8]) -> String {
    if bytes.len() > 60 {
        return format!("({} bytes)", bytes.len());
    }
    format!("\"{}\"", bytes.escape_ascii())
}

/// A request that tells the probe what to do.
pub(crate) fn probe(command: &str) -> Request {
    Request::post("/x").header("x-do", command)
}

/// The upstream, for both hosts.
pub(crate) fn upstream(request: &Request) -> Answer {
    match request.path.as_str() {
        "/big" => Response::new(200).body(vec![b'b'; 200_000]).into(),
        "/chunked" => Response::new(200).chunk("one").chunk("two").chunked().into(),
        "/empty" => Response::new(204).into(),
        "/trailers" => Response::new(200).chunk("one").trailer("x-trailer", "t").into(),
        "/never" | "/limited/never" => Answer::Hold,
        "/reset" => Answer::Reset,
        _ => Response::new(200).body("upstream").into(),
    }
}

/// The cluster `backend`, for both hosts.
pub(crate) fn backend(request: &Request) -> Answer {
    match request.path.as_str() {
        "/slow" => Answer::Hold,
        "/late" => Answer::from(Response::new(200).body("late")).after(Duration::from_millis(300)),
        "/reset" => Answer::Reset,
        "/huge" => Response::new(200).body(vec![b'h'; 33 * 1024 * 1024]).into(),
        "/echo" => Response::new(201)
            .body(format!("{} {} {}", request.method, request.authority, request.text()))
            .into(),
        _ => Response::new(200).body("answer").into(),
    }
}
