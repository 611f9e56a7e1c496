//! How long a hold takes to be told, and an answer to be felt, as JSON lines: one a hold. Then what many open
//! holds cost while nothing happens.

use crate::cases::hold::{ROOT, lay_out, policy};
use crate::harness::events::FILE;
use crate::harness::holds::{answer, waiting};
use crate::harness::kernel;
use crate::harness::product::{Daemon, revoke, session_of};
use crate::harness::session::{Obedient, Place};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked for a line of the daemon's.
const LOOK: Duration = Duration::from_micros(100);

/// Open holds at once: of so many sessions, so many each.
const SESSIONS: usize = 10;
const EACH: usize = 50;

/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(20);

/// Measures so many holds, then many at once.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let runs = words.first().map_or("1000", String::as_str);
    let runs: u32 = runs
        .parse()
        .with_context(|| format!("{runs} is no number"))?;
    let daemon = Daemon::shared()?;
    lay_out()?;
    let mut actor = Place::Inside(&policy("bench-hold", "once: true")).obey()?;
    let mut lines = Lines::at_end()?;
    for run in 1..=runs {
        actor.begin(&format!("timed-open {ROOT}/read"))?;
        let (hold, held_ns, told_ns) = lines.next_hold()?;
        let answered_ns = now_ns()?;
        ensure!(answer(&hold, true)?, "the answer to {hold} was not taken");
        let said = actor.answer()?;
        let went_on_ns: u64 = said
            .parse()
            .with_context(|| format!("the actor said {said}"))?;
        let figures = json!({
            "kernel": kernel::release(),
            "run": run,
            "hold to event": told_ns.saturating_sub(held_ns) / 1000,
            "answer to continuation": went_on_ns.saturating_sub(answered_ns) / 1000,
        });
        println!("{figures}");
    }
    actor.end()?;
    many(daemon)
}

/// The daemon's lines, as they come.
struct Lines {
    file: File,
    rest: String,
}

impl Lines {
    fn at_end() -> Result<Self> {
        let mut file = File::open(FILE).context(FILE)?;
        file.seek(SeekFrom::End(0))?;
        let rest = String::new();
        Ok(Self { file, rest })
    }

    /// The next question: its number, when it was asked, and when its line was there.
    fn next_hold(&mut self) -> Result<(String, u64, u64)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some((line, rest)) = self.rest.split_once('\n') {
                let line: Value = serde_json::from_str(line)?;
                self.rest = rest.to_owned();
                if line["verdict"] == "hold" {
                    let time = line["time"].as_str().context("a time")?;
                    let time: jiff::Timestamp = time.parse()?;
                    let asked = u64::try_from(time.as_nanosecond())?;
                    let hold = line["hold"].as_str().context("a number")?;
                    return Ok((hold.to_owned(), asked, now_ns()?));
                }
            }
            let mut more = String::new();
            self.file.read_to_string(&mut more)?;
            if more.is_empty() {
                ensure!(Instant::now() < deadline, "no question is told");
                thread::sleep(LOOK);
            }
            self.rest.push_str(&more);
        }
    }
}

/// Many that wait, and nothing else.
fn many(daemon: Daemon) -> Result<()> {
    let quiet = cpu_ticks(&[daemon.pid])?;
    thread::sleep(WATCHED);
    let alone = cpu_ticks(&[daemon.pid])? - quiet;
    let mut actors = Vec::new();
    for session in 0..SESSIONS {
        let agent = format!("bench-hold-{session}");
        let mut actor = Place::Inside(&policy(&agent, "once: true")).obey()?;
        actor.order(&format!("mkdirs {ROOT}/{session} {EACH}"))?;
        actors.push(actor);
    }
    let deadline = Instant::now() + PATIENCE;
    let held = loop {
        let held = waiting("bench-hold-")?;
        if held.len() == SESSIONS * EACH {
            break held;
        }
        ensure!(Instant::now() < deadline, "{} wait", held.len());
        thread::sleep(Duration::from_millis(200));
    };
    // Those who came last are looked at for a while yet.
    thread::sleep(Duration::from_secs(10));
    let (before, keeping) = (cpu_ticks(&held)?, cpu_ticks(&[daemon.pid])?);
    thread::sleep(WATCHED);
    let figures = json!({
        "kernel": kernel::release(),
        "open holds": held.len(),
        "watched s": WATCHED.as_secs(),
        "waiting processes ms": 10 * (cpu_ticks(&held)? - before),
        "daemon ms": 10 * (cpu_ticks(&[daemon.pid])? - keeping),
        "daemon without holds ms": 10 * alone,
    });
    println!("{figures}");
    for (session, actor) in actors.into_iter().enumerate() {
        let found = session_of(&format!("bench-hold-{session}"))?.context("no session")?;
        revoke(&found.session, "measured")?;
        Obedient::end(actor)?;
    }
    Ok(())
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(jiff::Timestamp::now().as_nanosecond())?)
}

/// Processor time of processes, in hundredths of a second.
fn cpu_ticks(pids: &[i32]) -> Result<u64> {
    let mut all = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').context("a stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        for at in [11, 12] {
            all += fields.get(at).context("a time")?.parse::<u64>()?;
        }
    }
    Ok(all)
}
