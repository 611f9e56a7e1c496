//! What no session may do unless its policy names it (red team X6, X11, X12, F3, F4, F5, F12, P2, P3,
//! T1, T2, E3), whatever user it runs as.
//!
//! [`acts`] lists the acts, [`act`] tries one. What takes more than one act is in [`spaces`] (cgroups
//! and namespaces), [`enforcer`] (the daemon and its pins), [`ipc`] (System V) and [`home`] (what must go on working).

mod act;
mod acts;
mod enforcer;
mod home;
mod ipc;
mod spaces;

use crate::harness::Test;

pub(super) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = acts::ACTS
        .iter()
        .map(|act| {
            let shows = format!(
                "{} needs privilege {}, whoever the session runs as",
                act.act, act.needs[0]
            );
            Test::new(act.name, shows, || act::attempt(*act)).unless(act.unless)
        })
        .collect();
    tests.extend(spaces::tests());
    tests.extend(enforcer::tests());
    tests.extend(home::tests());
    tests.extend(ipc::tests());
    tests
}
