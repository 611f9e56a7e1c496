//! The daemon as its pod runs it: out of a root of its own, with the capabilities of the chart and no other.

use super::names::{self, Network};
use crate::harness::Test;
use crate::harness::health;
use crate::harness::kernel;
use crate::harness::policy::Policy;
use crate::harness::product::{self, INTERLOCK};
use crate::harness::session::Place;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The chart's pod.
const CHART: &str = include_str!("../../../deploy/helm/interlock/templates/daemonset.yaml");

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "as_pod.capabilities",
            "a daemon that lacks one of the chart's capabilities names it",
            capabilities,
        ),
        Test::new(
            "long.as_pod.daemon",
            "with these and no other, out of a root of its own, the daemon enters the host and holds sessions",
            daemon,
        )
        .unless(kernel::unless_with_bpf_lsm)
        .patience(400),
    ]
}

/// The capabilities that the chart gives, as setpriv calls them.
fn given() -> Result<Vec<String>> {
    let (_, added) = CHART
        .split_once("              add:\n")
        .context("what is added")?;
    let lines = added.lines().map(str::trim);
    let lines = lines.take_while(|line| line.starts_with("- ") || line.starts_with('#'));
    let names = lines.filter_map(|line| line.strip_prefix("- "));
    Ok(names.map(str::to_lowercase).collect())
}

/// Begins a command that has these and no other.
fn with(capabilities: &[String]) -> Command {
    let added = capabilities.iter().map(|name| format!(",+{name}"));
    let set: String = std::iter::once("-all".to_owned()).chain(added).collect();
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set={set}"));
    command.args(["--inh-caps=-all", "--no-new-privs"]);
    command
}

fn capabilities() -> Result<()> {
    let all = given()?;
    ensure!(all.len() == 9, "the chart gives {all:?}");
    // One is needed before 5.11 alone, the other only to be fast.
    let is_needed = |name: &&String| !["sys_resource", "syslog"].contains(&name.as_str());
    for missing in all.iter().filter(is_needed) {
        let others: Vec<_> = all
            .iter()
            .filter(|name| *name != missing)
            .cloned()
            .collect();
        let mut daemon = with(&others);
        let output = daemon
            .args([INTERLOCK, "daemon", "--enter-host"])
            .output()?;
        let named = format!("found no CAP_{}", missing.to_uppercase());
        let said = product::said(&output);
        ensure!(
            output.status.code() == Some(1) && said.contains(&named),
            "without {missing}: {said}"
        );
    }
    Ok(())
}

/// A root that holds the program, what it is linked with, and procfs.
fn root() -> Result<&'static str> {
    let root = "/run/interlock-tests.root";
    let program = Path::new("/usr/local/bin").join(INTERLOCK);
    fs::create_dir_all(format!("{root}/proc"))?;
    fs::copy(&program, format!("{root}/{INTERLOCK}")).context("the program")?;
    let linked = said(Command::new("ldd").arg(&program))?;
    for library in linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let to = format!("{root}{library}");
        let folder = Path::new(&to).parent().context("a folder")?;
        fs::create_dir_all(folder)?;
        fs::copy(library, &to).context("a library")?;
    }
    Ok(root)
}

fn said(command: &mut Command) -> Result<String> {
    let Output { stdout, .. } = command.output()?;
    Ok(String::from_utf8(stdout)?)
}

fn daemon() -> Result<()> {
    let network = Network::set_up()?;
    product::stop()?;
    let root = root()?;
    // The pod is told whom to ask for names, and the host somebody who is not there.
    fs::create_dir_all(format!("{root}/etc"))?;
    fs::copy("/etc/resolv.conf", format!("{root}/etc/resolv.conf"))?;
    fs::write("/etc/resolv.conf", "nameserver 192.0.2.99\n")?;
    let begin = format!(
        "mount -t proc proc {root}/proc && exec \"$@\" chroot {root} /{INTERLOCK} daemon --enter-host \
         --metrics {}",
        health::ADDRESS
    );
    let shown = with(&given()?);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--cgroup", "sh", "-c", &begin, "sh"]);
    command.arg(shown.get_program()).args(shown.get_args());
    let log = "/run/interlock-tests.container";
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log)?)
        .spawn()?;
    let outcome =
        holds(&mut child, &network).with_context(|| fs::read_to_string(log).unwrap_or_default());
    crate::sys::process::kill(i32::try_from(child.id())?, libc::SIGTERM)?;
    child.wait()?;
    outcome
}

fn holds(child: &mut Child, network: &Network) -> Result<()> {
    while !health::ask("/readyz").is_ok_and(|answer| answer.status == 200) {
        ensure!(child.try_wait()?.is_none(), "the daemon ended");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    for kind in ["mnt", "cgroup"] {
        let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        ensure!(of(child.id())? == of(1)?, "it is not in the host's {kind}");
    }
    // What a rule says of a path is so of the host's path.
    let secret = "/etc/interlock-tests.secret";
    fs::write(secret, "secret")?;
    let policy = Policy::named("container").files("deny", "read", &[secret]);
    let output = Place::Inside(&policy).run(&["cat", secret])?;
    ensure!(
        !output.status.success() && product::said(&output).contains("not permitted"),
        "a session reads it: {}",
        product::said(&output)
    );
    fs::remove_file(secret)?;
    let policy = names::policy("container-names", &["api.example.test"]);
    network.client.expect(
        Place::Inside(&policy),
        &[("count 8.8.8.8 udp api.example.test A", "NOERROR 1")],
    )
}
