//! Follows the policies that are to be in force: what changes is loaded, or rejected with its error, and the
//! sessions are moved or kept as it says.

use super::proof::Proof;
use super::urgent::Haste;
use crate::chain::chain;
use crate::events::line::Line;
use crate::evidence::scribe::note_change;
use crate::kernel::maps::MapsError;
use crate::kubernetes::Kubernetes;
use crate::library::given::Given;
use crate::library::watch::Watch;
use crate::library::{Change, Library, Look};
use crate::recognition::Recognition;
use crate::sessions::Sessions;
use crate::sessions::moving::Moved;
use agent_evidence::recorder::Recorder;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

/// Tells of a policy that was loaded, went or was rejected, and moves sessions to it.
pub(super) fn announce_change(change: &Change, sessions: &mut Sessions, recorder: &Recorder) {
    let mut followed = Moved::default();
    match change {
        Change::Loaded(loaded) => {
            followed = sessions.follow(loaded);
            let Moved { moved, kept } = followed;
            let (agent, generation) = (&loaded.start.agent, loaded.generation);
            info!(agent, generation, moved, kept, file = %loaded.path.display(), "policy loaded");
        }
        Change::Gone(loaded) => {
            let (agent, file) = (&loaded.start.agent, loaded.path.display());
            info!(agent, %file, "policy gone: no new sessions, running ones keep it");
        }
        Change::Rejected(path, error) => {
            warn!(file = %path.display(), "rejected, what was loaded before stays:\n{error}");
        }
    }
    note_change(recorder, change, followed);
}

/// Follows the policies in files and folders.
pub(super) struct Follower {
    pub(super) proof: Rc<Proof>,
    pub(super) haste: Haste,
    pub(super) given: Rc<Given>,
    pub(super) library: Rc<RefCell<Library>>,
    pub(super) sessions: Rc<RefCell<Sessions>>,
    pub(super) recognition: Rc<RefCell<Recognition>>,
    /// Where what is to be told goes.
    pub(super) lines: UnboundedSender<Line>,
    pub(super) recorder: Recorder,
    /// Who tells the Kubernetes API how they stand, where it is asked.
    pub(super) kubernetes: Option<Rc<Kubernetes>>,
}

impl Follower {
    /// They are read and compiled beside: others go on being answered meanwhile. Sessions that want
    /// every processor must not hold up what they are held to.
    pub(super) async fn follow(&self, watch: &Watch) -> io::Result<()> {
        loop {
            tokio::select! {
                changed = watch.changed() => changed?,
                () = self.given.changed() => {}
            }
            let _urgent = self.haste.begin();
            let roots = self.library.borrow().roots().to_vec();
            let host = self.sessions.borrow().host();
            let (given, count) = self.given.now();
            let look = tokio::task::spawn_blocking(move || {
                let _urgent = Haste::of_this_thread().begin();
                let accept = |compiled: &_| host.accepts(compiled).map_err(chain);
                Look::into(&roots, accept).and_given(given, accept)
            });
            self.take_up(look.await?).map_err(io::Error::other)?;
            self.given.take(count);
            self.proof.want();
        }
    }

    /// Who is told of a new version finds everything under it, what lies ready for others included.
    fn take_up(&self, look: Look) -> Result<(), MapsError> {
        let mut library = self.library.borrow_mut();
        let mut sessions = self.sessions.borrow_mut();
        for change in library.take(look) {
            announce_change(&change, &mut sessions, &self.recorder);
        }
        let begun = self
            .recognition
            .borrow_mut()
            .follow(&mut sessions, &library)?;
        for line in begun {
            // Only a daemon that is ending hears no more.
            let _ = self.lines.send(line);
        }
        if let Some(kubernetes) = &self.kubernetes {
            kubernetes.tell(&library);
        }
        Ok(())
    }
}
