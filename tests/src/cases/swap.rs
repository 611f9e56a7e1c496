//! Policies in a folder: loaded, followed, rejected, and swapped while sessions act.

use crate::act::swap::{FOLDER as FILES, GO, Outcomes, Tally};
use crate::harness::Test;
use crate::harness::events::{Events, Line};
use crate::harness::kernel;
use crate::harness::network::{ALLOWED4, PORT};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, said};
use crate::harness::session::{Place, own_program};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The folder that a daemon looks into by itself.
const FOLDER: &str = "/etc/interlock/policies";
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "policy.by_name",
            "a session runs under the policy that the daemon has loaded for its agent",
            by_name,
        ),
        Test::new(
            "policy.rejected",
            "a bad new version is rejected with its error, and the old one stays in force",
            rejected,
        ),
        Test::new(
            "policy.config_map",
            "a folder whose data is swapped by a symbolic link, as Kubernetes does, is followed",
            config_map,
        ),
        Test::new(
            "policy.keep_or_move",
            "running sessions keep their policy or are moved, as the new version says",
            keep_or_move,
        ),
        Test::new(
            "policy.memory",
            "a moved session keeps its facts by name and what it has used of limits by the rule's id",
            memory,
        ),
        Test::new(
            "policy.next_daemon",
            "what changed while there was no daemon is made good by the next one",
            next_daemon,
        ),
        Test::new(
            "red.t4.swaps",
            "60 swaps while 50 processes act: each action is judged by one version as a whole",
            || swaps(60),
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(240),
        Test::new(
            "long.swaps",
            "1,000 swaps while 50 processes act: each action is judged by one version as a whole",
            || swaps(1_000),
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(3600),
    ]
}

/// A policy in the folder, which is gone afterwards.
pub(super) struct Shelf(PathBuf);

impl Shelf {
    pub(super) fn with(policy: &Policy) -> Result<Self> {
        fs::create_dir_all(FOLDER)?;
        let shelf = Self(Path::new(FOLDER).join(format!("{}.yaml", policy.agent())));
        shelf.put(&policy.text())?;
        Ok(shelf)
    }

    /// Puts another version in its place, as editors do: written beside it and renamed.
    pub(super) fn put(&self, text: &str) -> Result<()> {
        let fresh = self.0.with_extension("fresh");
        fs::write(&fresh, text)?;
        fs::rename(fresh, &self.0).context("renaming")
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn status() -> Result<serde_json::Value> {
    let output = product::call(&["status", "--json"])?;
    serde_json::from_slice(&output.stdout).with_context(|| said(&output))
}

/// What `interlock status` says of a loaded policy.
fn loaded(agent: &str) -> Result<Option<serde_json::Value>> {
    let status = status()?;
    let policies = status["policies"].as_array().context("no policies")?;
    Ok(policies
        .iter()
        .find(|policy| policy["agent"] == agent)
        .cloned())
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Waits until a version of an agent's policy is in force.
pub(super) fn wait_for(agent: &str, generation: u64) -> Result<serde_json::Value> {
    until(&format!("generation {generation} of {agent}"), || {
        Ok(loaded(agent)?.is_some_and(|policy| policy["generation"] == generation))
    })?;
    loaded(agent)?.context("gone again")
}

fn allows(agent: &str, port: u16) -> Policy {
    Policy::named(agent).allow(ALLOWED4, &port.to_string(), "udp")
}

fn ask(actor: &mut crate::harness::session::Obedient, port: u16) -> Result<String> {
    actor.order(&format!("probe {ALLOWED4}:{port}"))
}

fn by_name() -> Result<()> {
    Daemon::shared()?;
    let agent = "by-name";
    let refused = Place::Loaded(agent).run(&["true"])?;
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(125)
            && error.contains("no policy of agent `by-name` is loaded")
            && error.contains(FOLDER),
        "{}",
        said(&refused)
    );
    let shelf = Shelf::with(&allows(agent, PORT))?;
    wait_for(agent, 1)?;
    let mut actor = Place::Loaded(agent).obey()?;
    let (allowed, denied) = (ask(&mut actor, PORT)?, ask(&mut actor, 1)?);
    ensure!(allowed == "ok" && denied == "EPERM", "{allowed} {denied}");
    // Without the file no new sessions; the running one is held as before.
    drop(shelf);
    until("the policy is gone", || Ok(loaded(agent)?.is_none()))?;
    let refused = Place::Loaded(agent).run(&["true"])?;
    ensure!(refused.status.code() == Some(125), "{}", said(&refused));
    let (allowed, denied) = (ask(&mut actor, PORT)?, ask(&mut actor, 1)?);
    ensure!(allowed == "ok" && denied == "EPERM", "{allowed} {denied}");
    actor.end()?;
    Ok(())
}

fn rejected() -> Result<()> {
    Daemon::shared()?;
    let agent = "rejected";
    let shelf = Shelf::with(&allows(agent, PORT))?;
    let before = wait_for(agent, 1)?;
    ensure!(before["rejected"] == false, "{before}");
    shelf.put(&allows(agent, PORT).text().replace("egress", "egres"))?;
    until("the version is rejected", || {
        Ok(loaded(agent)?.is_some_and(|policy| policy["rejected"] == true))
    })?;
    let status = status()?;
    let file = shelf.0.display().to_string();
    let told = status["rejected"].as_array().context("no list")?;
    let told = told.iter().find(|told| told["file"] == file.as_str());
    let error = told
        .and_then(|told| told["error"].as_str())
        .context("no error")?;
    let check = product::call(&["policy", "check", &file])?;
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    ensure!(
        error.starts_with(&format!("{file}:9:3: error: found unknown field \"egres\""))
            && check.contains(error.trim()),
        "status says\n{error}\npolicy check says\n{check}"
    );
    let shown = product::call(&["status"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("A NEWER VERSION WAS REJECTED"), "{shown}");
    let after = loaded(agent)?.context("gone")?;
    ensure!(
        after["policy"] == before["policy"] && after["generation"] == 1,
        "{after}"
    );
    let mut actor = Place::Loaded(agent).obey()?;
    let (allowed, denied) = (ask(&mut actor, PORT)?, ask(&mut actor, 1)?);
    ensure!(allowed == "ok" && denied == "EPERM", "{allowed} {denied}");
    actor.end()?;
    shelf.put(&allows(agent, 1).text())?;
    let after = wait_for(agent, 2)?;
    ensure!(after["rejected"] == false, "{after}");
    Ok(())
}

fn config_map() -> Result<()> {
    Daemon::shared()?;
    let agent = "config-map";
    fs::create_dir_all(FOLDER)?;
    let folder = Path::new(FOLDER);
    let version = |name: &str, port: u16| -> Result<()> {
        fs::create_dir_all(folder.join(name))?;
        let file = folder.join(name).join("config-map.yaml");
        fs::write(file, allows(agent, port).text())?;
        symlink(name, folder.join("..data_tmp"))?;
        Ok(fs::rename(
            folder.join("..data_tmp"),
            folder.join("..data"),
        )?)
    };
    version("..one", 1)?;
    symlink("..data/config-map.yaml", folder.join("config-map.yaml"))?;
    let one = wait_for(agent, 1)?;
    version("..two", 2)?;
    fs::remove_dir_all(folder.join("..one"))?;
    let two = wait_for(agent, 2)?;
    ensure!(one["policy"] != two["policy"], "{one} {two}");
    let mut actor = Place::Loaded(agent).obey()?;
    let (old, new) = (ask(&mut actor, 1)?, ask(&mut actor, 2)?);
    ensure!(old == "EPERM" && new == "ok", "{old} {new}");
    actor.end()?;
    fs::remove_file(folder.join("config-map.yaml"))?;
    fs::remove_file(folder.join("..data"))?;
    Ok(fs::remove_dir_all(folder.join("..two"))?)
}

fn keep_or_move() -> Result<()> {
    Daemon::shared()?;
    let agent = "keep-or-move";
    let shelf = Shelf::with(&allows(agent, 1))?;
    wait_for(agent, 1)?;
    let mut actor = Place::Loaded(agent).obey()?;
    let mut other = Place::Inside(&allows(agent, 1)).obey()?;
    let events = Events::from_now()?;
    shelf.put(&allows(agent, 2).text())?;
    let kept = wait_for(agent, 2)?;
    ensure!(
        kept["sessions"] == 0 && kept["sessionsBefore"] == 1,
        "{kept}"
    );
    let (old, new) = (ask(&mut actor, 1)?, ask(&mut actor, 2)?);
    ensure!(old == "ok" && new == "EPERM", "kept: {old} {new}");
    let mut fresh = Place::Loaded(agent).obey()?;
    let (old, new) = (ask(&mut fresh, 1)?, ask(&mut fresh, 2)?);
    ensure!(old == "EPERM" && new == "ok", "new: {old} {new}");
    shelf.put(&allows(agent, 3).with("  onChange: move\n").text())?;
    let moved = wait_for(agent, 3)?;
    ensure!(
        moved["sessions"] == 2 && moved["sessionsBefore"] == 0,
        "{moved}"
    );
    for actor in [&mut actor, &mut fresh] {
        let answers = [ask(actor, 1)?, ask(actor, 2)?, ask(actor, 3)?];
        ensure!(answers == ["EPERM", "EPERM", "ok"], "moved: {answers:?}");
    }
    // One that was started with a file of its own is nobody's to move.
    let answers = [ask(&mut other, 1)?, ask(&mut other, 3)?];
    ensure!(answers == ["ok", "EPERM"], "of its own: {answers:?}");
    // Each denial names the policy by which it was judged.
    let told = events.wait(agent, 7)?;
    let of = |port: u16| -> BTreeSet<String> {
        let of = told.iter().filter(|denial| denial.object.port == port);
        of.filter_map(|denial| denial.policy.clone()).collect()
    };
    ensure!(of(1).len() == 2 && of(2).len() == 2, "{told:?}");
    for actor in [actor, fresh, other] {
        actor.end()?;
    }
    Ok(())
}

fn memory() -> Result<()> {
    Daemon::shared()?;
    let agent = "memory";
    let rules = |facts: &str, first: &str| {
        Policy::named(agent).with(&format!(
            "  onChange: move\n  facts: [{facts}]\n  egress:\n    allow:\n{first}\
             \x20     - {{id: budget, to: [\"{ALLOWED4}\"], ports: [5], protocol: udp, limit: {{perSession: 3}}}}\n\
             \x20     - {{to: [\"{ALLOWED4}\"], ports: [6], protocol: udp, sets: [opened]}}\n\
             \x20     - {{to: [\"{ALLOWED4}\"], ports: [7], protocol: udp, requires: [opened]}}\n"
        ))
    };
    let shelf = Shelf::with(&rules("{fact: opened}", ""))?;
    wait_for(agent, 1)?;
    let mut actor = Place::Loaded(agent).obey()?;
    let answers = [
        ask(&mut actor, 7)?,
        ask(&mut actor, 6)?,
        ask(&mut actor, 7)?,
    ];
    ensure!(answers == ["EPERM", "ok", "ok"], "{answers:?}");
    let answers = [ask(&mut actor, 5)?, ask(&mut actor, 5)?];
    ensure!(answers == ["ok", "ok"], "{answers:?}");
    // Another fact and another limit come first, and the fact now expires.
    let before = format!(
        "      - {{to: [\"{ALLOWED4}\"], ports: [8], protocol: udp, limit: {{perSession: 1}}, sets: [other]}}\n"
    );
    shelf.put(&rules("{fact: other}, {fact: opened, expires: 1h}", &before).text())?;
    wait_for(agent, 2)?;
    let facts = product::facts(agent)?;
    ensure!(facts == ["opened"], "{facts:?}");
    let answers = [
        ask(&mut actor, 7)?,
        ask(&mut actor, 8)?,
        ask(&mut actor, 8)?,
        ask(&mut actor, 5)?,
        ask(&mut actor, 5)?,
    ];
    ensure!(
        answers == ["ok", "ok", "EPERM", "ok", "EPERM"],
        "{answers:?}"
    );
    actor.end()?;
    Ok(())
}

fn next_daemon() -> Result<()> {
    let daemon = Daemon::shared()?;
    let agent = "next-daemon";
    let shelf = Shelf::with(&allows(agent, 1))?;
    wait_for(agent, 1)?;
    let mut actor = Place::Loaded(agent).obey()?;
    daemon.end(libc::SIGTERM)?;
    shelf.put(&allows(agent, 2).with("  onChange: move\n").text())?;
    let old = ask(&mut actor, 1)?;
    ensure!(old == "ok", "without a daemon: {old}");
    Daemon::start()?;
    let (old, new) = (ask(&mut actor, 1)?, ask(&mut actor, 2)?);
    ensure!(old == "EPERM" && new == "ok", "{old} {new}");
    actor.end()?;
    Ok(())
}

const SESSIONS: u32 = 5;
const PROCESSES: u32 = 10;
const AGENT: &str = "swapped";

/// One of two policies. Each allows what the other denies (`a` or `b`), and some things are allowed by
/// both or by none, but only if all that is asked comes from one of them.
fn side(version: u64) -> String {
    let is_a = version % 2 == 1;
    let (own, other) = if is_a { ("a", "b") } else { ("b", "a") };
    let own_port = if is_a { 1 } else { 2 };
    // What is third for one is second for the other.
    let words = if is_a {
        "{args: [{at: 1, is: a}]}, {args: [{at: 1, is: c}]}"
    } else {
        "{args: [{at: 1, is: b}]}, {args: [{at: 2, is: no}]}, {args: [{at: 1, is: c}]}"
    };
    let words = words.replace("{args", "{programs: [/tmp/swap/say], args");
    // Reading and writing at once is allowed to nobody.
    let (may, may_not) = if is_a {
        ("read", "write")
    } else {
        ("write", "read")
    };
    let facts = if is_a {
        "[{fact: x}, {fact: y}]"
    } else {
        "[{fact: z}, {fact: x}, {fact: y}]"
    };
    // The first window of one is open, the first of the other is not.
    let hours = "hours: {from: \"00:01\", to: \"00:00\", zone: UTC}";
    let never = "hours: {from: \"00:00\", to: \"00:01\", zone: UTC, days: [mon]}";
    let windows = if is_a {
        format!("      - {{access: [read], paths: [{FILES}/t], {hours}}}\n")
    } else {
        format!(
            "      - {{access: [read], paths: [{FILES}/u], {never}}}\n\
             \x20     - {{access: [read], paths: [{FILES}/t]}}\n"
        )
    };
    format!(
        "apiVersion: interlock.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: {AGENT}}}\nspec:\n  \
         owner: {{name: Test Bench, contact: bench@example.org}}\n  purpose: version {version}\n  \
         onChange: move\n  facts: {facts}\n  egress:\n    allow:\n\
         \x20     - {{to: [{ALLOWED4}], ports: [{own_port}, 3], protocol: udp}}\n  \
         exec:\n    allow: [{{programs: [/**]}}, {words}]\n    deny:\n\
         \x20     - {{programs: [/tmp/swap/say]}}\n  files:\n    allow:\n\
         \x20     - {{access: [read, write, create, delete, rename, link, map], paths: [/**]}}\n{windows}\
         \x20     - {{access: [{may}], paths: [{FILES}/m]}}\n\
         \x20     - {{access: [read], paths: [{FILES}/q], sets: [y]}}\n\
         \x20     - {{access: [read], paths: [{FILES}/p], requires: [y], forbids: [x]}}\n    deny:\n\
         \x20     - {{access: [{may_not}], paths: [{FILES}/m]}}\n\
         \x20     - {{access: [read], paths: [{FILES}/n, {FILES}/{other}]}}\n\
         # {own}\n"
    )
}

fn swaps(count: u64) -> Result<()> {
    Daemon::shared()?;
    fs::create_dir_all(FILES)?;
    for name in ["a", "b", "m", "t", "q", "p", "n"] {
        fs::write(Path::new(FILES).join(name), name)?;
    }
    fs::write(GO, "")?;
    fs::copy("/bin/true", "/tmp/swap/say")?;
    fs::create_dir_all(FOLDER)?;
    let shelf = Shelf(Path::new(FOLDER).join("swapped.yaml"));
    shelf.put(&side(1))?;
    wait_for(AGENT, 1)?;
    let events = Events::from_now()?;
    let actors: Vec<Child> = (0..SESSIONS).map(|_| start()).collect::<Result<_>>()?;
    let swapped = swap(&shelf, count);
    fs::remove_file(GO)?;
    let mut tally = Tally::default();
    for actor in actors {
        let output = actor.wait_with_output()?;
        ensure!(output.status.success(), "an actor: {}", said(&output));
        tally.add(&String::from_utf8(output.stdout)?)?;
    }
    println!("{tally}");
    swapped?;
    let last = wait_for(AGENT, count + 1)?;
    println!("{last}");
    judge(&tally)?;
    told(events)
}

fn start() -> Result<Child> {
    let program = own_program()?;
    let count = PROCESSES.to_string();
    Place::Loaded(AGENT)
        .command(&[&program, "act", "swap", ALLOWED4, &count])?
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("starting an actor")
}

/// Swaps the policy, each time as soon as the version before is in force.
fn swap(shelf: &Shelf, count: u64) -> Result<()> {
    for version in 2..=count + 1 {
        shelf.put(&side(version))?;
        let word = format!("agent=\"{AGENT}\" generation={version} ");
        // Less than the daemon takes to look by itself: a change that it does not hear of is a fault.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(product::LOG)?;
            if log.contains(&word) {
                break;
            }
            let end = log.get(log.len().saturating_sub(1500)..).unwrap_or(&log);
            ensure!(
                Instant::now() < deadline,
                "version {version} does not come; the daemon says\n{end}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn judge(tally: &Tally) -> Result<()> {
    let of = |what: &str| tally.0.get(what).copied().unwrap_or_default();
    let mut wrong = Vec::new();
    let mut expect = |what: &str, is_so: fn(Outcomes) -> bool, expected: &str| {
        let found = of(what);
        if found.other > 0 || !is_so(found) {
            wrong.push(format!("{what}: {found:?}, expected {expected}"));
        }
    };
    for what in ["read-a", "read-b", "port-a", "port-b"] {
        expect(what, |all| all.allowed > 5 && all.denied > 5, "both, often");
    }
    for what in ["read-t", "read-q", "read-p", "port-both", "say-c"] {
        expect(
            what,
            |all| all.allowed > 40 && all.denied == 0,
            "allowed always",
        );
    }
    for what in ["read-write-m", "read-n", "port-none"] {
        expect(
            what,
            |all| all.denied > 40 && all.allowed == 0,
            "denied always",
        );
    }
    for what in ["say-a", "say-b"] {
        expect(what, |all| all.allowed > 1 && all.denied > 1, "both");
    }
    expect(
        "say-n",
        |all| all.denied > 1 && all.allowed == 0,
        "denied always",
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Every denial names one version, and by that version it is one.
fn told(events: Events) -> Result<()> {
    let mut by: [BTreeSet<String>; 2] = Default::default();
    let mut count = 0u64;
    let (path_a, path_b) = (format!("{FILES}/a"), format!("{FILES}/b"));
    events.each(|line| {
        let Line::Denial(denial) = line else {
            return Ok(());
        };
        if denial.agent.as_deref() != Some(AGENT) {
            return Ok(());
        }
        count += 1;
        let rule = denial.rule.as_ref().map(|rule| rule["text"].to_string());
        let (path, port) = (denial.object.path.as_str(), denial.object.port);
        let right = match path {
            "" => denial.reason == "no rule" && rule.is_none(),
            path => denial.reason == "rule" && rule.is_some_and(|rule| rule.contains(path)),
        };
        let policy = denial.policy.clone().filter(|_| right);
        let policy = policy.with_context(|| format!("{denial:?}"))?;
        // What one kind of version denies.
        if (path == path_b && port == 0) || (path.is_empty() && port == 2) {
            by[0].insert(policy);
        } else if (path == path_a && port == 0) || (path.is_empty() && port == 1) {
            by[1].insert(policy);
        }
        Ok(())
    })?;
    let [by_a, by_b] = by;
    ensure!(
        by_a.len() > 10 && by_b.len() > 10 && by_a.is_disjoint(&by_b),
        "{} versions denied b and {} denied a, {} both",
        by_a.len(),
        by_b.len(),
        by_a.intersection(&by_b).count()
    );
    println!(
        "{count} denials told, by {} and {} versions",
        by_a.len(),
        by_b.len()
    );
    Ok(())
}
