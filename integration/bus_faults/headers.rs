//! Messages whose headers fill their frame.

use lapin::types::{AMQPValue, FieldTable};
use lockgate::domain::delivery::{HeaderValue, Properties};

use super::{body, rest, source, until_all};
use crate::support::http::{Answer, HttpServer};
use crate::support::lockgate::{Configuration, Lockgate};
use crate::support::on_system;
use crate::support::rabbitmq::{Client, node};

fn headers(sizes: &[usize]) -> Properties {
    let mut headers = FieldTable::default();
    for (number, size) in sizes.iter().enumerate() {
        let text = AMQPValue::LongString("x".repeat(*size).into());
        headers.insert(format!("header-{number}").into(), text);
    }
    headers.insert("plant".into(), AMQPValue::LongString("chicago".into()));
    Properties::default().with_headers(headers)
}

#[test]
fn a_message_whose_headers_fill_its_frame_is_kept_and_disturbs_nothing() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let (broken, refusing) = (HttpServer::start(), HttpServer::start());
        broken.answer(|_| Answer::status(503));
        refusing.answer(|_| Answer::status(400));
        let toml = source(&place.url)
            + &rest("broken", "*", &broken.url("/"))
            + &rest("refusing", "*", &refusing.url("/"));
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        // The last one is as large as RabbitMQ itself takes.
        let sizes: [&[usize]; 4] =
            [&[100_000], &[128_000], &[60_000, 70_000], &[65_000, 1_000, 64_900]];
        let mut expected = std::collections::BTreeSet::new();
        for (number, sizes) in sizes.iter().enumerate() {
            let id = format!("e-{number}");
            platform.publish("Batch", "batch_run_status", headers(sizes), &body(&id)).await;
            expected.insert(id);
        }
        platform.publish("Batch", "batch_run_status", headers(&[130_000]), b"no event").await;
        let dead = platform.take("lockgate.ep.refusing.dead", sizes.len()).await;
        let rejected = platform.take("lockgate.rejected", 1).await;
        assert_eq!(rejected[0].body, b"no event".as_slice());
        broken.answer(|_| Answer::ok());
        until_all(&broken, &expected).await;
        lockgate.reconciles().await;
        lockgate.terminate().await;
        assert_eq!(platform.depth("events").await, 0);
        let told = |header: &str| {
            let named = dead.iter().filter_map(|message| message.header(header));
            named.filter(|value| matches!(value, HeaderValue::LongString(_))).count()
        };
        assert_eq!(told("lockgate-headers-dropped"), 3, "what was left off is told");
        assert_eq!((told("plant"), told("lockgate-event-id")), (4, 4));
        let log = lockgate.log();
        for trouble in ["storing fails", "was lost"] {
            assert!(!log.contains(trouble), "{trouble}:\n{log}");
        }
    });
}
