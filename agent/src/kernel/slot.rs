//! A place at a hook whose program can be exchanged in one step.
//!
//! What is attached to the hook is a stub of a few instructions, which goes on into whatever program the slot
//! holds (a tail call). A hook that runs at the moment of the exchange runs the old program or the new one, never
//! both and never none. Links cannot do that: those of LSM hooks and tracepoints keep their program for good.

use super::bpf::{self, EXIT, MAP, Place, TAIL_CALL, set};
use aya_obj::generated::bpf_map_type;
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// An array of one program.
pub(super) struct Slot(OwnedFd);

impl Slot {
    /// Makes one that holds a program.
    pub(super) fn holding(program: impl AsFd) -> Result<Self, Errno> {
        let array = bpf::create(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, (4, 4, 1), 0)?;
        let slot = Self(array);
        slot.hold(program)?;
        Ok(slot)
    }

    /// The one with this name in bpffs.
    pub(super) fn pinned(path: &Path) -> Result<Self, Errno> {
        bpf::pinned(path).map(Self)
    }

    /// Gives it a name in bpffs. It is emptied when it has none any more, whoever runs it.
    pub(super) fn pin(&self, path: &Path) -> Result<(), Errno> {
        bpf::pin(&self.0, path)
    }

    /// From now on it holds this program.
    pub(super) fn hold(&self, program: impl AsFd) -> Result<(), Errno> {
        bpf::set_program(&self.0, 0, program)
    }

    /// What goes at the hook. It has the name of the program, so that what the kernel counts of it is found.
    pub(super) fn stub(&self, place: Place<'_>, name: &str) -> Result<OwnedFd, Errno> {
        let [array, rest] = bpf::set_map(2, MAP, &self.0);
        bpf::load(
            place,
            name,
            &[
                array,
                rest,
                set(3, 0),
                TAIL_CALL,
                set(0, place.go_on()),
                EXIT,
            ],
        )
    }
}
