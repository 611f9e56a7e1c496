//! The red team's catalogue, F rows and X10: ways round the rules for files.

use super::files::{HERE, expect, policy, set_up, told};
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::{EVERY_USE, Policy};
use crate::harness::product::Daemon;
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a test does.
type Body = fn() -> Result<()>;

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
            "red.f3.bind_alias",
            "a bind mount made outside gives no file another path",
            bind_alias,
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
            "red.f10.tmpfs",
            "rules hold on tmpfs, mounted before and after the session began",
            tmpfs,
        ),
        (
            "red.f10.overlay",
            "rules hold on overlay, copying up included",
            overlay,
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
            "red.x10.absent",
            "protected names cannot be made, existing or not",
            absent,
        ),
        (
            "files.procfs",
            "a session reads of itself in procfs, and not of others",
            procfs,
        ),
        (
            "files.pipes",
            "pipes and memory can be opened again by their descriptors",
            pipes,
        ),
        (
            "files.look_first",
            "opening what exists with O_CREAT is no creation",
            look_first,
        ),
        (
            "files.swap",
            "rules follow a rename by others, and a cached directory does not survive it",
            swap,
        ),
    ];
    tests
        .into_iter()
        .map(|(name, shows, run)| Test::new(name, shows, run).unless(unless_with_bpf_lsm))
        .collect()
}

/// A policy that denies every use of what lies in some places below [`HERE`], and nothing else.
fn denying(name: &str, paths: &[&str]) -> Policy {
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
fn control(orders: &[&str]) -> Result<()> {
    let mut actor = Place::Outside.obey()?;
    let orders: Vec<_> = orders.iter().map(|order| (*order, "ok")).collect();
    expect(&mut actor, &orders).context("the control, outside every session")?;
    actor.end()?;
    Ok(())
}

fn run(words: &[&str]) -> Result<()> {
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

fn bind_alias() -> Result<()> {
    Daemon::shared()?;
    set_up(&["shut/key", "shut/open/f", "alias/", "file"])?;
    let (shut, alias, file) = (
        format!("{HERE}/shut"),
        format!("{HERE}/alias"),
        format!("{HERE}/file"),
    );
    let mut before = Place::Inside(&denying("red-f3-before", &["./shut/**"])).obey()?;
    run(&["mount", "--bind", &shut, &alias])?;
    run(&["mount", "--bind", &format!("{shut}/key"), &file])?;
    let outcome = (|| {
        control(&["read ./alias/key", "read ./file"])?;
        let agent = "red-f3-after";
        let events = Events::from_now()?;
        let mut after = Place::Inside(&denying(agent, &["./shut/**"])).obey()?;
        let orders = [
            ("read ./shut/key", "EPERM"),
            ("read ./alias/key", "EPERM"),
            ("read ./file", "EPERM"),
        ];
        expect(&mut before, &orders).context("in a session from before the mount")?;
        expect(&mut after, &orders).context("in a session from after the mount")?;
        after.end()?;
        let told = told(events, agent, 3)?;
        ensure!(
            told.iter()
                .all(|line| *line == format!("read {HERE}/shut/key")),
            "told {told:?}"
        );
        // A rule that names the alias holds for what it is an alias of.
        let policy = denying("red-f3-alias", &["./alias/**"]);
        let mut actor = Place::Inside(&policy).obey()?;
        expect(&mut actor, &orders).context("by the alias's rule")?;
        actor.end()?;
        Ok(())
    })();
    run(&["umount", &file])?;
    run(&["umount", &alias])?;
    before.end()?;
    outcome
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
fn policy_allowing(name: &str, access: &str) -> Policy {
    let rest: Vec<&str> = EVERY_USE
        .split(", ")
        .filter(|word| !access.split(", ").any(|allowed| allowed == *word))
        .collect();
    Policy::named(name).files("deny", &rest.join(", "), &[&format!("{HERE}/**")])
}

fn tmpfs() -> Result<()> {
    Daemon::shared()?;
    set_up(&["early/", "late/"])?;
    let (early, late) = (format!("{HERE}/early"), format!("{HERE}/late"));
    let fill = |at: &str| -> Result<()> {
        run(&["mount", "-t", "tmpfs", "none", at])?;
        for path in ["open", "shut"] {
            fs::create_dir(format!("{at}/{path}"))?;
            fs::write(format!("{at}/{path}/f"), "x")?;
        }
        Ok(())
    };
    fill(&early)?;
    let policy = denying("red-f10-tmpfs", &["./early/shut/**", "./late/shut/**"]);
    let mut actor = Place::Inside(&policy).obey()?;
    let orders = |at: &str| {
        [
            (format!("read ./{at}/open/f"), "ok"),
            (format!("read ./{at}/shut/f"), "EPERM"),
            (format!("create ./{at}/open/new"), "ok"),
            (format!("create ./{at}/shut/new"), "EPERM"),
            (format!("rename ./{at}/open/f ./{at}/shut/f"), "EPERM"),
            (format!("list ./{at}"), "ok"),
        ]
    };
    let outcome = (|| {
        for (order, answer) in orders("early") {
            expect(&mut actor, &[(&order, answer)])?;
        }
        fill(&late)?;
        // What has just been mounted has no rules until the daemon has seen it: denied, all of it.
        let deadline = Instant::now() + Duration::from_secs(10);
        while actor.order(&format!("file read {late}/open/f"))? == "EPERM" {
            ensure!(
                Instant::now() < deadline,
                "the rules do not follow the mount"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        for (order, answer) in orders("late") {
            expect(&mut actor, &[(&order, answer)])?;
        }
        Ok(())
    })();
    run(&["umount", &early])?;
    let _ = run(&["umount", &late]);
    actor.end()?;
    outcome
}

fn overlay() -> Result<()> {
    Daemon::shared()?;
    set_up(&["merged/"])?;
    let base = format!("{HERE}-layers");
    let _ = fs::remove_dir_all(&base);
    fs::create_dir_all(&base)?;
    // On a file system of their own: overlay wants extended attributes for what it copies up.
    run(&["mount", "-t", "tmpfs", "none", &base])?;
    for path in ["lower/open", "lower/shut", "upper", "work"] {
        fs::create_dir_all(format!("{base}/{path}"))?;
    }
    for path in ["open/f", "open/g", "shut/f"] {
        fs::write(format!("{base}/lower/{path}"), "lower\n")?;
    }
    let merged = format!("{HERE}/merged");
    let options = format!("lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work");
    let mounted = run(&["mount", "-t", "overlay", "none", "-o", &options, &merged]);
    if let Err(error) = mounted {
        run(&["umount", &base])?;
        return Err(error);
    }
    let outcome = (|| {
        // The layers themselves are out of reach.
        let layers = format!("{base}/**");
        // 5.10 cannot tell the kernel's own work from io_uring's: there, who may not use the layers
        // can list and change nothing above them.
        let tells = !crate::harness::kernel::before(5, 11);
        let denied: &[&str] = match tells {
            true => &["./merged/shut/**", &layers],
            false => &["./merged/shut/**"],
        };
        let policy = denying("red-f10-overlay", denied);
        let layer = if tells { "EPERM" } else { "ok" };
        let mut actor = Place::Inside(&policy).obey()?;
        expect(
            &mut actor,
            &[
                ("read ./merged/open/f", "ok"),
                ("read ./merged/shut/f", "EPERM"),
                ("list ./merged/open", "ok"),
                ("map ./merged/open/f", "ok"),
                (&format!("read {base}/lower/open/f"), layer),
                ("create ./merged/open/new", "ok"),
                ("create ./merged/shut/new", "EPERM"),
                ("rename ./merged/open/new ./merged/shut/new", "EPERM"),
                ("unlink ./merged/open/new", "ok"),
            ],
        )?;
        // What is copied up.
        expect(
            &mut actor,
            &[
                ("write ./merged/open/f", "ok"),
                ("chmod ./merged/open/g", "ok"),
                ("write ./merged/shut/f", "EPERM"),
            ],
        )?;
        actor.end()?;
        Ok(())
    })();
    run(&["umount", &merged])?;
    run(&["umount", &base])?;
    outcome
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

fn procfs() -> Result<()> {
    Daemon::shared()?;
    let own = std::process::id();
    // Libraries, and nothing in /proc.
    let policy = Policy::named("files-procfs").without_files().files(
        "allow",
        "read, map",
        &["/usr/**", "/lib/**", "/lib64/**", "/etc/**"],
    );
    let mut actor = Place::Inside(&policy).obey()?;
    let others = format!("read /proc/{own}/status");
    expect(
        &mut actor,
        &[
            ("read /proc/self/status", "ok"),
            ("read /proc/self/maps", "ok"),
            ("read /proc/thread-self/stat", "ok"),
            ("list /proc/self/fd", "ok"),
            ("list /proc/self/task", "ok"),
            ("write /proc/self/mem", "EPERM"),
            ("write /proc/self/oom_score_adj", "EPERM"),
            (&others, "EPERM"),
            ("read /proc/1/status", "EPERM"),
            ("read /proc/meminfo", "EPERM"),
            ("list /proc", "EPERM"),
        ],
    )?;
    actor.end()?;
    let policy = policy.files("allow", "read", &["/proc/**"]);
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[
            (&others, "ok"),
            ("read /proc/meminfo", "ok"),
            ("list /proc", "ok"),
        ],
    )?;
    actor.end()?;
    Ok(())
}

fn pipes() -> Result<()> {
    Daemon::shared()?;
    let policy = policy("files-pipes");
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[("reopen-pipe", "ok"), ("reopen-memory", "ok")],
    )?;
    actor.end()?;
    let output = Place::Inside(&policy).run(&["bash", "-c", "cat <(echo through) | cat"])?;
    ensure!(
        output.stdout == b"through\n",
        "bash's <(...) gave {:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}

fn look_first() -> Result<()> {
    Daemon::shared()?;
    set_up(&["f"])?;
    let agent = "files-look-first";
    let policy = policy_allowing(agent, "read, write");
    let events = Events::from_now()?;
    let mut actor = Place::Inside(&policy).obey()?;
    for _ in 0..3 {
        // Forget every name, so that the kernel asks before it looks.
        fs::write("/proc/sys/vm/drop_caches", "2")?;
        expect(&mut actor, &[("create-if-absent ./f", "ok")])?;
    }
    ensure!(
        events.denials(agent)?.is_empty(),
        "told {:?}",
        events.denials(agent)?
    );
    for _ in 0..3 {
        fs::write("/proc/sys/vm/drop_caches", "2")?;
        expect(&mut actor, &[("create-if-absent ./absent", "EPERM")])?;
    }
    actor.end()?;
    let told = told(events, agent, 3)?;
    ensure!(
        told == vec![format!("create {HERE}/absent"); 3],
        "told {told:?}"
    );
    Ok(())
}

fn swap() -> Result<()> {
    Daemon::shared()?;
    set_up(&["work/open/f", "work/shut/f"])?;
    let policy = denying("files-swap", &["./work/shut/**"]);
    let mut actor = Place::Inside(&policy).obey()?;
    for _ in 0..50 {
        expect(
            &mut actor,
            &[
                ("read ./work/open/f", "ok"),
                ("read ./work/shut/f", "EPERM"),
            ],
        )?;
        control(&["exchange ./work/open ./work/shut"])?;
    }
    // A directory that takes the place of one that is gone.
    for _ in 0..50 {
        set_up(&["work/open/f"])?;
        expect(&mut actor, &[("read ./work/open/f", "ok")])?;
        set_up(&["work/shut/f"])?;
        expect(&mut actor, &[("read ./work/shut/f", "EPERM")])?;
    }
    actor.end()?;
    Ok(())
}
