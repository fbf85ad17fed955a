//! A thread that owns one SQLite connection and does what is sent to it. The writer takes everything that waits as one
//! transaction: under load many publishes share one sync, and a lone one waits for nobody.

use std::thread;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// Work that may wait for the thread before its senders have to.
const QUEUE: usize = 1024;

/// The most that one transaction takes in.
const BATCH: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
}

#[derive(Clone)]
pub(super) struct Worker {
    queue: mpsc::Sender<Request>,
}

enum Request {
    Run(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

impl Worker {
    pub(super) fn spawn(connection: Connection, mode: Mode) -> Result<Self, StoreError> {
        let (queue, requests) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name(format!("store-{mode:?}").to_lowercase())
            .spawn(move || serve(connection, mode, requests))?;
        Ok(Self { queue })
    }

    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { work: Some(work), outcome: None, reply };
        let sent = self.queue.send(Request::Run(Box::new(call))).await;
        sent.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Request::Close(reply)).await.is_ok() {
            // An error means that the thread is gone, which is what is wanted.
            let _ = closed.await;
        }
    }
}

fn serve(mut connection: Connection, mode: Mode, mut requests: mpsc::Receiver<Request>) {
    let mut closing = None;
    while closing.is_none()
        && let Some(first) = requests.blocking_recv()
    {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Run(job) => batch.push(job),
                Request::Close(reply) => closing = Some(reply),
            }
            let full = batch.len() >= BATCH || mode == Mode::Read || closing.is_some();
            next = if full { None } else { requests.try_recv().ok() };
        }
        let done = transact(&mut connection, mode, &mut batch).map_err(StoreError::from);
        for job in batch {
            job.answer(done.clone());
        }
    }
    drop(requests);
    if let Err((_, error)) = connection.close() {
        log::warn!("the database did not close: {error}");
    }
    if let Some(reply) = closing {
        // The one who asked may have gone.
        let _ = reply.send(());
    }
}

fn transact(connection: &mut Connection, mode: Mode, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let behavior = match mode {
        Mode::Read => TransactionBehavior::Deferred,
        Mode::Write => TransactionBehavior::Immediate,
    };
    let transaction = connection.transaction_with_behavior(behavior)?;
    for job in batch {
        job.run(&transaction)?;
    }
    transaction.commit()
}

/// Work whose answer is kept back until its transaction has ended.
trait Job: Send {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, done: Result<(), StoreError>);
}

struct Call<F, T> {
    work: Option<F>,
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Call<F, T>
where
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.outcome = Some(work(connection)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, done: Result<(), StoreError>) {
        let Self { outcome, reply, .. } = *self;
        // A client that has left does not want its answer; the work stands.
        let _ = reply.send(done.and_then(|()| outcome.ok_or(StoreError::Closed)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use super::*;

    fn worker() -> Worker {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        Worker::spawn(connection, Mode::Write).unwrap()
    }

    async fn insert(worker: &Worker, value: i64) -> Result<(), StoreError> {
        worker.call(move |tx| tx.execute("INSERT INTO t VALUES (?1)", [value]).map(drop)).await
    }

    async fn count(worker: &Worker) -> i64 {
        worker.call(|tx| tx.query_row("SELECT count(*) FROM t", [], |row| row.get(0))).await.unwrap()
    }

    #[tokio::test]
    async fn nothing_is_answered_before_its_transaction_is_committed() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        let (committing, begun) = oneshot::channel();
        let (release, held) = blocking::channel::<()>();
        let mut committing = Some(committing);
        let hold = move || {
            if let Some(committing) = committing.take() {
                committing.send(()).unwrap();
                held.recv().unwrap();
            }
            false
        };
        connection.commit_hook(Some(hold)).unwrap();
        let worker = Worker::spawn(connection, Mode::Write).unwrap();
        let mut inserting = Box::pin(insert(&worker, 1));
        tokio::select! {
            biased;
            _ = &mut inserting => panic!("answered before the commit began"),
            begun = begun => begun.unwrap(),
        }
        tokio::select! {
            biased;
            _ = &mut inserting => panic!("answered before the commit ended"),
            () = std::future::ready(()) => {}
        }
        release.send(()).unwrap();
        inserting.await.unwrap();
    }

    #[tokio::test]
    async fn what_waits_shares_one_transaction_and_its_fate() {
        let worker = worker();
        let (started, running) = oneshot::channel();
        let (release, held) = blocking::channel();
        let holding = {
            let worker = worker.clone();
            tokio::spawn(async move {
                let hold = move |_: &Connection| {
                    started.send(()).unwrap();
                    held.recv().unwrap();
                    Ok(())
                };
                worker.call(hold).await
            })
        };
        running.await.unwrap();
        let broken = worker.call(|tx| tx.execute("INSERT INTO nowhere VALUES (1)", []));
        // Polled last, when the others are in the queue.
        let release = async { release.send(()).unwrap() };
        let (first, broken, second, ()) =
            tokio::join!(biased; insert(&worker, 1), broken, insert(&worker, 2), release);
        holding.await.unwrap().unwrap();
        assert!(first.is_err() && broken.is_err() && second.is_err());
        assert_eq!(count(&worker).await, 0, "nothing of a failed transaction is kept");
        insert(&worker, 3).await.unwrap();
        assert_eq!(count(&worker).await, 1);
    }

    #[tokio::test]
    async fn closing_finishes_what_was_asked_before_and_refuses_the_rest() {
        let worker = worker();
        let (before, ()) = tokio::join!(biased; insert(&worker, 1), worker.close());
        before.unwrap();
        assert!(matches!(insert(&worker, 2).await, Err(StoreError::Closed)));
    }
}
