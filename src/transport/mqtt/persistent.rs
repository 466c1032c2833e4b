//! A persistent session: one connection, over which publishes are pipelined.
//!
//! Owns the change from a lost connection to the next, and the pause between them. Refuses to
//! repeat what was lost: that is the endpoint's schedule. Read [`super::link`] next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::MAX_PIPELINED;
use super::dial::Dialer;
use super::link::Link;
use crate::domain::delivery::{Failure, Outcome, Outgoing};
use crate::logic::attempt_log::Step;
use crate::transport::{Publisher, timeline};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Publishes everything over one connection, which is made when it is first needed.
pub(super) struct Persistent {
    dialer: Rc<Dialer>,
    /// One for each publish in flight. Who finds none waits within the connect timeout.
    places: Arc<Semaphore>,
    link: RefCell<Option<Rc<Link>>>,
    /// Connections in a row that came to nothing.
    failures: Cell<u32>,
    /// What the last of them came to: said to those who cannot wait for the next.
    last: RefCell<Option<Failure>>,
}

impl Persistent {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self {
            dialer: Rc::new(dialer),
            places: Arc::new(Semaphore::new(MAX_PIPELINED.into())),
            link: RefCell::new(None),
            failures: Cell::new(0),
            last: RefCell::new(None),
        }
    }

    /// The connection, or a new one where the last has ended. All who wait share one.
    fn link(&self) -> Rc<Link> {
        let mut current = self.link.borrow_mut();
        let mut delay = Duration::ZERO;
        if let Some(link) = &*current {
            let Some((failure, since, proven)) = link.ended() else {
                return Rc::clone(link);
            };
            let failures = if proven { 1 } else { self.failures.get().saturating_add(1) };
            self.failures.set(failures);
            self.last.replace(Some(failure));
            delay = pause(failures).saturating_sub(since.elapsed());
        }
        let link = Rc::new(Link::open(&self.dialer, delay));
        current.replace(Rc::clone(&link));
        link
    }

    async fn attempt(&self, outgoing: &Outgoing) -> Result<(), Failure> {
        let (topic, body) = self.dialer.admit(outgoing)?;
        timeline::begin(Step::Queue);
        let link = self.link();
        let connecting = async {
            link.up().await?;
            Ok(Arc::clone(&self.places).acquire_owned().await)
        };
        let place = match timeout(self.dialer.connect_timeout, connecting).await {
            Ok(Ok(Ok(place))) => place,
            Ok(Err(failure)) => return Err(failure),
            Ok(Ok(Err(_))) => return Err(self.dialer.connect_timed_out()),
            Err(_) => return Err(self.still_waiting(&link)),
        };
        let publishing = link.publish(topic, body, place);
        timeout(self.dialer.publish_timeout, publishing).await.unwrap_or_else(|_| {
            link.abandon(link.silent());
            Err(self.dialer.publish_timed_out())
        })
    }

    /// The failure of who gave up before the connection was up: in the pause after a loss, that.
    fn still_waiting(&self, link: &Link) -> Failure {
        let last = link.pausing().then(|| self.last.borrow().clone()).flatten();
        last.unwrap_or_else(|| self.dialer.connect_timed_out())
    }
}

/// How long after a loss the next connection is made.
fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

impl Publisher for Persistent {
    fn publish(self: Rc<Self>, outgoing: Rc<Outgoing>) -> LocalBoxFuture<'static, Outcome> {
        Box::pin(async move { self.attempt(&outgoing).await.into() })
    }

    fn close(self: Rc<Self>) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let link = self.link.borrow_mut().take();
            if let Some(link) = link {
                link.close().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_a_tenth_of_a_second_to_five_seconds() {
        let pauses = [1, 2, 3, 6, 7, 8, 100, u32::MAX].map(|failures| pause(failures).as_millis());
        assert_eq!(pauses, [100, 200, 400, 3_200, 5_000, 5_000, 5_000, 5_000]);
    }
}
