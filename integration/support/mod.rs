//! What the integration tests stand on: private servers, certificates, waiting with a deadline.

pub mod balancer;
pub mod browser;
pub mod certs;
pub mod cluster;
pub mod counter;
pub mod http;
pub mod listening;
pub mod lockgate;
pub mod mosquitto;
pub mod mqtt_cut;
pub mod process;
pub mod proxy;
pub mod rabbitmq;
pub mod unconfirmed;

use std::future::Future;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A port that is free now and that this process gives to nobody else: below those that the system
/// itself gives out, so that nobody has it while the one whom it is meant for does not listen.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < 10_000, "no port is free");
        // Test programs that run side by side begin far from each other.
        let port = 10_000 + std::process::id().wrapping_mul(997).wrapping_add(given) % 10_000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Runs a test body on an actix system of its own, as the product does.
pub fn on_system<F: Future<Output = ()> + 'static>(body: F) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    actix_rt::System::new().block_on(body);
}

/// Waits until `condition` gives a value; fails loudly, naming `what`, when it takes too long.
pub async fn eventually<T, F, C>(what: &str, limit: Duration, condition: C) -> T
where
    C: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    within(limit, condition).await.unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// The first value that `condition` gives; `None` when it takes too long.
pub async fn within<T, F, C>(limit: Duration, mut condition: C) -> Option<T>
where
    C: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    #[allow(clippy::disallowed_methods, reason = "a test's deadline is in real time")]
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return Some(value);
        }
        if start.elapsed() >= limit {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
