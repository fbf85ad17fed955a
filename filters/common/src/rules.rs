//! Which rule a request meets: the first whose path, method and host fit. The path is the
//! normalised one without the query, so a rule sees what the upstream will resolve.

use crate::config::{ConfigError, Fields};
use crate::flow::Stream;
use crate::http::{Refusal, path_without_query};
use crate::json::Json;

/// What a rule matches on.
#[derive(Debug)]
pub struct Match {
    path: PathMatch,
    methods: Vec<String>,
    hosts: Vec<String>,
}

#[derive(Debug)]
enum PathMatch {
    Exact(String),
    /// Whole segments: `/wal` is met by `/wal` and `/wal/x`, not by `/walX`.
    Prefix(String),
    /// Segments, the pattern always anchored at both ends: `*` is any one, `**` any number.
    Pattern(Vec<String>),
}

/// Says that no rule fits. A filter that was switched on for a path it has no rule for is a mistake
/// in the configuration, and a mistake refuses.
pub const NO_RULE: Refusal =
    Refusal { status: 403, reason: "no_rule", sentence: "This address is not open." };

impl Match {
    /// Reads a rule's `match`.
    pub fn from_config(json: Json<'_>, path: &str) -> Result<Self, ConfigError> {
        let fields = Fields::new(json, path, &["path", "path_prefix", "pattern", "methods", "hosts"])?;
        let one_path = "exactly one of path, path_prefix, pattern";
        let given = (
            fields.optional_text("path")?,
            fields.optional_text("path_prefix")?,
            fields.optional_text("pattern")?,
        );
        let path = match given {
            (Some(path), None, None) if path.starts_with('/') => PathMatch::Exact(path),
            (None, Some(prefix), None) if prefix == "/" => PathMatch::Prefix(String::new()),
            (None, Some(prefix), None) if prefix.starts_with('/') && !prefix.ends_with('/') => {
                PathMatch::Prefix(prefix)
            }
            (None, None, Some(pattern)) => PathMatch::Pattern(
                segments(&pattern)
                    .ok_or_else(|| fields.error("pattern", "segments behind \"/\", each a text, * or **"))?,
            ),
            (Some(_), None, None) => {
                return Err(fields.error("path", "a path that begins with \"/\""));
            }
            (None, Some(_), None) => {
                return Err(fields.error("path_prefix", "whole segments: \"/\" in front, none behind"));
            }
            _ => return Err(fields.error("path", one_path)),
        };
        let methods = fields.texts("methods")?;
        if methods.iter().any(|method| !method.bytes().all(|byte| byte.is_ascii_uppercase())) {
            return Err(fields.error("methods", "upper-case methods"));
        }
        let hosts = fields.texts("hosts")?;
        if hosts.iter().any(|host| host.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b':')) {
            return Err(fields.error("hosts", "lower-case hosts without a port"));
        }
        Ok(Self { path, methods, hosts })
    }

    /// Whether a request meets it. `host` may carry a port, which is ignored.
    pub fn fits(&self, method: &str, host: &str, target: &str) -> bool {
        self.fits_parts(method, host_without_port(host), path_without_query(target))
    }

    fn fits_parts(&self, method: &str, host: &str, path: &str) -> bool {
        // Case matters in a method (RFC 9110, 9.1), but not to every upstream.
        (self.methods.is_empty() || self.methods.iter().any(|other| other.eq_ignore_ascii_case(method)))
            && (self.hosts.is_empty() || self.hosts.iter().any(|other| other.eq_ignore_ascii_case(host)))
            && match &self.path {
                PathMatch::Exact(exact) => path == exact,
                PathMatch::Prefix(prefix) => path
                    .strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
                PathMatch::Pattern(pattern) => pattern_fits(pattern, path),
            }
    }
}

/// The first rule that the stream's request meets.
pub fn first_fit<'a, R>(rules: &'a [(Match, R)], stream: &Stream) -> Result<&'a R, Refusal> {
    first_fit_at(rules, stream, stream.text(":path"))
}

/// The first rule that it would meet with another path.
pub fn first_fit_at<'a, R>(rules: &'a [(Match, R)], stream: &Stream, path: &str) -> Result<&'a R, Refusal> {
    // Taken apart once: there may be hundreds of rules.
    let (method, host) = (stream.text(":method"), host_without_port(stream.text(":authority")));
    let path = path_without_query(path);
    let fit = rules.iter().find(|(rule, _)| rule.fits_parts(method, host, path));
    fit.map(|(_, settings)| settings).ok_or(NO_RULE)
}

fn host_without_port(host: &str) -> &str {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host.strip_suffix('.').unwrap_or(host)
}

fn segments(pattern: &str) -> Option<Vec<String>> {
    let segments: Vec<String> = pattern.strip_prefix('/')?.split('/').map(str::to_owned).collect();
    let whole = |segment: &String| !segment.as_bytes().contains(&b'*') || segment == "*" || segment == "**";
    segments.iter().all(whole).then_some(segments)
}

/// Matches segment by segment; on a mismatch goes back to the last `**` and lets it take one more,
/// so the work is at most the product of the two lengths.
fn pattern_fits(pattern: &[String], path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let path: Vec<&str> = path.split('/').collect();
    let (mut at, mut seen, mut retry) = (0, 0, None);
    while let Some(segment) = path.get(seen) {
        match pattern.get(at).map(String::as_str) {
            Some("**") => {
                at += 1;
                retry = Some((at, seen));
            }
            Some(wanted) if wanted == *segment || (wanted == "*" && !segment.is_empty()) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((after, from)) = retry else {
                    return false;
                };
                retry = Some((after, from + 1));
                (at, seen) = (after, from + 1);
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|rest| rest == "**")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<Match, ConfigError> {
        Match::from_config(Json::parse(text.as_bytes()).unwrap(), "match")
    }

    fn fits(text: &str, path: &str) -> bool {
        rule(text).unwrap().fits("POST", "example.com:8080", path)
    }

    #[test]
    fn a_prefix_means_whole_segments() {
        let wal = r#"{"path_prefix":"/wal"}"#;
        assert!(fits(wal, "/wal") && fits(wal, "/wal/x") && fits(wal, "/wal?x=/y"));
        assert!(!fits(wal, "/walX") && !fits(wal, "/x/wal") && !fits(wal, "/WAL"));
        assert!(fits(r#"{"path_prefix":"/"}"#, "/anything"));
    }

    #[test]
    fn the_query_never_matches() {
        assert!(!fits(r#"{"path_prefix":"/public"}"#, "/admin?x=/public"));
        assert!(fits(r#"{"path":"/a"}"#, "/a?b"));
    }

    #[test]
    fn a_pattern_is_anchored() {
        let pattern = r#"{"pattern":"/a/*/c/**"}"#;
        assert!(fits(pattern, "/a/b/c") && fits(pattern, "/a/b/c/d/e"));
        assert!(!fits(pattern, "/x/a/b/c") && !fits(pattern, "/a/b/b/c") && !fits(pattern, "/a//c"));
        assert!(fits(r#"{"pattern":"/**/end"}"#, "/a/end/b/end"));
        assert!(!fits(r#"{"pattern":"/**/end"}"#, "/a/end/b"));
        assert!(rule(r#"{"pattern":"/a*"}"#).is_err() && rule(r#"{"pattern":"a"}"#).is_err());
    }

    #[test]
    fn methods_and_hosts_narrow() {
        let rule = rule(r#"{"path":"/a","methods":["POST"],"hosts":["example.com"]}"#).unwrap();
        assert!(rule.fits("POST", "EXAMPLE.com:443", "/a"));
        assert!(!rule.fits("GET", "example.com", "/a") && !rule.fits("POST", "example.org", "/a"));
    }

    #[test]
    fn a_match_without_one_path_is_refused() {
        for text in ["{}", r#"{"path":"/a","pattern":"/a"}"#, r#"{"path":"a"}"#, r#"{"path_prefix":"/a/"}"#] {
            assert!(rule(text).is_err(), "{text}");
        }
    }
}
