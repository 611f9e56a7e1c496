//! Which kinds of sockets a session has (red team N6, N7).

use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::{Obedient, Place};
use anyhow::{Result, ensure};

/// A kind of socket: its name in events, its numbers, the privilege it takes.
type Kind = (&'static str, [i32; 3], &'static str);

/// Transports that are not what they look like.
const TRANSPORTS: &[Kind] = &[
    ("inet stream 262", [2, 1, 262], "mptcp"),
    ("inet6 stream 262", [10, 1, 262], "mptcp"),
    ("inet stream 132", [2, 1, 132], "sockets"),
    ("inet6 seqpacket 132", [10, 5, 132], "sockets"),
    ("inet dgram 136", [2, 2, 136], "sockets"),
    ("inet6 dgram 136", [10, 2, 136], "sockets"),
    ("inet 6 33", [2, 6, 33], "sockets"),
    ("smc stream 0", [43, 1, 0], "sockets"),
];

/// Sockets below or beside the transports.
const FAMILIES: &[Kind] = &[
    ("inet raw 1", [2, 3, 1], "cap_net_raw"),
    ("inet raw 255", [2, 3, 255], "cap_net_raw"),
    ("inet6 raw 17", [10, 3, 17], "cap_net_raw"),
    ("packet raw 768", [17, 3, 0x300], "cap_net_raw"),
    ("packet dgram 768", [17, 2, 0x300], "cap_net_raw"),
    ("xdp raw 0", [44, 3, 0], "cap_net_raw"),
    ("inet dgram 1", [2, 2, 1], "ping"),
    ("inet6 dgram 58", [10, 2, 58], "ping"),
    ("netlink raw 2", [16, 3, 2], "netlink"),
    ("netlink raw 4", [16, 3, 4], "netlink"),
    ("netlink dgram 16", [16, 2, 16], "netlink"),
    ("vsock stream 0", [40, 1, 0], "vsock"),
    ("alg seqpacket 0", [38, 5, 0], "sockets"),
    ("tipc seqpacket 0", [30, 5, 0], "sockets"),
    ("bluetooth raw 1", [31, 3, 1], "sockets"),
];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.n6.transports",
            "no session has a transport that no rule speaks of, unless it is named",
            || kinds("red-n6", TRANSPORTS, 2),
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.n7.families",
            "no session has a raw, packet, netlink or other socket, unless it is named",
            || kinds("red-n7", FAMILIES, 8),
        )
        .unless(unless_with_bpf_lsm),
    ]
}

/// Makes every kind that this kernel has outside, inside without and with what it takes, and
/// outside again. `at_least` of them the kernel must have.
fn kinds(agent: &str, kinds: &[Kind], at_least: usize) -> Result<()> {
    Daemon::shared()?;
    // So that the control shows what is denied to sessions, and not what the kernel denies to all.
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
    let make = |actor: &mut Obedient, [family, kind, protocol]: [i32; 3]| {
        actor.order(&format!("socket make a {family} {kind} {protocol}"))
    };
    let mut outside = Place::Outside.obey()?;
    let mut there = Vec::new();
    for kind in kinds {
        match make(&mut outside, kind.1)?.as_str() {
            "ok" => there.push(kind),
            lacks => println!("NOTE this kernel has no {}: {lacks}", kind.0),
        }
    }
    ensure!(there.len() >= at_least, "only {there:?} can be tried");
    let mut wrong = Vec::new();
    let events = Events::from_now()?;
    let without = Policy::named(agent);
    let mut inside = Place::Inside(&without).obey()?;
    // What the kernel lacks is denied before the kernel looks for it.
    for kind in kinds {
        let answer = make(&mut inside, kind.1)?;
        if answer != "EPERM" {
            wrong.push(format!("{}: {answer}, expected EPERM", kind.0));
        }
    }
    for free in [
        [2, 1, 0],
        [2, 2, 17],
        [10, 1, 6],
        [10, 2, 0],
        [1, 1, 0],
        [16, 3, 0],
    ] {
        let answer = make(&mut inside, free)?;
        if answer != "ok" {
            wrong.push(format!("{free:?}: {answer}, expected ok"));
        }
    }
    inside.end()?;
    let told = events.wait(agent, kinds.len())?;
    for (name, _, privilege) in kinds {
        let is_told = told.iter().any(|denial| {
            denial.object.socket.as_deref() == Some(*name)
                && denial.object.privilege == *privilege
                && denial.reason == "privilege missing"
                && denial.verdict == "deny"
        });
        if !is_told {
            wrong.push(format!(
                "no denial of {name} for want of {privilege} was told"
            ));
        }
    }
    let all = [
        "mptcp",
        "sockets",
        "cap_net_raw",
        "ping",
        "netlink",
        "vsock",
    ];
    let with = Policy::named(&format!("{agent}-with")).privileges(&all);
    let mut inside = Place::Inside(&with).obey()?;
    for (place, actor) in [("with it", &mut inside), ("afterwards", &mut outside)] {
        for kind in &there {
            let answer = make(actor, kind.1)?;
            if answer != "ok" {
                wrong.push(format!("{} {place}: {answer}, expected ok", kind.0));
            }
        }
    }
    inside.end()?;
    outside.end()?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
