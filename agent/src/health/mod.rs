//! How the daemon is, for whoever asks from outside: Prometheus, a kubelet, systemd.
//!
//! | thread | owns | ends when |
//! |---|---|---|
//! | health | the HTTP server, what was read last | with the process |
//!
//! A thread of its own with a runtime of its own: a flood of requests holds up nothing else, and a daemon that
//! is stuck still says so. What is shared is small: [`Pulses`], which the daemon's loops beat, and
//! [`Condition`], which the canary writes. Metrics are read by the daemon itself, when they are asked for
//! and at most once a second: the thread asks by a channel, and the daemon answers with a [`Reading`].

pub mod condition;
pub mod metrics;
pub mod pulse;
pub mod reading;
pub mod server;
pub mod starts;
pub mod tally;
pub mod watchdog;

pub use condition::Condition;
pub use pulse::{Loop, Pulse, Pulses};
pub use reading::Reading;
pub use starts::Starts;
use std::net::SocketAddr;
use tokio::sync::{mpsc, oneshot};

/// How the daemon shows how it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where metrics, liveness and readiness are served; nothing for nowhere.
    pub address: Option<SocketAddr>,
    /// Whether the kernel measures how long each program runs, which costs every program of the host.
    pub hook_times: bool,
}

/// What all threads know of how the daemon is.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Which loops turn.
    pub pulses: Pulses,
    /// Whether the canary was denied.
    pub condition: Condition,
}

/// Somebody wants to know all figures: the thread above, or the one that sends them to a collector.
pub type Wanted = oneshot::Sender<Reading>;

/// Where such wishes come in, one at a time.
pub fn wishes() -> (mpsc::Sender<Wanted>, mpsc::Receiver<Wanted>) {
    mpsc::channel(1)
}
