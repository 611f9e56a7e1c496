//! What a session executes (red team X1 to X5 and X9): every way to run a program as another one,
//! or as none, with its control outside every session.

use crate::harness::Test;
use crate::harness::events::{Denial, Events};
use crate::harness::given;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::Policy;
use crate::harness::product::Daemon;
use crate::harness::session::{Obedient, Place, own_program};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the tests have their programs: on the root file system.
pub(super) const HERE: &str = "/srv/exec";
/// Allowed.
const TRUE: &str = "/usr/bin/true";
/// Not allowed.
const OTHER: &str = "/usr/bin/false";

pub(super) fn tests() -> Vec<Test> {
    let tests = vec![
        Test::new(
            "red.x1.alias",
            "a program is the file that it is, whatever name leads to it",
            alias,
        ),
        Test::new(
            "red.x1.own",
            "a session does not run what it wrote itself where the policy refuses that",
            own,
        ),
        Test::new(
            "red.x2.loader",
            "the loader runs only what may be mapped",
            loader,
        ),
        Test::new(
            "red.x3.memory",
            "a file without a name is executed by no session",
            nameless,
        ),
        Test::new(
            "red.x4.script",
            "each level of a script is executed by itself",
            script,
        ),
        Test::new(
            "red.x4.shell",
            "what a shell is told to do is judged by what it does",
            shell,
        ),
        Test::new(
            "red.x9.preload",
            "a library that may not be mapped is not preloaded, and no file that may not be read is sourced",
            preload,
        ),
        Test::new(
            "exec.first",
            "the first command of a session is executed like any other, and told why not",
            first,
        ),
    ];
    tests
        .into_iter()
        .map(|test| test.unless(unless_with_bpf_lsm))
        .collect()
}

/// Makes scripts of a test anew.
pub(super) fn set_up(scripts: &[(&str, &str)]) -> Result<()> {
    let _ = fs::remove_dir_all(HERE);
    fs::create_dir_all(HERE).context(HERE)?;
    for (name, content) in scripts {
        let path = format!("{HERE}/{name}");
        fs::write(&path, content).with_context(|| path.clone())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Gives orders and compares the answers.
pub(super) fn expect(actor: &mut Obedient, expected: &[(&str, &str)]) -> Result<()> {
    let mut wrong = Vec::new();
    for (order, answer) in expected {
        let found = actor.order(order)?;
        if found != *answer {
            let shown: String = order.chars().take(100).collect();
            wrong.push(format!("{shown}: {found}, expected {answer}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Waits for the denial of an action on a path.
pub(super) fn told(events: Events, agent: &str, action: &str, path: &str) -> Result<Denial> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let denials = events.denials(agent)?;
        let found = denials
            .iter()
            .find(|denial| denial.action == action && denial.object.path == path);
        if let Some(found) = found {
            return Ok(found.clone());
        }
        ensure!(
            Instant::now() < deadline,
            "no denied {action} of {path} was told, only {:?}",
            denials
                .iter()
                .map(|denial| (&denial.action, &denial.object.path))
                .collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A policy that allows the actor itself to run, and the programs named.
fn only(name: &str, programs: &[&str]) -> Result<Policy> {
    let own = own_program()?;
    let mut policy = Policy::named(name).without_exec();
    for program in [own.as_str()].iter().chain(programs) {
        policy = policy.exec("allow", &format!("{{programs: [\"{program}\"]}}"));
    }
    Ok(policy)
}

/// Every part outside a session, where it must do what it does, and inside one.
fn both(policy: &Policy, parts: &[(&[&str], &str, &str)]) -> Result<()> {
    for (part, outside, inside) in parts {
        let control = Place::Outside.act(part)?;
        ensure!(
            control == *outside,
            "the control {part:?}: {control}, expected {outside}"
        );
        let found = Place::Inside(policy).act(part)?;
        ensure!(
            found == *inside,
            "{part:?} inside: {found}, expected {inside}"
        );
    }
    Ok(())
}

fn alias() -> Result<()> {
    Daemon::shared()?;
    set_up(&[])?;
    let policy = only("exec-alias", &[TRUE])?;
    let name = format!("{HERE}/alias");
    let name = name.as_str();
    let events = Events::from_now()?;
    both(
        &policy,
        &[
            (&["execute", "execve", TRUE], "ran 0", "ran 0"),
            (&["execute", "execve", OTHER], "ran 1", "EPERM"),
            (&["execute", "self-root", TRUE], "ran 0", "ran 0"),
            (&["execute", "self-root", OTHER], "ran 1", "EPERM"),
            (&["execute", "handle", OTHER], "ran 1", "EPERM"),
            (&["execute", "self-fd", OTHER], "ran 1", "EPERM"),
            (&["execute", "at", OTHER], "ran 1", "EPERM"),
            (&["alias", "copy", OTHER, name], "ran 1", "EPERM"),
            (&["alias", "symlink", OTHER, name], "ran 1", "EPERM"),
            (&["alias", "symlink", TRUE, name], "ran 0", "ran 0"),
            (&["alias", "copy", TRUE, name], "ran 0", "EPERM"),
            (
                &["alias", "link", OTHER, "/usr/bin/alias"],
                "ran 1",
                "EPERM",
            ),
        ],
    )?;
    for path in [OTHER, name, "/usr/bin/alias"] {
        let denial = told(events, policy.agent(), "exec", path)?;
        ensure!(
            denial.verdict == "deny" && denial.reason == "no rule",
            "told of {path}: {denial:?}"
        );
    }
    // Another file under an allowed name is what the policy allows by that name; who may not write
    // there cannot put it there.
    fs::copy(OTHER, "/usr/bin/alias.new").context("copying")?;
    let guarded = only("exec-guarded", &[TRUE])?.files(
        "deny",
        "write, create, delete, rename, link",
        &["/usr/**"],
    );
    let found = Place::Inside(&guarded).act(&["alias", "rename", "/usr/bin/alias.new", TRUE])?;
    ensure!(found == "not made: EPERM", "renamed onto {TRUE}: {found}");
    fs::remove_file("/usr/bin/alias.new")?;
    fs::remove_file("/usr/bin/alias")?;
    Ok(())
}

fn own() -> Result<()> {
    Daemon::shared()?;
    set_up(&[])?;
    fs::create_dir_all(format!("{HERE}/fixed"))?;
    let (fixed, written) = (format!("{HERE}/fixed/true"), format!("{HERE}/written"));
    fs::copy(TRUE, &fixed)?;
    let own = own_program()?;
    let policy = Policy::named("exec-own")
        .without_exec()
        .exec("allow", &format!("{{programs: [\"{own}\"]}}"))
        .exec(
            "allow",
            &format!("{{programs: [\"{HERE}/**\"], notWritable: true}}"),
        )
        .files(
            "deny",
            "write, create, delete, rename, link",
            &[&format!("{HERE}/fixed/**")],
        );
    let events = Events::from_now()?;
    both(
        &policy,
        &[
            (&["execute", "execve", &fixed], "ran 0", "ran 0"),
            (&["alias", "copy", TRUE, &written], "ran 0", "EPERM"),
        ],
    )?;
    let denial = told(events, policy.agent(), "exec", &written)?;
    ensure!(denial.reason == "program is writable", "told: {denial:?}");
    Ok(())
}

/// The dynamic loader, as the kernel resolves it.
fn loader_path() -> Result<String> {
    let place = if cfg!(target_arch = "aarch64") {
        "/lib/ld-linux-aarch64.so.1"
    } else {
        "/lib64/ld-linux-x86-64.so.2"
    };
    let path = fs::canonicalize(place).context("the loader")?;
    Ok(path.display().to_string())
}

fn loader() -> Result<()> {
    Daemon::shared()?;
    let loader = loader_path()?;
    let policy = only("exec-loader", &[TRUE])?;
    let part: &[&str] = &["execute", "execve", &loader, OTHER];
    both(&policy, &[(part, "ran 1", "EPERM")])?;
    // Where the loader may be run, it maps what may be mapped.
    let maps = only("exec-loader-maps", &[TRUE, &loader])?.files("deny", "map", &[OTHER]);
    let events = Events::from_now()?;
    let found = Place::Inside(&maps).act(part)?;
    ensure!(found == "ran 127", "through the loader: {found}");
    told(events, maps.agent(), "map", OTHER)?;
    let found = Place::Inside(&maps).act(&["execute", "execve", &loader, TRUE])?;
    ensure!(
        found == "ran 0",
        "an allowed program through the loader: {found}"
    );
    Ok(())
}

fn nameless() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("exec-nameless");
    let events = Events::from_now()?;
    both(
        &policy,
        &[
            (&["execute", "handle", TRUE], "ran 0", "ran 0"),
            (&["execute", "self-fd", TRUE], "ran 0", "ran 0"),
            (&["execute", "memory", TRUE], "ran 0", "EPERM"),
            (&["execute", "memory-fd", TRUE], "ran 0", "EPERM"),
            (&["execute", "deleted", TRUE], "ran 0", "EPERM"),
            (&["execute", "temporary", TRUE], "ran 0", "EPERM"),
        ],
    )?;
    let denials = events.wait(policy.agent(), 4)?;
    for denial in denials {
        ensure!(
            denial.action == "exec" && denial.reason == "program has no name",
            "told: {denial:?}"
        );
    }
    Ok(())
}

fn script() -> Result<()> {
    Daemon::shared()?;
    set_up(&[
        ("script", "#!/usr/bin/dash\nexit 7\n"),
        ("chain", &format!("#!{HERE}/script\nnothing\n")),
        ("env", "#!/usr/bin/env dash\nexit 8\n"),
    ])?;
    let at = |name: &str| format!("{HERE}/{name}");
    let (script, chain, env) = (at("script"), at("chain"), at("env"));
    let run = |path: &str| format!("execute execve {path}");
    for (programs, expected) in [
        (vec![script.as_str()], ["EPERM"; 3]),
        (vec!["/usr/bin/dash"], ["EPERM"; 3]),
        (vec![&script, "/usr/bin/dash"], ["ran 7", "EPERM", "EPERM"]),
        (vec![&chain, "/usr/bin/dash"], ["EPERM"; 3]),
        (
            vec![&chain, &script, "/usr/bin/dash"],
            ["ran 7", "ran 7", "EPERM"],
        ),
        // `env` runs, and may not run the shell.
        (vec![&env, "/usr/bin/env"], ["EPERM", "EPERM", "ran 126"]),
        (
            vec![&env, "/usr/bin/env", "/usr/bin/dash"],
            ["EPERM", "EPERM", "ran 8"],
        ),
    ] {
        let policy = only("exec-script", &programs)?;
        let mut actor = Place::Inside(&policy).obey()?;
        let orders = [run(&script), run(&chain), run(&env)];
        let pairs: Vec<(&str, &str)> = orders.iter().map(String::as_str).zip(expected).collect();
        expect(&mut actor, &pairs).with_context(|| format!("allowed are {programs:?}"))?;
        actor.end()?;
    }
    for (path, code) in [(&script, 7), (&chain, 7), (&env, 8)] {
        let control = Place::Outside.act(&["execute", "execve", path])?;
        ensure!(control == format!("ran {code}"), "the control: {control}");
    }
    Ok(())
}

fn shell() -> Result<()> {
    Daemon::shared()?;
    let policy = only("exec-shell", &["/usr/bin/dash", TRUE])?;
    let events = Events::from_now()?;
    let part = |script: &'static str| ["execute", "execve", "/usr/bin/dash", "-c", script];
    both(
        &policy,
        &[
            (&part("/usr/bin/true"), "ran 0", "ran 0"),
            (&part("/usr/bin/false; exit $?"), "ran 1", "ran 126"),
            (&part("x=/usr/bin/fal; ${x}se; exit $?"), "ran 1", "ran 126"),
            (
                &part("exec /proc/self/root/usr/bin/false"),
                "ran 1",
                "ran 126",
            ),
        ],
    )?;
    told(events, policy.agent(), "exec", OTHER)?;
    Ok(())
}

fn preload() -> Result<()> {
    Daemon::shared()?;
    set_up(&[("sourced", "exit 9\n")])?;
    let library = format!("{HERE}/library.so");
    let first = fs::read_dir(Path::new("/usr/lib").join(given::libraries()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name == "libm.so.6"))
        .context("libm.so.6")?;
    fs::copy(first, &library)?;
    let policy = only(
        "exec-preload",
        &["/usr/bin/env", "/usr/bin/bash", "/usr/bin/grep"],
    )?
    .files("deny", "read, map", &[&format!("{HERE}/**")]);
    let readable = only(
        "exec-preload-read",
        &["/usr/bin/env", "/usr/bin/bash", "/usr/bin/grep"],
    )?
    .files("deny", "map", &[&format!("{HERE}/**")]);
    let preload = format!("LD_PRELOAD={library}");
    let sourced = format!("BASH_ENV={HERE}/sourced");
    // Whether the library is among the mappings of the program that looks.
    let mapped: &[&str] = &[
        "execute",
        "execve",
        "/usr/bin/env",
        &preload,
        "/usr/bin/grep",
        "-q",
        "r-xp.*library.so",
        "/proc/self/maps",
    ];
    let source: &[&str] = &[
        "execute",
        "execve",
        "/usr/bin/env",
        &sourced,
        "/usr/bin/bash",
        "-c",
        ":",
    ];
    let events = Events::from_now()?;
    both(
        &policy,
        &[(mapped, "ran 0", "ran 1"), (source, "ran 9", "ran 0")],
    )?;
    both(
        &readable,
        &[(mapped, "ran 0", "ran 1"), (source, "ran 9", "ran 9")],
    )?;
    told(events, policy.agent(), "read", &format!("{HERE}/sourced"))?;
    told(events, readable.agent(), "map", &library)?;
    Ok(())
}

fn first() -> Result<()> {
    Daemon::shared()?;
    set_up(&[("script", "#!/usr/bin/dash\nexit 7\n")])?;
    let policy = only("exec-first", &[&format!("{HERE}/script")])?;
    let output = Place::Inside(&policy).run(&["true"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(126),
        "{:?}: {said}",
        output.status
    );
    for part in [
        "agent `exec-first` may not execute /usr/bin/true",
        "no rule of",
        "exec: {allow: [{programs: [/usr/bin/true]}]}",
    ] {
        ensure!(said.contains(part), "{said:?} does not say {part:?}");
    }
    let output = Place::Inside(&policy).run(&[&format!("{HERE}/script")])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(126) && said.contains("interpreter"),
        "{:?}: {said}",
        output.status
    );
    Ok(())
}
