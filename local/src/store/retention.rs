//! Forgetting: messages older than a subscription's retention, and messages that nobody waits for.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Millis;

/// Drops a subscription's messages that were published before `cutoff`, acknowledged or not, and returns how many of
/// them had not been acknowledged.
pub(crate) fn expire(connection: &Connection, subscription: i64, cutoff: Millis) -> rusqlite::Result<usize> {
    // Ids rise with time, so only what has expired is looked at.
    let first_kept = connection
        .prepare_cached("SELECT id FROM messages WHERE published_at >= ?1 ORDER BY id LIMIT 1")?
        .query_row([cutoff], |row| row.get(0))
        .optional()?
        .unwrap_or(i64::MAX);
    let expired = params![subscription, first_kept];
    let lost = connection
        .prepare_cached(
            "DELETE FROM deliveries WHERE message_id < ?2 AND subscription_id = ?1 AND acked_at IS NULL",
        )?
        .execute(expired)?;
    connection
        .prepare_cached("DELETE FROM deliveries WHERE message_id < ?2 AND subscription_id = ?1")?
        .execute(expired)?;
    drop_orphans(connection, first_kept)?;
    Ok(lost)
}

/// Drops messages that no subscription holds.
pub(super) fn drop_orphans(connection: &Connection, below: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM messages
             WHERE id < ?1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message_id = messages.id)",
        )?
        .execute([below])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::store::messages::NewMessage;
    use crate::store::{deliveries, messages, resources, schema};

    use super::*;

    #[test]
    fn what_is_too_old_goes_and_what_another_subscription_still_wants_stays() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open(&directory.path().join("db")).unwrap();
        resources::create_topic(&connection, "t", "{}").unwrap();
        let topic = resources::topic_id(&connection, "t").unwrap().unwrap();
        let subscribe = |name| resources::create_subscription(&connection, name, topic, "{}").unwrap();
        let (short, long) = (subscribe("short"), subscribe("long"));
        let publish = |at| {
            let message = NewMessage { data: vec![1], attributes: None, ordering_key: None };
            let published = messages::publish(&connection, "t", &[message], at).unwrap().unwrap();
            published.ids.first().copied().unwrap()
        };
        let stored =
            || connection.query_row("SELECT count(*) FROM messages", [], |row| row.get::<_, i64>(0)).unwrap();
        let (retained, old, new) = (publish(1_000), publish(2_000), publish(3_000));
        deliveries::acknowledge(&connection, short, retained, true, 1_500).unwrap();

        assert_eq!(expire(&connection, short, 3_000).unwrap(), 1, "the acknowledged one was not lost");
        let left = deliveries::due(&connection, short, 9_000, 10, &HashSet::new()).unwrap();
        assert_eq!(left.deliveries.iter().map(|d| d.message.id).collect::<Vec<_>>(), [new]);
        assert_eq!(stored(), 3);
        for message in [retained, old] {
            deliveries::acknowledge(&connection, long, message, false, 4_000).unwrap();
        }
        assert_eq!(stored(), 1, "the last acknowledgement drops a message");
        assert_eq!(expire(&connection, long, 9_000).unwrap(), 1);
        assert_eq!(expire(&connection, short, 9_000).unwrap(), 1);
        assert_eq!(stored(), 0);
    }
}
