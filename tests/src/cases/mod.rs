//! The tests, one file a family.

mod adopted;
mod arguments;
mod bad_input;
mod canary;
mod chain;
mod clients;
mod command;
mod denials;
mod differential;
mod egress;
mod evidence;
mod exec;
mod explained;
mod files;
mod full;
mod inherit;
mod label;
mod life_end;
mod life_revoke;
mod life_show;
mod listen;
mod loss;
mod privilege;
mod profiles;
mod recognise;
mod red_code;
mod red_enforcer;
mod red_files;
mod red_network;
mod red_others;
mod red_precedence;
mod red_words;
mod replay;
mod revoke_all;
mod revoke_sockets;
pub(crate) mod revoke_streams;
mod rules;
mod send;
mod sockets;
mod swap;
mod takeover;
mod tools;
mod unix;
mod workout;

use crate::harness::Test;

/// Every test, in the order in which they run: those that share a daemon first.
pub(crate) fn all() -> Vec<Test> {
    let mut tests = Vec::new();
    tests.extend(egress::tests());
    tests.extend(of_one_kernel(rules::tests()));
    tests.extend(exec::tests());
    tests.extend(arguments::tests());
    tests.extend(tools::tests());
    tests.extend(of_one_kernel(profiles::tests()));
    tests.extend(of_one_kernel(chain::tests()));
    tests.extend(of_one_kernel(replay::tests()));
    tests.extend(files::tests());
    tests.extend(red_code::tests());
    tests.extend(red_files::tests());
    tests.extend(red_others::tests());
    tests.extend(red_enforcer::tests());
    tests.extend(red_precedence::tests());
    tests.extend(red_words::tests());
    tests.extend(unix::tests());
    tests.extend(sockets::tests());
    tests.extend(listen::tests());
    tests.extend(send::tests());
    tests.extend(differential::tests());
    tests.extend(red_network::tests());
    tests.extend(inherit::tests());
    tests.extend(label::tests());
    tests.extend(of_one_kernel(command::tests()));
    tests.extend(life_revoke::tests());
    tests.extend(revoke_sockets::tests());
    tests.extend(revoke_streams::tests());
    tests.extend(of_one_kernel(revoke_all::tests()));
    tests.extend(life_end::tests());
    tests.extend(of_one_kernel(life_show::tests()));
    tests.extend(of_one_kernel(denials::tests()));
    tests.extend(of_one_kernel(explained::tests()));
    tests.extend(of_one_kernel(bad_input::tests()));
    tests.extend(of_one_kernel(clients::tests()));
    tests.extend(privilege::tests());
    tests.extend(full::tests());
    tests.extend(swap::tests());
    tests.extend(loss::tests());
    tests.extend(takeover::tests());
    tests.extend(evidence::tests());
    tests.extend(canary::tests());
    tests.extend(recognise::tests());
    tests.extend(adopted::tests());
    tests.extend(workout::tests());
    tests
}

/// Tests that show the same on every kernel: of user space, or of what the one decision function says.
fn of_one_kernel(tests: Vec<Test>) -> impl Iterator<Item = Test> {
    tests.into_iter().map(Test::of_one_kernel)
}
