//! What a subscription has yet to deliver: what is due, and what became of it.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Millis;

use super::messages::{self, Message, NewMessage, Published};

/// A page ends early once its messages hold this much, so that large messages do not fill the memory.
const PAGE_BYTES: usize = 32_000_000;

/// A message that is due.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// Deliveries that failed so far.
    pub(crate) attempts: u32,
}

/// What is due now, and when the next of the others will be.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) next: Option<Millis>,
}

/// Up to `limit` messages that are due at `now`, the longest waiting first, without those in `leased`.
pub(crate) fn due(
    connection: &Connection,
    subscription: i64,
    now: Millis,
    limit: usize,
    leased: &HashSet<i64>,
) -> rusqlite::Result<Due> {
    let mut select = connection.prepare_cached(
        "SELECT message_id, attempts, due FROM deliveries
         WHERE subscription_id = ?1 AND acked_at IS NULL ORDER BY due, message_id",
    )?;
    let mut rows = select.query([subscription])?;
    let mut found = Due::default();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let (id, due): (i64, Millis) = (row.get(0)?, row.get(2)?);
        if due > now {
            found.next = Some(due);
            break;
        }
        if leased.contains(&id) {
            continue;
        }
        if found.deliveries.len() >= limit || bytes >= PAGE_BYTES {
            break;
        }
        if let Some(message) = messages::message(connection, id)? {
            bytes += message.content.data.len();
            found.deliveries.push(Delivery { message, attempts: row.get(1)? });
        }
    }
    Ok(found)
}

/// Takes what is due for a client that pulls: each message counts one more attempt and is not due again before
/// `until`.
pub(crate) fn lease(
    connection: &Connection,
    subscription: i64,
    now: Millis,
    until: Millis,
    limit: usize,
) -> rusqlite::Result<Due> {
    let mut found = due(connection, subscription, now, limit, &HashSet::new())?;
    for delivery in &mut found.deliveries {
        delivery.attempts += 1;
        postpone(connection, subscription, delivery.message.id, delivery.attempts, until)?;
    }
    Ok(found)
}

/// Not due again before `due`, after so many `attempts`.
pub(crate) fn postpone(
    connection: &Connection,
    subscription: i64,
    message: i64,
    attempts: u32,
    due: Millis,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE deliveries SET attempts = ?3, due = ?4
             WHERE message_id = ?2 AND subscription_id = ?1 AND acked_at IS NULL",
        )?
        .execute(params![subscription, message, attempts, due])?;
    Ok(())
}

/// The failed attempts of a message that is not acknowledged.
pub(crate) fn attempts(
    connection: &Connection,
    subscription: i64,
    message: i64,
) -> rusqlite::Result<Option<u32>> {
    connection
        .prepare_cached(
            "SELECT attempts FROM deliveries
             WHERE message_id = ?2 AND subscription_id = ?1 AND acked_at IS NULL",
        )?
        .query_row([subscription, message], |row| row.get(0))
        .optional()
}

/// Ends a delivery. With `retain` the message is kept for a seek until its retention ends.
pub(crate) fn acknowledge(
    connection: &Connection,
    subscription: i64,
    message: i64,
    retain: bool,
    now: Millis,
) -> rusqlite::Result<()> {
    if retain {
        connection
            .prepare_cached(
                "UPDATE deliveries SET acked_at = ?3
                 WHERE message_id = ?2 AND subscription_id = ?1 AND acked_at IS NULL",
            )?
            .execute(params![subscription, message, now])?;
        return Ok(());
    }
    connection
        .prepare_cached("DELETE FROM deliveries WHERE message_id = ?2 AND subscription_id = ?1")?
        .execute([subscription, message])?;
    connection
        .prepare_cached(
            "DELETE FROM messages WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message_id = ?1)",
        )?
        .execute([message])?;
    Ok(())
}

/// Publishes `copy` to `topic` and ends the delivery, both or neither; none if there is no such topic or nothing to
/// end any more.
pub(crate) fn dead_letter(
    connection: &Connection,
    (subscription, message): (i64, i64),
    (topic, copy): (&str, &NewMessage),
    retain: bool,
    now: Millis,
) -> rusqlite::Result<Option<Published>> {
    if attempts(connection, subscription, message)?.is_none() {
        return Ok(None);
    }
    let published = messages::publish(connection, topic, std::slice::from_ref(copy), now)?;
    if published.is_some() {
        acknowledge(connection, subscription, message, retain, now)?;
    }
    Ok(published)
}

/// Acknowledges everything published before `time` and makes everything since due again, as far as it is still kept.
pub(crate) fn seek(
    connection: &Connection,
    subscription: i64,
    time: Millis,
    retain: bool,
    now: Millis,
) -> rusqlite::Result<()> {
    let before = connection
        .prepare(
            "SELECT message_id FROM deliveries JOIN messages ON messages.id = message_id
             WHERE subscription_id = ?1 AND acked_at IS NULL AND published_at < ?2",
        )?
        .query_map(params![subscription, time], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    for message in before {
        acknowledge(connection, subscription, message, retain, now)?;
    }
    connection.execute(
        "UPDATE deliveries SET acked_at = NULL, attempts = 0, due = ?3
         WHERE subscription_id = ?1
           AND message_id IN (SELECT id FROM messages WHERE published_at >= ?2)",
        params![subscription, time, now],
    )?;
    Ok(())
}
