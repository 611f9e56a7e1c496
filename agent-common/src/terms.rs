//! What a policy demands besides facts: lifetimes of facts, limits, hours; and how far a session
//! has got with them.

use crate::decide::{Reason, Verdict};
use crate::wire::assert_layout;

/// Facts of one policy that expire.
pub const TIMERS: usize = 16;
/// Limits of one policy.
pub const LIMITS: usize = 16;
/// Windows of one policy.
pub const WINDOWS: usize = 8;

const MINUTE_S: u64 = 60;
const DAY_S: u64 = 86_400;
/// Days from Monday to the Thursday on which 1970 began.
const EPOCH_WEEKDAY: u64 = 3;

/// A fact that is clear again after its lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Timer {
    /// How long the fact holds.
    pub lifetime_ns: u64,
    /// The fact's bit; 0 where there is no timer.
    pub fact: u64,
}

assert_layout!(Timer, size 16, lifetime_ns at 0, fact at 8);

/// A rate or a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Limit {
    /// Rate: nanoseconds that pass for each action. Budget: how many, or how many bytes.
    pub amount: u64,
    /// Rate: how far, in nanoseconds, a burst may run ahead.
    pub burst_ns: u64,
    /// One of [`Limit::RATE`], [`Limit::COUNT`], [`Limit::BYTES`]; anything else never has room.
    pub kind: u32,
    /// Padding, zero.
    pub reserved: u32,
}

assert_layout!(Limit, size 24, amount at 0, burst_ns at 8, kind at 16);

impl Limit {
    /// So many actions in so much time, as a token bucket.
    pub const RATE: u32 = 1;
    /// So many actions.
    pub const COUNT: u32 = 2;
    /// So many bytes.
    pub const BYTES: u32 = 3;

    /// What is said where it has no room.
    #[inline(always)]
    pub const fn reason(&self) -> Reason {
        match self.kind {
            Self::RATE => Reason::Limit,
            _ => Reason::Spent,
        }
    }

    /// Whether there is room, and the value afterwards. A rate's value is the time at which the
    /// bucket is full again; a budget's is what has been used.
    #[inline(always)]
    pub const fn charge(&self, before: u64, now_ns: u64, bytes: u64) -> (bool, u64) {
        match self.kind {
            Self::RATE => {
                let from = if before > now_ns { before } else { now_ns };
                (
                    from - now_ns <= self.burst_ns,
                    from.saturating_add(self.amount),
                )
            }
            Self::COUNT => (before < self.amount, before.saturating_add(1)),
            // Whoever cannot say how many bytes there will be needs room for one.
            Self::BYTES => {
                let least = if bytes == 0 { 1 } else { bytes };
                let room = before.saturating_add(least) <= self.amount;
                (room, before.saturating_add(bytes))
            }
            _ => (false, before),
        }
    }
}

/// Hours of days of the week. The loader keeps `offset_s` true to the policy's time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Window {
    /// Seconds that local time is ahead of UTC.
    pub offset_s: i32,
    /// The minute of the day at which it opens.
    pub opens: u16,
    /// The minute at which it closes; the next day's unless later than `opens`.
    pub closes: u16,
    /// The days on which it opens; bit 0 is Monday.
    pub days: u32,
}

assert_layout!(Window, size 12, offset_s at 0, opens at 4, closes at 6, days at 8);

impl Window {
    /// Whether it is open at a second since 1970.
    #[inline(always)]
    pub const fn is_open(&self, wall_s: u64) -> bool {
        let local = wall_s.wrapping_add_signed(self.offset_s as i64);
        let day = (local / DAY_S + EPOCH_WEEKDAY) % 7;
        let before = (day + 6) % 7;
        let minute = local % DAY_S / MINUTE_S;
        let today = self.days >> day & 1 != 0;
        let yesterday = self.days >> before & 1 != 0;
        let (opens, closes) = (self.opens as u64, self.closes as u64);
        if opens < closes {
            today && opens <= minute && minute < closes
        } else {
            (today && opens <= minute) || (yesterday && minute < closes)
        }
    }
}

/// A policy's timers, limits and hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Terms {
    /// Facts that expire.
    pub timers: [Timer; TIMERS],
    /// Rates and budgets.
    pub limits: [Limit; LIMITS],
    /// Hours.
    pub windows: [Window; WINDOWS],
    /// Facts of which any completes the chain.
    pub completion: u64,
    /// Bits of [`Terms::DEVIATION_KILL`], [`Terms::DEVIATION_REVOKE`],
    /// [`Terms::COMPLETION_REVOKE`], [`Terms::AUDIT`] and [`Terms::SPENT_REVOKE`].
    pub flags: u32,
    /// Padding, zero.
    pub reserved: u32,
}

assert_layout!(Terms, size 752, timers at 0, limits at 256, windows at 640, completion at 736, flags at 744);

impl Terms {
    /// Bit: an action that deviates kills the session's processes.
    pub const DEVIATION_KILL: u32 = 1;
    /// Bit: it ends the session's permission.
    pub const DEVIATION_REVOKE: u32 = 2;

    /// Bit: the session's permission ends once the chain is complete.
    pub const COMPLETION_REVOKE: u32 = 4;
    /// Bit: what would be denied is recorded, and happens.
    pub const AUDIT: u32 = 8;
    /// Bit: there is a rule that needs an approval.
    pub const APPROVALS: u32 = 32;
    /// Bit: an action for which a budget has no room left ends the session's permission.
    pub const SPENT_REVOKE: u32 = 16;

    /// Terms that demand nothing.
    pub const NONE: Terms = Terms {
        timers: [Timer {
            lifetime_ns: 0,
            fact: 0,
        }; TIMERS],
        limits: [Limit {
            amount: 0,
            burst_ns: 0,
            kind: 0,
            reserved: 0,
        }; LIMITS],
        windows: [Window {
            offset_s: 0,
            opens: 0,
            closes: 0,
            days: 0,
        }; WINDOWS],
        completion: 0,
        flags: 0,
        reserved: 0,
    };

    /// What a denial becomes, and whether the session's permission ends with it: a deviation from
    /// the policy may bring more than the denial.
    #[inline(always)]
    pub fn follow(&self, verdict: u8, reason: u8) -> (u8, bool) {
        let deviates = verdict == Verdict::Deny.wire()
            && (reason == Reason::Rule.wire()
                || reason == Reason::NoRule.wire()
                || reason == Reason::FactMissing.wire()
                || reason == Reason::FactForbidden.wire()
                || reason == Reason::Privilege.wire());
        if !deviates {
            let spent = verdict == Verdict::Deny.wire() && reason == Reason::Spent.wire();
            return (verdict, spent && self.flags & Self::SPENT_REVOKE != 0);
        }
        let kills = self.flags & Self::DEVIATION_KILL != 0;
        let verdict = if kills { Verdict::Kill.wire() } else { verdict };
        (verdict, self.flags & Self::DEVIATION_REVOKE != 0)
    }

    /// The facts that hold: without those that have expired.
    #[inline(always)]
    pub fn live_facts(&self, progress: &Progress, now_ns: u64) -> u64 {
        let mut facts = progress.facts;
        let mut i = 0;
        while i < TIMERS {
            if now_ns >= progress.deadlines[i] {
                facts &= !self.timers[i].fact;
            }
            i += 1;
        }
        facts
    }

    /// The timers of facts.
    pub fn timers_of(&self, facts: u64) -> u16 {
        let mut timers = 0;
        let mut i = 0;
        while i < TIMERS {
            if facts & self.timers[i].fact != 0 {
                timers |= 1 << i;
            }
            i += 1;
        }
        timers
    }

    /// Whether a window, counted from 1, is open.
    #[inline(always)]
    pub fn in_window(&self, number: u8, wall_s: u64) -> bool {
        self.windows[(number as usize).wrapping_sub(1) & (WINDOWS - 1)].is_open(wall_s)
    }
}

/// The kernel's lock for a map value, by the name and size under which the kernel looks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct bpf_spin_lock {
    /// The kernel's own.
    pub val: u32,
}

/// How far a session has got with its policy: its facts, timers and limits. Changed as a whole,
/// under the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Progress {
    /// Held while anything here changes.
    pub lock: bpf_spin_lock,
    /// Grows with each change, so that a decision can tell whether what it saw still is.
    pub version: u32,
    /// The facts that have been set and not cleared; some may have expired.
    pub facts: u64,
    /// When each timer's fact expires, in nanoseconds since boot.
    pub deadlines: [u64; TIMERS],
    /// The value of each limit.
    pub limits: [u64; LIMITS],
}

assert_layout!(Progress, size 272, lock at 0, version at 4, facts at 8, deadlines at 16, limits at 144);

impl Progress {
    /// A session that has not begun.
    pub const START: Progress = Progress {
        lock: bpf_spin_lock { val: 0 },
        version: 0,
        facts: 0,
        deadlines: [0; TIMERS],
        limits: [0; LIMITS],
    };

    /// Sets facts; their timers begin.
    pub fn set_facts(&mut self, facts: u64, terms: &Terms, now_ns: u64) {
        self.facts |= facts;
        for (timer, deadline) in terms.timers.iter().zip(&mut self.deadlines) {
            if timer.fact & facts != 0 {
                *deadline = now_ns.saturating_add(timer.lifetime_ns);
            }
        }
    }
}
