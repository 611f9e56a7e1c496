//! Another build of the product comes (red team T5): its kernel programs take the place of those at work, under
//! sessions that never rest, or leave them where they are and say so.

use crate::harness::Test;
use crate::harness::another::{self, Change};
use crate::harness::kernel;
use crate::harness::network::{ALLOWED4, DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{self, Daemon, PINS, Programs};
use crate::harness::session::Place;
use crate::harness::steps::{Steps, Talk};
use anyhow::{Context as _, Result, ensure};
use aya::maps::Array;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "upgrade.swapped",
            "another build's kernel programs take the place of those at work: no wrong verdict meanwhile, and nothing is left of the old ones; those that the kernel refuses do not, which is said",
            swapped,
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(480)
        .removes(),
        Test::new(
            "upgrade.other_shape",
            "kernel programs that expect a table of another shape than is there are not put at their hooks, which is said",
            other_shape,
        )
        .unless(kernel::unless_with_bpf_lsm),
        Test::new(
            "long.upgrade.undone",
            "programs that deny nothing make way for the old ones again, which is said",
            undone,
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(600),
        Test::new(
            "long.upgrades",
            "100 upgrades back and forth change no verdict, nor do those that are killed in the middle",
            || upgrades(100),
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(7_000),
    ]
}

/// One processor alone, for as long as this lives. The kernel writes into its own code when a slot is given another
/// program, and an emulated processor now and then runs what another one has just overwritten.
struct Alone(Vec<PathBuf>);

impl Alone {
    fn begin() -> Result<Self> {
        let mut others = Vec::new();
        for entry in fs::read_dir("/sys/devices/system/cpu")? {
            let switch = entry?.path().join("online");
            // The first processor often has no switch; it stays in any case.
            let is_first = switch.ends_with("cpu0/online");
            if !is_first && fs::read_to_string(&switch).is_ok_and(|on| on.trim() == "1") {
                fs::write(&switch, "0").with_context(|| switch.display().to_string())?;
                others.push(switch);
            }
        }
        Ok(Self(others))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        for switch in &self.0 {
            // What fails here leaves the machine slower, and no test wrong.
            let _ = fs::write(switch, "1");
        }
    }
}

/// A session that does what is allowed and what is denied, one after the other, without a rest.
struct Restless {
    child: Child,
    said: Talk,
}

impl Restless {
    const END: &str = "/tmp/upgrade.end";

    fn begin() -> Result<Self> {
        let policy = Policy::named("red-t5-upgrade")
            .allow(ALLOWED4, &PORT.to_string(), "udp")
            .files("deny", "read", &["/etc/hostname"]);
        let client = Steps::of("/tmp/upgrade-loop.py", include_str!("upgrade/loop.py"))?;
        let end = Self::END;
        let steps = format!("{ALLOWED4} {DENIED4} {PORT} {end}");
        // A tenth of the processor: to load programs takes long enough. With groups of its own for each terminal
        // the kernel would not compare the two.
        match fs::write("/proc/sys/kernel/sched_autogroup_enabled", "0") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut words = vec!["nice", "-n", "10"];
        words.extend(client.words(&[&steps]));
        let mut child = Place::Inside(&policy)
            .command(&words)?
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = Talk::of(&mut child)?;
        said.expect("begun")?;
        Ok(Self { child, said })
    }

    /// Ends it; all its actions must have ended as the policy says.
    fn end(mut self, what: &str) -> Result<()> {
        fs::write(Self::END, "")?;
        let (verdicts, actions) = (self.said.next()?, self.said.next()?);
        self.child.wait()?;
        fs::remove_file(Self::END)?;
        println!("NOTE {what}: {actions} actions, {verdicts}");
        ensure!(verdicts == "as the policy says", "{verdicts} of {actions}");
        Ok(())
    }
}

/// Puts another daemon in the place of the one that runs, and says what it did with the kernel programs.
fn follow(program: &Path) -> Result<Programs> {
    product::stop()?;
    if let Err(log) = Daemon::try_start_of(program)? {
        anyhow::bail!("{} did not become ready:\n{log}", program.display());
    }
    Ok(product::status()?.programs)
}

/// How many programs of each name the kernel has.
fn loaded() -> Result<BTreeMap<String, u32>> {
    let mut loaded = BTreeMap::new();
    for program in aya::programs::loaded_programs() {
        let program = program.context("listing the programs of the kernel")?;
        let name = program.name_as_str().unwrap_or_default().to_owned();
        *loaded.entry(name).or_default() += 1;
    }
    Ok(loaded)
}

/// The kernel must have as many of each as it had.
fn expect_loaded(before: &BTreeMap<String, u32>) -> Result<()> {
    let after = loaded()?;
    let mut names = before.keys().chain(after.keys());
    let changed = names.find(|name| before.get(*name) != after.get(*name));
    ensure!(
        changed.is_none(),
        "other programs of the name {changed:?} than before: {after:?}, {before:?}"
    );
    Ok(())
}

/// The builds whose programs are pinned.
fn builds() -> Result<Vec<String>> {
    let version = fs::read_dir(PINS)?.next().context("nothing is pinned")??;
    let entries = fs::read_dir(version.path().join("builds"))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

fn swapped() -> Result<()> {
    Daemon::shared()?;
    let _alone = Alone::begin()?;
    let other = another::build(Change::Nothing, "0e0e")?;
    let broken = another::build(Change::Broken, "bbbb")?;
    let before = loaded()?;
    let restless = Restless::begin()?;
    let mut actor = Place::Inside(&Policy::named("upgraded")).obey()?;
    expect_kept(&broken, "the kernel refuses program `task_alloc`")?;
    let programs = follow(&other)?;
    ensure!(
        programs.how == "swapped" && programs.build.starts_with("0e0e"),
        "{programs:?}"
    );
    ensure!(builds()? == [programs.build.clone()], "{:?}", builds()?);
    let answer = actor.order(&format!("fork {}", at(DENIED4, PORT)?))?;
    ensure!(answer == "EPERM", "after the upgrade: {answer}");
    actor.end()?;
    restless.end("one upgrade")?;
    expect_loaded(&before)?;
    // The same build once more has nothing to do.
    let programs = follow(&other)?;
    ensure!(programs.how == "adopted", "{programs:?}");
    product::remove()
}

fn other_shape() -> Result<()> {
    Daemon::shared()?;
    let other = another::build(Change::Nothing, "5a5a")?;
    let version = fs::read_dir(PINS)?.next().context("nothing is pinned")??;
    // No daemon opens it, and the programs at work have it whatever its name stands for.
    let (table, aside) = (
        version.path().join("maps/ARRIVING"),
        format!("{PINS}-aside"),
    );
    fs::rename(&table, &aside).context("putting a table aside")?;
    let in_its_place = Array::<_, u64>::create(1, 0).context("making a table")?;
    in_its_place.pin(&table).context("pinning a table")?;
    let kept = expect_kept(&other, "table `ARRIVING` is there with keys of 4 bytes");
    fs::remove_file(&table)?;
    fs::rename(&aside, &table).context("putting the table back")?;
    kept?;
    let programs = follow(&another::which(product::INTERLOCK)?)?;
    ensure!(programs.how == "adopted", "{programs:?}");
    Ok(())
}

fn undone() -> Result<()> {
    Daemon::shared()?;
    let _alone = Alone::begin()?;
    let harmless = another::build(Change::Harmless, "aaaa")?;
    let before = loaded()?;
    let restless = Restless::begin()?;
    expect_kept(&harmless, "a session was not denied")?;
    // It was held by none of them: the canary alone was.
    restless.end("one that denies nothing")?;
    expect_loaded(&before)?;
    let programs = follow(&another::which(product::INTERLOCK)?)?;
    ensure!(programs.how == "adopted", "{programs:?}");
    Ok(())
}

/// Puts a daemon there whose kernel programs are no good: it must keep those at work, and say why.
fn expect_kept(program: &Path, why: &str) -> Result<()> {
    let first = product::status()?.programs.build;
    let programs = follow(program)?;
    let reason = programs.reason.clone().unwrap_or_default();
    ensure!(
        programs.how == "kept" && programs.build == first && reason.contains(why),
        "expected that {why}: {programs:?}"
    );
    ensure!(builds()? == [first], "{:?}", builds()?);
    let status = product::call(&["status"])?;
    let said = product::said(&status);
    ensure!(
        status.status.code() == Some(1) && said.contains("DEGRADED: those of another build"),
        "{said}"
    );
    Ok(())
}

/// Upgrades back and forth; every fifth is killed at some moment first.
fn upgrades(times: u64) -> Result<()> {
    Daemon::shared()?;
    let _alone = Alone::begin()?;
    let own = another::which(product::INTERLOCK)?;
    let other = another::build(Change::Nothing, "0e0e")?;
    let before = loaded()?;
    let restless = Restless::begin()?;
    for time in 1..=times {
        let program = if time % 2 == 1 { &other } else { &own };
        if time % 5 == 0 {
            product::stop()?;
            let mut killed = Command::new(program)
                .arg("daemon")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            thread::sleep(Duration::from_millis(time * 613 % 40_000));
            killed.kill()?;
            killed.wait()?;
        }
        let programs = follow(program)?;
        ensure!(
            ["swapped", "adopted"].contains(&programs.how.as_str()),
            "upgrade {time}: {programs:?}"
        );
        ensure!(builds()? == [programs.build.clone()], "{:?}", builds()?);
        if time % 10 == 0 {
            println!("NOTE {time} upgrades");
        }
    }
    restless.end(&format!("{times} upgrades"))?;
    expect_loaded(&before)
}
