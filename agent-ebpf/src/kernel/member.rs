//! What the kernel programs know of a session's task.

use agent_common::decide::{LISTS, SCOPES, Weighing};
use agent_common::egress::Endpoint;
use agent_common::session::{Label, Member as State, Pass};
use agent_common::uses::Kept;

/// What is kept for a task of a session. Only programs that the task itself runs look at it, and
/// it stays until the task is freed.
#[derive(Clone, Copy)]
pub struct Member(pub(super) *mut State);

impl Member {
    /// The label.
    #[inline(always)]
    pub fn label(self) -> Label {
        // SAFETY: the pointer came from a successful lookup, and the entry outlives the task.
        unsafe { (*self.0).label }
    }

    /// Writes the label of a task that runs this itself, or does not run yet.
    #[inline(always)]
    pub(super) fn relabel(self, label: Label) -> bool {
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

    /// What it was allowed last, and is not counted yet.
    #[inline(always)]
    pub fn kept(self) -> &'static mut Kept {
        // SAFETY: as in `leave_pass`.
        unsafe { &mut (*self.0).kept }
    }

    /// Lets a task that does not run yet begin with nothing to be counted: it was made after another.
    #[inline(always)]
    pub(super) fn keep_nothing(self) -> bool {
        self.kept().count = 0;
        true
    }

    /// Whether it is a thread of the session's first process.
    #[inline(always)]
    pub fn is_root(self) -> bool {
        // SAFETY: as in `label`.
        unsafe { (*self.0).flags & State::ROOT != 0 }
    }

    /// Notes that a ring of the task's may act with credentials that the task had before. They look like those that
    /// the kernel lends.
    #[inline(always)]
    pub fn note_former(self) {
        // SAFETY: as in `leave_pass`.
        unsafe { (*self.0).flags |= State::FORMER }
    }

    /// Notes that no ring does any more.
    #[inline(always)]
    pub fn forget_former(self) {
        // SAFETY: as in `leave_pass`.
        unsafe { (*self.0).flags &= !State::FORMER }
    }

    /// Whether one may.
    #[inline(always)]
    pub fn has_former(self) -> bool {
        // SAFETY: as in `label`.
        unsafe { (*self.0).flags & State::FORMER != 0 }
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
