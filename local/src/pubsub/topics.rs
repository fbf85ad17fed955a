//! Topics: create, read, delete, list.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::status::{self, ApiError};
use crate::store::resources;

use super::PubSub;
use super::names::Page;

/// What of a topic is kept beside its name. Retention on the topic and schemas are not there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicBody {
    #[serde(default, skip_serializing)]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

impl PubSub {
    pub(super) async fn create_topic(&self, name: String, body: TopicBody) -> Result<Response, ApiError> {
        if body.name.as_ref().is_some_and(|given| *given != name) {
            return Err(ApiError::invalid("The name in the body is not the one in the path."));
        }
        let resource = json!(body);
        let (row_name, row_resource) = (name.clone(), resource.to_string());
        let created =
            self.store.write(move |tx| resources::create_topic(tx, &row_name, &row_resource)).await?;
        if !created {
            return Err(ApiError::exists(&name));
        }
        log::info!("created {name}");
        status::ok(&described(&name, resource))
    }

    pub(super) async fn topic(&self, name: String) -> Result<Response, ApiError> {
        let wanted = name.clone();
        let row = self.store.read(move |tx| resources::topic(tx, &wanted)).await?;
        let row = row.ok_or_else(|| ApiError::not_found(&name))?;
        status::ok(&described(&row.name, stored(&row.resource)))
    }

    pub(super) async fn list_topics(&self, project: String, page: Page) -> Result<Response, ApiError> {
        let prefix = format!("{project}/topics/");
        let Page { size, after } = page;
        let mut rows = self.store.read(move |tx| resources::topics(tx, &prefix, &after, size + 1)).await?;
        let more = rows.len() > size;
        rows.truncate(size);
        let next = rows.last().filter(|_| more).map(|row| row.name.clone());
        let topics = rows.iter().map(|row| described(&row.name, stored(&row.resource))).collect();
        status::ok(&listing("topics", topics, next))
    }

    pub(super) async fn delete_topic(&self, name: String) -> Result<Response, ApiError> {
        let _changes = self.live.changes().await;
        let row_name = name.clone();
        if !self.store.write(move |tx| resources::delete_topic(tx, &row_name)).await? {
            return Err(ApiError::not_found(&name));
        }
        self.forget_topic(&name).await?;
        log::info!("deleted {name}");
        status::ok(&json!({}))
    }
}

/// A list's answer; empty lists are left out, as in Google's JSON.
pub(super) fn listing(field: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = serde_json::Map::new();
    if !items.is_empty() {
        answer.insert(field.to_owned(), Value::Array(items));
    }
    if let Some(next) = next {
        answer.insert("nextPageToken".to_owned(), Value::String(next));
    }
    Value::Object(answer)
}

fn described(name: &str, resource: Value) -> Value {
    let mut topic = json!({ "name": name });
    if let (Some(topic), Value::Object(resource)) = (topic.as_object_mut(), resource) {
        topic.extend(resource);
    }
    topic
}

/// Only this program writes the column; a topic without labels is better than none.
fn stored(resource: &str) -> Value {
    serde_json::from_str(resource).unwrap_or_default()
}
