//! A session per event: connect, publish one message, disconnect.
//!
//! Owns one attempt from CONNECT to DISCONNECT. Refuses to try again. Read
//! [`super::persistent`] for the other kind of session.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use rumqttc::{AsyncClient, Event, EventLoop, Outgoing as Sent, Packet, QoS};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::dial::Dialer;
use super::failure;
use crate::domain::delivery::{Failure, Outcome, Outgoing};
use crate::logic::attempt_log::Step;
use crate::logic::classify;
use crate::transport::{Publisher, timeline};

/// How long a goodbye may take. The event is delivered by then, whatever comes of it.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);
/// One publish and one disconnect.
const REQUESTS: usize = 2;

/// Publishes each event over a connection of its own.
pub(super) struct PerEvent {
    dialer: Dialer,
    /// One for each simultaneous connection. Who finds none waits within the connect timeout.
    places: Semaphore,
}

impl PerEvent {
    pub(super) fn new(dialer: Dialer, places: u16) -> Self {
        Self { dialer, places: Semaphore::new(places.into()) }
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        timeline::begin(Step::Queue);
        self.places.acquire().await
    }

    async fn attempt(&self, outgoing: &Outgoing) -> Result<(), Failure> {
        let (topic, body) = self.dialer.admit(outgoing)?;
        let connecting = async {
            let place = self.place().await;
            timeline::begin(Step::Connect);
            let (client, mut events) = self.dialer.client(1, REQUESTS);
            self.dialer.connect(&mut events).await.map(|()| (place, client, events))
        };
        let (_place, client, mut events) = timeout(self.dialer.connect_timeout, connecting)
            .await
            .map_err(|_| self.dialer.connect_timed_out())??;
        let publishing = async {
            timeline::begin(Step::Publish);
            let target = &self.dialer.target;
            client
                .publish_bytes(topic, QoS::ExactlyOnce, self.dialer.retain, body)
                .await
                .map_err(|_| classify::mqtt::lost(target, "closed by lockgate"))?;
            completed(&mut events).await.map_err(|error| failure::connected(&error, target))
        };
        timeout(self.dialer.publish_timeout, publishing)
            .await
            .map_err(|_| self.dialer.publish_timed_out())??;
        timeline::end();
        // Delivered. What becomes of the goodbye changes nothing.
        let _ = timeout(GOODBYE, goodbye(&client, &mut events)).await;
        Ok(())
    }
}

/// Waits for PUBCOMP.
async fn completed(events: &mut EventLoop) -> Result<(), Box<rumqttc::ConnectionError>> {
    let is_end = |event: &Event| matches!(event, Event::Incoming(Packet::PubComp(_)));
    loop {
        match events.poll().await {
            Ok(event) if is_end(&event) => return Ok(()),
            Ok(Event::Outgoing(Sent::Publish(_))) => timeline::begin(Step::Pubrec),
            Ok(Event::Incoming(Packet::PubRec(_))) => timeline::begin(Step::Pubcomp),
            Ok(_) => {}
            // What was read together with the end of the connection still counts.
            Err(_) if events.state.events.iter().any(is_end) => return Ok(()),
            Err(error) => return Err(Box::new(error)),
        }
    }
}

/// Says DISCONNECT, and returns when it is on the wire or the connection is gone.
pub(super) async fn goodbye(client: &AsyncClient, events: &mut EventLoop) {
    if client.try_disconnect().is_err() {
        return;
    }
    while let Ok(event) = events.poll().await {
        if event == Event::Outgoing(Sent::Disconnect) {
            return;
        }
    }
}

impl Publisher for PerEvent {
    fn publish(self: Rc<Self>, outgoing: Rc<Outgoing>) -> LocalBoxFuture<'static, Outcome> {
        Box::pin(async move { self.attempt(&outgoing).await.into() })
    }

    fn close(self: Rc<Self>) -> LocalBoxFuture<'static, ()> {
        // No connection outlives its attempt.
        Box::pin(std::future::ready(()))
    }
}
