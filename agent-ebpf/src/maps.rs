//! Every map, in one place. All are pinned, so that enforcement outlives the daemon.

use agent_common::abi;
use agent_common::counter::COUNTERS;
use agent_common::decide::Rule;
use agent_common::egress::{NetworkKey, PortKey};
use agent_common::policy::PolicyHead;
use agent_common::session::{Member, Session, Share};
use agent_common::terms::Terms;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf};

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

/// Longest prefix of (scope, address) to port set.
#[map]
pub static NETWORKS: LpmTrie<NetworkKey, u32> = LpmTrie::pinned(abi::MAX_NETWORKS, 0);

/// Longest prefix of (port set, protocol, port) to rule.
#[map]
pub static PORTS: LpmTrie<PortKey, u32> = LpmTrie::pinned(abi::MAX_PORTS, 0);

/// The rules of all policies.
#[map]
pub static RULES: Array<Rule> = Array::pinned(abi::MAX_RULES, 0);

/// Decisions and lifecycle. Nothing that an agent can cause in bulk by allowed actions is in it.
#[map]
pub static DECISIONS: RingBuf = RingBuf::pinned(abi::DECISION_RING_BYTES, 0);

/// What each session's slot has written into the ring, and what not.
#[map]
pub static SHARES: Array<Share> = Array::pinned(abi::MAX_SESSIONS, 0);

/// How much of what each slot has written the daemon has read.
#[map]
pub static READ: Array<u64> = Array::pinned(abi::MAX_SESSIONS, 0);

/// What happened, whether or not it was told.
#[map]
pub static COUNTS: PerCpuArray<u64> = PerCpuArray::pinned(COUNTERS, 0);

/// What holds for a policy as a whole, by the policy's number.
#[map]
pub static POLICIES: Array<PolicyHead> = Array::pinned(abi::MAX_POLICIES, 0);
