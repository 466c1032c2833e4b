//! One lasting connection, from dialling to its loss.
//!
//! Owns the task that drives the library's event loop, and tells everybody in flight what became
//! of their publishes. Refuses to connect anew: a link that is down stays down, and nothing that
//! was in flight is ever replayed. Read [`super::persistent`] next, and [`super::flight`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use rumqttc::{AsyncClient, Event, EventLoop, Outgoing as Sent, Packet, QoS};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::dial::Dialer;
use super::failure;
use super::flight::{Flight, IDENTIFIERS, Waiter};
use crate::domain::delivery::Failure;
use crate::logic::attempt_log::Step;
use crate::logic::classify::mqtt;
use crate::transport::timeline::Timeline;

/// Requests that the event loop has not taken yet: all that may be in flight, and a goodbye.
const REQUESTS: usize = super::MAX_PIPELINED as usize + 1;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Where a connection stands. It only moves forward.
#[derive(Clone, Debug)]
enum Phase {
    /// Before the first dial after a loss.
    Pausing,
    Dialling,
    Up,
    Down {
        failure: Failure,
        since: Instant,
    },
}

/// One connection. Dropping it ends it.
pub(super) struct Link {
    dialer: Rc<Dialer>,
    client: AsyncClient,
    line: Rc<Line>,
    task: JoinHandle<()>,
}

/// What a link and its task share.
struct Line {
    phase: watch::Sender<Phase>,
    flight: RefCell<Flight>,
    /// Told whenever an identifier has become free.
    freed: Notify,
    /// The broker has acknowledged at least one publish.
    proven: Cell<bool>,
}

impl Link {
    /// Starts to dial, after a delay.
    pub(super) fn open(dialer: &Rc<Dialer>, delay: Duration) -> Self {
        let (client, mut events) = dialer.client(IDENTIFIERS, REQUESTS);
        let line = Rc::new(Line {
            phase: watch::Sender::new(Phase::Pausing),
            flight: RefCell::default(),
            freed: Notify::new(),
            proven: Cell::new(false),
        });
        let task = {
            let (dialer, end) = (Rc::clone(dialer), End(Rc::clone(&line)));
            actix_rt::spawn(async move {
                sleep(delay).await;
                end.0.phase.send_replace(Phase::Dialling);
                let failure = end.0.run(&dialer, &mut events).await;
                end.0.lose(failure);
            })
        };
        Self { dialer: Rc::clone(dialer), client, line, task }
    }

    /// Why and when the connection ended, if it has; whether it was of any use.
    pub(super) fn ended(&self) -> Option<(Failure, Instant, bool)> {
        match &*self.line.phase.borrow() {
            Phase::Down { failure, since } => {
                Some((failure.clone(), *since, self.line.proven.get()))
            }
            Phase::Pausing | Phase::Dialling | Phase::Up => None,
        }
    }

    /// Whether it has not even begun to dial.
    pub(super) fn pausing(&self) -> bool {
        matches!(*self.line.phase.borrow(), Phase::Pausing)
    }

    /// Waits until the connection is up.
    ///
    /// # Errors
    /// When it came to nothing.
    pub(super) async fn up(&self) -> Result<(), Failure> {
        let mut phase = self.line.phase.subscribe();
        let settled = |phase: &Phase| matches!(phase, Phase::Up | Phase::Down { .. });
        match phase.wait_for(settled).await.as_deref() {
            Ok(Phase::Down { failure, .. }) => Err(failure.clone()),
            Ok(Phase::Up | Phase::Pausing | Phase::Dialling) => Ok(()),
            Err(_) => Err(self.closed()),
        }
    }

    /// Publishes, and waits for PUBCOMP. The caller sets the time; who gives up must
    /// [`Self::abandon`] the link, since the library cannot take a publish back.
    ///
    /// # Errors
    /// When the connection ended first.
    pub(super) async fn publish(
        &self,
        topic: String,
        body: Bytes,
        place: OwnedSemaphorePermit,
    ) -> Result<(), Failure> {
        loop {
            if let Some((failure, ..)) = self.ended() {
                return Err(failure);
            }
            if self.line.flight.borrow().next_is_free() {
                break;
            }
            self.line.freed.notified().await;
        }
        let timeline = Timeline::current();
        if let Some(timeline) = &timeline {
            timeline.begin(Step::Publish);
        }
        // No await from here until the library has it: its order is the order of the waiters.
        let (answer, wait) = oneshot::channel();
        self.line.flight.borrow_mut().submit(Waiter { answer, place: Some(place), timeline });
        let request = self.client.publish_bytes(topic, QoS::ExactlyOnce, self.dialer.retain, body);
        if !matches!(request.now_or_never(), Some(Ok(()))) {
            // There is room for all that may be in flight: the event loop is gone.
            self.abandon(self.closed());
        }
        wait.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Ends the connection at once. What is in flight fails.
    pub(super) fn abandon(&self, failure: Failure) {
        self.line.lose(failure);
        self.task.abort();
    }

    /// Says DISCONNECT where that is possible, then ends the connection. What is in flight fails.
    pub(super) async fn close(&self) {
        let up = matches!(*self.line.phase.borrow(), Phase::Up);
        if up && self.client.try_disconnect().is_ok() {
            let mut phase = self.line.phase.subscribe();
            let down = phase.wait_for(|phase| matches!(phase, Phase::Down { .. }));
            // Whether it was said in time changes nothing.
            let _ = timeout(GOODBYE, down).await;
        }
        self.abandon(self.closed());
    }

    /// The failure of what was in flight beside a publish that had no answer in time.
    pub(super) fn silent(&self) -> Failure {
        mqtt::lost(&self.dialer.target, "the broker left a publish unanswered")
    }

    fn closed(&self) -> Failure {
        mqtt::lost(&self.dialer.target, "closed by lockgate")
    }
}

/// However the task ends, by a panic too: nobody waits for it any longer.
struct End(Rc<Line>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.lose(mqtt::lost("the broker", "the connection's task has ended"));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    /// Connects, then drives the connection to its end.
    async fn run(&self, dialer: &Dialer, events: &mut EventLoop) -> Failure {
        match timeout(dialer.connect_timeout, dialer.connect(events)).await {
            Err(_) => return dialer.connect_timed_out(),
            Ok(Err(failure)) => return failure,
            Ok(Ok(())) => {}
        }
        self.phase.send_replace(Phase::Up);
        loop {
            match events.poll().await {
                Ok(Event::Outgoing(Sent::Disconnect)) => {
                    return mqtt::lost(&dialer.target, "closed by lockgate");
                }
                Ok(event) => self.note(&event),
                Err(error) => {
                    // What was read together with the end of the connection still counts.
                    for event in events.state.events.drain(..) {
                        self.note(&event);
                    }
                    return failure::connected(&error, &dialer.target);
                }
            }
        }
    }

    fn note(&self, event: &Event) {
        match event {
            Event::Outgoing(Sent::Publish(identifier)) => {
                self.flight.borrow_mut().sent(*identifier);
            }
            Event::Incoming(Packet::PubRec(received)) => {
                self.flight.borrow().received(received.pkid);
            }
            Event::Incoming(Packet::PubComp(end)) => {
                self.flight.borrow_mut().completed(end.pkid);
                self.proven.set(true);
                self.freed.notify_waiters();
            }
            _ => {}
        }
    }

    /// The end of the connection, unless it has ended already.
    fn lose(&self, failure: Failure) {
        let since = Instant::now();
        self.flight.borrow_mut().lose(&failure);
        self.phase.send_if_modified(|phase| {
            let first = !matches!(phase, Phase::Down { .. });
            if first {
                *phase = Phase::Down { failure, since };
            }
            first
        });
        self.freed.notify_waiters();
    }
}
