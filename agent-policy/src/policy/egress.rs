//! Where an agent may connect and send, and where it may listen.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use agent_common::egress::{TCP, UDP};

use crate::text::{Fields, Node, Reader, Source, Span};

use super::condition::{self, Common, Effect};
use super::host::Host;
use super::network::Network;
use super::path::Pattern;
use super::port::PortRange;

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

/// Where an egress rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A network or an address.
    Network(Network),
    /// A host name.
    Host(Host),
    /// A Unix socket.
    Unix(Pattern),
    /// Another agent, by name.
    Agent(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => write!(f, "{network}"),
            Self::Host(host) => write!(f, "{host}"),
            Self::Unix(pattern) => write!(f, "unix:{pattern}"),
            Self::Agent(name) => write!(f, "agent:{name}"),
        }
    }
}

/// Which way the connections of a rule go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Out of the session.
    Egress,
    /// Into it: the addresses and ports it may bind and listen on.
    Listen,
}

/// What is said of a rule whose connections must name their destination.
pub(crate) const NAMED: &str = ", by the name that it says first";

/// One entry under `egress` or `listen`.
#[derive(Clone, Debug)]
pub struct EgressRule {
    /// What every rule has.
    pub common: Common,
    /// Which way.
    pub direction: Direction,
    /// The destinations it speaks of, each with its place.
    pub to: Vec<(Destination, Span)>,
    /// The ports; every port where the policy names none.
    pub ports: Vec<PortRange>,
    /// The protocol; every protocol where the policy names none.
    pub protocol: Option<Protocol>,
    /// Whether a connection must say first which of the policy's names it is for.
    pub named: bool,
}

/// Where an agent's connections go instead, whatever their destination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The gateway's address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Where it stands.
    pub span: Span,
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::from((self.address, self.port)).fmt(f)
    }
}

impl EgressRule {
    /// Whether it speaks of a protocol.
    pub fn speaks_of(&self, protocol: Protocol) -> bool {
        self.protocol.is_none_or(|own| own == protocol)
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.direction {
            Direction::Egress => "egress to",
            Direction::Listen => "listening on",
        };
        write!(f, "{} {way} ", self.common.effect.word())?;
        super::some_of(f, self.to.iter().map(|(destination, _)| destination))?;
        let has_port =
            |to: &Destination| matches!(to, Destination::Network(_) | Destination::Host(_));
        let ports = if self.to.iter().any(|(to, _)| has_port(to)) {
            &self.ports[..]
        } else {
            &[]
        };
        for (i, range) in ports.iter().enumerate() {
            let joint = if i == 0 { ", " } else { " and " };
            write!(f, "{joint}{range}")?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, ", {}", protocol.word())?;
        }
        if self.named {
            f.write_str(NAMED)?;
        }
        Ok(())
    }
}

const DESTINATIONS: &str =
    "a list of addresses, networks, host names, loopback, unix:PATH, unix:@NAME or agent:NAME";
const ADDRESSES: &str = "a list of addresses and networks of this host";

pub(super) fn rule(
    reader: &mut Reader<'_>,
    source: &Arc<Source>,
    node: &Node,
    effect: Effect,
    direction: Direction,
) -> Option<EgressRule> {
    let (what, key, expected) = match direction {
        Direction::Egress => ("an egress rule", "to", DESTINATIONS),
        Direction::Listen => ("a listen rule", "on", ADDRESSES),
    };
    let fields = Fields::of(
        reader,
        node,
        what,
        &condition::known(match direction {
            Direction::Egress => &["to", "ports", "protocol", "sni"],
            Direction::Listen => &["on", "ports", "protocol"],
        }),
    )?;
    let mut to = Vec::new();
    if let Some(list) = fields.require(reader, key, expected) {
        for item in reader.items(list, expected) {
            let Some(text) = reader.text(item, super::network::NETWORK) else {
                continue;
            };
            match destinations(text, direction) {
                Ok(found) => to.extend(
                    found
                        .into_iter()
                        .map(|destination| (destination, item.span)),
                ),
                Err((found, expected)) => reader.found(item.span, &found, &expected),
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
    let sni = fields.get("sni");
    let named = sni
        .and_then(|node| reader.word(node, &[("required", true)]))
        .unwrap_or_default();
    if let Some(node) = sni {
        check_sni(reader, node, effect, &to, protocol);
    }
    Some(EgressRule {
        common: condition::read(reader, source, &fields, effect, node.span),
        direction,
        to,
        ports,
        protocol,
        named,
    })
}

/// Only what is allowed, by a name and over TCP, says one first.
fn check_sni(
    reader: &mut Reader<'_>,
    node: &Node,
    effect: Effect,
    to: &[(Destination, Span)],
    protocol: Option<Protocol>,
) {
    let other = to
        .iter()
        .map(|(destination, _)| destination)
        .find(|destination| !matches!(destination, Destination::Host(_)));
    let (found, expected) = if effect != Effect::Allow {
        (
            "sni on a rule that does not allow".to_owned(),
            "it on a rule under allow",
        )
    } else if let Some(other) = other {
        (
            format!("sni on a rule for {other}"),
            "it on a rule for host names",
        )
    } else if protocol == Some(Protocol::Udp) {
        (
            "sni on a rule for udp".to_owned(),
            "protocol: tcp, or no protocol: only what begins with TLS or HTTP says a name",
        )
    } else {
        return;
    };
    reader.found(node.span, &found, expected);
}

/// The gateway of `egress.via`.
pub(super) fn gateway(reader: &mut Reader<'_>, node: &Node) -> Option<Gateway> {
    const ADDRESS: &str = "the gateway's IPv4 or IPv6 address";
    const PORT: &str = "the gateway's port, from 1 to 65535";
    let fields = Fields::of(reader, node, "via", &["address", "port"])?;
    let address = fields.require(reader, "address", ADDRESS).and_then(|node| {
        let text = reader.text(node, ADDRESS)?;
        match text.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() && !address.is_multicast() => Some(address),
            _ => {
                reader.found(node.span, &crate::text::quoted(text), ADDRESS);
                None
            }
        }
    });
    let port = fields.require(reader, "port", PORT).and_then(|node| {
        let text = reader.text(node, PORT)?;
        let port = super::network::number(text).and_then(|number| u16::try_from(number).ok());
        let port = port.filter(|port| *port > 0);
        if port.is_none() {
            reader.found(node.span, &crate::text::quoted(text), PORT);
        }
        port
    });
    Some(Gateway {
        address: address?,
        port: port?,
        span: node.span,
    })
}

fn destinations(text: &str, direction: Direction) -> Result<Vec<Destination>, (String, String)> {
    if text == "loopback" {
        let both = [Network::LOOPBACK_V4, Network::LOOPBACK_V6];
        return Ok(both.map(Destination::Network).to_vec());
    }
    if direction == Direction::Egress {
        if let Some(path) = text.strip_prefix("unix:") {
            return Pattern::read_socket(path).map(|pattern| vec![Destination::Unix(pattern)]);
        }
        if let Some(name) = text.strip_prefix("agent:") {
            if !super::document::is_name(name) {
                return Err((crate::text::quoted(name), super::document::NAME.to_owned()));
            }
            return Ok(vec![Destination::Agent(name.to_owned())]);
        }
        // Whatever has a letter beyond hexadecimal, or a label of letters at its end, is a name.
        let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or("");
        if !text.contains([':', '/', '%']) && last.chars().any(char::is_alphabetic) {
            return Host::read(text).map(|host| vec![Destination::Host(host)]);
        }
    }
    Network::read(text)
        .map(|network| vec![Destination::Network(network)])
        .map_err(|error| (error.found, error.expected))
}
