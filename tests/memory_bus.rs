//! The memory bus keeps what every bus promises.

mod bus_contract;

use std::sync::Arc;

use bus_contract::Fixture;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use lockgate::bus::Bus;
use lockgate::bus::memory::MemoryBus;

struct Memory(Arc<MemoryBus>);

impl Fixture for Memory {
    fn bus(&self) -> Arc<dyn Bus> {
        self.0.clone()
    }

    fn cut(&self) -> LocalBoxFuture<'_, ()> {
        async { self.0.cut(false) }.boxed_local()
    }
}

macro_rules! keeps {
    ($($promise:ident($($argument:expr)?);)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $promise() {
            let fixture = Memory(Arc::new(MemoryBus::default()));
            bus_contract::$promise(&fixture $(, $argument)?).await;
        }
    )*};
}

keeps! {
    what_is_stored_comes_out_as_it_went_in();
    the_prefetch_is_the_brake();
    runs_are_acknowledged_at_once();
    what_was_unacknowledged_comes_again_after_a_loss();
    a_rung_gives_back_after_its_delay();
    a_cancelled_subscription_can_still_be_acknowledged();
    a_dropped_subscription_gives_back();
    many_stores_at_once_all_arrive(5_000);
    the_depth_counts_what_is_ready();
    looking_at_dead_letters_changes_nothing();
    a_replay_moves_exactly_what_is_meant();
    a_purge_removes_exactly_what_is_meant();
    a_rung_shows_what_waits_in_it();
}
