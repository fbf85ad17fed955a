//! The request's story.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::flow::{Filter, Stream, Verdict};
use lockgate_common::host::Map;
use lockgate_common::http::Refusal;
use lockgate_common::json::Json;
use lockgate_common::rules::{Match, first_fit};
use lockgate_common::runtime::{Runtime, Story};

use crate::conversion::Conversion;
use crate::convert::convert;
use crate::error::ConvertError;

/// The filter as configured. A rule with `"unchanged": true` has no conversion.
pub struct FormToJson {
    rules: Vec<(Match, Option<Conversion>)>,
}

impl FormToJson {
    /// Reads the configuration.
    pub fn configure(fields: &Fields<'_>, _: &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError> {
        let mut rules = Vec::new();
        for (path, rule) in fields.list("rules")? {
            let unchanged = rule.field("unchanged").and_then(Json::bool) == Some(true);
            let conversion = Conversion::from_json(rule, &path)?;
            let conversion = (!unchanged).then_some(conversion);
            let path = [&path, ".match"].concat();
            let matches = Match::from_config(rule.field("match").unwrap_or(rule), &path)?;
            rules.push((matches, conversion));
        }
        Ok(Rc::new(Self { rules }))
    }

    async fn adapt(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        let rule = first_fit(&self.rules, stream)?;
        let host = stream.host();
        // What the upstream is to answer itself, it is to have as the sender wrote it.
        let passed_through = host.property(&["lockgate_disposition"]).as_deref() == Some(b"pass");
        if let Some(conversion) = rule
            && !passed_through
        {
            let body = stream.request_body(conversion.max_body_bytes).await;
            let body = body.map_err(|_| ConvertError::BodyTooLarge.refusal())?;
            let content_type = stream.headers().single("content-type").map_err(|_| REPEATED)?;
            let converted = convert(conversion, content_type, &body).map_err(ConvertError::refusal)?;
            if !stream.replace_request_body(&converted) {
                return Err(NO_BODY);
            }
            host.set_header(Map::Request, "content-type", Some(b"application/json"));
        }
        host.set_property("lockgate_form_to_json", b"passed");
        // Any header write makes the proxy choose the route anew, by the mark that was just set.
        host.set_header(Map::Request, "x-lockgate-adapted", None);
        Ok(Verdict::Continue)
    }
}

impl Filter for FormToJson {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move { self.adapt(&stream).await.into() })
    }
}

const REPEATED: Refusal =
    Refusal { status: 400, reason: "repeated_header", sentence: "The content-type header stands twice." };

const NO_BODY: Refusal =
    Refusal { status: 400, reason: "no_body", sentence: "The request has no body, and one is needed here." };
