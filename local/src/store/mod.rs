//! What must survive a crash: topics, subscriptions, messages and who has yet to receive them, in one SQLite file.
//!
//! Every change goes through one writer thread, which commits whatever is waiting as one transaction (`worker.rs`), and
//! a change is answered only once its transaction is on the disk. Reads have a connection of their own and see
//! committed data alone. The other files are SQL, one subject each.

mod schema;
mod worker;

pub(crate) mod deliveries;
pub(crate) mod messages;
pub(crate) mod resources;
pub(crate) mod retention;

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use crate::private_file;

use worker::{Mode, Worker};

/// Why the store did not do what was asked. Nothing of the request was kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed: a full disk, say.
    #[error("{0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// A newer version of this program wrote the file.
    #[error("the database has schema version {0}, which is newer than this program knows")]
    Newer(i64),
    /// The file could not be created, or a database thread not started.
    #[error("{0}")]
    Io(Arc<std::io::Error>),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// A handle to the database; clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    writer: Worker,
    reader: Worker,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its log the mode of the database.
        private_file::create_if_missing(path)?;
        let writer = Worker::spawn(schema::open(path)?, Mode::Write)?;
        let reader = Worker::spawn(schema::open(path)?, Mode::Read)?;
        Ok(Self { writer, reader })
    }

    /// Runs `work` in a transaction and returns its answer once that is committed and synced.
    ///
    /// The transaction is shared with other writes, so `work` decides before it changes anything: once it has written,
    /// it may only fail with an error of SQLite, which fails them all.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.call(work).await
    }

    /// Runs `work` on a snapshot of what is committed.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader.call(work).await
    }

    /// Finishes what was asked before, closes the file, and refuses everything after.
    pub(crate) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}
