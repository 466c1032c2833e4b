//! Stops in order, under load: nothing is lost, and nothing is repeated.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::alone;
use super::support::counter::Counter;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, free_port, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// SIGTERMs.
const STOPS: usize = 50;
/// Between two events, while the endpoint keeps up.
const PACE: Duration = Duration::from_millis(2);
/// Events that the endpoint may be behind: published without a bound, they would have to be waited
/// for on a slow machine.
const BEHIND: usize = 500;
/// Events that must have arrived between two stops, so that each of them falls into the flow.
const FLOWING: usize = 40;

#[test]
fn fifty_stops_under_load_lose_and_repeat_nothing() {
    let _alone = alone();
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let partner = Rc::new(Counter::start());
        partner.answer(|_, _| (200, Duration::from_millis(20)));
        let endpoint = |name: &str, url: &str| {
            format!(
                "[endpoints.{name}]\nevents = [\"*/*\"]\nmax_in_flight = 16\n\
                 [endpoints.{name}.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\n"
            )
        };
        let toml = format!(
            "[source]\nurl = \"{}\"\nqueue = \"events\"\n\
             bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n{}{}",
            place.url,
            endpoint("slow", &partner.url()),
            endpoint("down", &format!("http://127.0.0.1:{}/", free_port())),
        );
        let configuration = Configuration::write(folder.path(), &toml);
        let mut lockgate = Lockgate::start_ready(&configuration).await;
        let going = Rc::new(Cell::new(true));
        let publishing =
            actix_rt::spawn(publish(place.url.clone(), Rc::clone(&going), Rc::clone(&partner)));
        for _ in 0..STOPS {
            let before = partner.taken();
            eventually("events flow", DEADLINE, || async {
                (partner.taken() >= before + FLOWING).then_some(())
            })
            .await;
            lockgate.terminate().await;
            lockgate = Lockgate::start(&configuration);
        }
        going.set(false);
        let expected = publishing.await.unwrap();
        eventually("every event at the endpoint", DEADLINE, || async {
            (partner.taken() == expected).then_some(())
        })
        .await;
        let platform = Client::connect(&place.url).await;
        eventually("the source is empty", DEADLINE, || async {
            (platform.depth("events").await == 0).then_some(())
        })
        .await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        let repeats = partner.repeats();
        println!("{STOPS} stops in {expected} events: 0 lost, {repeats} repeated");
        assert_eq!(repeats, 0, "repeats");
    });
}

/// Publishes until it is told to end; returns how many events.
async fn publish(url: String, going: Rc<Cell<bool>>, partner: Rc<Counter>) -> usize {
    let platform = Client::connect(&url).await;
    let mut pace = tokio::time::interval(PACE);
    let mut published = 0;
    while going.get() {
        pace.tick().await;
        if published < partner.taken() + BEHIND {
            let body = format!(r#"{{"event_id":"e-{published}","batch":"B-7"}}"#);
            let taken = platform.begin_publish("Batch", "batch_run_status", body.as_bytes()).await;
            assert!(taken.await, "the bus does not take an event");
            published += 1;
        }
    }
    published
}
