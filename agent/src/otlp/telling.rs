//! The thread that tells the collector, in turns: events as they come, metrics at an interval.

use super::collector::{Collector, Refused, SendError};
use super::queue::{Attempt, Line, Stream, Waiting};
use super::settings::Bounds;
use super::{event, metric};
use crate::chain::chain;
use crate::daemon::urgent;
use crate::health::{Reading, Wanted};
use crate::pauses::Pauses;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use std::convert::Infallible;
use std::time::SystemTime;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tracing::warn;

/// Events in one message, and bytes of them: with the names of attributes it is up to three times as long, and
/// collectors take 4 MiB.
const BATCH: (usize, usize) = (512, 1 << 19);

/// Who tells.
pub(super) struct Telling {
    collector: Collector,
    waiting: Waiting,
    daemon: mpsc::Sender<Wanted>,
    /// Where its figures come, while it is asked for them.
    asked: Option<oneshot::Receiver<Reading>>,
    bounds: Bounds,
    batch: Batch,
    pauses: Pauses,
    /// When the batch may be tried again.
    again: Instant,
}

/// Events that are sent together. They keep their places in the queue until that is settled.
#[derive(Default)]
struct Batch {
    records: Vec<LogRecord>,
    places: Vec<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Telling {
    pub(super) fn new(
        collector: Collector,
        waiting: Waiting,
        daemon: mpsc::Sender<Wanted>,
        bounds: Bounds,
    ) -> Self {
        Self {
            collector,
            waiting,
            daemon,
            asked: None,
            bounds,
            batch: Batch::default(),
            pauses: Pauses::between(bounds.pauses.0, bounds.pauses.1),
            again: Instant::now(),
        }
    }

    /// Tells until it is ended, and then what is left, for as long as the end may take.
    pub(super) async fn run(mut self, ended: oneshot::Receiver<()>) {
        // What holds sessions goes before what tells of it.
        urgent::ask_for_no_more();
        tokio::select! {
            never = self.tell() => match never {},
            _ = ended => {}
        }
        let telling = timeout(self.bounds.end, self.tell_rest()).await;
        let events = self.waiting.shown.waiting();
        if events > 0 {
            let in_time = telling.is_ok();
            warn!(
                events,
                in_time, "the daemon ends, and the collector has not heard everything"
            );
        }
    }

    async fn tell(&mut self) -> Infallible {
        let mut metrics = tokio::time::interval(self.bounds.interval);
        metrics.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_empty = self.batch.records.is_empty();
            tokio::select! {
                _ = metrics.tick() => self.ask(),
                Some(reading) = answer(&mut self.asked) => self.tell_metrics(&reading).await,
                Some(line) = self.waiting.next(), if is_empty => {
                    self.batch.add(line);
                    self.batch.fill(&mut self.waiting);
                    self.tell_events().await;
                }
                () = sleep_until(self.again), if !is_empty => drop(self.tell_events().await),
            }
        }
    }

    /// What waits, until something is not taken.
    async fn tell_rest(&mut self) {
        loop {
            self.batch.fill(&mut self.waiting);
            if self.batch.records.is_empty() || !self.tell_events().await {
                return;
            }
        }
    }

    /// Tries the batch once. Says whether that is settled.
    async fn tell_events(&mut self) -> bool {
        let records = self.batch.records.clone();
        let count = records.len() as u64;
        let taken = self.collector.take_records(records).await;
        let refused = match &taken {
            Ok(refused) => refused.as_ref().map_or(0, |refused| refused.0.min(count)),
            Err(error) if error.is_final() => count,
            Err(_) => {
                self.again = Instant::now() + self.pauses.take();
                self.note(Stream::Events, taken);
                return false;
            }
        };
        self.batch = Batch::default();
        self.pauses.begin_anew();
        self.waiting.shown.settle(count - refused, refused);
        self.note(Stream::Events, taken);
        true
    }

    /// Asks the daemon for its figures. One that begins, ends or stands answers later, or never.
    fn ask(&mut self) {
        if self.asked.is_none() {
            let (wanted, asked) = oneshot::channel();
            self.asked = self.daemon.try_send(wanted).is_ok().then_some(asked);
        }
    }

    /// Tells all figures. They are sums and states: what is not taken now is in the next.
    async fn tell_metrics(&mut self, reading: &Reading) {
        let metrics = metric::metrics(reading, SystemTime::now());
        let taken = self.collector.take_metrics(metrics).await;
        self.note(Stream::Metrics, taken);
    }

    fn note(&self, stream: Stream, sent: Result<Refused, SendError>) {
        let parts = stream.parts();
        let taken = sent.is_ok();
        let error = match sent {
            Ok(refused) => {
                refused.map(|(count, why)| format!("{count} {parts} were refused: {why}"))
            }
            Err(error) => Some(chain(error)),
        };
        let attempt = Attempt { taken, error };
        self.waiting.shown.note(stream, attempt);
    }
}

/// The daemon's figures, when it has said them; nothing where it will not.
async fn answer(asked: &mut Option<oneshot::Receiver<Reading>>) -> Option<Reading> {
    let Some(reading) = asked else {
        return std::future::pending().await;
    };
    let reading = reading.await.ok();
    *asked = None;
    reading
}

impl Batch {
    fn add(&mut self, line: Line) {
        self.records.push(event::record(&line));
        self.bytes += line.text.len();
        self.places.push(line.place);
    }

    /// Takes what waits, as far as it fits.
    fn fill(&mut self, waiting: &mut Waiting) {
        while self.records.len() < BATCH.0 && self.bytes < BATCH.1 {
            match waiting.next_now() {
                Some(line) => self.add(line),
                None => return,
            }
        }
    }
}
