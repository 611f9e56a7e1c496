//! Random policies and traces over a small world, so that rules meet each other often.

use agent_common::egress::{Endpoint, TCP, UDP};
use agent_common::path::Access;
use agent_common::privilege::Privilege;
use agent_policy::{Action, Instant, Policy};

use crate::model::Step;

/// SplitMix64.
pub(crate) struct Draw(u64);

const NETWORKS: [&str; 18] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3",
    "0.0.0.0/0",
    "127.0.0.1",
    "\"::/0\"",
    "\"::1\"",
    "\"2001:db8::/32\"",
    "\"2001:db8::1\"",
    "loopback",
    "96.0.0.0/3",
    "169.254.0.0/16",
    "169.254.169.254",
    "224.0.0.0/4",
    "255.255.255.255",
    "\"fd00:ec2::/32\"",
    "\"ff02::/16\"",
];
const PORTS: [&str; 7] = [
    "443", "1-1024", "400-500", "440-450", "8080", "53", "1-65535",
];
const PORT_NUMBERS: [u16; 7] = [53, 80, 440, 443, 450, 8080, 9000];
const PATHS: [&str; 12] = [
    "/w/**",
    "/w/src/**",
    "/w/src/a.rs",
    "/w/.env",
    ".env",
    "\"*.rs\"",
    "\"*.env\"",
    "/**",
    "a.rs",
    "/etc/**",
    "/w/src/deep/**",
    "/w",
];
const FILES: [&str; 9] = [
    "/w/src/a.rs",
    "/w/src/b.rs",
    "/w/.env",
    "/etc/.env",
    "/w",
    "/w/src/deep/x/a.rs",
    "/etc/pw",
    "/other",
    "/wide/a",
];
const PROGRAMS: [&str; 6] = ["/bin/git", "/bin/**", "git", "/w/**", "/bin/sh", "/**"];
/// Names as authors write them: in several forms, each of which has one meaning.
const HOSTS: [&str; 9] = [
    "api.example.com",
    "API.Example.com.",
    "\"*.example.com\"",
    "\"*.api.example.com\"",
    "\"*.EXAMPLE.com\"",
    "example.com",
    "bücher.example",
    "\"*.bücher.example\"",
    "v1.api.example.com",
];
/// Names as actions give them.
const NAMES: [&str; 9] = [
    "api.example.com",
    "Api.EXAMPLE.com.",
    "v1.api.example.com",
    "www.example.com",
    "example.com",
    "badexample.com",
    "xn--bcher-kva.example",
    "Shop.Bücher.Example",
    "other.test",
];
const ACCESSES: [&str; 4] = ["read", "write", "create", "delete"];
const ARGS: [&str; 3] = [
    "{at: 1, is: push}",
    "{is: \"--force\"}",
    "{at: 1, startsWith: st}",
];
const DIGEST: u8 = 0xab;

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("a small number")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn some(&mut self, from: &[&str], most: usize) -> String {
        let count = 1 + self.below(most);
        let picked: Vec<&str> = (0..count).map(|_| self.pick(from)).collect();
        picked.join(", ")
    }

    pub(crate) fn start(&mut self) -> Instant {
        // Some minute of some week, so that hours open and close.
        let wall_s = 1_700_000_000 + self.next() % (7 * 86_400);
        Instant {
            now_ns: 1_000_000_000 * (1 + self.next() % 1000),
            wall_s,
        }
    }

    pub(crate) fn policy(&mut self) -> String {
        let facts = self.below(4);
        let steps = if self.one_in(2) { 0 } else { 1 + self.below(4) };
        let mut text = "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: drawn}\nspec:\n  owner: {name: a, contact: b}\n".to_owned();
        text += &format!(
            "  end: {{onDeviation: {}}}\n",
            self.pick(&[
                "deny", "deny", "deny", "deny", "deny", "deny", "kill", "revoke"
            ])
        );
        if self.one_in(10) {
            text = text.replace("onDeviation", "revokeOn: [deviation], onDeviation");
        } else if self.one_in(10) {
            text = text.replace("onDeviation", "revokeOn: [failure], onDeviation");
        } else if self.one_in(5) {
            text = text.replace("onDeviation", "revokeOn: [budget], onDeviation");
        }
        if facts > 0 {
            text += "  facts:\n";
            for i in 0..facts {
                let expires = if self.one_in(3) { ", expires: 30s" } else { "" };
                text += &format!("    - {{fact: f{i}{expires}}}\n");
            }
        }
        let has_tool = self.one_in(3);
        for key in ["egress", "listen", "exec", "files"] {
            if self.one_in(4) && key != "egress" {
                continue;
            }
            text += &format!("  {key}:\n");
            if key == "egress" && self.one_in(6) {
                text += "    via: {address: 192.0.2.1, port: 3128}\n";
            }
            for effect in ["allow", "deny", "kill"] {
                let count = match effect {
                    "kill" => usize::from(self.one_in(4)),
                    _ => self.below(4),
                };
                let mut rules: Vec<String> = (0..count)
                    .map(|_| format!("{{{}}}", self.rule(key, effect, facts, steps)))
                    .collect();
                if has_tool && key == "egress" && effect == "allow" {
                    // What the tool allows must be the agent's.
                    rules.push("{to: [10.0.0.0/8, \"*.example.com\"]}".to_owned());
                }
                text += &format!("    {effect}: [{}]\n", rules.join(",\n      "));
            }
        }
        if has_tool {
            self.tool(&mut text, facts, steps);
        }
        let privileges: Vec<&str> = Privilege::ALL
            .iter()
            .map(|privilege| privilege.word())
            .filter(|_| self.one_in(8))
            .collect();
        if has_tool {
            // One of the agent's, and one that a tool may have for itself.
            let mut own: Vec<&str> = privileges.iter().take(1).copied().collect();
            if self.one_in(4) && !own.contains(&"jit") {
                own.push("jit");
            }
            if !own.is_empty() {
                text += &format!("      privileges: [{}]\n", own.join(", "));
            }
        }
        if !privileges.is_empty() {
            text += &format!("  privileges: [{}]\n", privileges.join(", "));
        }
        if steps > 0 {
            self.chain(&mut text, facts, steps);
        }
        text
    }

    /// A tool that allows part of what its agent does, and denies some of it.
    fn tool(&mut self, text: &mut String, facts: usize, steps: usize) {
        *text += "  tools:\n    - tool: t0\n      owner: {name: a, contact: b}\n      start: {programs: [/bin/t0]}\n      egress:\n";
        for effect in ["allow", "deny"] {
            let rules: Vec<String> = (0..1 + self.below(3))
                .map(|_| {
                    let to = [
                        "10.1.0.0/16",
                        "10.1.2.0/24",
                        "10.1.2.3",
                        "api.example.com",
                        "\"*.api.example.com\"",
                    ];
                    let mut fields = format!("to: [{}]", self.some(&to, 2));
                    if self.one_in(3) {
                        fields += &format!(", ports: [{}]", self.some(&PORTS, 2));
                    }
                    self.conditions(&mut fields, effect, facts, steps);
                    format!("{{{fields}}}")
                })
                .collect();
            *text += &format!("        {effect}: [{}]\n", rules.join(", "));
        }
    }

    fn chain(&mut self, text: &mut String, facts: usize, steps: usize) {
        *text += "  chain:\n";
        if self.one_in(3) {
            *text += "    failedBy: [exit, deviation]\n";
        }
        *text += "    steps:\n";
        let mut i = 0;
        while i < steps {
            let group = if self.one_in(4) {
                (steps - i).min(2)
            } else {
                1
            };
            if group > 1 {
                *text += "      - anyOf:\n";
            }
            for _ in 0..group {
                let indent = if group > 1 { "          " } else { "      " };
                *text += &format!(
                    "{indent}- step: s{i}\n{indent}  repeat: {}\n",
                    self.one_in(2)
                );
                *text += &format!("{indent}  optional: {}\n", self.one_in(4));
                if self.one_in(3) {
                    let reset = self.below(steps);
                    *text += &format!("{indent}  resets: [s{reset}]\n");
                }
                if self.one_in(3) {
                    *text += &format!("{indent}  within: 20s\n");
                }
                if self.one_in(5) {
                    *text += &format!(
                        "{indent}  approval: {{by: [x], once: {}}}\n",
                        self.one_in(2)
                    );
                }
                let key = self.pick(&["egress", "exec", "files"]);
                let rule = self.rule(key, "step", facts, 0);
                *text += &format!("{indent}  {key}: [{{{rule}}}]\n");
                i += 1;
            }
        }
    }

    fn rule(&mut self, key: &str, effect: &str, facts: usize, steps: usize) -> String {
        let mut fields = match key {
            "egress" if self.one_in(8) => format!("to: [agent:a{}]", self.below(2)),
            "egress" if self.one_in(8) => {
                format!("to: [\"unix:{}\"]", self.pick(&PATHS).replace('"', ""))
            }
            "egress" | "listen" => {
                let what = if key == "egress" { "to" } else { "on" };
                let mut to = self.some(&NETWORKS, 2);
                let by_name = key == "egress" && self.one_in(3);
                if by_name {
                    to = self.some(&HOSTS, 3);
                }
                let mut fields = format!("{what}: [{to}]");
                if self.one_in(2) {
                    fields += &format!(", ports: [{}]", self.some(&PORTS, 2));
                }
                if by_name && matches!(effect, "allow" | "step") && self.one_in(3) {
                    fields += ", sni: required";
                } else if self.one_in(3) {
                    fields += &format!(", protocol: {}", self.pick(&["tcp", "udp"]));
                }
                fields
            }
            "exec" => {
                let mut fields = match self.one_in(6) {
                    true => format!(
                        "digests: [\"sha256:{}\"]",
                        format!("{DIGEST:02x}").repeat(32)
                    ),
                    false => format!("programs: [{}]", self.some(&PROGRAMS, 2)),
                };
                if self.one_in(3) {
                    fields += &format!(", args: [{}]", self.some(&ARGS, 2));
                }
                if self.one_in(4) && (effect == "allow" || effect == "step") {
                    fields += ", notWritable: true";
                }
                fields
            }
            _ => format!(
                "access: [{}], paths: [{}]",
                self.some(&ACCESSES, 3),
                self.some(&PATHS, 2)
            ),
        };
        self.conditions(&mut fields, effect, facts, steps);
        fields
    }

    fn conditions(&mut self, fields: &mut String, effect: &str, facts: usize, steps: usize) {
        let allows = effect == "allow" || effect == "step";
        if facts > 0 {
            for key in ["requires", "forbids", "sets", "clears"] {
                let odds = if key == "sets" { 2 } else { 5 };
                if self.one_in(odds) && (allows || key == "requires" || key == "forbids") {
                    *fields += &format!(", {key}: [f{}]", self.below(facts));
                }
            }
        }
        let during = steps > 0 && self.one_in(4);
        if during {
            let names: Vec<String> = (0..=self.below(2))
                .map(|_| format!("s{}", self.below(steps)))
                .collect();
            *fields += &format!(", during: [{}]", names.join(", "));
        }
        let hours = self.one_in(6);
        let mut approval = allows && self.one_in(6);
        if hours {
            let mut otherwise = "deny";
            if allows && self.one_in(2) {
                approval = true;
                otherwise = "approval";
            }
            *fields += &format!(
                ", hours: {{from: \"{}\", to: \"{}\", days: [mon, tue, sat], zone: UTC, otherwise: {otherwise}}}",
                self.pick(&["09:00", "00:00", "20:00"]),
                self.pick(&["17:30", "24:00", "06:00", "20:00"]),
            );
        }
        if approval {
            let expires = if self.one_in(2) { ", expires: 15s" } else { "" };
            *fields += &format!(", approval: {{by: [x], once: {}{expires}}}", self.one_in(2));
        }
        if allows && self.one_in(3) {
            let mut limits = vec![
                "rate: 2/min",
                "rate: 3/s, burst: 2",
                "perSession: 2",
                "bytesPerSession: 500B",
                // Two limits, of which now the one and now the other is used up first.
                "rate: 1/min, perSession: 3",
                "perSession: 1, bytesPerSession: 500B",
                "rate: 10/s, bytesPerSession: 150B",
            ];
            if during || effect == "step" {
                limits.extend(["perStep: 1", "bytesPerStep: 300B, perStep: 3"]);
            }
            *fields += &format!(", limit: {{{}}}", self.pick(&limits));
        }
    }

    pub(crate) fn trace(&mut self, policy: &Policy) -> Vec<Step> {
        let rules = policy.authored().len();
        let length = 5 + self.below(30);
        (0..length)
            .map(|_| match self.below(10) {
                0 => Step::Wait(self.pick(&[1, 5, 12, 25, 3600, 40_000])),
                1 | 2 if rules > 0 => Step::Approve(u32::try_from(self.below(rules)).expect("few")),
                _ => Step::Attempt {
                    action: self.action(),
                    tool: (!policy.tools.is_empty() && self.one_in(2)).then_some(0),
                    bytes: self.pick(&[0, 100, 250]),
                },
            })
            .collect()
    }

    fn action(&mut self) -> Action {
        match self.below(15) {
            12..=13 => Action::Host {
                name: self.pick(&NAMES).to_owned(),
                port: self.pick(&PORT_NUMBERS),
                protocol: self.pick(&[TCP, TCP, UDP]),
            },
            14 => Action::Privilege(self.pick(Privilege::ALL)),
            0..=4 => Action::Connect(self.endpoint()),
            5 => Action::Listen(self.endpoint()),
            6 => Action::Agent(format!("a{}", self.below(2))),
            7..=8 => Action::Exec {
                path: self
                    .pick(&["/bin/git", "/bin/sh", "/w/tool", "/w/git", "/opt/x"])
                    .to_owned(),
                digest: self.one_in(3).then_some([DIGEST; 32]),
                arguments: ["prog"]
                    .into_iter()
                    .chain([
                        self.pick(&["push", "status", "--force", "x"]),
                        self.pick(&["--force", "y"]),
                    ])
                    .map(str::to_owned)
                    .collect(),
                writable: self.one_in(2),
            },
            _ => Action::File {
                path: self.pick(&FILES).to_owned(),
                access: self.pick(&[
                    Access::Read,
                    Access::Write,
                    Access::Create,
                    Access::Delete,
                    Access::Connect,
                ]),
            },
        }
    }

    fn endpoint(&mut self) -> Endpoint {
        let port = self.pick(&PORT_NUMBERS);
        let protocol = self.pick(&[TCP, TCP, UDP]);
        let v6 = |text: &str| {
            text.parse::<std::net::Ipv6Addr>()
                .expect("an address")
                .octets()
        };
        match self.below(13) {
            9 => Endpoint::v4([169, 254, 169, 254], port, protocol),
            10 => Endpoint::v4([239, 1, 2, 3], port, protocol),
            11 => Endpoint::v4([255; 4], port, protocol),
            12 => Endpoint::v6(v6("fd00:ec2::254"), port, protocol),
            0 => Endpoint::v4([10, 1, 2, 3], port, protocol),
            1 => Endpoint::v4([10, 1, 2, 4], port, protocol),
            2 => Endpoint::v4([10, 1, 9, 9], port, protocol),
            3 => Endpoint::v4([10, 9, 9, 9], port, protocol),
            4 => Endpoint::v4([127, 0, 0, 1], port, protocol),
            5 => Endpoint::v6(v6("::ffff:10.1.2.3"), port, protocol),
            6 => Endpoint::v6(v6("::1"), port, protocol),
            7 => Endpoint::v6(v6("2001:db8::1"), port, protocol),
            _ => Endpoint::v4([192, 0, 2, 1], port, protocol),
        }
    }
}
