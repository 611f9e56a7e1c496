//! Puts names to numbers: a record becomes a line.

use super::line::{self, Object};
use super::process::{Programs, readable};
use crate::divert::{Refusal, Refused};
use crate::ids::{HoldId, SessionId};
use crate::names::Names;
use crate::sessions::mounts::{FsPath, Mounts};
use crate::sessions::{Session, Sessions};
use agent_common::action::Action;
use agent_common::decide::{NO_RULE, Reason, Verdict};
use agent_common::egress::{AF_INET, AF_INET6, AF_UNIX, Endpoint, TCP, UDP, is_v4};
use agent_common::event::{Denial, FileDenial, Handoff, Process};
use agent_common::privilege::Privilege;
use agent_common::session::Allowed;
use agent_common::socket::SocketKind;
use agent_common::uses::UseKey;
use agent_policy::{Compiled, FactKind, RuleSource, told_facts};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Explains a denial.
pub fn denial(denial: &Denial, sessions: &Sessions, programs: &mut Programs) -> line::Denial {
    explained(denial, object(denial, sessions), sessions, programs)
}

/// Explains a handoff to both of its sides: who acted first.
pub fn handoff(
    handoff: &Handoff,
    sessions: &Sessions,
    programs: &mut Programs,
) -> [line::Handoff; 2] {
    let [actor, peer] = [handoff.header.session, handoff.peer];
    let agent = |id| sessions.get(id).map(|session| session.agent.clone());
    let allowed = handoff.verdict == Verdict::Allow.wire();
    let time = programs.clock().at(handoff.header.time_ns);
    let process = process(&handoff.process, &[], programs);
    let side = |session, direction, peer| line::Handoff {
        time: time.clone(),
        session: SessionId(session),
        agent: agent(session),
        direction,
        peer: SessionId(peer),
        peer_agent: agent(peer),
        process: process.clone(),
        action: Action::from_wire(handoff.action).map_or("unknown", Action::word),
        verdict: Verdict::from_wire(handoff.verdict).map_or("unknown", Verdict::word),
        reason: (!allowed)
            .then(|| Reason::from_wire(handoff.reason).map_or("unknown", Reason::word)),
    };
    [side(actor, "to", peer), side(peer, "from", actor)]
}

/// Whose a process is; nobody's where it is gone.
fn user_of(process: &Process) -> u32 {
    use std::os::unix::fs::MetadataExt;
    const NOBODY: u32 = 65_534;
    let folder = std::fs::metadata(format!("/proc/{}", process.pid));
    folder.map_or(NOBODY, |folder| folder.uid())
}

/// Explains what the daemon itself refused.
pub fn refusal(refusal: &Refusal, sessions: &Sessions, programs: &mut Programs) -> line::Denial {
    let session = sessions.get(refusal.session);
    let policy = session.map(|session| session.compiled());
    let (action, object) = match &refusal.what {
        Refused::Lookup { name, records } => (
            "lookup",
            Object::Host {
                name: name.clone(),
                records: records.clone(),
            },
        ),
        Refused::Connection { server, said } => (
            Action::Connect.word(),
            match endpoint(server) {
                Object::Endpoint {
                    address,
                    port,
                    protocol,
                    ..
                } => Object::Endpoint {
                    address,
                    port,
                    protocol,
                    host: said.clone(),
                },
                object => object,
            },
        ),
    };
    line::Denial {
        time: now(),
        boot_ns: crate::kernel::clock::boot_ns(),
        session: SessionId(refusal.session),
        agent: session.map(|session| session.agent.clone()),
        tid: refusal.process.pid,
        uid: user_of(&refusal.process),
        process: process(&refusal.process, &[], programs),
        ancestry: Vec::new(),
        action,
        object,
        facts: Vec::new(),
        step: None,
        missing: Vec::new(),
        rule: None,
        reason: refusal.reason,
        because: None,
        verdict: if refusal.audited {
            Verdict::Audit.word()
        } else {
            Verdict::Deny.word()
        },
        policy: policy.map(Compiled::digest_hex),
        hold: None,
        tool: policy.and_then(|policy| tool(policy, refusal.tool)),
    }
}

/// Explains the denial of a use of a file.
pub fn file_denial(
    file: &FileDenial,
    sessions: &Sessions,
    programs: &mut Programs,
) -> line::Denial {
    let action = Action::from_wire(file.denial.action);
    let object = if file.flags & FileDenial::ABSTRACT != 0 {
        Object::Unix {
            unix: format!("@{}", readable(file.abstract_name())),
        }
    } else if matches!(action, Some(Action::Connect | Action::Send)) {
        Object::Unix {
            unix: path(file, sessions.mounts()),
        }
    } else {
        Object::File {
            path: path(file, sessions.mounts()),
            arguments: file.arguments().map(readable).collect(),
        }
    };
    explained(&file.denial, object, sessions, programs)
}

/// The path of a file as this host sees it, or as much as the kernel told.
fn path(file: &FileDenial, mounts: &Mounts) -> String {
    let names: Vec<&[u8]> = file.names().rev().collect();
    let joined = names.join(&b'/');
    if file.flags & FileDenial::NO_DIRECTORY != 0 {
        return readable(&joined);
    }
    if file.flags & FileDenial::CUT_OFF != 0 {
        return readable(&[b".../", joined.as_slice()].concat());
    }
    let of = FsPath {
        device: file.device,
        path: [b"/", joined.as_slice()].concat(),
    };
    match mounts.shown(&of) {
        Some(path) => readable(&path),
        None => format!(
            "(device {}:{}){}",
            of.device >> 20,
            of.device & 0xf_ffff,
            readable(&of.path)
        ),
    }
}

fn explained(
    denial: &Denial,
    object: Object,
    sessions: &Sessions,
    programs: &mut Programs,
) -> line::Denial {
    let session = sessions.get(denial.header.session);
    let known = session.map(|session| Known {
        agent: &session.agent,
        // The one by which it was judged; the session may have been moved to another since.
        policy: session.version(denial.policy),
    });
    let mut object = object;
    let mut nameless = false;
    if let (Object::Endpoint { host, .. }, Some(known)) = (&mut object, known)
        && known.policy.has_names()
    {
        let names = sessions.names();
        *host = names.name_of(denial.header.session, denial.endpoint.address);
        nameless = host.is_none();
    }
    let mut line = told(denial, object, known, programs);
    let is_out = matches!(
        Action::from_wire(denial.action),
        Some(Action::Connect | Action::Send)
    );
    if nameless && is_out && Reason::from_wire(denial.reason) == Some(Reason::NoRule) {
        line.reason = NAMELESS;
    }
    line
}

/// Why an address is denied to a session whose policy names hosts.
const NAMELESS: &str = "no allowed name resolves to it";

/// What is known of the session that a denial is of.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its agent.
    pub agent: &'a str,
    /// The policy by which it was judged.
    pub policy: &'a Compiled,
}

/// Explains the denial of an endpoint to a session of which this is known.
pub fn network_denial(denial: &Denial, known: Known<'_>, programs: &mut Programs) -> line::Denial {
    told(denial, endpoint(&denial.endpoint), Some(known), programs)
}

fn told(
    denial: &Denial,
    object: Object,
    known: Option<Known<'_>>,
    programs: &mut Programs,
) -> line::Denial {
    let policy = known.map(|known| known.policy);
    let reason = Reason::from_wire(denial.reason);
    let spoke = policy.filter(|_| denial.rule != NO_RULE);
    let source = spoke.and_then(|policy| policy.sources.get(denial.rule as usize));
    line::Denial {
        time: programs.clock().at(denial.header.time_ns),
        boot_ns: denial.header.time_ns,
        session: SessionId(denial.header.session),
        agent: known.map(|known| known.agent.to_owned()),
        tid: denial.tid,
        uid: denial.uid,
        process: process(&denial.process, denial.ancestors(), programs),
        ancestry: denial
            .ancestors()
            .iter()
            // The idle task is its own kind of process, and nobody's idea of an ancestor.
            .take_while(|process| process.pid != 0)
            .map(|ancestor| process(ancestor, &[], programs))
            .collect(),
        action: Action::from_wire(denial.action).map_or("unknown", Action::word),
        object,
        facts: policy.map_or_else(Vec::new, |policy| told_facts(policy, denial.facts)),
        step: policy.and_then(|policy| step(policy, denial.facts)),
        missing: spoke.map_or_else(Vec::new, |policy| missing(policy, denial)),
        rule: source.map(rule),
        reason: reason.map_or("unknown", Reason::word),
        because: source.and_then(|source| source.because.clone()),
        verdict: Verdict::from_wire(denial.verdict).map_or("unknown", Verdict::word),
        policy: policy.map(Compiled::digest_hex),
        hold: (denial.hold != 0).then_some(HoldId(denial.hold)),
        tool: policy.and_then(|policy| tool(policy, denial.tool)),
    }
}

/// Explains what a session was allowed by one rule, to one place; nothing where the sums say as much.
pub fn used(
    key: &UseKey,
    (count, total): (u64, u64),
    session: &Session,
    names: &Names,
) -> Option<line::Used> {
    let kind = Allowed::from_wire(key.kind)?;
    let policy = session.version_at(key.policy);
    let source = policy.and_then(|policy| policy.sources.get(key.rule as usize));
    let object = match kind {
        Allowed::Network => place(key, names),
        Allowed::Privilege => {
            let number = key.object[0].checked_sub(1);
            number.map(|number| privilege(number.to_le_bytes()[0], 0))
        }
        Allowed::File | Allowed::Program => None,
    };
    if source.is_none() && object.is_none() {
        return None;
    }
    Some(line::Used {
        about: kind.word(),
        policy: policy.map(Compiled::digest_hex),
        rule: source.map(rule),
        object,
        count,
        total,
    })
}

/// A place on a network, with the name that led there.
fn place(key: &UseKey, names: &Names) -> Option<Object> {
    let at = Endpoint::unpacked(key.object);
    let mut object = Some(at)
        .filter(|at| at.family == AF_INET || at.family == AF_INET6)
        .map(|at| endpoint(&at))?;
    if let Object::Endpoint { host, .. } = &mut object {
        *host = names.name_of(key.session, at.address);
    }
    Some(object)
}

/// The name of a tool, counted from 1.
fn tool(policy: &Compiled, number: u8) -> Option<String> {
    let at = usize::from(number).checked_sub(1)?;
    Some(policy.tools.get(at)?.name.clone())
}

/// A rule, for people.
fn rule(source: &RuleSource) -> line::Rule {
    line::Rule {
        file: source.file.to_string(),
        line: source.span.line,
        text: source.text.clone(),
        id: source.id.clone(),
        step: source.step.clone(),
    }
}

/// The last step of the chain that has been performed.
fn step(policy: &Compiled, facts: u64) -> Option<String> {
    let performed: Vec<&String> = policy.held(facts).filter_map(FactKind::step).collect();
    if performed.is_empty() {
        return None;
    }
    let steps = policy.sources.iter().rev();
    let mut steps = steps.filter_map(|source| source.step.as_ref());
    steps.find(|step| performed.contains(step)).cloned()
}

/// What the rule requires and did not hold.
fn missing(policy: &Compiled, denial: &Denial) -> Vec<String> {
    if Reason::from_wire(denial.reason) != Some(Reason::FactMissing) {
        return Vec::new();
    }
    // One that holds during several steps is several rules, of which any would do.
    let mut forms = policy
        .rules
        .iter()
        .filter(|rule| rule.number == denial.rule)
        .map(|rule| rule.require & !denial.facts);
    forms
        .find(|missing| *missing != 0)
        .map_or_else(Vec::new, |missing| policy.fact_names(missing))
}

/// A process and its program, for people. One that never executed anything runs an ancestor's.
pub fn process(process: &Process, ancestors: &[Process], programs: &mut Programs) -> line::Process {
    let program = programs.of(process, ancestors);
    line::Process {
        pid: process.pid,
        exe: program.exe,
        comm: readable(process.comm()),
        args: program.args,
        args_cut: program.cut,
        started: programs.clock().at(process.start_ns),
    }
}

fn object(denial: &Denial, sessions: &Sessions) -> Object {
    if Action::from_wire(denial.action) == Some(Action::Privilege) {
        return privilege(denial.privilege, denial.target);
    }
    if denial.endpoint.family == AF_UNIX && denial.endpoint.address != [0; 16] {
        let [a, b, c, d, e, f, g, h, ..] = denial.endpoint.address;
        let peer = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        return Object::Session {
            handoff: sessions.get(peer).map(|session| session.agent.clone()),
            session: SessionId(peer),
        };
    }
    endpoint(&denial.endpoint)
}

fn privilege(number: u8, target: u32) -> Object {
    let privilege = Privilege::from_wire(number);
    let target = Some(target).filter(|target| *target != 0);
    let is_of_sockets = privilege.is_some_and(Privilege::is_of_sockets);
    Object::Privilege {
        privilege: privilege.map_or("unknown", Privilege::word),
        target: target.filter(|_| !is_of_sockets),
        socket: target.filter(|_| is_of_sockets).map(socket),
    }
}

fn endpoint(endpoint: &Endpoint) -> Object {
    if endpoint.family != AF_INET && endpoint.family != AF_INET6 {
        return Object::Family {
            family: endpoint.family,
            name: family(endpoint.family),
        };
    }
    let address = if is_v4(&endpoint.address) {
        let [.., a, b, c, d] = endpoint.address;
        Ipv4Addr::new(a, b, c, d).to_string()
    } else {
        Ipv6Addr::from(endpoint.address).to_string()
    };
    let protocol = match endpoint.protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        other => other.to_string(),
    };
    Object::Endpoint {
        address,
        port: endpoint.port,
        protocol,
        host: None,
    }
}

/// A kind of socket in words: `inet seqpacket 132`.
fn socket(number: u32) -> String {
    let socket = SocketKind::unpacked(number);
    let family = family(socket.family).map_or_else(|| socket.family.to_string(), str::to_owned);
    let kind = match socket.kind {
        1 => "stream".to_owned(),
        2 => "dgram".to_owned(),
        3 => "raw".to_owned(),
        4 => "rdm".to_owned(),
        5 => "seqpacket".to_owned(),
        other => other.to_string(),
    };
    format!("{family} {kind} {}", socket.protocol)
}

/// The name of an address family: linux/socket.h.
fn family(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "unix",
        AF_INET => "inet",
        AF_INET6 => "inet6",
        16 => "netlink",
        17 => "packet",
        30 => "tipc",
        31 => "bluetooth",
        38 => "alg",
        40 => "vsock",
        43 => "smc",
        44 => "xdp",
        _ => return None,
    })
}

/// The wall clock's time now.
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_shown_as_one_however_it_was_spelled() {
        let endpoint = Endpoint::v6(
            "64:ff9b::c000:0207".parse::<Ipv6Addr>().unwrap().octets(),
            443,
            TCP,
        );
        let expected = Object::Endpoint {
            address: "192.0.2.7".to_owned(),
            port: 443,
            protocol: "tcp".to_owned(),
            host: None,
        };
        assert_eq!(super::endpoint(&endpoint), expected);
    }

    #[test]
    fn a_kind_of_socket_is_named() {
        let sctp = SocketKind::of(2, 5, 132);
        assert_eq!(socket(sctp.packed()), "inet seqpacket 132");
        assert_eq!(socket(SocketKind::of(29, 7, 1).packed()), "29 7 1");
    }

    #[test]
    fn a_family_without_addresses_is_named() {
        let endpoint = Endpoint {
            address: [0; 16],
            port: 0,
            protocol: 0,
            family: 1,
        };
        assert_eq!(
            super::endpoint(&endpoint),
            Object::Family {
                family: 1,
                name: Some("unix")
            }
        );
    }
}
