//! Orders: what is done for a caller and must end orderly, whether the caller waits or not.
//!
//! Owns where such work runs (on the system that outlives the listener), that an endpoint's dead
//! letters are replayed or purged once at a time and looked at by one at a time, and that nobody waits
//! for ever. Refuses to move a letter: that is [`crate::bus::dead`], which guarantees that an order
//! that is stopped leaves nothing half done. Read [`super::api`] for who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::bus::dead::{DeadError, End, News, Order, Tally, carry_out, given_back};
use crate::bus::{Bus, BusError, Queue};
use crate::domain::names::Name;

/// Orders at once, over all endpoints.
const AT_ONCE: u32 = 16;
/// A look may take so long, with waiting for others who look; a caller waits so long for an order
/// that does not get on.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// An order that does not get on for so long is told to stop. Longer than the bus may be silent where
/// somebody else holds letters.
const STUCK: Duration = Duration::from_secs(8);
/// How long the orders may take to end when all are told to stop.
const LAST: Duration = Duration::from_secs(15);

/// Why an order was not carried out, or not to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OrderError {
    /// Another one for this endpoint is under way.
    #[error("a replay or a purge of {0}'s dead letters is under way")]
    UnderWay(Name),
    /// Too many for other endpoints are under way.
    #[error("{AT_ONCE} replays and purges are under way")]
    TooMany,
    /// It could not begin, or the look failed; nothing was moved.
    #[error(transparent)]
    Dead(#[from] DeadError),
    /// Nothing happened for [`PATIENCE`]. An order ends as soon as the bus lets it.
    #[error("the bus {}; {moved}", if *connected { "does not answer in time" } else { "is out of reach" })]
    Silent {
        /// Whether there is a connection to the bus.
        connected: bool,
        /// What was done until then.
        moved: Moved,
    },
    /// It was stopped: nothing moved any more, or lockgate ends.
    #[error("stopped before it had gone round; {0}")]
    Stopped(Moved),
    /// The bus failed meanwhile.
    #[error("{0}; {1}")]
    Failed(BusError, Moved),
    /// It ended without a word: a fault of lockgate.
    #[error("it ended without a word")]
    Lost,
}

impl OrderError {
    fn silent(bus: &dyn Bus, tally: Tally) -> Self {
        Self::Silent { connected: bus.connected(), moved: tally.into() }
    }
}

/// How far an order came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Letters that were meant.
    pub meant: u32,
    /// Letters of them that were replayed or purged.
    pub moved: u32,
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.meant == 0 {
            return f.write_str("nothing was moved");
        }
        write!(f, "{} of {} letters were moved, none is lost", self.moved, self.meant)
    }
}

impl From<Tally> for Moved {
    fn from(tally: Tally) -> Self {
        Self { meant: tally.meant, moved: tally.taken }
    }
}

/// An order that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What it did.
    pub moved: Moved,
    /// Dead letters that are ready now; `None` where the bus did not say.
    pub left: Option<u32>,
}

/// The orders under way. Cheap to clone: clones are the same.
#[derive(Clone)]
pub struct Orders(Arc<Inner>);

struct Inner {
    home: Handle,
    stop: CancellationToken,
    places: Arc<Semaphore>,
    under_way: Mutex<BTreeSet<Name>>,
    turns: Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>,
}

/// An endpoint's only order. Dropped, another may come.
struct Only(Arc<Inner>, Name);

impl Drop for Only {
    fn drop(&mut self) {
        lock(&self.0.under_way).remove(&self.1);
    }
}

/// A panic while it was held cannot leave a half-made change: each is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Orders {
    /// Nothing under way. Whatever is ordered is done on `home`, the runtime of the system that
    /// outlives the listener.
    #[must_use]
    pub fn new(home: Handle) -> Self {
        Self(Arc::new(Inner {
            home,
            stop: CancellationToken::new(),
            places: Arc::new(Semaphore::new(AT_ONCE as usize)),
            under_way: Mutex::default(),
            turns: Mutex::default(),
        }))
    }

    /// Where what outlives a caller is done.
    #[must_use]
    pub fn home(&self) -> &Handle {
        &self.0.home
    }

    /// Tells every order to stop and waits until all have ended; some seconds at most. Later ones end
    /// before they have begun.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        if timeout(LAST, self.0.places.acquire_many(AT_ONCE)).await.is_err() {
            tracing::warn!("a replay or a purge does not end; its letters are still there");
        }
    }

    /// Does `work`, which looks at an endpoint's dead letters, when nobody else does.
    ///
    /// # Errors
    /// When it fails, or takes longer than [`PATIENCE`].
    pub async fn look<T>(
        &self,
        bus: &dyn Bus,
        endpoint: &Name,
        work: impl Future<Output = Result<T, DeadError>>,
    ) -> Result<T, OrderError> {
        let looking = async {
            let turn = self.0.turn(endpoint);
            let _mine = turn.lock().await;
            work.await
        };
        match timeout(PATIENCE, looking).await {
            Ok(done) => Ok(done?),
            Err(_) if self.0.is_under_way(endpoint) => Err(OrderError::UnderWay(endpoint.clone())),
            Err(_) => Err(OrderError::silent(bus, Tally::default())),
        }
    }

    /// Carries out an order to its end, also where this is dropped before it.
    ///
    /// # Errors
    /// When it could not begin, or did not go round.
    pub async fn carry_out(&self, bus: Arc<dyn Bus>, order: Order) -> Result<Done, OrderError> {
        let endpoint = order.endpoint.clone();
        if !lock(&self.0.under_way).insert(endpoint.clone()) {
            return Err(OrderError::UnderWay(endpoint));
        }
        let only = Only(Arc::clone(&self.0), endpoint);
        let place = Arc::clone(&self.0.places).try_acquire_owned();
        let place = place.map_err(|_| OrderError::TooMany)?;
        let (news, mut heard) = watch::channel(Tally::default());
        let (stop, working) = (self.0.stop.child_token(), Arc::clone(&bus));
        let mut task = self.0.home.spawn(async move {
            let _until_the_end = (place, &only);
            let turn = only.0.turn(&order.endpoint);
            let _mine = turn.lock().await;
            work(&*working, &order, &stop, news).await
        });
        let silent = |tally| OrderError::silent(&*bus, tally);
        loop {
            let patience = Instant::now() + PATIENCE;
            tokio::select! {
                done = &mut task => return done.unwrap_or(Err(OrderError::Lost)),
                moved = timeout_at(patience, heard.changed()) => match moved {
                    Ok(Ok(())) => {}
                    // Nothing more will be told: it is about to end.
                    Ok(Err(_)) => {
                        let done = timeout_at(patience, &mut task).await;
                        let done = done.map_err(|_| silent(*heard.borrow()))?;
                        return done.unwrap_or(Err(OrderError::Lost));
                    }
                    Err(_) => return Err(silent(*heard.borrow())),
                }
            }
        }
    }
}

impl Inner {
    /// Whose turn it is with an endpoint's dead letters: two who hold some would keep them from each
    /// other. There are never more of them than callers.
    fn turn(&self, endpoint: &Name) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = lock(&self.turns);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(endpoint.clone()).or_default())
    }

    fn is_under_way(&self, endpoint: &Name) -> bool {
        lock(&self.under_way).contains(endpoint)
    }
}

/// The order itself. Where nothing moves for [`STUCK`], it is told to stop.
async fn work(
    bus: &dyn Bus,
    order: &Order,
    stop: &CancellationToken,
    news: watch::Sender<Tally>,
) -> Result<Done, OrderError> {
    let mut heard = news.subscribe();
    let tell = |told| match told {
        News::Progress(tally) => {
            let further = |told: &mut Tally| std::mem::replace(told, tally) != tally;
            news.send_if_modified(further);
        }
        News::Waiting => {}
    };
    let watching = async {
        while let Ok(Ok(())) = timeout(STUCK, heard.changed()).await {}
        stop.cancel();
        std::future::pending().await
    };
    let (tally, end) = tokio::select! {
        done = carry_out(bus, order, stop, tell) => done?,
        never = watching => return never,
    };
    match end {
        End::Done => {}
        End::Stopped => return Err(OrderError::Stopped(tally.into())),
        End::Failed(error) => return Err(OrderError::Failed(error, tally.into())),
    }
    let queue = Queue::Dead(order.endpoint.clone());
    let left = given_back(bus, queue, tally.round.saturating_sub(tally.taken)).await;
    Ok(Done { moved: tally.into(), left: left.ok().flatten() })
}
