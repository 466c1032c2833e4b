//! Acknowledging: a subscription's ledger and the task that sends what it allows.
//!
//! Owns the order of acknowledgements: one task a subscription sends them one after another,
//! because a run that overtakes a single one would name a tag twice. Refuses to know what a
//! message was. Read [`crate::logic::ledger`] next.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::route::Note;
use crate::bus::Control;
use crate::logic::ledger::{Ack, Ledger};

/// Bounds the end of a subscription.
const FINISH: Duration = Duration::from_secs(5);
/// What an operator is told when it was not enough.
const UNSURE: &str = "the last acknowledgements may be lost; some events may be repeated";

/// The ledger of one subscription, at work.
pub struct Acks {
    /// The subscription.
    pub generation: u64,
    control: Arc<dyn Control>,
    ledger: Ledger,
    began: Instant,
    sender: mpsc::UnboundedSender<Ack>,
    task: JoinHandle<()>,
    /// The acknowledgement that failed, in words.
    failed: Arc<OnceLock<String>>,
}

impl Acks {
    /// Starts the task for a subscription.
    #[must_use]
    pub fn start(generation: u64, control: Arc<dyn Control>) -> Self {
        // Bounded by the prefetch: each unacknowledged message is in it once at most.
        let (sender, receiver) = mpsc::unbounded_channel();
        let failed = Arc::default();
        let task = tokio::spawn(send_in_order(Arc::clone(&control), receiver, Arc::clone(&failed)));
        let (ledger, began) = (Ledger::new(), Instant::now());
        Self { generation, control, ledger, began, sender, task, failed }
    }

    /// The subscription's control.
    #[must_use]
    pub fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.control)
    }

    /// Takes a note; one of another generation says nothing to this ledger.
    pub fn take(&mut self, note: &Note) {
        match *note {
            Note::Routed { generation, tag, routes } if generation == self.generation => {
                self.ledger.received(tag, routes, self.now());
            }
            Note::Settled { generation, tag } if generation == self.generation => {
                self.ledger.settled(tag);
            }
            Note::Routed { .. } | Note::Settled { .. } | Note::Barrier(_) => {}
        }
    }

    /// Sends every acknowledgement that is due; returns how many messages they cover.
    pub fn flush(&mut self) -> usize {
        let before = self.ledger.outstanding();
        let due = self.ledger.acks(self.now());
        self.send(due);
        before - self.ledger.outstanding()
    }

    /// As [`Self::flush`], but holds nothing back: what is settled and not acknowledged when the
    /// subscription ends would be repeated.
    pub fn flush_all(&mut self) -> usize {
        let before = self.ledger.outstanding();
        let due = self.ledger.last_acks();
        self.send(due);
        before - self.ledger.outstanding()
    }

    fn send(&self, due: Vec<Ack>) {
        for ack in due {
            // The task ends only when the subscription is lost.
            let _ = self.sender.send(ack);
        }
    }

    /// An acknowledgement failed. Deliveries may go on, but none of them would ever be
    /// acknowledged: the subscription must be given up.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.task.is_finished()
    }

    /// The bus has taken back what is unacknowledged. Of a subscription that still delivers, its end
    /// says so too; a cancelled one has ended already.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_lost() || self.control.loss().is_some()
    }

    /// Why the subscription is lost, in words.
    #[must_use]
    pub fn why_lost(&self) -> String {
        let failed = || self.failed.get().cloned();
        self.control.loss().or_else(failed).unwrap_or_else(|| "its consumer ended".into())
    }

    /// How old the subscription is.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.now()
    }

    /// Messages that are not acknowledged.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.ledger.outstanding()
    }

    /// How long the oldest message that is not acknowledged has been known.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.ledger.oldest(self.now())
    }

    /// Ends when the bus has taken everything that was flushed; bounded to five seconds.
    pub async fn finish(self) {
        drop(self.sender);
        let taken = async {
            let _ = self.task.await;
            self.control.flush().await
        };
        match tokio::time::timeout(FINISH, taken).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "{UNSURE}"),
            Err(_) => tracing::warn!(error = "the bus does not answer", "{UNSURE}"),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

async fn send_in_order(
    control: Arc<dyn Control>,
    mut due: mpsc::UnboundedReceiver<Ack>,
    failed: Arc<OnceLock<String>>,
) {
    while let Some(ack) = due.recv().await {
        if let Err(error) = control.ack(ack.tag, ack.multiple).await {
            // Whoever holds the subscription tells it.
            tracing::debug!(%error, "acknowledging failed; the bus gives the messages out again");
            let _ = failed.set(error.to_string());
            return;
        }
    }
}
