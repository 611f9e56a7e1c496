//! One build of the kernel programs takes the place of another, while sessions run.
//!
//! The new programs are loaded beside the old ones and share their tables. They are on probation first: they judge
//! the canary, and the old ones all others. Once that was denied each hook is given its new program, in one step, and the
//! canary goes in again, for those that could not be on probation. Only then are the old programs taken out. Where it
//! was not denied, they come back. Whatever is interrupted is done again by the next daemon, of either build.

use super::barrier;
use super::build::Build;
use super::hooks::Hooks;
use super::load;
use super::loader::LoadError;
use super::pins::{self, Pins};
use super::probation::Probation;
use aya::Btf;
use std::fs;
use std::thread;
use std::time::Duration;

/// Longer than any program runs, which takes microseconds.
const LONG: Duration = Duration::from_secs(1);

/// A build that is not proven yet, and the one before it.
#[must_use = "what is not settled or undone is done again by the next daemon"]
#[derive(Debug)]
pub struct Swap {
    pins: Pins,
    own: Build,
    before: Build,
    /// Who is judged by the new programs, until all are.
    pub probation: Probation,
}

impl Swap {
    /// Loads the programs of this binary, if they are not there, and puts them on probation. What fails leaves
    /// everything as it was.
    pub(super) fn begin(
        pins: Pins,
        own: Build,
        before: Build,
        lsm: bool,
    ) -> Result<Self, LoadError> {
        let types = Btf::from_sys_fs().map_err(LoadError::Btf)?;
        if !pins.build(&own).is_dir() {
            load::check_shapes(&pins)?;
            load::whole(&pins, &own, &types, lsm)?;
        }
        let probation = Probation::begin().map_err(LoadError::Probation)?;
        let swap = Self {
            pins,
            own,
            before,
            probation,
        };
        match swap.put_on_probation(&types) {
            Ok(()) => Ok(swap),
            Err(error) => {
                swap.undo()?;
                Err(error)
            }
        }
    }

    fn put_on_probation(&self, types: &Btf) -> Result<(), LoadError> {
        // Where another swap was interrupted, hooks may hold whatever that left.
        self.put(&self.before, types)?;
        self.end_probation()?;
        fs::create_dir_all(self.pins.probation()).map_err(LoadError::Pins)?;
        let hooks = Hooks::of(&self.pins, types)?;
        for program in hooks.known(&self.own)? {
            hooks.put_on_probation(&self.probation, (&self.before, &self.own), program)?;
        }
        Ok(())
    }

    /// Gives all hooks the new programs.
    pub fn commit(&self) -> Result<(), LoadError> {
        let types = Btf::from_sys_fs().map_err(LoadError::Btf)?;
        self.put(&self.own, &types)?;
        self.end_probation()
    }

    /// Takes away what hooks chose from. A hook that was about to choose must have chosen first.
    fn end_probation(&self) -> Result<(), LoadError> {
        let folder = self.pins.probation();
        if folder.exists() && barrier::wait_for_programs().is_err() {
            // A kernel that leaves processors alone does not say when; what began before has ended long before this.
            thread::sleep(LONG);
        }
        pins::remove_tree(&folder).map_err(LoadError::Pins)
    }

    /// Gives the hooks the programs of a build.
    fn put(&self, build: &Build, types: &Btf) -> Result<(), LoadError> {
        Ok(Hooks::of(&self.pins, types)?.put_all(build)?)
    }

    /// The new programs are proven: takes the old ones out, and whatever hooks they alone had.
    pub fn settle(self) -> Result<(), LoadError> {
        let types = Btf::from_sys_fs().map_err(LoadError::Btf)?;
        self.keep(&self.own, &types)
    }

    /// The new programs are no good: brings the old ones back. Gives back what build that is.
    pub fn undo(self) -> Result<Build, LoadError> {
        let types = Btf::from_sys_fs().map_err(LoadError::Btf)?;
        self.put(&self.before, &types)?;
        self.end_probation()?;
        self.keep(&self.before, &types)?;
        Ok(self.before)
    }

    /// Takes out every other build, and what only those had.
    fn keep(&self, build: &Build, types: &Btf) -> Result<(), LoadError> {
        let hooks = Hooks::of(&self.pins, types)?;
        let kept = build.programs(&self.pins).map_err(LoadError::Pins)?;
        for other in Build::all_of(&self.pins).map_err(LoadError::Pins)? {
            if other == *build {
                continue;
            }
            for name in other.programs(&self.pins).map_err(LoadError::Pins)? {
                if !kept.contains(&name) {
                    hooks.clear(&name)?;
                }
            }
            pins::remove_tree(&self.pins.build(&other)).map_err(LoadError::Pins)?;
        }
        Ok(())
    }
}
