//! The names of a path, for people. Read by helpers and checked at every step: a verdict has been
//! given, and nothing here changes it.

use super::memory::Address;
use super::offsets::{DENTRY_NAME, DENTRY_PARENT, DENTRY_SUPER, SUPER_DEVICE, SUPER_ROOT};
use super::task::Task;
use super::unix::MAX_ABSTRACT;
use crate::tell::Judged;
use agent_common::action::Action;
use agent_common::decide::Weighing;
use agent_common::event::{FileDenial, MAX_NAMES};
use agent_common::path::{MAX_DIRECTORIES, MAX_NAME};
use agent_common::session::Label;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};

/// Tells that a use of a file was not allowed. `words` is where the words of a program begin and
/// end, if they were read.
#[inline(always)]
pub fn tell(label: Label, judged: Judged, dentry: Address, words: [u64; 2]) {
    if judged.hold == Weighing::TOLD {
        return;
    }
    let judgement = packed(judged);
    let [begin, end] = words;
    if begin == 0 || end <= begin {
        path_denial(label.session, u64::from(label.slot), judgement, dentry.0);
    } else {
        exec_denial(judgement, dentry.0, begin, end);
    }
}

/// No action has a number so high that it needs the bits beyond.
const HOLD_SHIFT: u32 = 46;
const ACTION_BITS: u64 = 0x3fff;

const REVOKE_SHIFT: u32 = 55;
const VERDICT_BITS: u8 = 0x7f;

/// What is told of a judgement in one number; 0 where the action is allowed. What it would be otherwise has
/// no value where it is, and the verifier wants one of all that is carried along.
#[inline(always)]
pub fn packed(judged: Judged) -> u64 {
    u64::from(judged.rule)
        | u64::from(judged.action.wire()) << 32
        | u64::from(judged.hold & 3) << HOLD_SHIFT
        | u64::from(judged.revoke != 0) << REVOKE_SHIFT
        | u64::from(judged.verdict) << 48
        | u64::from(judged.reason) << 56
}

/// A global function of numbers: the verifier looks at it once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn path_denial(session: u64, slot: u64, judgement: u64, dentry: u64) -> u64 {
    let label = Label {
        session,
        slot: slot as u32,
        reserved: 0,
    };
    crate::tell::file_denial(label, judged(judgement), Address(dentry), [0; 2]);
    0
}

/// The same for a program of the running task that was denied by its words.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn exec_denial(judgement: u64, dentry: u64, begin: u64, end: u64) -> u64 {
    if let Some(member) = Task::current().member() {
        let words = [begin, end];
        crate::tell::file_denial(member.label(), judged(judgement), Address(dentry), words);
    }
    0
}

/// Tells that somebody must be asked about a program of the running task with the words that it was given.
#[inline(always)]
pub fn tell_question(judged: Judged, dentry: Address) {
    if judged.hold != Weighing::TOLD {
        exec_question(packed(judged), dentry.0);
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn exec_question(judgement: u64, dentry: u64) -> u64 {
    if let Some(member) = Task::current().member() {
        crate::tell::program_question(member.label(), judged(judgement), Address(dentry));
    }
    0
}

/// Tells that a Unix socket without a path was not to be reached.
#[inline(always)]
pub fn tell_abstract(judged: Judged, name: u64, length: u64) {
    if judged.hold == Weighing::TOLD {
        return;
    }
    abstract_denial(packed(judged), name, length);
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn abstract_denial(judgement: u64, name: u64, length: u64) -> u64 {
    if let Some(member) = Task::current().member() {
        crate::tell::abstract_denial(member.label(), judged(judgement), name, length);
    }
    0
}

/// Writes a name without a path, zero bytes in it included.
#[inline(always)]
pub fn copy_abstract(name: u64, length: u64, out: &mut FileDenial) {
    let mut length = length;
    if length > MAX_ABSTRACT as u64 {
        length = MAX_ABSTRACT as u64;
    }
    // SAFETY: the helper checks the address; there is room for the longest name.
    let read = unsafe {
        bpf_probe_read_kernel(
            out.names.as_mut_ptr().cast(),
            length as u32,
            name as *const _,
        )
    };
    out.device = 0;
    out.names_length = if read == 0 { length as u32 } else { 0 };
    out.flags = FileDenial::ABSTRACT;
}

/// The same back.
#[inline(always)]
pub fn judged(judgement: u64) -> Judged {
    Judged {
        rule: judgement as u32,
        action: Action::from_wire((judgement >> 32 & ACTION_BITS) as u16).unwrap_or(Action::Read),
        verdict: (judgement >> 48) as u8 & VERDICT_BITS,
        reason: (judgement >> 56) as u8,
        revoke: (judgement >> REVOKE_SHIFT) as u8 & 1,
        hold: (judgement >> HOLD_SHIFT) as u8 & 3,
    }
}

/// Bytes of a name with the zero at its end.
const ROOM: usize = MAX_NAME + 1;

/// Writes the names from a dentry up to the root of its file system.
#[inline(always)]
pub fn copy(dentry: Address, out: &mut FileDenial) {
    let mut super_block = 0u64;
    dentry.copy(&DENTRY_SUPER, &mut super_block);
    Address(super_block).copy(&SUPER_DEVICE, &mut out.device);
    let mut root = 0u64;
    Address(super_block).copy(&SUPER_ROOT, &mut root);
    let mut at = dentry;
    let mut length = 0usize;
    let mut flags = FileDenial::CUT_OFF;
    let mut i = 0;
    while i < MAX_DIRECTORIES + 8 {
        if at.0 == root {
            flags = 0;
            break;
        }
        if length > MAX_NAMES - ROOM {
            break;
        }
        let mut name = 0u64;
        at.copy(&DENTRY_NAME, &mut name);
        // SAFETY: the helper checks the address; behind `length` there is room for the longest name.
        let read = unsafe {
            bpf_probe_read_kernel_str(
                out.names.as_mut_ptr().add(length).cast(),
                ROOM as u32,
                name as *const _,
            )
        };
        if read <= 0 || read as usize > ROOM {
            break;
        }
        length += read as usize;
        let mut parent = 0u64;
        at.copy(&DENTRY_PARENT, &mut parent);
        if parent == at.0 {
            flags = FileDenial::NO_DIRECTORY;
            break;
        }
        at = Address(parent);
        i += 1;
    }
    out.names_length = length as u32;
    out.flags = flags;
}
