//! What systemd is told: that the daemon is ready, how it is, and that it still turns. Without systemd,
//! nobody is told anything.
//!
//! | thread | owns | ends when |
//! |---|---|---|
//! | systemd | the socket of systemd | with the process |
//!
//! A systemd that does not read must hold nothing up, so a thread of its own tells it, from a bounded queue.

use super::Health;
use sd_notify::NotifyState;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error};

/// How often the state is looked at where systemd does not watch.
const EVERY: Duration = Duration::from_secs(10);

/// What waits to be told at most; what finds no room is told again soon.
const QUEUE: usize = 8;

/// What systemd is told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Ready,
    Status(String),
    Alive,
}

/// The way to systemd.
pub struct Systemd {
    words: Option<SyncSender<Word>>,
}

impl Systemd {
    /// Begins to tell it, where there is one that wants to know.
    pub fn begin() -> io::Result<Self> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self { words: None });
        }
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("systemd".into());
        thread.spawn(move || tell_all(&receiver))?;
        Ok(Self {
            words: Some(sender),
        })
    }

    /// False where it could not be handed on.
    fn tell(&self, word: Word) -> bool {
        let handed_on = |words: &SyncSender<Word>| words.try_send(word).is_ok();
        self.words.as_ref().is_none_or(handed_on)
    }

    /// Says that the daemon is ready, how it is, and that it turns for as long as its loops do. One that
    /// stands still says nothing, and is killed and started anew by systemd.
    pub async fn keep(&self, health: &Health) -> io::Result<()> {
        self.tell(Word::Ready);
        // Three signs of life in the time in which systemd expects one.
        let every = sd_notify::watchdog_enabled().map_or(EVERY, |limit| limit / 3);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = String::new();
        loop {
            ticks.tick().await;
            let alive = health.pulses.check();
            let status = match (&alive, health.condition.readiness()) {
                (Err(stuck), _) => stuck.clone(),
                (Ok(()), Ok(ready)) => words(&ready),
                (Ok(()), Err(why)) => why,
            };
            if status != before {
                if alive.is_err() {
                    error!("STUCK: {status}");
                }
                if self.tell(Word::Status(status.clone())) {
                    before = status;
                }
            }
            if alive.is_ok() {
                self.tell(Word::Alive);
            }
        }
    }
}

fn tell_all(words: &Receiver<Word>) {
    for word in words {
        let state = match &word {
            Word::Ready => NotifyState::Ready,
            Word::Status(status) => NotifyState::Status(status),
            Word::Alive => NotifyState::Watchdog,
        };
        if let Err(error) = sd_notify::notify(&[state]) {
            debug!(%error, "systemd is not told");
        }
    }
}

/// Without the seconds, which would make news of each look.
fn words(ready: &str) -> String {
    let (state, rest) = ready.split_once(':').unwrap_or((ready, ""));
    let reason = rest.split_once(';').map_or("", |(_, reason)| reason);
    format!("{state}: the canary is denied each minute;{reason}")
        .trim_end_matches(';')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_no_news_each_second() {
        assert_eq!(
            words("ready: the canary was denied 3 s ago"),
            "ready: the canary is denied each minute"
        );
        assert_eq!(
            words("ready, degraded: the canary was denied 3 s ago; no BPF LSM"),
            "ready, degraded: the canary is denied each minute; no BPF LSM"
        );
    }
}
