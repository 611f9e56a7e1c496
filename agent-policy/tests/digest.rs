//! The digest names a policy: the same for the same meaning, another for another.

use std::collections::BTreeSet;

use agent_policy::{Compiled, Policy, diff, parse};

const CODER: &str = include_str!("golden/coder.yaml");
const WHOLE: &str = include_str!("golden/whole.yaml");

fn read(text: &str) -> (Policy, Compiled) {
    let policies = parse("a.yaml", text.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
    let policy = policies.into_iter().next().expect("a policy");
    let compiled = policy.compile().unwrap_or_else(|found| panic!("{found}"));
    (policy, compiled)
}

fn compile(text: &str) -> Compiled {
    read(text).1
}

/// Fails when the encoding or the tables change: then the digest's version must grow, and these
/// values too.
#[test]
fn digests_stay_as_they_are() {
    for (text, digest) in [
        (
            CODER,
            "0a4e997818e048f8f9754fe70f8bdfbff92080f1c5819cef354d461b5d4b9191",
        ),
        (
            WHOLE,
            "227e05b695522bc74081f8fe9dcf54e45655540534bd3e0fb7e17289766b4867",
        ),
    ] {
        let first = compile(text);
        assert_eq!(first, compile(text));
        assert_eq!(first.digest_hex(), digest);
        assert_eq!(first.json()["digest"], digest);
    }
}

#[test]
fn layout_comments_and_the_order_of_labels_do_not_count() {
    let digest = compile(WHOLE).digest;
    let labels = WHOLE.replace("{team: finance, tier: one}", "{tier: one, team: finance}");
    assert_ne!(labels, WHOLE);
    assert_eq!(compile(&labels).digest, digest);
    let commented = WHOLE.replace("\n", "   # words\n");
    assert_eq!(compile(&commented).digest, digest);
}

/// Each word of the whole policy that is changed gives another digest, and is a difference.
#[test]
fn every_part_of_a_policy_is_in_its_digest_and_a_difference() {
    let changes = [
        ("name: whole", "name: other"),
        ("team: finance", "team: sales"),
        ("name: Ada", "name: Eve"),
        ("contact: ada@", "contact: eve@"),
        ("purpose: Reports.", "purpose: Other."),
        ("agents/whole", "agents/other"),
        ("version: \"2\"", "version: \"3\""),
        ("models: [model-1]", "models: [model-1, model-2]"),
        ("session: [run,", "session: ["),
        (
            "podLabels: {app: a}",
            "podLabels: {app: a}, podAnnotations: {app: a}",
        ),
        ("podLabels: {app: a}", "podLabels: {app: a}, container: a"),
        ("podLabels: {app: a}", "podLabels: {app: a}, entered: true"),
        ("podLabels: {app: a}", "podLabels: {app: a}, whenAway: deny"),
        ("podLabels: {app: a}", "podLabels: {app: a}, image: a"),
        ("executable: /opt/agent", "executable: /opt/other"),
        ("systemdUnit: a.service", "cgroup: /a.service"),
        ("cgroup: /agents.slice", "cgroup: /other.slice"),
        ("namespace: agents", "namespace: others"),
        ("podLabels: {app: a}", "podLabels: {app: b}"),
        ("serviceAccount: a}", "serviceAccount: b}"),
        ("meaning: it was read", "meaning: it was not"),
        (", expires: 1h}", ", expires: 2h}"),
        ("10.0.0.0/8", "10.0.0.0/9"),
        ("ports: [443]", "ports: [444]"),
        ("protocol: tcp", "protocol: udp"),
        ("*.example.com", "*.example.org"),
        ("unix:/run/db.sock", "unix:/run/dc.sock"),
        ("agent:reviewer", "agent:auditor"),
        ("on: [127.0.0.1]", "on: [127.0.0.2]"),
        ("programs: [/usr/bin/send]", "programs: [/usr/bin/sent]"),
        ("sha256:abab", "sha256:abac"),
        ("startsWith: --to=", "startsWith: --cc="),
        ("{is: --now}", "{startsWith: --now}"),
        ("{at: 2,", "{at: 3,"),
        ("notWritable: true", "notWritable: false"),
        ("paths: [/srv/**]", "paths: [/srv]"),
        ("access: [read]", "access: [write]"),
        ("deny: [{access", "kill: [{access"),
        ("paths: [.env]", "paths: [\"*.env\"]"),
        ("sets: [seen]", "clears: [seen]"),
        ("requires: [seen]", "forbids: [seen]"),
        ("rate: 10/min", "rate: 11/min"),
        ("burst: 3", "burst: 4"),
        ("bytesPerSession: 20MB", "bytesPerSession: 21MB"),
        ("perSession: 500", "perSession: 501"),
        ("from: \"09:00\"", "from: \"08:00\""),
        ("to: \"18:00\"", "to: \"19:00\""),
        ("days: [mon, tue]", "days: [mon, wed]"),
        ("zone: Europe/Berlin", "zone: Europe/Paris"),
        ("otherwise: approval", "otherwise: deny"),
        ("by: [leads]", "by: [others]"),
        ("once: true", "once: false"),
        ("expires: 10m", "expires: 11m"),
        ("expires: 10m", "wait: 1m, expires: 10m"),
        ("expires: 10m", "people: 2, expires: 10m"),
        ("expires: 10m", "people: 3, expires: 10m"),
        ("expires: 10m", "controllerLost: wait, expires: 10m"),
        ("expires: 10m", "answer: 'true', expires: 10m"),
        ("expires: 10m", "answer: 'false', expires: 10m"),
        ("show: [branch]", "show: [diff]"),
        ("id: send", "id: sent"),
        ("step: fix", "step: mend"),
        ("within: 5m", "within: 6m"),
        ("repeat: true", "repeat: false"),
        ("optional: true", "optional: false"),
        ("resets: [fetch], ", ""),
        ("because: Fetch first.", "because: Fetch"),
        ("because: Secrets stay.", "because: Secrets"),
        ("during: [fetch]", "during: [post]"),
        ("failedBy: [timeout]", "failedBy: [exit]"),
        ("completedBy: post", "completedBy: fetch"),
        ("tool: git", "tool: hg"),
        ("contact: grace@", "contact: other@"),
        ("programs: [/opt/git]", "programs: [/opt/hg]"),
        ("10.7.0.0/24", "10.8.0.0/24"),
        ("      privileges: [signal]\n", ""),
        ("[ptrace, signal]", "[signal]"),
        ("ttl: 8h", "ttl: 9h"),
        ("completion, failure", "completion, deviation"),
        ("controllerLost: 5m", "controllerLost: 6m"),
        ("onDeviation: revoke", "onDeviation: kill"),
        ("onChange: move", "onChange: keep"),
        ("mode: enforce", "mode: audit"),
        ("minEnforcement: block", "minEnforcement: kill"),
    ];
    let whole = read(WHOLE);
    let mut digests = BTreeSet::from([whole.1.digest]);
    let mut untold = Vec::new();
    for (old, new) in changes {
        assert!(WHOLE.contains(old), "{old:?}");
        let changed = read(&WHOLE.replace(old, new));
        assert!(
            digests.insert(changed.1.digest),
            "{old:?} for {new:?} changes nothing"
        );
        if diff((&whole.0, &whole.1), (&changed.0, &changed.1)).is_none() {
            untold.push((old, new));
        }
    }
    // It denies writing, which nothing allows.
    assert_eq!(untold, [("paths: [.env]", "paths: [\"*.env\"]")]);
    assert!(diff((&whole.0, &whole.1), (&whole.0, &whole.1)).is_none());
}

#[test]
fn whether_a_grant_is_required_is_in_the_digest() {
    let text = |grant: &str| {
        format!(
            "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: a}}\nspec:\n  \
             owner: {{name: Ada, contact: ada@example.com}}\n  grant: {grant}\n"
        )
    };
    let [required, optional] = ["required", "optional"].map(|grant| compile(&text(grant)).digest);
    assert_ne!(required, optional);
}
