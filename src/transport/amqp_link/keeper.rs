//! Keeping one connection: opened when it is first wanted, anew when it was lost, never in a hot
//! loop.
//!
//! Owns the backoff between attempts, and sees to it that all who wait share one attempt. Refuses
//! to know what it keeps. Read [`super`] next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::LinkError;
use crate::world;

/// The wait after the first failure; it doubles with every other.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// A connection that did not last this long counts as a failed attempt.
const STEADY: Duration = Duration::from_secs(5);

/// Something that can be lost.
pub trait Kept: Send + Sync + 'static {
    /// Whether it is still there.
    fn alive(&self) -> bool;
}

type Opening<T> = Shared<BoxFuture<'static, Result<Arc<T>, LinkError>>>;
type Open<T> = Box<dyn Fn() -> BoxFuture<'static, Result<T, LinkError>> + Send + Sync>;

/// Keeps one `T` open. Its work is done on one runtime, whoever asks.
pub struct Keeper<T: Kept> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    open: Open<T>,
    runtime: Handle,
    longest_wait: Duration,
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Option<(Arc<T>, Instant)>,
    opening: Option<Opening<T>>,
    failures: u32,
    closed: bool,
}

impl<T: Kept> Clone for Keeper<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Kept> Keeper<T> {
    /// Keeps what `open` opens on `runtime`. Between attempts that fail it waits from 0.2 s,
    /// doubling, up to `longest_wait`.
    pub fn new(
        runtime: Handle,
        longest_wait: Duration,
        open: impl Fn() -> BoxFuture<'static, Result<T, LinkError>> + Send + Sync + 'static,
    ) -> Self {
        let state = State { current: None, opening: None, failures: 0, closed: false };
        let open = Box::new(open);
        Self { inner: Arc::new(Inner { open, runtime, longest_wait, state: Mutex::new(state) }) }
    }

    /// What is kept, opened first if need be. Ends within the wait that is due and the timeout of
    /// one attempt, which all who ask meanwhile share.
    ///
    /// # Errors
    /// That of the attempt.
    pub async fn get(&self) -> Result<Arc<T>, LinkError> {
        let opening = {
            let mut state = self.inner.lock();
            if state.closed {
                return Err(LinkError::Lost("closed".into()));
            }
            if let Some(current) = state.alive() {
                return Ok(current);
            }
            match &state.opening {
                Some(opening) => opening.clone(),
                None => self.start(&mut state),
            }
        };
        opening.await
    }

    /// What is kept, if it is there now.
    #[must_use]
    pub fn current(&self) -> Option<Arc<T>> {
        self.inner.lock().alive()
    }

    /// Lets go of what is kept, for good; what is opened meanwhile is dropped.
    #[must_use]
    pub fn close(&self) -> Option<Arc<T>> {
        let mut state = self.inner.lock();
        state.closed = true;
        state.opening = None;
        state.current.take().map(|(current, _)| current)
    }

    fn start(&self, state: &mut State<T>) -> Opening<T> {
        if let Some((_, since)) = state.current.take() {
            state.failures = if since.elapsed() < STEADY { state.failures + 1 } else { 0 };
        }
        let wait = wait(state.failures, self.inner.longest_wait, world::random());
        let inner = self.inner.clone();
        let task = self.inner.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            let opened = (inner.open)().await;
            inner.lock().opened(opened)
        });
        let ended = |_| Err(LinkError::Lost("the attempt to connect was abandoned".into()));
        let opening = task.map(move |done| done.unwrap_or_else(ended)).boxed().shared();
        state.opening = Some(opening.clone());
        opening
    }
}

impl<T> Inner<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Every change is one step: a panic cannot leave half of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Kept> State<T> {
    fn alive(&self) -> Option<Arc<T>> {
        self.current.as_ref().map(|(current, _)| current).filter(|c| c.alive()).cloned()
    }

    fn opened(&mut self, opened: Result<T, LinkError>) -> Result<Arc<T>, LinkError> {
        self.opening = None;
        if self.closed {
            return Err(LinkError::Lost("closed".into()));
        }
        match opened {
            Ok(new) => {
                let new = Arc::new(new);
                self.current = Some((new.clone(), Instant::now()));
                Ok(new)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                Err(error)
            }
        }
    }
}

/// The wait before an attempt, after so many failures; `chance` spreads it over its upper half.
fn wait(failures: u32, longest: Duration, chance: f64) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow((failures - 1).min(16)));
    doubled.min(longest).mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

    use super::*;

    struct Thing(AtomicBool);

    impl Kept for Thing {
        fn alive(&self) -> bool {
            self.0.load(SeqCst)
        }
    }

    fn keeper(fails: bool) -> (Keeper<Thing>, Arc<AtomicU32>) {
        let attempts = Arc::new(AtomicU32::new(0));
        let counted = attempts.clone();
        let open = move || {
            counted.fetch_add(1, SeqCst);
            let opened = Ok(Thing(AtomicBool::new(true)));
            let done = if fails { Err(LinkError::Nack) } else { opened };
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                done
            }
            .boxed()
        };
        (Keeper::new(Handle::current(), Duration::from_secs(10), open), attempts)
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_at_once_share_one_attempt() {
        let (keeper, attempts) = keeper(false);
        let asked = futures_util::future::join_all((0..100).map(|_| keeper.get())).await;
        assert!(asked.iter().all(Result::is_ok));
        assert_eq!(attempts.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_is_opened_anew() {
        let (keeper, attempts) = keeper(false);
        let first = keeper.get().await.unwrap();
        first.0.store(false, SeqCst);
        assert!(keeper.current().is_none());
        assert!(keeper.get().await.unwrap().alive());
        assert_eq!(attempts.load(SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_at_once_waits_longer_with_every_failure() {
        let (keeper, attempts) = keeper(true);
        let start = Instant::now();
        for _ in 0..10 {
            assert!(keeper.get().await.is_err());
        }
        assert_eq!(attempts.load(SeqCst), 10);
        let least = (0..9).map(|failures| wait(failures + 1, Duration::from_secs(10), 0.0));
        assert!(start.elapsed() >= least.sum::<Duration>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_last_is_no_way_around_the_wait() {
        let (keeper, _) = keeper(false);
        let start = Instant::now();
        for _ in 0..5 {
            keeper.get().await.unwrap().0.store(false, SeqCst);
        }
        assert!(start.elapsed() >= Duration::from_millis(100 + 200 + 400 + 800));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_closed_stays_closed() {
        let (keeper, attempts) = keeper(false);
        assert!(keeper.get().await.is_ok());
        assert!(keeper.close().is_some());
        assert!(keeper.get().await.is_err());
        assert_eq!(attempts.load(SeqCst), 1);
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let longest = Duration::from_secs(10);
        for (failures, chance, millis) in
            [(0, 1.0, 0), (1, 1.0, 200), (1, 0.0, 100), (3, 1.0, 800), (7, 1.0, 10_000)]
        {
            assert_eq!(wait(failures, longest, chance).as_millis(), millis, "{failures}");
        }
        assert_eq!(wait(u32::MAX, longest, 1.0), longest);
    }
}
