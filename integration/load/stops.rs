//! Stops in order, under load: nothing is lost, and nothing is repeated.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use lockgate::domain::delivery::Properties;

use super::alone;
use super::support::http::{Answer, HttpServer};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, free_port, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// SIGTERMs.
const STOPS: usize = 50;
/// Between two events.
const PACE: Duration = Duration::from_millis(2);
/// Events that must have arrived between two stops, so that each of them falls into the flow.
const FLOWING: usize = 40;

#[test]
fn fifty_stops_under_load_lose_and_repeat_nothing() {
    let _alone = alone();
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let server = HttpServer::start();
        server.answer(|_| Answer::ok().after(Duration::from_millis(20)));
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
            endpoint("slow", &server.url("/")),
            endpoint("down", &format!("http://127.0.0.1:{}/", free_port())),
        );
        let configuration = Configuration::write(folder.path(), &toml);
        let mut lockgate = Lockgate::start_ready(&configuration).await;
        let going = Rc::new(Cell::new(true));
        let publishing = actix_rt::spawn(publish(place.url.clone(), Rc::clone(&going)));
        for _ in 0..STOPS {
            let before = server.received().len();
            eventually("events flow", DEADLINE, || async {
                (server.received().len() >= before + FLOWING).then_some(())
            })
            .await;
            lockgate.terminate().await;
            lockgate = Lockgate::start(&configuration);
        }
        going.set(false);
        let expected = publishing.await.unwrap();
        let platform = Client::connect(&place.url).await;
        let times = || {
            let mut times = BTreeMap::<String, usize>::new();
            for request in server.received() {
                let id = request.header("x-request-id").unwrap().to_owned();
                *times.entry(id).or_default() += 1;
            }
            times
        };
        eventually("every event at the endpoint", DEADLINE, || async {
            (times().len() == expected).then_some(())
        })
        .await;
        eventually("the source is empty", DEADLINE, || async {
            (platform.depth("events").await == 0).then_some(())
        })
        .await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        let repeated: Vec<_> = times().into_iter().filter(|(_, times)| *times > 1).collect();
        println!("{STOPS} stops in {expected} events: 0 lost, {} repeated", repeated.len());
        let some = &repeated[..repeated.len().min(20)];
        assert!(repeated.is_empty(), "repeated: {some:?}");
    });
}

/// Publishes until it is told to end; returns how many events.
async fn publish(url: String, going: Rc<Cell<bool>>) -> usize {
    let platform = Client::connect(&url).await;
    let mut pace = tokio::time::interval(PACE);
    let mut published = 0;
    while going.get() {
        pace.tick().await;
        let body = format!(r#"{{"event_id":"e-{published}","batch":"B-7"}}"#);
        let properties = Properties::default();
        platform.publish("Batch", "batch_run_status", properties, body.as_bytes()).await;
        published += 1;
    }
    published
}
