//! Subscriptions: create, read, update, delete, list.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::status::{self, ApiError};
use crate::store::resources;

use super::names::{self, Page};
use super::resource::{PushConfig, Subscription};
use super::topics::listing;
use super::{PubSub, invalid_json};

/// Changing any other field means another subscription.
const MUTABLE: [&str; 8] = [
    "ackDeadlineSeconds",
    "deadLetterPolicy",
    "expirationPolicy",
    "labels",
    "messageRetentionDuration",
    "pushConfig",
    "retainAckedMessages",
    "retryPolicy",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpdateRequest {
    subscription: Map<String, Value>,
    #[serde(alias = "update_mask")]
    update_mask: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ModifyPushConfigRequest {
    #[serde(default, alias = "push_config")]
    push_config: PushConfig,
}

impl PubSub {
    pub(super) async fn create_subscription(
        &self,
        name: String,
        mut resource: Subscription,
    ) -> Result<Response, ApiError> {
        if !resource.name.is_empty() && resource.name != name {
            return Err(ApiError::invalid("The name in the body is not the one in the path."));
        }
        resource.name = name;
        resource.topic = names::full_topic(&resource.topic)?;
        let resource = resource.checked()?;
        let _changes = self.live.changes().await;
        if self.live.find(&resource.name).is_some() {
            return Err(ApiError::exists(&resource.name));
        }
        self.check_dead_letter_topic(&resource).await?;
        let (row, text) = (resource.clone(), stored(&resource)?);
        let created = self.store.write(move |tx| {
            resources::topic_id(tx, &row.topic)?
                .map(|topic| resources::create_subscription(tx, &row.name, topic, &text))
                .transpose()
        });
        let id = created.await?.ok_or_else(|| ApiError::not_found(&resource.topic))?;
        log::info!("created {}", resource.name);
        self.live.insert(id, resource.clone());
        status::ok(&resource)
    }

    pub(super) fn subscription(&self, name: &str) -> Result<Response, ApiError> {
        let live = self.live.find(name).ok_or_else(|| ApiError::not_found(name))?;
        status::ok(&*live.resource())
    }

    /// Only whole fields, and one level inside them (`pushConfig.pushEndpoint`), can be named in the mask.
    pub(super) async fn update_subscription(
        &self,
        name: &str,
        request: UpdateRequest,
    ) -> Result<Response, ApiError> {
        let given = camel_case_keys(request.subscription);
        let mask: Vec<String> = request.update_mask.split(',').map(|path| camel_case(path.trim())).collect();
        self.change(name, |current| {
            let mut fields = match serde_json::to_value(current) {
                Ok(Value::Object(fields)) => fields,
                _ => return Err(ApiError::unavailable()),
            };
            for path in &mask {
                replace(&mut fields, &given, path)?;
            }
            serde_json::from_value(Value::Object(fields)).map_err(|error| invalid_json(&error))
        })
        .await
    }

    pub(super) async fn modify_push_config(
        &self,
        name: &str,
        request: ModifyPushConfigRequest,
    ) -> Result<Response, ApiError> {
        let change = |current: &Subscription| {
            let mut changed = current.clone();
            changed.push_config = request.push_config;
            Ok(changed)
        };
        self.change(name, change).await?;
        status::ok(&json!({}))
    }

    pub(super) async fn delete_subscription(&self, name: &str) -> Result<Response, ApiError> {
        let _changes = self.live.changes().await;
        let live = self.live.find(name).ok_or_else(|| ApiError::not_found(name))?;
        let id = live.id;
        self.store.write(move |tx| resources::delete_subscription(tx, id)).await?;
        self.live.remove(&live);
        log::info!("deleted {name}");
        status::ok(&json!({}))
    }

    pub(super) fn list_subscriptions(&self, project: String, page: Page) -> Result<Response, ApiError> {
        let prefix = format!("{project}/subscriptions/");
        let (found, next) = self.page(page, |resource| resource.name.starts_with(&prefix));
        status::ok(&listing("subscriptions", found.iter().map(|resource| json!(**resource)).collect(), next))
    }

    pub(super) async fn list_topic_subscriptions(
        &self,
        topic: String,
        page: Page,
    ) -> Result<Response, ApiError> {
        self.check_topic(&topic).await?;
        let (found, next) = self.page(page, |resource| resource.topic == topic);
        status::ok(&listing(
            "subscriptions",
            found.iter().map(|resource| json!(resource.name)).collect(),
            next,
        ))
    }

    /// Subscriptions outlive their topic and then name it no more.
    pub(super) async fn forget_topic(&self, topic: &str) -> Result<(), ApiError> {
        for live in self.live.all() {
            let mut resource = (*live.resource()).clone();
            if resource.topic != topic {
                continue;
            }
            names::DELETED_TOPIC.clone_into(&mut resource.topic);
            let (id, text) = (live.id, stored(&resource)?);
            self.store.write(move |tx| resources::update_subscription(tx, id, &text)).await?;
            live.change(resource);
        }
        Ok(())
    }

    async fn change(
        &self,
        name: &str,
        change: impl FnOnce(&Subscription) -> Result<Subscription, ApiError>,
    ) -> Result<Response, ApiError> {
        let _changes = self.live.changes().await;
        let live = self.live.find(name).ok_or_else(|| ApiError::not_found(name))?;
        let resource = change(&live.resource())?.checked()?;
        self.check_dead_letter_topic(&resource).await?;
        let (id, text) = (live.id, stored(&resource)?);
        self.store.write(move |tx| resources::update_subscription(tx, id, &text)).await?;
        log::info!("updated {name}");
        live.change(resource.clone());
        status::ok(&resource)
    }

    async fn check_dead_letter_topic(&self, resource: &Subscription) -> Result<(), ApiError> {
        match &resource.dead_letter_policy {
            Some(policy) => self.check_topic(&policy.dead_letter_topic).await,
            None => Ok(()),
        }
    }

    async fn check_topic(&self, name: &str) -> Result<(), ApiError> {
        let wanted = name.to_owned();
        match self.store.read(move |tx| resources::topic_id(tx, &wanted)).await? {
            Some(_) => Ok(()),
            None => Err(ApiError::not_found(name)),
        }
    }

    fn page(
        &self,
        page: Page,
        matches: impl Fn(&Subscription) -> bool,
    ) -> (Vec<std::sync::Arc<Subscription>>, Option<String>) {
        let mut found: Vec<_> = self.live.all().iter().map(|live| live.resource()).collect();
        found.retain(|resource| matches(resource) && resource.name > page.after);
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let more = found.len() > page.size;
        found.truncate(page.size);
        let next = found.last().filter(|_| more).map(|resource| resource.name.clone());
        (found, next)
    }
}

fn stored(resource: &Subscription) -> Result<String, ApiError> {
    serde_json::to_string(resource).map_err(|error| invalid_json(&error))
}

/// Copies what `path` names from `given` into `fields`; what is not given is reset to its default.
fn replace(fields: &mut Map<String, Value>, given: &Map<String, Value>, path: &str) -> Result<(), ApiError> {
    let (field, inner) = path.split_once('.').map_or((path, None), |(field, inner)| (field, Some(inner)));
    if !MUTABLE.contains(&field) {
        return Err(ApiError::invalid(format!("'{}' cannot be updated.", path.escape_default())));
    }
    let new = given.get(field).cloned();
    let (Some(inner), Some(current)) = (inner, fields.get_mut(field).and_then(Value::as_object_mut)) else {
        set(fields, field, new);
        return Ok(());
    };
    let new = new.as_ref().and_then(Value::as_object).and_then(|new| new.get(inner)).cloned();
    set(current, inner, new);
    Ok(())
}

fn set(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => fields.insert(name.to_owned(), value),
        None => fields.remove(name),
    };
}

/// Both spellings of a field are JSON of the same message.
fn camel_case_keys(fields: Map<String, Value>) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (camel_case(&name), value)).collect()
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut joined, word| {
        let mut letters = word.chars();
        joined.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        joined.push_str(letters.as_str());
        joined
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_names_whole_fields_or_one_level_inside_in_either_spelling() {
        let mut fields = json!({ "ackDeadlineSeconds": 10, "labels": { "a": "1" },
            "pushConfig": { "pushEndpoint": "http://old/", "oidcToken": {} } });
        let fields = fields.as_object_mut().unwrap();
        let given = json!({ "ack_deadline_seconds": 30, "pushConfig": { "pushEndpoint": "http://new/" } });
        let given = camel_case_keys(given.as_object().unwrap().clone());
        for path in ["ack_deadline_seconds", "push_config.push_endpoint", "labels"] {
            replace(fields, &given, &camel_case(path)).unwrap();
        }
        let expected = json!({ "ackDeadlineSeconds": 30,
            "pushConfig": { "pushEndpoint": "http://new/", "oidcToken": {} } });
        assert_eq!(Value::Object(fields.clone()), expected);
        for path in ["name", "topic", "filter", "", "nonsense"] {
            assert!(replace(fields, &given, path).is_err(), "{path}");
        }
    }
}
