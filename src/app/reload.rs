//! Another configuration for a running bridge.
//!
//! Owns the order of the steps, so that at no moment an event can be lost or an endpoint be cut off:
//! queues are there before an endpoint is, an endpoint before it is routed to, and nobody leaves
//! whom the router still knows. Refuses to say what differs: that is [`change::compare`]. Read
//! [`crate::actors::watchdog::staff`] next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Bridge, rabbit_settings, rungs};
use crate::actors::board::{Endpoints, Shown};
use crate::actors::ingress::Need;
use crate::actors::router::Reroute;
use crate::actors::watchdog::staff::{Dismiss, Hire, Instruct};
use crate::bus::BusError;
use crate::config::change::{self, Change};
use crate::config::{Config, Problem, Problems};
use crate::domain::names::Name;
use crate::world;

/// How long a look at the bus may take. What could not be looked at waits for its queues.
const SURVEY: Duration = Duration::from_secs(15);

impl Bridge {
    /// What the bridge does now.
    pub async fn config(&self) -> Arc<Config> {
        Arc::clone(&*self.config.lock().await)
    }

    /// Takes another configuration over: one at a time. Events go on meanwhile, and endpoints of
    /// which nothing changes notice nothing. Bounded to about half a minute; what endpoints that
    /// change or go have under way may end later.
    ///
    /// # Errors
    /// Where it changes what takes a restart, or a certificate file cannot be read: then nothing is
    /// taken over.
    pub async fn reload(&self, new: Config) -> Result<Change, Problems> {
        let mut current = self.config.lock().await;
        let change = change::compare(&current, &new)?;
        self.renew(&new)?;
        let (intake, routing) = (Arc::new(new.intake.clone()), Arc::new(new.routing.clone()));
        let was = self.board.endpoints();
        let fresh = change.added.iter().map(|name| (name.clone(), Arc::<Shown>::default()));
        let everybody: Endpoints = was
            .iter()
            .map(|(name, shown)| (name.clone(), Arc::clone(shown)))
            .chain(fresh)
            .collect();
        let staying = |(name, shown): (&Name, &Arc<Shown>)| {
            new.endpoints.contains_key(name).then(|| (name.clone(), Arc::clone(shown)))
        };
        let remaining: Endpoints = everybody.iter().filter_map(staying).collect();

        for shown in was.values() {
            shown.keep_attempts(new.admin.attempt_log);
        }
        self.board.configure(everybody.clone());
        self.prepare(&new, &change, &everybody).await;
        let hired = self.yard.staff(&new, &change.added, &everybody);
        let _ = self.watchdog.send(Hire(hired)).await;
        let endpoints: BTreeMap<_, _> = new
            .endpoints
            .iter()
            .map(|(name, endpoint)| (name.clone(), Arc::new(endpoint.clone())))
            .collect();
        // Before the router: an endpoint must know a configuration before an event comes by it.
        let instruct =
            Instruct { intake: Arc::clone(&intake), routing: Arc::clone(&routing), endpoints };
        let _ = self.watchdog.send(instruct).await;
        let _ = self.router.send(Reroute { intake, routing, endpoints: remaining }).await;
        let _ = self.watchdog.send(Dismiss(change.removed.clone())).await;
        let endpoints = new.endpoints.keys().cloned().collect();
        let _ = self.ingress.send(Need { endpoints, rungs: rungs(&new), look: false }).await;
        *current = Arc::new(new);
        Ok(change)
    }

    /// Has the bus log in by the new configuration when it connects next.
    fn renew(&self, new: &Config) -> Result<(), Problems> {
        let settings = rabbit_settings(new, &self.yard.instance);
        self.bus.renew(&settings).map_err(|error| {
            let (path, file) = ("source".into(), new.file.clone());
            Problems::one(Problem { path, file, message: error.to_string(), hint: None })
        })
    }

    /// Has the bus looked after, for everybody on the board. New endpoints wait where it could not be.
    async fn prepare(&self, new: &Config, change: &Change, everybody: &Endpoints) {
        let look = !(change.added.is_empty() && change.changed.is_empty());
        let need = Need { endpoints: everybody.keys().cloned().collect(), rungs: rungs(new), look };
        let looked = tokio::time::timeout(SURVEY, self.ingress.send(need)).await;
        let error = match looked {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error,
            Ok(Err(gone)) => BusError::Lost(gone.to_string()),
            Err(_) => BusError::Lost(format!("no answer within {SURVEY:?}")),
        };
        for shown in change.added.iter().filter_map(|name| everybody.get(name)) {
            let why = format!("its queues could not be looked for: {error}");
            shown.lack(Some(why), world::now());
        }
    }
}
