//! One JSON line a request on standard output. It holds no header but ids, and no query: either may
//! carry a secret. Nor does it hold who asked from where: the platform's own request log does.

use serde_json::{Value, json};

use super::{routes, typed};
use crate::config::{AccessLog, Config, LogFormat};

pub(super) fn access_log(config: &Config) -> Value {
    let mut wanted = vec![no_probe()];
    let quiet = routes::names(config, |route| route.access_log == AccessLog::Failures);
    if !quiet.is_empty() {
        wanted.push(failures_alone(&quiet));
    }
    match &config.log_format {
        LogFormat::Plain => json!([logger(all_of(wanted), json!({"json_format": plain()}))]),
        LogFormat::Google { project } => google(project.as_deref(), &wanted),
    }
}

fn logger(filter: Value, format: Value) -> Value {
    json!({
        "name": "envoy.access_loggers.stdout",
        "filter": filter,
        "typed_config": typed("envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", json!({
            "log_format": format,
        })),
    })
}

fn plain() -> Value {
    let mut line = json!({
        "time": "%START_TIME%",
        "method": METHOD,
        "path": PATH,
        "status": STATUS,
        "duration_ms": "%DURATION%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "trace": "%REQ(TRACEPARENT?X-CLOUD-TRACE-CONTEXT):64%",
    });
    extend(&mut line, story());
    line
}

// A client may choose these, so their length is bounded.
const METHOD: &str = "%REQ(:METHOD):16%";
const PATH: &str = "%PATH(NQ):1024%";
const STATUS: &str = "%RESPONSE_CODE%";

/// What only this proxy knows.
fn story() -> Value {
    json!({
        "request_id": "%REQ(X-REQUEST-ID):64%",
        "route": "%ROUTE_NAME%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "upstream_status": "%FILTER_STATE(wasm.lockgate_upstream_status:PLAIN)%",
        "refused": "%FILTER_STATE(wasm.lockgate_refused:PLAIN)%",
        "amzn_trace_id": "%REQ(X-AMZN-TRACE-ID):128%",
    })
}

/// `LogEntry` of Cloud Logging, by the names that a line of JSON has for its fields
/// (cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields).
///
/// Whether a trace is sampled has to be a boolean, and Envoy's notation makes texts. So there is a
/// logger for each case, and of one request exactly one writes. Google's front ends send both headers:
/// cutting the id out of theirs costs 2 µs, taking it out of `traceparent` by an expression 19 µs.
fn google(project: Option<&str>, wanted: &[Value]) -> Value {
    let traces = project.map_or_else(String::new, |project| format!("projects/{project}/traces/"));
    let cloud = format!("{traces}%REQ(X-CLOUD-TRACE-CONTEXT):32%");
    let parent = from_parent("^[0-9a-f]{2}-([0-9a-f]+)-", &traces);
    let span = from_parent("^[0-9a-f]{2}-[0-9a-f]+-([0-9a-f]+)-", "");
    let sampled = |trace: &str| json!({TRACE: trace, SPAN: span, SAMPLED: true});
    let unsampled = |trace: &str| json!({TRACE: trace, SAMPLED: false});

    let of_cloud = |invert| header(CLOUD, json!({"string_match": {"contains": ";o=1"}}), invert);
    // The lowest bit of the flags (www.w3.org/TR/trace-context, 3.2.2.5).
    let flags = json!({"string_match": {"safe_regex": {"regex": ".*-[0-9a-f][13579bdf]"}}});
    let of_parent = |invert| header(PARENT, flags.clone(), invert);
    let without = |name| header(name, json!({"present_match": true}), true);
    let case = |mut filters: Vec<Value>, trace: Value| {
        filters.extend_from_slice(wanted);
        let mut line = entry();
        extend(&mut line, trace);
        let format = json!({"json_format": line, "omit_empty_values": true});
        logger(all_of(filters), format)
    };
    // The opposite of a match of a header's value is false where there is no header.
    json!([
        case(vec![of_cloud(false)], sampled(&cloud)),
        case(vec![of_cloud(true)], unsampled(&cloud)),
        case(vec![without(CLOUD), of_parent(false)], sampled(&parent)),
        case(vec![without(CLOUD), of_parent(true)], unsampled(&parent)),
        case(vec![without(CLOUD), without(PARENT)], json!({})),
    ])
}

const CLOUD: &str = "x-cloud-trace-context";
const PARENT: &str = "traceparent";
const TRACE: &str = "logging.googleapis.com/trace";
const SPAN: &str = "logging.googleapis.com/spanId";
const SAMPLED: &str = "logging.googleapis.com/trace_sampled";

/// A part of `traceparent` behind a prefix; nothing where the header is not as it should be.
fn from_parent(pattern: &str, prefix: &str) -> String {
    let longest = prefix.len() + 32;
    format!("%CEL(re.extract(request.headers['{PARENT}'], '{pattern}', '{prefix}\\\\1')):{longest}%")
}

fn entry() -> Value {
    // A client that left before it was answered has no status.
    let severity = "!has(response.code) || response.code < 400 ? 'INFO' : \
                    (response.code < 500 ? 'WARNING' : 'ERROR')";
    let milliseconds = "request.duration.getSeconds() * 1000 + request.duration.getMilliseconds()";
    let mut line = json!({
        "time": "%START_TIME%",
        "severity": format!("%CEL({severity})%"),
        "httpRequest": {
            "requestMethod": METHOD,
            "requestUrl": PATH,
            "status": STATUS,
            "requestSize": "%DOWNSTREAM_WIRE_BYTES_RECEIVED%",
            "responseSize": "%DOWNSTREAM_WIRE_BYTES_SENT%",
            "latency": format!("%CEL(double({milliseconds}) / 1000.0)%s"),
            "protocol": "%PROTOCOL%",
        },
    });
    extend(&mut line, story());
    line
}

fn extend(line: &mut Value, more: Value) {
    if let (Value::Object(line), Value::Object(more)) = (line, more) {
        line.extend(more);
    }
}

fn header(name: &str, condition: Value, invert: bool) -> Value {
    let mut header = json!({"name": name});
    extend(&mut header, condition);
    if invert {
        extend(&mut header, json!({"invert_match": true}));
    }
    json!({"header_filter": {"header": header}})
}

/// Envoy wants two filters at least.
fn all_of(mut filters: Vec<Value>) -> Value {
    match (filters.pop(), filters.is_empty()) {
        (Some(only), true) => only,
        (last, _) => json!({"and_filter": {"filters": filters.into_iter().chain(last).collect::<Vec<_>>()}}),
    }
}

pub(super) fn status(op: &str, status: u16, key: &str) -> Value {
    let value = json!({"default_value": status, "runtime_key": format!("lockgate.{key}")});
    json!({"status_code_filter": {"comparison": {"op": op, "value": value}}})
}

/// An expression of CEL, with Envoy's attributes.
pub(super) fn expression(text: &str) -> Value {
    json!({"extension_filter": {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": typed(
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            json!({"expression": text}),
        ),
    }})
}

/// Of these lines of the route table only what went wrong. A client that left, or was cut off, has no status.
fn failures_alone(names: &[String]) -> Value {
    let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    let others = expression(&format!("!(xds.route_name in [{}])", names.join(", ")));
    json!({"or_filter": {"filters": [
        others,
        status("GE", 400, "route_failed"),
        status("EQ", 0, "route_unanswered"),
    ]}})
}

/// Probes that succeed would be most of the log. One that fails is written, and so is a restored
/// request whose path is a probe's: the header that tells the two apart can come from no client.
fn no_probe() -> Value {
    let probes = r"/(health|_lockgate/(health|ready))(\?.*)?";
    json!({"or_filter": {"filters": [
        header(":path", json!({"string_match": {"safe_regex": {"regex": probes}}}), true),
        status("GE", 300, "probe_failed"),
        header("x-lockgate-message-id", json!({"present_match": true}), false),
    ]}})
}
