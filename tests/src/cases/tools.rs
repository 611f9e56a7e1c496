//! Tools: what runs below a tool's exec is held to the tool's rules and to the agent's.

use super::exec::{HERE, expect, set_up, told};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::network::{ALLOWED4, at};
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::{Place, own_program};
use anyhow::{Result, ensure};
use std::fmt::Write as _;
use std::fs;

pub(super) fn tests() -> Vec<Test> {
    let tests = vec![
        Test::new(
            "tools.narrow",
            "a tool may connect, execute and open what both it and its agent may, and so may all below it",
            narrow,
        )
        .patience(120),
        Test::new(
            "tools.privileges",
            "a tool has those of its agent's privileges that it names itself",
            privileges,
        )
        .patience(120),
        Test::new(
            "tools.nested",
            "tools inside tools only narrow, and one more than can be kept apart does not start",
            nested,
        )
        .patience(120),
    ];
    tests
        .into_iter()
        .map(|test| test.unless(unless_with_bpf_lsm))
        .collect()
}

/// A copy of this program under another name: a tool.
fn copy(name: &str) -> Result<String> {
    let path = format!("{HERE}/{name}");
    fs::copy(own_program()?, &path)?;
    Ok(path)
}

/// A tool that may execute some programs and connect to some ports.
fn tool(name: &str, programs: &[&str], ports: &str, files: &str) -> String {
    format!(
        "    - tool: {name}
      owner: {{name: Grace Hopper, contact: grace@example.com}}
      start: {{programs: [{HERE}/{name}]}}
      egress:
        allow:
          - {{to: [{ALLOWED4}], ports: [{ports}], protocol: udp}}
      exec:
        allow:
          - {{programs: {programs:?}}}
      files:
        allow:
          - {{access: [read, map], paths: [\"/**\"]}}
{files}"
    )
}

fn narrow() -> Result<()> {
    Daemon::shared()?;
    set_up(&[("secret", "contents\n"), ("public", "contents\n")])?;
    let program = copy("narrow")?;
    let own = own_program()?;
    let rules = tool(
        "narrow",
        &[&program, "/usr/bin/grep", "/usr/bin/false"],
        "1001",
        &format!("        deny:\n          - {{access: [read], paths: [{HERE}/secret]}}\n"),
    );
    let policy = Policy::named("tools-narrow")
        .allow(ALLOWED4, "1001-1002", "udp")
        .exec("deny", "{programs: [/usr/bin/false]}")
        .with(&format!("  tools:\n{rules}"));
    let (open, shut) = (at(ALLOWED4, 1001)?, at(ALLOWED4, 1002)?);
    let run = |program: &str, part: &str| format!("execute execve {program} act {part}");
    let look = |file: &str| format!("execute-code execve /usr/bin/grep -q contents {HERE}/{file}");
    let probe = |to| format!("probe-code {to}");
    let chain = |to| format!("exec-chain {to} 3");
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[
            // The agent itself.
            (&run(&own, &probe(open)), "ran 40"),
            (&run(&own, &probe(shut)), "ran 40"),
            (&run(&own, &look("secret")), "ran 40"),
            (&run(&own, "execute-code execve /usr/bin/true"), "ran 40"),
            (&run(&own, "execute-code execve /usr/bin/false"), "ran 41"),
            // The tool.
            (&run(&program, &probe(open)), "ran 40"),
            (&run(&program, &probe(shut)), "ran 41"),
            (&run(&program, &look("public")), "ran 40"),
            (&run(&program, &look("secret")), "ran 42"),
            (
                &run(&program, "execute-code execve /usr/bin/true"),
                "ran 41",
            ),
            // The tool may, the agent may not.
            (
                &run(&program, "execute-code execve /usr/bin/false"),
                "ran 41",
            ),
            // What descends from the tool is inside it, through every fork and exec.
            (&run(&program, &chain(open)), "ran 40"),
            (&run(&program, &chain(shut)), "ran 41"),
            // The actor itself has not become the tool.
            (&format!("probe {shut}"), "ok"),
        ],
    )?;
    actor.end()?;
    let denial = told(events, policy.agent(), "read", &format!("{HERE}/secret"))?;
    ensure!(denial.reason == "rule", "told: {denial:?}");
    Ok(())
}

fn privileges() -> Result<()> {
    Daemon::shared()?;
    set_up(&[])?;
    let (with, without) = (copy("with")?, copy("without")?);
    let programs = [with.as_str(), without.as_str()];
    let all = |name: &str| tool(name, &programs, "1001", "");
    let policy = Policy::named("tools-privileges")
        .allow(ALLOWED4, "1001", "udp")
        .privileges(&["cap_syslog", "cap_sys_pacct"])
        .with(&format!(
            "  tools:\n{}      privileges: [cap_syslog]\n{}",
            all("with"),
            all("without")
        ));
    let act = |act: &str| format!("act overreach {act} -");
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&policy).obey()?;
    let own = own_program()?;
    let mut ask =
        |words: &[&str]| -> Result<String> { actor.order(&format!("answer {}", words.join(" "))) };
    let inner = |act: &str| format!("act execute-through {without} {act}");
    for (words, expected) in [
        ([own.as_str(), &act("console-level")], "ok"),
        ([own.as_str(), &act("accounting")], "ok"),
        ([with.as_str(), &act("console-level")], "ok"),
        ([with.as_str(), &act("accounting")], "EPERM"),
        ([without.as_str(), &act("console-level")], "EPERM"),
        // Inside both, both must have it.
        ([with.as_str(), &inner(&act("console-level"))], "EPERM"),
    ] {
        let answer = ask(&words)?;
        ensure!(
            answer == expected,
            "{words:?}: {answer}, expected {expected}"
        );
    }
    actor.end()?;
    events.expect_privilege(policy.agent(), "cap_sys_pacct")?;
    events.expect_privilege(policy.agent(), "cap_syslog")?;
    Ok(())
}

fn nested() -> Result<()> {
    Daemon::shared()?;
    set_up(&[])?;
    let names = ["one", "two", "three", "four"];
    let mut programs = Vec::new();
    for name in names {
        programs.push(copy(name)?);
    }
    let all: Vec<&str> = programs.iter().map(String::as_str).collect();
    let mut rules = String::new();
    for (name, ports) in names
        .iter()
        .zip(["1001-1004", "1002-1004", "1003-1004", "1004"])
    {
        write!(rules, "{}", tool(name, &all, ports, ""))?;
    }
    let policy = Policy::named("tools-nested")
        .allow(ALLOWED4, "1001-1004", "udp")
        .with(&format!("  tools:\n{rules}"));
    // Each starts the next one inside itself.
    let inside = |tools: &[usize], port: u16| -> Result<String> {
        let mut order = format!("probe-code {}", at(ALLOWED4, port)?);
        let (first, rest) = tools.split_first().expect("at least one");
        for tool in rest.iter().rev() {
            order = format!("execute-through {} act {order}", programs[*tool]);
        }
        Ok(format!("execute execve {} act {order}", programs[*first]))
    };
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[
            (&inside(&[0], 1001)?, "ran 40"),
            (&inside(&[1], 1001)?, "ran 41"),
            (&inside(&[1], 1002)?, "ran 40"),
            (&inside(&[0, 1], 1001)?, "ran 41"),
            (&inside(&[0, 1], 1002)?, "ran 40"),
            // The inner one is wider, and widens nothing.
            (&inside(&[1, 0], 1001)?, "ran 41"),
            (&inside(&[2, 1, 0], 1002)?, "ran 41"),
            (&inside(&[2, 1, 0], 1003)?, "ran 40"),
            // Again inside itself: nothing more to keep apart.
            (&inside(&[2, 1, 0, 2, 1, 0], 1003)?, "ran 40"),
            (&inside(&[2, 1, 0, 3], 1004)?, "ran 42"),
        ],
    )?;
    actor.end()?;
    let denial = told(events, policy.agent(), "exec", &programs[3])?;
    ensure!(
        denial.reason == "too many tools inside one another",
        "told: {denial:?}"
    );
    Ok(())
}
