//! A session without a kernel: actions are judged by the compiled tables and the same functions that
//! the kernel programs call, and their effects are kept.

use agent_common::decide::{
    Circumstances, Reason, Standing, TRAIT_DIRECT, TRAIT_WRITABLE, Verdict, Weighing, ask, ask_list,
};
use agent_common::egress::{self, Endpoint, TCP};
use agent_common::path::Access;
use agent_common::privilege::Privilege;
use agent_common::session::Session;
use agent_common::terms::Progress;

use crate::compile::{Compiled, NetworkEntry, Objects, host_set};

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

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the action.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The session's facts afterwards; what has expired is clear.
    pub facts: u64,
    /// The rule's number, where a rule spoke.
    pub number: u32,
    /// The tool that begins, counted from 1; 0 for none.
    pub tool: u8,
    /// Whether the session's permission ends with this.
    pub revoke: bool,
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
    flags: u32,
    progress: Progress,
}

impl<'c> Trial<'c> {
    /// A session that starts at a point of time.
    pub fn start(compiled: &'c Compiled, at: Instant) -> Self {
        let mut trial = Self {
            compiled,
            flags: 0,
            progress: Progress::START,
        };
        trial.set_facts(compiled.initial_facts, at);
        trial
    }

    /// The facts that hold.
    pub fn facts(&self, at: Instant) -> u64 {
        self.compiled.terms.live_facts(&self.progress, at.now_ns)
    }

    /// Sets facts, as the daemon does when an approval is given. Their timers start.
    pub fn set_facts(&mut self, facts: u64, at: Instant) {
        self.progress
            .set_facts(facts, &self.compiled.terms, at.now_ns);
    }

    /// The lists that speak of an action for the agent, or inside a tool.
    pub(crate) fn lists(&self, action: &Action, tool: Option<usize>) -> (Vec<u32>, u32) {
        self.looked_up(action, tool)
    }

    /// Whether the session's permission has ended.
    pub fn is_revoked(&self) -> bool {
        self.flags & Session::REVOKED != 0
    }

    /// Ends the session's permission.
    pub fn revoke(&mut self) {
        self.flags |= Session::REVOKED;
    }

    /// Judges an action without its effects. Inside a tool, counted from 0, both the agent's tables
    /// and the tool's must allow.
    pub fn judge(&self, action: &Action, tool: Option<usize>, at: Instant, bytes: u64) -> Outcome {
        let weighing = self.weigh(action, tool, at, bytes);
        outcome(&weighing)
    }

    /// Judges an action and keeps its effects.
    pub fn attempt(
        &mut self,
        action: &Action,
        tool: Option<usize>,
        at: Instant,
        bytes: u64,
    ) -> Outcome {
        let weighing = self.weigh(action, tool, at, bytes);
        if weighing.changes(&self.progress) {
            weighing.apply(&mut self.progress, &self.compiled.terms);
        }
        let outcome = outcome(&weighing);
        let late = outcome.decision.reason == Reason::Revoked;
        if late || outcome.decision.revoke || weighing.completes(&self.compiled.terms) {
            self.revoke();
        }
        outcome
    }

    /// Whether the session's permission has ended because a step is too late. On a host the daemon sees to that, each
    /// second.
    pub fn is_late(&self, at: Instant) -> bool {
        self.compiled.is_late(&self.progress, at.now_ns)
    }

    fn weigh(&self, action: &Action, tool: Option<usize>, at: Instant, bytes: u64) -> Weighing {
        let compiled = self.compiled;
        let flags = if self.is_late(at) {
            Session::REVOKED
        } else {
            self.flags
        };
        let terms = compiled.terms_at(at.wall_s);
        let standing = Standing {
            terms: &terms,
            progress: &self.progress,
        };
        let mut weighing = Weighing::EMPTY;
        if let Action::Privilege(privilege) = action {
            weighing.begin(
                flags,
                standing,
                Circumstances {
                    now_ns: at.now_ns,
                    ..Circumstances::default()
                },
            );
            let head = compiled.head();
            let tool = tool.map_or(0, |tool| u8::try_from(tool + 1).unwrap_or(u8::MAX));
            let number = privilege.wire();
            (weighing.verdict, weighing.reason) = (Verdict::Allow.wire(), Reason::Rule.wire());
            if let Some(reason) = head.refusal(flags, number, tool) {
                (weighing.verdict, weighing.reason) = (Verdict::Deny.wire(), reason.wire());
                let agent_may = head.refusal(flags, number, 0).is_none();
                let is_tools = agent_may || Privilege::is_of_program(number) && tool != 0;
                weighing.scope = u8::from(is_tools);
            }
            weighing.finish(&terms);
            return weighing;
        }
        for scope in std::iter::once(None).chain(tool.map(Some)) {
            let (lists, traits) = self.looked_up(action, scope);
            if scope.is_none() {
                let circumstances = Circumstances {
                    now_ns: at.now_ns,
                    wall_s: at.wall_s,
                    traits,
                    bytes,
                };
                weighing.begin(flags, standing, circumstances);
            } else {
                weighing.next_scope();
            }
            ask(lists.into_iter(), |list| {
                ask_list(list, |index| match compiled.rules.get(index as usize) {
                    Some(rule) => weighing.consider(standing, rule),
                    None => weighing.unreadable(),
                })
            });
            if !weighing.allows() {
                break;
            }
        }
        weighing.finish(&terms);
        weighing
    }

    /// The lists that speak of an action for the agent, or inside a tool, and the action's traits.
    fn looked_up(&self, action: &Action, tool: Option<usize>) -> (Vec<u32>, u32) {
        let compiled = self.compiled;
        match tool.and_then(|tool| compiled.tools.get(tool)) {
            Some(tool) => lookup(compiled, &tool.networks, &tool.objects, action),
            None => lookup(compiled, &compiled.networks, &compiled.objects, action),
        }
    }
}

/// What a weighing says to people.
fn outcome(weighing: &Weighing) -> Outcome {
    let in_tool = weighing.scope > 0;
    let allowed = weighing.allows();
    Outcome {
        decision: Decision {
            verdict: Verdict::from_wire(weighing.verdict).unwrap_or(Verdict::Deny),
            reason: Reason::from_wire(weighing.reason).unwrap_or(Reason::Unreadable),
            facts: weighing.facts,
            number: if allowed {
                weighing.numbers[0]
            } else {
                weighing.number()
            },
            tool: weighing.tool,
            revoke: weighing.flags & Weighing::REVOKE != 0,
        },
        by_tool: in_tool && !allowed,
        tool_rule: (in_tool && allowed).then(|| weighing.number()),
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
        Action::Connect(endpoint) => (
            one(compiled.list_for_endpoint(networks, endpoint)),
            egress::traits(endpoint, false),
        ),
        Action::Listen(endpoint) => (
            one(compiled.list_for_endpoint(&objects.listen, endpoint)),
            0,
        ),
        Action::Host {
            name,
            port,
            protocol,
        } => {
            let set = host_set(&objects.hosts, name);
            let list = set.and_then(|set| compiled.list_for_port(set, *protocol, *port));
            let traits = if *protocol == TCP { 0 } else { TRAIT_DIRECT };
            (one(list), traits)
        }
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
