//! What a change of a policy allows and denies, each with an action that shows it.
//!
//! The rules of both policies cut the objects into regions; one action of each region is judged by
//! both. Within the stated number of actions the comparison leaves no region out.

use std::collections::BTreeSet;

use agent_common::decide::{Rule, Verdict};
use agent_common::egress::{Endpoint, TCP, UDP};
use agent_common::path::Access;
use agent_common::privilege::Privilege;
use serde::Serialize;

use crate::compile::{AnyRule, Authored, Compiled, Place};
use crate::policy::{Destination, Direction, Network, Pattern, Policy};
use crate::trial::{Action, Instant, Trial};

/// Actions that are compared at most.
const MAX_ACTIONS: usize = 50_000;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// An action that shows it.
    pub example: String,
    /// What the old policy says of it.
    pub old: String,
    /// What the new one says.
    pub new: String,
}

/// The differences of two policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// What could never be done, and now can, perhaps under conditions.
    pub becomes_allowed: Vec<Change>,
    /// What could be done, and now never can.
    pub becomes_denied: Vec<Change>,
    /// What can be done under other conditions.
    pub conditions_change: Vec<Change>,
    /// Whether every region was compared.
    pub complete: bool,
}

/// Compares two policies.
pub fn diff(old: (&Policy, &Compiled), new: (&Policy, &Compiled)) -> Difference {
    let rules: Vec<Authored<'_>> = old
        .0
        .authored()
        .into_iter()
        .chain(new.0.authored())
        .collect();
    let (mut actions, complete) = actions(&rules);
    actions.extend(Privilege::ALL.iter().copied().map(Action::Privilege));
    let mut difference = Difference {
        complete,
        ..Difference::default()
    };
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    let tools: BTreeSet<&str> = old
        .0
        .tools
        .iter()
        .chain(&new.0.tools)
        .map(|tool| tool.name.as_str())
        .collect();
    let scopes = std::iter::once(None).chain(tools.into_iter().map(Some));
    let sides = [old, new].map(|(policy, compiled)| Side {
        policy,
        compiled,
        authored: policy.authored(),
        trial: Trial::start(compiled, Instant::default()),
    });
    for scope in scopes {
        for action in &actions {
            let [before, after] = [&sides[0], &sides[1]].map(|side| attitude(side, scope, action));
            if before.words == after.words {
                continue;
            }
            let kind = match (before.possible, after.possible) {
                (false, false) => continue,
                (false, true) => &mut difference.becomes_allowed,
                (true, false) => &mut difference.becomes_denied,
                (true, true) => &mut difference.conditions_change,
            };
            // One example is enough for the same change.
            let key = (format!("{scope:?} {}", before.words), after.words.clone());
            if seen.insert(key) {
                let inside = scope.map_or(String::new(), |tool| format!(" (in tool {tool})"));
                kind.push(Change {
                    example: format!("{action}{inside}"),
                    old: before.words,
                    new: after.words,
                });
            }
        }
    }
    difference
}

/// What a policy says of an action: whether it can ever be allowed, and the conditions.
struct Attitude {
    possible: bool,
    words: String,
}

/// One of the policies that are compared.
struct Side<'p> {
    policy: &'p Policy,
    compiled: &'p Compiled,
    authored: Vec<Authored<'p>>,
    trial: Trial<'p>,
}

fn attitude(side: &Side<'_>, scope: Option<&str>, action: &Action) -> Attitude {
    let Side {
        policy,
        compiled,
        authored,
        trial,
    } = side;
    let tool = scope.and_then(|name| policy.tools.iter().position(|tool| tool.name == name));
    if scope.is_some() && tool.is_none() {
        return Attitude {
            possible: false,
            words: "no such tool".to_owned(),
        };
    }
    if let Action::Privilege(_) = action {
        let decision = trial.judge(action, tool, Instant::default(), 0).decision;
        return Attitude {
            possible: decision.verdict == Verdict::Allow,
            // The action stands in the words so that each privilege is told.
            words: format!("{} ({action})", decision.verdict),
        };
    }
    let agent = rules(compiled, trial, action, None);
    let all: Vec<Vec<Rule>> = match tool {
        None => vec![agent],
        Some(_) => vec![agent, rules(compiled, trial, action, tool)],
    };
    let mut possible = true;
    let mut words = Vec::new();
    for rules in all {
        possible &= rules
            .iter()
            .any(|rule| rule.verdict == Verdict::Allow.wire());
        let mut told: Vec<String> = Vec::new();
        for rule in rules {
            let Some(author) = authored.get(rule.number as usize) else {
                continue;
            };
            let place = match author.place {
                Place::Step(i) => {
                    policy
                        .chain
                        .steps()
                        .nth(i)
                        .map_or(String::new(), |(stage, step)| {
                            let order = crate::describe::order(policy, stage, step);
                            format!(
                                " as step \"{}\" ({})",
                                step.name,
                                order.trim_end_matches('.')
                            )
                        })
                }
                _ => String::new(),
            };
            let text = format!(
                "{}{place}{}",
                author.common().effect.word(),
                crate::describe::conditions(author.common())
            );
            if !told.contains(&text) {
                told.push(text);
            }
        }
        words.push(match told.is_empty() {
            true => "deny (no rule)".to_owned(),
            false => told.join(", else "),
        });
    }
    Attitude {
        possible,
        words: words.join("; and the tool: "),
    }
}

/// The rules that are asked about an action, those whose arguments differ left out.
fn rules(
    compiled: &Compiled,
    trial: &Trial<'_>,
    action: &Action,
    tool: Option<usize>,
) -> Vec<Rule> {
    let (lists, traits) = trial.lists(action, tool);
    let mut rules = Vec::new();
    for list in lists {
        let mut claimed = false;
        for rule in (0..).map_while(|i| compiled.rule_at(list, i)) {
            if traits & rule.traits == rule.traits {
                rules.push(rule);
                let allows = rule.verdict == Verdict::Allow.wire();
                claimed |= allows;
                // Nothing behind a denial without conditions is ever asked.
                if !allows && rule.require == 0 && rule.forbid == 0 && rule.window == 0 {
                    return rules;
                }
            }
            if rule.flags & Rule::MORE == 0 || (claimed && rule.flags & Rule::LEVEL_END != 0) {
                break;
            }
        }
        if claimed {
            break;
        }
    }
    rules
}

/// One action of every region, and whether none was left out.
fn actions(rules: &[Authored<'_>]) -> (Vec<Action>, bool) {
    let mut actions = BTreeSet::new();
    let mut out = Vec::new();
    let mut complete = true;
    let mut add = |action: Action| {
        if out.len() >= MAX_ACTIONS {
            complete = false;
        } else if actions.insert(format!("{action} {action:?}")) {
            out.push(action);
        }
    };
    for direction in [Direction::Egress, Direction::Listen] {
        let (addresses, ports) = corners(rules, direction);
        for address in &addresses {
            for port in &ports {
                for protocol in [TCP, UDP] {
                    let family = if agent_common::egress::is_v4(address) {
                        2
                    } else {
                        10
                    };
                    let endpoint = Endpoint {
                        address: *address,
                        port: *port,
                        protocol,
                        family,
                    };
                    add(match direction {
                        Direction::Egress => Action::Connect(endpoint),
                        Direction::Listen => Action::Listen(endpoint),
                    });
                }
            }
        }
    }
    for rule in rules {
        if let AnyRule::Egress(rule) = rule.rule {
            for (to, _) in &rule.to {
                match to {
                    Destination::Host(host) => {
                        let below = if host.below { "example." } else { "" };
                        let name = format!("{below}{}", host.name);
                        for port in rule.ports.iter().map(|range| range.first.max(1)) {
                            for protocol in [TCP, UDP] {
                                add(Action::Host {
                                    name: name.clone(),
                                    port,
                                    protocol,
                                });
                            }
                        }
                    }
                    Destination::Agent(name) => add(Action::Agent(name.clone())),
                    Destination::Network(_) | Destination::Unix(_) => {}
                }
            }
        }
    }
    let paths = paths(rules);
    let arguments: BTreeSet<Vec<String>> = rules.iter().filter_map(example_arguments).collect();
    let digests: BTreeSet<Option<[u8; 32]>> =
        rules.iter().flat_map(digests).chain([None]).collect();
    for path in &paths {
        for access in Access::ALL {
            if *access != Access::Exec {
                add(Action::File {
                    path: path.clone(),
                    access: *access,
                });
                continue;
            }
            for arguments in std::iter::once(&Vec::new()).chain(&arguments) {
                for digest in &digests {
                    let arguments = std::iter::once(path).chain(arguments).cloned().collect();
                    add(Action::Exec {
                        path: path.clone(),
                        digest: *digest,
                        arguments,
                        writable: false,
                    });
                }
            }
        }
    }
    (out, complete)
}

fn digests(rule: &Authored<'_>) -> Vec<Option<[u8; 32]>> {
    match rule.rule {
        AnyRule::Exec(rule) => rule
            .digests
            .iter()
            .map(|(digest, _)| Some(*digest))
            .collect(),
        _ => Vec::new(),
    }
}

/// Where regions of addresses and ports begin.
fn corners(rules: &[Authored<'_>], direction: Direction) -> (BTreeSet<[u8; 16]>, BTreeSet<u16>) {
    let mut addresses = BTreeSet::new();
    let mut ports = BTreeSet::new();
    let mut region = |network: &Network| {
        let first = u128::from_be_bytes(network.address());
        let size = 1u128.checked_shl(128 - u32::from(network.prefix_len()));
        let behind = size.and_then(|size| first.checked_add(size));
        // The unspecified address is no destination; the first one behind it is.
        let unspecified = first == 0 || first == 0xffff << 32;
        let first = if unspecified && direction == Direction::Egress {
            first + 1
        } else {
            first
        };
        addresses.extend(
            [Some(first), behind]
                .into_iter()
                .flatten()
                .map(u128::to_be_bytes),
        );
    };
    let mut any = false;
    for rule in rules {
        let AnyRule::Egress(rule) = rule.rule else {
            continue;
        };
        if rule.direction != direction {
            continue;
        }
        for (to, _) in &rule.to {
            if let Destination::Network(network) = to {
                region(network);
                any = true;
            }
        }
        for range in &rule.ports {
            ports.insert(range.first.max(1));
            ports.extend(range.last.checked_add(1));
        }
    }
    if any {
        region(&Network::LOOPBACK_V4);
        region(&Network::LOOPBACK_V6);
    }
    (addresses, ports)
}

/// Paths of every combination of a place and a name.
fn paths(rules: &[Authored<'_>]) -> BTreeSet<String> {
    let mut patterns: BTreeSet<&Pattern> = BTreeSet::new();
    for rule in rules {
        match rule.rule {
            AnyRule::File(rule) => patterns.extend(rule.paths.iter().map(|(pattern, _)| pattern)),
            AnyRule::Exec(rule) => {
                patterns.extend(rule.programs.iter().map(|(pattern, _)| pattern));
            }
            AnyRule::Egress(rule) => {
                patterns.extend(rule.to.iter().filter_map(|(to, _)| match to {
                    Destination::Unix(pattern) => Some(pattern),
                    _ => None,
                }));
            }
        }
    }
    let mut places = BTreeSet::from([""]);
    let mut names = BTreeSet::from(["example".to_owned()]);
    let mut paths = BTreeSet::new();
    for pattern in patterns {
        match pattern {
            Pattern::Exact(path) => {
                paths.insert(path.clone());
            }
            Pattern::Under(directory) => {
                places.insert(directory);
                paths.insert(if directory.is_empty() {
                    "/".to_owned()
                } else {
                    directory.clone()
                });
            }
            Pattern::Name(name) => {
                names.insert(name.clone());
            }
            Pattern::Extension(extension) => {
                names.insert(format!("example.{extension}"));
            }
        }
    }
    for place in places {
        paths.extend(names.iter().map(|name| format!("{place}/{name}")));
    }
    paths
}

/// Arguments that a rule speaks of.
fn example_arguments(rule: &Authored<'_>) -> Option<Vec<String>> {
    let AnyRule::Exec(rule) = rule.rule else {
        return None;
    };
    let mut arguments: Vec<String> = Vec::new();
    for argument in rule
        .arguments
        .iter()
        .filter(|argument| argument.at.is_some())
    {
        let at = argument.at? as usize;
        if arguments.len() < at {
            arguments.resize(at, "x".to_owned());
        }
        *arguments.get_mut(at.checked_sub(1)?)? = argument.text.clone();
    }
    arguments.extend(
        rule.arguments
            .iter()
            .filter(|argument| argument.at.is_none())
            .map(|argument| argument.text.clone()),
    );
    (!arguments.is_empty()).then_some(arguments)
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            ("becomes allowed", &self.becomes_allowed),
            ("becomes denied", &self.becomes_denied),
            ("conditions change", &self.conditions_change),
        ];
        let mut any = false;
        for (what, changes) in parts {
            for change in changes {
                writeln!(
                    f,
                    "{what}: {}\n  old: {}\n  new: {}",
                    change.example, change.old, change.new
                )?;
                any = true;
            }
        }
        if !any {
            writeln!(f, "no difference in what is allowed")?;
        }
        if self.complete {
            f.write_str("every kind of action was compared")
        } else {
            write!(
                f,
                "only the first {MAX_ACTIONS} kinds of action were compared"
            )
        }
    }
}
