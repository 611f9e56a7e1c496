//! Killing a session until nothing of it is left.
//!
//! A pid may be given to an outsider between the moment in which we learn it and the moment in
//! which we use it. So a process is held by a pidfd first, and looked for again: if it still has
//! its pid then, the pid was its own when the pidfd was opened.
//!
//! The session is revoked before, so nothing in it can fork any more. A walk that finds nobody may
//! still have missed a child of a fork that had begun before, if the child's pid lay behind the
//! walk and the parent ended before the walk came to it. By the end of that walk every such fork
//! is over: a second walk that finds nobody proves the end.

use agent_common::event::{Living, Process};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// A process, told apart from every other that had or will have its pid.
pub type Key = (u32, u64);

/// Walks in a row that must find nobody.
const PROOF: u32 = 2;

/// Pidfds that are held at once.
const HELD: usize = 4096;

/// What a kill needs of the host.
pub trait Host {
    /// What holds on to a process.
    type Hold;

    /// Every task of every session.
    fn census(&mut self) -> io::Result<Vec<Living>>;

    /// Takes hold of the process that has a pid now, if there is one and there is room for it.
    fn hold(&mut self, pid: u32) -> io::Result<Option<Self::Hold>>;

    /// Kills a process that is held. One that is gone is no error.
    fn kill(&mut self, hold: &Self::Hold) -> io::Result<()>;
}

/// A kill in progress.
#[derive(Debug)]
pub struct Kill<H> {
    session: u64,
    held: BTreeMap<Key, H>,
    killed: BTreeSet<Key>,
    /// Processes that need no killing, because they are ending.
    ending: BTreeSet<Key>,
    walks: u32,
    empty_walks: u32,
    left: Vec<Process>,
    /// When one of those that were found was last allowed an action.
    last_ns: u64,
}

impl<H> Kill<H> {
    /// A kill that has not begun. `ending` is a process that ends anyway.
    pub fn of(session: u64, ending: Option<&Process>) -> Self {
        Self {
            session,
            held: BTreeMap::new(),
            killed: BTreeSet::new(),
            ending: ending.map(key).into_iter().collect(),
            walks: 0,
            empty_walks: 0,
            left: Vec::new(),
            last_ns: 0,
        }
    }

    /// Looks once, kills whom it knows for sure, takes hold of the others. True when nobody is
    /// left, which is then proven.
    pub fn step(&mut self, host: &mut impl Host<Hold = H>) -> io::Result<bool> {
        let mut found: BTreeMap<Key, Process> = host
            .census()?
            .into_iter()
            .filter(|living| living.session == self.session)
            .inspect(|living| self.last_ns = self.last_ns.max(living.last_ns))
            .map(|living| (key(&living.process), living.process))
            .collect();
        self.walks += 1;
        self.empty_walks = if found.is_empty() {
            self.empty_walks + 1
        } else {
            0
        };
        for (key, hold) in std::mem::take(&mut self.held) {
            // Who is not found any more is gone, and the pid perhaps another's.
            if found.contains_key(&key) {
                host.kill(&hold)?;
                self.killed.insert(key);
            }
        }
        self.left = found.values().copied().collect();
        found.retain(|key, _| !self.killed.contains(key) && !self.ending.contains(key));
        for key in found.into_keys().take(HELD) {
            if let Some(hold) = host.hold(key.0)? {
                self.held.insert(key, hold);
            }
        }
        Ok(self.empty_walks >= PROOF)
    }

    /// Whether the next step should come at once: there is somebody to kill, or a proof to finish.
    pub fn has_more(&self) -> bool {
        !self.held.is_empty() || self.empty_walks > 0
    }

    /// Whether everybody whom the last walk found has been killed: they execute nothing any more,
    /// though the kernel may take its time to end them.
    pub fn is_struck(&self) -> bool {
        self.held.is_empty()
    }

    /// How many processes were killed.
    pub fn killed(&self) -> usize {
        self.killed.len()
    }

    /// How often the kernel was asked.
    pub fn walks(&self) -> u32 {
        self.walks
    }

    /// When one of those that were found was last allowed an action, in nanoseconds since boot; 0
    /// where none ever was.
    pub fn last_action(&self) -> u64 {
        self.last_ns
    }

    /// Who was there at the last look.
    pub fn left(&self) -> &[Process] {
        &self.left
    }
}

fn key(process: &Process) -> Key {
    (process.pid, process.start_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has which pid: start time and session (0 is none).
    type Pids = BTreeMap<u32, (u64, u64)>;

    /// A host in which pids are given again, to whom the test says.
    #[derive(Default)]
    struct Fake {
        pids: Pids,
        /// Called after each census, with how many there were.
        then: Option<fn(&mut Pids, u32)>,
        taken: u32,
        killed: Vec<(u32, u64)>,
        stubborn: bool,
    }

    impl Host for Fake {
        type Hold = (u32, u64);

        fn census(&mut self) -> io::Result<Vec<Living>> {
            let list = self
                .pids
                .iter()
                .filter(|(_, (_, session))| *session != 0)
                .map(|(pid, (start_ns, session))| Living {
                    session: *session,
                    process: Process {
                        pid: *pid,
                        start_ns: *start_ns,
                        ..Process::UNKNOWN
                    },
                    parent: Process::UNKNOWN,
                    tid: *pid,
                    reserved: 0,
                    last_ns: *start_ns,
                })
                .collect();
            self.taken += 1;
            if let Some(then) = self.then {
                then(&mut self.pids, self.taken);
            }
            Ok(list)
        }

        fn hold(&mut self, pid: u32) -> io::Result<Option<Self::Hold>> {
            Ok(self.pids.get(&pid).map(|(start, _)| (pid, *start)))
        }

        fn kill(&mut self, hold: &Self::Hold) -> io::Result<()> {
            self.killed.push(*hold);
            if !self.stubborn
                && self
                    .pids
                    .get(&hold.0)
                    .is_some_and(|found| found.0 == hold.1)
            {
                self.pids.remove(&hold.0);
            }
            Ok(())
        }
    }

    fn end(fake: &mut Fake) -> Kill<(u32, u64)> {
        let mut kill = Kill::of(7, None);
        for _ in 0..20 {
            if kill.step(fake).unwrap() {
                break;
            }
        }
        kill
    }

    #[test]
    fn a_session_is_killed_and_nobody_else() {
        let pids = [(10, (1, 7)), (11, (2, 8)), (12, (3, 0)), (13, (4, 7))];
        let mut fake = Fake {
            pids: pids.into(),
            ..Fake::default()
        };
        let kill = end(&mut fake);
        assert_eq!(fake.killed, [(10, 1), (13, 4)]);
        assert_eq!((kill.killed(), kill.left().len()), (2, 0));
        assert_eq!(kill.last_action(), 4, "the outsider's does not count");
        assert_eq!(fake.pids.into_keys().collect::<Vec<_>>(), [11, 12]);
    }

    #[test]
    fn an_outsider_that_got_the_pid_is_spared() {
        let mut fake = Fake {
            pids: [(10, (1, 7))].into(),
            then: Some(|pids, taken| {
                if taken == 1 {
                    pids.insert(10, (9, 0));
                }
            }),
            ..Fake::default()
        };
        end(&mut fake);
        assert!(fake.killed.is_empty(), "{:?}", fake.killed);
    }

    #[test]
    fn another_member_that_got_the_pid_is_killed_itself() {
        let mut fake = Fake {
            pids: [(10, (1, 7))].into(),
            then: Some(|pids, taken| {
                if taken == 1 {
                    pids.insert(10, (9, 7));
                }
            }),
            ..Fake::default()
        };
        end(&mut fake);
        assert_eq!(fake.killed, [(10, 9)]);
    }

    #[test]
    fn a_child_that_the_first_empty_walk_missed_is_found() {
        let mut fake = Fake {
            then: Some(|pids, taken| {
                if taken == 1 {
                    pids.insert(3, (5, 7));
                }
            }),
            ..Fake::default()
        };
        let kill = end(&mut fake);
        assert_eq!(fake.killed, [(3, 5)]);
        assert!(kill.left().is_empty());
    }

    #[test]
    fn who_does_not_die_is_named_and_not_killed_again() {
        let mut fake = Fake {
            pids: [(10, (1, 7))].into(),
            stubborn: true,
            ..Fake::default()
        };
        let kill = end(&mut fake);
        assert_eq!(fake.killed, [(10, 1)]);
        assert_eq!(
            kill.left().iter().map(|left| left.pid).collect::<Vec<_>>(),
            [10]
        );
    }
}
