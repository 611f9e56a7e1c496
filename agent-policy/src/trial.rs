//! A session without a kernel: actions are judged by the compiled tables and the same functions that
//! the kernel programs call, and their effects are kept.

use agent_common::decide::{Decision, Reason, TRAIT_WRITABLE, Verdict, View, decide_all};
use agent_common::egress::Endpoint;
use agent_common::path::Access;
use agent_common::policy::PolicyHead;
use agent_common::privilege::Privilege;
use agent_common::session::Session;
use agent_common::terms::{Progress, Terms};

use crate::compile::{Compiled, HostEntry, NetworkEntry, Objects};
use crate::policy::Host;

/// One operation of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A connection to an address, or a datagram.
    Connect(Endpoint),
    /// Binding or listening on an address.
    Listen(Endpoint),
    /// A connection to a host by name.
    Host {
        /// Its name.
        name: String,
        /// The port.
        port: u16,
        /// The IP protocol.
        protocol: u8,
    },
    /// A handoff to another agent.
    Agent(String),
    /// A use of a file; `Access::Connect` for a Unix socket.
    File {
        /// The absolute, resolved path.
        path: String,
        /// What is done.
        access: Access,
    },
    /// A program is executed.
    Exec {
        /// The absolute, resolved path of its file.
        path: String,
        /// SHA-256 of the file, where it is known.
        digest: Option<[u8; 32]>,
        /// The arguments, the program's own name first.
        arguments: Vec<String>,
        /// Whether the session can write the file.
        writable: bool,
    },
    /// An act that needs a privilege.
    Privilege(Privilege),
}

/// A point of time on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instant {
    /// Nanoseconds since boot.
    pub now_ns: u64,
    /// Seconds since 1970, UTC.
    pub wall_s: u64,
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The decision that counts.
    pub decision: Decision,
    /// Whether it is the tool's, and not the agent's.
    pub by_tool: bool,
    /// The tool's rule, where the agent and the tool both allowed.
    pub tool_rule: Option<u32>,
}

/// A session being tried.
#[derive(Clone, Debug)]
pub struct Trial<'c> {
    compiled: &'c Compiled,
    terms: Terms,
    session: Session,
    progress: Progress,
}

impl<'c> Trial<'c> {
    /// A session that starts at a point of time.
    pub fn start(compiled: &'c Compiled, at: Instant) -> Self {
        let mut trial = Self {
            compiled,
            terms: compiled.terms_at(at.wall_s),
            session: Session {
                id: 1,
                facts: 0,
                ..Session::FREE
            },
            progress: Progress::START,
        };
        trial.set_facts(compiled.initial_facts, at);
        trial
    }

    /// The facts that hold.
    pub fn facts(&self, at: Instant) -> u64 {
        self.compiled
            .terms
            .live_facts(self.session.facts, &self.progress, at.now_ns)
    }

    /// Sets facts, as the daemon does when an approval is given. Their timers start.
    pub fn set_facts(&mut self, facts: u64, at: Instant) {
        self.session.facts |= facts;
        for (timer, deadline) in self
            .compiled
            .terms
            .timers
            .iter()
            .zip(&mut self.progress.deadlines)
        {
            if timer.fact & facts != 0 {
                *deadline = at.now_ns.saturating_add(timer.lifetime_ns);
            }
        }
    }

    /// The lists that speak of an action for the agent, or inside a tool.
    pub(crate) fn lists(&self, action: &Action, tool: Option<usize>) -> (Vec<u32>, u32) {
        let compiled = self.compiled;
        match tool.and_then(|tool| compiled.tools.get(tool)) {
            Some(tool) => lookup(compiled, &tool.networks, &tool.objects, action),
            None => lookup(compiled, &compiled.networks, &compiled.objects, action),
        }
    }

    /// Ends the session's permission.
    pub fn revoke(&mut self) {
        self.session.flags |= Session::REVOKED;
    }

    /// Judges an action without its effects. Inside a tool, counted from 0, both the agent's tables
    /// and the tool's must allow.
    pub fn judge(&self, action: &Action, tool: Option<usize>, at: Instant, bytes: u64) -> Outcome {
        self.attempt_on_copy(action, tool, at, bytes).1
    }

    /// Judges an action and keeps its effects.
    pub fn attempt(
        &mut self,
        action: &Action,
        tool: Option<usize>,
        at: Instant,
        bytes: u64,
    ) -> Outcome {
        let (after, outcome) = self.attempt_on_copy(action, tool, at, bytes);
        *self = after;
        outcome
    }

    fn attempt_on_copy(
        &self,
        action: &Action,
        tool: Option<usize>,
        at: Instant,
        bytes: u64,
    ) -> (Self, Outcome) {
        let compiled = self.compiled;
        let mut after = self.clone();
        after.terms = compiled.terms_at(at.wall_s);
        let decision = after.apply(action, &compiled.networks, &compiled.objects, at, bytes);
        let mut outcome = Outcome {
            decision,
            by_tool: false,
            tool_rule: None,
        };
        let tool = tool.and_then(|tool| compiled.tools.get(tool));
        if let Some(tool) = tool
            && decision.verdict == Verdict::Allow
        {
            let inner = after.apply(action, &tool.networks, &tool.objects, at, bytes);
            if inner.verdict == Verdict::Allow {
                outcome.decision.facts = inner.facts;
                outcome.tool_rule = Some(inner.number);
            } else {
                after = self.clone();
                outcome = Outcome {
                    decision: inner,
                    by_tool: true,
                    tool_rule: None,
                };
                outcome.decision.facts = self.facts(at);
            }
        }
        if outcome.decision.revoke {
            after.revoke();
        }
        (after, outcome)
    }

    fn apply(
        &mut self,
        action: &Action,
        networks: &[NetworkEntry],
        objects: &Objects,
        at: Instant,
        bytes: u64,
    ) -> Decision {
        let compiled = self.compiled;
        if let Action::Privilege(privilege) = action {
            let head = PolicyHead::with(objects.privileges);
            let facts = self.facts(at);
            return match head.refusal(&self.session, privilege.wire()) {
                Some(reason) => Decision::deny(reason, facts),
                None => Decision {
                    verdict: Verdict::Allow,
                    ..Decision::deny(Reason::Rule, facts)
                },
            };
        }
        let (lists, traits) = lookup(compiled, networks, objects, action);
        let view = View {
            session: &self.session,
            progress: &self.progress,
            terms: &self.terms,
            now_ns: at.now_ns,
            wall_s: at.wall_s,
            traits,
            bytes,
        };
        let decision = decide_all(view, u32::try_from(lists.len()).unwrap_or(0), |list, i| {
            compiled.rule_at(*lists.get(list as usize)?, i)
        });
        self.session.facts = decision.facts;
        decision.apply(&mut self.progress, &compiled.terms, at.now_ns);
        decision
    }
}

/// The lists that speak of an action, and its traits.
fn lookup(
    compiled: &Compiled,
    networks: &[NetworkEntry],
    objects: &Objects,
    action: &Action,
) -> (Vec<u32>, u32) {
    let one = |list: Option<u32>| list.into_iter().collect();
    match action {
        Action::Connect(endpoint) => (one(compiled.list_for_endpoint(networks, endpoint)), 0),
        Action::Listen(endpoint) => (
            one(compiled.list_for_endpoint(&objects.listen, endpoint)),
            0,
        ),
        Action::Host {
            name,
            port,
            protocol,
        } => (hosts(&objects.hosts, name, *port, *protocol), 0),
        Action::Agent(name) => {
            let entry = objects.agents.iter().find(|entry| entry.name == *name);
            (one(entry.map(|entry| entry.list)), 0)
        }
        Action::File { path, access } => (objects.lists_for_path(path, *access), 0),
        Action::Exec {
            path,
            digest,
            arguments,
            writable,
        } => {
            let known = digest.and_then(|digest| {
                objects
                    .digests
                    .iter()
                    .find(|entry| entry.digest == digest)
                    .map(|entry| entry.list)
            });
            let mut lists: Vec<u32> = one(known);
            lists.extend(objects.lists_for_path(path, Access::Exec));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let mut traits = if *writable { TRAIT_WRITABLE } else { 0 };
            for (bit, argument) in compiled.arguments.iter().enumerate() {
                if argument.matches(&arguments) {
                    traits |= 1 << bit;
                }
            }
            (lists, traits)
        }
        // No rule speaks of it.
        Action::Privilege(_) => (Vec::new(), 0),
    }
}

/// The name itself, then the domains above it, the nearest first; of each the narrowest ports first.
fn hosts(entries: &[HostEntry], name: &str, port: u16, protocol: u8) -> Vec<u32> {
    let Ok(Host { name, below: false }) = Host::read(name) else {
        return Vec::new();
    };
    let mut lists = Vec::new();
    let mut add = |wanted: &str| {
        let mut found: Vec<&HostEntry> = entries
            .iter()
            .filter(|entry| entry.name == wanted && entry.ports.contains(port))
            .filter(|entry| entry.protocol.is_none_or(|own| own.number() == protocol))
            .collect();
        found.sort_by_key(|entry| entry.ports.last - entry.ports.first);
        lists.extend(found.iter().map(|entry| entry.list));
    };
    add(&name);
    let mut rest = name.as_str();
    while let Some((_, parent)) = rest.split_once('.') {
        add(&format!("*.{parent}"));
        rest = parent;
    }
    lists
}
