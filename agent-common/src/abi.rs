//! The limits and names that a kernel object file and its loader must share.

/// Grows whenever the layout or the meaning of a map changes, or of the pins; it is part of every pin path.
pub const VERSION: u32 = 18;

/// Sessions that can be in force at once on one host.
pub const MAX_SESSIONS: u32 = 16_384;

/// Tasks (threads) of all sessions together. A fork beyond it fails with ENOMEM.
pub const MAX_TASKS: u32 = 65_536;

/// Sockets that the tasks of all sessions have made or accepted, together. Who makes one more is
/// denied it.
pub const MAX_SOCKETS: u32 = 262_144;

/// Objects of System V that the tasks of all sessions have made, together: as many as the kernel makes by default in one
/// namespace. Who makes one more is denied it.
pub const MAX_SHARED: u32 = 65_536;

/// Policies in force at once.
pub const MAX_POLICIES: u32 = 1_024;

/// Rules of all policies together.
pub const MAX_RULES: u32 = 65_536;

/// Patterns of arguments of one policy: as many as an action has traits.
pub const MAX_ARGUMENTS: u32 = 32;

/// Programs that can be on their way into execution at once where digests decide.
pub const MAX_EXECS: u32 = 4_096;

/// Distinct networks of all policies together.
pub const MAX_NETWORKS: u32 = 65_536;

/// Distinct port ranges of all policies together, counted as prefixes.
pub const MAX_PORTS: u32 = 262_144;

/// Path entries of all policies together, counted once for each file system that they lie on.
pub const MAX_PATHS: u32 = 262_144;

/// Bytes of the ring that carries decisions and lifecycle events.
pub const DECISION_RING_BYTES: u32 = 4 * 1024 * 1024;
