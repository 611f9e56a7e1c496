//! Ordinary programs whose actions wait for a person: they notice nothing but the time, or what was denied.

use super::clients::{CLIENTS, MORE_CLIENTS, resolving, serve};
use crate::harness::Test;
use crate::harness::holds::{answer, open_questions};
use crate::harness::kernel::unless_it_waits;
use crate::harness::network::ALLOWED4;
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, said};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const AGENT: &str = "hold-clients";

/// How long a person thinks.
const THOUGHT: Duration = Duration::from_millis(400);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "long.hold.clients",
            "curl, python (urllib, requests, asyncio, subprocess), node, git, psql and pipelines wait and go on",
            clients,
        )
        .unless(unless_it_waits)
        .patience(1200),
        Test::new(
            "long.hold.loop",
            "an agent that codes for a minute, with ten approvals: nothing breaks but what was denied",
            coding,
        )
        .unless(unless_it_waits)
        .patience(600),
    ]
}

/// More ways to do what the clients do: name, words, and what they print where they may.
const MORE: &[(&str, &str, &str)] = &[
    (
        "asyncio",
        "python3 -c 'import asyncio
async def get():
    reader, writer = await asyncio.wait_for(asyncio.open_connection(\"{address}\", 8090), 30)
    writer.write(b\"GET /hello HTTP/1.0\\r\\n\\r\\n\")
    body = await reader.read()
    writer.close()
    return body.decode()
async def main():
    ticks = asyncio.create_task(asyncio.sleep(0.1))
    both = await asyncio.gather(get(), get(), ticks)
    print(both[0])
asyncio.run(main())'",
        "hello from the server",
    ),
    (
        "subprocess",
        "python3 -c 'import subprocess
found = subprocess.run([\"curl\", \"-sS\", \"http://{address}:8090/hello\"], capture_output=True, timeout=60)
print(found.stdout.decode(), found.returncode)'",
        "hello from the server 0",
    ),
    (
        "pipeline",
        "set -o pipefail; curl -sS http://{address}:8090/hello | tr a-z A-Z | cat",
        "HELLO FROM THE SERVER",
    ),
    (
        "background",
        "curl -sS http://{address}:8090/hello > /tmp/clients/one & curl -sS http://{address}:8090/hello > /tmp/clients/two & wait; cat /tmp/clients/one /tmp/clients/two",
        "hello from the serverhello from the server",
    ),
    (
        "push",
        "export HOME=/tmp/clients; cd /tmp/clients/work && date > file && git commit -qam change && git push -q /tmp/clients/repository.git HEAD && git -C /tmp/clients/repository.git log -1 --format=%s",
        "change",
    ),
];

fn policy() -> Policy {
    let approval = "approval: {by: [tester], once: true}";
    Policy::named(AGENT)
        .with(&format!(
            "  egress:
    allow:
      - {{to: [{ALLOWED4}], ports: [8090-8092], protocol: tcp, {approval}}}
      - {{to: [{ALLOWED4}], ports: [53], protocol: udp}}
  exec:
    allow:
      - {{programs: [/**]}}
      - {{programs: [/usr/bin/git], args: [{{at: 1, is: push}}], {approval}}}
"
        ))
        .privileges(&["jit"])
}

/// Answers whatever is asked while something is done, after a thought. Gives how often.
fn answering<T>(
    yes: impl Fn(u32) -> bool + Sync,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, u32)> {
    let (over, count) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let person = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                for question in open_questions(AGENT)? {
                    thread::sleep(THOUGHT);
                    if answer(&question.hold, yes(count.load(Ordering::Relaxed)))? {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        person
            .join()
            .map_err(|_| anyhow::anyhow!("the person panicked"))??;
        Ok((done?, count.load(Ordering::Relaxed)))
    })
}

fn clients() -> Result<()> {
    Daemon::shared()?;
    let _servers = serve()?;
    let policy = policy();
    let ordinary = CLIENTS.iter().chain(MORE_CLIENTS);
    let works = ordinary.map(|(name, words, works, _)| (*name, *words, *works));
    let all: Vec<_> = works.chain(MORE.iter().copied()).collect();
    resolving(ALLOWED4, || {
        for (name, words, works) in all {
            let words = words.replace("{address}", ALLOWED4);
            let began = Instant::now();
            let run = || Place::Inside(&policy).run(&["bash", "-c", &words]);
            let (output, count) = answering(|_| true, run).context(name)?;
            let text = said(&output);
            ensure!(
                output.status.success() && text.contains(works),
                "{name}: {text}, expected {works:?}"
            );
            ensure!(count > 0 || name == "resolver", "{name} waited for nobody");
            println!("{name}: {count} approvals, {:?}", began.elapsed());
        }
        Ok(())
    })
}

/// Ten rounds of what such an agent does.
const LOOP: &str = "cd /tmp/clients/work; export HOME=/tmp/clients
for i in 1 2 3 4 5 6 7 8 9 10; do
  echo \"print($i * $i)\" > program.py
  python3 program.py > result || exit 3
  grep -q . result || exit 4
  git add . && git commit -qm \"round $i\" || exit 5
  sleep 4
  if curl -sS -m 60 http://{address}:8090/hello > page; then echo \"round $i up\"; else echo \"round $i denied\"; fi
done
git log --oneline | wc -l";

fn coding() -> Result<()> {
    Daemon::shared()?;
    let _servers = serve()?;
    let policy = policy();
    let words = LOOP.replace("{address}", ALLOWED4);
    let run = || Place::Inside(&policy).run(&["bash", "-c", &words]);
    // A no stands for a minute, for the same place: so it is the last two that are denied.
    let (output, count) = answering(|before| before < 8, run)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}", said(&output));
    let ups = text.lines().filter(|line| line.ends_with(" up")).count();
    let denied = text
        .lines()
        .filter(|line| line.ends_with(" denied"))
        .count();
    ensure!(
        (ups, denied, count) == (8, 2, 9),
        "{ups} rounds up, {denied} denied, {count} questions: {}",
        said(&output)
    );
    ensure!(text.trim().ends_with("11"), "commits are missing: {text}");
    Ok(())
}
