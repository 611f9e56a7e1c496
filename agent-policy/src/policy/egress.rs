//! Where an agent may connect and send.

use std::fmt;

use agent_common::egress::{TCP, UDP};

use crate::text::{Fields, Node, Reader, Span};

use super::network::Network;
use super::port::PortRange;

/// What a rule does with the actions it speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// They are denied.
    Deny,
    /// They are allowed.
    Allow,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Every protocol a policy can speak of.
    pub const ALL: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }

    /// The word in policies.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// One entry under `egress.allow` or `egress.deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRule {
    /// What it does.
    pub effect: Effect,
    /// Where it stands.
    pub span: Span,
    /// The networks it speaks of, each with its place.
    pub to: Vec<(Network, Span)>,
    /// The ports; every port where the policy names none.
    pub ports: Vec<PortRange>,
    /// The protocol; every protocol where the policy names none.
    pub protocol: Option<Protocol>,
}

impl EgressRule {
    /// Whether it speaks of a protocol.
    pub fn speaks_of(&self, protocol: Protocol) -> bool {
        self.protocol.is_none_or(|own| own == protocol)
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Networks shown before the rest is counted.
        const SHOWN: usize = 4;
        f.write_str(match self.effect {
            Effect::Allow => "allow egress to ",
            Effect::Deny => "deny egress to ",
        })?;
        let shown: Vec<String> = self
            .to
            .iter()
            .take(SHOWN)
            .map(|(network, _)| network.to_string())
            .collect();
        f.write_str(&shown.join(", "))?;
        if self.to.len() > SHOWN {
            write!(f, " and {} more", self.to.len() - SHOWN)?;
        }
        for (i, range) in self.ports.iter().enumerate() {
            let joint = if i == 0 { ", " } else { " and " };
            write!(f, "{joint}{range}")?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, ", {}", protocol.word())?;
        }
        Ok(())
    }
}

/// Everything a policy says of egress. What no rule speaks of is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// The rules in the order of the file, those that allow first.
    pub rules: Vec<EgressRule>,
}

pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Egress {
    let mut rules = Vec::new();
    if let Some(fields) = Fields::of(reader, node, "egress", &["allow", "deny"]) {
        for (key, effect) in [("allow", Effect::Allow), ("deny", Effect::Deny)] {
            let Some(list) = fields.get(key) else {
                continue;
            };
            for item in reader.list(list, "a list of egress rules") {
                rules.extend(rule(reader, item, effect));
            }
        }
    }
    Egress { rules }
}

fn rule(reader: &mut Reader<'_>, node: &Node, effect: Effect) -> Option<EgressRule> {
    let fields = Fields::of(reader, node, "an egress rule", &["to", "ports", "protocol"])?;
    let expected = "a list of addresses and networks";
    let mut to = Vec::new();
    if let Some(list) = fields.require(reader, "to", expected) {
        for item in reader.items(list, expected) {
            let Some(text) = reader.text(item, super::network::NETWORK) else {
                continue;
            };
            match Network::read(text) {
                Ok(network) => to.push((network, item.span)),
                Err(error) => reader.found(item.span, &error.found, &error.expected),
            }
        }
    }
    let ports = match fields.get("ports") {
        None => vec![PortRange::ALL],
        Some(list) => reader
            .items(list, "a list of ports, or no such field for every port")
            .iter()
            .filter_map(|item| PortRange::read(reader, item))
            .collect(),
    };
    let protocol = fields
        .get("protocol")
        .and_then(|node| reader.word(node, &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]));
    Some(EgressRule {
        effect,
        span: node.span,
        to,
        ports,
        protocol,
    })
}
