//! How sessions end because of the controller: by its order, or because it is not there.

use super::bar::{Bar, Whom};
use super::obey::Central;
use crate::chain::chain;
use crate::control::protocol::{Revoke, Revoked};
use crate::daemon::killer::OrderError;
use crate::ids::SessionId;
use crate::kernel::clock;
use crate::sessions::RevokeError;
use agent_common::session::Cause;
use agent_policy::RevokeOn;
use agent_proto::wire::directive::What;
use agent_proto::wire::{Directive, SessionEnd, State as Step};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// How often is looked whether a revoked session's last process has gone.
const LOOK: Duration = Duration::from_millis(200);

/// How long after a kill that could not begin it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a daemon that begins has at least to find its controller, and a controller to come back
/// before questions that only its people answer are denied, in milliseconds.
const GRACE_MS: u64 = 10_000;

impl Central {
    /// Answers for what came again. What it ends is ended again, which changes nothing; whom it
    /// barred stays as later directives have it.
    pub(super) fn tell_again(self: &Rc<Self>, directive: &Directive, came: Instant) {
        let epoch = directive.epoch;
        let refusal = self.state.borrow().kept.refusal(epoch);
        if let Some(reason) = refusal {
            return self.tell_refusal(epoch, reason);
        }
        if let Some(What::Policy(policy)) = &directive.what
            && !self.state.borrow().kept.holds().contains(&epoch)
        {
            // The daemon that took it up ended before it was in force.
            return self.begin_policy(epoch, policy.clone(), came);
        }
        self.tell(epoch, Step::InForce, came.elapsed(), Default::default());
        let Some(What::Revocation(revocation)) = &directive.what else {
            return;
        };
        let sessions = self.parts.sessions.borrow();
        let whom = Whom::of(revocation.scope.clone());
        let revoked = |id| {
            sessions
                .state(id)
                .is_ok_and(|state| state.is_none_or(|state| state.cause().is_some()))
        };
        let meant = sessions.matching(|id, session| {
            whom.as_ref().is_some_and(|whom| whom.means(id, session)) && revoked(id)
        });
        drop(sessions);
        self.finish(
            epoch,
            meant,
            directive.reason.clone(),
            (came, came.elapsed()),
        );
    }

    /// Ends what a revocation is about: first everything is denied to all of them, then each is
    /// killed until nothing of it is left.
    pub(super) fn revoke(self: &Rc<Self>, bar: Bar, came: Instant) {
        let (epoch, reason) = (bar.epoch, format!("{}: {}", bar.by, bar.reason));
        let whom = bar.whom.clone();
        if !matches!(whom, Whom::Session(_)) {
            self.state.borrow_mut().kept.bars.push(bar);
            self.show_bars();
        }
        let mut sessions = self.parts.sessions.borrow_mut();
        let meant = sessions.matching(|id, session| whom.means(id, session));
        let mut failed = Vec::new();
        for id in &meant {
            match sessions.revoke(*id, Cause::Order) {
                Ok(fresh) if fresh => {
                    if let Err(error) = sessions.note_reason(*id, Some(reason.clone())) {
                        warn!(session = %SessionId(*id), %error, "the next daemon will not know why");
                    }
                }
                Ok(_) => {}
                Err(error) => failed.push(error.to_string()),
            }
        }
        drop(sessions);
        let denied = came.elapsed();
        info!(epoch, %whom, sessions = meant.len(), reason, "revoked");
        self.save();
        if !failed.is_empty() {
            return self.refuse(epoch, failed.join("; "));
        }
        self.tell(epoch, Step::InForce, denied, Default::default());
        self.finish(epoch, meant, reason, (came, denied));
    }

    /// Kills sessions to which everything is denied, and tells when nothing of them is left.
    fn finish(
        self: &Rc<Self>,
        epoch: u64,
        meant: Vec<u64>,
        reason: String,
        (came, denied): (Instant, Duration),
    ) {
        let central = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let kills = meant.into_iter().map(|id| {
                let (central, reason) = (Rc::clone(&central), reason.clone());
                tokio::task::spawn_local(async move { central.kill(id, reason, denied).await })
            });
            // All at once, not one after the other.
            let kills: Vec<_> = kills.collect();
            let mut ends = Vec::new();
            for kill in kills {
                match kill.await {
                    Ok(end) => ends.extend(end),
                    // Nobody knows whether anything is left, so nobody says that nothing is.
                    Err(error) => {
                        return error!(epoch, %error, "whether all of them are gone is not told");
                    }
                }
            }
            central.tell(
                epoch,
                Step::TreeEmpty,
                came.elapsed(),
                (String::new(), ends),
            );
        });
    }

    /// Kills a session, and comes back when nothing of it is left.
    async fn kill(&self, id: u64, reason: String, denied: Duration) -> Option<SessionEnd> {
        let began = Instant::now();
        let order = Revoke {
            session: SessionId(id),
            reason: Some(reason),
        };
        let revoked = loop {
            match self.parts.killer.revoke(order.clone()).await {
                Ok(revoked) => break revoked,
                // It has ended by itself meanwhile.
                Err(OrderError::Revoke(RevokeError::NoSession(_))) => return None,
                Err(error) => {
                    warn!(session = %SessionId(id), error = %chain(error), "it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let mut end = session_end(&revoked, denied);
        while revoked.empty_after_us.is_none() && self.parts.sessions.borrow().get(id).is_some() {
            tokio::time::sleep(LOOK).await;
        }
        let empty = began.elapsed() + denied;
        end.empty_after_us
            .get_or_insert(u64::try_from(empty.as_micros()).unwrap_or(u64::MAX));
        Some(end)
    }

    /// Ends sessions that have begun although they are barred: those that nobody asks the daemon
    /// for, because the kernel recognises them.
    pub fn hold_bars(&self) {
        let state = self.state.borrow();
        let bars = &state.kept.bars;
        if bars.is_empty() {
            return;
        }
        let barred = |id, session: &_| bars.iter().any(|bar| bar.whom.means(id, session));
        let found = self.parts.sessions.borrow().matching(barred);
        self.end(&found, Cause::Order, "its agent, task or node is revoked");
    }

    /// Whether the controller is away, and not only for the moment that it takes to come back.
    pub fn is_away(&self) -> bool {
        let heard_ns = self.heard_ns.get().max(self.began_ns);
        let silent_ns = clock::boot_ns().saturating_sub(heard_ns);
        silent_ns / 1_000_000 > GRACE_MS && !self.info().connected
    }

    /// Ends sessions when the controller has been away for too long.
    pub fn keep_house(&self) {
        let now_ns = clock::boot_ns();
        let away_ns = now_ns.saturating_sub(self.heard_ns.get());
        let alone_ns = now_ns.saturating_sub(self.began_ns);
        let lease_ms = self.state.borrow().kept.lease_ms;
        let lost = |_, session: &crate::sessions::Session| {
            let by_policy = session
                .compiled()
                .end
                .revoke_on
                .iter()
                .filter_map(|on| match on {
                    RevokeOn::ControllerLost(seconds) => Some(seconds.saturating_mul(1000)),
                    _ => None,
                });
            let by_lease = Some(lease_ms).filter(|ms| *ms > 0);
            let patience = by_policy.chain(by_lease).min();
            // Who has just begun may yet connect.
            patience.is_some_and(|ms| {
                away_ns / 1_000_000 > ms && alone_ns / 1_000_000 > (ms / 4).max(GRACE_MS)
            })
        };
        let found = self.parts.sessions.borrow().matching(lost);
        let reason = format!(
            "the controller was not heard for {} s",
            away_ns / 1_000_000_000
        );
        self.end(&found, Cause::ControllerLost, &reason);
    }

    fn end(&self, sessions: &[u64], cause: Cause, reason: &str) {
        for id in sessions {
            let mut all = self.parts.sessions.borrow_mut();
            match all.revoke(*id, cause) {
                Ok(true) => {
                    let session = SessionId(*id);
                    info!(%session, cause = cause.word(), reason, "revoked");
                    if let Err(error) = all.note_reason(*id, Some(reason.to_owned())) {
                        warn!(%session, %error, "the next daemon will not know why");
                    }
                }
                // The house goes on killing it.
                Ok(false) => continue,
                Err(error) => {
                    warn!(session = %SessionId(*id), %error, "it is not revoked");
                    continue;
                }
            }
            drop(all);
            self.parts.killer.begin(*id, cause, None);
        }
    }
}

fn session_end(revoked: &Revoked, denied: Duration) -> SessionEnd {
    let denied_us = u64::try_from(denied.as_micros()).unwrap_or(u64::MAX);
    SessionEnd {
        session: revoked.session.to_string(),
        agent: revoked.agent.clone(),
        denied_after_us: Some(denied_us),
        killed_after_us: revoked.killed_after_us.map(|us| us + denied_us),
        empty_after_us: revoked.empty_after_us.map(|us| us + denied_us),
        killed: u32::try_from(revoked.killed).unwrap_or(u32::MAX),
        left: Vec::new(),
    }
}
