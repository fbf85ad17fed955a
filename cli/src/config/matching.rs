//! What a route or a rule matches on. The filters and Envoy must read a match alike, so it is checked
//! once, here, and rendered for both.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::problem::Problem;

/// The shape of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its normalised path without the query.
    pub path: PathMatch,
    /// Upper case; empty means any.
    pub methods: Vec<String>,
    /// Lower case, without a port; empty means any.
    pub hosts: Vec<String>,
}

/// The shape of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This path and no other.
    Exact(String),
    /// Whole segments: `/wal` is met by `/wal` and `/wal/x`, not by `/walX`.
    Prefix(String),
    /// Anchored; `*` is any one segment, `**` any number of them.
    Pattern(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {path: /slack/command, methods: [POST]}")]
pub(super) struct RawMatch {
    path: Option<String>,
    path_prefix: Option<String>,
    pattern: Option<String>,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
}

impl RawMatch {
    pub(super) fn resolve(self, field: &str) -> Result<Match, Problem> {
        let at = |name: &str| format!("{field}.{name}");
        let path = match (self.path, self.path_prefix, self.pattern) {
            (Some(path), None, None) => {
                check_path(&at("path"), &path, "a path, for example /slack/command")?;
                PathMatch::Exact(path)
            }
            (None, Some(prefix), None) => {
                let expected = "whole segments without a slash behind, for example /wal";
                check_path(&at("path_prefix"), &prefix, expected)?;
                if prefix != "/" && prefix.ends_with('/') {
                    return Err(Problem::given(&at("path_prefix"), prefix, expected));
                }
                PathMatch::Prefix(prefix)
            }
            (None, None, Some(pattern)) => {
                let expected = "whole segments, each a text, * or **, for example /teams/*/hooks/**";
                check_path(&at("pattern"), &pattern, expected)?;
                let whole = |segment: &str| !segment.contains('*') || segment == "*" || segment == "**";
                if !pattern.split('/').all(whole) {
                    return Err(Problem::given(&at("pattern"), pattern, expected));
                }
                PathMatch::Pattern(pattern)
            }
            _ => {
                return Err(Problem::new(
                    field,
                    "expected exactly one of path, path_prefix and pattern, for example {path: /slack/command}",
                ));
            }
        };
        for method in &self.methods {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(Problem::given(
                    &at("methods"),
                    method,
                    "methods in upper case, for example [POST]",
                ));
            }
        }
        for host in &self.hosts {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
            if host.is_empty() || !host.bytes().all(plain) {
                return Err(Problem::given(
                    &at("hosts"),
                    host,
                    "hosts in lower case without a port, for example [hooks.example.com]",
                ));
            }
        }
        Ok(Match { path, methods: self.methods, hosts: self.hosts })
    }
}

/// A path that normalisation would change can never be met, so it is a mistake.
fn check_path(field: &str, path: &str, expected: &str) -> Result<(), Problem> {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%;\\\"".contains(&byte));
    let resolved = !path.contains("//") && !path.split('/').any(|segment| segment == "." || segment == "..");
    if path.starts_with('/') && plain && resolved {
        Ok(())
    } else {
        Err(Problem::given(field, path, expected))
    }
}

impl Match {
    /// As a filter's configuration has it.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        let (key, path) = match &self.path {
            PathMatch::Exact(path) => ("path", path),
            PathMatch::Prefix(path) => ("path_prefix", path),
            PathMatch::Pattern(path) => ("pattern", path),
        };
        out.insert(key.to_owned(), path.as_str().into());
        for (key, values) in [("methods", &self.methods), ("hosts", &self.hosts)] {
            if !values.is_empty() {
                out.insert(key.to_owned(), values.clone().into());
            }
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(yaml: &str) -> Result<Match, String> {
        let raw: RawMatch = serde_norway::from_str(yaml).map_err(|error| error.to_string())?;
        raw.resolve("match").map_err(|problem| problem.to_string())
    }

    #[test]
    fn paths_that_can_never_be_met_are_refused() {
        for odd in [
            "{path: x}",
            "{path: /a/../b}",
            "{path: //a}",
            "{path: /a?b}",
            "{path: /a%20b}",
            "{path_prefix: /wal/}",
            "{pattern: /a*}",
            "{}",
            "{path: /a, pattern: /b}",
            "{path: /a;b}",
        ] {
            assert!(resolve(odd).is_err(), "{odd}");
        }
        assert!(resolve("{path_prefix: /}").is_ok() && resolve("{pattern: /a/*/**}").is_ok());
    }

    #[test]
    fn methods_and_hosts_are_written_one_way() {
        assert!(resolve("{path: /a, methods: [post]}").unwrap_err().contains("methods in upper case"));
        assert!(resolve("{path: /a, hosts: ['a.com:80']}").unwrap_err().contains("without a port"));
    }
}
