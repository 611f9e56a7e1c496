//! Code that is no program's and no library's (red team X5): memory that is written and then run.

use super::exec::{HERE, set_up};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, said};
use crate::harness::session::{Place, own_program};
use anyhow::{Result, ensure};
use std::fs;

pub(super) fn tests() -> Vec<Test> {
    let tests = vec![
        Test::new(
            "red.x5.memory",
            "no session makes memory executable, nor changed pages of a file, by any way",
            by_any_way,
        ),
        Test::new(
            "red.x5.tool",
            "a program that may is excepted by itself, and what runs around it is not",
            by_one_program,
        ),
        Test::new(
            "red.x5.open",
            "what is open: a heap after READ_IMPLIES_EXEC, and a session's own /proc/PID/mem",
            open,
        ),
        Test::new(
            "code.ordinary",
            "shells, interpreters, compilers and git need no exception",
            ordinary,
        ),
    ];
    tests
        .into_iter()
        .map(|test| test.unless(unless_with_bpf_lsm))
        .collect()
}

/// Ways that take the privilege.
const WRITTEN: &[&str] = &[
    "anonymous",
    "writable",
    "shared",
    "shared-becomes",
    "becomes",
    "becomes-all",
    "by-key",
    "heap",
    "segment",
    "segment-becomes",
    "zeros",
    "memory-file",
    "memory-file-twice",
    "file-writable",
    "file-written",
    "file-reopened",
    "file-rewritten",
    "personality",
];

/// Ways that do not: the code is a file's, as it is there.
const FROM_FILES: &[&str] = &["file", "file-becomes", "file-again"];

/// Tries ways, and says which did not answer as expected.
fn tried(place: Place<'_>, ways: &[&str], expected: impl Fn(&str) -> String) -> Result<()> {
    let part: Vec<&str> = ["code"].iter().chain(ways).copied().collect();
    let found = place.act(&part)?;
    let expected: Vec<String> = ways
        .iter()
        .map(|way| format!("{way}: {}", expected(way)))
        .collect();
    ensure!(
        found.lines().eq(expected.iter().map(String::as_str)),
        "{place:?}:\n{found}\nexpected\n{}",
        expected.join("\n")
    );
    Ok(())
}

fn by_any_way() -> Result<()> {
    Daemon::shared()?;
    let agent = "red-x5";
    let none = Policy::named(agent);
    let given = Policy::named("red-x5-given").privileges(&["jit"]);
    let ok = |_: &str| "ok".to_owned();
    let held = |way: &str| {
        if WRITTEN.contains(&way) {
            "EPERM"
        } else {
            "ok"
        }
        .to_owned()
    };
    let ways: Vec<&str> = WRITTEN.iter().chain(FROM_FILES).copied().collect();
    tried(Place::Outside, &ways, ok)?;
    let events = Events::from_now()?;
    tried(Place::Inside(&none), &ways, held)?;
    let denials = events.wait(agent, WRITTEN.len())?;
    let of_memory = |path: &str| {
        ["memfd:", "SYSV", "dev/zero"]
            .iter()
            .any(|name| path.starts_with(name))
    };
    for denial in &denials {
        let by_privilege = denial.action == "privilege" && denial.object.privilege == "jit";
        let by_file = denial.action == "map" && of_memory(&denial.object.path);
        ensure!(
            (by_privilege || by_file)
                && denial.verdict == "deny"
                && denial.reason == "privilege missing",
            "told: {denial:?}"
        );
    }
    ensure!(
        denials.len() == WRITTEN.len(),
        "{} denials of {} ways",
        denials.len(),
        WRITTEN.len()
    );
    let events = Events::from_now()?;
    tried(Place::Inside(&given), &ways, ok)?;
    tried(Place::As(&none, "nobody"), &ways, held)?;
    tried(Place::Outside, &ways, ok)?;
    let told = events.denials("red-x5-given")?;
    ensure!(told.is_empty(), "with the privilege: {told:?}");
    Ok(())
}

/// What no hook sees. Once one of these is held, this test is to say so.
fn open() -> Result<()> {
    Daemon::shared()?;
    // Newer kernels leave it to who traces to write where nobody may, with us or without.
    let by_memory = Place::Outside.act(&["code", "own-memory"])?;
    let by_memory = by_memory.strip_prefix("own-memory: ").unwrap_or_default();
    let expected = |way: &str| match way {
        "own-memory" => by_memory.to_owned(),
        _ => "ok".to_owned(),
    };
    let ways = ["personality-heap", "own-memory"];
    tried(Place::Outside, &ways, expected)?;
    tried(
        Place::Inside(&Policy::named("red-x5-open")),
        &ways,
        expected,
    )?;
    println!(
        "HELD not held: a heap that grows after personality(READ_IMPLIES_EXEC) is code, and a \
         session writes over its own code through /proc/PID/mem (where the kernel lets it) and \
         ptrace; no kernel has a hook for the first"
    );
    Ok(())
}

fn by_one_program() -> Result<()> {
    Daemon::shared()?;
    set_up(&[])?;
    let own = own_program()?;
    let (with, without) = (format!("{HERE}/with"), format!("{HERE}/without"));
    fs::copy(&own, &with)?;
    fs::copy(&own, &without)?;
    let tool = |name: &str, rest: &str| {
        format!(
            "    - tool: {name}
      owner: {{name: Grace Hopper, contact: grace@example.com}}
      start: {{programs: [{HERE}/{name}]}}
      exec: {{allow: [{{programs: [\"/**\"]}}]}}
      files: {{allow: [{{access: [read, map], paths: [\"/**\"]}}]}}\n{rest}"
        )
    };
    let tools = format!(
        "  tools:\n{}{}",
        tool("with", "      privileges: [jit]\n"),
        tool("without", "")
    );
    // A tool may have it alone; and where the agent has it, a tool has it only if it says so.
    for (agent, privileges, agents_own) in [
        ("red-x5-tool", &[][..], "writable: EPERM"),
        ("red-x5-agent", &["jit"], "writable: ok"),
    ] {
        let policy = Policy::named(agent).privileges(privileges).with(&tools);
        let mut actor = Place::Inside(&policy).obey()?;
        for (program, words, expected) in [
            (&own, "act code writable", agents_own),
            (&with, "act code writable", "writable: ok"),
            (&without, "act code writable", "writable: EPERM"),
            (
                &with,
                "act execute-through /usr/bin/env WITHOUT act code writable",
                "writable: EPERM",
            ),
            (
                &without,
                "act execute-through WITH act code writable",
                "writable: ok",
            ),
        ] {
            let words = words.replace("WITHOUT", &without).replace("WITH", &with);
            let answer = actor.order(&format!("answer {program} {words}"))?;
            ensure!(
                answer == expected,
                "{agent}: {program} {words}: {answer}, expected {expected}"
            );
        }
        actor.end()?;
    }
    Ok(())
}

fn ordinary() -> Result<()> {
    const SCRIPT: &str = "set -e; d=$(mktemp -d); cd $d
        python3 -c 'import ctypes, json, re, hashlib, sqlite3; print(re.sub(\"a\", \"b\", \"a\"))'
        python3 -c 'import ctypes; print(ctypes.CDLL(None).abs(-7))'
        echo 'int main(void) { return 9; }' > a.c; gcc -O2 -o a a.c; ./a || echo $?
        git init -q .; git add a.c; git -c user.name=a -c user.email=a commit -qm a; git log --format=%s
        echo xaby | grep -oP 'a(?=b)'; echo aXc | sed 's/X/b/'; seq 3 | awk '{n += $1} END {print n}'
        tar cf - a.c | tar tf -; bash -c 'echo shell'; rm -r $d";
    Daemon::shared()?;
    let agent = "red-x5-ordinary";
    let policy = Policy::named(agent);
    let control = Place::Outside.run(&["bash", "-c", SCRIPT])?;
    ensure!(control.status.success(), "the control: {}", said(&control));
    let events = Events::from_now()?;
    let inside = Place::Inside(&policy).run(&["bash", "-c", SCRIPT])?;
    ensure!(
        inside.status.success() && inside.stdout == control.stdout,
        "inside: {}\nexpected {}",
        said(&inside),
        said(&control)
    );
    let denied = events.denials(agent)?;
    let code = denied
        .iter()
        .filter(|denial| denial.object.privilege == "jit")
        .filter(|denial| {
            // It tries to compile what it looks for, and goes on without.
            !denial
                .process
                .exe
                .as_deref()
                .is_some_and(|exe| exe.ends_with("/grep"))
        });
    let code: Vec<_> = code.map(|denial| &denial.process.exe).collect();
    ensure!(code.is_empty(), "denied code of {code:?}");
    Ok(())
}
