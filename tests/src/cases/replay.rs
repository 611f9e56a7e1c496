//! The ready-made policies: their cases a second time, as real processes. What the kernel does is what
//! `policy test` says, verdict for verdict and fact for fact. How it is played says
//! [`crate::harness::replay`].

use crate::harness::Test;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::replay::{Change, Script, play};

/// Time for all cases of one policy.
const PATIENCE_SECONDS: u64 = 300;

const NO_CONTROLLER: &str = "there is no controller yet whose loss could end a session";
const NO_BYTES: &str = "the kernel counts the bytes of packets, and a case names any number";
const STAND_IN: &str = "a fact stands in for the approval: nobody answers here";
const SECONDS: &str = "minutes are played as seconds";

macro_rules! ready_made {
    ($name:literal) => {
        Script::plain(
            $name,
            include_str!(concat!("../../../policies/", $name, ".yaml")),
            include_str!(concat!("../../../policies/", $name, ".cases.yaml")),
        )
    };
}

pub(super) fn tests() -> Vec<Test> {
    let scripts = [
        Script {
            changes: BROWSER,
            approvals: &["upload-proxy"],
            ..ready_made!("browser-agent")
        },
        ready_made!("ci-repair-bot"),
        Script {
            changes: CODING,
            approvals: &["push"],
            seconds_in_one: 60,
            ..ready_made!("coding-agent")
        },
        Script {
            changes: ANALYST,
            ..ready_made!("data-analyst")
        },
        ready_made!("egress-first"),
        Script {
            changes: INVOICE,
            approvals: &["step:pay"],
            seconds_in_one: 60,
            ..ready_made!("invoice-agent")
        },
        ready_made!("mcp-tools"),
        Script {
            changes: PLANNER,
            approvals: &["step:apply"],
            ..ready_made!("planner-and-executor")
        },
        ready_made!("retrieval-agent"),
    ];
    scripts
        .into_iter()
        .map(|script| {
            Test::new(
                format!("replay.{}", script.name),
                "the policy's cases come out in the kernel as in `policy test`",
                move || play(&script),
            )
            .patience(PATIENCE_SECONDS)
            .unless(unless_with_bpf_lsm)
        })
        .collect()
}

const BROWSER: &[Change] = &[
    Change {
        from: ", bytesPerSession: 1GB",
        to: "",
        why: NO_BYTES,
    },
    Change {
        from: "purpose: Reads public web pages for a person and keeps what it was asked to keep.",
        to: "facts: [{fact: approved-1, expires: 5m}]",
        why: STAND_IN,
    },
    Change {
        from: "extends: [node]",
        to: "extends: [node, stand-in]",
        why: STAND_IN,
    },
    Change {
        from: "- id: upload-proxy",
        to: "- requires: [approved-1]",
        why: STAND_IN,
    },
    Change {
        from: "approval: {by: [research-desk], expires: 5m, once: true, show: [site, form]}",
        to: "clears: [approved-1]",
        why: STAND_IN,
    },
];

const CODING: &[Change] = &[
    Change {
        from: "extends: [shell, python]",
        to: "extends: [shell, python, stand-in]",
        why: STAND_IN,
    },
    Change {
        from: "- {fact: tested, meaning: the tests ran after the last edit}",
        to: "[{fact: tested, meaning: the tests ran after the last edit}, {fact: approved-1, expires: 10s}]",
        why: STAND_IN,
    },
    Change {
        from: "- id: push",
        to: "- requires: [approved-1]",
        why: STAND_IN,
    },
    Change {
        from: "approval: {by: [maintainers], expires: 10m, once: true, show: [branch, diff]}",
        to: "clears: [approved-1]",
        why: "a fact stands in for the approval, and minutes are played as seconds",
    },
    Change {
        from: ", revokeOn: [{controllerLost: 5m}]",
        to: "",
        why: NO_CONTROLLER,
    },
];

const ANALYST: &[Change] = &[Change {
    from: ", limit: {bytesPerSession: 5MB}",
    to: "",
    why: NO_BYTES,
}];

const INVOICE: &[Change] = &[
    Change {
        from: "purpose: Checks incoming invoices against orders and prepares the payout.",
        to: "facts: [{fact: approved-1, expires: 10s}]",
        why: STAND_IN,
    },
    Change {
        from: "extends: [python]",
        to: "extends: [python, stand-in]",
        why: STAND_IN,
    },
    Change {
        from: "within: 30m",
        to: "within: 30s",
        why: SECONDS,
    },
    Change {
        from: "approval: {by: [payables-leads, cfo], expires: 10m, once: true, show: [payee, amount, invoice]}",
        to: "#",
        why: STAND_IN,
    },
    Change {
        from: "- id: payout
            to: [10.0.3.9]
            ports: [443]
            protocol: tcp
            hours: {from: \"08:00\", to: \"18:00\", days: [mon, tue, wed, thu, fri], zone: Europe/Berlin}",
        to: "- {requires: [approved-1], clears: [approved-1],
            to: [10.0.3.9],
            ports: [443],
            protocol: tcp,
            hours: {from: \"08:00\", to: \"18:00\", days: [mon, tue, wed, thu, fri], zone: Europe/Berlin}}",
        why: STAND_IN,
    },
    Change {
        from: ", {controllerLost: 5m}",
        to: "",
        why: NO_CONTROLLER,
    },
];

const PLANNER: &[Change] = &[
    Change {
        from: "- {id: handoff, to: [\"agent:executor\"], limit: {perSession: 20}}",
        to: "#",
        why: "the peer of a handoff is not played",
    },
    Change {
        from: "purpose: Carries out approved plans on the service hosts.\n  extends: [python]",
        to: "facts: [{fact: approved-1, expires: 30m}]\n  extends: [python, stand-in]",
        why: STAND_IN,
    },
    Change {
        from: "approval: {by: [operators], expires: 30m, show: [plan]}\n        exec: [{id: apply,",
        to: "#\n        exec: [{requires: [approved-1],",
        why: STAND_IN,
    },
    Change {
        from: ", deviation]",
        to: "]",
        why: "to lack the fact that stands in is a deviation; to lack an approval is none",
    },
];
