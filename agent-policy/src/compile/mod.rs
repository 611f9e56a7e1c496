//! From a policy to the tables that the kernel looks up.

mod authored;
mod digest;
mod egress;
mod host;
mod json;
mod late;
mod layout;
mod list;
mod narrow;
mod need;
mod path;
mod plan;
mod ports;
mod set;
mod speech;
mod tables;

use std::sync::Arc;

use agent_common::decide::Rule;
use agent_common::egress::Endpoint;
use agent_common::policy::PolicyHead;
use agent_common::terms::Terms;

use crate::policy::{
    Argument, End, Gateway, Grant, Lookups, MinEnforcement, Mode, OnChange, Policy, Recognised,
    UNKNOWN_HISTORY, privilege_mask,
};
use crate::text::{Diagnostics, Severity, Span};

pub use agent_common::decide::NO_LIST;
pub use agent_common::policy::MAX_TOOLS;
pub use authored::{AnyRule, Authored, Place};
pub use host::HostEntry;
pub(crate) use host::set_of as host_set;
pub use late::Due;
pub use layout::Layout;
pub use need::Need;
pub use path::{MAX_PATHS, PathEntry, PathKind};
pub use plan::{ApprovalInfo, FactKind};
pub use speech::{Speech, Spoken};
pub use tables::{AgentEntry, DigestEntry, Objects, ToolTables};

/// Compiled rules of one policy.
pub const MAX_RULES: usize = 16_384;
/// Networks of one compiled policy.
pub const MAX_NETWORKS: usize = 32_768;
/// Port prefixes of one compiled policy.
pub const MAX_PORTS: usize = 65_536;

/// A network of the folded address space and the port set that holds in it. The longest prefix
/// that contains an address decides; no prefix means no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkEntry {
    /// Bits that count, from 0 to 128.
    pub prefix_len: u8,
    /// The folded address; bits beyond the prefix are zero.
    pub address: [u8; 16],
    /// The port set.
    pub set: u32,
}

/// Ports of a set that share a list of rules. The longest prefix that contains a port decides; no
/// prefix means no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortEntry {
    /// The set.
    pub set: u32,
    /// The IP protocol.
    pub protocol: u8,
    /// The port; bits beyond the prefix are zero.
    pub port: u16,
    /// Bits that count, from 0 to 16.
    pub prefix_len: u8,
    /// Where the list begins in [`Compiled::rules`].
    pub rule: u32,
}

/// Where a compiled rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSource {
    /// The file: the policy's, or a profile's.
    pub file: Arc<str>,
    /// The place in the file.
    pub span: Span,
    /// The rule in words.
    pub text: String,
    /// The name that its author gave it.
    pub id: Option<String>,
    /// The step that its actions perform.
    pub step: Option<String>,
    /// What its author says to whoever it denies.
    pub because: Option<String>,
}

/// A policy as the kernel looks it up. Set and rule numbers count from 0 within the policy. A list
/// is a run of rules, of which all but the last have [`Rule::MORE`]; `number` is the index of the
/// author's rule in `sources`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The agent's name.
    pub name: String,
    /// The file the policy came from, as it was named to [`crate::parse`].
    pub file: Arc<str>,
    /// Who answers for the agent.
    pub owner: String,
    /// SHA-256 of everything the policy says, whatever its layout and comments.
    pub digest: [u8; 32],
    /// Networks that the agent may connect to, sorted.
    pub networks: Vec<NetworkEntry>,
    /// Port prefixes of all scopes, sorted.
    pub ports: Vec<PortEntry>,
    /// Lists of rules, one after the other.
    pub rules: Vec<Rule>,
    /// For each author's rule its place and words.
    pub sources: Vec<RuleSource>,
    /// What else the agent may do.
    pub objects: Objects,
    /// Tools, in the order of their numbers.
    pub tools: Vec<ToolTables>,
    /// Timers, limits and hours.
    pub terms: Terms,
    /// For each window its time zone, by which the loader sets the offset.
    pub zones: Vec<String>,
    /// What each bit of the fact word stands for.
    pub facts: Vec<FactKind>,
    /// The places of facts, timers, limits and tools, by names that other versions share.
    pub layout: Layout,
    /// Facts that are set when a session starts; their timers start then.
    pub initial_facts: u64,
    /// Whether a first process that does not end with exit code 0 has failed the chain.
    pub failed_by_exit: bool,
    /// Whether a step that comes too late has failed the chain.
    pub failed_by_timeout: bool,
    /// Steps that must come in time.
    pub due: Vec<Due>,
    /// Approvals that can be asked for.
    pub approvals: Vec<ApprovalInfo>,
    /// Arguments, by the bit of their trait.
    pub arguments: Vec<Argument>,
    /// How its sessions are recognised.
    pub recognised: Vec<Recognised>,
    /// How sessions end.
    pub end: End,
    /// Whether the policy is held or watched.
    pub mode: Mode,
    /// The weakest enforcement it accepts.
    pub min_enforcement: MinEnforcement,
    /// What becomes of running sessions when this version comes.
    pub on_change: OnChange,
    /// Whether its sessions need a grant.
    pub grant: Grant,
    /// Where its connections go instead.
    pub gateway: Option<Gateway>,
    /// What may be looked up.
    pub lookups: Lookups,
    sets: u32,
}

impl Compiled {
    /// The digest in hexadecimal.
    pub fn digest_hex(&self) -> String {
        hex::encode(self.digest)
    }

    /// The facts that hold.
    pub fn held(&self, facts: u64) -> impl Iterator<Item = &FactKind> {
        let held = (0..u64::BITS).filter(move |bit| facts >> bit & 1 != 0);
        held.filter_map(|bit| self.facts.get(bit as usize))
    }

    /// The fact of a session whose processes ran before anybody watched them; none where the
    /// policy does not know it.
    pub fn unknown_history(&self) -> u64 {
        let known = |kind: &FactKind| *kind == FactKind::Own(UNKNOWN_HISTORY.to_owned());
        self.facts.iter().position(known).map_or(0, |bit| 1 << bit)
    }

    /// Port sets, counted.
    pub fn sets(&self) -> u32 {
        self.sets
    }

    /// The terms with the offsets that the time zones have at a second since 1970. A zone changes
    /// its offset in summer and winter, so the loader asks again when the hour has changed.
    pub fn terms_at(&self, wall_s: u64) -> Terms {
        let mut terms = self.terms;
        for (window, zone) in terms.windows.iter_mut().zip(&self.zones) {
            window.offset_s = crate::zone::offset_s(zone, wall_s).unwrap_or(0);
        }
        terms
    }

    /// What is looked up for the agent itself, and for each of its tools.
    pub fn scopes(&self) -> impl Iterator<Item = &Objects> {
        std::iter::once(&self.objects).chain(self.tools.iter().map(|tool| &tool.objects))
    }

    /// Whether rules name programs by their digests.
    pub fn has_digests(&self) -> bool {
        self.scopes().any(|scope| !scope.digests.is_empty())
    }

    /// Whether rules name hosts.
    pub fn has_names(&self) -> bool {
        self.scopes().any(|scope| !scope.hosts.is_empty())
    }

    /// Whether it takes a resolver or a relay.
    pub fn is_diverted(&self) -> bool {
        self.has_names() || self.gateway.is_some()
    }

    /// What its rules say of names.
    pub fn speech(&self) -> Speech {
        Speech::of(self)
    }

    /// The rules of a list.
    fn list(&self, list: u32) -> impl Iterator<Item = Rule> {
        (0..)
            .map_while(move |i| self.rule_at(list, i))
            .scan(true, |more, rule| {
                std::mem::replace(more, rule.flags & Rule::MORE != 0).then_some(rule)
            })
    }

    /// What holds for the policy as a whole.
    pub fn head(&self) -> PolicyHead {
        let mut head = PolicyHead {
            privileges: self.objects.privileges,
            digests: u32::from(self.has_digests()),
            names: u32::from(self.has_names()),
            ..PolicyHead::NONE
        };
        for (given, tool) in head.tools.iter_mut().zip(&self.tools) {
            *given = tool.objects.privileges;
        }
        head
    }

    /// The i-th rule of a list.
    pub fn rule_at(&self, list: u32, i: u32) -> Option<Rule> {
        self.rules.get(list.checked_add(i)? as usize).copied()
    }

    /// The list that speaks of an endpoint: one longest-prefix lookup for the address, one for the
    /// port, as the kernel does.
    pub fn list_for_endpoint(&self, networks: &[NetworkEntry], endpoint: &Endpoint) -> Option<u32> {
        let address = u128::from_be_bytes(endpoint.address);
        // The table is sorted by length and then by address.
        let network = (0..=128u8).rev().find_map(|prefix_len| {
            let masked = (address & crate::policy::mask(prefix_len)).to_be_bytes();
            let found = networks.binary_search_by(|entry| {
                (entry.prefix_len, entry.address).cmp(&(prefix_len, masked))
            });
            networks.get(found.ok()?)
        })?;
        self.list_for_port(network.set, endpoint.protocol, endpoint.port)
    }

    /// The list that speaks of a port of a set.
    pub(crate) fn list_for_port(&self, set: u32, protocol: u8, port: u16) -> Option<u32> {
        list_for_port(&self.ports, set, protocol, port)
    }
}

/// The list that speaks of a port of a set: that of the longest prefix. `ports` are sorted.
fn list_for_port(ports: &[PortEntry], set: u32, protocol: u8, port: u16) -> Option<u32> {
    let in_set = |entry: &&PortEntry| {
        let mask = u16::MAX
            .checked_shl(16 - u32::from(entry.prefix_len))
            .unwrap_or(0);
        entry.protocol == protocol && (entry.port ^ port) & mask == 0
    };
    let first = ports.partition_point(|entry| entry.set < set);
    let of_set = ports
        .get(first..)?
        .iter()
        .take_while(|entry| entry.set == set);
    of_set
        .filter(in_set)
        .max_by_key(|entry| entry.prefix_len)
        .map(|entry| entry.rule)
}

impl Policy {
    /// Compiles the policy. The same policy gives the same tables and the same digest everywhere.
    pub fn compile(&self) -> Result<Compiled, Diagnostics> {
        let authored = self.authored();
        self.bound("tools", self.tools.len(), MAX_TOOLS)?;
        self.bound("rules", authored.len(), MAX_RULES)?;
        authored::distinct(&authored)?;
        narrow::check(self, &authored)?;
        let plan = plan::Plan::new(self, &authored)?;
        let mut lists = list::Lists::new(self, &authored, &plan);
        let mut sets = set::Sets::default();
        let numbered = || (0u32..).zip(authored.iter().copied());
        let agent: Vec<(u32, Authored<'_>)> = numbered()
            .filter(|(_, rule)| !matches!(rule.place, Place::Tool(_)))
            .collect();
        let (networks, mut objects) = tables::compile(self, &agent, &mut lists, &mut sets)?;
        objects.privileges = privilege_mask(&self.privileges);
        let mut tools = Vec::new();
        for (i, tool) in self.tools.iter().enumerate() {
            let own: Vec<(u32, Authored<'_>)> = numbered()
                .filter(|(_, rule)| rule.place == Place::Tool(i))
                .collect();
            let (networks, mut objects) = tables::compile(self, &own, &mut lists, &mut sets)?;
            objects.privileges = privilege_mask(&tool.privileges);
            tools.push(ToolTables {
                name: tool.name.clone(),
                networks,
                objects,
            });
        }
        let sources = authored.iter().map(|rule| self.source_of(rule));
        let due = plan.due();
        let mut compiled = Compiled {
            name: self.name.clone(),
            file: self.source.name().clone(),
            owner: self.owner.name.clone(),
            digest: [0; 32],
            networks,
            sets: sets.count(),
            ports: sets.into_entries(),
            rules: lists.table,
            sources: sources.collect(),
            objects,
            tools,
            terms: plan.terms,
            zones: plan.zones,
            facts: plan.facts,
            layout: Layout {
                tools: self.tools.iter().map(|tool| tool.name.clone()).collect(),
                ..plan.layout
            },
            initial_facts: plan.initial_facts,
            failed_by_exit: self.chain.is_failed_by("exit"),
            failed_by_timeout: self.chain.is_failed_by("timeout"),
            due,
            approvals: plan.approvals,
            arguments: plan.arguments,
            recognised: self.recognised.clone(),
            end: self.end.clone(),
            mode: self.mode,
            min_enforcement: self.min_enforcement,
            on_change: self.on_change,
            grant: self.grant,
            gateway: self.rules.via.clone(),
            lookups: match &self.rules.lookups {
                Some((lookups, _)) => lookups.clone(),
                None => Lookups::default(),
            },
        };
        compiled.digest = digest::of(self, &compiled);
        Ok(compiled)
    }

    fn source_of(&self, rule: &Authored<'_>) -> RuleSource {
        let common = rule.common();
        let step = match rule.place {
            Place::Step(at) => self.chain.steps().nth(at).map(|(_, step)| step),
            _ => None,
        };
        let by_step = || step.and_then(|step| step.because.clone());
        RuleSource {
            file: common.source.name().clone(),
            span: common.span,
            text: rule.to_string(),
            id: common.id.clone(),
            step: step.map(|step| step.name.clone()),
            because: common.because.clone().or_else(by_step),
        }
    }

    fn bound(&self, what: &str, found: usize, most: usize) -> Result<(), Diagnostics> {
        if found <= most {
            return Ok(());
        }
        let message = format!(
            "found {found} {what} in the compiled policy of agent \"{}\", expected at most {most}",
            self.name
        );
        Err(self
            .source
            .diagnostic(Severity::Error, self.name_span, message)
            .with_help(
                "name wider networks, paths and port ranges, or split the agent into several",
            )
            .into())
    }
}
