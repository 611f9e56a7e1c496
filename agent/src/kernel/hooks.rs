//! Puts the programs of a build at their hooks, in place of what is there.

use super::bpf::{self, Place};
use super::build::Build;
use super::object::{DIGEST, Kind, PROGRAMS, Program, hook_function};
use super::pins::Pins;
use super::probation::Probation;
use super::slot::Slot;
use crate::cgroups;
use aya::{Btf, BtfError};
use aya_obj::btf::BtfKind;
use nix::errno::Errno;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tracing::warn;

/// Why a program is not at its hook.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The root cgroup could not be opened.
    #[error("cannot open {}", .0.display())]
    Cgroup(&'static Path, #[source] io::Error),
    /// Nothing is mounted that it could be the root of.
    #[error("no cgroup v2 is mounted at {}", cgroups::PLACES.join(" or "))]
    NoCgroup,
    /// The kernel's types do not name the hook.
    #[error("the kernel does not say where `{0}` is")]
    NoHook(&'static str, #[source] BtfError),
    /// The kernel refused.
    #[error("cannot put program `{0}` at its hook")]
    Refused(String, #[source] Errno),
    /// A pin could not be exchanged.
    #[error("cannot change {}", .0.display())]
    Pin(PathBuf, #[source] io::Error),
}

/// How another program takes the place of one that is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchange {
    /// In its slot, in one step.
    Slot,
    /// By a link of its own, beside the old one for a moment: for programs that may run twice, where the kernel
    /// has no slots (it lets no program that sleeps go on into another).
    Link,
    /// By its name: user space runs it.
    Name,
}

impl Program {
    fn exchange(&self) -> Exchange {
        match self.kind {
            _ if self.name == DIGEST => Exchange::Link,
            Kind::Lsm(_) | Kind::Tracepoint(_) | Kind::Function(_) | Kind::Cgroup(_) => {
                Exchange::Slot
            }
            Kind::Iter(_) => Exchange::Link,
            Kind::Run => Exchange::Name,
        }
    }
}

/// Whether a program, of whatever build, is at its hook.
pub(super) fn is_at_work(pins: &Pins, program: &Program) -> bool {
    match program.exchange() {
        Exchange::Slot => pins.is_linked(program.name) && pins.slot(program.name).exists(),
        Exchange::Link => pins.is_linked(program.name),
        Exchange::Name => pins.program(program.name).exists(),
    }
}

/// The programs of all builds that are in the kernel, and not at their hooks: somebody has taken them from there.
pub(super) fn taken_away(pins: &Pins) -> io::Result<Vec<&'static Program>> {
    let mut names = Vec::new();
    for build in Build::all_of(pins)? {
        names.extend(build.programs(pins)?);
    }
    let is_there = |program: &&Program| names.iter().any(|name| name == program.name);
    let at_work = |program: &&Program| is_at_work(pins, program);
    Ok(PROGRAMS
        .iter()
        .filter(is_there)
        .filter(|program| !at_work(program))
        .collect())
}

/// What programs are put at.
pub(super) struct Hooks<'a> {
    pins: &'a Pins,
    types: &'a Btf,
    cgroup: File,
}

impl<'a> Hooks<'a> {
    pub(super) fn of(pins: &'a Pins, types: &'a Btf) -> Result<Self, HookError> {
        // There the cgroup programs see every process.
        let root = cgroups::find().ok_or(HookError::NoCgroup)?;
        let cgroup = File::open(root).map_err(|source| HookError::Cgroup(root, source))?;
        Ok(Self {
            pins,
            types,
            cgroup,
        })
    }

    /// The programs of a build that this binary knows, in the order in which they are attached. One that it does not
    /// know stays where it is.
    pub(super) fn known(&self, build: &Build) -> Result<Vec<&'static Program>, HookError> {
        let names = build.programs(self.pins);
        let names = names.map_err(|source| HookError::Pin(self.pins.build(build), source))?;
        let is_there = |program: &&Program| names.iter().any(|name| name == program.name);
        Ok(PROGRAMS.iter().filter(is_there).collect())
    }

    /// Gives the hooks the programs of a build that is loaded.
    pub(super) fn put_all(&self, build: &Build) -> Result<(), HookError> {
        let mut programs = self.known(build)?.into_iter();
        programs.try_for_each(|program| self.put(build, program))
    }

    /// Puts the programs of a build back where somebody has taken them away.
    pub(super) fn put_back(&self, build: &Build) -> Result<(), HookError> {
        let gone = taken_away(self.pins);
        let gone = gone.map_err(|source| HookError::Pin(self.pins.builds(), source))?;
        for program in gone {
            warn!("program `{}` was not at its hook: put back", program.name);
            self.put(build, program)?;
        }
        Ok(())
    }

    /// Puts a program in place of whatever is at its hook.
    fn put(&self, build: &Build, program: &Program) -> Result<(), HookError> {
        let refused = |errno| HookError::Refused(program.name.to_owned(), errno);
        let code = bpf::pinned(&self.pins.build(build).join(program.name)).map_err(refused)?;
        let slot = self.pins.slot(program.name);
        match program.exchange() {
            Exchange::Slot if self.pins.is_linked(program.name) => {
                let slot = Slot::pinned(&slot).map_err(refused)?;
                slot.hold(&code).map_err(refused)
            }
            Exchange::Slot => {
                // What an attempt left that was interrupted before the hook was linked.
                remove(&slot)?;
                let held = Slot::holding(&code).map_err(refused)?;
                held.pin(&slot).map_err(refused)?;
                let place = self.place(program)?;
                let stub = held.stub(place, program.name).map_err(refused)?;
                let link = bpf::attach(place, &stub).map_err(refused)?;
                link.map_or(Ok(()), |link| {
                    bpf::pin(link, &self.pins.link(program.name)).map_err(refused)
                })
            }
            Exchange::Link => {
                let link = match bpf::attach(self.place(program)?, &code) {
                    // A program can be linked once: this one is there.
                    Err(Errno::EBUSY) => return Ok(()),
                    link => link.map_err(refused)?,
                };
                link.map_or(Ok(()), |link| {
                    exchange(&self.pins.link(program.name), |next| bpf::pin(&link, next))
                })
            }
            Exchange::Name => exchange(&self.pins.program(program.name), |next| {
                bpf::pin(&code, next)
            }),
        }
    }

    /// Lets a hook choose between its program of two builds, where it can. Where it cannot, the old one stays.
    pub(super) fn put_on_probation(
        &self,
        probation: &Probation,
        (before, own): (&Build, &Build),
        program: &Program,
    ) -> Result<(), HookError> {
        // The programs of cgroups cannot ask who acts.
        let chooses = matches!(
            program.kind,
            Kind::Lsm(_) | Kind::Tracepoint(_) | Kind::Function(_)
        );
        let old = self.pins.build(before).join(program.name);
        if !chooses || program.exchange() != Exchange::Slot || !old.exists() {
            return Ok(());
        }
        let refused = |errno| HookError::Refused(program.name.to_owned(), errno);
        let old = bpf::pinned(&old).map_err(refused)?;
        let new = self.pins.build(own).join(program.name);
        let new = bpf::pinned(&new).map_err(refused)?;
        let choice = self.pins.probation().join(program.name);
        let place = self.place(program)?;
        let switch = probation.switch(place, program.name, (old, new), &choice);
        let slot = Slot::pinned(&self.pins.slot(program.name)).map_err(refused)?;
        slot.hold(switch.map_err(refused)?).map_err(refused)
    }

    /// Takes away what is at a hook.
    pub(super) fn clear(&self, name: &str) -> Result<(), HookError> {
        for pin in [
            self.pins.link(name),
            self.pins.slot(name),
            self.pins.program(name),
        ] {
            remove(&pin)?;
        }
        Ok(())
    }

    fn place(&self, program: &Program) -> Result<Place<'_>, HookError> {
        let find = |name: String, kind| {
            let id = self.types.id_by_type_name_kind(&name, kind);
            id.map_err(|source| HookError::NoHook(program.name, source))
        };
        Ok(match program.kind {
            Kind::Lsm(hook) => Place::Lsm(find(hook_function(hook), BtfKind::Func)?),
            Kind::Tracepoint(name) => {
                Place::Tracepoint(find(format!("btf_trace_{name}"), BtfKind::Typedef)?)
            }
            Kind::Function(name) => Place::Function(find(name.to_owned(), BtfKind::Func)?),
            Kind::Iter(objects) => Place::Iter(find(format!("bpf_iter_{objects}"), BtfKind::Func)?),
            Kind::Cgroup(point) => Place::Cgroup(point, &self.cgroup),
            Kind::Run => Place::Run,
        })
    }
}

/// Gives a name to something else, so that there is no moment without.
fn exchange(name: &Path, pin: impl FnOnce(&Path) -> Result<(), Errno>) -> Result<(), HookError> {
    let failed = |source| HookError::Pin(name.to_owned(), source);
    let mut next = name.as_os_str().to_owned();
    next.push("-next");
    let next = PathBuf::from(next);
    remove(&next)?;
    pin(&next).map_err(|errno| failed(errno.into()))?;
    fs::rename(&next, name).map_err(failed)
}

fn remove(pin: &Path) -> Result<(), HookError> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HookError::Pin(pin.to_owned(), error))
        }
        _ => Ok(()),
    }
}
