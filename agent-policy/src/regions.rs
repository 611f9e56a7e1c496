//! The rules of policies cut the objects that actions have into regions, in each of which the same
//! rules speak. One action of each stands for all.

use std::collections::BTreeSet;

use agent_common::egress::{Endpoint, TCP, UDP};
use agent_common::path::Access;

use crate::compile::{AnyRule, Authored};
use crate::policy::{Argument, Destination, Direction, EgressRule, Network, Pattern};
use crate::text::Span;
use crate::trial::Action;

/// Actions at most.
pub(crate) const MAX_ACTIONS: usize = 50_000;

/// One action of every region, and whether none was left out.
pub(crate) fn actions(rules: &[Authored<'_>]) -> (Vec<Action>, bool) {
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
    let (names, ports) = hosts(rules);
    for name in &names {
        for port in &ports {
            for protocol in [TCP, UDP] {
                add(Action::Host {
                    name: name.clone(),
                    port: *port,
                    protocol,
                });
            }
        }
    }
    for (to, _) in rules.iter().flat_map(destinations) {
        if let Destination::Agent(name) = to {
            add(Action::Agent(name.clone()));
        }
    }
    let paths = paths(rules);
    let arguments: BTreeSet<Vec<String>> = rules.iter().flat_map(example_arguments).collect();
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

/// Where a rule for egress leads.
fn destinations<'p>(rule: &Authored<'p>) -> &'p [(Destination, Span)] {
    match rule.rule {
        AnyRule::Egress(rule) => &rule.to,
        AnyRule::Exec(_) | AnyRule::File(_) => &[],
    }
}

/// A name of every region of names, and where regions of their ports begin.
fn hosts(rules: &[Authored<'_>]) -> (BTreeSet<String>, BTreeSet<u16>) {
    let mut named = BTreeSet::new();
    let mut below = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for rule in rules {
        for (to, _) in destinations(rule) {
            if let (Destination::Host(host), AnyRule::Egress(rule)) = (to, rule.rule) {
                let names = if host.below { &mut below } else { &mut named };
                names.insert(host.name.clone());
                add_ports(rule, &mut ports);
            }
        }
    }
    for domain in below {
        let examples = (0..).map(|i: u32| match i {
            0 => format!("example.{domain}"),
            i => format!("example{i}.{domain}"),
        });
        // Not one that has rules of its own.
        let free = examples
            .take(MAX_ACTIONS)
            .find(|name| !named.contains(name));
        named.extend(free);
    }
    (named, ports)
}

fn add_ports(rule: &EgressRule, ports: &mut BTreeSet<u16>) {
    for range in &rule.ports {
        ports.insert(range.first.max(1));
        ports.extend(range.last.checked_add(1));
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
        add_ports(rule, &mut ports);
    }
    if any {
        Network::WALLS.iter().for_each(region);
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
            Pattern::Abstract(name) => {
                paths.insert(format!("@{name}"));
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

/// Arguments that a rule speaks of: as short as they can be, and longer where they may be.
fn example_arguments(rule: &Authored<'_>) -> Vec<Vec<String>> {
    let AnyRule::Exec(rule) = rule.rule else {
        return Vec::new();
    };
    let shortest = |argument: &Argument| argument.text.clone();
    let longer = |argument: &Argument| match argument.prefix {
        true => format!("{}example", argument.text),
        false => argument.text.clone(),
    };
    let both = [
        in_place(&rule.arguments, shortest),
        in_place(&rule.arguments, longer),
    ];
    both.into_iter().flatten().collect()
}

/// The arguments that have a place in theirs, then the others.
fn in_place(wanted: &[Argument], text: impl Fn(&Argument) -> String) -> Option<Vec<String>> {
    let mut arguments: Vec<String> = Vec::new();
    for argument in wanted {
        let Some(at) = argument.at else {
            continue;
        };
        let at = at as usize;
        if arguments.len() < at {
            arguments.resize(at, "x".to_owned());
        }
        *arguments.get_mut(at.checked_sub(1)?)? = text(argument);
    }
    let anywhere = wanted.iter().filter(|argument| argument.at.is_none());
    arguments.extend(anywhere.map(text));
    (!arguments.is_empty()).then_some(arguments)
}
