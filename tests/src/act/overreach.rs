//! Acts that reach past a session: other processes, the kernel, the enforcer. Each is made so that
//! it changes nothing where it is allowed, and says how the kernel answered.

use crate::sys::uring::{Ring, Worker};
use crate::sys::{call, entry, host, ipc, net, process, processes, sockaddr, system};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Attempts one act, on a process or a path where it is about one.
pub(crate) fn attempt(act: &str, on: &str) -> Result<io::Result<()>> {
    let pid = || {
        on.parse::<i32>()
            .with_context(|| format!("{act} needs a pid"))
    };
    Ok(match act {
        // Other processes.
        "ptrace" => processes::seize(pid()?),
        "vm-read" => processes::read_nothing(pid()?),
        "vm-write" => processes::write_nothing(pid()?),
        "proc-mem" => open(&format!("/proc/{on}/mem"), true),
        "proc-environ" => open(&format!("/proc/{on}/environ"), false),
        "proc-maps" => open(&format!("/proc/{on}/maps"), false),
        "proc-fd" => fs::read_link(format!("/proc/{on}/fd/0")).map(drop),
        "proc-root" => fs::read_dir(format!("/proc/{on}/root/")).map(drop),
        "proc-exe" => fs::read_link(format!("/proc/{on}/exe")).map(drop),
        "proc-oom" => open(&format!("/proc/{on}/oom_score_adj"), true),
        "pidfd-getfd" => processes::take_descriptor(pid()?, 0).map(drop),
        "kill" => process::kill(pid()?, libc::SIGCONT),
        "kill-0" => process::kill(pid()?, 0),
        "tgkill" => processes::signal_thread(pid()?, libc::SIGCONT),
        "sigqueue" => processes::queue_signal(pid()?, libc::SIGCONT),
        "pidfd-signal" => processes::signal_by_pidfd(pid()?, libc::SIGCONT),
        "sigio" => sigio(pid()?)?,
        "sigio-ex" => processes::own_extended(pipe()?.as_fd(), pid()?),
        "sigio-ioctl" => {
            let socket = net::socket(net::INET, net::DGRAM)?;
            processes::own_by_ioctl(socket.as_fd(), pid()?)
        }
        "priority" => processes::set_priority(pid()?),
        "limit" => processes::set_limit(pid()?),
        "cpus" => processes::set_cpus(pid()?),
        "kill-i386" => entry::kill_i386(pid()?, libc::SIGCONT),
        "kill-x32" => entry::kill_x32(pid()?, libc::SIGCONT),
        "connect-i386" => {
            let socket = net::socket(net::INET, net::DGRAM)?;
            let to = sockaddr::SockAddr::of(on.parse()?);
            entry::connect_i386(socket.as_raw_fd(), to.bytes())
        }
        "ipc-attach" => ipc::attach(on.parse()?),
        "ipc-send" => ipc::send(on.parse()?),
        "ipc-raise" => ipc::raise(on.parse()?),
        "ipc-change-memory" => ipc::change_memory(on.parse()?),
        "ipc-change-queue" => ipc::change_queue(on.parse()?),
        "ipc-change-semaphores" => ipc::change_semaphores(on.parse()?),
        "ipc-own" => ipc::Objects::make().and_then(|own| {
            ipc::attach(own.memory)?;
            ipc::send(own.queue)?;
            ipc::raise(own.semaphores)?;
            ipc::change_memory(own.memory)?;
            own.remove()
        }),
        // Files that are not files.
        "write" => open(on, true),
        "write-i386" => entry::open_i386(&std::ffi::CString::new(on)?),
        "read" => open(on, false),
        "remove" => fs::remove_file(on),
        "folder" => fs::create_dir(on).and_then(|()| fs::remove_dir(on)),
        // The system.
        "mount" => host::mount(Some(on), on, libc::MS_BIND).and_then(|()| system::umount(on)),
        "remount" => host::mount(None, on, libc::MS_REMOUNT | libc::MS_BIND),
        "reconfigure" => system::reconfigure(on),
        "umount" => system::umount(on),
        "pivot-root" => system::pivot_root(on, on),
        "clone-tree" => system::clone_tree(on).map(drop),
        "move-mount" => system::clone_tree(on)
            .and_then(|tree| system::place_tree(&tree, on))
            .and_then(|()| system::umount(on)),
        "chroot" => system::chroot("/"),
        "userns" => process::unshare(libc::CLONE_NEWUSER),
        "userns-mount" => process::unshare(libc::CLONE_NEWUSER)
            .and_then(|()| process::unshare(libc::CLONE_NEWNS))
            .and_then(|()| host::mount(Some(on), on, libc::MS_BIND)),
        "mountns" => process::unshare(libc::CLONE_NEWNS),
        "setns" => fs::File::open("/proc/self/ns/uts").and_then(|file| system::enter(&file.into())),
        "by-handle" => system::open_by_handle(on).map(drop),
        "clock" => system::set_clock(),
        "time-of-day" => system::set_time_of_day(),
        "clock-adjust" => system::adjust_clock(),
        "bpf-list" => system::bpf_list(),
        "bpf-get" => system::bpf_get(on).map(drop),
        "module" => system::load_module(),
        "module-request" => net::socket(on.parse()?, libc::SOCK_STREAM).map(drop),
        "device" => system::make_device(on).and_then(|()| fs::remove_file(on)),
        "perf" => system::perf_event().map(drop),
        "ports" => system::ports(),
        "ctrl-alt-delete" => system::ctrl_alt_delete(),
        "console-level" => system::console_level(),
        "accounting" => system::accounting(),
        "real-time" => system::go_first_for_a_moment(),
        "real-time-limit" => system::let_go_first(),
        "host-name" => system::host_name(),
        "terminal" => system::type_into_terminal(),
        "terminal-signal" => system::terminal()
            .and_then(|terminal| processes::signal_owner(terminal.as_fd(), libc::SIGUSR1)),
        "terminal-async" => {
            system::terminal().and_then(|terminal| processes::signal_when_ready(terminal.as_fd()))
        }
        "terminal-async-ioctl" => system::terminal()
            .and_then(|terminal| processes::signal_when_ready_by_ioctl(terminal.as_fd())),
        "snapshot" => system::snapshot(on),
        "uring-poll" => Ring::new(Worker::Poller).map(drop),
        "uring-as-another" => Ring::new(Worker::Inline).and_then(|ring| ring.act_as_registered()),
        _ => bail!("no act is called {act}"),
    })
}

fn open(path: &str, write: bool) -> io::Result<()> {
    OpenOptions::new()
        .read(!write)
        .write(write)
        .open(path)
        .map(drop)
}

fn pipe() -> Result<io::PipeReader> {
    Ok(io::pipe()?.0)
}

/// Has the kernel send SIGCONT to a process when a socket is readable, and makes it so.
fn sigio(pid: i32) -> Result<io::Result<()>> {
    let (reader, mut writer) = io::pipe()?;
    Ok(processes::own(reader.as_fd(), pid)
        .and_then(|()| processes::signal_owner(reader.as_fd(), libc::SIGCONT))
        .and_then(|()| io::Write::write_all(&mut writer, b"x")))
}

/// What an ordinary program does with itself and its own children, all of which must go.
pub(crate) fn at_home() -> Result<()> {
    let child = match process::fork()? {
        process::Fork::Child => {
            // Until it is killed.
            loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
        }
        process::Fork::Parent(pid) => pid,
    };
    let own = i32::try_from(std::process::id())?;
    for (pid, who) in [(own, "itself"), (child, "its child")] {
        for act in [
            "kill",
            "kill-0",
            "tgkill",
            "sigqueue",
            "pidfd-signal",
            "priority",
            "limit",
            "cpus",
            "proc-environ",
            "proc-maps",
            "proc-fd",
            "proc-exe",
            "proc-root",
            "proc-mem",
            "proc-oom",
            "pidfd-getfd",
        ] {
            attempt(act, &pid.to_string())?.with_context(|| format!("{act} of {who}"))?;
        }
    }
    attempt("sigio", &own.to_string())?.context("a signal from a file")?;
    attempt("ptrace", &child.to_string())?.context("tracing its child")?;
    traced_child()?;
    fs::write("/proc/self/comm", "at-home").context("its own name")?;
    call::getppid();
    // Everything that it may signal is its own.
    process::kill(child, libc::SIGKILL).context("killing its child")?;
    ensure!(
        process::wait(child)? == process::End::Killed(libc::SIGKILL),
        "its child did not end by SIGKILL"
    );
    println!("ok");
    Ok(())
}

/// A child that asks to be traced, as a debugger starts its programs.
fn traced_child() -> Result<()> {
    match process::fork()? {
        process::Fork::Child => {
            let traced = processes::trace_me().is_ok();
            process::exit_now(i32::from(!traced));
        }
        process::Fork::Parent(pid) => {
            let end = process::wait(pid)?;
            ensure!(
                end == process::End::Exited(0),
                "a child could not be traced: {end:?}"
            );
            Ok(())
        }
    }
}
