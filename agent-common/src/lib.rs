//! What kernel programs and user space must agree on, and nothing else.
//!
//! Everything here is `no_std`, allocation-free and panic-free, because the same code is compiled
//! into the kernel programs. The way of an action through this crate: a hook builds an
//! [`egress::Endpoint`] (or another object), finds the [`decide::Rule`]s that speak of it, has
//! a [`decide::Weighing`] consider them, and tells user space with an [`event`].

#![no_std]

pub mod abi;
pub mod action;
pub mod argument;
pub mod counter;
pub mod decide;
pub mod divert;
pub mod egress;
pub mod event;
pub mod hold;
pub mod names;
pub mod path;
pub mod policy;
pub mod privilege;
pub mod recognise;
pub mod session;
pub mod short;
pub mod socket;
pub mod terms;
pub mod uses;
pub mod wire;
