//! Who acts.

use super::memory::{Address, Typed};
use super::offsets::{
    HAS_TASK_REGS, MM_ARGUMENTS, MM_ARGUMENTS_END, MM_EXE_FILE, PID_TASKS, REGS_CALL, REGS_RESULT,
    REGS_SECOND, REGS_THIRD, SIGNAL_LIVE, TASK_BPF_STORAGE, TASK_COMM, TASK_CRED, TASK_EXIT_CODE,
    TASK_EXIT_STATE, TASK_FLAGS, TASK_GROUP_LEADER, TASK_MM, TASK_PID, TASK_PID_LINKS,
    TASK_REAL_CRED, TASK_REAL_PARENT, TASK_SIGNAL, TASK_START_BOOTTIME, TASK_TGID,
};
use super::storage;
use crate::maps::{FRESH, MEMBERS, TEMPLATES};
use agent_common::decide::{LISTS, SCOPES, Weighing};
use agent_common::egress::Endpoint;
use agent_common::event::Process;
use agent_common::session::{Label, Member as State, Pass};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_send_signal_thread, bpf_task_pt_regs,
};
use aya_ebpf::helpers::{bpf_get_current_uid_gid, bpf_send_signal};
use core::ffi::c_void;

const SIGKILL: u32 = 9;
const SIGSTOP: u32 = 19;

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
    /// An io_uring worker can be made to act with credentials that a task of the session once had,
    /// so it never counts; nor does a task whose ring was given such credentials, for that takes a
    /// privilege (`uring_override_creds`), which 5.10 cannot ask for.
    #[inline(always)]
    pub fn is_kernel_at_work() -> bool {
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
        task.load::<u32>(&TASK_FLAGS) & (IO_WORKER | DUMPING_CORE) == 0
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
        Self::given(given).join(template, flags, || given)
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
        if !task.join(template, flags, || given) {
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
        if !task.join(template, flags, typed) {
            return false;
        }
        task.member().is_some_and(|member| member.relabel(label))
    }

    /// Stores an entry like another and the mark, or neither. An entry is too long to be made on
    /// the stack. `typed` gives the task as the verifier wants it for the mark; it is not asked
    /// where there are no marks, because 5.10 has no helper for it.
    #[inline(always)]
    fn join(self, template: &State, flags: u32, typed: impl FnOnce() -> *mut c_void) -> bool {
        if MEMBERS.insert(self.0.0, template, 0).is_err() {
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

/// What is kept for a task of a session. Only programs that the task itself runs look at it, and
/// it stays until the task is freed.
#[derive(Clone, Copy)]
pub struct Member(*mut State);

impl Member {
    /// The label.
    #[inline(always)]
    pub fn label(self) -> Label {
        // SAFETY: the pointer came from a successful lookup, and the entry outlives the task.
        unsafe { (*self.0).label }
    }

    /// Writes the label of a task that runs this itself, or does not run yet.
    #[inline(always)]
    fn relabel(self, label: Label) -> bool {
        // SAFETY: as in `leave_pass`.
        unsafe { (*self.0).label = label };
        true
    }

    /// The policy by which the task's action is judged.
    #[inline(always)]
    pub fn policy(self) -> u32 {
        // SAFETY: as in `label`.
        unsafe { (*self.0).policy }
    }

    /// Notes the policy by which the task's action is judged.
    #[inline(always)]
    pub fn set_policy(self, policy: u32) {
        // SAFETY: as in `leave_pass`.
        unsafe { (*self.0).policy = policy }
    }

    /// The tool that is the task's scope of a number, counted from 1; 0 for the agent itself, and
    /// nothing where the task has no such scope.
    #[inline(always)]
    pub fn tool(self, scope: usize) -> Option<u8> {
        if scope == 0 {
            return Some(0);
        }
        // SAFETY: as in `label`.
        let tool = unsafe { (*self.0).tools[(scope - 1) & (SCOPES - 1)] };
        (tool != 0).then_some(tool)
    }

    /// The tool that the task is in, of several the innermost, or 0.
    #[inline(always)]
    pub fn innermost_tool(self) -> u8 {
        let mut innermost = 0;
        let mut scope = 1;
        while scope < SCOPES {
            match self.tool(scope) {
                Some(tool) => innermost = tool,
                None => break,
            }
            scope += 1;
        }
        innermost
    }

    /// Forgets the tools that were to begin with a program that did not run.
    #[inline(always)]
    pub fn clear_starting(self) {
        // SAFETY: as in `leave_pass`.
        unsafe { (*self.0).starting = [0; SCOPES] }
    }

    /// Lets a tool begin with the program that the task is about to execute. False when it would
    /// be inside too many. One that the task is inside already need not begin again: its rules are
    /// asked anyway.
    #[inline(always)]
    pub fn start(self, tool: u8) -> bool {
        // SAFETY: as in `leave_pass`.
        let (tools, starting) = unsafe { (&(*self.0).tools, &mut (*self.0).starting) };
        let mut inside = 0;
        while inside < SCOPES - 1 && tools[inside] != 0 {
            if tools[inside] == tool {
                return true;
            }
            inside += 1;
        }
        let mut i = 0;
        while i < SCOPES - 1 && starting[i] != 0 {
            if starting[i] == tool {
                return true;
            }
            i += 1;
        }
        if inside + i >= SCOPES - 1 {
            return false;
        }
        starting[i & (SCOPES - 1)] = tool;
        true
    }

    /// The program runs: the tools that were to begin with it have begun.
    #[inline(always)]
    pub fn begin_tools(self) {
        // SAFETY: as in `leave_pass`.
        let (tools, starting) = unsafe { (&mut (*self.0).tools, &mut (*self.0).starting) };
        let mut inside = 0;
        while inside < SCOPES - 1 && tools[inside] != 0 {
            inside += 1;
        }
        let mut i = 0;
        while i < SCOPES - 1 {
            if starting[i] != 0 && inside < SCOPES - 1 {
                tools[inside & (SCOPES - 1)] = starting[i];
                inside += 1;
            }
            i += 1;
        }
        *starting = [0; SCOPES];
    }

    /// The lists of rules that speak of what the task attempts, for one of its scopes.
    #[inline(always)]
    pub fn lists(self, scope: usize) -> &'static mut [u32; LISTS] {
        // SAFETY: as in `leave_pass`.
        unsafe { &mut (*self.0).lists[scope & (SCOPES - 1)] }
    }

    /// The decision about what the task attempts.
    #[inline(always)]
    pub fn weighing(self) -> &'static mut Weighing {
        // SAFETY: as in `leave_pass`.
        unsafe { &mut (*self.0).weighing }
    }

    /// Whether it is a thread of the session's first process.
    #[inline(always)]
    pub fn is_root(self) -> bool {
        // SAFETY: as in `label`.
        unsafe { (*self.0).flags & State::ROOT != 0 }
    }

    /// Notes when the task was allowed an action.
    #[inline(always)]
    pub fn note_action(self, now_ns: u64) {
        // SAFETY: as in `leave_pass`.
        unsafe { (*self.0).last_ns = now_ns }
    }

    /// When the task was last allowed an action.
    #[inline(always)]
    pub fn last_action(self) -> u64 {
        // SAFETY: as in `label`; written whole.
        unsafe { core::ptr::read_volatile(&raw const (*self.0).last_ns) }
    }

    /// Leaves a pass for the hook that comes next in the same system call. Written where it
    /// belongs: the stack of `socket_connect` and all it calls has no room for another.
    #[inline(always)]
    pub fn leave_pass(self, socket: u64, version: u32, endpoint: &Endpoint) {
        // SAFETY: as in `label`; nobody but the running task writes here.
        unsafe {
            let pass = &raw mut (*self.0).pass;
            (*pass).socket = socket;
            (*pass).version = version;
            (*pass).endpoint = *endpoint;
        }
    }

    /// Takes the pass, whatever it is for.
    #[inline(always)]
    pub fn take_pass(self) -> Pass {
        // SAFETY: as in `leave_pass`.
        unsafe {
            let pass = (*self.0).pass;
            (*self.0).pass.socket = 0;
            pass
        }
    }
}

/// The user id of the running task.
#[inline(always)]
pub fn current_uid() -> u32 {
    (bpf_get_current_uid_gid() & 0xffff_ffff) as u32
}

/// Kills the running process before it returns to user space. False where that cannot be done.
#[inline(always)]
pub fn kill_current() -> bool {
    // SAFETY: takes a signal number, acts on the running task alone.
    unsafe { bpf_send_signal(SIGKILL) == 0 }
}

const EXECVE: u64 = 59;
const EXECVEAT: u64 = 322;

/// The registers with which the running task entered the kernel. Only where [`HAS_TASK_REGS`].
#[inline(always)]
fn registers() -> Address {
    // SAFETY: the helpers take the running task alone; what they answer is read with care.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) };
    Address(registers.cast_unsigned())
}

/// Where the list of words lies that the running task has given to `execve`.
#[inline(always)]
pub fn current_words() -> Option<u64> {
    if HAS_TASK_REGS.load() == 0 {
        return None;
    }
    let registers = registers();
    match registers.read(&REGS_CALL)? {
        EXECVE => registers.read(&REGS_SECOND),
        EXECVEAT => registers.read(&REGS_THIRD),
        _ => None,
    }
}

/// Stops the running process before it returns to user space. False where that cannot be done. By a signal
/// to this very thread: of one to the process the kernel keeps a single one, and a second thread would go
/// on without noticing it, with the number by which its call was to begin anew for an answer.
#[inline(always)]
pub fn stop_current() -> bool {
    // SAFETY: as in `kill_current`.
    unsafe { bpf_send_signal_thread(SIGSTOP) == 0 }
}

/// Whether the running task is in a system call of its own that can begin anew. What io_uring does
/// cannot: it answers elsewhere. What the kernel does at a call's end, as io_uring's work, finds the
/// call's result in the register that holds `-ENOSYS` until then. And in `execve` the old program is
/// given up once it has been judged.
#[inline(always)]
pub fn can_begin_anew(executes: bool) -> bool {
    const EXITING: u32 = 0x4;
    const IO_WORKER: u32 = 0x10;
    const USER_WORKER: u32 = 0x4000;
    const KERNEL_THREAD: u32 = 0x20_0000;
    const NOT_YET: u64 = (-38i64).cast_unsigned();
    const URING_ENTER: u64 = 426;
    if HAS_TASK_REGS.load() == 0 {
        return false;
    }
    let task = Task::current();
    let flags: u32 = task.0.read(&TASK_FLAGS).unwrap_or(EXITING);
    if flags & (EXITING | IO_WORKER | USER_WORKER | KERNEL_THREAD) != 0 {
        return false;
    }
    let registers = registers();
    let call: u64 = registers.read(&REGS_CALL).unwrap_or(URING_ENTER);
    let result: u64 = registers.read(&REGS_RESULT).unwrap_or(0);
    let replaces = call == EXECVE || call == EXECVEAT;
    result == NOT_YET && call != URING_ENTER && (executes || !replaces)
}

/// The number of the running task's system call, where the kernel lets us know.
#[inline(always)]
pub fn current_call() -> Option<u64> {
    if HAS_TASK_REGS.load() == 0 {
        return None;
    }
    registers().read(&REGS_CALL)
}
