//! The policy language: parse, check, compile, explain. No I/O, no async.
//!
//! A policy file goes one way through this crate: [`parse`] turns its bytes into [`Policy`] values
//! or into [`Diagnostics`] that name the place of every mistake; [`Policy::compile`] turns a policy
//! into the tables that the kernel looks up, with a digest that names them.

mod cases;
mod check;
mod compile;
mod crd;
mod demand;
mod describe;
mod diff;
mod explain;
mod graph;
mod notation;
mod policy;
mod regions;
mod schema;
mod simulate;
mod starter;
mod text;
mod trial;
mod zone;

pub use cases::{
    CASES_KIND, Case, CaseResult, Cases, CasesResult, Event, approval_facts, is_cases, parse_cases,
    run_cases, told_facts,
};
pub use check::check;
pub use compile::{
    AgentEntry, AnyRule, ApprovalInfo, Authored, Compiled, DigestEntry, Due, FactKind, HostEntry,
    Layout, MAX_NETWORKS, MAX_PATHS, MAX_PORTS, MAX_RULES, MAX_TOOLS, NO_LIST, Need, NetworkEntry,
    Objects, PathEntry, PathKind, Place, PortEntry, RuleSource, Speech, Spoken, ToolTables,
};
pub use crd::{REPORT_KIND, crds};
pub use demand::not_enforced;
pub use describe::{Description, Paragraph, describe};
pub use diff::{Change, Difference, diff};
pub use explain::{Explanation, Speaker, explain};
pub use graph::{Graph, graph};
pub use notation::ActionError;
pub use policy::{
    API_VERSION, Approval, Argument, Block, Chain, Common, Container, Destination, Direction,
    Effect, EgressRule, End, Engine, ExecRule, Fact, FileRule, Gateway, Grant, Host, Hours,
    Identity, Image, KIND, Limit, LimitKind, Lookups, MinEnforcement, Mode, Network, OnChange,
    OnDeviation, Owner, PROFILE_KIND, Pace, Pattern, Pod, Policy, PortRange, Profiles, Protocol,
    Recognised, RecordKind, RevokeOn, Stage, Step, Tool, UNKNOWN_HISTORY, Word, bytes_of,
    check_expression, parse, parse_with, program_digest,
};
pub use schema::schema;
pub use simulate::{Recorded, SimulateError, Simulation, Time};
pub use starter::{Answers, starter};
pub use text::{Diagnostic, Diagnostics, MAX_BYTES, MAX_DEPTH, MAX_NODES, Severity, Span};
pub use trial::{Action, Instant, Outcome, Trial};
