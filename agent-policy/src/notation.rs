//! Actions as people write them, in cases, in events and on the command line:
//! `connect 10.0.0.1:443/udp`, `connect api.example.com:443`, `connect unix:/run/x.sock`,
//! `connect agent:planner`, `listen 0.0.0.0:8080`, `exec /usr/bin/git push`, `read /etc/hosts`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use agent_common::egress::{AF_INET, AF_INET6, Endpoint, TCP, UDP};
use agent_common::path::Access;
use agent_common::privilege::Privilege;

use crate::policy::Pattern;
use crate::trial::Action;

/// Why a text is no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found \"{found}\", expected {expected}")]
pub struct ActionError {
    /// The text.
    pub found: String,
    /// What an action looks like.
    pub expected: &'static str,
}

const ACTION: &str = "an action: connect ADDRESS:PORT[/udp], connect NAME:PORT, connect unix:PATH, connect unix:@NAME, connect agent:NAME, listen ADDRESS:PORT[/udp], exec PATH [ARGUMENT...], read, write, create, delete, rename, link or map PATH, or privilege WORD";
const PRIVILEGE: &str = "a privilege, such as ptrace or cap_net_raw";
const PATH: &str = "an absolute path without empty parts, . and ..";
const ENDPOINT: &str = "ADDRESS:PORT or ADDRESS:PORT/udp, with IPv6 addresses in brackets";

impl std::str::FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        let wrong = |expected| ActionError {
            found: text.to_owned(),
            expected,
        };
        let (verb, object) = text.trim().split_once(' ').ok_or_else(|| wrong(ACTION))?;
        let object = object.trim();
        let path = |text: &str| match Pattern::read(text) {
            Ok(Pattern::Exact(path)) => Ok(path),
            _ => Err(wrong(PATH)),
        };
        match verb {
            "connect" => {
                if let Some(socket) = object.strip_prefix("unix:") {
                    return Ok(Self::File {
                        path: match Pattern::read_socket(socket) {
                            Ok(Pattern::Abstract(name)) => format!("@{name}"),
                            _ => path(socket)?,
                        },
                        access: Access::Connect,
                    });
                }
                if let Some(name) = object.strip_prefix("agent:") {
                    return Ok(Self::Agent(name.to_owned()));
                }
                if let Some((address, protocol)) = endpoint(object) {
                    return Ok(Self::Connect(match address.ip() {
                        IpAddr::V4(v4) => Endpoint::v4(v4.octets(), address.port(), protocol),
                        IpAddr::V6(v6) => Endpoint::v6(v6.octets(), address.port(), protocol),
                    }));
                }
                let (object, protocol) = match object.strip_suffix("/udp") {
                    Some(object) => (object, UDP),
                    None => (object, TCP),
                };
                let (name, port) = object.rsplit_once(':').ok_or_else(|| wrong(ENDPOINT))?;
                let port = port.parse().map_err(|_| wrong(ENDPOINT))?;
                let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or("");
                if name.contains(['/', ':', ' ']) || !last.chars().any(char::is_alphabetic) {
                    return Err(wrong(ENDPOINT));
                }
                Ok(Self::Host {
                    name: name.to_owned(),
                    port,
                    protocol,
                })
            }
            "listen" => {
                let (address, protocol) = endpoint(object).ok_or_else(|| wrong(ENDPOINT))?;
                // Not folded: to listen on the unspecified address is to listen on every address.
                let (octets, family) = match address.ip() {
                    IpAddr::V4(v4) => (v4.to_ipv6_mapped().octets(), AF_INET),
                    IpAddr::V6(v6) => (v6.octets(), AF_INET6),
                };
                Ok(Self::Listen(Endpoint {
                    address: octets,
                    port: address.port(),
                    protocol,
                    family,
                }))
            }
            "exec" => {
                let mut words = object.split_whitespace().map(str::to_owned);
                let program = path(&words.next().ok_or_else(|| wrong(PATH))?)?;
                let mut arguments = vec![program.clone()];
                arguments.extend(words);
                Ok(Self::Exec {
                    path: program,
                    digest: None,
                    arguments,
                    writable: false,
                })
            }
            "privilege" => {
                let named = |privilege: &&Privilege| privilege.word() == object;
                let privilege = Privilege::ALL.iter().find(named);
                privilege
                    .map(|privilege| Self::Privilege(*privilege))
                    .ok_or_else(|| wrong(PRIVILEGE))
            }
            _ => {
                let access = Access::ALL
                    .iter()
                    .find(|access| {
                        access.word() == verb && !matches!(access, Access::Exec | Access::Connect)
                    })
                    .ok_or_else(|| wrong(ACTION))?;
                Ok(Self::File {
                    path: path(object)?,
                    access: *access,
                })
            }
        }
    }
}

fn endpoint(text: &str) -> Option<(SocketAddr, u8)> {
    let (address, protocol) = match text.rsplit_once('/') {
        Some((address, "udp")) => (address, UDP),
        Some((address, "tcp")) => (address, TCP),
        Some(_) => return None,
        None => (text, TCP),
    };
    Some((address.parse().ok()?, protocol))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(endpoint) => write!(f, "connect {}", Shown(endpoint)),
            Self::Listen(endpoint) => write!(f, "listen {}", Shown(endpoint)),
            Self::Host {
                name,
                port,
                protocol,
            } => {
                let udp = if *protocol == UDP { "/udp" } else { "" };
                write!(f, "connect {name}:{port}{udp}")
            }
            Self::Agent(name) => write!(f, "connect agent:{name}"),
            Self::Privilege(privilege) => write!(f, "privilege {privilege}"),
            Self::File {
                path,
                access: Access::Connect,
            } => write!(f, "connect unix:{path}"),
            Self::File { path, access } => write!(f, "{access} {path}"),
            Self::Exec {
                path, arguments, ..
            } => {
                write!(f, "exec {path}")?;
                arguments
                    .iter()
                    .skip(1)
                    .try_for_each(|argument| write!(f, " {argument}"))
            }
        }
    }
}

struct Shown<'a>(&'a Endpoint);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = IpAddr::from(self.0.address).to_canonical();
        write!(f, "{}", SocketAddr::new(ip, self.0.port))?;
        f.write_str(if self.0.protocol == UDP { "/udp" } else { "" })
    }
}
