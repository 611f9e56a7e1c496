//! What the daemon does because of the controller. Runs on the daemon's thread.

use super::bar::{self, Bar, Whom};
use super::grants::{self, Latch, RefusedError};
use super::state::{Newest, State, Told};
use super::there::Known;
use super::{Begun, ControllerInfo, Heard, Settings, Shown, show, source};
use crate::control::protocol::{ProfileText, Revoke, Revoked, SessionId, Start};
use crate::daemon::killer::Killer;
use crate::events::explain;
use crate::events::line::{GrantUse, Line};
use crate::kernel::clock;
use crate::library::Library;
use crate::library::given::Given;
use crate::policy;
use crate::sessions::Sessions;
use agent_common::session::Cause;
use agent_policy::RevokeOn;
use agent_proto::seal::{self, Purpose};
use agent_proto::wire::directive::What;
use agent_proto::wire::{
    Directive, EnrolRequest, EnrolResponse, Outcome, Policy, SessionEnd, SignedDirective,
    State as Step,
};
use agent_proto::{grant, version};
use prost::Message as _;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, UnboundedSender};
use tracing::{info, warn};

/// How often is looked whether a revoked session's last process has gone.
const LOOK: Duration = Duration::from_millis(200);

/// How far the controller's clock and this node's may be apart before it is said.
const SKEW_MS: u64 = grant::SKEW_MS;

/// What of the daemon is worked on.
pub struct Parts {
    /// The sessions.
    pub sessions: Rc<RefCell<Sessions>>,
    /// The policies.
    pub library: Rc<RefCell<Library>>,
    /// The policies that the controller gives.
    pub given: Rc<Given>,
    /// Who ends sessions.
    pub killer: Rc<Killer>,
    /// What `interlock status --json` says.
    pub status: Box<dyn Fn() -> Vec<u8>>,
    /// Where lines go.
    pub lines: UnboundedSender<Line>,
}

/// What the controller wants of this node.
pub struct Central {
    parts: Parts,
    settings: Settings,
    node: String,
    state: RefCell<State>,
    known: RefCell<Known>,
    outcomes: UnboundedSender<Outcome>,
    shown: Shown,
    /// When the controller was heard last, in nanoseconds since boot.
    heard_ns: RefCell<u64>,
}

/// A session may begin.
#[derive(Debug, Clone, Default)]
pub struct Permit {
    /// The task that it is for.
    pub task: Option<String>,
    /// The grant that it begins with.
    pub grant: Option<String>,
    /// How long it may live at most, in milliseconds.
    pub lives_ms: Option<u64>,
}

impl Central {
    /// Takes up what is kept. Gives what is yet to be heard, too.
    pub fn new(begun: Begun, parts: Parts) -> (Rc<Self>, Receiver<Heard>) {
        let kept = &begun.state.kept;
        parts.given.put(begun.policies());
        // What was heard in another boot says nothing of how long ago that was.
        let heard_ns = match kept.heard_boot == begun.state.boot {
            true => kept.heard_ns,
            false => clock::boot_ns(),
        };
        grants::sweep(&begun.state.grants());
        let central = Self {
            parts,
            settings: begun.settings,
            node: begun.node,
            state: RefCell::new(begun.state),
            known: RefCell::default(),
            outcomes: begun.outcomes,
            shown: begun.shown,
            heard_ns: RefCell::new(heard_ns),
        };
        (Rc::new(central), begun.heard)
    }

    /// How the connection is.
    pub fn info(&self) -> ControllerInfo {
        let mut info = ControllerInfo::default();
        show(&self.shown, |shown| info = shown.clone());
        info
    }

    /// Does what is heard, until nobody hears any more.
    pub async fn obey(self: &Rc<Self>, mut heard: Receiver<Heard>) -> io::Result<()> {
        while let Some(heard) = heard.recv().await {
            match heard {
                Heard::Hello(answer) => drop(answer.send(self.hello())),
                Heard::Enrolled(enrolled, answer) => drop(answer.send(self.enrolled(*enrolled))),
                Heard::Directive(signed) => self.directive(signed).await,
                Heard::Beat(time_ms) => self.beat(time_ms),
                Heard::Lost => self.save(),
                Heard::Look(answer) => {
                    let there = self.known.borrow_mut().look(&self.parts);
                    drop(answer.send(there));
                }
            }
        }
        Err(io::Error::other(
            "the thread that talks to the controller has ended",
        ))
    }

    fn hello(&self) -> (EnrolRequest, Vec<u64>) {
        let state = self.state.borrow();
        let newest = state.kept.newest.as_ref();
        let request = EnrolRequest {
            version_from: *version::VERSIONS.start(),
            version_to: *version::VERSIONS.end(),
            supports: version::FEATURES
                .iter()
                .map(|word| (*word).to_owned())
                .collect(),
            requires: Vec::new(),
            boot: state.boot.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: nix::sys::utsname::uname()
                .map(|names| names.release().to_string_lossy().into_owned())
                .unwrap_or_default(),
            labels: self.settings.labels.clone().into_iter().collect(),
            newest: newest.map(|newest| SignedDirective {
                body: newest.body.clone(),
                signature: newest.signature.clone(),
            }),
            acknowledged: Vec::new(),
        };
        (request, state.kept.holds())
    }

    fn enrolled(&self, enrolled: EnrolResponse) -> Result<(), String> {
        version::know(&enrolled.requires).map_err(|error| error.to_string())?;
        let mut state = self.state.borrow_mut();
        let kept = &mut state.kept;
        if !kept.controller.is_empty() && kept.controller != enrolled.controller {
            return Err(format!(
                "found controller {} there, and this node obeys {}: to obey another, end the \
                 daemon and remove {}",
                enrolled.controller,
                kept.controller,
                self.settings.folder.display()
            ));
        }
        let mut warning = None;
        let had = kept.newest_epoch();
        if enrolled.epoch < had {
            let behind = format!(
                "the controller is behind: its newest directive is {}, and this node has had {had}: \
                 its database was restored from an older copy",
                enrolled.epoch
            );
            warn!("{behind}");
            warning = Some(behind);
        }
        kept.controller = enrolled.controller;
        kept.keys = enrolled.keys;
        kept.lease_ms = enrolled.lease_ms;
        drop(state);
        self.beat(enrolled.time_ms);
        self.save();
        let apart = source::now_ms().abs_diff(enrolled.time_ms);
        if apart > SKEW_MS {
            let apart = format!(
                "this node's clock and the controller's are {} s apart",
                apart / 1000
            );
            warn!("{apart}");
            warning = Some(warning.map_or(apart.clone(), |other| format!("{other}; {apart}")));
        }
        show(&self.shown, |info| info.warning = warning);
        Ok(())
    }

    fn beat(&self, time_ms: u64) {
        let now_ns = clock::boot_ns();
        *self.heard_ns.borrow_mut() = now_ns;
        let mut state = self.state.borrow_mut();
        let boot = state.boot.clone();
        let kept = &mut state.kept;
        (kept.heard_ms, kept.heard_ns, kept.heard_boot) = (time_ms, now_ns, boot);
    }

    fn save(&self) {
        if let Err(error) = self.state.borrow().save() {
            let folder = self.settings.folder.display();
            warn!(%folder, %error, "what the controller said is not kept for the next daemon");
        }
    }

    fn tell(&self, epoch: u64, step: Step, after: Duration, more: (String, Vec<SessionEnd>)) {
        let outcome = Outcome {
            epoch,
            state: step.into(),
            time_ms: source::now_ms(),
            reason: more.0,
            ends: more.1,
            after_us: u64::try_from(after.as_micros()).unwrap_or(u64::MAX),
        };
        // Where nobody takes it, the controller asks again.
        let _ = self.outcomes.send(outcome);
    }

    fn refuse(&self, epoch: u64, reason: String) {
        warn!(epoch, reason, "a directive is refused");
        self.tell(epoch, Step::Refused, Duration::ZERO, (reason, Vec::new()));
    }

    async fn directive(self: &Rc<Self>, signed: SignedDirective) {
        let came = Instant::now();
        let Ok(directive) = Directive::decode(&signed.body[..]) else {
            warn!("found a directive that makes no sense");
            return;
        };
        let epoch = directive.epoch;
        match self.check(&signed, &directive) {
            Ok(true) => {}
            // It came again: what it asks for is so.
            Ok(false) => return self.tell_again(&directive, came),
            Err(reason) => return self.refuse(epoch, reason),
        }
        self.tell(epoch, Step::Received, came.elapsed(), Default::default());
        self.note(&signed, &directive);
        let (by, reason) = (directive.issued_by, directive.reason);
        match directive.what {
            Some(What::Revocation(revocation)) => match Whom::of(revocation.scope) {
                Some(whom) => self.revoke(
                    Bar {
                        epoch,
                        whom,
                        by,
                        reason,
                    },
                    came,
                ),
                None => self.refuse(epoch, "found nobody whom this version knows".into()),
            },
            Some(What::Lift(lift)) => {
                self.state
                    .borrow_mut()
                    .kept
                    .bars
                    .retain(|bar| bar.epoch != lift.epoch);
                self.save();
                self.show_bars();
                info!(epoch, lifted = lift.epoch, by, "lifted");
                self.tell(epoch, Step::InForce, came.elapsed(), Default::default());
            }
            Some(What::Policy(policy)) => self.take_policy(epoch, policy, came).await,
            Some(What::Withdrawal(withdrawal)) => {
                self.state.borrow_mut().kept.told.remove(&withdrawal.agent);
                self.give().await;
                self.save();
                self.tell(epoch, Step::InForce, came.elapsed(), Default::default());
            }
            Some(What::Answer(_)) | None => {
                self.refuse(epoch, "found what this version does not know".into());
            }
        }
    }

    /// Whether a directive is to be carried out; false where that has been done.
    fn check(&self, signed: &SignedDirective, directive: &Directive) -> Result<bool, String> {
        let state = self.state.borrow();
        let kept = &state.kept;
        if !seal::is_signed(
            &kept.keys,
            Purpose::Directive,
            &signed.body,
            &signed.signature,
        ) {
            return Err("forged: it is not signed by this node's controller".into());
        }
        if directive.controller != kept.controller {
            return Err(format!(
                "it is from another controller, {}",
                directive.controller
            ));
        }
        version::know(&directive.requires).map_err(|error| error.to_string())?;
        let last = if is_order(directive) {
            kept.orders
        } else {
            kept.policies
        };
        if directive.epoch > last {
            return Ok(true);
        }
        let is_same = kept
            .newest
            .as_ref()
            .is_some_and(|newest| newest.body == signed.body);
        if is_same || kept.holds().contains(&directive.epoch) || is_order(directive) {
            return Ok(false);
        }
        let epoch = directive.epoch;
        Err(format!(
            "directive {epoch} is older than {last}, which this node has had"
        ))
    }

    /// Answers for what came again. What it ends is ended again, which changes nothing; whom it
    /// barred stays as later directives have it.
    fn tell_again(self: &Rc<Self>, directive: &Directive, came: Instant) {
        let epoch = directive.epoch;
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

    fn note(&self, signed: &SignedDirective, directive: &Directive) {
        let mut state = self.state.borrow_mut();
        let kept = &mut state.kept;
        let epoch = directive.epoch;
        let last = if is_order(directive) {
            &mut kept.orders
        } else {
            &mut kept.policies
        };
        *last = epoch;
        if epoch > kept.newest_epoch() {
            kept.newest = Some(Newest {
                epoch,
                body: signed.body.clone(),
                signature: signed.signature.clone(),
            });
            show(&self.shown, |info| info.epoch = epoch);
        }
    }

    fn show_bars(&self) {
        let barred = self
            .state
            .borrow()
            .kept
            .bars
            .iter()
            .map(ToString::to_string)
            .collect();
        show(&self.shown, |info| info.barred = barred);
    }

    /// Ends what a revocation is about: first everything is denied to all of them, then each is
    /// killed until nothing of it is left.
    fn revoke(self: &Rc<Self>, bar: Bar, came: Instant) {
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
                ends.extend(kill.await.ok().flatten());
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
        // It may have ended by itself meanwhile.
        let revoked = self.parts.killer.revoke(order).await.ok()?;
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

    /// Ends sessions when the controller has been away for too long.
    pub fn keep_house(&self) {
        let away_ns = clock::boot_ns().saturating_sub(*self.heard_ns.borrow());
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
            patience.is_some_and(|ms| away_ns / 1_000_000 > ms)
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

    /// Puts a policy in force, if it says here what it said there.
    async fn take_policy(self: &Rc<Self>, epoch: u64, told: Policy, came: Instant) {
        let digest = grant::hex(&told.digest);
        let agent = told.agent.clone();
        let profiles = told.profiles.into_iter().map(|profile| ProfileText {
            file: profile.file,
            text: profile.text,
        });
        let start = Start {
            agent: told.agent,
            file: told.file,
            policy: told.text,
            profiles: profiles.collect(),
        };
        let read = start.clone();
        let compiled = tokio::task::spawn_blocking(move || policy::compile(&read)).await;
        let found = match compiled {
            Ok(Ok(compiled)) => compiled.digest_hex(),
            Ok(Err(error)) => return self.refuse(epoch, error.to_string()),
            Err(error) => return self.refuse(epoch, error.to_string()),
        };
        if found != digest {
            let reason = format!("it compiles to {found} here, and to {digest} at the controller");
            return self.refuse(epoch, reason);
        }
        let told = Told {
            epoch,
            digest: digest.clone(),
            start,
        };
        let before = self
            .state
            .borrow_mut()
            .kept
            .told
            .insert(agent.clone(), told);
        self.give().await;
        let (in_force, why_not) = {
            let library = self.parts.library.borrow();
            let loaded = library
                .get(&agent)
                .map(|loaded| loaded.compiled.digest_hex());
            (
                loaded.as_deref() == Some(digest.as_str()),
                library.why_not(&agent),
            )
        };
        if in_force {
            self.save();
            return self.tell(epoch, Step::InForce, came.elapsed(), Default::default());
        }
        {
            let told = &mut self.state.borrow_mut().kept.told;
            match before {
                Some(before) => drop(told.insert(agent, before)),
                None => drop(told.remove(&agent)),
            }
        }
        self.give().await;
        self.save();
        self.refuse(epoch, why_not);
    }

    /// Gives the library what the controller has told, and waits until it was taken up.
    async fn give(&self) {
        self.parts.given.put(self.state.borrow().kept.starts());
        self.parts.given.taken().await;
    }

    /// Whether a session may begin. A grant is used up by this.
    pub fn permit(
        &self,
        (agent, digest): (&str, &[u8]),
        task: Option<&str>,
        text: Option<&str>,
    ) -> Result<(Permit, Latch), String> {
        let state = self.state.borrow();
        let session = grants::Session {
            node: &self.node,
            agent,
            task,
            policy: digest,
        };
        let checked = match text {
            Some(text) => grants::check(text, session, &state.kept, &state.boot).map(Some),
            None if self.settings.require_grant => Err(RefusedError::Missing),
            None => Ok(None),
        };
        // The task of a grant is the session's.
        let granted = checked.as_ref().ok().and_then(|grant| grant.as_ref());
        let of_grant = granted
            .map(|grant| grant.task.clone())
            .filter(|task| !task.is_empty());
        let task = task.map(str::to_owned).or(of_grant);
        if let Some(bar) = bar::against(&state.kept.bars, agent, task.as_deref()) {
            return Err(format!("{bar}; a responder can lift it"));
        }
        let used = checked.and_then(|grant| {
            let latch = grant
                .as_ref()
                .map(|grant| grants::latch(&state.grants(), grant));
            Ok((grant, latch.transpose()?))
        });
        let told = |outcome: &str, reason: Option<String>, id: Option<String>| {
            let line = Line::Grant(GrantUse {
                time: explain::now(),
                agent: agent.to_owned(),
                task: task.clone(),
                grant: id,
                outcome: outcome.to_owned(),
                reason,
            });
            // Only a daemon that is ending hears no more.
            let _ = self.parts.lines.send(line);
        };
        match used {
            Ok((None, _)) => Ok((
                Permit {
                    task,
                    ..Permit::default()
                },
                Latch::default(),
            )),
            Ok((Some(grant), latch)) => {
                told("accepted", None, Some(grant.id.clone()));
                let left_ms = grant.expires_ms.saturating_sub(source::now_ms());
                let lives_ms = if grant.session_ms == 0 {
                    left_ms
                } else {
                    grant.session_ms
                };
                let permit = Permit {
                    task,
                    grant: Some(grant.id),
                    lives_ms: Some(lives_ms),
                };
                Ok((permit, latch.unwrap_or_default()))
            }
            Err(error) => {
                let why = format!("{:#}", anyhow::Error::from(error));
                told("refused", Some(why.clone()), None);
                Err(why)
            }
        }
    }
}

fn is_order(directive: &Directive) -> bool {
    matches!(directive.what, Some(What::Revocation(_) | What::Lift(_)))
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
