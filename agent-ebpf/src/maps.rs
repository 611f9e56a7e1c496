//! Every map, in one place. All are pinned, so that enforcement outlives the daemon.

use crate::kernel::digest::Noted;
use crate::kernel::path::Walk;
use crate::kernel::pending::State as Pending;
use agent_common::abi;
use agent_common::argument::Pattern;
use agent_common::counter::COUNTERS;
use agent_common::decide::Rule;
use agent_common::divert::{MAX_ORIGINS, MAX_STATIONS, Origin, OriginKey, Station};
use agent_common::egress::{NetworkKey, PortKey};
use agent_common::hold::{self, Asking, Hold, HoldKey, Waiter};
use agent_common::names::{Answer, AnswerKey, MAX_ANSWERS};
use agent_common::path::{Index, PathKey, PathRules};
use agent_common::policy::PolicyHead;
use agent_common::recognise::{
    Executable, Inside, Latecomer, MAX_CGROUPS, MAX_PLACES, MAX_WAYS, PlaceKey, Pool, Watch,
};
use agent_common::session::{Label, Maker, Member, Session, Share};
use agent_common::terms::Terms;
use agent_common::uses::{MAX_USES, UseKey};
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};

/// Every task of a session with its label, by the address of its `task_struct`. An entry lives from before
/// the task runs until the kernel frees it, so that an address names one task only.
#[map]
pub static MEMBERS: HashMap<u64, Member> = HashMap::pinned(abi::MAX_TASKS, 0);

/// What a task's entry looks like before it has a label.
#[map]
pub static FRESH: Array<Member> = Array::pinned(1, 0);

/// The state of every session, by slot.
#[map]
pub static SESSIONS: Array<Session> = Array::pinned(abi::MAX_SESSIONS, 0);

/// What each policy demands besides facts, by its number.
#[map]
pub static TERMS: Array<Terms> = Array::pinned(abi::MAX_POLICIES, 0);

/// Whose turn it is to change the progress of a slot; for kernels without locks.
#[map]
pub static TURNS: HashMap<u32, u8> = HashMap::pinned(abi::MAX_SESSIONS, 0);

/// Seconds between 1970 and the boot of this machine, kept true by the daemon.
#[map]
pub static BOOTED: Array<u64> = Array::pinned(1, 0);

/// Sockets that tasks of sessions have made or accepted, by the address of their `sock`, from then
/// until the kernel frees them.
#[map]
pub static MAKERS: HashMap<u64, Maker> = HashMap::pinned(abi::MAX_SOCKETS, BPF_F_NO_PREALLOC);

/// Objects of System V that tasks of sessions have made, by the address of their `kern_ipc_perm`, and the session.
#[map]
pub static SHARED: HashMap<u64, u64> = HashMap::pinned(abi::MAX_SHARED, BPF_F_NO_PREALLOC);

/// Longest prefix of (scope, address) to port set.
#[map]
pub static NETWORKS: LpmTrie<NetworkKey, u32> = LpmTrie::pinned(abi::MAX_NETWORKS, 0);

/// Longest prefix of (port set, protocol, port) to rule.
#[map]
pub static PORTS: LpmTrie<PortKey, u32> = LpmTrie::pinned(abi::MAX_PORTS, 0);

/// Secret, generation and filter of the paths: one value.
#[map]
pub static INDEX: Array<Index> = Array::pinned(1, 0);

/// Paths, names and extensions of all policies. Memory for an entry is taken when it comes.
#[map]
pub static PATHS: HashMap<PathKey, PathRules> = HashMap::pinned(abi::MAX_PATHS, BPF_F_NO_PREALLOC);

/// What each task of a session needs to find a path, from its first use of a file on.
#[map]
pub static WALKS: HashMap<u64, Walk> = HashMap::pinned(abi::MAX_TASKS, BPF_F_NO_PREALLOC);

/// A walk that has not begun: what an entry of [`WALKS`] is made of.
#[map]
pub static EMPTY_WALK: Array<Walk> = Array::pinned(1, 0);

/// The rules of all policies.
#[map]
pub static RULES: Array<Rule> = Array::pinned(abi::MAX_RULES, 0);

/// What the arguments of programs must be, for each policy one behind the other.
#[map]
pub static ARGUMENTS: Array<Pattern> = Array::pinned(abi::MAX_POLICIES * abi::MAX_ARGUMENTS, 0);

/// Tasks about to execute a program whose arguments decide.
#[map]
pub static PENDING: HashMap<u64, Pending> = HashMap::pinned(abi::MAX_TASKS, BPF_F_NO_PREALLOC);

/// What an entry of [`PENDING`] is made of.
#[map]
pub static NOTHING_PENDING: Array<Pending> = Array::pinned(1, 0);

/// Questions to people, and their answers.
#[map]
pub static HOLDS: HashMap<HoldKey, Hold> = HashMap::pinned(hold::MAX_HOLDS, BPF_F_NO_PREALLOC);

/// Processes that were stopped until a question is answered, and when each began.
#[map]
pub static WAITING: HashMap<Waiter, u64> = HashMap::pinned(hold::MAX_WAITING, BPF_F_NO_PREALLOC);

/// How many questions each slot has asked.
#[map]
pub static OPENED: Array<u64> = Array::pinned(abi::MAX_SESSIONS, 0);

/// How many of them are closed: the daemon counts.
#[map]
pub static CLOSED: Array<u64> = Array::pinned(abi::MAX_SESSIONS, 0);

/// Tasks that have asked something.
#[map]
pub static ASKING: HashMap<u64, Asking> = HashMap::pinned(abi::MAX_TASKS, BPF_F_NO_PREALLOC);

/// What an entry of [`ASKING`] is made of.
#[map]
pub static NOTHING_ASKED: Array<Asking> = Array::pinned(1, 0);

/// Digests of programs, from the program that reads them to the one that judges, which comes next.
#[map]
pub static DIGESTS: HashMap<u64, Noted> = HashMap::pinned(abi::MAX_EXECS, 0);

/// Decisions and lifecycle. Nothing that an agent can cause in bulk by allowed actions is in it.
#[map]
pub static DECISIONS: RingBuf = RingBuf::pinned(abi::DECISION_RING_BYTES, 0);

/// What each session's slot has written into the ring, and what not.
#[map]
pub static SHARES: Array<Share> = Array::pinned(abi::MAX_SESSIONS, 0);

/// How often sessions were allowed something.
#[map]
pub static USES: HashMap<UseKey, u64> = HashMap::pinned(MAX_USES, BPF_F_NO_PREALLOC);

/// How much of what each slot has written the daemon has read.
#[map]
pub static READ: Array<u64> = Array::pinned(abi::MAX_SESSIONS, 0);

/// What happened, whether or not it was told.
#[map]
pub static COUNTS: PerCpuArray<u64> = PerCpuArray::pinned(COUNTERS, 0);

/// What holds for a policy as a whole, by the policy's number.
#[map]
pub static POLICIES: Array<PolicyHead> = Array::pinned(abi::MAX_POLICIES, 0);

/// What is recognised at all: one value.
#[map]
pub static WATCH: Array<Watch> = Array::pinned(1, 0);

/// The sessions that lie ready, by way.
#[map]
pub static POOLS: Array<Pool> = Array::pinned(MAX_WAYS, 0);

/// Sessions that lay ready and were taken, until the daemon has put others in their place.
#[map]
pub static CLAIMS: HashMap<u64, u64> = HashMap::pinned(abi::MAX_SESSIONS, 0);

/// Cgroups whose processes belong to a session.
#[map]
pub static CGROUPS: HashMap<u64, Inside> = HashMap::pinned(MAX_CGROUPS, 0);

/// The session that is open for each topmost one of them.
#[map]
pub static DOORS: HashMap<u64, Label> = HashMap::pinned(MAX_CGROUPS, 0);

/// Cgroups that are recognised when they are made, and the way of each.
#[map]
pub static PLACES: HashMap<PlaceKey, u32> = HashMap::pinned(MAX_PLACES, 0);

/// Room for a key of [`PLACES`], which the stack has not.
#[map]
pub static KEY: Array<PlaceKey> = Array::pinned(1, 0);

/// Executables by which sessions begin, and the way of each.
#[map]
pub static EXECUTABLES: HashMap<Executable, u32> = HashMap::pinned(MAX_PLACES, 0);

/// Tasks that are about to execute one, and the session that they will begin. What an exec that
/// failed leaves here serves the next one from the same address.
#[map]
pub static ARRIVING: HashMap<u64, Label> = HashMap::pinned(abi::MAX_SESSIONS, 0);

/// Tasks that are stopped in such an exec until a session lies ready.
#[map]
pub static LATECOMERS: HashMap<u64, Latecomer> =
    HashMap::pinned(hold::MAX_WAITING, BPF_F_NO_PREALLOC);

/// When the daemon last gave a sign of life, in nanoseconds since boot.
#[map]
pub static ALIVE: Array<u64> = Array::pinned(1, 0);

/// What an entry of [`MEMBERS`] is made of for a task that runs already: one for each user.
#[map]
pub static TEMPLATES: Array<Member> = Array::pinned(2, 0);

/// Sessions that are over and came to their own end, the latest: what they had sent may still leave.
#[map]
pub static DRAINING: LruHashMap<u64, u8> = LruHashMap::pinned(abi::MAX_SESSIONS, 0);

/// What names say of addresses, by session. Memory for an entry is taken when it comes.
#[map]
pub static ANSWERS: HashMap<AnswerKey, Answer> = HashMap::pinned(MAX_ANSWERS, BPF_F_NO_PREALLOC);

/// Whose it is that came to the daemon from an address and port, the latest.
#[map]
pub static ORIGINS: LruHashMap<OriginKey, Origin> = LruHashMap::pinned(MAX_ORIGINS, 0);

/// Where the daemon's resolver and relay listen, by network namespace.
#[map]
pub static STATIONS: HashMap<u64, Station> = HashMap::pinned(MAX_STATIONS, 0);
