//! Every way out (red team N1 to N5). Each is tried outside a session, inside one to an address
//! that the policy allows and to one that it does not, and outside again.

use crate::act::way::Way;
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::network::{
    ALLOWED_NAT64, ALLOWED4, ALLOWED6, DENIED_NAT64, DENIED4, DENIED6, PORT, Server, at,
};
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;

/// How an address is spelled by the one who goes there.
#[derive(Clone, Copy)]
enum Spelling {
    V4,
    V6,
    /// `::ffff:192.0.2.10`.
    Mapped,
    /// `64:ff9b::192.0.2.10`.
    Nat64,
}

impl Spelling {
    fn word(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Mapped => "v4_mapped",
            Self::Nat64 => "nat64",
        }
    }

    /// The allowed and the denied address, as an actor spells them.
    fn spelled(self) -> Result<[SocketAddr; 2]> {
        let [allowed, denied] = match self {
            Self::V4 => [ALLOWED4.into(), DENIED4.into()],
            Self::V6 => [ALLOWED6.into(), DENIED6.into()],
            Self::Mapped => [format!("::ffff:{ALLOWED4}"), format!("::ffff:{DENIED4}")],
            Self::Nat64 => [ALLOWED_NAT64.into(), DENIED_NAT64.into()],
        };
        Ok([at(&allowed, PORT)?, at(&denied, PORT)?])
    }

    /// The same two, as a server listens on them.
    fn listened(self) -> Result<[SocketAddr; 2]> {
        match self {
            Self::Mapped => Self::V4.spelled(),
            other => other.spelled(),
        }
    }

    /// The denied address as policy and events have it.
    fn meant(self) -> Result<SocketAddr> {
        match self {
            Self::V6 => at(DENIED6, PORT),
            _ => at(DENIED4, PORT),
        }
    }
}

fn is_stream(way: Way) -> bool {
    matches!(
        way,
        Way::Tcp | Way::Fastopen | Way::UringTcp | Way::UringTcpPool | Way::UringTcpPoller
    )
}

/// The row of the red team's catalogue that a way shows, or the family where it is the plain one.
fn row(way: Way, spelling: Spelling) -> &'static str {
    match (way, spelling) {
        (Way::Tcp | Way::UdpConnected, Spelling::V4) => "egress",
        (Way::Tcp | Way::UdpConnected, _) => "red.n5",
        (Way::Fastopen, _) => "red.n2",
        (Way::Udp | Way::UdpElsewhere, _) => "red.n3",
        (
            Way::UdpReconnected
            | Way::UdpUnspec
            | Way::UdpInetOnInet6
            | Way::UdpConnectedInetOnInet6,
            _,
        ) => "red.n4",
        _ => "red.n1",
    }
}

/// Whether the way asks the kernel to connect; what does not, sends.
fn connects(way: Way) -> bool {
    is_stream(way)
        || matches!(
            way,
            Way::UdpConnected | Way::UdpReconnected | Way::UdpConnectedInetOnInet6
        )
}

pub(super) fn tests() -> Vec<Test> {
    use Spelling::{Mapped, Nat64, V4, V6};
    let every = [V4, V6, Mapped, Nat64].as_slice();
    let both = [V4, V6].as_slice();
    let v4 = [V4].as_slice();
    let ways = [
        (Way::Tcp, every),
        (Way::Fastopen, every),
        (Way::UringTcp, both),
        (Way::UringTcpPool, both),
        (Way::UringTcpPoller, both),
        (Way::UdpConnected, every),
        (Way::Udp, every),
        (Way::UdpElsewhere, both),
        (Way::UdpReconnected, both),
        (Way::UringUdp, both),
        (Way::UringUdpPool, both),
        (Way::UringUdpPoller, both),
        (Way::UdpUnspec, v4),
        (Way::UdpInetOnInet6, v4),
        (Way::UdpConnectedInetOnInet6, v4),
    ];
    let mut tests = Vec::new();
    for (way, spellings) in ways {
        for spelling in spellings.iter().copied() {
            let name = format!("{}.{}", way.word().replace('-', "_"), spelling.word());
            let shows = format!(
                "{} to {} is judged by its address",
                way.word(),
                spelling.word()
            );
            let row = row(way, spelling);
            tests.push(Test::new(format!("{row}.{name}"), shows, move || {
                one_way(way, spelling)
            }));
        }
    }
    tests.push(Test::new(
        "red.n3.sendmmsg_mixed",
        "a batch to an allowed, a denied and an allowed address stops at the denied one",
        || batch(&[true, false, true], 1),
    ));
    tests.push(Test::new(
        "red.n3.sendmmsg_same",
        "a batch to one denied address, many times, sends nothing",
        || batch(&[false, false, false, false], 0),
    ));
    tests.push(Test::new(
        "egress.sendmmsg_allowed",
        "a batch to an allowed address is sent whole",
        || batch(&[true, true, true], 3),
    ));
    tests
}

fn server(way: Way, at: SocketAddr) -> Result<Server> {
    if is_stream(way) {
        Server::tcp(at)
    } else {
        Server::udp(at)
    }
}

fn one_way(way: Way, spelling: Spelling) -> Result<()> {
    Daemon::shared()?;
    let [allowed, denied] = spelling.spelled()?;
    let [allowed_server, denied_server] = spelling.listened()?;
    let allowed_server = server(way, allowed_server)?;
    let denied_server = server(way, denied_server)?;
    let protocol = if is_stream(way) { "tcp" } else { "udp" };
    let agent = format!(
        "egress-{}-{}",
        way.word(),
        spelling.word().replace('_', "-")
    );
    let polls: &[&str] = if way.word().ends_with("poller") {
        &["uring"]
    } else {
        &[]
    };
    let policy = Policy::named(&agent)
        .privileges(polls)
        .allow(ALLOWED4, &PORT.to_string(), protocol)
        .allow(ALLOWED6, &PORT.to_string(), protocol);
    let attempt =
        |place: Place<'_>, to: SocketAddr| place.act(&["way", way.word(), &to.to_string()]);

    let control = attempt(Place::Outside, denied).context("the control")?;
    ensure!(
        control == "ok",
        "the control, outside every session: {control}, expected ok"
    );
    ensure!(
        denied_server.reached()? == 1,
        "the control did not reach the server"
    );

    let events = Events::from_now()?;
    let inside = attempt(Place::Inside(&policy), denied)?;
    ensure!(
        denied_server.reached()? == 0,
        "{denied} was reached from inside a session ({inside})"
    );
    ensure!(
        inside == "EPERM",
        "{denied} from inside a session: {inside}, expected EPERM"
    );
    let action = if connects(way) { "connect" } else { "send" };
    let denial = events.expect(&agent, action, spelling.meant()?, protocol)?;
    check_actor(&denial)?;

    let inside = attempt(Place::Inside(&policy), allowed)?;
    ensure!(
        inside == "ok",
        "{allowed} from inside a session: {inside}, expected ok"
    );
    ensure!(
        allowed_server.reached()? == 1,
        "the allowed attempt did not reach its server"
    );

    let after = attempt(Place::Outside, denied).context("afterwards")?;
    ensure!(after == "ok", "outside, afterwards: {after}, expected ok");
    ensure!(
        denied_server.reached()? == 1,
        "afterwards the server was not reached"
    );
    Ok(())
}

/// The event names this program, and `interlock run` above it. A kernel thread that acts for a
/// process (io_uring) is a thread of that process.
fn check_actor(denial: &crate::harness::events::Denial) -> Result<()> {
    let own = crate::harness::session::own_program()?;
    ensure!(
        denial.process.exe.as_deref() == Some(&own),
        "the program is {:?}, expected {own}",
        denial.process.exe
    );
    ensure!(denial.uid == 0, "the user is {}, expected 0", denial.uid);
    ensure!(
        denial.process.pid != 0 && denial.tid != 0,
        "no process is named: {denial:?}"
    );
    let parent = denial
        .ancestry
        .first()
        .context("the event names no parent")?;
    // The path of a process outside the session is read from /proc when the daemon gets round to
    // it, which may be too late; the short name is the kernel's own.
    ensure!(
        parent.comm == "interlock"
            && parent
                .exe
                .as_deref()
                .is_none_or(|exe| exe.ends_with("/interlock")),
        "the parent is {parent:?}, expected interlock"
    );
    ensure!(
        denial.ancestry.last().is_some_and(|eldest| eldest.pid == 1),
        "the ancestry does not end with process 1: {:?}",
        denial.ancestry
    );
    Ok(())
}

/// Sends one batch; `targets` says which are allowed, `through` how many must be sent.
fn batch(targets: &[bool], through: u32) -> Result<()> {
    Daemon::shared()?;
    let [allowed, denied] = Spelling::V4.spelled()?;
    let allowed_server = Server::udp(allowed)?;
    let denied_server = Server::udp(denied)?;
    let policy = Policy::named("sendmmsg").allow(ALLOWED4, &PORT.to_string(), "udp");
    let mut part = vec!["batch".to_owned()];
    part.extend(
        targets
            .iter()
            .map(|ok| if *ok { allowed } else { denied }.to_string()),
    );
    let part: Vec<&str> = part.iter().map(String::as_str).collect();
    let wanted_denied = targets.iter().filter(|ok| !**ok).count();

    let control = Place::Outside.act(&part)?;
    ensure!(
        control == format!("sent {}", targets.len()),
        "the control: {control}"
    );
    ensure!(
        usize::try_from(denied_server.reached()?)? == wanted_denied,
        "the control fell short"
    );
    allowed_server.reached()?;

    let events = Events::from_now()?;
    let inside = Place::Inside(&policy).act(&part)?;
    ensure!(
        denied_server.reached()? == 0,
        "the denied server was reached ({inside})"
    );
    let expected = if through == 0 {
        "EPERM".to_owned()
    } else {
        format!("sent {through}")
    };
    ensure!(inside == expected, "inside: {inside}, expected {expected}");
    ensure!(
        allowed_server.reached()? == through,
        "the allowed server got another number"
    );
    if wanted_denied > 0 {
        events.expect("sendmmsg", "send", denied, "udp")?;
    }

    let after = Place::Outside.act(&part)?;
    ensure!(
        after == format!("sent {}", targets.len()),
        "afterwards: {after}"
    );
    Ok(())
}
