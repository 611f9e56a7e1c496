//! The kernel programs.
//!
//! The way of an action: a hook in [`connect`] learns who acts ([`kernel::task`]) and where to
//! ([`kernel::socket`]), and passes both to [`judge`], which finds the rule, asks
//! `agent_common::decide::decide`, counts, and tells user space ([`tell`]) what was not allowed.
//! The hooks in [`privilege`], [`capable`], [`reach`], [`ipc`] and [`special`] hold what no rule speaks of:
//! acts that reach other processes or the kernel itself.
//! Which kinds of sockets there are at all, [`kinds`] judges, and who may come to them, [`listen`].
//! The hooks in [`files`] hold files to their rules, which [`kernel::path`] finds and [`paths`] judges.
//! The programs in [`lifecycle`] keep the label on every task of a session; those in [`recognise`]
//! put it on whoever begins one without being started as one.
//!
//! The programs in [`sockets`] put it on sockets, and those in [`packet`] look at it when the session
//! has been revoked.
//!
//! A task outside every session leaves each program after one look at its label.

#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    reason = "the linker finds the programs and maps, not Rust"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "aya's macros hand a program its context by value"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "every cast is of a number that was made to fit, and a check would cost instructions"
)]
#![feature(asm_experimental_arch)]

mod capable;
mod census;
mod connect;
mod credentials;
mod divert;
mod exec;
mod files;
mod ipc;
mod judge;
mod kernel;
mod kinds;
mod lifecycle;
mod listen;
mod maps;
mod packet;
mod paths;
mod privilege;
mod reach;
mod recognise;
mod send;
mod sockets;
mod special;
mod tell;
mod unix;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an object in which this can be reached.
    loop {}
}
