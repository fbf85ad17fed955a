//! Publishing, and reading a message back.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::clock::Millis;

use super::resources;

/// A message as its publisher gave it; limits have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewMessage {
    pub(crate) data: Vec<u8>,
    /// A JSON object of strings; none where there are no attributes.
    pub(crate) attributes: Option<String>,
    pub(crate) ordering_key: Option<String>,
}

/// A stored message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) published_at: Millis,
    pub(crate) content: NewMessage,
}

/// What a publish made.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) ids: Vec<i64>,
    /// The subscriptions that now have something to deliver.
    pub(crate) subscriptions: Vec<i64>,
}

/// Stores `messages` for every subscription of `topic`; none if there is no such topic.
pub(crate) fn publish(
    connection: &Connection,
    topic: &str,
    messages: &[NewMessage],
    now: Millis,
) -> rusqlite::Result<Option<Published>> {
    let Some(topic_id) = resources::topic_id(connection, topic)? else {
        return Ok(None);
    };
    let subscriptions = connection
        .prepare_cached("SELECT id FROM subscriptions WHERE topic_id = ?1")?
        .query_map([topic_id], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO messages (published_at, attributes, ordering_key, data) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let mut deliver = connection.prepare_cached(
        "INSERT INTO deliveries (message_id, subscription_id, due, attempts) VALUES (?1, ?2, ?3, 0)",
    )?;
    let mut ids = Vec::with_capacity(messages.len());
    for message in messages {
        let id = insert.insert(params![now, message.attributes, message.ordering_key, message.data])?;
        for subscription in &subscriptions {
            deliver.execute(params![id, subscription, now])?;
        }
        ids.push(id);
    }
    if subscriptions.is_empty()
        && let Some(first) = ids.first()
    {
        // Stored only to use up their ids: a topic without subscriptions keeps nothing.
        connection.execute("DELETE FROM messages WHERE id >= ?1", [first])?;
    }
    Ok(Some(Published { ids, subscriptions }))
}

pub(super) fn message(connection: &Connection, id: i64) -> rusqlite::Result<Option<Message>> {
    connection
        .prepare_cached(
            "SELECT id, published_at, attributes, ordering_key, data FROM messages WHERE id = ?1",
        )?
        .query_row([id], from_row)
        .optional()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Message> {
    let content = NewMessage { attributes: row.get(2)?, ordering_key: row.get(3)?, data: row.get(4)? };
    Ok(Message { id: row.get(0)?, published_at: row.get(1)?, content })
}
