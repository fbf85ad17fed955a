//! Topics and subscriptions as resources: a name, and the JSON that a client gave.

use rusqlite::{Connection, OptionalExtension, params};

use super::retention;

/// A stored resource.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// JSON text.
    pub(crate) resource: String,
}

pub(crate) fn topic_id(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM topics WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub(crate) fn topic(connection: &Connection, name: &str) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached("SELECT id, name, resource FROM topics WHERE name = ?1")?
        .query_row([name], from_row)
        .optional()
}

/// Up to `limit` topics whose names begin with `prefix` and come after `after`, by name.
pub(crate) fn topics(
    connection: &Connection,
    prefix: &str,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Vec<Row>> {
    connection
        .prepare_cached(
            "SELECT id, name, resource FROM topics
             WHERE name > ?2 AND substr(name, 1, length(?1)) = ?1 ORDER BY name LIMIT ?3",
        )?
        .query_map(params![prefix, after, i64::try_from(limit).unwrap_or(i64::MAX)], from_row)?
        .collect()
}

/// False if the name is taken.
pub(crate) fn create_topic(connection: &Connection, name: &str, resource: &str) -> rusqlite::Result<bool> {
    let created = connection
        .prepare_cached("INSERT INTO topics (name, resource) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute([name, resource])?;
    Ok(created > 0)
}

/// False if there was none. Its subscriptions stay, with what they have yet to deliver.
pub(crate) fn delete_topic(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection.execute(
        "UPDATE subscriptions SET topic_id = NULL WHERE topic_id = (SELECT id FROM topics WHERE name = ?1)",
        [name],
    )?;
    Ok(connection.execute("DELETE FROM topics WHERE name = ?1", [name])? > 0)
}

pub(crate) fn subscriptions(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    connection
        .prepare_cached("SELECT id, name, resource FROM subscriptions")?
        .query_map([], from_row)?
        .collect()
}

/// The new subscription's id.
pub(crate) fn create_subscription(
    connection: &Connection,
    name: &str,
    topic_id: i64,
    resource: &str,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("INSERT INTO subscriptions (name, topic_id, resource) VALUES (?1, ?2, ?3)")?
        .insert(params![name, topic_id, resource])
}

pub(crate) fn update_subscription(connection: &Connection, id: i64, resource: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE subscriptions SET resource = ?2 WHERE id = ?1")?
        .execute(params![id, resource])?;
    Ok(())
}

pub(crate) fn delete_subscription(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM subscriptions WHERE id = ?1", [id])?;
    connection.execute("DELETE FROM deliveries WHERE subscription_id = ?1", [id])?;
    retention::drop_orphans(connection, i64::MAX)
}

fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row { id: row.get(0)?, name: row.get(1)?, resource: row.get(2)? })
}
