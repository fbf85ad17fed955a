//! The story of an administrator's call, in the form of the original's interface: backends are listed, created
//! and deleted. Who is an administrator is for the guard to say.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::rfc3339;
use lockgate_common::flow::{Stream, Verdict};
use lockgate_common::http::{Refusal, Reply, path_without_query};
use lockgate_common::json::{Json, write_string, write_strings};
use lockgate_common::runtime::part;

use crate::config::Settings;
use crate::definition::{self, CALLED, Definition, Terms};
use crate::flow::{InvertingProxy, TOO_LARGE, WRONG_METHOD};
use crate::registry::{Backend, Put, Unchangeable};

/// Where the calls are, behind whatever stands in front.
const CALLS: &str = "/api/backends";

/// What a definition may hold: its own fields, and those that the list adds, so that what it shows can be sent.
const FIELDS: &[&str] =
    &["id", "endUser", "backendUser", "pathPrefixes", "lastUsed", "healthy", "configured"];

/// Answers a call. Nothing of it is kept in a cache.
pub(crate) async fn admin(proxy: &InvertingProxy, stream: &Stream, settings: &Settings) -> Verdict {
    let (refusal, mut reply) = match part(call(proxy, stream, settings)).await {
        Ok(reply) => (None, reply),
        Err(Refused { refusal, reply }) => (Some(refusal), reply),
    };
    reply.headers.push(("cache-control", "no-store".to_owned()));
    match refusal {
        Some(refusal) => Verdict::RefuseWith(refusal, reply),
        None => Verdict::Reply(reply),
    }
}

async fn call(proxy: &InvertingProxy, stream: &Stream, settings: &Settings) -> Result<Reply, Refused> {
    let method = stream.text(":method");
    let path = path_without_query(stream.text(":path"));
    let (_, rest) = path.rsplit_once(CALLS).ok_or(NO_CALL)?;
    let id = rest.strip_prefix('/').filter(|id| !id.is_empty() && !id.contains('/'));
    // The door's cookie goes along with what pages of neighbours send.
    if method != "GET" && !is_own_page(stream) {
        return Err(CROSS_SITE.into());
    }
    match (method, rest, id) {
        ("GET", "", _) => Ok(list(proxy, stream.host().now_ms())),
        ("POST", "", _) => part(create(proxy, stream, settings)).await,
        ("DELETE", _, Some(id)) => delete(proxy, stream, id),
        (_, "", _) => Err(Refused::with(WRONG_METHOD, ("allow", "GET, POST".to_owned()))),
        (_, _, Some(_)) => Err(Refused::with(WRONG_METHOD, ("allow", "DELETE".to_owned()))),
        _ => Err(NO_CALL.into()),
    }
}

/// Whether no browser says that another site's page has sent it (W3C Fetch Metadata Request Headers, 2).
fn is_own_page(stream: &Stream) -> bool {
    matches!(stream.headers().single("sec-fetch-site"), Ok(None | Some(b"same-origin" | b"none")))
}

fn list(proxy: &InvertingProxy, now_ms: u64) -> Reply {
    let mut body = b"[".to_vec();
    for backend in proxy.registry.all() {
        let Some(terms) = &backend.terms else { continue };
        if body.len() > 1 {
            body.push(b',');
        }
        write(&mut body, &backend, terms, now_ms);
    }
    body.push(b']');
    Reply::with_body(200, "application/json", body)
}

async fn create(proxy: &InvertingProxy, stream: &Stream, settings: &Settings) -> Result<Reply, Refused> {
    let media_type = stream.text("content-type").split(';').next().unwrap_or_default().trim();
    // A form cannot say so, and a script of another site only after a preflight.
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(NOT_JSON.into());
    }
    let body = stream.request_body(settings.max_body_bytes).await.map_err(|_| TOO_LARGE)?;
    let json = Json::parse(&body).map_err(|_| BAD_BACKEND)?;
    let definition = definition(json).map_err(|error| {
        let mut refused = Refused::from(BAD_BACKEND);
        if !error.field.is_empty() {
            refused.reply.body = error.line().into_bytes();
            refused.reply.body.push(b'\n');
        }
        refused
    })?;
    let now = stream.host().now_ms();
    let (status, backend) = match proxy.registry.put(definition, now)? {
        Put::Created(backend) => (201, backend),
        Put::Unchanged(backend) => (200, backend),
        Put::Replaced(backend, before) => {
            proxy.exchange.dismiss(&before, stream.runtime());
            (200, backend)
        }
    };
    let mut body = Vec::new();
    if let Some(terms) = &backend.terms {
        write(&mut body, &backend, terms, now);
    }
    Ok(Reply::with_body(status, "application/json", body))
}

fn definition(json: Json<'_>) -> Result<Definition, ConfigError> {
    let fields = Fields::new(json, "", FIELDS)?;
    Ok(Definition { id: definition::id(&fields)?, terms: Some(Terms::read(&fields, &CALLED)?), check: None })
}

fn delete(proxy: &InvertingProxy, stream: &Stream, id: &str) -> Result<Reply, Refused> {
    let backend = proxy.registry.remove(id)?;
    proxy.exchange.dismiss(&backend, stream.runtime());
    Ok(Reply::empty(204))
}

fn write(out: &mut Vec<u8>, backend: &Backend, terms: &Terms, now_ms: u64) {
    out.extend_from_slice(b"{\"id\":");
    write_string(out, &backend.id);
    out.extend_from_slice(b",\"endUser\":");
    write_string(out, terms.end_user());
    out.extend_from_slice(b",\"backendUser\":");
    write_string(out, &terms.backend_user);
    out.extend_from_slice(b",\"pathPrefixes\":");
    write_strings(out, &terms.path_prefixes);
    if let Some(asked) = backend.asked_ms() {
        out.extend_from_slice(b",\"lastUsed\":");
        write_string(out, &rfc3339(asked));
    }
    if let Some(health) = &backend.health {
        let healthy = backend.has_agent(now_ms) && health.is_healthy();
        out.extend_from_slice(if healthy { b",\"healthy\":true" } else { b",\"healthy\":false" });
    }
    if backend.is_configured {
        out.extend_from_slice(b",\"configured\":true");
    }
    out.push(b'}');
}

/// A refusal, and how it is told.
struct Refused {
    refusal: Refusal,
    reply: Reply,
}

impl Refused {
    fn with(refusal: Refusal, header: (&'static str, String)) -> Self {
        let mut refused = Self::from(refusal);
        refused.reply.headers.push(header);
        refused
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, reply: refusal.reply() }
    }
}

impl From<Unchangeable> for Refused {
    fn from(why: Unchangeable) -> Self {
        Self::from(match why {
            Unchangeable::Configured => CONFIGURED,
            Unchangeable::Full => TOO_MANY,
            Unchangeable::Unknown => UNKNOWN_BACKEND,
        })
    }
}

const NO_CALL: Refusal = Refusal {
    status: 404,
    reason: "no_call",
    sentence: "Backends are at /api/backends, and below it by their ids.",
};

const CROSS_SITE: Refusal =
    Refusal { status: 403, reason: "cross_site", sentence: "Another site's page may not change backends." };

const NOT_JSON: Refusal =
    Refusal { status: 415, reason: "not_json", sentence: "Content-Type must be application/json." };

const BAD_BACKEND: Refusal = Refusal {
    status: 400,
    reason: "bad_backend",
    sentence: "The body must be a JSON object with id, endUser, backendUser and pathPrefixes.",
};

const CONFIGURED: Refusal = Refusal {
    status: 409,
    reason: "configured",
    sentence: "This backend is in the configuration, and is changed there.",
};

const TOO_MANY: Refusal =
    Refusal { status: 409, reason: "too_many", sentence: "There are as many backends as may be." };

const UNKNOWN_BACKEND: Refusal =
    Refusal { status: 404, reason: "unknown_backend", sentence: "There is no such backend." };
