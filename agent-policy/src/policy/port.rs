//! Ports and ranges of ports.

use std::fmt;

use crate::text::{Node, Reader, quoted};

use super::network::number;

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

const PORT: &str = "a port from 1 to 65535 or a range such as 8000-8010";

impl PortRange {
    /// Every port.
    pub const ALL: PortRange = PortRange {
        first: 0,
        last: u16::MAX,
    };

    /// Whether a port is in the range.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// One less than the number of ports.
    pub(crate) fn width(&self) -> u16 {
        self.last - self.first
    }

    pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let text = reader.text(node, PORT)?;
        let port = |digits: &str| {
            number(digits)
                .and_then(|number| u16::try_from(number).ok())
                .filter(|port| *port > 0)
        };
        let range = match text.split_once('-') {
            Some((first, last)) => port(first.trim()).zip(port(last.trim())),
            None => port(text).map(|port| (port, port)),
        };
        match range {
            Some((first, last)) if first <= last => Some(Self { first, last }),
            Some((first, last)) => {
                let expected = format!("the lower port first: {last}-{first}");
                reader.found(node.span, &quoted(text), &expected);
                None
            }
            None => {
                reader.found(node.span, &quoted(text), PORT);
                None
            }
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            f.write_str("every port")
        } else if self.first == self.last {
            write!(f, "port {}", self.first)
        } else {
            write!(f, "ports {}-{}", self.first, self.last)
        }
    }
}
