//! The end-to-end tests: `interlock-tests run` in a machine per kernel, some at a time.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::report::{Line, Tally};
use crate::kernels::Kernel;
use crate::machine::{Machine, Stream};
use crate::series::Series;
use crate::{api_server, build, container_runtime, installed, machine, workspace};

/// How many machines run at a time when nothing is said.
pub(super) const JOBS: u32 = 2;

/// A machine that is still running by now hangs: each test has a time limit of its own.
const PATIENCE: Duration = Duration::from_secs(1200);

/// The same where a long test runs.
const LONG_PATIENCE: Duration = Duration::from_secs(7200);

/// What the names of long tests begin with.
const LONG: &str = "long.";

/// How often a machine is booted that goes down before its first test, or in the emulator's known
/// fault.
const BOOTS: u32 = 3;

/// Emulated, a kernel now and then traps while it patches its own code, most of all while it boots.
const EMULATOR: &str = "Oops: int3";

/// With more failures than these on a kernel something is broken, and running them again tells
/// nothing new.
const AGAIN: usize = 3;

/// Machines that share the tests of one kernel when all of them run, so that none is waited for long
/// after the others have ended.
const SHARES: usize = 2;

/// Each of the other kernels runs one of so many shares of the red team's tests, and none the same.
const SHARES_BESIDE: usize = 4;

/// Which tests a kernel of several runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of them.
    Whole,
    /// All on one kernel, and of the red team's a share on each of the others: what every kernel must
    /// hold is shown on one, much of it on another, within the time that a change may wait.
    Usual,
}

/// Runs the tests on every kernel, and returns what became of them, in the kernels' order.
pub(super) fn run(
    kernels: &[Series],
    filter: Option<&str>,
    extent: Extent,
    jobs: u32,
) -> Result<Vec<Tally>> {
    let arches: HashSet<_> = kernels.iter().map(|series| series.arch()).collect();
    for arch in arches {
        build::guest_programs(build::Profile::Dev, arch)?;
    }
    // One after the other, and before the first machine needs the processor.
    let kernels = kernels
        .iter()
        .map(|&series| Kernel::get(series))
        .collect::<Result<Vec<_>>>()?;
    if let Some(first) = kernels.first() {
        // The trial boot, if there has been none yet.
        crate::kvm::works(first);
    }
    println!("end-to-end tests on {}", names(&kernels));
    let shares = if filter.is_some() { 1 } else { SHARES };
    let is_beside = |kernel: &Kernel| extent == Extent::Usual && kernel.series != Series::DEMO;
    let waiting = (1..=shares).flat_map(|share| {
        let share = move |(number, kernel)| (number, kernel, share);
        kernels.iter().enumerate().map(share)
    });
    let beside_before = |number: usize| {
        let before = kernels.iter().take(number);
        before.filter(|kernel| is_beside(kernel)).count()
    };
    // Those beside come once, one after the other.
    let waiting = waiting.filter(|&(number, kernel, share)| {
        !is_beside(kernel) || beside_before(number) % shares + 1 == share
    });
    let waiting = Mutex::new(waiting.collect::<VecDeque<_>>());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = lock(&waiting).pop_front();
                    let Some((number, kernel, share)) = next else {
                        break;
                    };
                    let share = if is_beside(kernel) {
                        let own = beside_before(number) % SHARES_BESIDE + 1;
                        format!("{own}/{SHARES_BESIDE}+")
                    } else {
                        format!("{share}/{shares}")
                    };
                    let tally = on(kernel, filter, &share);
                    lock(&done).push((number, tally));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|done| done.into_inner());
    done.sort_by_key(|(number, _)| *number);
    let mut tallies: Vec<(usize, Tally)> = Vec::new();
    for (number, tally) in done {
        match tallies.last_mut().filter(|(last, _)| *last == number) {
            Some((_, same)) => same.merge(tally),
            None => tallies.push((number, tally)),
        }
    }
    let mut tallies = tallies
        .into_iter()
        .map(|(number, tally)| (&kernels[number], tally))
        .collect::<Vec<_>>();
    if filter.is_none() {
        for (kernel, tally) in &mut tallies {
            try_again(kernel, tally);
        }
    }
    Ok(tallies.into_iter().map(|(_, tally)| tally).collect())
}

/// Runs what failed once more, with no machine beside it: where two machines share two processors,
/// time limits judge the host. What passes then is told apart from what passed at once.
fn try_again(kernel: &Kernel, tally: &mut Tally) {
    let names = tally.failed_tests();
    if names.is_empty() || names.len() > AGAIN {
        return;
    }
    println!(
        "{:5} | again, alone: {}",
        kernel.series.to_string(),
        names.join(", ")
    );
    let again = boot(kernel, machine::LSM, &each_of(&names), false);
    if again.failed.is_empty() && again.skipped.is_empty() {
        tally.note_unsteady(&names);
    }
}

fn on(kernel: &Kernel, filter: Option<&str>, share: &str) -> Tally {
    let began = Instant::now();
    let command = ["interlock-tests", "run", filter.unwrap_or_default(), share];
    let command = command.map(str::to_owned);
    let mut tally = boot(kernel, machine::LSM, &command, filter.is_some());
    for (lsm, names) in tally.take_other_boots() {
        let place = kernel.series.to_string();
        println!(
            "{place:5} | again, with the LSMs {lsm}: {}",
            names.join(", ")
        );
        let again = boot(kernel, &lsm, &each_of(&names), false);
        tally.merge(again);
    }
    println!(
        "{:5} | ended after {:.0} s",
        kernel.series.to_string(),
        began.elapsed().as_secs_f32()
    );
    tally
}

/// The command that runs tests by their names.
fn each_of(names: &[String]) -> Vec<String> {
    let script =
        "failed=0; for name; do interlock-tests run \"$name\" || failed=1; done; exit $failed";
    let command = ["bash", "-c", script, "tests"].map(str::to_owned);
    command.into_iter().chain(names.iter().cloned()).collect()
}

fn boot(kernel: &Kernel, lsm: &str, command: &[String], may_match_nothing: bool) -> Tally {
    let place = kernel.series.to_string();
    for left in (0..BOOTS).rev() {
        let (mut tally, ended) = boot_once(kernel, lsm, command);
        let broken = match ended {
            Err(error)
                if left > 0 && (tally.is_empty() || error.to_string().contains(EMULATOR)) =>
            {
                println!("{place:5} | {error:#}");
                println!("{place:5} | the machine boots again");
                continue;
            }
            Err(error) => Some(format!("the machine: {error:#}")),
            // The tests' own failures tell more than this code.
            Ok(_) if !tally.failed.is_empty() => None,
            // interlock-tests ends with 1 when its filter matches nothing.
            Ok(0 | 1) if tally.is_empty() && may_match_nothing => None,
            Ok(0) => tally.is_empty().then(|| "no test ran".to_owned()),
            Ok(code) => Some(format!(
                "interlock-tests ended with {code} though no test had failed (kernel log: {})",
                workspace::shown(&machine::console(kernel))
            )),
        };
        tally.failed.extend(broken);
        return tally;
    }
    unreachable!("the last boot returns")
}

fn boot_once(kernel: &Kernel, lsm: &str, command: &[String]) -> (Tally, Result<u8>) {
    let mut tally = Tally::new(format!("kernel {} ({})", kernel.series, kernel.release));
    let is_long = command.iter().any(|word| word.starts_with(LONG));
    let asked = || {
        let mut with = container_runtime::wanted_by(command)?;
        with.extend(api_server::wanted_by(command)?);
        Ok((with, installed::wanted_by(command)?))
    };
    let (mut with, packages) = match asked() {
        Ok(asked) => asked,
        Err(error) => return (tally, Err(error)),
    };
    let systemd = packages.is_some();
    with.extend(packages);
    let machine = Machine {
        lsm,
        with: &with,
        systemd,
        timeout: if is_long { LONG_PATIENCE } else { PATIENCE },
        ..Machine::new(kernel)
    };
    let mut lines = [Lines::default(), Lines::default()];
    let ended = machine.run(command, |stream, bytes| {
        let lines = &mut lines[usize::from(stream == Stream::Err)];
        lines.take(bytes, |line| take(&mut tally, kernel, stream, line));
        Ok(())
    });
    for (lines, stream) in lines.into_iter().zip([Stream::Out, Stream::Err]) {
        lines.rest(|line| take(&mut tally, kernel, stream, line));
    }
    (tally, ended)
}

fn take(tally: &mut Tally, kernel: &Kernel, stream: Stream, line: &str) {
    let place = kernel.series.to_string();
    let parsed = match stream {
        Stream::Out => Line::parse(line),
        Stream::Err => Line::Text(line),
    };
    match &parsed {
        Line::Passed(name) => println!("{place:5} ok      {name}"),
        Line::Failed(name) => println!("{place:5} FAILED  {name}"),
        Line::Skipped(name, reason) => println!("{place:5} skipped {name}: {reason}"),
        Line::Held(..) => {}
        Line::Text(text) => println!("{place:5} |     {text}"),
    }
    tally.count(&parsed);
}

/// Bytes that become lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let line = self.begun.drain(..=end).collect::<Vec<_>>();
            each(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
        }
    }

    fn rest(self, mut each: impl FnMut(&str)) {
        if !self.begun.is_empty() {
            each(&String::from_utf8_lossy(&self.begun));
        }
    }
}

fn names(kernels: &[Kernel]) -> String {
    let names = kernels.iter().map(|kernel| kernel.release.as_str());
    names.collect::<Vec<_>>().join(", ")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_whole() {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for part in ["TEST a", " ok\nTEST ", "b ok\n\nno", " end"] {
            lines.take(part.as_bytes(), |line| seen.push(line.to_owned()));
        }
        assert_eq!(seen, ["TEST a ok", "TEST b ok", ""]);
        lines.rest(|line| seen.push(line.to_owned()));
        assert_eq!(seen.last().map(String::as_str), Some("no end"));
    }
}
