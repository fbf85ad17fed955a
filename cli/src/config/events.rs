//! Where sign-ins are told.

use serde::Deserialize;

use super::log::topic;
use super::problem::Problem;
use super::resolve::Context;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {topic: projects/my-project/topics/sign-ins}")]
pub(super) struct RawEvents {
    topic: Option<String>,
}

impl RawEvents {
    /// The topic; `None` where it is a variable's that is not set.
    pub(super) fn resolve(self, context: &Context<'_>) -> Result<Option<String>, Problem> {
        const FIELD: &str = "sign_in.events.topic";
        if self.topic.is_none() && context.variables.unset.contains_key(FIELD) {
            return Ok(None);
        }
        let name = context.required(FIELD, self.topic, "projects/my-project/topics/sign-ins")?;
        topic(FIELD, name).map(Some)
    }
}
