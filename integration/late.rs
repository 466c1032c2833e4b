//! Answers of RabbitMQ that come after they were given up: what they bring must not be forgotten.

use std::time::Duration;

use lockgate::bus::rabbitmq::{Mode, RabbitMq, RabbitSettings};
use lockgate::bus::{Bus as _, BusError, Queue, Subscription};
use lockgate::domain::delivery::Properties;
use lockgate::logic::secret::SecretUrl;
use lockgate::transport::tls::TlsSettings;

use super::support::on_system;
use super::support::rabbitmq::{Client, node};
use super::support::unconfirmed::Unconfirmed;

/// Longer than an answer of RabbitMQ is waited for, and less than two are.
const TOO_LATE: Duration = Duration::from_secs(15);
/// How long a message may take to come back from a consumer that was given up.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_consumer_that_comes_to_be_too_late_keeps_no_message() {
    on_system(async {
        let place = node().place();
        let relay = Unconfirmed::first_consume_after(node().port, TOO_LATE).await;
        let client = Client::connect(&place.url).await;
        client.declare("events", true).await;
        client.publish("", "events", Properties::default(), b"only one").await;
        let bus = RabbitMq::new(&RabbitSettings {
            url: SecretUrl::new(
                format!("amqp://guest:guest@127.0.0.1:{}/{}", relay.port, place.vhost)
                    .parse()
                    .unwrap(),
            ),
            queue: "events".into(),
            bindings: Vec::new(),
            prefix: "lockgate".into(),
            mode: Mode::Off,
            tls: TlsSettings::default(),
            heartbeat: Duration::from_secs(10),
            instance: "test".into(),
        })
        .unwrap();
        let first = bus.consume(Queue::Source, 10).await;
        assert!(matches!(first, Err(BusError::Lost(_))), "the answer came in time");
        // RabbitMQ has given the message to the consumer that nobody waits for any more.
        let Subscription { mut deliveries, control, .. } =
            bus.consume(Queue::Source, 10).await.unwrap();
        let delivery = tokio::time::timeout(SOON, deliveries.recv()).await;
        let delivery = delivery.expect("the message is kept by nobody's consumer").unwrap();
        assert_eq!(&delivery.message.body[..], b"only one");
        control.ack(delivery.tag, false).await.unwrap();
        bus.close().await;
        assert_eq!(client.drain("events").await.len(), 0);
    });
}
