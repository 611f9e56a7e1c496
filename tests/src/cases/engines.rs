//! Containers of Docker and podman, by the real ones: whose one is, its engine tells, and until it has the
//! first program waits.

use super::containers::{
    ALLOWED, AWAY, DENIED, STAYS, probe, selecting as selecting_pods, sessions, words,
};
use super::recognise::{daemon, make};
use crate::harness::Test;
use crate::harness::engines::{DOCKER, Engine, PODMAN};
use crate::harness::events::{Events, Line};
use crate::harness::image::IMAGE;
use crate::harness::kernel::unless_it_waits;
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, begun, call, said};
use crate::sys::process::kill;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a container waits at least of which nobody knows whose it is.
const A_MINUTE: Duration = Duration::from_secs(50);
/// What marks the containers that policies select here.
const MARKED: [&str; 2] = ["--label", "app=demo"];

pub(super) fn tests() -> Vec<Test> {
    let podman = [
        Test::new(
            "long.podman.session",
            "a container of podman that a policy selects is held from its first instruction, and nobody else's is",
            || session(&PODMAN),
        ),
        Test::new(
            "long.podman.service",
            "while podman's service is away its containers wait, and after a minute are denied with what to do",
            service,
        ),
        Test::new(
            "long.podman.before",
            "a container of podman that ran before is adopted; while the daemon is away a new one is denied",
            before,
        ),
    ];
    let docker = Test::new(
        "long.docker.session",
        "a container of Docker that a policy selects is held from its first instruction, and nobody else's is",
        || session(&DOCKER),
    );
    let podman = podman.map(|test| test.unless(|| PODMAN.unless_there().or_else(unless_it_waits)));
    let docker = docker.unless(|| DOCKER.unless_there().or_else(unless_it_waits));
    let mut tests: Vec<Test> = podman.into_iter().chain([docker]).collect();
    tests.push(
        Test::new(
            "recognise.engines",
            "a cgroup is an engine's container's by its path, where root makes it and a policy selects such",
            paths,
        )
        .unless(unless_it_waits),
    );
    tests.into_iter().map(|test| test.patience(900)).collect()
}

/// A policy that selects containers of engines, and lets them do nothing on a network.
fn selecting(name: &str) -> Policy {
    let way = format!("container: {{image: \"{IMAGE}\", labels: {{app: demo}}}}");
    Policy::named(name).with(&format!("  session: [{{{way}}}]\n"))
}

/// Runs a container whose one probe must end so.
fn expect(engine: &Engine, name: &str, options: &[&str], expected: i32) -> Result<()> {
    let ended = engine.run(name, options, &words(&probe()?))?;
    ensure!(
        ended.status.code() == Some(expected),
        "{name}: {ended:?}, expected {expected}"
    );
    engine.remove(name)
}

fn entered(engine: &Engine, name: &str, expected: i32) -> Result<()> {
    let ended = engine.exec(name, &words(&probe()?))?;
    ensure!(
        ended.status.code() == Some(expected),
        "executed into {name}: {ended:?}, expected {expected}"
    );
    Ok(())
}

fn stay(engine: &Engine, name: &str) -> Result<()> {
    let begun = engine.run(name, &[&MARKED[..], &["--detach"]].concat(), &STAYS)?;
    ensure!(begun.status.success(), "{name}: {begun:?}");
    Ok(())
}

fn session(engine: &Engine) -> Result<()> {
    let name = "by-engine";
    daemon(&[&selecting(name)])?;
    engine.begin()?;
    let events = Events::from_now()?;
    expect(engine, "agent", &MARKED, DENIED)?;
    expect(engine, "other", &["--label", "app=other"], ALLOWED)?;
    events.ended(name)?;
    let session = events.denials(name)?.remove(0).session;
    let story = said(&call(&["evidence", "show", &session])?);
    let image = format!("), image {IMAGE}");
    ensure!(
        story.contains("container agent (") && story.contains(&image),
        "the record does not name the container: {story}"
    );
    stay(engine, "stays")?;
    sessions(name, 1)?;
    let (agents, events) = (begun(name)?, Events::from_now()?);
    entered(engine, "stays", DENIED)?;
    events.left(&agents)?;
    let listed = said(&call(&["sessions"])?);
    ensure!(
        listed.contains("container stays (") && listed.contains(&image),
        "no container is shown: {listed}"
    );
    engine.remove("stays")?;
    sessions(name, 0)
}

fn service() -> Result<()> {
    let name = "by-service";
    daemon(&[&selecting_pods(name, "podLabels: {app: demo}")])?;
    PODMAN.begin()?;
    PODMAN.end_service()?;
    let began = Instant::now();
    expect(&PODMAN, "unasked", &MARKED, ALLOWED)?;
    ensure!(
        began.elapsed() < A_MINUTE,
        "held where policies select pods alone"
    );
    daemon(&[&selecting(name)])?;
    let late = thread::spawn(|| expect(&PODMAN, "late", &MARKED, DENIED));
    thread::sleep(Duration::from_secs(10));
    ensure!(
        !late.is_finished(),
        "it has not waited for podman's service"
    );
    PODMAN.begin_service()?;
    late.join().ok().context("a thread panicked")??;
    PODMAN.end_service()?;
    let mut user = listen_as_user(PODMAN.socket)?;
    let (events, began) = (Events::from_now()?, Instant::now());
    let denied = PODMAN.run("denied", &["--label", "app=other"], &words(&probe()?))?;
    let code = denied.status.code();
    ensure!(
        began.elapsed() > A_MINUTE && code != Some(ALLOWED) && code != Some(DENIED),
        "it has run, or not waited: {denied:?} after {:?}",
        began.elapsed()
    );
    let why = events.first("that nobody knew it", |line| match line {
        Line::NotReady(found) => found.recognised,
        _ => None,
    })?;
    for part in [
        PODMAN.socket,
        "user 1000 listens there, expected root",
        "systemctl enable --now podman.socket",
    ] {
        ensure!(why.contains(part), "{why}");
    }
    user.kill()?;
    user.wait()?;
    fs::remove_file(PODMAN.socket)?;
    PODMAN.remove("denied")?;
    PODMAN.begin_service()?;
    expect(&PODMAN, "other", &["--label", "app=other"], ALLOWED)
}

/// Somebody else than root, who would say anything of containers.
fn listen_as_user(socket: &str) -> Result<Child> {
    let script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); \
                  print(flush=True); sys.stdin.read()";
    let folder = Path::new(socket).parent().context("a folder")?;
    std::os::unix::fs::chown(folder, Some(USER), Some(USER))?;
    let mut child = as_user()
        .args(["python3", "-c", script, socket])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut listens = [0];
    let out = child.stdout.as_mut().context("its output")?;
    out.read_exact(&mut listens)?;
    Ok(child)
}

/// A command that the user executes, whose words follow.
fn as_user() -> Command {
    let user = USER.to_string();
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    setpriv
}

fn before() -> Result<()> {
    let name = "by-before";
    // A daemon that looks for no containers.
    daemon(&[])?;
    PODMAN.begin()?;
    stay(&PODMAN, "first")?;
    entered(&PODMAN, "first", ALLOWED)?;
    let found = daemon(&[&selecting(name)])?;
    sessions(name, 1)?;
    let facts = said(&call(&["sessions", "--json"])?);
    ensure!(facts.contains("unknown_history"), "{facts}");
    entered(&PODMAN, "first", DENIED)?;
    found.end(libc::SIGKILL)?;
    entered(&PODMAN, "first", DENIED)?;
    thread::sleep(AWAY);
    let denied = PODMAN.run("denied", &MARKED, &words(&probe()?))?;
    let code = denied.status.code();
    ensure!(
        code != Some(ALLOWED) && code != Some(DENIED),
        "it has run while nobody was there: {denied:?}"
    );
    PODMAN.remove("denied")?;
    Daemon::start()?;
    sessions(name, 1)?;
    expect(&PODMAN, "second", &MARKED, DENIED)?;
    entered(&PODMAN, "first", DENIED)?;
    PODMAN.remove("first")
}

/// Whose make a cgroup is.
#[derive(Clone, Copy, Debug)]
enum Maker {
    Root,
    User,
}

/// A cgroup of a pod's container.
const OF_POD: &str = "/kubepods/besteffort/pod1/ID";
/// Who owns a folder in which that user may make cgroups.
const USER: u32 = 1000;

fn paths() -> Result<()> {
    let number = "0123456789abcdef".repeat(4);
    let expect = |form: &str, maker, expected| -> Result<()> {
        let path = form.replace("ID", &number);
        let waits = waits_in(&path, maker).with_context(|| path.clone())?;
        ensure!(waits == expected, "{path} of {maker:?}: waits: {waits}");
        Ok(())
    };
    daemon(&[&selecting("by-path")])?;
    for (form, expected) in [
        ("/system.slice/docker-ID.scope", true),
        ("/docker/ID", true),
        ("/machine.slice/libpod-ID.scope", true),
        ("/libpod_parent/libpod-ID", true),
        ("/a.service/libpod-payload-ID", true),
        ("/machine.slice/libpod-conmon-ID.scope", false),
        ("/other/ID", false),
        (OF_POD, false),
    ] {
        expect(form, Maker::Root, expected)?;
    }
    expect("/user.slice/libpod-ID.scope", Maker::User, false)?;
    daemon(&[&selecting_pods("by-path", "podLabels: {app: demo}")])?;
    expect(OF_POD, Maker::Root, true)?;
    expect("/docker/ID", Maker::Root, false)
}

/// Whether the first program waits that is executed in a new cgroup, in mounts of its own.
fn waits_in(cgroup: &str, maker: Maker) -> Result<bool> {
    let (above, name) = cgroup.rsplit_once('/').context("a path")?;
    let above = make(above)?;
    let cgroup = format!("{above}/{name}");
    let mut mkdir = match maker {
        Maker::Root => Command::new("mkdir"),
        Maker::User => {
            std::os::unix::fs::chown(&above, Some(USER), Some(USER))?;
            let mut mkdir = as_user();
            mkdir.arg("mkdir");
            mkdir
        }
    };
    ensure!(mkdir.arg(&cgroup).status()?.success(), "no cgroup {cgroup}");
    let script = format!("echo $$ > {cgroup}/cgroup.procs; exec unshare --mount /usr/bin/true");
    let child = Command::new("bash").args(["-c", &script]).spawn()?;
    let waits = waits(child);
    // It is gone once nobody is in it.
    while fs::remove_dir(&cgroup).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    waits
}

/// Whether a process is stopped before it ends.
fn waits(mut child: Child) -> Result<bool> {
    let pid = i32::try_from(child.id())?;
    loop {
        if let Some(ended) = child.try_wait()? {
            ensure!(ended.success(), "{ended}");
            return Ok(false);
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.contains(") T ") {
            kill(pid, libc::SIGKILL)?;
            child.wait()?;
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(10));
    }
}
