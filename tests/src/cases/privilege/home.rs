//! What must go on working: a session at home, and those who reach into it.

use super::act::NOBODY;
use crate::harness::events::Events;
use crate::harness::network::{DENIED4, PORT, at};
use crate::harness::policy::Policy;
use crate::harness::product::{Daemon, said};
use crate::harness::session::Place;
use crate::harness::{Test, kernel};
use anyhow::{Context, Result, ensure};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "privilege.at_home",
            "a session does with its own processes what it likes",
            at_home,
        )
        .unless(kernel::unless_with_bpf_lsm),
        Test::new(
            "privilege.shell",
            "a shell of a session that runs as root sees processes, and ends its own",
            shell,
        )
        .unless(kernel::unless_with_bpf_lsm),
        Test::new(
            "privilege.overlay",
            "overlayfs shows a session what it shows everybody, and copies files up for it",
            overlay,
        )
        .unless(kernel::unless_with_bpf_lsm),
        Test::new(
            "privilege.module_request",
            "a module that the kernel wants for a session is not loaded, and the event says so",
            module_request,
        )
        .unless(kernel::unless_with_bpf_lsm),
        Test::new(
            "privilege.from_outside",
            "a process outside may trace and signal a session",
            from_outside,
        )
        .unless(kernel::unless_with_bpf_lsm),
    ]
}

fn at_home() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("at-home");
    for place in [
        Place::Outside,
        Place::Inside(&policy),
        Place::As(&policy, NOBODY.0),
    ] {
        let events = Events::from_now()?;
        let answer = place
            .act(&["at-home"])
            .with_context(|| format!("{place:?}"))?;
        ensure!(answer == "ok", "{place:?}: {answer}");
        let told = events.denials("at-home")?;
        ensure!(told.is_empty(), "{place:?}: {told:?}");
    }
    Ok(())
}

fn shell() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("shell");
    // What a person or an agent does all day: list, find its own, signal its own, trace nobody.
    let script = "set -ex\n\
        sleep 300 > /dev/null 2>&1 & child=$!\n\
        ps -e -o pid= | grep -qw $child\n\
        ps -e -o comm= | grep -qw interlock\n\
        ps -o comm= -p $child | grep -qx sleep\n\
        test -r /proc/$child/environ && cat /proc/$child/maps > /dev/null\n\
        readlink /proc/$child/exe > /dev/null; ls /proc/$child/fd > /dev/null\n\
        kill -0 $child; kill -STOP $child; kill -CONT $child\n\
        echo 500 > /proc/$child/oom_score_adj; ulimit -n 100; nice -n 3 true\n\
        kill $child; wait $child || test $? = 143\n\
        cat /proc/sys/kernel/core_pattern /proc/self/cgroup > /dev/null\n\
        d=$(mktemp -d); echo x > $d/a; chown 65534 $d/a $d; chmod 700 $d; cat $d/a > /dev/null\n\
        mkdir $d/b; mv $d/a $d/b/a; ln -s a $d/b/c; rm -r $d\n\
        python3 -c 'import subprocess; subprocess.run([\"true\"], check=True)'\n\
        tar c /etc/passwd 2> /dev/null | tar t > /dev/null\n\
        echo done";
    for place in [Place::Outside, Place::Inside(&policy)] {
        let events = Events::from_now()?;
        let output = place.run(&["bash", "-c", script])?;
        let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(answer == "done", "{place:?}: {}", said(&output));
        let mut told = events.denials("shell")?;
        // `ps` asks for more of each process than it prints, and `chown` for users by a socket.
        told.retain(|denial| denial.action == "privilege" && denial.object.privilege != "ptrace");
        // Since 7.0 the kernel asks, for root's `ps`, for what no user of it needs: with a no it
        // leaves an address out.
        let asked = ["cap_perfmon", "cap_sys_admin"];
        told.retain(|denial| {
            kernel::before(7, 0)
                || !asked.contains(&denial.object.privilege.as_str())
                || denial.process.exe.as_deref() != Some("/usr/bin/ps")
        });
        ensure!(told.is_empty(), "{place:?}: {told:?}");
    }
    Ok(())
}

/// overlayfs keeps what it must remember in attributes that take `CAP_SYS_ADMIN` to read: that a
/// folder hides the one below it, here. It reads them as who mounted it, whoever asks.
fn overlay() -> Result<()> {
    const MAKE: &str = "set -e; modprobe overlay 2> /dev/null || true\n\
        cd /tmp; rm -rf overlay; mkdir overlay; mount -t tmpfs none overlay; cd overlay\n\
        mkdir -p lower/d upper work merged; echo old > lower/d/old; echo file > lower/file\n\
        chown 65534 lower/d\n\
        o=lowerdir=lower,upperdir=upper,workdir=work\n\
        mount -t overlay overlay -o $o merged; rm -r merged/d; mkdir merged/d; umount merged\n\
        mount -t overlay overlay -o $o merged; echo made";
    const LOOK: &str =
        "cd /tmp/overlay/merged; ls -A d; echo more >> file; cat file; mkdir e; rm -r e";
    Daemon::shared()?;
    let policy = Policy::named("overlay");
    for place in [Place::Inside(&policy), Place::Outside] {
        let made = Place::Outside.run(&["sh", "-c", MAKE])?;
        ensure!(
            made.stdout == b"made\n",
            "making an overlay: {}",
            said(&made)
        );
        let events = Events::from_now()?;
        let seen = place.run(&["sh", "-c", LOOK])?;
        let told = events.denials("overlay")?;
        // Nobody's view may have been spoilt by what the session looked at first.
        let after = Place::Outside.run(&["ls", "-A", "/tmp/overlay/merged/d"])?;
        Place::Outside.run(&["umount", "/tmp/overlay/merged", "/tmp/overlay"])?;
        ensure!(seen.stdout == b"file\nmore\n", "{place:?}: {}", said(&seen));
        ensure!(after.stdout.is_empty(), "afterwards: {}", said(&after));
        ensure!(told.is_empty(), "{place:?}: {told:?}");
    }
    Ok(())
}

/// A family of sockets that no kernel of the matrix has built in, and none has as a module either:
/// the kernel asks for the module, and that is all that can be seen.
fn module_request() -> Result<()> {
    const FAMILY: &str = "12";
    Daemon::shared()?;
    let policy = Policy::named("module-request").privileges(&["sockets"]);
    let part = ["overreach", "module-request", FAMILY];
    let control = Place::Outside.act(&part)?;
    ensure!(control == "EAFNOSUPPORT", "the control: {control}");
    let events = Events::from_now()?;
    let answer = Place::Inside(&policy).act(&part)?;
    ensure!(answer == "EAFNOSUPPORT", "inside a session: {answer}");
    events.expect_privilege("module-request", "module")?;
    let with = Policy::named("module-given").privileges(&["module", "sockets"]);
    let events = Events::from_now()?;
    Place::Inside(&with).act(&part)?;
    // A later denial of the same session's kind says that nothing can still be on its way.
    let to = at(DENIED4, PORT)?;
    Place::Inside(&with).act(&["way", "tcp", &to.to_string()])?;
    events.expect("module-given", "connect", to, "tcp")?;
    let told = events.denials("module-given")?;
    ensure!(told.len() == 1, "with the privilege: {told:?}");
    Ok(())
}

fn from_outside() -> Result<()> {
    Daemon::shared()?;
    let policy = Policy::named("from-outside");
    let mut member = Place::Inside(&policy).obey()?;
    let pid = member.pid.to_string();
    for act in [
        "ptrace",
        "proc-environ",
        "proc-maps",
        "proc-fd",
        "proc-root",
        "proc-mem",
        "proc-oom",
        "pidfd-getfd",
        "kill",
        "tgkill",
        "sigqueue",
        "sigio",
        "priority",
        "limit",
        "cpus",
    ] {
        let answer = Place::Outside.act(&["overreach", act, &pid])?;
        ensure!(answer == "ok", "{act} from outside: {answer}");
    }
    let answer = member.order(&format!("probe {}", at(DENIED4, PORT)?))?;
    ensure!(answer == "EPERM", "the session afterwards: {answer}");
    member.end()?;
    Ok(())
}
