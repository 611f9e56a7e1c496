//! The host daemon and command line of Interlock, as a library so that both can be tested.
//!
//! | module | is |
//! |---|---|
//! | `kernel` | the kernel programs in their object file: loading, pins, maps, offsets |
//! | `policy` | from a policy file to what the kernel programs can enforce |
//! | `policy_cli` | what `interlock policy` does, one file a verb |
//! | `library` | the policies that the daemon has loaded from files, by agent |
//! | `sessions` | the sessions in force, and their policies in the kernel's tables |
//! | `events` | from a record in the ring to a line that a person can read |
//! | `evidence` | the tamper-evident record: how the daemon writes it, what people read of it |
//! | `health` | how the daemon is, for Prometheus, a kubelet and systemd |
//! | `holds` | questions to people, and their answers |
//! | `ids` | numbers of sessions and questions, as people read and write them |
//! | `cgroups` | where the unified hierarchy of cgroups lies |
//! | `chain` | errors in words |
//! | `control` | the daemon's local socket |
//! | `divert` | what the kernel sends to the daemon instead of where a session wanted to go |
//! | `names` | the resolver of sessions |
//! | `relay` | connections whose rules want to hear first for which name they are, or that go through a gateway |
//! | `netns` | network namespaces |
//! | `otlp` | events and metrics for a collector of OpenTelemetry |
//! | `pauses` | how long to wait before something is tried again |
//! | `containers` | whose a container is, as its runtime tells |
//! | `daemon` | what runs all the time |
//! | `show` | what people are shown of sessions: processes, events, why |
//! | `doctor` | what can be enforced on this kernel, found by trying |
//! | `central` | the way to the central controller, and what the daemon does because of it |
//! | `ctl` | what operators ask the controller |
//! | `run` | what starts a command as a session |

pub mod central;
pub mod cgroups;
mod chain;
pub mod cli;
pub mod containers;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod divert;
pub mod doctor;
pub mod events;
pub mod evidence;
pub mod health;
pub mod holds;
pub mod ids;
pub mod kernel;
pub mod kubernetes;
pub mod library;
pub mod names;
pub mod netns;
pub mod otlp;
mod pauses;
pub mod policy;
pub mod policy_cli;
pub mod recognition;
pub mod relay;
pub mod report;
pub mod run;
pub mod serving;
pub mod sessions;
pub mod show;
pub mod sockets;
pub mod uninstall;
