//! Others who would act for a session (red team X4, X7, X8): services behind Unix sockets, programs
//! that run what lies in a folder, and the kernel itself.

use super::exec::{self, HERE, told};
use crate::act::local::GREETING;
use crate::harness::Test;
use crate::harness::events::Events;
use crate::harness::kernel::unless_with_bpf_lsm;
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, said};
use crate::harness::session::{Place, own_program};
use crate::sys::pass;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

/// Where the services of these tests listen.
const RUN: &str = "/run/interlock-others";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "red.x4.binfmt_misc",
            "a format that an interpreter is registered for is executed by both, or not at all",
            formats,
        )
        .unless(unless_formats),
        Test::new(
            "red.f8.received",
            "a descriptor that comes by a socket is judged when it comes",
            received,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.x7.services",
            "no service that starts programs for others is reached by a socket",
            services,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.x7.folders",
            "nothing is put where cron, systemd, a login or the loader would run it",
            folders,
        )
        .unless(unless_with_bpf_lsm),
        Test::new(
            "red.x8.runtime",
            "a container runtime's socket is reached by none of its names",
            runtime,
        )
        .unless(unless_with_bpf_lsm),
    ]
}

/// Greets whoever comes, until this process ends.
fn listen(listener: UnixListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(GREETING.as_bytes());
        }
    });
}

/// Each way outside, inside, and outside again; every attempt inside is told.
fn unreachable(agent: &str, ways: &[(&str, &str)]) -> Result<()> {
    let policy = Policy::named(agent);
    for (place, expected) in [
        (Place::Outside, "ok"),
        (Place::Inside(&policy), "EPERM"),
        (Place::Outside, "ok"),
    ] {
        let events = Events::from_now()?;
        for (way, to) in ways {
            let answer = place.act(&["local", way, to])?;
            ensure!(
                answer == expected,
                "{place:?}: {way} to {to}: {answer}, expected {expected}"
            );
        }
        if expected == "ok" {
            continue;
        }
        let denials = events.wait(agent, ways.len())?;
        ensure!(
            denials.len() == ways.len()
                && denials
                    .iter()
                    .all(|denial| matches!(&*denial.action, "connect" | "send")
                        && denial.verdict == "deny"),
            "told: {denials:?}"
        );
    }
    Ok(())
}

/// A file that the session may not read, opened by somebody else and sent to it.
fn received() -> Result<()> {
    Daemon::shared()?;
    exec::set_up(&[("shut", "contents\n"), ("open", "contents\n")])?;
    let agent = "red-f8-received";
    let shut = format!("{HERE}/shut");
    let policy = Policy::named(agent).files("deny", "read", &[&shut]);
    let own = own_program()?;
    let send = |place: Place<'_>, name: &str| -> Result<String> {
        let (near, far) = UnixStream::pair()?;
        let file = fs::File::open(format!("{HERE}/{name}"))?;
        pass::send(near.as_fd(), file.as_fd()).context("sending")?;
        let output = place
            .command(&[&own, "act", "receive"])?
            .stdin(OwnedFd::from(far))
            .output()?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let events = Events::from_now()?;
    for (place, name, expected) in [
        (Place::Outside, "shut", "ok"),
        (Place::Inside(&policy), "shut", "nothing came"),
        (Place::Inside(&policy), "open", "ok"),
        (Place::Outside, "shut", "ok"),
    ] {
        let answer = send(place, name)?;
        ensure!(
            answer == expected,
            "{place:?}: {name}: {answer}, expected {expected}"
        );
    }
    told(events, agent, "read", &shut)?;
    Ok(())
}

fn services() -> Result<()> {
    Daemon::shared()?;
    let _ = fs::remove_dir_all(RUN);
    fs::create_dir_all(RUN).context(RUN)?;
    let (bus, log) = (format!("{RUN}/system_bus_socket"), format!("{RUN}/log"));
    listen(UnixListener::bind(&bus).context("listening")?);
    let _log = UnixDatagram::bind(&log).context("the socket for datagrams")?;
    let name = "interlock-others-bus";
    let address = SocketAddr::from_abstract_name(name)?;
    listen(UnixListener::bind_addr(&address).context("listening without a path")?);
    unreachable(
        "red-x7",
        &[("path", &bus), ("abstract", name), ("datagram", &log)],
    )
}

fn runtime() -> Result<()> {
    Daemon::shared()?;
    let _ = fs::remove_dir_all(RUN);
    fs::create_dir_all(format!("{RUN}/folder")).context(RUN)?;
    let at = |name: &str| format!("{RUN}/{name}");
    let (socket, symbolic, hard, bound) =
        (at("docker.sock"), at("symbolic"), at("hard"), at("bound"));
    listen(UnixListener::bind(&socket).context("listening")?);
    std::os::unix::fs::symlink(&socket, &symbolic)?;
    fs::hard_link(&socket, &hard)?;
    fs::write(&bound, "")?;
    crate::sys::host::mount(Some(&socket), &bound, libc::MS_BIND).context("a bind mount")?;
    let outcome = unreachable(
        "red-x8",
        &[
            ("path", &socket),
            ("path", &symbolic),
            ("path", &hard),
            ("path", &bound),
            ("self-root", &socket),
            ("descriptor", &socket),
            ("descriptor", &hard),
            ("relative", &socket),
        ],
    );
    crate::sys::system::umount(&bound).context("taking the bind mount away")?;
    outcome
}

/// Files by which others would run something.
const FOLDERS: &[&str] = &[
    "/etc/cron.d/interlock-tests",
    "/var/spool/cron/crontabs/interlock-tests",
    "/var/spool/cron/atjobs/interlock-tests",
    "/etc/systemd/system/interlock-tests.service",
    "/run/systemd/system/interlock-tests.service",
    "/run/systemd/transient/interlock-tests.service",
    "/root/.config/systemd/user/interlock-tests.service",
    "/root/.config/autostart/interlock-tests.desktop",
    "/etc/init.d/interlock-tests",
    "/etc/udev/rules.d/interlock-tests.rules",
    "/etc/profile.d/interlock-tests.sh",
    "/etc/ld.so.conf.d/interlock-tests.conf",
    "/usr/lib/interlock-tests.so",
];

fn folders() -> Result<()> {
    Daemon::shared()?;
    let work = format!("{HERE}/work");
    fs::create_dir_all(&work).with_context(|| work.clone())?;
    // A policy as an agent has it: it reads what there is, and writes where it works.
    let agent = "red-x7-folders";
    let policy = Policy::named(agent)
        .without_files()
        .files("allow", "read, map", &["/**"])
        .files(
            "allow",
            "read, write, create, delete, rename, link",
            &[&format!("{work}/**")],
        );
    let own = format!("{work}/own");
    let events = Events::from_now()?;
    let mut outside = Place::Outside.obey()?;
    let mut inside = Place::Inside(&policy).obey()?;
    let mut wrong = Vec::new();
    let mut denied = 0;
    for path in FOLDERS {
        let (folder, _) = path.rsplit_once('/').context("an absolute path")?;
        fs::create_dir_all(folder).with_context(|| folder.to_owned())?;
        for (order, control) in [
            (format!("create {path}"), format!("unlink {path}")),
            (format!("symlink {own} {path}"), format!("unlink {path}")),
            (
                format!("rename {own} {path}"),
                format!("rename {path} {own}"),
            ),
            (format!("link {own} {path}"), format!("unlink {path}")),
        ] {
            fs::write(&own, "").context("a file of the session's own")?;
            for order in [&order, &control] {
                let answer = outside.order(&format!("file {order}"))?;
                // /run is another file system.
                if answer != "ok" && answer != "EXDEV" && answer != "ENOENT" {
                    wrong.push(format!("the control {order}: {answer}"));
                }
            }
            let answer = inside.order(&format!("file {order}"))?;
            denied += u32::from(answer == "EPERM");
            if answer != "EPERM" && answer != "EXDEV" {
                wrong.push(format!("{order}: {answer}, expected EPERM"));
            }
            ensure!(!fs::exists(path)?, "{order}: {path} is there");
        }
        told(events, agent, "create", path)?;
    }
    inside.end()?;
    outside.end()?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(denied > 40, "only {denied} attempts were denied");
    Ok(())
}

/// Where formats are registered.
const FORMATS: &str = "/proc/sys/fs/binfmt_misc";

fn unless_formats() -> Option<String> {
    unless_with_bpf_lsm().or_else(|| {
        let script = format!(
            "modprobe binfmt_misc; test -e {FORMATS}/register || mount -t binfmt_misc none {FORMATS}"
        );
        let output = Place::Outside.run(&["sh", "-c", &script]).ok()?;
        (!output.status.success()).then(|| "this kernel has no binfmt_misc".to_owned())
    })
}

fn formats() -> Result<()> {
    Daemon::shared()?;
    let format = "interlocktests";
    let _ = fs::write(format!("{FORMATS}/{format}"), "-1");
    exec::set_up(&[("program", "INTERLOCK\n")])?;
    let program = format!("{HERE}/program");
    let own = own_program()?;
    let register = format!(":{format}:M::INTERLOCK::/usr/bin/true:");
    // No session registers one.
    let file = format!("{FORMATS}/register");
    let agent = "red-x4-register";
    let script = format!("echo '{register}' > {file}");
    let events = Events::from_now()?;
    let output = Place::Inside(&Policy::named(agent)).run(&["sh", "-c", &script])?;
    ensure!(!output.status.success(), "registered: {}", said(&output));
    events.expect_privilege(agent, "kernel-knobs")?;
    ensure!(
        !fs::exists(format!("{FORMATS}/{format}"))?,
        "a session has registered a format"
    );
    let output = Place::Outside.run(&["sh", "-c", &script])?;
    ensure!(output.status.success(), "the control: {}", said(&output));
    // One that was registered outside is executed by both, as a script is.
    let outcome = (|| {
        let part = ["execute", "execve", program.as_str()];
        let control = Place::Outside.act(&part)?;
        ensure!(control == "ran 0", "the control: {control}");
        let (file, interpreter) = (program.as_str(), "/usr/bin/true");
        for (programs, lacking) in [
            (&[file][..], Some(interpreter)),
            (&[interpreter], Some(file)),
            (&[file, interpreter], None),
        ] {
            let mut policy = Policy::named("red-x4-format").without_exec();
            for program in [own.as_str()].iter().chain(programs) {
                policy = policy.exec("allow", &format!("{{programs: [\"{program}\"]}}"));
            }
            let expected = if lacking.is_some() { "EPERM" } else { "ran 0" };
            let events = Events::from_now()?;
            let answer = Place::Inside(&policy).act(&part)?;
            ensure!(
                answer == expected,
                "with {programs:?}: {answer}, expected {expected}"
            );
            if let Some(lacking) = lacking {
                told(events, policy.agent(), "exec", lacking)?;
            }
        }
        Ok(())
    })();
    fs::write(format!("{FORMATS}/{format}"), "-1").context("taking the format away")?;
    outcome
}
