//! Who works with the store: one thread that writes and one that reads, so that nobody who serves
//! the network waits for a disk.
//!
//! The writer takes whatever records and outcomes wait together, and stores them in one
//! transaction: one wait for the disk for all.

use super::{Batch, Kept, Store, StoreError};
use crate::clock;
use agent_proto::wire::Outcome;
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait. Who brings more waits, too, so memory stays bounded.
const WAITING: usize = 1024;

/// Records that are stored together at most.
const TOGETHER: usize = 20_000;

/// Why nothing came of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeskError {
    /// The store says no.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// The thread has ended.
    #[error("the store is closed")]
    Closed,
}

type Job = Box<dyn FnOnce(&mut dyn Store) + Send>;

enum Order {
    Keep(Batch, oneshot::Sender<Result<Kept, DeskError>>),
    Note(String, Outcome, oneshot::Sender<Result<(), DeskError>>),
    Do(Job),
}

/// The way to the store.
#[derive(Clone)]
pub struct Desk {
    writer: mpsc::Sender<Order>,
    reader: mpsc::Sender<Job>,
}

impl Desk {
    /// Begins to work with a store.
    pub fn of(store: Box<dyn Store>) -> Result<Self, StoreError> {
        let reads = store.reader()?;
        let (writer, orders) = mpsc::channel(WAITING);
        let (reader, jobs) = mpsc::channel(WAITING);
        let begun = spawn("store-writes", move || write(store, orders))
            .and_then(|()| spawn("store-reads", move || read(reads, jobs)));
        begun.map_err(|error| StoreError::Garbled {
            path: "threads".into(),
            what: error.to_string(),
        })?;
        Ok(Self { writer, reader })
    }

    /// Keeps records; they are stored when this returns.
    pub async fn keep(&self, batch: Batch) -> Result<Kept, DeskError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.writer.send(Order::Keep(batch, answer)).await;
        sent.map_err(|_| DeskError::Closed)?;
        answered.await.map_err(|_| DeskError::Closed)?
    }

    /// Notes what became of a directive.
    pub async fn note(&self, node: &str, outcome: Outcome) -> Result<(), DeskError> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Note(node.to_owned(), outcome, answer);
        self.writer
            .send(order)
            .await
            .map_err(|_| DeskError::Closed)?;
        answered.await.map_err(|_| DeskError::Closed)?
    }

    /// Changes something.
    pub async fn write<T, F>(&self, job: F) -> Result<T, DeskError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answered) = package(job);
        self.writer
            .send(Order::Do(job))
            .await
            .map_err(|_| DeskError::Closed)?;
        answered.await.map_err(|_| DeskError::Closed)?
    }

    /// Looks something up.
    pub async fn read<T, F>(&self, job: F) -> Result<T, DeskError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answered) = package(job);
        self.reader.send(job).await.map_err(|_| DeskError::Closed)?;
        answered.await.map_err(|_| DeskError::Closed)?
    }
}

fn package<T, F>(job: F) -> (Job, oneshot::Receiver<Result<T, DeskError>>)
where
    T: Send + 'static,
    F: FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let job = Box::new(move |store: &mut dyn Store| {
        // Who asked may have gone away.
        let _ = answer.send(job(store).map_err(|error| DeskError::Store(Arc::new(error))));
    });
    (job, answered)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(work)?;
    Ok(())
}

fn read(mut store: Box<dyn Store>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        job(&mut *store);
    }
}

fn write(mut store: Box<dyn Store>, mut orders: mpsc::Receiver<Order>) {
    let mut next = orders.blocking_recv();
    while let Some(order) = next.take() {
        match order {
            Order::Do(job) => job(&mut *store),
            Order::Keep(batch, answer) => {
                let mut count = batch.records.len();
                let (mut batches, mut answers) = (vec![batch], vec![answer]);
                while count < TOGETHER {
                    match orders.try_recv() {
                        Ok(Order::Keep(batch, answer)) => {
                            count += batch.records.len();
                            batches.push(batch);
                            answers.push(answer);
                        }
                        other => {
                            next = other.ok();
                            break;
                        }
                    }
                }
                answer_all(store.keep(&batches, clock::now_ms()), answers);
            }
            Order::Note(node, outcome, answer) => {
                let (mut outcomes, mut answers) = (vec![(node, outcome)], vec![answer]);
                while outcomes.len() < TOGETHER {
                    match orders.try_recv() {
                        Ok(Order::Note(node, outcome, answer)) => {
                            outcomes.push((node, outcome));
                            answers.push(answer);
                        }
                        other => {
                            next = other.ok();
                            break;
                        }
                    }
                }
                let noted = store.note_outcomes(&outcomes, clock::now_ms());
                answer_all(noted.map(|()| vec![(); answers.len()]), answers);
            }
        }
        if next.is_none() {
            next = orders.blocking_recv();
        }
    }
}

/// Tells each what became of its part.
fn answer_all<T>(
    done: Result<Vec<T>, StoreError>,
    answers: Vec<oneshot::Sender<Result<T, DeskError>>>,
) {
    match done {
        Ok(parts) => {
            for (part, answer) in parts.into_iter().zip(answers) {
                let _ = answer.send(Ok(part));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for answer in answers {
                let _ = answer.send(Err(DeskError::Store(Arc::clone(&error))));
            }
        }
    }
}
