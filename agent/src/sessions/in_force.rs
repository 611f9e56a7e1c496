//! The policies that sessions are held to, in the kernel's tables while any session is.

use super::moving::Leaving;
use super::tables::{InstallError, Place};
use super::{Session, Sessions};
use crate::kernel::loader;
use agent_policy::Compiled;
use std::collections::HashMap;
use std::rc::Rc;
use tracing::warn;

impl Sessions {
    /// Where a policy lies in the tables: where it lies already, or where it is written now.
    pub(super) fn place_of(&mut self, compiled: &Compiled) -> Result<Place, InstallError> {
        let same =
            |other: &Compiled| other.digest == compiled.digest && other.layout == compiled.layout;
        let mut sessions = self.by_id.values();
        if let Some(session) = sessions.find(|session| same(&session.compiled)) {
            return Ok(session.place);
        }
        if let Some(at) = self.leaving.iter().position(|left| same(&left.compiled)) {
            let place = self.leaving.remove(at).place;
            // Its paths were not followed while nobody was under it.
            self.paths.rewrite(&mut self.maps, &[(compiled, place)])?;
            return Ok(place);
        }
        self.install(compiled)
    }

    /// Writes a policy into the tables.
    pub(super) fn install(&mut self, compiled: &Compiled) -> Result<Place, InstallError> {
        if compiled.has_digests() && loader::lacks_digests() {
            return Err(InstallError::Digests);
        }
        // Its paths must be what they are now, not at the last look.
        self.follow_mounts()?;
        let agent = self.paths.hash(&compiled.name);
        let place = self.tables.install(&mut self.maps, compiled, agent)?;
        if let Err(error) = self.paths.install(&mut self.maps, compiled, place) {
            let _ = self.paths.remove(&mut self.maps, place.policy);
            self.tables.remove(&mut self.maps, compiled, place);
            return Err(error);
        }
        Ok(place)
    }

    /// Takes a policy out of the tables when no session is left under it.
    pub(super) fn release(&mut self, compiled: &Rc<Compiled>, place: Place) {
        if self.by_id.values().any(|session| session.place == place) {
            return;
        }
        // Of who was moved from it, something may still be judged by it, or told.
        let is_earlier = |session: &Session| session.earlier.iter().any(|(was, _)| *was == place);
        if self.by_id.values().any(is_earlier) {
            self.leaving.push(Leaving::new(Rc::clone(compiled), place));
        } else {
            self.remove(compiled, place);
        }
    }

    /// Takes a policy out of the tables.
    pub(super) fn remove(&mut self, compiled: &Compiled, place: Place) {
        for session in self.by_id.values_mut() {
            session.earlier.retain(|(was, _)| *was != place);
        }
        if let Err(error) = self.paths.remove(&mut self.maps, place.policy) {
            warn!(agent = compiled.name, %error, "its path rules stay in the tables");
        }
        self.tables.remove(&mut self.maps, compiled, place);
    }
}

/// Each policy in force, once.
pub(super) fn policies(sessions: &HashMap<u64, Session>) -> Vec<(&Compiled, Place)> {
    let mut policies: Vec<(&Compiled, Place)> = Vec::new();
    for session in sessions.values() {
        if !policies.iter().any(|(_, place)| *place == session.place) {
            policies.push((&session.compiled, session.place));
        }
    }
    policies
}
