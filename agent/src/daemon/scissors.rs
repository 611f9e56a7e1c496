//! Cuts the connections of a session that is being ended.

use super::killer::micros;
use super::urgent::Haste;
use crate::chain::chain;
use crate::control::protocol::NotCut;
use crate::kernel::pins::Pins;
use crate::sockets::{self, Cut, Which, diag::DiagError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long the first cut holds up the kill: nothing leaves the sockets meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often it is looked whether the sockets of a session that came to its own end are let go, and
/// how long between two looks. A process's end can leave them to the kernel for a moment.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A cut in progress.
pub(super) struct Scissors {
    session: u64,
    /// Its sockets are dead already, so all are cut at once.
    silent: bool,
    first: Option<JoinHandle<Result<Cut, DiagError>>>,
    /// Connections that were destroyed.
    pub(super) cut: usize,
    /// When the first cut was over.
    pub(super) cut_after_us: Option<u64>,
    /// What is left.
    pub(super) not_cut: Vec<NotCut>,
}

impl Scissors {
    /// Cuts the connections of a session that was revoked. One that came to its own end closes them
    /// itself: what it had sent still leaves.
    pub(super) async fn begin(session: u64, silent: bool, ordered: Instant) -> Self {
        let mut scissors = Self {
            session,
            silent,
            first: None,
            cut: 0,
            cut_after_us: None,
            not_cut: Vec::new(),
        };
        if silent {
            let mut first = scissors.spawn(Which::All);
            match tokio::time::timeout(PATIENCE, &mut first).await {
                Ok(cut) => scissors.note(cut),
                Err(_) => scissors.first = Some(first),
            }
            scissors.cut_after_us = Some(micros(ordered.elapsed()));
        }
        scissors
    }

    /// Cuts what is left, once nobody of the session runs any more: what processes outside hold, and
    /// what was accepted for the session meanwhile.
    pub(super) async fn finish(&mut self) {
        if let Some(first) = self.first.take() {
            let cut = first.await;
            self.note(cut);
        }
        // What could not be cut before may be gone with its process.
        self.not_cut.clear();
        if self.silent {
            let cut = self.spawn(Which::All).await;
            return self.note(cut);
        }
        for _ in 0..LOOKS {
            match self.is_held().await {
                Ok(true) => tokio::time::sleep(PAUSE).await,
                Ok(false) => return,
                Err(why) => return self.fail(why),
            }
        }
        let cut = self.spawn(Which::Held).await;
        self.note(cut);
    }

    async fn is_held(&self) -> Result<bool, String> {
        let listed = tokio::task::spawn_blocking(|| sockets::all(&Pins::in_force())).await;
        let found = listed.map_err(|error| error.to_string())?.map_err(chain)?;
        let mut found = found.iter();
        Ok(found.any(|socket| socket.owner.session == self.session && socket.is_held()))
    }

    fn spawn(&self, which: Which) -> JoinHandle<Result<Cut, DiagError>> {
        let session = self.session;
        tokio::task::spawn_blocking(move || {
            let _urgent = Haste::of_this_thread().begin();
            sockets::cut(&Pins::in_force(), session, which)
        })
    }

    fn note(&mut self, cut: Result<Result<Cut, DiagError>, tokio::task::JoinError>) {
        let cut = match cut {
            Ok(Ok(cut)) => cut,
            Ok(Err(error)) => return self.fail(chain(error)),
            Err(error) => return self.fail(error.to_string()),
        };
        self.cut += cut.connections;
        self.not_cut.extend(cut.left.into_iter().map(|left| NotCut {
            local: Some(left.socket.local),
            remote: Some(left.socket.remote),
            why: left.why,
        }));
    }

    fn fail(&mut self, why: String) {
        self.not_cut.push(NotCut {
            local: None,
            remote: None,
            why,
        });
    }
}
