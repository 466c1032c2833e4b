//! Publishing without losing a message, and fast.
//!
//! Owns the pipelining of confirmed publishes. A message counts as taken when RabbitMQ has
//! confirmed it and has not returned it. Refuses to repeat anything: after an error the caller
//! publishes again. Read [`super::keeper`] next.
//!
//! Lapin hands a returned message to whichever confirm arrives next, not to the confirm of that
//! message; and with two tasks on one channel it may mix up whose confirm is whose. Therefore each
//! channel (a lane) belongs to one task and takes a batch at a time: it publishes all of it, waits
//! for every confirm, and only then says which messages were returned, by exchange and routing
//! key. Several lanes keep the connection busy meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::keeper::Kept;
use super::{Link, LinkError, LinkState, bounded};
use crate::domain::delivery::Properties;

/// How messages are published on one link.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    /// Channels side by side.
    pub lanes: usize,
    /// Messages on each of them at once. `lanes` times `batch` is the window.
    pub batch: usize,
    /// A confirm that takes longer ends the connection.
    pub confirm_timeout: Duration,
    /// Whether the confirms' clocks stand still while RabbitMQ takes no publishes. Else what is
    /// under way then fails in time, and may have been taken all the same.
    pub patient: bool,
}

/// One message to publish. It is always mandatory.
#[derive(Clone, Debug)]
pub struct Publication {
    /// To this exchange.
    pub exchange: ShortString,
    /// With this routing key.
    pub routing_key: ShortString,
    /// With these properties, as they are.
    pub properties: Properties,
    /// These bytes.
    pub body: Bytes,
}

impl Publication {
    /// A message for an exchange.
    ///
    /// # Errors
    /// [`LinkError::Illegal`] when a name is longer than AMQP's 255 bytes.
    pub fn new(
        exchange: &str,
        routing_key: &str,
        properties: Properties,
        body: Bytes,
    ) -> Result<Self, LinkError> {
        let short = |what: &str, text: &str| {
            ShortString::try_new(text.to_owned())
                .ok()
                .ok_or_else(|| LinkError::Illegal(format!("the {what} is longer than 255 bytes")))
        };
        let exchange = short("exchange's name", exchange)?;
        Ok(Self { exchange, routing_key: short("routing key", routing_key)?, properties, body })
    }
}

/// How long lapin may take to notice that its connection was cut.
const CUT_TIMEOUT: Duration = Duration::from_secs(2);

type Reply = Result<(), LinkError>;

struct Job {
    publication: Publication,
    reply: oneshot::Sender<Reply>,
}

/// The lanes of one link.
pub struct Lanes {
    link: Arc<Link>,
    jobs: mpsc::Sender<Job>,
    patience: Duration,
}

impl Lanes {
    /// Opens the lanes of a link. They work on the current tokio runtime.
    #[must_use]
    pub fn open(link: Link, settings: LaneSettings) -> Self {
        let link = Arc::new(link);
        let (jobs, queue) = mpsc::channel(settings.lanes * settings.batch);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..settings.lanes {
            let state = link.state();
            let lane = Lane { link: link.clone(), state, settings, channel: None };
            tokio::spawn(lane.run(queue.clone()));
        }
        Self { link, jobs, patience: settings.confirm_timeout }
    }

    /// The link that they are on.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Publishes one message and waits until RabbitMQ has it.
    ///
    /// # Errors
    /// [`LinkError::Blocked`] when nothing was sent because RabbitMQ took no publishes for the
    /// whole confirm timeout; [`LinkError::Returned`], [`LinkError::Nack`] or
    /// [`LinkError::Reply`] when it refused; else the message may have been taken or not.
    pub async fn publish(&self, publication: Publication) -> Result<(), LinkError> {
        let gone = || LinkError::Lost("the connection was lost".into());
        let (reply, answer) = oneshot::channel();
        let room = tokio::select! {
            room = self.jobs.reserve() => room.map_err(|_| gone())?,
            reason = blocked_for(self.link.state(), self.patience) => {
                return Err(LinkError::Blocked(reason));
            }
        };
        room.send(Job { publication, reply });
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Kept for Lanes {
    fn alive(&self) -> bool {
        self.link.alive() && !self.jobs.is_closed()
    }
}

/// Ends, with the reason, when a link has been blocked for so long without a break.
async fn blocked_for(mut state: watch::Receiver<LinkState>, patience: Duration) -> String {
    let reason_in = |state: &LinkState| match state {
        LinkState::Blocked(reason) => Some(reason.clone()),
        LinkState::Open | LinkState::Gone => None,
    };
    loop {
        let seen = state.wait_for(|state| reason_in(state).is_some()).await;
        let Some(reason) = seen.ok().and_then(|state| reason_in(&state)) else {
            return std::future::pending().await;
        };
        let unblocked = state.wait_for(|state| reason_in(state).is_none());
        if tokio::time::timeout(patience, unblocked).await.is_err() {
            return reason;
        }
    }
}

struct Lane {
    link: Arc<Link>,
    state: watch::Receiver<LinkState>,
    settings: LaneSettings,
    channel: Option<Channel>,
}

impl Lane {
    async fn run(mut self, queue: Arc<Mutex<mpsc::Receiver<Job>>>) {
        let mut batch = Vec::new();
        loop {
            let limit = self.settings.batch;
            if queue.lock().await.recv_many(&mut batch, limit).await == 0 {
                return;
            }
            // Nobody waits for these any more.
            batch.retain(|job: &Job| !job.reply.is_closed());
            self.serve(std::mem::take(&mut batch)).await;
            if !self.link.alive() {
                // What is still queued is told so by the queue's end.
                queue.lock().await.close();
                return;
            }
        }
    }

    async fn serve(&mut self, batch: Vec<Job>) {
        let ready = match self.unblocked().await {
            Ok(()) => self.channel().await,
            Err(error) => Err(error),
        };
        let (publications, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| (job.publication, job.reply)).unzip();
        let results = match ready {
            Ok(channel) => self.publish(&channel, publications).await,
            Err(error) => vec![Err(error); replies.len()],
        };
        for (reply, result) in replies.into_iter().zip(results) {
            // Who has given up waiting does not want to know.
            let _ = reply.send(result);
        }
    }

    async fn unblocked(&mut self) -> Reply {
        let patience = self.settings.confirm_timeout;
        let reason = match &*self.state.borrow() {
            LinkState::Blocked(reason) => reason.clone(),
            LinkState::Open | LinkState::Gone => return Ok(()),
        };
        let unblocked = self.state.wait_for(|state| !matches!(state, LinkState::Blocked(_)));
        match tokio::time::timeout(patience, unblocked).await {
            Ok(_) => Ok(()),
            Err(_) => Err(LinkError::Blocked(reason)),
        }
    }

    async fn channel(&mut self) -> Result<Channel, LinkError> {
        if let Some(channel) = self.channel.take().filter(|c| c.status().connected()) {
            self.channel = Some(channel.clone());
            return Ok(channel);
        }
        let timeout = self.settings.confirm_timeout;
        let opened = async {
            let channel = self.link.channel(timeout).await?;
            bounded(timeout, channel.confirm_select(ConfirmSelectOptions::default())).await?;
            Ok(channel)
        };
        let channel = opened.await.inspect_err(|error| self.cut_if_silent(error))?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    fn cut_if_silent(&self, error: &LinkError) {
        if matches!(error, LinkError::Timeout(_)) {
            self.link.cut();
        }
    }

    async fn publish(&mut self, channel: &Channel, batch: Vec<Publication>) -> Vec<Reply> {
        let labels: Vec<Label> = batch.iter().map(Label::of).collect();
        let sending = join_all(batch.into_iter().map(|publication| send(channel, publication)));
        futures_util::pin_mut!(sending);
        if let Some(answers) = self.clocked(&mut sending).await {
            return judge(&labels, answers);
        }
        // Once the connection is cut every confirm is decided, and those that had come count.
        self.link.cut();
        let late = LinkError::Timeout(self.settings.confirm_timeout);
        match tokio::time::timeout(CUT_TIMEOUT, sending).await {
            Ok(answers) => {
                let unknown = |reply: Reply| reply.map_err(|error| error.or_late(&late));
                judge(&labels, answers).into_iter().map(unknown).collect()
            }
            Err(_) => vec![Err(late); labels.len()],
        }
    }

    /// Waits for all confirms, by a clock that may stand still while the link is blocked.
    async fn clocked<T>(&mut self, mut work: impl Future<Output = T> + Unpin) -> Option<T> {
        let mut left = self.settings.confirm_timeout;
        let mut watched = true;
        loop {
            let still = self.settings.patient
                && matches!(*self.state.borrow_and_update(), LinkState::Blocked(_));
            let started = Instant::now();
            tokio::select! {
                done = &mut work => return Some(done),
                () = tokio::time::sleep(left), if !still => return None,
                changed = self.state.changed(), if watched => watched = changed.is_ok(),
            }
            if !still {
                left = left.saturating_sub(started.elapsed());
            }
        }
    }
}

impl LinkError {
    /// `late` instead of what cutting the connection made of an answer that had not come.
    fn or_late(self, late: &Self) -> Self {
        match self {
            Self::Io(_) | Self::Lost(_) => late.clone(),
            told => told,
        }
    }
}

async fn send(channel: &Channel, publication: Publication) -> lapin::Result<Confirmation> {
    let Publication { exchange, routing_key, properties, body } = publication;
    let mandatory = BasicPublishOptions { mandatory: true, immediate: false };
    channel.basic_publish(exchange, routing_key, mandatory, &body, properties).await?.await
}

/// What is remembered of a message while it is under way.
struct Label {
    exchange: ShortString,
    routing_key: ShortString,
    size: usize,
}

impl Label {
    fn of(publication: &Publication) -> Self {
        let Publication { exchange, routing_key, body, .. } = publication;
        Self { exchange: exchange.clone(), routing_key: routing_key.clone(), size: body.len() }
    }

    /// Whether RabbitMQ, closing the channel, speaks of this message.
    fn is_meant_by(&self, code: u16, text: &str) -> bool {
        match code {
            406 => text.contains(&format!("message size {} ", self.size)),
            _ => text.contains(&format!("exchange '{}' ", self.exchange)),
        }
    }
}

/// Who of a batch was taken. Every confirm is in: so every return is, on whichever of them.
fn judge(labels: &[Label], answers: Vec<lapin::Result<Confirmation>>) -> Vec<Reply> {
    let mut returned = Vec::new();
    let taken: Vec<Reply> = answers
        .into_iter()
        .map(|answer| {
            let (reply, message) = match answer.map_err(LinkError::from)? {
                Confirmation::Ack(message) => (Ok(()), message),
                Confirmation::Nack(message) => (Err(LinkError::Nack), message),
                Confirmation::NotRequested => {
                    (Err(LinkError::Lost("confirms are off".into())), None)
                }
            };
            returned.extend(message.map(|m| m.delivery).map(|m| (m.exchange, m.routing_key)));
            reply
        })
        .collect();
    let alone = labels.len() == 1;
    let one = |(label, reply): (&Label, Reply)| {
        if returned.iter().any(|(e, k)| *e == label.exchange && *k == label.routing_key) {
            let (exchange, routing_key) =
                (label.exchange.to_string(), label.routing_key.to_string());
            return Err(LinkError::Returned { exchange, routing_key });
        }
        match reply {
            Err(LinkError::Reply { code, ref text })
                if code < 500 && !alone && code != 320 && !label.is_meant_by(code, text) =>
            {
                Err(LinkError::Lost(format!("another message closed the channel: {text}")))
            }
            reply => reply,
        }
    };
    labels.iter().zip(taken).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(exchange: &str, size: usize) -> Label {
        Label { exchange: exchange.into(), routing_key: "k".into(), size }
    }

    #[test]
    fn a_closed_channel_names_the_message_that_closed_it() {
        for (code, text, exchange, size, meant) in [
            (404, "NOT_FOUND - no exchange 'a b' in vhost '/'", "a b", 1, true),
            (404, "NOT_FOUND - no exchange 'a b' in vhost '/'", "a", 1, false),
            (403, "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused", "x", 1, true),
            (406, "PRECONDITION_FAILED - message size 99 is larger than 50", "x", 99, true),
            (406, "PRECONDITION_FAILED - message size 99 is larger than 50", "x", 9, false),
        ] {
            assert_eq!(label(exchange, size).is_meant_by(code, text), meant, "{text}: {exchange}");
        }
    }

    #[test]
    fn a_nack_is_that_messages_alone() {
        let answers = vec![Ok(Confirmation::Ack(None)), Ok(Confirmation::Nack(None))];
        let replies = judge(&[label("a", 1), label("b", 1)], answers);
        assert_eq!(replies, [Ok(()), Err(LinkError::Nack)]);
    }

    #[test]
    fn names_longer_than_amqp_allows_are_illegal() {
        let make = |exchange: &str, key: &str| {
            Publication::new(exchange, key, Properties::default(), Bytes::new())
        };
        let long = "x".repeat(256);
        assert!(make("e", "k").is_ok());
        assert!(matches!(make(&long, "k"), Err(LinkError::Illegal(_))));
        assert!(matches!(make("e", &long), Err(LinkError::Illegal(_))));
    }
}
