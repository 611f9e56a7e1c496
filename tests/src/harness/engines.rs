//! Docker and podman, with an image made here. Their containers have the node's network and see its programs.

use super::given;
use super::image::{self, IMAGE};
use crate::sys::process::kill;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// How long a service may take to listen, or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// An engine: both are spoken to in the same words.
pub(crate) struct Engine {
    /// The program that is spoken to.
    program: &'static str,
    /// Where it was given to the machine.
    folder: &'static str,
    /// What answers for it on the socket, which comes last.
    service: &'static [&'static str],
    pub(crate) socket: &'static str,
}

/// Podman, which starts containers without its service.
pub(crate) const PODMAN: Engine = Engine {
    program: "podman",
    folder: "/with/podman",
    service: &["podman", "system", "service", "--time", "0"],
    socket: "/run/podman/podman.sock",
};

/// Docker.
pub(crate) const DOCKER: Engine = Engine {
    program: "docker",
    folder: "/with/docker",
    service: &[
        "dockerd",
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
        "--host",
    ],
    socket: "/run/docker.sock",
};

/// Podman's settings, where there is neither systemd nor a network.
const PODMANS: &str = r#"
[network]
network_backend = "cni"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
"#;

/// It takes images of anybody.
const TRUST: &str = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;

impl Engine {
    /// Whether the machine was not given it.
    pub(crate) fn unless_there(&self) -> Option<String> {
        given::unless_there(self.folder)
    }

    /// Makes it ready, once for all tests, and has its service answer.
    pub(crate) fn begin(&self) -> Result<()> {
        let made = format!("/run/{}.made", self.program);
        let is_made = Path::new(&made).exists();
        if !is_made {
            given::install(self.folder)?;
            // As the scripts of Debian's packages leave it.
            let _ = fs::remove_dir("/var/run");
            let _ = std::os::unix::fs::symlink("/run", "/var/run");
            let _ = Command::new("modprobe").arg("overlay").status();
            fs::create_dir_all("/etc/containers")?;
            fs::write("/etc/containers/containers.conf", PODMANS)?;
            fs::write("/etc/containers/policy.json", TRUST)?;
        }
        self.begin_service()?;
        if !is_made {
            image::load(&[self.program, "load", "--input"], &self.log())?;
            fs::write(made, "")?;
        }
        Ok(())
    }

    fn log(&self) -> String {
        format!("/run/{}.log", self.program)
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket)
    }

    fn pid_file(&self) -> String {
        format!("/run/{}.service-pid", self.program)
    }

    /// Has its service answer, if it does not.
    pub(crate) fn begin_service(&self) -> Result<()> {
        if Path::new(self.socket).exists() {
            return Ok(());
        }
        let folder = Path::new(self.socket).parent().context("a folder")?;
        fs::create_dir_all(folder)?;
        let (program, words) = self.service.split_first().context("a service")?;
        let mut service = Command::new(program);
        service.args(words).arg(self.address());
        let pid = given::begin(&service, &self.log())?;
        fs::write(self.pid_file(), pid.to_string())?;
        self.wait_until("listens", || Path::new(self.socket).exists())
    }

    /// Ends its service.
    pub(crate) fn end_service(&self) -> Result<()> {
        let pid: i32 = fs::read_to_string(self.pid_file())?.parse()?;
        kill(pid, libc::SIGTERM)?;
        self.wait_until("has ended", || {
            // Nobody of this process waits for it.
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        })?;
        let _ = fs::remove_file(self.socket);
        Ok(())
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            ensure!(
                Instant::now() < deadline,
                "no service that {what}: {}",
                fs::read_to_string(self.log()).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Starts a container of a name, and says what became of it once it has ended; with `--detach` among the
    /// options, once it has begun.
    pub(crate) fn run(&self, name: &str, options: &[&str], command: &[&str]) -> Result<Output> {
        let usual = ["--network", "host", "--volume", "/usr:/usr:ro"];
        let named = ["run", "--name", name];
        let words = [
            &named[..],
            &usual,
            options,
            &["--entrypoint", "", IMAGE],
            command,
        ];
        self.say(&words.concat())
    }

    /// Executes a program in a container.
    pub(crate) fn exec(&self, name: &str, command: &[&str]) -> Result<Output> {
        self.say(&[&["exec", name], command].concat())
    }

    /// Removes a container, whether or not it runs.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let removed = self.say(&["rm", "--force", name])?;
        ensure!(removed.status.success(), "{removed:?}");
        Ok(())
    }

    fn say(&self, words: &[&str]) -> Result<Output> {
        Command::new(self.program)
            .args(words)
            .output()
            .with_context(|| format!("{} {}", self.program, words.join(" ")))
    }
}
