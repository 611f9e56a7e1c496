//! How much of something there may be at once, of all sessions together and of one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use tokio::sync::Notify;

/// Places, on one thread.
#[derive(Debug)]
pub struct Places {
    free: Cell<usize>,
    of_one: usize,
    taken: RefCell<HashMap<u64, usize>>,
    /// Rings when one is given back.
    freed: Notify,
}

impl Places {
    /// So many, and so many of them for one session.
    pub fn new(all: usize, of_one: usize) -> Self {
        Self {
            free: Cell::new(all),
            of_one,
            taken: RefCell::default(),
            freed: Notify::new(),
        }
    }

    /// Takes one for a session as soon as there is one.
    pub async fn wait(&self, session: u64) -> Taken<'_> {
        loop {
            let freed = self.freed.notified();
            if let Some(taken) = self.take(session) {
                return taken;
            }
            freed.await;
        }
    }

    /// Takes one for a session, if there is one.
    pub fn take(&self, session: u64) -> Option<Taken<'_>> {
        let free = self.free.get().checked_sub(1)?;
        let mut taken = self.taken.borrow_mut();
        let own = taken.get(&session).copied().unwrap_or(0);
        if own >= self.of_one {
            return None;
        }
        self.free.set(free);
        taken.insert(session, own + 1);
        Some(Taken {
            places: self,
            session,
        })
    }
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub struct Taken<'a> {
    places: &'a Places,
    session: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.places.free.set(self.places.free.get() + 1);
        let mut taken = self.places.taken.borrow_mut();
        if let Some(own) = taken.get_mut(&self.session) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.session);
            }
        }
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[test]
    fn no_session_takes_the_places_of_others_and_all_come_back() {
        let places = Places::new(3, 2);
        let (a, b) = (places.take(1), places.take(1));
        assert!(a.is_some() && b.is_some() && places.take(1).is_none());
        let c = places.take(2);
        assert!(c.is_some() && places.take(2).is_none(), "there are three");
        drop(a);
        assert!(places.take(1).is_some());
        drop((b, c));
        assert_eq!(places.free.get(), 3);
        assert!(places.taken.borrow().is_empty());
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_that_comes_back() {
        let places = Places::new(2, 1);
        let taken = places.take(1);
        let soon = Duration::from_millis(10);
        assert!(timeout(soon, places.wait(1)).await.is_err());
        let (_, got) = tokio::join!(async { drop(taken) }, timeout(soon, places.wait(1)));
        assert!(got.is_ok());
    }
}
