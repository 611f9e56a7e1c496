//! Who acts.

use super::member::Member;
use super::memory::{Address, Typed};
use super::offsets::{
    MM_ARGUMENTS, MM_ARGUMENTS_END, MM_EXE_FILE, NAMESPACES_MOUNTS, PID_TASKS, SIGNAL_LIVE,
    TASK_BPF_STORAGE, TASK_COMM, TASK_CRED, TASK_EXIT_CODE, TASK_EXIT_STATE, TASK_FLAGS,
    TASK_GROUP_LEADER, TASK_IO_URING, TASK_MM, TASK_NAMESPACES, TASK_PID, TASK_PID_LINKS,
    TASK_REAL_CRED, TASK_REAL_PARENT, TASK_SIGNAL, TASK_START_BOOTTIME, TASK_TGID,
};
use super::storage;
use crate::maps::{FRESH, MEMBERS, TEMPLATES};
use agent_common::event::Process;
use agent_common::session::{Label, Member as State};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf};
use core::ffi::c_void;

/// What became of a task that runs already and was to be labelled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It has its label.
    Done,
    /// Its label, or its mark, cannot be stored.
    Refused,
    /// It is ending, or has been labelled meanwhile.
    NotNeeded,
    /// It had its label, and has ended.
    Gone,
}

/// A task of the kernel, known by its address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Task(Address);

/// Whether this kernel has task storage. A constant to the verifier, which drops the other branch.
#[inline(always)]
fn has_marks() -> bool {
    TASK_BPF_STORAGE.load() != 0
}

impl Task {
    /// The task that is running.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: takes no arguments, always answers.
        Self(Address(unsafe { bpf_get_current_task() }))
    }

    /// The running task if it may carry a label. For LSM and tracing programs, where one load
    /// sends every other task home.
    #[inline(always)]
    pub fn current_if_marked() -> Option<Self> {
        if !has_marks() {
            return Some(Self::current());
        }
        // SAFETY: takes no arguments, always answers, with a pointer the verifier trusts.
        let task = unsafe { bpf_get_current_task_btf() };
        let marked = Typed::given(task).load::<u64>(&TASK_BPF_STORAGE) != 0;
        marked.then_some(Self(Address(task as u64)))
    }

    /// Its address.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0.0
    }

    /// Whether the kernel acts for itself, with credentials that are not the task's: an overlay
    /// that opens and copies the files below it (`ovl_override_creds`), a crash dump not included.
    ///
    /// What a ring of io_uring was told to do is done with the credentials that the task had then. A worker of the
    /// ring's never counts; nor does a task that has taken other credentials since ([`Member::note_former`]), nor one
    /// whose ring was given them, for that takes a privilege (`uring_override_creds`), which 5.10 cannot ask for.
    #[inline(always)]
    pub fn is_kernel_at_work(member: Member) -> bool {
        const IO_WORKER: u32 = 0x10;
        const DUMPING_CORE: u32 = 0x200;
        if !has_marks() {
            return false;
        }
        // SAFETY: takes no arguments, always answers, with a pointer the verifier trusts.
        let task = Typed::given(unsafe { bpf_get_current_task_btf() });
        if task.load::<u64>(&TASK_CRED) == task.load::<u64>(&TASK_REAL_CRED) {
            return false;
        }
        task.load::<u32>(&TASK_FLAGS) & (IO_WORKER | DUMPING_CORE) == 0 && !member.has_former()
    }

    /// Whether it has told a ring of io_uring to do something.
    #[inline(always)]
    pub fn has_ring(self) -> bool {
        TASK_IO_URING.load() != 0 && self.0.read::<u64>(&TASK_IO_URING) != Some(0)
    }

    /// The address of the file that it executes.
    #[inline(always)]
    pub fn executable(self) -> u64 {
        let mm = self.0.read::<u64>(&TASK_MM).unwrap_or(0);
        Address(mm).read::<u64>(&MM_EXE_FILE).unwrap_or(0)
    }

    /// Where the words of its program begin, and where they end.
    #[inline(always)]
    pub fn words(self) -> [u64; 2] {
        let mm = Address(self.0.read::<u64>(&TASK_MM).unwrap_or(0));
        [&MM_ARGUMENTS, &MM_ARGUMENTS_END].map(|offset| mm.read(offset).unwrap_or(0))
    }

    /// A task that a hook was given.
    #[inline(always)]
    pub fn given(task: *const c_void) -> Self {
        Self(Address(task as u64))
    }

    /// The task as a member of its session, if it belongs to one.
    #[inline(always)]
    pub fn member(self) -> Option<Member> {
        MEMBERS.get_ptr_mut(self.0.0).map(Member)
    }

    /// Labels a task that a hook was given. Fails when the label or its mark cannot be stored.
    #[inline(always)]
    pub fn inherit(given: *mut c_void, parent: Member, flags: u32) -> bool {
        // SAFETY: as in `Member::label`.
        let template = unsafe { &*parent.0 };
        let task = Self::given(given);
        task.join(template, flags, 0, || given) && task.member().is_some_and(Member::keep_nothing)
    }

    /// The same, where whoever walks over all tasks may come upon it meanwhile.
    #[inline(always)]
    pub fn follow(given: *mut c_void, parent: Member, flags: u32) -> Admission {
        // SAFETY: as in `Member::label`.
        let template = unsafe { &*parent.0 };
        let task = Self::given(given);
        if task.join(template, flags, u64::from(BPF_NOEXIST), || given) {
            let _ = task.member().map(Member::keep_nothing);
            Admission::Done
        } else if task.member().is_some() {
            Admission::NotNeeded
        } else {
            Admission::Refused
        }
    }

    /// Labels a task that runs already, perhaps on another CPU: its label must be whole at once.
    #[inline(always)]
    pub fn admit(given: *mut c_void, label: Label, flags: u32, room: u32) -> Admission {
        let Some(template) = TEMPLATES.get_ptr_mut(room) else {
            return Admission::Refused;
        };
        let task = Self::given(given);
        if task.is_ending() {
            return Admission::NotNeeded;
        }
        // SAFETY: the pointer is to an entry that has one user at a time, who is running this.
        let template = unsafe {
            (*template).label = label;
            (*template).flags = flags;
            &*template
        };
        let only_new = u64::from(BPF_NOEXIST);
        if MEMBERS.insert(task.0.0, template, only_new).is_err() {
            return if task.member().is_some() {
                Admission::NotNeeded
            } else {
                Admission::Refused
            };
        }
        let marked = !has_marks() || storage::mark(given);
        // Without BPF LSM the label is taken off at the exit. Who came too late for that is
        // found here: it says that it is ending before it looks for its label.
        if marked && !task.is_ending() {
            return Admission::Done;
        }
        match (task.forget(), marked) {
            (true, true) => Admission::NotNeeded,
            (true, false) => Admission::Refused,
            (false, _) => Admission::Gone,
        }
    }

    /// Labels a child that nobody has seen yet.
    #[inline(always)]
    pub fn admit_unseen(given: *mut c_void, label: Label, flags: u32) -> bool {
        let Some(template) = FRESH.get(0) else {
            return false;
        };
        let task = Self::given(given);
        if !task.join(template, flags, 0, || given) {
            return false;
        }
        task.member().is_some_and(|member| member.relabel(label))
    }

    /// Whether the task is on its way out.
    #[inline(always)]
    fn is_ending(self) -> bool {
        const EXITING: u32 = 4;
        self.0.read::<u32>(&TASK_FLAGS).unwrap_or(EXITING) & EXITING != 0
    }

    /// Whether it sees other mounts than who made it does: it is in a container, and its parent is not.
    #[inline(always)]
    pub fn sees_other_mounts(self) -> bool {
        self.mounts() != self.parent().mounts()
    }

    /// The address of its mount namespace.
    #[inline(always)]
    fn mounts(self) -> u64 {
        let namespaces: u64 = self.0.read(&TASK_NAMESPACES).unwrap_or(0);
        Address(namespaces).read(&NAMESPACES_MOUNTS).unwrap_or(0)
    }

    /// Where it lies.
    #[inline(always)]
    pub fn at(self) -> Address {
        self.0
    }

    /// Labels the running task, with bits of [`State::ROOT`]. Fails as [`Task::inherit`] does.
    #[inline(always)]
    pub fn enrol_current(label: Label, flags: u32) -> bool {
        let Some(template) = FRESH.get(0) else {
            return false;
        };
        // SAFETY: takes no arguments, always answers.
        let typed = || unsafe { bpf_get_current_task_btf() }.cast();
        let task = Self::current();
        if !task.join(template, flags, 0, typed) {
            return false;
        }
        task.member().is_some_and(|member| member.relabel(label))
    }

    /// Stores an entry like another and the mark, or neither. An entry is too long to be made on
    /// the stack. `typed` gives the task as the verifier wants it for the mark; it is not asked
    /// where there are no marks, because 5.10 has no helper for it.
    #[inline(always)]
    fn join(
        self,
        template: &State,
        flags: u32,
        only_new: u64,
        typed: impl FnOnce() -> *mut c_void,
    ) -> bool {
        if MEMBERS.insert(self.0.0, template, only_new).is_err() {
            return false;
        }
        let Some(member) = self.member() else {
            return false;
        };
        // A pass is for the system call in which it was given.
        member.take_pass();
        member.clear_starting();
        // SAFETY: as in `Member::leave_pass`: the task does not run yet, or is the running one.
        unsafe { (*member.0).flags = flags };
        if has_marks() && !storage::mark(typed()) {
            self.forget();
            return false;
        }
        true
    }

    /// Removes the label. False when there was none.
    #[inline(always)]
    pub fn forget(self) -> bool {
        MEMBERS.remove(self.0.0).is_ok()
    }

    /// The task's own id.
    #[inline(always)]
    pub fn tid(self) -> u32 {
        self.0.read(&TASK_PID).unwrap_or(0)
    }

    /// Whether the task has yet to end. One that has ended waits for its parent to look.
    #[inline(always)]
    pub fn is_alive(self) -> bool {
        self.0.read::<u32>(&TASK_EXIT_STATE) == Some(0)
    }

    /// How the process ended, if this task is the last of its threads and is ending.
    #[inline(always)]
    pub fn last_words(self) -> Option<u32> {
        let signal = Address(self.0.read(&TASK_SIGNAL)?);
        let live: u32 = signal.read(&SIGNAL_LIVE)?;
        if live != 0 {
            return None;
        }
        self.0.read(&TASK_EXIT_CODE)
    }

    /// Describes the process that the task belongs to. What cannot be read is zero.
    #[inline(always)]
    pub fn describe(self, out: &mut Process) {
        out.start_ns = self.began_ns();
        self.0.copy(&TASK_TGID, &mut out.pid);
        out.reserved = 0;
        self.0.copy(&TASK_COMM, &mut out.comm);
    }

    /// The id of the task's process.
    #[inline(always)]
    pub fn tgid(self) -> u32 {
        self.0.read(&TASK_TGID).unwrap_or(0)
    }

    /// The task of a `struct pid`; it may be gone by now.
    #[inline(always)]
    pub fn of_pid(pid: Address) -> Option<Self> {
        let link: u64 = pid.read(&PID_TASKS)?;
        (link != 0).then_some(Self(Address(
            link.wrapping_sub(u64::from(TASK_PID_LINKS.load())),
        )))
    }

    /// Whether the task acts with these credentials and they are not its own, because the kernel
    /// has put others in their place for a while, as overlayfs does with those of who mounted it.
    #[inline(always)]
    pub fn has_borrowed(self, cred: u64) -> bool {
        let acting: Option<u64> = self.0.read(&TASK_CRED);
        let own: Option<u64> = self.0.read(&TASK_REAL_CRED);
        match (acting, own) {
            (Some(acting), Some(own)) => acting == cred && own != cred,
            _ => false,
        }
    }

    /// The first thread of its process.
    #[inline(always)]
    pub fn leader(self) -> Self {
        let mut leader = 0u64;
        self.0.copy(&TASK_GROUP_LEADER, &mut leader);
        Self(Address(leader))
    }

    /// When its process began; zero where that cannot be read.
    #[inline(always)]
    pub fn began_ns(self) -> u64 {
        let mut began = 0u64;
        self.leader().0.copy(&TASK_START_BOOTTIME, &mut began);
        began
    }

    /// The process that made this one, or that took it over.
    #[inline(always)]
    pub fn parent(self) -> Self {
        let mut parent = 0u64;
        self.0.copy(&TASK_REAL_PARENT, &mut parent);
        Self(Address(parent))
    }
}
