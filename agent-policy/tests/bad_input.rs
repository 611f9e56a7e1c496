//! Each mistake gives one clear message with its place.

use agent_policy::{MAX_BYTES, parse};

fn one_line(bytes: &[u8]) -> String {
    let found = parse("p.yaml", bytes).expect_err("a mistake");
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines[0].clone()
}

const HEAD: &str = "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: demo}\n\
                    spec:\n  owner: {name: Ada, contact: ada@example.com}\n";

fn with(egress: &str) -> String {
    one_line(format!("{HEAD}{egress}\n").as_bytes())
}

fn to(address: &str) -> String {
    with(&format!("  egress: {{allow: [{{to: ['{address}']}}]}}"))
}

fn port(port: &str) -> String {
    with(&format!(
        "  egress: {{allow: [{{to: [10.0.0.1], ports: [{port}]}}]}}"
    ))
}

#[test]
fn files_that_are_no_policy() {
    assert_eq!(
        one_line(b""),
        "p.yaml: error: found no policy in the file, expected at least one document"
    );
    assert_eq!(one_line(b"# only a comment\n---\n"), one_line(b""));
    assert_eq!(
        one_line(b"kind: A\xff"),
        "p.yaml:1:8: error: found byte 0xff at byte offset 7, expected UTF-8 text"
    );
    assert_eq!(
        one_line(b"\x7fELF\x02\x01\x01\0\0"),
        "p.yaml:1:1: error: found character U+007F at byte offset 0, expected printable text"
    );
    assert_eq!(
        one_line(&vec![b'a'; 10 * 1024 * 1024]),
        format!("p.yaml: error: found 10485760 bytes, expected at most {MAX_BYTES} (1 MiB)")
    );
    assert!(
        one_line(b"a: [1, 2").starts_with("p.yaml:2:1: error: found malformed YAML ("),
        "{}",
        one_line(b"a: [1, 2")
    );
    assert!(one_line(b"just words").contains("expected a mapping for a policy document"));
}

#[test]
fn yaml_that_could_mean_two_things() {
    assert!(one_line(b"a: &x 1\nb: *x\n").contains("1:4: error: found a YAML anchor"));
    assert!(one_line(b"a: !!int 1\n").contains("found a YAML tag"));
    assert!(
        one_line(b"a: 1\nb: 2\na: 3\n")
            .contains("3:1: error: found field \"a\" again, expected it once (first on line 1)")
    );
    assert!(one_line(b"<<: {a: 1}\n").contains("anchor"));
    assert!(one_line(&[b'['; 5000]).contains("found nesting deeper than 32 levels"));
    assert!(one_line("a: \u{202e}b\n".as_bytes()).contains("U+202E at byte offset 3"));
}

#[test]
fn fields() {
    assert_eq!(
        with("  egres: {}"),
        "p.yaml:6:3: error: found unknown field \"egres\" in spec, expected owner, purpose, identity, session, extends, variables, facts, egress, listen, exec, files, chain, tools, privileges, end, mode, minEnforcement, onChange or grant"
    );
    let full = parse("p.yaml", b"apiVersion: interlock.dev/v1alpha1\nkind: AgentPolcy\nmetadata: {name: x}\nspec: {owner: {name: a, contact: b}}").unwrap_err();
    assert_eq!(
        full.to_string(),
        "p.yaml:2:7: error: found \"AgentPolcy\", expected \"kind: AgentPolicy\"\n   |\n 2 | kind: AgentPolcy\n   |       ^^^^^^^^^^"
    );
}

/// Found by fuzzing: a name that moves the cursor where it is offered for another.
#[test]
fn variables() {
    assert_eq!(
        with("  variables: {\"a\\tb\": x}"),
        "p.yaml:6:15: error: found the variable \"a\\tb\", expected a name of letters, digits, - and _"
    );
}

#[test]
fn ports() {
    for bad in [
        "0", "65536", "-1", "0443", "0x1bb", "4_43", "1:20", "no", "443-", "'8 0'", "~",
    ] {
        let line = port(bad);
        assert!(
            line.starts_with("p.yaml:6:45: error: found ")
                && line.ends_with("expected a port from 1 to 65535 or a range such as 8000-8010"),
            "{line}"
        );
    }
    assert!(port("9-8").contains("expected the lower port first: 8-9"));
    assert!(
        with("  egress: {allow: [{to: [10.0.0.1], ports: []}]}").contains("found an empty list")
    );
    assert!(with("  egress: {allow: [{to: []}]}").contains("found an empty list"));
    assert!(
        with("  egress: {allow: [{to: [10.0.0.1], protocol: TCP}]}")
            .contains("found \"TCP\", expected tcp or udp")
    );
}

#[test]
fn addresses() {
    assert!(
        to("10.0.0.1/8").contains("expected the network 10.0.0.0/8, or the address 10.0.0.1 alone")
    );
    assert!(to("2001:db8::1/32").contains("expected the network 2001:db8::/32"));
    assert!(
        to("10.0.0.0/33")
            .contains("prefix length \"33\" in \"10.0.0.0/33\", expected a number from 0 to 32")
    );
    assert!(to("10.0.0.0/08").contains("prefix length"));
    assert!(to("10.0.0.010").contains("leading zero"));
    assert!(to("10.0.1").contains("expected four parts"));
    assert!(to("256.0.0.1").contains("expected four parts"));
    assert!(to("fe80::1%eth0").contains("with a zone"));
    assert!(to("0.0.0.0").contains("expected 127.0.0.1"));
    assert!(to("::").contains("expected ::1"));
    assert!(to("::ffff:10.0.0.0/104").contains("expected 10.0.0.0/8"));
    assert!(to("64:ff9b::10.0.0.1").contains("expected 10.0.0.1/32"));
    assert!(to("64:ff9b::/96").contains("expected 0.0.0.0/0"));
    assert!(to("::ffff:0:0/95").contains("error"));
}

#[test]
fn sessions_that_no_kernel_could_recognise() {
    let session = |way: &str| with(&format!("  session: [{{{way}}}]"));
    for way in ["cgroup: a", "cgroup: /a/*", "cgroup: /sys/fs/cgroup/a"] {
        let expected = "expected a cgroup's whole path below /sys/fs/cgroup";
        assert!(session(way).contains(expected), "{way}");
    }
    let long = format!("cgroup: /{}", "a".repeat(255));
    assert!(session(&long).contains("at most 255 bytes"));
    for way in ["systemdUnit: agent", "systemdUnit: agent-*.service"] {
        let expected = "expected the whole name of a unit";
        assert!(session(way).contains(expected), "{way}");
    }
    let long = format!("executable: /opt/{}", "a".repeat(62));
    assert!(session(&long).contains("whose last name has at most 61 bytes"));
    for (pod, expected) in [
        (
            "namespace: agents-*, container: a",
            "expected the whole name of the pod's namespace",
        ),
        (
            "namespace: a, serviceAccount: A",
            "expected the whole name of a service account",
        ),
        (
            "namespace: a, container: /a",
            "expected the container's whole name in its pod",
        ),
        (
            "namespace: a, podLabels: {app: \"a*\"}",
            "found \"app: a*\", expected a name and a value",
        ),
        (
            "namespace: a, podAnnotations: {a b: c}",
            "found \"a b: c\", expected a name and a value",
        ),
    ] {
        let said = session(&format!("kubernetes: {{{pod}}}"));
        assert!(said.contains(expected), "{pod}: {said}");
    }
    let said = session("container: {name: \"web*\"}");
    assert!(
        said.contains("expected the container's whole name"),
        "{said}"
    );
}

#[test]
fn answers_that_nobody_could_give() {
    let approval = |more: &str| {
        let approval = format!("approval: {{by: [ada], {more}}}");
        with(&format!(
            "  exec: {{allow: [{{programs: [/bin/a], {approval}}}]}}"
        ))
    };
    assert!(approval("answer: '1 +'").contains("found no CEL expression"));
    let people = "answer: 'true', people: 2";
    assert!(approval(people).contains("found an answer by itself beside 2 people"));
}

#[test]
fn two_rules_of_one_name() {
    let policy = format!(
        "{HEAD}  exec: {{allow: [{{programs: [/bin/a], id: one}}]}}\n\
         \x20 files: {{allow: [{{access: [read], paths: [/a], id: one}}]}}\n"
    );
    let found = parse("a.yaml", policy.as_bytes()).unwrap()[0].compile();
    let found = found.unwrap_err().to_string();
    assert!(
        found.contains("found a second rule called \"one\""),
        "{found}"
    );
}
