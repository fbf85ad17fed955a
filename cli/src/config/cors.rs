//! Which other origins' pages may call a route from a browser, as Envoy's own filter grants it.

use serde::Deserialize;

use super::matching::Match;
use super::problem::Problem;
use super::resolve::Context;
use super::scalars::{Flag, Span, Texts};
use super::url::Url;

/// Longest time a browser may keep the answer to a preflight, in seconds; browsers keep none longer.
const LONGEST_S: u64 = 86_400;

/// What pages of other origins may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Exactly as browsers send them; or `*` alone.
    pub origins: Vec<String>,
    /// Upper case.
    pub methods: Vec<String>,
    /// Request headers, lower case.
    pub headers: Vec<String>,
    /// Whether cookies go along.
    pub credentials: bool,
    /// How long a browser may keep the answer to a preflight, in seconds; its own default when absent.
    pub max_age_s: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {origins: [https://app.example.com]}")]
pub(super) struct RawCors {
    origins: Option<Texts>,
    methods: Option<Texts>,
    headers: Option<Texts>,
    credentials: Option<Flag>,
    max_age: Option<Span>,
}

impl RawCors {
    pub(super) fn resolve(
        self,
        field: &str,
        matching: &Match,
        context: &Context<'_>,
    ) -> Result<Cors, Problem> {
        let at = |name: &str| format!("{field}.{name}");
        let list = |list: Option<Texts>, default: &[&str]| {
            list.map_or_else(|| default.iter().map(|&text| text.to_owned()).collect(), |list| list.0)
        };
        let origins = self.origins.map(|origins| origins.0).filter(|origins| !origins.is_empty());
        let origins = context.required(&at("origins"), origins, "https://app.example.com")?;
        let credentials = self.credentials.is_some_and(|flag| flag.0);
        for origin in &origins {
            check_origin(&at("origins"), origin, origins.len() > 1, credentials)?;
        }
        let methods = match (self.methods, matching.methods.is_empty()) {
            (None, false) => matching.methods.clone(),
            (methods, _) => list(methods, &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
        };
        let upper = |method: &String| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
        if let Some(odd) = methods.iter().find(|&method| !upper(method)) {
            return Err(Problem::given(
                &at("methods"),
                odd,
                "methods in upper case, for example [GET, POST]",
            ));
        }
        let headers = list(self.headers, &["authorization", "content-type"]);
        let headers = super::routes::header_names(&at("headers"), headers)?;
        let max_age_s = self.max_age.map(|span| span.0.as_secs());
        if let Some(odd) = max_age_s.filter(|age| !(1..=LONGEST_S).contains(age)) {
            return Err(Problem::given(
                &at("max_age"),
                format!("{odd}s"),
                "between 1s and 24h, for example 10m",
            ));
        }
        Ok(Cors { origins, methods, headers, credentials, max_age_s })
    }
}

/// An origin is compared with what a browser sends, which has no path and no default port.
fn check_origin(field: &str, origin: &str, among_others: bool, credentials: bool) -> Result<(), Problem> {
    if origin == "*" {
        return match (credentials, among_others) {
            (true, _) => Err(Problem::given(
                field,
                "*",
                "the origins by name beside credentials: true, or any site could act for whoever is signed in",
            )),
            (false, true) => Err(Problem::given(field, "*", "either * or origins by name")),
            (false, false) => Ok(()),
        };
    }
    let expected = "origins as browsers send them: scheme, host and port without a path or a slash, \
        for example [https://app.example.com]";
    let url = Url::parse(field, origin, expected)?;
    if url.path.is_empty() && url.to_string() == origin {
        Ok(())
    } else {
        Err(Problem::given(field, origin, expected))
    }
}
