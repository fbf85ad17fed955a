//! A match as Envoy's routes have it. It must not be wider than the filters' reading of it: where it
//! were, the filter would refuse.

use serde_json::{Value, json};

use crate::config::{Match, PathMatch};

pub(super) fn route_match(matching: &Match) -> Value {
    let mut out = match &matching.path {
        PathMatch::Exact(path) => json!({"path": path}),
        PathMatch::Prefix(prefix) if prefix == "/" => json!({"prefix": "/"}),
        PathMatch::Prefix(prefix) => json!({"path_separated_prefix": prefix}),
        PathMatch::Pattern(pattern) => json!({"safe_regex": {"regex": pattern_regex(pattern)}}),
    };
    let mut headers = Vec::new();
    if !matching.methods.is_empty() {
        headers.push(
            json!({"name": ":method", "string_match": {"safe_regex": {"regex": matching.methods.join("|")}}}),
        );
    }
    if !matching.hosts.is_empty() {
        let hosts: Vec<String> = matching.hosts.iter().map(|host| escape(host)).collect();
        let regex = format!("(?i)({})(:[0-9]+)?", hosts.join("|"));
        headers.push(json!({"name": ":authority", "string_match": {"safe_regex": {"regex": regex}}}));
    }
    if let (Value::Object(out), false) = (&mut out, headers.is_empty()) {
        out.insert("headers".to_owned(), headers.into());
    }
    out
}

/// Envoy matches a regex against the whole path without the query.
fn pattern_regex(pattern: &str) -> String {
    let segments = pattern.split('/').skip(1).map(|segment| match segment {
        "**" => "(/[^/]*)*".to_owned(),
        "*" => "/[^/]+".to_owned(),
        text => format!("/{}", escape(text)),
    });
    segments.collect()
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        if !char.is_ascii_alphanumeric() && !"-_~/".contains(char) {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_an_anchored_regex_of_whole_segments() {
        assert_eq!(pattern_regex("/a.b/*/c/**"), r"/a\.b/[^/]+/c(/[^/]*)*");
    }
}
