//! Whether this machine's processor can be lent to a virtual machine. A device file proves
//! nothing, so a machine is booted, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::arch::Arch;
use crate::kernels::Kernel;
use crate::machine::{Machine, Processor};
use crate::workspace;

/// A machine with KVM is up in two seconds; one that is not up by now never will be.
const PATIENCE: Duration = Duration::from_secs(20);

fn answer_file() -> PathBuf {
    workspace::cache().join("kvm")
}

/// Whether a machine with KVM was seen to boot.
pub(crate) fn works(kernel: &Kernel) -> bool {
    static TRIAL: Mutex<()> = Mutex::new(());
    if kernel.series.arch() != Arch::OWN || !Path::new("/dev/kvm").exists() {
        return false;
    }
    let _one_at_a_time = TRIAL
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // The answer holds for one boot of this machine: another one may be another host.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if let Some(answer) = cached_answer(&boot) {
        return answer;
    }
    let machine = Machine {
        processor: Processor::Kvm,
        timeout: PATIENCE,
        ..Machine::new(kernel)
    };
    let answer = matches!(machine.run(&["true".to_owned()], |_, _| Ok(())), Ok(0));
    let found = if answer { "works" } else { "does not work" };
    eprintln!("KVM {found} on this machine, seen by a trial boot");
    // Without the file the next run tries again.
    let _ = fs::write(answer_file(), format!("{answer} {boot}"));
    answer
}

fn cached_answer(boot: &str) -> Option<bool> {
    let text = fs::read_to_string(answer_file()).ok()?;
    let (answer, made_in) = text.split_once(' ')?;
    (made_in == boot).then(|| answer == "true")
}
