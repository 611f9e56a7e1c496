//! Who asks, found out once for all questions that came together.

use super::known::Leave;
use crate::kernel::clock;
use agent_common::divert::Origin;
use std::net::SocketAddr;
use std::time::Instant;

/// Whose a question is, and whether it may ask anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) origin: Origin,
    pub(super) leave: Leave,
}

/// One time, and who has asked from where by then.
pub(super) struct Round {
    pub(super) now: Instant,
    pub(super) boot_ns: u64,
    askers: Vec<(SocketAddr, Option<Asker>)>,
}

impl Round {
    pub(super) fn begin() -> Self {
        Self {
            now: Instant::now(),
            boot_ns: clock::boot_ns(),
            askers: Vec::new(),
        }
    }

    /// Who asks from there; nothing where that is no session.
    pub(super) fn asker(
        &mut self,
        peer: SocketAddr,
        find: impl FnOnce() -> Option<Asker>,
    ) -> Option<Asker> {
        let known = self.askers.iter().find(|(from, _)| *from == peer);
        if let Some((_, asker)) = known {
            return *asker;
        }
        let asker = find();
        self.askers.push((peer, asker));
        asker
    }
}
