//! What is done in the request headers callback.

use crate::abi;
use crate::calls;
use crate::journal::{note, shown, state};

pub const CONTINUE: u32 = 0;
pub const PAUSE: u32 = 1;

/// Does what the command says; the result is what the callback returns.
pub fn act(context: u32, command: &str, end: bool) -> u32 {
    match command {
        "hold" | "foreign" | "splice" | "grow" | "reply-body" | "hold-then-call" | "trap-body"
        | "add-trailers" => hold(end),
        "replace-unframed" => {
            note(format!("remove: {}", abi::remove_header(0, "content-length")));
            hold(end)
        }
        "replace" => hold(end),
        "park" | "park-once" => {
            state(|state| state.parked.push(context));
            PAUSE
        }
        "release" => {
            calls::release(|| note(format!("resume: {}", abi::resume(0))));
            CONTINUE
        }
        "set-body" => {
            note(format!("set body: {}", abi::set_buffer(0, 0, 0, b"abc")));
            let (status, body) = abi::buffer(0, 0, 10);
            note(format!("body: {status} {}", shown(&body)));
            CONTINUE
        }
        "call" => calls::call(context),
        "reply" | "reply-twice" => {
            note(format!("reply: {}", reply(418)));
            PAUSE
        }
        "reply-continue" => {
            note(format!("reply: {}", reply(418)));
            CONTINUE
        }
        "reply-empty" => {
            let headers = [("content-type", "a/b"), ("content-length", "5"), ("x-kept", "1")];
            note(format!("reply: {}", abi::reply(204, &headers, b"")));
            CONTINUE
        }
        "close" => {
            note(format!("close: {}", abi::close(0)));
            PAUSE
        }
        "trap" => std::process::abort(),
        _ => {
            inspect(command);
            CONTINUE
        }
    }
}

fn hold(end: bool) -> u32 {
    if end { CONTINUE } else { PAUSE }
}

pub fn reply(status: u32) -> u32 {
    abi::reply(status, &[("x-by", "probe")], b"short and stout")
}

/// Commands that look or write, and let the request pass.
fn inspect(command: &str) {
    match command {
        "raw" => {
            note(format!("value: {}", shown(&abi::header(0, "x-raw").1)));
            listed("x-raw");
        }
        "headers" => {
            for name in ["x-twice", "content-type", "cookie", "x-forwarded-for", "X-Upper"] {
                let (status, value) = abi::header(0, name);
                note(format!("{name}: {status} {}", shown(&value)));
                listed(&name.to_lowercase());
            }
            note(format!("no such map: {}", abi::header(9, "a").0));
            note(format!("trailers: {} {}", abi::header(1, "a").0, abi::headers(1).0));
            note(format!("response: {} {}", abi::header(2, "a").0, abi::headers(2).0));
            note(format!("call: {} {}", abi::header(6, "a").0, abi::headers(6).0));
            note(format!("write to it: {}", abi::set_header(2, "a", b"b")));
        }
        "names" => {
            let (_, pairs) = abi::headers(0);
            let names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
            note(names.join(" "));
        }
        "edit" => edit(),
        "properties" => properties(),
        "filter-state" => {
            note(format!("before: {}", shown(&abi::property(&["probe"]).1)));
            note(format!("set: {}", abi::set_property(&["probe"], b"by the one before")));
        }
        "cas" => cas(),
        "queue" => queue(),
        "tick" => note(format!("set tick: {}", abi::set_tick(200))),
        "metrics" => metrics(),
        "environment" => environment(),
        "file" => {
            let file = std::fs::File::open("/etc/passwd").map(drop);
            note(format!("file: {:?}", file.map_err(|error| error.kind())));
        }
        "sleep" => {
            std::thread::sleep(std::time::Duration::from_secs(3600));
            note("slept");
        }
        "remember" => {
            note(format!("was: {}", shown(&abi::shared_data("probe.kept").1)));
            note(format!("set: {}", abi::set_shared_data("probe.kept", b"kept", 0)));
        }
        _ => {}
    }
}

fn listed(name: &str) {
    let (_, pairs) = abi::headers(0);
    let values = pairs.iter().filter(|(other, _)| other == name);
    let values: Vec<_> = values.map(|(_, value)| value.escape_ascii().to_string()).collect();
    note(format!("listed {name}: {values:?}"));
}

fn edit() {
    note(format!("add: {}", abi::add_header(0, "x-e-new", b"1")));
    note(format!("add again: {}", abi::add_header(0, "X-E-New", b"2")));
    note(format!("add inline: {}", abi::add_header(0, "content-type", b"b/b")));
    note(format!("replace: {}", abi::set_header(0, "x-e-two", b"one")));
    note(format!("replace path: {}", abi::set_header(0, ":path", b"/edited?x=1")));
    note(format!("remove: {}", abi::remove_header(0, "x-e-gone")));
    note(format!("remove none: {}", abi::remove_header(0, "x-e-none")));
    note(format!("bytes: {}", abi::add_header(0, "x-e-bytes", b"\xff\xfe")));
    let (_, pairs) = abi::headers(0);
    for (name, value) in pairs {
        if name.starts_with("x-e-") || [":path", "content-type"].contains(&name.as_str()) {
            note(format!("{name}={}", value.escape_ascii()));
        }
    }
}

fn properties() {
    let show = |path: &[&str]| {
        let (status, value) = abi::property(path);
        note(format!("{}: {status} {}", path.join("."), shown(&value)));
    };
    for name in ["path", "url_path", "query", "host", "method", "scheme", "protocol", "size"] {
        show(&["request", name]);
    }
    for name in ["useragent", "referer", "duration", "nothing"] {
        show(&["request", name]);
    }
    show(&["request", "headers", "x-a"]);
    show(&["request", "headers", "x-none"]);
    show(&["connection", "mtls"]);
    show(&["connection", "requested_server_name"]);
    show(&["response", "code"]);
    show(&["plugin_root_id"]);
    show(&["nothing"]);
    note(format!("set: {}", abi::set_property(&["probe"], b"value\xff")));
    note(format!("set again: {}", abi::set_property(&["probe"], b"other")));
    note(format!("set two: {}", abi::set_property(&["probe", "deep"], b"x")));
    note(format!("set empty: {}", abi::set_property(&["probe_empty"], b"")));
    let show = |path: &[&str]| {
        let (status, value) = abi::property(path);
        note(format!("{}: {status} {}", path.join("."), shown(&value)));
    };
    show(&["probe"]);
    show(&["probe", "deep"]);
    show(&["probe_empty"]);
    show(&["wasm.probe"]);
    note(format!("enter the root: {}", abi::enter(state(|state| state.root))));
    note(format!("set at the root: {}", abi::set_property(&["probe"], b"root")));
    note(format!("get at the root: {}", abi::property(&["probe"]).0));
}

fn cas() {
    let get = |when: &str| {
        let (status, value, cas) = abi::shared_data("probe.cas");
        note(format!("{when}: {status} {} cas={}", shown(&value), cas != 0));
        cas
    };
    get("before");
    note(format!("set where none is, with a number: {}", abi::set_shared_data("probe.cas", b"0", 77)));
    let first = get("first");
    note(format!("set with the number read: {}", abi::set_shared_data("probe.cas", b"1", first)));
    note(format!("set with an old number: {}", abi::set_shared_data("probe.cas", b"2", first)));
    let second = get("second");
    note(format!("the number grew: {}", second > first));
    note(format!("set without a number: {}", abi::set_shared_data("probe.cas", b"", 0)));
    get("empty");
}

fn queue() {
    let queue = state(|state| state.queue);
    note(format!("enqueue: {}", abi::enqueue(queue, b"first")));
    note(format!("resolve: {}", abi::resolve_queue("", "probe").1 == queue));
    note(format!("resolve none: {}", abi::resolve_queue("", "none").0));
    note(format!("resolve elsewhere: {}", abi::resolve_queue("elsewhere", "probe").0));
    note(format!("register again: {}", abi::register_queue("probe").1 == queue));
    note(format!("enqueue nowhere: {}", abi::enqueue(4_000_000, b"x")));
    note(format!("dequeue nowhere: {}", abi::dequeue(4_000_000).0));
}

fn metrics() {
    for (kind, name) in [(0, "probe.counter"), (1, "probe.gauge"), (2, "probe.histogram")] {
        let (status, metric) = abi::define_metric(kind, name);
        note(format!("{name}: {status}"));
        note(format!("add 2: {}", abi::increment(metric, 2)));
        note(format!("add 0: {}", abi::increment(metric, 0)));
        note(format!("add -1: {}", abi::increment(metric, -1)));
        note(format!("record 7: {}", abi::record(metric, 7)));
        note(format!("value: {:?}", abi::metric(metric)));
    }
    note(format!("no such kind: {}", abi::define_metric(3, "probe.none").0));
    note(format!("no such metric: {}", abi::increment(4_000_000, 1)));
    note(format!("no such metric: {} {}", abi::record(4_000_000, 1), abi::metric(4_000_000).0));
}

fn environment() {
    note(format!("variable: {:?}", std::env::var("PROBE")));
    note(format!("no variable: {:?}", std::env::var("PROBE_NONE").is_err()));
    note(format!("arguments: {}", std::env::args().count()));
    eprintln!("to standard error");
}
