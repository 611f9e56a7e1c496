//! New kernel programs on probation: they judge one process alone, while those of before judge all others.
//!
//! For as long as it lasts, a slot holds a switch of a few instructions that looks who acts, and goes on into the new
//! program or the old one.

use super::bpf::{self, EXIT, MAP, MAP_VALUE, Place, TAIL_CALL, instruction, set, with_offset};
use aya_obj::generated::bpf_map_type;
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// `bpf_get_current_pid_tgid`, whose upper half is the process.
const WHO: i32 = 14;

/// Who is on probation, and how often the new programs judged that process.
#[derive(Debug)]
pub struct Probation(OwnedFd);

impl Probation {
    /// Of nobody yet.
    pub(super) fn begin() -> Result<Self, Errno> {
        bpf::create(bpf_map_type::BPF_MAP_TYPE_ARRAY, (4, 16, 1), 0).map(Self)
    }

    /// The calling process is judged by the new programs from now on, and nobody else.
    pub fn enter(&self) -> Result<(), Errno> {
        bpf::set_first(&self.0, &[u64::from(std::process::id()), 0])
    }

    /// How often the new programs judged it.
    pub fn judgements(&self) -> Result<u64, Errno> {
        bpf::first(&self.0).map(|[_, judgements]| judgements)
    }

    /// The same probation for another owner.
    pub fn share(&self) -> Result<Self, Errno> {
        let copy = self.0.try_clone();
        copy.map(Self)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }

    /// Makes the switch between an old and a new program. What it chooses from stays as long as it has its name in
    /// bpffs.
    pub(super) fn switch(
        &self,
        place: Place<'_>,
        name: &str,
        (old, new): (impl AsFd, impl AsFd),
        choice: &Path,
    ) -> Result<OwnedFd, Errno> {
        let both = bpf::create(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, (4, 4, 2), 0)?;
        bpf::set_program(&both, 0, old)?;
        bpf::set_program(&both, 1, new)?;
        bpf::pin(&both, choice)?;
        let [who, who_rest] = bpf::set_map(7, MAP_VALUE, &self.0);
        let [both, both_rest] = bpf::set_map(2, MAP, &both);
        bpf::load(
            place,
            name,
            &[
                // r6 = what the hook was given; r0 = the process that acts
                instruction(0xbf, 6, 1, 0),
                instruction(0x85, 0, 0, WHO),
                instruction(0x77, 0, 0, 32),
                // r3 = 0; unless r0 is who is on probation, leave out the next three
                who,
                who_rest,
                set(3, 0),
                instruction(0x79, 8, 7, 0),
                with_offset(instruction(0x5d, 0, 8, 0), 3),
                // one judgement more; r3 = 1
                set(9, 1),
                with_offset(instruction(0xdb, 7, 9, 0), 8),
                set(3, 1),
                // on into one of both
                both,
                both_rest,
                instruction(0xbf, 1, 6, 0),
                TAIL_CALL,
                set(0, place.go_on()),
                EXIT,
            ],
        )
    }
}
