//! What lookups cost through the resolver, as JSON lines: how many are answered in a second by a server itself, by an
//! ordinary resolver that has them in its cache, and to a session; and what becomes of one session's while another
//! asks for random names without end.

use crate::harness::kernel;
use crate::harness::network::DENIED4;
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, said};
use crate::harness::servers::Serving;
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

/// Where the server's files lie, and the questions.
const FOLDER: &str = "/tmp/bench-lookup";

/// Names that are asked again and again, and so many that nobody asked before.
const NAMES: u32 = 100;
const RANDOM: u32 = 50_000;

/// Seconds of each measurement, and how often those that are compared take turns.
const SECONDS: u32 = 10;
const TURNS: usize = 3;

/// Whom all of them ask, as far as they know.
const DIRECT: [&str; 2] = ["-s", DENIED4];

/// The server's other port, which nobody diverts.
const OTHER: u16 = 5301;

/// The port of the ordinary resolver.
const ORDINARY: u16 = 5353;

/// More than any of this asks for.
const NO_BOUNDS: &str = "pace: {rate: 1000000/s}, newNames: {rate: 1000000/s}";

/// Measures one after the other.
pub(crate) fn run() -> Result<()> {
    lay_out()?;
    let daemon = Daemon::shared()?;
    let _servers = serve()?;
    fs::write("/etc/resolv.conf", format!("nameserver {DENIED4}\n"))?;
    // The daemon follows the file each second.
    thread::sleep(Duration::from_secs(3));
    let policy = policy("bench-lookup", NO_BOUNDS);
    let inside = Place::Inside(&policy);
    compared(inside)?;
    let before = kilobytes(daemon.pid)?;
    told("inside, random names", &asked(inside, "random", &DIRECT)?)?;
    println!(
        "{}",
        json!({"daemon KiB before": before, "daemon KiB after random names": kilobytes(daemon.pid)?})
    );
    beside_a_flood()
}

/// What the server itself answers, to who is in no session and to who is, an ordinary resolver from its cache, and the
/// daemon's. They take turns, so that what else happens on the machine meets all; the middle of each counts.
fn compared(inside: Place<'_>) -> Result<()> {
    let direct = Policy::named("bench-direct").allow(DENIED4, &OTHER.to_string(), "udp");
    let (other, ordinary) = (OTHER.to_string(), ORDINARY.to_string());
    let (other, ordinary) = (
        ["-s", DENIED4, "-p", &other],
        ["-s", "127.0.0.1", "-p", &ordinary],
    );
    let asked = |place, words: &[&str]| asked(place, "again", words);
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        turns.push([
            asked(Place::Outside, &other)?,
            asked(Place::Inside(&direct), &other)?,
            asked(Place::Outside, &ordinary)?,
            asked(inside, &DIRECT)?,
        ]);
    }
    for (number, what) in [
        "the server itself",
        "the server itself, asked from inside",
        "dnsmasq's cache",
        "inside a session",
    ]
    .into_iter()
    .enumerate()
    {
        let mut all: Vec<&String> = turns.iter().filter_map(|turn| turn.get(number)).collect();
        all.sort_by_key(|printed| rate(printed));
        told(what, all.get(TURNS / 2).context("no turns")?)?;
    }
    Ok(())
}

/// One session asks for random names as fast as it can, under the bounds that every policy has; another asks 50 times
/// a second.
fn beside_a_flood() -> Result<()> {
    let (flooding, quiet) = (policy("bench-flood", ""), policy("bench-quiet", ""));
    let flood = thread::spawn(move || asked(Place::Inside(&flooding), "random", &DIRECT));
    let calm = asked(
        Place::Inside(&quiet),
        "few",
        &[&DIRECT[..], &["-Q", "50"]].concat(),
    )?;
    let flood = flood
        .join()
        .map_err(|_| anyhow::anyhow!("the flood panicked"))??;
    told("a flood of random names", &flood)?;
    told("another session beside it", &calm)
}

fn policy(agent: &str, lookups: &str) -> Policy {
    Policy::named(agent).with(&format!(
        "  egress:\n    lookups: {{{lookups}}}\n    allow:\n      - {{to: [\"*.data.example.test\"], ports: [8090]}}\n"
    ))
}

/// The zone, and the questions: of names that come again, of a few, and of such that never come twice.
fn lay_out() -> Result<()> {
    let _ = fs::remove_dir_all(FOLDER);
    fs::create_dir_all(FOLDER)?;
    let server = format!(
        "server:\n  ip-address: {DENIED4}\n  ip-address: {DENIED4}@{OTHER}\n  username: \"\"\n  zonesdir: \"{FOLDER}\"\n  pidfile: \"{FOLDER}/pid\"\n  xfrdfile: \"{FOLDER}/xfrd\"\n  \
         zonelistfile: \"{FOLDER}/list\"\n  database: \"\"\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\nzone:\n  name: example.test\n  zonefile: zone\n"
    );
    fs::write(format!("{FOLDER}/nsd.conf"), server)?;
    let zone = "$ORIGIN example.test.\n$TTL 3600\n@ SOA ns admin 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.20\n*.data A 198.51.100.9\n";
    fs::write(format!("{FOLDER}/zone"), zone)?;
    for (file, count, word) in [
        ("again", NAMES, "n"),
        ("few", 5, "q"),
        ("random", RANDOM, "r"),
    ] {
        let mut text = String::new();
        for number in 0..count {
            writeln!(text, "{word}{number}.data.example.test A")?;
        }
        fs::write(format!("{FOLDER}/{file}"), text)?;
    }
    Ok(())
}

/// Starts the servers of names.
fn serve() -> Result<[Serving; 2]> {
    let listen = format!("--port={ORDINARY}");
    let server = format!("--server={DENIED4}");
    let ordinary = [
        "--conf-file=/dev/null",
        "--listen-address=127.0.0.1",
        "--cache-size=10000",
        &listen,
        &server,
    ];
    let servers = [
        Serving::of("nsd", &["-d", "-c", &format!("{FOLDER}/nsd.conf")])?,
        Serving::dnsmasq(&ordinary)?,
    ];
    thread::sleep(Duration::from_secs(2));
    Ok(servers)
}

/// What `dnsperf` prints of so many seconds.
fn asked(place: Place<'_>, questions: &str, words: &[&str]) -> Result<String> {
    let seconds = SECONDS.to_string();
    let questions = format!("{FOLDER}/{questions}");
    let fixed = ["dnsperf", "-l", &seconds, "-c", "4", "-d", &questions];
    let output = place.run(&[&fixed, words].concat())?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn field(printed: &str, name: &str) -> Option<String> {
    let line = printed.lines().find(|line| line.trim().starts_with(name));
    let (_, value) = line?.split_once(':')?;
    Some(value.trim().to_owned())
}

/// Answers in a second, without what follows the point.
fn rate(printed: &str) -> Option<u64> {
    let value = field(printed, "Queries per second")?;
    value.split('.').next()?.parse().ok()
}

/// One line of figures.
fn told(what: &str, printed: &str) -> Result<()> {
    let field = |name: &str| field(printed, name);
    let number = |name: &str| -> Result<f64> {
        let value = field(name).with_context(|| format!("no {name:?} in {printed}"))?;
        let first = value.split_whitespace().next().unwrap_or_default();
        first.parse().with_context(|| format!("{name}: {value}"))
    };
    let figures = json!({
        "kernel": kernel::release(),
        "lookups": what,
        "per second": number("Queries per second")?.round(),
        "lost": number("Queries lost")?,
        "latency us": (number("Average Latency (s)")? * 1e6).round(),
        "answers": field("Response codes"),
    });
    println!("{figures}");
    Ok(())
}

/// A process's memory.
fn kilobytes(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line.and_then(|line| line.split_whitespace().next());
    Ok(value.context("VmRSS")?.parse()?)
}
