//! The ready-made policies: their cases a second time, as real processes. What the kernel does is what
//! `policy test` says, verdict for verdict and fact for fact. How it is played says
//! [`crate::harness::replay`].

use crate::harness::Test;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::replay::{Change, Script, play};

/// Time for all cases of one policy.
const PATIENCE_SECONDS: u64 = 300;

const NO_CONTROLLER: &str = "this daemon has no controller whose loss could end a session";
const NO_BYTES: &str = "the kernel counts the bytes of packets, and a case names any number";
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
            ..ready_made!("browser-agent")
        },
        ready_made!("ci-repair-bot"),
        Script {
            changes: CODING,
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
            seconds_in_one: 60,
            ..ready_made!("invoice-agent")
        },
        ready_made!("mcp-tools"),
        Script {
            changes: PLANNER,
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

const BROWSER: &[Change] = &[Change {
    from: ", bytesPerSession: 1GB",
    to: "",
    why: NO_BYTES,
}];

const CODING: &[Change] = &[
    Change {
        from: "expires: 10m",
        to: "expires: 10s",
        why: SECONDS,
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
        from: "within: 30m",
        to: "within: 30s",
        why: SECONDS,
    },
    Change {
        from: "expires: 10m",
        to: "expires: 10s",
        why: SECONDS,
    },
    Change {
        from: ", {controllerLost: 5m}",
        to: "",
        why: NO_CONTROLLER,
    },
];

const PLANNER: &[Change] = &[Change {
    from: "- {id: handoff, to: [\"agent:executor\"], limit: {perSession: 20}}",
    to: "#",
    why: "the peer of a handoff is not played",
}];
