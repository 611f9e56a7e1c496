//! What the compiled egress tables answer, compared with what the policy says.

use agent_common::decide::Verdict;
use agent_common::egress::{Endpoint, TCP, UDP};
use agent_policy::{Compiled, parse};
use proptest::prelude::*;

fn policy(egress: &str) -> String {
    format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: demo}}\nspec:\n  owner: {{name: Ada, contact: ada@example.com}}\n  egress: {egress}\n"
    )
}

fn compile(egress: &str) -> Compiled {
    let policies = parse("demo.yaml", policy(egress).as_bytes()).expect("a policy");
    policies[0].compile().expect("tables")
}

/// Does what the kernel does: one longest-prefix lookup for the address, one for the port.
fn rule_for(compiled: &Compiled, endpoint: Endpoint) -> Option<u32> {
    let address = u128::from_be_bytes(endpoint.address);
    let network = compiled
        .networks
        .iter()
        .filter(|n| {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(n.prefix_len))
                .unwrap_or(0);
            (u128::from_be_bytes(n.address) ^ address) & mask == 0
        })
        .max_by_key(|n| n.prefix_len)?;
    let port = compiled
        .ports
        .iter()
        .filter(|p| p.set == network.set && p.protocol == endpoint.protocol)
        .filter(|p| {
            let mask = u16::MAX
                .checked_shl(16 - u32::from(p.prefix_len))
                .unwrap_or(0);
            (p.port ^ endpoint.port) & mask == 0
        })
        .max_by_key(|p| p.prefix_len)?;
    Some(port.rule)
}

fn allows(compiled: &Compiled, endpoint: Endpoint) -> bool {
    rule_for(compiled, endpoint)
        .is_some_and(|rule| compiled.rules[rule as usize].verdict == Verdict::Allow.wire())
}

fn v6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>()
        .expect("an address")
        .octets()
}

#[test]
fn what_is_named_is_allowed_and_nothing_else() {
    let c = compile(
        "{allow: [{to: [10.0.0.0/8, 'fd00::/8'], ports: [443, 8000-8010], protocol: tcp}]}",
    );
    assert!(allows(&c, Endpoint::v4([10, 1, 2, 3], 443, TCP)));
    assert!(allows(&c, Endpoint::v4([10, 1, 2, 3], 8000, TCP)));
    assert!(allows(&c, Endpoint::v4([10, 1, 2, 3], 8010, TCP)));
    assert!(allows(&c, Endpoint::v6(v6("fd00::1"), 443, TCP)));
    assert!(!allows(&c, Endpoint::v4([10, 1, 2, 3], 443, UDP)));
    assert!(!allows(&c, Endpoint::v4([10, 1, 2, 3], 7999, TCP)));
    assert!(!allows(&c, Endpoint::v4([10, 1, 2, 3], 8011, TCP)));
    assert!(!allows(&c, Endpoint::v4([11, 0, 0, 1], 443, TCP)));
    assert!(!allows(&c, Endpoint::v6(v6("fe00::1"), 443, TCP)));
}

#[test]
fn no_ports_is_every_port_and_no_protocol_is_both() {
    let c = compile("{allow: [{to: [192.0.2.7]}]}");
    for port in [0, 1, 65535] {
        for protocol in [TCP, UDP] {
            assert!(allows(&c, Endpoint::v4([192, 0, 2, 7], port, protocol)));
        }
    }
    assert_eq!(c.ports.len(), 2);
}

#[test]
fn missing_and_empty_allowlists_deny_all() {
    for egress in ["{}", "{allow: []}", "{deny: []}"] {
        let c = compile(egress);
        assert!(c.networks.is_empty(), "{egress}");
        assert_eq!(rule_for(&c, Endpoint::v4([192, 0, 2, 7], 1, TCP)), None);
    }
}

#[test]
fn all_of_ipv6_does_not_include_ipv4() {
    let c = compile("{allow: [{to: ['::/0']}]}");
    assert!(allows(&c, Endpoint::v6(v6("2001:db8::1"), 1, TCP)));
    for spelling in ["::ffff:192.0.2.1", "64:ff9b::192.0.2.1"] {
        assert!(
            !allows(&c, Endpoint::v6(v6(spelling), 1, TCP)),
            "{spelling}"
        );
    }
    assert!(!allows(&c, Endpoint::v4([192, 0, 2, 1], 1, TCP)));
}

#[test]
fn loopback_must_be_named() {
    let wide = compile("{allow: [{to: [0.0.0.0/0, '::/0']}]}");
    assert!(allows(&wide, Endpoint::v4([192, 0, 2, 1], 1, TCP)));
    assert!(!allows(&wide, Endpoint::v4([127, 0, 0, 1], 1, TCP)));
    assert!(!allows(&wide, Endpoint::v4([0, 0, 0, 0], 1, TCP)));
    assert!(!allows(&wide, Endpoint::v6(v6("::1"), 1, TCP)));
    assert!(!allows(&wide, Endpoint::v6(v6("::"), 1, TCP)));
    let named = compile("{allow: [{to: [127.0.0.1, '::1'], ports: [53]}]}");
    assert!(allows(&named, Endpoint::v4([127, 0, 0, 1], 53, TCP)));
    assert!(allows(&named, Endpoint::v6(v6("::1"), 53, UDP)));
    assert!(!allows(&named, Endpoint::v4([127, 0, 0, 1], 54, TCP)));
}

#[test]
fn metadata_multicast_and_broadcast_must_be_named() {
    let places = [
        ("169.254.169.254", "169.254.0.0/16", "169.254.169.254"),
        ("fd00:ec2::254", "fd00:ec2::/32", "fd00:ec2::254"),
        ("239.1.2.3", "128.0.0.0/1", "239.0.0.0/8"),
        ("ff02::fb", "::/0", "ff02::/16"),
        ("255.255.255.255", "240.0.0.0/4", "255.255.255.255"),
    ];
    for (address, around, name) in places {
        let endpoint = match address.parse().unwrap() {
            std::net::IpAddr::V4(v4) => Endpoint::v4(v4.octets(), 80, TCP),
            std::net::IpAddr::V6(v6) => Endpoint::v6(v6.octets(), 80, TCP),
        };
        let wide = compile(&format!(
            "{{allow: [{{to: ['{around}', 0.0.0.0/0, '::/0']}}]}}"
        ));
        assert!(!allows(&wide, endpoint), "{address} by {around}");
        let named = compile(&format!("{{allow: [{{to: ['{around}', '{name}']}}]}}"));
        assert!(allows(&named, endpoint), "{address} by {name}");
    }
    // What lies beside them is not meant.
    let wide = compile("{allow: [{to: [169.254.0.0/16]}]}");
    assert!(allows(&wide, Endpoint::v4([169, 254, 169, 253], 80, TCP)));
}

#[test]
fn the_narrower_rule_decides_and_deny_breaks_ties() {
    let c = compile(
        "{allow: [{to: [0.0.0.0/0], ports: [443]}, {to: [10.1.2.3]}, {to: [192.0.2.0/24], ports: [1-100]}],
          deny: [{to: [10.0.0.0/8]}, {to: [192.0.2.0/24], ports: [1-100]}]}",
    );
    assert!(allows(&c, Endpoint::v4([8, 8, 8, 8], 443, TCP)));
    assert!(!allows(&c, Endpoint::v4([10, 9, 9, 9], 443, TCP)));
    assert!(allows(&c, Endpoint::v4([10, 1, 2, 3], 9, TCP)));
    assert!(!allows(&c, Endpoint::v4([192, 0, 2, 1], 50, TCP)));
    assert!(allows(&c, Endpoint::v4([192, 0, 2, 1], 443, TCP)));
}

#[test]
fn equal_port_sets_are_shared() {
    let c = compile("{allow: [{to: [10.0.0.1, 10.0.0.2, 10.0.0.3], ports: [1-65535]}]}");
    assert_eq!((c.networks.len(), c.sets()), (3, 1));
}

#[test]
fn the_digest_is_of_the_meaning() {
    let text = policy("{allow: [{to: [10.0.0.0/8]}]}");
    let digest = |text: &str| {
        parse("a", text.as_bytes()).unwrap()[0]
            .compile()
            .unwrap()
            .digest
    };
    let commented = format!("# why\n\n{}", text.replace("10.0.0.0/8", "\"10.0.0.0/8\" "));
    assert_eq!(digest(&text), digest(&commented));
    assert_ne!(
        digest(&text),
        digest(&text.replace("10.0.0.0/8", "10.0.0.0/9"))
    );
    assert_ne!(digest(&text), digest(&text.replace("Ada", "Eve")));
}

#[derive(Clone, Debug)]
struct Draw {
    allow: bool,
    address: u8,
    len: u8,
    first: u16,
    width: u16,
    protocol: Option<u8>,
}

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    let draw = (any::<bool>(), 0u8..16, 0u8..=4, 1u16..30, 0u16..12, 0u8..3).prop_map(
        |(allow, address, len, first, width, protocol)| Draw {
            allow,
            address: address & (0xf0 >> len),
            len,
            first,
            width,
            protocol: [None, Some(TCP), Some(UDP)][protocol as usize],
        },
    );
    proptest::collection::vec(draw, 0..8)
}

/// The words of docs/policy.md, one comparison after the other.
fn model(draws: &[Draw], address: u8, port: u16, protocol: u8) -> bool {
    let mut speaking: Vec<(u8, u16, bool)> = Vec::new();
    for draw in draws {
        if address & (0xf0 >> draw.len) & 0xf == draw.address & 0xf
            && (draw.first..=draw.first + draw.width).contains(&port)
            && draw.protocol.is_none_or(|own| own == protocol)
        {
            speaking.push((4 - draw.len, draw.width, draw.allow));
        }
    }
    speaking.sort();
    speaking.first().is_some_and(|(_, _, allow)| *allow)
}

proptest! {
    #[test]
    fn tables_agree_with_the_words(draws in draws(), address in 0u8..16, port in 0u16..45, udp in any::<bool>()) {
        let mut text = String::new();
        for word in ["allow", "deny"] {
            text += &format!("\n    {word}:\n");
            for d in draws.iter().filter(|d| d.allow == (word == "allow")) {
                let protocol = d.protocol.map_or("", |p| if p == TCP { ", protocol: tcp" } else { ", protocol: udp" });
                let bits = (d.address & (0xf0 >> d.len) & 0xf) << 4;
                text += &format!("      - {{to: [10.{bits}.0.0/{}], ports: [{}-{}]{protocol}}}\n", 8 + d.len, d.first, d.first + d.width);
            }
            if !draws.iter().any(|d| d.allow == (word == "allow")) {
                text = text.trim_end().to_owned() + " []\n";
            }
        }
        let compiled = compile(&text);
        let protocol = if udp { UDP } else { TCP };
        let normal: Vec<Draw> = draws.iter().cloned().map(|mut d| { d.address &= (0xf0 >> d.len) & 0xf; d }).collect();
        let endpoint = Endpoint::v4([10, address << 4, 1, 1], port, protocol);
        prop_assert_eq!(allows(&compiled, endpoint), model(&normal, address, port, protocol));
    }
}
