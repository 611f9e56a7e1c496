//! A virtual machine under QEMU: one kernel, throw-away disks, one command.
//!
//! The command's two outputs and its exit code come back through ports of their own, so that the
//! kernel's console stays apart from them. Nothing that the machine writes reaches the cached
//! images, and several machines may run at once.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::build::Profile;
use crate::kernels::Kernel;
use crate::{disk, guest, kvm, process, root_image, workspace};

const MIB: u64 = 1 << 20;

/// Room that each folder given to a machine has left for writing.
const SPARE: u64 = 256 * MIB;

/// How the processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processor {
    /// The host's, where that works, or else emulated.
    Fastest,
    /// The host's.
    Kvm,
    /// Emulated, with time that counts instructions.
    Counted,
}

/// What to boot, and with what.
pub(crate) struct Machine<'a> {
    /// The kernel.
    pub(crate) kernel: &'a Kernel,
    /// Which build of the project's programs it has.
    pub(crate) profile: Profile,
    /// Folders to copy below `/with`.
    pub(crate) with: &'a [PathBuf],
    /// The kernel's security modules, in order.
    pub(crate) lsm: &'a str,
    /// How the processor is made.
    pub(crate) processor: Processor,
    /// Whether systemd is its first process, and runs the command anew whenever the machine boots.
    pub(crate) systemd: bool,
    /// Processors.
    pub(crate) smp: u32,
    /// Memory in MiB.
    pub(crate) memory: u32,
    /// After how long the machine is killed.
    pub(crate) timeout: Duration,
}

/// Security modules with BPF among them, as a distribution that supports it would set them.
pub(crate) const LSM: &str = "lockdown,capability,landlock,yama,bpf";

/// Which output of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl<'a> Machine<'a> {
    /// A machine as most uses want it.
    pub(crate) fn new(kernel: &'a Kernel) -> Self {
        Self {
            kernel,
            profile: Profile::Dev,
            with: &[],
            lsm: LSM,
            processor: Processor::Fastest,
            systemd: false,
            smp: 2,
            memory: 1024,
            timeout: Duration::from_secs(1200),
        }
    }

    /// Boots, runs the command, hands on what it prints, and returns its exit code.
    pub(crate) fn run(
        &self,
        command: &[String],
        mut sink: impl FnMut(Stream, &[u8]) -> Result<()>,
    ) -> Result<u8> {
        let files = Files::make(self, Some(command))?;
        let mut qemu = self.qemu(&files)?;
        qemu.args(["-display", "none", "-monitor", "none"])
            .args(["-chardev", "file,id=out,path=/dev/stdout"])
            .args(["-chardev", "file,id=err,path=/dev/stderr"])
            .args(["-device", "virtserialport,chardev=out,name=out"])
            .args(["-device", "virtserialport,chardev=err,name=err"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = Running(qemu.spawn().context("cannot start QEMU")?);
        let (sender, receiver) = mpsc::channel();
        let out = running.0.stdout.take().context("QEMU has an output")?;
        let err = running
            .0
            .stderr
            .take()
            .context("QEMU has an error output")?;
        let threads = [
            forward(out, Stream::Out, sender.clone()),
            forward(err, Stream::Err, sender),
        ];
        let deadline = Instant::now() + self.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok((stream, bytes)) => sink(stream, &bytes)?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    drop(running);
                    files.keep_console(self.kernel);
                    bail!(
                        "the machine with kernel {} did not end within {} s\n{}",
                        self.kernel.series,
                        self.timeout.as_secs(),
                        files.console_tail()
                    );
                }
            }
        }
        for thread in threads {
            thread.join().expect("reading a pipe does not panic");
        }
        running.0.wait()?;
        files.code(self.kernel)
    }

    /// Boots into a shell on this terminal and returns its exit code.
    pub(crate) fn shell(&self) -> Result<u8> {
        let files = Files::make(self, None)?;
        let mut qemu = self.qemu(&files)?;
        qemu.args(["-display", "none", "-monitor", "none"])
            .args(["-chardev", "stdio,id=terminal,signal=off"])
            .args(["-device", "virtconsole,chardev=terminal"]);
        let mut running = Running(qemu.spawn().context("cannot start QEMU")?);
        running.0.wait()?;
        files.code(self.kernel)
    }

    fn qemu(&self, files: &Files) -> Result<Command> {
        let arch = self.kernel.series.arch();
        let program = process::find(arch.emulator()).with_context(|| {
            let name = arch.emulator();
            format!("no {name} on this machine: run `cargo xtask setup`")
        })?;
        // QEMU must not outlive an xtask that was killed.
        let mut qemu = match process::find("setpriv") {
            Some(setpriv) => {
                let mut qemu = Command::new(setpriv);
                qemu.args(["--pdeathsig", "KILL"]).arg(program);
                qemu
            }
            None => Command::new(program),
        };
        let processor: &[&str] = match self.processor {
            Processor::Counted => &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
            ],
            Processor::Fastest if !kvm::works(self.kernel) => &["-accel", "tcg,thread=multi"],
            Processor::Fastest | Processor::Kvm => &["-accel", "kvm"],
        };
        let model = match self.processor {
            _ if arch == Arch::Arm64 => "neoverse-n1",
            // Fast string instructions count as one whatever their length, which falsifies a count.
            Processor::Counted => "max,-cx16,-erms,-fsrm",
            _ if processor.contains(&"kvm") => "host",
            // Emulated `cmpxchg16b` can double-fault.
            _ => "max,-cx16",
        };
        // The emulator translates code anew at each address at which it finds it: with programs always at the
        // same one, what starts many of them takes a third of the time.
        let addresses = if model == "host" { "" } else { " norandmaps" };
        let first = if self.systemd {
            "panic=0 interlock.init=systemd"
        } else {
            qemu.arg("-no-reboot");
            "panic=-1"
        };
        let (board, terminal) = match arch {
            Arch::Amd64 => ("pc", "ttyS0"),
            Arch::Arm64 => ("virt,gic-version=3", "ttyAMA0"),
        };
        qemu.args(processor)
            .args(["-machine", board])
            .args(["-cpu", model])
            .args(["-smp", &self.smp.to_string()])
            .args(["-m", &self.memory.to_string()])
            .args(["-nodefaults", "-nic", "none"])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(&self.kernel.initramfs)
            .arg("-append")
            .arg(format!(
                "console={terminal} {first} lsm={}{addresses}{}",
                self.lsm,
                self.kernel.series.parameters()
            ))
            .args([
                "-chardev",
                &format!("file,id=console,path={}", files.path("console").display()),
            ])
            .args(["-serial", "chardev:console"])
            .args(["-device", "virtio-serial-pci"])
            .args([
                "-chardev",
                &format!("file,id=code,path={}", files.path("code").display()),
            ])
            .args(["-device", "virtserialport,chardev=code,name=code"])
            // Where QEMU keeps what the machine writes.
            .env("TMPDIR", &files.folder);
        for (number, disk) in files.disks.iter().enumerate() {
            qemu.arg("-drive")
                .arg(format!(
                    "id=disk{number},if=none,format=raw,snapshot=on,cache=unsafe,file={}",
                    disk.display()
                ))
                .args(["-device", &format!("virtio-blk-pci,drive=disk{number}")]);
        }
        Ok(qemu)
    }
}

/// QEMU, which ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn forward(
    mut from: impl Read + Send + 'static,
    stream: Stream,
    to: Sender<(Stream, Vec<u8>)>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    if to.send((stream, buffer[..length].to_vec())).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    })
}

/// The files of one run, gone when it ends.
struct Files {
    folder: PathBuf,
    disks: Vec<PathBuf>,
}

impl Files {
    fn make(machine: &Machine<'_>, command: Option<&[String]>) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let runs = workspace::cache().join("vm");
        forget_dead_runs(&runs);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let files = Self {
            folder: runs.join(format!("{}-{number}", std::process::id())),
            disks: Vec::new(),
        };
        files.fill(machine, command)
    }

    fn fill(mut self, machine: &Machine<'_>, command: Option<&[String]>) -> Result<Self> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let local = self.path("local");
        let arch = machine.kernel.series.arch();
        guest::lay_out(&local, (machine.profile, arch), command)?;
        let programs = self.path("local.ext4");
        disk::make(&local, &programs, SPARE)?;
        self.disks = vec![
            root_image::get(arch)?,
            machine.kernel.modules.clone(),
            programs,
        ];
        if !machine.with.is_empty() {
            let staged = self.path("with");
            fs::create_dir_all(&staged)?;
            for folder in machine.with {
                let folder = fs::canonicalize(folder)
                    .with_context(|| format!("cannot read {}", folder.display()))?;
                let name = folder
                    .file_name()
                    .context("--with / would copy everything")?;
                let to = staged.join(name);
                if to.exists() {
                    bail!("two folders for the machine are called {}", name.display());
                }
                disk::copy(&folder, &to)?;
            }
            let image = self.path("with.ext4");
            disk::make(&staged, &image, SPARE)?;
            self.disks.push(image);
        }
        Ok(self)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The exit code that the machine told before it switched itself off.
    fn code(&self, kernel: &Kernel) -> Result<u8> {
        self.keep_console(kernel);
        let code = fs::read_to_string(self.path("code")).unwrap_or_default();
        match code.trim().parse() {
            Ok(code) => Ok(code),
            Err(_) => bail!(
                "the machine with kernel {} went down before the command had ended\n{}",
                kernel.series,
                self.console_tail()
            ),
        }
    }

    /// Leaves the kernel's log where it can be read after the run.
    fn keep_console(&self, kernel: &Kernel) {
        let place = console(kernel);
        if let Some(folder) = place.parent() {
            let _ = fs::create_dir_all(folder);
        }
        // A log that cannot be kept does not change what the run showed.
        let _ = fs::copy(self.path("console"), place);
    }

    fn console_tail(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.path("console")) {
            let _ = file.read_to_end(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        let tail = telling(&text).join("\n");
        format!("--- the end of its console ---\n{tail}\n--- end ---")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What of a kernel's log tells why it ended: from its first complaint on, or else the end.
fn telling(log: &str) -> Vec<&str> {
    const LINES: usize = 60;
    let lines = log.lines().collect::<Vec<_>>();
    let complaint = lines.iter().position(|line| {
        ["Oops", "BUG: ", "panic"]
            .iter()
            .any(|word| line.contains(word))
            && !line.contains("ommand line: ")
    });
    let from = complaint.unwrap_or(lines.len().saturating_sub(LINES));
    lines[from..].iter().take(LINES).copied().collect()
}

/// Where the kernel log of the last run with a kernel is kept.
pub(crate) fn console(kernel: &Kernel) -> PathBuf {
    workspace::cache()
        .join("console")
        .join(format!("{}.log", kernel.series))
}

/// Removes what killed runs left behind.
fn forget_dead_runs(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::telling;

    #[test]
    fn a_log_is_shown_from_its_first_complaint_on() {
        let quiet = (0..100).map(|n| format!("line {n}\n")).collect::<String>();
        assert_eq!(telling(&quiet).first(), Some(&"line 40"));
        let broken = format!(
            "Command line: panic=-1\nKernel command line: panic=-1\n{quiet}Oops: int3: 0000\n{quiet}"
        );
        assert_eq!(telling(&broken).first(), Some(&"Oops: int3: 0000"));
        assert_eq!(telling(&broken).len(), 60);
        assert!(telling("").is_empty());
    }
}
