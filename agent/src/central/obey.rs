//! What the daemon does because of the controller. Runs on the daemon's thread.

use super::accept::Verdict;
use super::bar::{Bar, Whom};
use super::grants;
use super::state::{State, Told};
use super::there::Known;
use super::{Connecting, ControllerInfo, Heard, Settings, Shown, now_ms, show};
use crate::control::protocol::{ProfileText, Start};
use crate::daemon::killer::Killer;
use crate::events::line::Line;
use crate::holds::Holds;
use crate::kernel::clock;
use crate::library::Library;
use crate::library::given::Given;
use crate::policy;
use crate::sessions::Sessions;
use agent_proto::wire::directive::What;
use agent_proto::wire::{
    Directive, EnrolRequest, EnrolResponse, Outcome, Policy, SessionEnd, SignedDirective,
    State as Step,
};
use agent_proto::{grant, version};
use prost::Message as _;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, UnboundedSender};
use tracing::{info, warn};

/// How far the controller's clock and this node's may be apart before it is said.
const SKEW_MS: u64 = grant::SKEW_MS;

/// How often at least it is kept when the controller was heard.
const KEEP: Duration = Duration::from_secs(60);

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
    /// The questions to people.
    pub holds: Rc<RefCell<Holds>>,
    /// Where lines go.
    pub lines: UnboundedSender<Line>,
}

/// What the controller wants of this node.
pub struct Central {
    pub(super) parts: Parts,
    pub(super) settings: Settings,
    pub(super) state: RefCell<State>,
    known: RefCell<Known>,
    outcomes: UnboundedSender<Outcome>,
    shown: Shown,
    /// When the controller was heard last, when that was kept, and when this daemon began, in
    /// nanoseconds since boot.
    pub(super) heard_ns: Cell<u64>,
    kept_ns: Cell<u64>,
    pub(super) began_ns: u64,
    /// Policies are taken one at a time, in the order in which they came.
    turn: tokio::sync::Mutex<()>,
}

impl Central {
    /// Takes up what is kept. Gives what is yet to be heard, too.
    pub fn new(begun: Connecting, parts: Parts) -> (Rc<Self>, Receiver<Heard>) {
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
            state: RefCell::new(begun.state),
            known: RefCell::default(),
            outcomes: begun.outcomes,
            shown: begun.shown,
            heard_ns: Cell::new(heard_ns),
            kept_ns: Cell::new(heard_ns),
            began_ns: clock::boot_ns(),
            turn: tokio::sync::Mutex::default(),
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
                Heard::Hello(node, answer) => drop(answer.send(self.hello(node))),
                Heard::Enrolled(enrolled, answer) => drop(answer.send(self.enrolled(*enrolled))),
                Heard::Directive(signed) => self.directive(signed).await,
                Heard::Beat(time_ms) => self.beat(time_ms),
                Heard::Lost => self.save(),
                Heard::Look(answer) => {
                    let mut there = self.known.borrow_mut().look(&self.parts);
                    there.questions = self.questions();
                    drop(answer.send(there));
                }
            }
        }
        Err(io::Error::other(
            "the thread that talks to the controller has ended",
        ))
    }

    fn hello(&self, node: String) -> (EnrolRequest, Vec<u64>) {
        let mut state = self.state.borrow_mut();
        show(&self.shown, |info| info.node.clone_from(&node));
        state.kept.node = node;
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
            kernel: crate::kernel::release().unwrap_or_default(),
            labels: self.settings.labels.clone().into_iter().collect(),
            newest: newest.map(|newest| SignedDirective {
                body: newest.body.clone(),
                signature: newest.signature.clone(),
            }),
            evidence: None,
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
        let apart = now_ms().abs_diff(enrolled.time_ms);
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
        self.heard_ns.set(now_ns);
        let mut state = self.state.borrow_mut();
        let boot = state.boot.clone();
        let kept = &mut state.kept;
        (kept.heard_ms, kept.heard_ns, kept.heard_boot) = (time_ms, now_ns, boot);
        let lease = Duration::from_millis(kept.lease_ms);
        let often = if lease.is_zero() {
            KEEP
        } else {
            KEEP.min(lease / 4)
        };
        drop(state);
        // The next daemon must not take the time since then for silence.
        if now_ns.saturating_sub(self.kept_ns.get())
            > u64::try_from(often.as_nanos()).unwrap_or(u64::MAX)
        {
            self.kept_ns.set(now_ns);
            self.save();
        }
    }

    /// Keeps what is known for the next daemon. What could not be kept is shown, and tried again at
    /// the next beat.
    pub(super) fn save(&self) {
        let unsaved = self.state.borrow().save().err().map(|error| {
            self.kept_ns.set(0);
            format!("{}: {error}", self.settings.folder.display())
        });
        show(&self.shown, |info| {
            if info.unsaved != unsaved
                && let Some(why) = &unsaved
            {
                warn!(
                    why,
                    "what the controller said is not kept for the next daemon"
                );
            }
            info.unsaved = unsaved;
        });
    }

    pub(super) fn tell(
        &self,
        epoch: u64,
        step: Step,
        after: Duration,
        more: (String, Vec<SessionEnd>),
    ) {
        let (mut reason, ends) = more;
        if step == Step::InForce
            && let Some(why) = self.info().unsaved
        {
            reason = format!("in force, but not kept for the next daemon: {why}");
        }
        let outcome = Outcome {
            epoch,
            state: step.into(),
            time_ms: now_ms(),
            reason,
            ends,
            after_us: u64::try_from(after.as_micros()).unwrap_or(u64::MAX),
        };
        // Where nobody takes it, the controller asks again.
        let _ = self.outcomes.send(outcome);
    }

    /// Says that a directive was taken up and could not be carried out.
    pub(super) fn refuse(&self, epoch: u64, reason: String) {
        self.state.borrow_mut().kept.note_refusal(epoch, &reason);
        self.save();
        self.tell_refusal(epoch, reason);
    }

    pub(super) fn tell_refusal(&self, epoch: u64, reason: String) {
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
        let verdict = self.state.borrow().kept.judge(&signed, &directive);
        match verdict {
            Verdict::Do => {}
            Verdict::Done => return self.tell_again(&directive, came),
            Verdict::Refuse(reason) => return self.tell_refusal(epoch, reason),
        }
        self.tell(epoch, Step::Received, came.elapsed(), Default::default());
        if self.state.borrow_mut().kept.note(&signed, &directive) {
            show(&self.shown, |info| info.epoch = epoch);
        }
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
            Some(What::Policy(policy)) => self.begin_policy(epoch, policy, came),
            Some(What::Withdrawal(withdrawal)) => {
                self.state.borrow_mut().kept.told.remove(&withdrawal.agent);
                self.give().await;
                self.save();
                self.tell(epoch, Step::InForce, came.elapsed(), Default::default());
            }
            Some(What::Answer(answer)) => {
                // What ends sessions does not wait for a file that is read.
                let central = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    central.take_answer(epoch, answer, reason, came).await;
                });
            }
            None => {
                self.refuse(epoch, "found what this version does not know".into());
            }
        }
    }

    pub(super) fn show_bars(&self) {
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

    /// Takes a policy beside what else there is to do: what ends sessions does not wait for a compiler.
    pub(super) fn begin_policy(self: &Rc<Self>, epoch: u64, policy: Policy, came: Instant) {
        let central = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _turn = central.turn.lock().await;
            central.take_policy(epoch, policy, came).await;
        });
    }

    /// Puts a policy in force, if it says here what it said there.
    async fn take_policy(self: &Rc<Self>, epoch: u64, told: Policy, came: Instant) {
        let digest = hex::encode(&told.digest);
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
}
