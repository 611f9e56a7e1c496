//! Trying what the kernel lets us do, with programs of a few instructions that change nothing.
//!
//! Each trial loads its program, attaches it and takes it away again. Lists tell too little: there
//! are kernels that list `bpf` among their LSMs and refuse its programs, and kernels that take LSM
//! programs and never call them, because `bpf` is not listed.

use super::bpf::{self, EXIT, MAP_VALUE, Place, instruction, set};
use aya_obj::generated::bpf_map_type;
use nix::errno::Errno;

/// A map that is tried.
#[derive(Debug, Clone, Copy)]
pub enum Map {
    /// `BPF_MAP_TYPE_RINGBUF`.
    RingBuffer,
    /// `BPF_MAP_TYPE_LPM_TRIE`.
    PrefixTrie,
    /// `BPF_MAP_TYPE_HASH`.
    Hash,
    /// `BPF_MAP_TYPE_PROG_ARRAY`.
    Programs,
    /// `BPF_MAP_TYPE_TASK_STORAGE`.
    TaskStorage,
}

/// `BPF_F_NO_PREALLOC`, which the kernel demands of a prefix trie and of task storage.
const NO_PREALLOC: u32 = 1;

/// What the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// To load the program.
    #[error("the kernel refuses to load it")]
    Load(#[source] Errno),
    /// To attach it once loaded.
    #[error("the kernel loads it and refuses to attach it")]
    Attach(#[source] Errno),
    /// To attach it on this processor: `ENOTSUPP`, which is not for user space and has no name there.
    #[error("the kernel loads it and cannot attach it on this processor")]
    Processor,
    /// To run it once loaded.
    #[error("the kernel loads it and refuses to run it")]
    Run(#[source] Errno),
    /// To create a map.
    #[error("the kernel refuses to create it")]
    Create(#[source] Errno),
}

/// Loads a program that allows everything, attaches it, and takes it away.
pub fn program(place: Place<'_>) -> Result<(), Refusal> {
    let program = bpf::load(place, "", &[set(0, place.go_on()), EXIT]).map_err(Refusal::Load)?;
    if let Place::Run = place {
        return bpf::run(&program).map_err(Refusal::Run);
    }
    bpf::attach(place, &program)
        .map(drop)
        .map_err(Refusal::of_attaching)
}

impl Refusal {
    fn of_attaching(errno: Errno) -> Self {
        match errno {
            Errno::UnknownErrno => Self::Processor,
            known => Self::Attach(known),
        }
    }
}

/// Creates a map of this sort, and lets it go.
pub fn map(map: Map) -> Result<(), Refusal> {
    let (sort, sizes, flags) = match map {
        Map::RingBuffer => (bpf_map_type::BPF_MAP_TYPE_RINGBUF, (0, 0, 4096), 0),
        Map::PrefixTrie => (bpf_map_type::BPF_MAP_TYPE_LPM_TRIE, (8, 4, 1), NO_PREALLOC),
        Map::Hash => (bpf_map_type::BPF_MAP_TYPE_HASH, (8, 16, 1), 0),
        Map::Programs => (bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, (4, 4, 1), 0),
        Map::TaskStorage => {
            let created = bpf::create_task_storage(NO_PREALLOC);
            return created.map(drop).map_err(Refusal::Create);
        }
    };
    let created = bpf::create(sort, sizes, flags);
    created.map(drop).map_err(Refusal::Create)
}

/// Whether the kernel calls LSM programs at all: attaches one that counts to the hook with this
/// BTF number, does `action`, and looks whether it counted.
pub fn lsm_is_called(hook: u32, action: impl FnOnce()) -> Result<bool, Refusal> {
    let counter =
        bpf::create(bpf_map_type::BPF_MAP_TYPE_ARRAY, (4, 8, 1), 0).map_err(Refusal::Create)?;
    let [counted, rest] = bpf::set_map(1, MAP_VALUE, &counter);
    let program = bpf::load(
        Place::Lsm(hook),
        "",
        &[
            // r1 = the address of the counter, r2 = 1, *r1 += r2 atomically, return 0
            counted,
            rest,
            set(2, 1),
            instruction(0xdb, 1, 2, 0),
            set(0, 0),
            EXIT,
        ],
    )
    .map_err(Refusal::Load)?;
    let link = bpf::attach(Place::Lsm(hook), &program).map_err(Refusal::of_attaching)?;
    action();
    drop(link);
    let [count] = bpf::first(&counter).map_err(Refusal::Run)?;
    Ok(count > 0)
}
