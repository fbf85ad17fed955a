//! The tool's own lines.

use serde_json::json;

/// How much a line matters, in Cloud Logging's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something should be changed.
    Warning,
    /// Something was not done.
    Error,
}

/// Says something on standard error, each line for itself.
pub fn say(severity: Severity, text: &str) {
    let severity = match severity {
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR",
    };
    for line in text.lines() {
        eprintln!("{}", shaped(severity, format!("lockgate: {line}")));
    }
}

/// Says on standard output that it serves at an address. Programs wait for this line.
pub fn ready(address: std::net::SocketAddr) {
    println!("{}", shaped("INFO", format!("ready http://{address}")));
}

/// The shape that `LOG_FORMAT` asks for. The variable is read here, because what is wrong with a
/// configuration has to be said too.
fn shaped(severity: &str, line: String) -> String {
    if std::env::var_os("LOG_FORMAT").is_some_and(|format| format == "google") {
        json!({"severity": severity, "message": line}).to_string()
    } else {
        line
    }
}
