//! The admin API of the product itself, at work on a real RabbitMQ: what an operator asks for happens
//! at the partner, and whatever the bus does, there is an answer.

use std::collections::BTreeSet;
use std::time::Duration;

use lockgate::domain::delivery::Properties;
use serde_json::json;
use tokio::time::Instant;

use super::support::http::{Answer, HttpServer};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::proxy::{End, Fault, Proxy, Way};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// How long an answer may take that needs a bus which is silent: ten seconds, on a busy machine.
const BOUND: Duration = Duration::from_secs(20);
const PARKED: &str = "lockgate.ep.erp.parked";
const DEAD: &str = "lockgate.ep.erp.dead";
const LIST: &str = "/api/dead-letters?endpoint=erp";
const REPLAY: &str = "/api/dead-letters/replay";

fn configuration(bus: &str, partner: &HttpServer) -> String {
    format!(
        "[source]\nurl = \"{bus}\"\nqueue = \"events\"\n\
         bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n\
         [endpoints.erp]\nevents = [\"Batch/*\"]\n[endpoints.erp.rest]\nurl = \"{}\"\n\
         non_2xx = \"retry\"\n",
        partner.url("/")
    )
}

async fn publish(platform: &Client, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let body = format!("{{\"event_id\":\"e-{n}\",\"n\":1.0}}");
        let properties = Properties::default();
        platform.publish("Batch", "batch_run_status", properties, body.as_bytes()).await;
    }
}

/// The ids of what has arrived, each once.
fn arrived(partner: &HttpServer, from: usize) -> BTreeSet<String> {
    let received = partner.received();
    let ids: Vec<String> =
        received[from..].iter().map(|r| r.header("x-request-id").unwrap().to_owned()).collect();
    let once: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(once.len(), ids.len(), "something came twice: {ids:?}");
    once
}

fn expected(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    numbers.into_iter().map(|n| format!("e-{n}")).collect()
}

async fn depth_is(platform: &Client, queue: &str, count: u32) {
    eventually(&format!("{count} in {queue}"), DEADLINE, || async {
        (platform.depth(queue).await == count).then_some(())
    })
    .await;
}

#[test]
fn what_comes_while_an_endpoint_is_paused_waits_on_rabbitmq_and_arrives_when_resumed() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let (place, partner) = (node().place(), HttpServer::start());
        let toml = configuration(&place.url, &partner);
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        publish(&platform, 0..5).await;
        eventually("the first arrive", DEADLINE, || async {
            (partner.received().len() == 5).then_some(())
        })
        .await;

        let (code, paused) = lockgate.ask("/api/endpoints/erp/pause", Some(json!({}))).await;
        assert_eq!((code, &paused["changed"]), (200, &json!(true)));
        publish(&platform, 5..55).await;
        depth_is(&platform, PARKED, 50).await;
        // A parked event is counted when RabbitMQ has confirmed it: a moment after it is there.
        eventually("50 parked are counted", DEADLINE, || async {
            let (_, status) = lockgate.ask("/api/status", None).await;
            let erp = &status["endpoints"][0];
            assert_eq!(erp["state"], json!("paused"));
            (erp["counters"]["parked"] == json!(50)).then_some(())
        })
        .await;
        assert_eq!(partner.received().len(), 5, "nothing is sent while paused");

        // A test goes past the pause.
        let (_, tested) = lockgate.ask("/api/endpoints/erp/test", Some(json!({}))).await;
        assert_eq!((&tested["outcome"], &tested["status"]), (&json!("delivered"), &json!(200)));
        let test = tested["event_id"].as_str().unwrap().to_owned();
        assert_eq!(arrived(&partner, 5), BTreeSet::from([test]));

        let (_, resumed) = lockgate.ask("/api/endpoints/erp/resume", Some(json!({}))).await;
        assert_eq!((&resumed["paused"], &resumed["changed"]), (&json!(false), &json!(true)));
        eventually("all arrive", DEADLINE, || async {
            (arrived(&partner, 6).len() == 50).then_some(())
        })
        .await;
        assert_eq!(arrived(&partner, 6), expected(5..55));
        lockgate.reconciles().await;
        lockgate.terminate().await;
        assert_eq!(partner.received().len(), 56);
        let log = lockgate.log();
        for action in ["pause", "resume", "test"] {
            let line = format!("action=\"{action}\" endpoint=\"erp\"");
            assert_eq!(log.matches(&line).count(), 1, "{line}: {log}");
        }
    });
}

#[test]
fn dead_letters_are_replayed_over_the_api_and_arrive() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let (place, partner) = (node().place(), HttpServer::start());
        partner.answer(|_| Answer::status(400));
        let toml = configuration(&place.url, &partner);
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        publish(&platform, 0..30).await;
        depth_is(&platform, DEAD, 30).await;

        let (code, list) = lockgate.ask(&format!("{LIST}&reason=http_400&limit=20"), None).await;
        assert_eq!((code, &list["ready"], &list["seen"]), (200, &json!(30), &json!(20)));
        assert_eq!(list["letters"].as_array().unwrap().len(), 20);
        let (code, one) = lockgate.ask("/api/dead-letters/e-7?endpoint=erp", None).await;
        assert_eq!((code, &one["letter"]["attempts"]), (200, &json!(1)), "{one}");
        assert_eq!(one["message"]["body"], "{\"event_id\":\"e-7\",\"n\":1.0}");
        depth_is(&platform, DEAD, 30).await;

        partner.answer(|_| Answer::ok());
        let before = partner.received().len();
        let some = json!({"endpoint": "erp", "event_ids": ["e-7", "e-21", "e-99"]});
        let (code, done) = lockgate.ask(REPLAY, Some(some)).await;
        let wanted = json!({"endpoint": "erp", "matched": 2, "moved": 2, "left": 28});
        assert_eq!((code, done), (200, wanted));
        eventually("both arrive", DEADLINE, || async {
            (arrived(&partner, before).len() == 2).then_some(())
        })
        .await;
        assert_eq!(arrived(&partner, before), expected([7, 21]));

        let purged = json!({"endpoint": "erp", "event_ids": ["e-0"]});
        let (_, done) = lockgate.ask("/api/dead-letters/purge", Some(purged)).await;
        assert_eq!((&done["moved"], &done["left"]), (&json!(1), &json!(27)));
        let all = json!({"endpoint": "erp", "all": true});
        let (_, done) = lockgate.ask(REPLAY, Some(all)).await;
        assert_eq!(
            (&done["matched"], &done["moved"], &done["left"]),
            (&json!(27), &json!(27), &json!(0))
        );
        eventually("all but the purged one arrive", DEADLINE, || async {
            (arrived(&partner, before).len() == 29).then_some(())
        })
        .await;
        assert_eq!(arrived(&partner, before), expected(1..30));
        lockgate.reconciles().await;
        // A stream does not keep it from ending.
        let client = awc::Client::builder().disable_timeout().finish();
        let mut stream = client.get(lockgate.url("/api/stream")).send().await.unwrap();
        let began = Instant::now();
        lockgate.terminate().await;
        while let Some(Ok(_)) = futures_util::StreamExt::next(&mut stream).await {}
        println!("with an open stream it ended after {:?}", began.elapsed());
        depth_is(&platform, DEAD, 0).await;
        depth_is(&platform, PARKED, 0).await;
    });
}

#[test]
fn whatever_the_bus_does_there_is_an_answer_in_time_and_no_letter_is_lost() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let (place, partner) = (node().place(), HttpServer::start());
        partner.answer(|_| Answer::status(400));
        let proxy = Proxy::start(node().port);
        let through =
            place.url.replace(&format!(":{}/", node().port), &format!(":{}/", proxy.port()));
        assert_ne!(through, place.url);
        let toml = configuration(&through, &partner);
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        publish(&platform, 0..20).await;
        depth_is(&platform, DEAD, 20).await;
        let all = || Some(json!({"endpoint": "erp", "all": true}));
        for fault in [Fault::Freeze(Way::Both), Fault::Cut(End::Reset)] {
            proxy.set(fault);
            let began = Instant::now();
            assert_eq!(lockgate.ask("/api/status", None).await.0, 200);
            let status = began.elapsed();
            assert!(status < Duration::from_secs(1), "{fault:?}: a status after {status:?}");
            for (path, change) in [(LIST, None), (REPLAY, all())] {
                let began = Instant::now();
                let (code, answer) = lockgate.ask(path, change).await;
                let took = began.elapsed();
                println!("{fault:?}: {path} after {took:?}: {}", answer["detail"]);
                assert!(took < BOUND, "{fault:?}: {path} after {took:?}");
                let detail = answer["detail"].as_str().unwrap();
                assert!(code == 503 && detail.contains("the bus"), "{fault:?}: {path} {answer}");
            }
            proxy.set(Fault::Pass);
            eventually("the letters can be listed again", DEADLINE, || async {
                let (code, list) = lockgate.ask(LIST, None).await;
                (code == 200 && list["ready"] == 20).then_some(())
            })
            .await;
        }
        partner.answer(|_| Answer::ok());
        let before = partner.received().len();
        eventually("the order that was interrupted has ended", DEADLINE, || async {
            let (code, done) = lockgate.ask(REPLAY, all()).await;
            assert!(code == 200 || code == 409 || code == 503, "{done}");
            (code == 200 && done["left"] == 0).then_some(())
        })
        .await;
        eventually("all arrive", DEADLINE, || async {
            (arrived(&partner, before).len() == 20).then_some(())
        })
        .await;
        assert_eq!(arrived(&partner, before), expected(0..20));
        lockgate.terminate().await;
    });
}
