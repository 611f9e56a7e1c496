//! Rules on the arguments of programs. What the kernel decides is what `policy test` says of the
//! same words. A denial by arguments is a kill, before the program's first instruction.

use super::exec::{HERE, expect, set_up, told};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, said};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

pub(super) fn tests() -> Vec<Test> {
    let tests = vec![
        Test::new(
            "arguments.words",
            "the kernel judges words as `policy test` does",
            words,
        )
        .patience(120),
        Test::new(
            "arguments.killed",
            "what its words deny is killed before its first instruction, and told with its words",
            killed,
        ),
        Test::new(
            "arguments.script",
            "the words of a script are those behind its own name",
            script,
        ),
        Test::new(
            "arguments.ways",
            "every way to start a program brings its words to be judged",
            ways,
        ),
        Test::new(
            "arguments.many",
            "thousands of words are read to the last; more than can be read are a doubt",
            many,
        ),
        Test::new(
            "arguments.facts",
            "a program whose facts are missing is denied at once, and what its words allow sets facts",
            facts,
        ),
    ];
    tests
        .into_iter()
        .map(|test| test.unless(unless_with_bpf_lsm))
        .collect()
}

/// A program that only its words make different.
const TRUE: &str = "/usr/bin/true";

const LONGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn rules() -> String {
    format!(
        "  exec:
    allow:
      - {{programs: [/**]}}
      - {{programs: [{TRUE}], args: [{{at: 1, is: status}}]}}
      - {{programs: [{TRUE}], args: [{{at: 1, startsWith: --only=}}, {{is: sure}}]}}
      - {{programs: [{TRUE}], args: [{{at: 31, is: last}}]}}
      - {{programs: [{TRUE}], args: [{{is: {LONGEST}}}]}}
      - {{programs: [{TRUE}], args: [{{startsWith: \"{LONGEST}\"}}, {{at: 1, is: begin}}]}}
    deny:
      - {{programs: [{TRUE}]}}
      - {{programs: [{TRUE}], args: [{{is: --forbidden}}]}}
      - {{programs: [{TRUE}], args: [{{at: 2, startsWith: no}}]}}
"
    )
}

/// Command lines and whether they are allowed.
fn table() -> Vec<(String, bool)> {
    let line = |text: &str, allowed| (text.to_owned(), allowed);
    let wide = "w".repeat(100_000);
    let thirty = "x ".repeat(30);
    vec![
        line("", false),
        line("status", true),
        line("statu", false),
        line("status2", false),
        line("Status", false),
        line("x status", false),
        line("status x", true),
        line("status --forbidden", false),
        line("status --forbidden2", true),
        line("status a b c d --forbidden", false),
        line("status nothing", false),
        line("status yes no", true),
        line("--only=", false),
        line("--only= sure", true),
        line("--only=this sure", true),
        line("--only=this x y sure", true),
        line("sure --only=this", false),
        line("--onl sure", false),
        line(&format!("{thirty}last"), true),
        line(&format!("x {thirty}last"), false),
        line(LONGEST, true),
        line(&format!("{LONGEST}x"), false),
        line(&LONGEST[1..], false),
        line(&format!("begin {LONGEST}x"), true),
        line(&format!("begin {}x", &LONGEST[..63]), false),
        line(&format!("status {wide}"), true),
        line(&format!("status {wide} --forbidden"), false),
        line(&format!("status {} go", &wide[..1022]), true),
        line(&format!("status {} go", &wide[..1023]), true),
        line(&format!("status {} go", &wide[..1024]), true),
        line(&format!("status {} go", &wide[..2046]), true),
        line(&format!("status {} --forbidden", &wide[..1022]), false),
        line(&format!("status {} --forbidden", &wide[..1023]), false),
        line(&format!("status {} --forbidden", &wide[..1024]), false),
        line(&format!("status {} --forbidden", &wide[..2046]), false),
    ]
}

fn words() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("arguments-words")
        .without_exec()
        .with(&rules());
    offline(&policy)?;
    let mut actor = Place::Inside(&policy).obey()?;
    for (line, allowed) in table() {
        let order = format!("execute execve {TRUE} {line}");
        let found = actor.order(&order)?;
        let expected = if allowed { "ran 0" } else { "killed 9" };
        let shown: String = line.chars().take(60).collect();
        ensure!(found == expected, "{shown:?}: {found}, expected {expected}");
    }
    actor.end()?;
    Ok(())
}

/// The same table, by `interlock policy test`.
fn offline(policy: &Policy) -> Result<()> {
    let folder = "/tmp/arguments-offline";
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    fs::write(format!("{folder}/policy.yaml"), policy.text())?;
    let mut cases = format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: PolicyCases\nagent: {}\ncases:\n  - case: words\n    trace:\n",
        policy.agent()
    );
    for (line, allowed) in table() {
        let expect = if allowed { "allow" } else { "deny" };
        writeln!(
            cases,
            "      - {{do: \"exec {TRUE} {line}\", expect: {expect}}}"
        )?;
    }
    fs::write(format!("{folder}/cases.yaml"), cases)?;
    let output = product::call(&["policy", "test", folder])?;
    ensure!(output.status.success(), "policy test: {}", said(&output));
    Ok(())
}

fn killed() -> Result<()> {
    Daemon::shared()?;
    set_up(&[])?;
    let mark = format!("{HERE}/mark");
    let part = ["execute", "execve", "/usr/bin/touch", &mark];
    let control = Place::Outside.act(&part)?;
    ensure!(
        control == "ran 0" && Path::new(&mark).exists(),
        "the control: {control}"
    );
    fs::remove_file(&mark)?;
    let policy = Policy::named("arguments-killed").exec(
        "deny",
        &format!("{{programs: [/usr/bin/touch], args: [{{startsWith: {HERE}/}}]}}"),
    );
    let events = Events::from_now()?;
    let inside = Place::Inside(&policy).act(&part)?;
    ensure!(inside == "killed 9", "inside: {inside}");
    ensure!(
        !Path::new(&mark).exists(),
        "the program ran before it was killed"
    );
    let denial = told(events, policy.agent(), "exec", "/usr/bin/touch")?;
    ensure!(
        denial.verdict == "kill" && denial.reason == "rule",
        "told: {denial:?}"
    );
    ensure!(
        denial.object.arguments == ["/usr/bin/touch", &mark],
        "the words told are {:?}",
        denial.object.arguments
    );
    let rule = denial.rule.context("no rule is told")?;
    ensure!(
        rule.to_string().contains("deny exec of /usr/bin/touch"),
        "{rule}"
    );
    let other =
        Place::Inside(&policy).act(&["execute", "execve", "/usr/bin/touch", "/tmp/mark"])?;
    ensure!(other == "ran 0", "other words: {other}");
    Ok(())
}

fn script() -> Result<()> {
    Daemon::shared()?;
    set_up(&[
        ("script", "#!/usr/bin/dash -u\nexit 7\n"),
        ("chain", &format!("#!{HERE}/script first\nnothing\n")),
    ])?;
    let (script, chain) = (format!("{HERE}/script"), format!("{HERE}/chain"));
    let policy = Policy::named("arguments-script")
        .exec(
            "deny",
            &format!("{{programs: [{script}], args: [{{at: 1, is: stop}}]}}"),
        )
        .exec(
            "deny",
            &format!("{{programs: [{chain}], args: [{{at: 2, is: stop}}]}}"),
        )
        .exec(
            "deny",
            &format!("{{programs: [{script}], args: [{{at: 3, is: third}}]}}"),
        )
        .exec(
            "deny",
            "{programs: [/usr/bin/dash], args: [{at: 3, is: dash}]}",
        );
    let mut actor = Place::Inside(&policy).obey()?;
    let order = |path: &str, words: &str| format!("execute execve {path} {words}");
    expect(
        &mut actor,
        &[
            (&order(&script, ""), "ran 7"),
            (&order(&script, "go"), "ran 7"),
            (&order(&script, "stop"), "killed 9"),
            (&order(&script, "go stop"), "ran 7"),
            // dash sees: -u, the script, dash.
            (&order(&script, "dash"), "killed 9"),
            (&order(&script, "go dash"), "ran 7"),
            (&order(&chain, "stop"), "ran 7"),
            (&order(&chain, "go stop"), "killed 9"),
            // The script sees: first, the chain's path, third.
            (&order(&chain, "third"), "killed 9"),
            (&order(&chain, "go third"), "ran 7"),
        ],
    )?;
    actor.end()?;
    Ok(())
}

fn ways() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("arguments-ways").exec(
        "deny",
        &format!("{{programs: [{TRUE}], args: [{{at: 1, is: stop}}]}}"),
    );
    let mut actor = Place::Inside(&policy).obey()?;
    for way in [
        "execve",
        "vfork",
        "thread",
        "at",
        "handle",
        "self-root",
        "self-fd",
    ] {
        expect(
            &mut actor,
            &[
                (&format!("execute {way} {TRUE} stop"), "killed 9"),
                (&format!("execute {way} {TRUE} go"), "ran 0"),
            ],
        )
        .context(way)?;
    }
    // No words at all: the environment, which lies behind them, is not taken for words.
    expect(&mut actor, &[(&format!("execute empty {TRUE}"), "ran 0")])?;
    actor.end()?;
    let only = Policy::named("arguments-empty")
        .without_exec()
        .with(&format!(
            "  exec:\n    allow:\n      - {{programs: [/**]}}\n      - {{programs: [{TRUE}], args: [{{startsWith: x}}]}}\n    deny:\n      - {{programs: [{TRUE}]}}\n"
        ));
    let mut actor = Place::Inside(&only).obey()?;
    expect(
        &mut actor,
        &[
            (&format!("execute empty {TRUE}"), "killed 9"),
            (&format!("execute execve {TRUE}"), "killed 9"),
            (&format!("execute execve {TRUE} x"), "ran 0"),
        ],
    )?;
    actor.end()?;
    Ok(())
}

fn many() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("arguments-many").exec(
        "deny",
        &format!("{{programs: [{TRUE}], args: [{{is: stop}}]}}"),
    );
    let mut actor = Place::Inside(&policy).obey()?;
    let order =
        |count: usize, last: &str| format!("execute execve {TRUE} {}{last}", "x ".repeat(count));
    let events = Events::from_now()?;
    expect(
        &mut actor,
        &[
            (&order(63, "go"), "ran 0"),
            (&order(63, "stop"), "killed 9"),
            (&order(64, "stop"), "killed 9"),
            (&order(4094, "go"), "ran 0"),
            (&order(4094, "stop"), "killed 9"),
            (&order(4095, "go"), "killed 9"),
        ],
    )?;
    actor.end()?;
    let denials = events.wait(policy.agent(), 4)?;
    let last = denials.last().context("no denial")?;
    ensure!(
        last.reason == "unreadable",
        "too many words: {}",
        last.reason
    );
    Ok(())
}

fn facts() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("arguments-facts")
        .without_exec()
        .with(&format!(
            "  facts:
    - {{fact: tested, meaning: the tests ran}}
  exec:
    allow:
      - {{programs: [/**]}}
      - {{programs: [{TRUE}], args: [{{at: 1, is: test}}], sets: [tested]}}
      - {{programs: [/usr/bin/env], args: [{{at: 1, is: {TRUE}}}], requires: [tested]}}
    deny:
      - {{programs: [{TRUE}, /usr/bin/env]}}
"
        ));
    let mut actor = Place::Inside(&policy).obey()?;
    let publish = format!("execute execve /usr/bin/env {TRUE} test");
    let elsewhere = String::from("execute execve /usr/bin/env other");
    let order = |words: &str| format!("execute execve {TRUE} {words}");
    expect(
        &mut actor,
        &[
            // Whatever its words: the fact is missing, and nothing needs to be killed.
            (&publish, "EPERM"),
            (&order("other"), "killed 9"),
            (&publish, "EPERM"),
            (&order("test"), "ran 0"),
            (&publish, "ran 0"),
            (&elsewhere, "killed 9"),
        ],
    )?;
    actor.end()?;
    Ok(())
}
