//! The red team's catalogue, F rows and X10: ways round the rules for files.

use super::files::{HERE, expect, set_up, told};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::{EVERY_USE, Policy};
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use crate::sys::file::give_capabilities;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;

/// What a test does.
pub(super) type Body = fn() -> Result<()>;

pub(super) fn tests() -> Vec<Test> {
    let tests: Vec<(&str, &str, Body)> = vec![
        (
            "red.f1.symlink",
            "a symbolic link or x/../y reaches what it leads to, and no more",
            symlinks,
        ),
        (
            "red.f2.hard_link",
            "a second name is given only to what may be linked",
            hard_links,
        ),
        (
            "red.f5.handle",
            "a file opened by its handle is judged by its path",
            handle,
        ),
        ("red.f6.depth", "a path too deep to judge is denied", depth),
        (
            "red.f7.names",
            "names with line ends and escapes are shown harmlessly",
            names,
        ),
        (
            "red.f8.code",
            "mapping as code is judged at the mapping, memory is never code",
            code,
        ),
        (
            "red.f9.parent",
            "a directory with rules below keeps its name",
            parent,
        ),
        (
            "red.f9.attributes",
            "attributes are changed only by who may write",
            attributes,
        ),
        (
            "red.f11.rewritten",
            "what is judged is what the kernel opens, not what the caller wrote",
            rewritten,
        ),
        (
            "red.n1.openat",
            "io_uring opens nothing that open(2) would not",
            uring,
        ),
        (
            "red.n1.former_credentials",
            "nor with credentials that the task had before",
            former_credentials,
        ),
        (
            "red.f8.queue",
            "a message queue is not opened by saying that it is executed",
            queue,
        ),
        (
            "red.x10.absent",
            "protected names cannot be made, existing or not",
            absent,
        ),
    ];
    with_bpf_lsm(tests)
}

/// Tests that need BPF LSM, of a name, what is shown, and what is done.
pub(super) fn with_bpf_lsm(tests: Vec<(&'static str, &'static str, Body)>) -> Vec<Test> {
    tests
        .into_iter()
        .map(|(name, shows, run)| Test::new(name, shows, run).unless(unless_with_bpf_lsm))
        .collect()
}

/// A policy that denies every use of what lies in some places below [`HERE`], and nothing else.
pub(super) fn denying(name: &str, paths: &[&str]) -> Policy {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| match path.strip_prefix("./") {
            Some(path) => format!("{HERE}/{path}"),
            None => (*path).to_owned(),
        })
        .collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    Policy::named(name).files("deny", EVERY_USE, &paths)
}

/// The same orders outside every session, where each must work.
pub(super) fn control(orders: &[&str]) -> Result<()> {
    let mut actor = Place::Outside.obey()?;
    let orders: Vec<_> = orders.iter().map(|order| (*order, "ok")).collect();
    expect(&mut actor, &orders).context("the control, outside every session")?;
    actor.end()?;
    Ok(())
}

pub(super) fn run(words: &[&str]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no words")?;
    let output = Command::new(program).args(arguments).output()?;
    ensure!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn symlinks() -> Result<()> {
    Daemon::shared()?;
    set_up(&["shut/key", "open/f"])?;
    std::os::unix::fs::symlink("../shut/key", format!("{HERE}/open/link"))?;
    std::os::unix::fs::symlink("../shut", format!("{HERE}/open/folder"))?;
    let orders = [
        "read ./shut/key",
        "read ./open/link",
        "read ./open/folder/key",
        "read ./open/../shut/key",
        "read ./open/.././shut//key",
    ];
    control(&orders)?;
    let agent = "red-f1";
    let policy = denying(agent, &["./shut/**"]);
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&policy).obey()?;
    for order in orders {
        expect(&mut actor, &[(order, "EPERM")])?;
    }
    expect(
        &mut actor,
        &[("read ./open/f", "ok"), ("read ./shut/../open/f", "ok")],
    )?;
    actor.end()?;
    let told = told(events, agent, orders.len())?;
    let expected = format!("read {HERE}/shut/key");
    ensure!(
        told.len() == orders.len() && told.iter().all(|line| *line == expected),
        "told {told:?}, expected {expected:?} each time"
    );
    control(&orders)
}

fn hard_links() -> Result<()> {
    Daemon::shared()?;
    set_up(&["shut/key", "open/f"])?;
    control(&["link ./shut/key ./open/second", "unlink ./open/second"])?;
    let agent = "red-f2";
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&denying(agent, &["./shut/**"])).obey()?;
    expect(
        &mut actor,
        &[
            ("link ./shut/key ./open/second", "EPERM"),
            ("read ./open/second", "ENOENT"),
            ("rename ./shut/key ./open/second", "EPERM"),
            ("exchange ./shut/key ./open/f", "EPERM"),
            ("exchange ./open/f ./shut/key", "EPERM"),
            ("link ./open/f ./open/second", "ok"),
        ],
    )?;
    actor.end()?;
    let told = told(events, agent, 4)?;
    ensure!(
        told[0] == format!("link {HERE}/shut/key")
            && told[1..]
                .iter()
                .all(|line| *line == format!("rename {HERE}/shut/key")),
        "told {told:?}"
    );
    Ok(())
}

fn handle() -> Result<()> {
    Daemon::shared()?;
    set_up(&["shut/key", "open/f"])?;
    control(&["handle ./shut/key /"])?;
    let mut actor =
        Place::Inside(&denying("red-f5", &["./shut/**"]).privileges(&["cap_dac_read_search"]))
            .obey()?;
    expect(
        &mut actor,
        &[
            ("handle ./shut/key /", "EPERM"),
            ("handle ./open/f /", "ok"),
        ],
    )?;
    actor.end()?;
    Ok(())
}

fn depth() -> Result<()> {
    Daemon::shared()?;
    // Two directories are above.
    let at_limit = format!("{}f", "d/".repeat(30));
    let beyond = format!("{}f", "d/".repeat(31));
    set_up(&[&at_limit, &beyond])?;
    let (at_limit, beyond) = (format!("read ./{at_limit}"), format!("read ./{beyond}"));
    control(&[&at_limit, &beyond])?;
    let agent = "red-f6";
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&Policy::named(agent)).obey()?;
    expect(&mut actor, &[(&at_limit, "ok"), (&beyond, "EPERM")])?;
    actor.end()?;
    let denials = events.wait(agent, 1)?;
    let denial = denials.first().context("no denial")?;
    ensure!(
        denial.reason == "unreadable" && denial.object.path.ends_with("/d/d/d/f"),
        "the denial is {denial:?}"
    );
    // The longest name there can be.
    let long = "n".repeat(255);
    set_up(&[&long])?;
    let mut actor = Place::Inside(&denying("red-f6-long", &[&format!("./{long}")])).obey()?;
    expect(&mut actor, &[(&format!("read ./{long}"), "EPERM")])?;
    actor.end()?;
    let near = format!("{}m", "n".repeat(254));
    set_up(&[&long, &near])?;
    let mut actor = Place::Inside(&denying("red-f6-near", &[&format!("./{near}")])).obey()?;
    expect(
        &mut actor,
        &[
            (&format!("read ./{long}"), "ok"),
            (&format!("read ./{near}"), "EPERM"),
        ],
    )?;
    actor.end()?;
    Ok(())
}

fn names() -> Result<()> {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    Daemon::shared()?;
    set_up(&["open/f"])?;
    let hostile = b"a\nb\x1b[2J\xff";
    let mut path = format!("{HERE}/shut/").into_bytes();
    fs::create_dir_all(format!("{HERE}/shut"))?;
    path.extend(hostile);
    fs::write(OsString::from_vec(path.clone()), "x")?;
    let agent = "red-f7";
    let policy = denying(agent, &["./shut/**"]);
    let events = Events::from_now()?;
    let output = Place::Inside(&policy)
        .command(&["sh", "-c", &format!("cat {HERE}/shut/*")])?
        .output()?;
    ensure!(!output.status.success(), "it was read");
    events.wait(agent, 1)?;
    let agent = "red-f7-listed";
    let policy = Policy::named(agent)
        .files("allow", "read", &[&format!("{HERE}/shut")])
        .files("deny", EVERY_USE, &[&format!("{HERE}/shut/**")]);
    let events = Events::from_now()?;
    let output = Place::Inside(&policy)
        .command(&["sh", "-c", &format!("cat {HERE}/shut/*")])?
        .output()?;
    ensure!(!output.status.success(), "it was read");
    let told = told(events, agent, 1)?;
    let expected = format!("read {}", path.escape_ascii());
    ensure!(
        told.contains(&expected),
        "told {told:?}, expected {expected:?}"
    );
    Ok(())
}

fn code() -> Result<()> {
    Daemon::shared()?;
    set_up(&["lib", "open"])?;
    control(&["map ./lib", "protect ./lib", "map-memory"])?;
    let agent = "red-f8";
    let policy = Policy::named(agent).files("deny", "map", &[&format!("{HERE}/lib")]);
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[
            ("map ./lib", "EPERM"),
            ("protect ./lib", "EPERM"),
            ("map-data ./lib", "ok"),
            ("map ./open", "ok"),
            ("protect ./open", "ok"),
            ("protect-anonymous", "EPERM"),
            ("map-memory", "EPERM"),
        ],
    )?;
    actor.end()?;
    let told = told(events, agent, 4)?;
    let lib = format!("map {HERE}/lib");
    ensure!(
        told == [lib.as_str(), lib.as_str(), "privilege ", "map memfd:memory"],
        "told {told:?}"
    );
    Ok(())
}

fn former_credentials() -> Result<()> {
    Daemon::shared()?;
    set_up(&["shut/f", "open/f"])?;
    control(&["uring-later ./shut/f", "uring-former ./shut/f"])?;
    let agent = "red-n1-former";
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&denying(agent, &["./shut/f"])).obey()?;
    expect(
        &mut actor,
        &[
            ("uring-later ./shut/f", "EPERM"),
            ("uring-later ./open/f", "ok"),
            ("uring-former ./shut/f", "EPERM"),
            ("uring-former ./open/f", "ok"),
            ("read ./open/f", "ok"),
        ],
    )?;
    actor.end()?;
    let told = told(events, agent, 2)?;
    ensure!(
        told.iter()
            .all(|line| *line == format!("read {HERE}/shut/f")),
        "told {told:?}"
    );
    Ok(())
}

fn queue() -> Result<()> {
    const NAME: &str = "/interlock-queue";
    Daemon::shared()?;
    crate::sys::file::make_queue(NAME)?;
    let orders = [format!("queue {NAME}"), format!("queue-executed {NAME}")];
    let orders = orders.each_ref().map(String::as_str);
    control(&orders)?;
    let mut actor = Place::Inside(&denying("red-f8-queue", &["/interlock-queue"])).obey()?;
    for order in orders {
        expect(&mut actor, &[(order, "EPERM")])?;
    }
    actor.end()?;
    Ok(())
}

fn parent() -> Result<()> {
    Daemon::shared()?;
    set_up(&["a/b/secret/key", "a/b/open/f", "other/secret/key"])?;
    control(&["rename ./a/b ./a/c", "rename ./a/c ./a/b"])?;
    let mut actor = Place::Inside(&denying("red-f9", &["./a/b/secret/**"])).obey()?;
    expect(
        &mut actor,
        &[
            ("read ./a/b/secret/key", "EPERM"),
            ("rename ./a/b/secret ./a/b/public", "EPERM"),
            ("rename ./a/b ./a/c", "EPERM"),
            ("rename ./a ./c", "EPERM"),
            ("exchange ./a/b ./other", "EPERM"),
            ("exchange ./other ./a/b", "EPERM"),
            // What nothing is said of may be moved.
            ("rename ./a/b/open ./a/b/moved", "ok"),
            ("rename ./a/b/moved ./moved", "ok"),
        ],
    )?;
    actor.end()?;
    Ok(())
}

fn attributes() -> Result<()> {
    Daemon::shared()?;
    set_up(&["f"])?;
    let orders = [
        "truncate ./f",
        "chmod ./f",
        "fchmod ./f",
        "chown ./f",
        "utimes ./f",
        "setxattr ./f",
        "removexattr ./f",
        "set-acl ./f",
    ];
    control(&orders)?;
    control(&["setxattr ./f"])?;
    // Which the kernel would take away together with the contents.
    give_capabilities(&format!("{HERE}/f"))?;
    let agent = "red-f9-attributes";
    let policy = Policy::named(agent).files("deny", "write", &[&format!("{HERE}/**")]);
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&policy).obey()?;
    for order in orders {
        expect(&mut actor, &[(order, "EPERM")])?;
    }
    actor.end()?;
    let told = told(events, agent, orders.len())?;
    ensure!(
        told.iter().all(|line| *line == format!("write {HERE}/f")) && told.len() == orders.len(),
        "told {told:?}"
    );
    let allowed = policy_allowing("red-f9-allowed", "read, write");
    let mut actor = Place::Inside(&allowed).obey()?;
    for order in orders {
        expect(&mut actor, &[(order, "ok")])?;
    }
    actor.end()?;
    Ok(())
}

/// Everything elsewhere, and some uses of what lies in [`HERE`].
pub(super) fn policy_allowing(name: &str, access: &str) -> Policy {
    let rest: Vec<&str> = EVERY_USE
        .split(", ")
        .filter(|word| !access.split(", ").any(|allowed| allowed == *word))
        .collect();
    Policy::named(name).files("deny", &rest.join(", "), &[&format!("{HERE}/**")])
}

/// The caller's own memory is read once, by the kernel, before anything is judged: a path that is
/// rewritten all the time opens what it said at that moment, or is denied; never the denied file.
fn rewritten() -> Result<()> {
    Daemon::shared()?;
    set_up(&["shut/f", "open/f"])?;
    let mut actor = Place::Inside(&denying("red-f11", &["./shut/**"])).obey()?;
    let answer = actor.order(&format!("file rewritten {HERE}/open/f {HERE}/shut/f 20000"))?;
    actor.end()?;
    ensure!(answer == "ok", "{answer}");
    Ok(())
}

fn uring() -> Result<()> {
    Daemon::shared()?;
    set_up(&["shut/f", "open/f"])?;
    control(&[
        "uring ./shut/f",
        "uring-pool ./shut/f",
        "uring-poller ./shut/f",
    ])?;
    let agent = "red-n1-openat";
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&denying(agent, &["./shut/**"]).privileges(&["uring"])).obey()?;
    expect(
        &mut actor,
        &[
            ("uring ./shut/f", "EPERM"),
            ("uring ./open/f", "ok"),
            ("uring-poller ./shut/f", "EPERM"),
            ("uring-poller ./open/f", "ok"),
            ("uring-pool ./shut/f", "EPERM"),
            ("uring-pool ./open/f", "ok"),
        ],
    )?;
    actor.end()?;
    let told = told(events, agent, 3)?;
    ensure!(
        told.iter()
            .all(|line| *line == format!("read {HERE}/shut/f")),
        "told {told:?}"
    );
    Ok(())
}

fn absent() -> Result<()> {
    Daemon::shared()?;
    set_up(&["work/.agent/settings", "work/f", "work/evil/settings"])?;
    control(&["create ./work/.env", "unlink ./work/.env"])?;
    let agent = "red-x10";
    let policy = denying(
        agent,
        &["./work/.agent/settings", "./work/.other/settings", ".env"],
    );
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[
            ("create ./work/.env", "EPERM"),
            ("create-if-absent ./work/.env", "EPERM"),
            ("symlink f ./work/.env", "EPERM"),
            ("link ./work/f ./work/.env", "EPERM"),
            ("rename ./work/f ./work/.env", "EPERM"),
            ("mkdir ./work/.env", "EPERM"),
            ("mkfifo ./work/.env", "EPERM"),
            ("rename ./work/f ./work/.agent/settings", "EPERM"),
            ("unlink ./work/.agent/settings", "EPERM"),
            // Whole directories that bring the name along.
            ("rename ./work/evil ./work/.other", "EPERM"),
            ("symlink evil ./work/.other", "EPERM"),
            ("mkdir ./work/.other", "ok"),
            ("create ./work/.other/settings", "EPERM"),
            ("create ./work/.other/else", "ok"),
        ],
    )?;
    actor.end()?;
    Ok(())
}
