//! The harness: runs tests one by one, each in a process of its own, against the real product.
//!
//! [`runner`] starts a child for each test and judges it by exit code and time; the child uses
//! [`product`] to start daemon and sessions, [`events`] to read what was told, [`policy`] to write
//! policies, [`network`] for addresses and servers. What the product's output looks like is known
//! to `product` and `events` alone.

pub(crate) mod another;
pub(crate) mod api_server;
pub(crate) mod collector;
pub(crate) mod controller;
pub(crate) mod cri;
pub(crate) mod engines;
pub(crate) mod events;
pub(crate) mod freeze;
pub(crate) mod given;
pub(crate) mod health;
pub(crate) mod holds;
pub(crate) mod image;
pub(crate) mod kernel;
pub(crate) mod network;
pub(crate) mod pods;
pub(crate) mod policy;
pub(crate) mod product;
pub(crate) mod receiver;
pub(crate) mod replay;
pub(crate) mod runner;
pub(crate) mod runtime;
pub(crate) mod servers;
pub(crate) mod session;
pub(crate) mod steps;

use anyhow::Result;
use std::time::Duration;

/// Tells whether a test has something to test here: nothing, or why not.
pub(crate) type Unless = fn() -> Option<String>;

/// One test.
pub(crate) struct Test {
    /// Family and name, such as `egress.udp`.
    pub(crate) name: String,
    /// What it shows, in a sentence.
    pub(crate) shows: String,
    /// Why this kernel cannot run it, if it cannot.
    pub(crate) unless: Unless,
    /// How long it may take.
    pub(crate) patience: Duration,
    /// Whether it takes everything out of the kernel.
    pub(crate) removes: bool,
    /// The test itself.
    pub(crate) run: Box<dyn Fn() -> Result<()>>,
}

impl Test {
    /// A test that every kernel can run.
    pub(crate) fn new(
        name: impl Into<String>,
        shows: impl Into<String>,
        run: impl Fn() -> Result<()> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            shows: shows.into(),
            unless: || None,
            patience: Duration::from_secs(240),
            removes: false,
            run: Box::new(run),
        }
    }

    /// The same test with more time.
    pub(crate) fn patience(mut self, seconds: u64) -> Self {
        self.patience = Duration::from_secs(seconds);
        self
    }

    /// The same test, which takes everything out of the kernel: it runs after those that share a daemon, for to load it
    /// again takes most of a minute.
    pub(crate) fn removes(mut self) -> Self {
        self.removes = true;
        self
    }

    /// The same test, skipped where the kernel cannot.
    pub(crate) fn unless(mut self, unless: Unless) -> Self {
        self.unless = unless;
        self
    }
}
