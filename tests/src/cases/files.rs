//! What a policy's rules for files say, and nothing beside it.

use super::red_files::run;
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::{EVERY_USE, Policy};
use crate::harness::product::Daemon;
use crate::harness::session::{Obedient, Place};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Where the tests have their files: on the root file system.
pub(super) const HERE: &str = "/srv/files";

pub(super) fn tests() -> Vec<Test> {
    let tests = vec![
        Test::new(
            "files.precedence",
            "exact paths, names, extensions and directories speak in the order that policies state",
            precedence,
        ),
        Test::new(
            "files.uses",
            "every way to use a file is judged as the use that it is",
            uses,
        ),
        Test::new(
            "files.nothing",
            "a policy that says nothing of files allows none",
            nothing,
        ),
        Test::new(
            "files.moved",
            "what was found for a directory does not outlive its name, nor the directory itself",
            moved,
        ),
        Test::new(
            "files.known",
            "in a directory that is known, a name, an extension, a path and a limit count as in any other",
            known,
        ),
    ];
    tests
        .into_iter()
        .map(|test| test.unless(unless_with_bpf_lsm))
        .collect()
}

/// A policy under which nothing below [`HERE`] is allowed, and everything elsewhere.
pub(super) fn policy(name: &str) -> Policy {
    Policy::named(name).files("deny", EVERY_USE, &[&format!("{HERE}/**")])
}

/// Makes the files of a test anew.
pub(super) fn set_up(files: &[&str]) -> Result<()> {
    let _ = fs::remove_dir_all(HERE);
    for file in files {
        let path = format!("{HERE}/{file}");
        if path.ends_with('/') {
            fs::create_dir_all(&path).with_context(|| path.clone())?;
            continue;
        }
        let (folder, _) = path.rsplit_once('/').context("a path has a folder")?;
        fs::create_dir_all(folder).with_context(|| folder.to_owned())?;
        fs::write(&path, "contents\n").with_context(|| path.clone())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    Ok(())
}

/// An order with its paths: one that begins with `./` lies in [`HERE`].
fn placed(order: &str) -> String {
    let words = order.split(' ').map(|word| match word.strip_prefix("./") {
        Some(rest) => format!("{HERE}/{rest}"),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Gives orders and compares the answers.
pub(super) fn expect(actor: &mut Obedient, expected: &[(&str, &str)]) -> Result<()> {
    let mut wrong = Vec::new();
    for (order, answer) in expected {
        let order = placed(order);
        let found = actor.order(&format!("file {order}"))?;
        if found != *answer {
            wrong.push(format!("{order}: {found}, expected {answer}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What the daemon told of an agent's denials, as `action path`, each once and in order.
pub(super) fn told(events: Events, agent: &str, count: usize) -> Result<Vec<String>> {
    let denials = events.wait(agent, count)?;
    Ok(denials
        .iter()
        .map(|denial| format!("{} {}", denial.action, denial.object.path))
        .collect())
}

fn precedence() -> Result<()> {
    Daemon::shared()?;
    set_up(&[
        "a",
        "open/a",
        "open/.env",
        "open/k.pem",
        "open/exact.pem",
        "open/shut/a",
        "open/shut/open/a",
        "open/shut/x.txt",
        "open/shut/readme",
        "x.txt",
        "readme",
        "open/pem",
        "open/k.pem.txt",
        "open/.pem",
        "open/shut/long-name-of-a-file-that-is-not-inline-in-a-dentry.txt",
    ])?;
    let at = |path: &str| format!("{HERE}/{path}");
    let policy = Policy::named("files-precedence")
        .files("deny", "read", &[&at("**")])
        .files(
            "allow",
            "read",
            &[
                &at("open/**"),
                &at("open/exact.pem"),
                &at("open/shut/open/**"),
            ],
        )
        .files("deny", "read", &[&at("open/shut/**"), ".env", "*.pem"])
        .files("allow", "read", &["*.txt", "readme"]);
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[
            ("read ./a", "EPERM"),
            ("read ./open/a", "ok"),
            ("read ./open/.env", "EPERM"),
            ("read ./open/k.pem", "EPERM"),
            ("read ./open/.pem", "EPERM"),
            ("read ./open/exact.pem", "ok"),
            ("read ./open/pem", "ok"),
            ("read ./open/k.pem.txt", "ok"),
            ("read ./open/shut/a", "EPERM"),
            ("read ./open/shut/open/a", "ok"),
            // A directory's rule comes before a name or an extension that allows.
            ("read ./open/shut/x.txt", "EPERM"),
            ("read ./open/shut/readme", "EPERM"),
            ("list ./open", "ok"),
            ("list ./open/shut", "EPERM"),
            ("list .", "ok"),
        ],
    )?;
    actor.end()?;
    // Where no directory speaks, names and extensions that allow do.
    let policy = Policy::named("files-names")
        .without_files()
        .files(
            "allow",
            "read, map",
            &["/usr/**", "/lib/**", "/lib64/**", "/etc/**"],
        )
        .files("allow", "read", &["*.txt", "readme"])
        .files("deny", "read", &[&at("x.txt")]);
    let mut actor = Place::Inside(&policy).obey()?;
    expect(
        &mut actor,
        &[
            ("read ./open/shut/x.txt", "ok"),
            (
                "read ./open/shut/long-name-of-a-file-that-is-not-inline-in-a-dentry.txt",
                "ok",
            ),
            ("read ./open/shut/readme", "ok"),
            ("read ./x.txt", "EPERM"),
            ("read ./a", "EPERM"),
            ("write ./readme", "EPERM"),
        ],
    )?;
    actor.end()?;
    Ok(())
}

/// Each order, the uses that allow it, and a way to make it possible again.
fn uses() -> Result<()> {
    Daemon::shared()?;
    let cases: &[(&str, &[&str])] = &[
        ("read ./f", &["read"]),
        ("openat2 ./f", &["read"]),
        ("list ./d", &["read"]),
        ("write ./f", &["write"]),
        ("append ./f", &["write"]),
        ("read-write ./f", &["read", "write"]),
        ("read-truncate ./f", &["read", "write"]),
        ("path ./f", &[]),
        ("create ./new", &["create", "write"]),
        ("create-if-absent ./new", &["create", "write"]),
        ("create-if-absent ./f", &["write"]),
        ("create-to-read ./new", &["create", "read"]),
        ("temporary ./d", &["create", "write"]),
        ("temporary-link ./d ./new", &["create", "write", "link"]),
        ("mkdir ./new", &["create"]),
        ("mkfifo ./new", &["create"]),
        ("symlink f ./new", &["create"]),
        ("link ./f ./new", &["link", "create"]),
        ("unlink ./f", &["delete"]),
        ("rmdir ./d", &["delete"]),
        ("rename ./f ./new", &["rename", "create"]),
        ("rename ./f ./g", &["rename"]),
        ("rename ./d ./e", &["rename"]),
        ("rename-noreplace ./f ./new", &["rename", "create"]),
        ("exchange ./f ./g", &["rename"]),
        ("map ./f", &["read", "map"]),
        ("map-data ./f", &["read"]),
        ("protect ./f", &["read", "map"]),
    ];
    let files = ["f", "g", "d/", "e/"];
    let every = ["read", "write", "create", "delete", "rename", "link", "map"];
    let mut wrong = Vec::new();
    for (order, needed) in cases {
        // With exactly what is needed it works; with all but one of that it does not.
        let mut attempts = vec![(needed.to_vec(), true)];
        for missing in *needed {
            let but = every.iter().filter(|word| *word != missing);
            attempts.push((but.copied().collect(), false));
        }
        for (allowed, works) in attempts {
            set_up(&files)?;
            let name = format!("files-use-{}", order.split(' ').next().unwrap_or_default());
            let here = format!("{HERE}/**");
            let mut policy = policy(&name);
            if !allowed.is_empty() {
                policy = Policy::named(&name);
                let rest: Vec<&str> = every
                    .into_iter()
                    .filter(|word| !allowed.contains(word))
                    .collect();
                if !rest.is_empty() {
                    policy = policy.files("deny", &rest.join(", "), &[&here]);
                }
            }
            let words = placed(order);
            let mut part = vec!["file"];
            part.extend(words.split(' '));
            let found = Place::Inside(&policy).act(&part);
            let found = found.unwrap_or_else(|error| format!("{error:#}"));
            let expected = if works { "ok" } else { "EPERM" };
            // What cannot even be opened is no attempt at making it code.
            let setting_up = order.starts_with("protect") && found.contains("opening");
            if found != expected && (works || !setting_up) {
                wrong.push(format!(
                    "{order} with {allowed:?}: {found}, expected {expected}"
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn nothing() -> Result<()> {
    Daemon::shared()?;
    set_up(&["f"])?;
    let control = Place::Outside.act(&["file", "read", &format!("{HERE}/f")])?;
    ensure!(control == "ok", "the control: {control}");
    let policy = Policy::named("files-nothing").without_files();
    let events = Events::from_now()?;
    // The loader is not even let to open its libraries.
    let output = Place::Inside(&policy).run(&["/usr/bin/true"])?;
    ensure!(!output.status.success(), "a program ran without any file");
    let denial = events
        .wait("files-nothing", 1)?
        .first()
        .cloned()
        .context("no denial")?;
    ensure!(
        (denial.action == "map" || denial.action == "read") && denial.reason == "no rule",
        "the denial is {denial:?}"
    );
    Ok(())
}

/// On the root file system, and on one in memory, where directories are told apart in other ways.
fn known() -> Result<()> {
    Daemon::shared()?;
    set_up(&[
        "known/f",
        "known/g",
        "known/exact",
        "known/secret",
        "known/k.pem",
        "known/shut/f",
        "few/f",
    ])?;
    let at = |path: &str| format!("{HERE}/{path}");
    let few = format!(
        "{{access: [read], paths: [{}], limit: {{perSession: 3}}}}",
        at("few/**")
    );
    let policy = Policy::named("files-known")
        .files("deny", EVERY_USE, &[&at("known/shut/**")])
        .files("deny", "read", &[&at("known/exact"), "secret", "*.pem"])
        .files("deny", "create, delete", &[&at("known/**")])
        .file("allow", &few);
    let mut actor = Place::Inside(&policy).obey()?;
    for _ in 0..3 {
        expect(
            &mut actor,
            &[
                ("read ./known/f", "ok"),
                ("read ./known/g", "ok"),
                ("read ./known/exact", "EPERM"),
                ("read ./known/secret", "EPERM"),
                ("read ./known/k.pem", "EPERM"),
                ("read ./known/shut", "EPERM"),
                ("read ./known/shut/f", "EPERM"),
                ("unlink ./known/g", "EPERM"),
                ("create ./known/new", "EPERM"),
                ("read ./few/f", "ok"),
            ],
        )?;
    }
    expect(&mut actor, &[("read ./few/f", "EPERM")])?;
    actor.end()?;
    Ok(())
}

fn moved() -> Result<()> {
    Daemon::shared()?;
    set_up(&["memory/"])?;
    let memory = format!("{HERE}/memory");
    run(&["mount", "-t", "tmpfs", "tmpfs", &memory])?;
    let result = ["disk", "memory"].into_iter().try_for_each(|place| {
        moved_below(place).with_context(|| format!("on a file system of {place}"))
    });
    run(&["umount", &memory])?;
    result
}

fn moved_below(place: &str) -> Result<()> {
    const TIMES: u32 = 20;
    let at = |path: &str| format!("{HERE}/{place}/{path}");
    let made = |folder: &str| -> Result<()> {
        fs::create_dir_all(at(folder))?;
        Ok(fs::write(at(&format!("{folder}/f")), "contents\n")?)
    };
    made("open/a/b")?;
    made("shut")?;
    let policy = Policy::named("files-moved").files("deny", EVERY_USE, &[&at("shut/**")]);
    let mut actor = Place::Inside(&policy).obey()?;
    let mut expect = |path: &str, answer: &str| {
        let order = format!("read ./{place}/{path}");
        // The second time it may be known.
        expect(&mut actor, &[(&order, answer), (&order, answer)])
    };
    for _ in 0..TIMES {
        expect("open/a/b/f", "ok")?;
        fs::rename(at("open/a"), at("shut/a"))?;
        expect("shut/a/b/f", "EPERM")?;
        fs::rename(at("shut/a/b"), at("open/b"))?;
        expect("open/b/f", "ok")?;
        fs::rename(at("open/b"), at("shut/a/b"))?;
        expect("shut/a/b/f", "EPERM")?;
        fs::rename(at("shut/a"), at("open/a"))?;
        // The next directory gets the number, and perhaps the place, of one that is gone.
        made("open/c")?;
        expect("open/c/f", "ok")?;
        fs::remove_dir_all(at("open/c"))?;
        made("shut/c")?;
        expect("shut/c/f", "EPERM")?;
        fs::remove_dir_all(at("shut/c"))?;
    }
    actor.end()?;
    Ok(())
}
