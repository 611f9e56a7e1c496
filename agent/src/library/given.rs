//! Policies that are given by the controller, beside those in files.

use crate::control::protocol::Start;
use std::cell::RefCell;
use std::path::PathBuf;
use tokio::sync::{Notify, watch};

/// Policies that are given, and how far the library has taken them up.
#[derive(Debug)]
pub struct Given {
    starts: RefCell<Vec<Start>>,
    changed: Notify,
    /// How often they were given, and which of these was taken up last.
    count: watch::Sender<u64>,
    taken: watch::Sender<u64>,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            starts: RefCell::default(),
            changed: Notify::new(),
            count: watch::channel(0).0,
            taken: watch::channel(0).0,
        }
    }
}

impl Given {
    /// Gives these, in the place of those before.
    pub fn put(&self, starts: Vec<Start>) {
        *self.starts.borrow_mut() = starts;
        self.count.send_modify(|count| *count += 1);
        self.changed.notify_one();
    }

    /// Waits until others are given.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is given, and what to say when it was taken up.
    pub fn now(&self) -> (Vec<Start>, u64) {
        (self.starts.borrow().clone(), *self.count.borrow())
    }

    /// Says that it was taken up.
    pub fn take(&self, count: u64) {
        self.taken.send_replace(count);
    }

    /// Waits until what is given now was taken up.
    pub async fn taken(&self) {
        let count = *self.count.borrow();
        let mut taken = self.taken.subscribe();
        // The sender is here, so it cannot be gone.
        let _ = taken.wait_for(|taken| *taken >= count).await;
    }
}

/// What takes the place of a file's path for a policy that is given.
pub fn place(agent: &str) -> PathBuf {
    PathBuf::from(format!("controller:{agent}"))
}
