//! The actors: small programs that play the part of an agent, honest or not. A test runs one
//! outside every session and inside one, and compares.
//!
//! An actor prints what the kernel answered and exits 0; whether the answer is right is for the
//! test to say. Exit code 3 means that the actor could not do its part.

pub(crate) mod below;
mod bomb;
pub(crate) mod code;
pub(crate) mod deeds;
pub(crate) mod execute;
pub(crate) mod file;
pub(crate) mod flip;
pub(crate) mod join_late;
mod links;
pub(crate) mod local;
mod obey;
mod outlive;
pub(crate) mod overreach;
mod race;
mod socket;
pub(crate) mod spread;
mod stream;
pub(crate) mod swap;
pub(crate) mod way;

use crate::sys::{net, outcome, process};
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::ExitCode;
use way::Way;

/// No actor outlives its test by more than this.
const LIFE_SECONDS: u32 = 240;

/// The same for one whose part takes long.
const LONG_SECONDS: u32 = 3000;

/// Plays a part.
pub(crate) fn main(words: &[String]) -> ExitCode {
    process::end_after(LIFE_SECONDS);
    match play(words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("actor {}: {error:#}", words.join(" "));
            ExitCode::from(3)
        }
    }
}

fn play(words: &[String]) -> Result<u8> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["way", way, to] => {
            let way = Way::from_word(way).with_context(|| format!("no way is called {way}"))?;
            println!("{}", outcome(&way::attempt(way, address(to)?)?));
        }
        ["file", words @ ..] => println!("{}", outcome(&file::attempt(words)?)),
        ["batch", to @ ..] => {
            let to = to
                .iter()
                .map(|to| address(to))
                .collect::<Result<Vec<_>>>()?;
            match way::attempt_batch(&to)? {
                Ok(sent) => println!("sent {sent}"),
                failed => println!("{}", outcome(&failed)),
            }
        }
        ["probe-code", to] => return Ok(exit_code(spread::probe_as_code(address(to)?))),
        ["exec-chain", to, left] => {
            return Ok(exit_code(spread::exec_chain(address(to)?, left.parse()?)?));
        }
        ["spread", kind, to, count] => {
            println!(
                "{}",
                spread::spread(kind, address(to)?, count.parse()?)?.line()
            );
        }
        ["join-late", socket, policy] => join_late::join_late(socket, policy)?,
        ["bomb", limit] => bomb::explode(limit.parse()?)?,
        ["stream", to, count, bomb] => {
            stream::stream(address(to)?, count.parse()?, bomb.parse()?)?;
        }
        ["send-and-end", to, bytes] => stream::send_and_end(address(to)?, bytes.parse()?)?,
        ["breed", limit] => bomb::breed(limit.parse()?)?,
        ["drag"] => bomb::drag()?,
        ["outlive", how, file] => return outlive::leave_behind(how, file),
        ["main-thread-ends", to] => outlive::main_thread_ends(address(to)?)?,
        ["race", permission, use_up, threads, rounds] => {
            let (permission, use_up) = (address(permission)?, address(use_up)?);
            process::end_after(LONG_SECONDS);
            let rounds = race::race(permission, use_up, threads.parse()?, rounds.parse()?)?;
            println!("{}", rounds.line());
        }
        ["execute", way, path, words @ ..] => {
            println!("{}", execute::execute(way, path, words)?);
        }
        ["execute-code", way, path, words @ ..] => {
            return Ok(execute::as_code(&execute::execute(way, path, words)?));
        }
        // Becomes another program, which answers in its place.
        ["execute-through", path, words @ ..] => {
            let error = process::exec(path, words);
            eprintln!("{path}: {error}");
            return Ok(42);
        }
        ["alias", kind, path, name] => println!("{}", execute::alias(kind, path, name)?),
        ["code", ways @ ..] => {
            for way in ways {
                println!("{way}: {}", outcome(&code::make(way)?));
            }
        }
        ["swap", address, processes] => {
            process::end_after(LONG_SECONDS);
            print!("{}", swap::act(address, processes.parse()?)?);
        }
        ["local", way, to] => println!("{}", outcome(&local::connect(way, to)?)),
        ["use-inherited"] => println!("{}", local::use_inherited()?),
        ["take-in", listener] => {
            let listener = net::adopt(listener.parse()?)?;
            println!("{}", outcome(&net::accept(listener.as_fd())));
        }
        ["flip", one, other, times] => {
            let tally = flip::flip(one.parse()?, other.parse()?, times.parse()?)?;
            println!(
                "sent {} denied {} other {}",
                tally.sent, tally.denied, tally.other
            );
        }
        ["receive"] => println!("{}", local::receive()?),
        ["obey"] => obey::obey()?,
        ["overreach", act, on] => println!("{}", outcome(&overreach::attempt(act, on)?)),
        ["at-home"] => overreach::at_home()?,
        ["born-into", cgroup, to] => println!("{}", spread::born_into(cgroup, address(to)?)?),
        ["identity"] => identity()?,
        ["exit", number] => return Ok(number.parse()?),
        ["signal", number] => {
            process::raise(number.parse()?)?;
            bail!("survived signal {number}");
        }
        _ => bail!("no actor is called so"),
    }
    Ok(0)
}

fn address(word: &str) -> Result<SocketAddr> {
    word.parse()
        .with_context(|| format!("{word} is no address with a port"))
}

fn exit_code(number: i32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Probes many times from one process, as fast as it can.
fn flood(to: SocketAddr, count: u32) -> spread::Tally {
    let mut tally = spread::Tally::default();
    for _ in 0..count {
        match way::probe(to) {
            Ok(()) => tally.allowed += 1,
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => tally.denied += 1,
            Err(error) => {
                eprintln!("neither let through nor denied: {error}");
                tally.other += 1;
            }
        }
    }
    tally
}

fn identity() -> Result<()> {
    let [uid, euid, gid, egid] = process::ids();
    let groups = process::groups().context("reading the supplementary groups")?;
    println!("uid={uid} euid={euid} gid={gid} egid={egid} groups={groups:?}");
    for (name, value) in std::env::vars() {
        if matches!(name.as_str(), "HOME" | "USER" | "LOGNAME") {
            println!("{name}={value}");
        }
    }
    Ok(())
}
