//! The database file: how it is opened, and its tables.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

const VERSION: i64 = 1;

/// Opens the file, creating the tables if it is new.
///
/// In WAL mode with `synchronous=FULL` every commit ends with a sync of the log
/// (<https://www.sqlite.org/pragma.html#pragma_synchronous>). On macOS a plain sync leaves the data in the drive's
/// cache, hence `fullfsync`; elsewhere that setting does nothing.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    match connection.pragma_query_value(None, "user_version", |row| row.get(0))? {
        VERSION => {}
        0 => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        newer => return Err(StoreError::Newer(newer)),
    }
    Ok(connection)
}

/// `AUTOINCREMENT` keeps a message id from being used twice, also after the message is gone. A delivery is one message
/// for one subscription: due at a time (milliseconds since the epoch), until it is acknowledged.
const TABLES: &str = "
    CREATE TABLE topics (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        resource TEXT NOT NULL
    );
    CREATE TABLE subscriptions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        topic_id INTEGER,
        resource TEXT NOT NULL
    );
    CREATE INDEX subscriptions_topic ON subscriptions (topic_id);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        published_at INTEGER NOT NULL,
        attributes TEXT,
        ordering_key TEXT,
        data BLOB NOT NULL
    );
    CREATE TABLE deliveries (
        message_id INTEGER NOT NULL,
        subscription_id INTEGER NOT NULL,
        due INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        acked_at INTEGER,
        PRIMARY KEY (message_id, subscription_id)
    ) WITHOUT ROWID;
    CREATE INDEX deliveries_due ON deliveries (subscription_id, due, message_id) WHERE acked_at IS NULL;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_synced_and_a_newer_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let connection = open(&path).unwrap();
        let pragma = |name: &str| {
            let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
            connection.pragma_query_value(None, name, read).unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
        assert_eq!(pragma("synchronous"), 2.into(), "2 is FULL");
        assert!(open(&path).is_ok(), "a second time");
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(open(&path), Err(StoreError::Newer(2))));
    }
}
