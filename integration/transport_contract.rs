//! What every transport promises, kept by each against a real peer of its kind. A new transport is
//! one more [`Peer`] and one more line at the end.

mod peers;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use lockgate::config::Config;
use lockgate::domain::delivery::{Class, Failure, HeaderValue, Headers, Message, Outcome};
use lockgate::domain::delivery::{Outgoing, Properties};
use lockgate::logic::body::Rendering;
use lockgate::logic::intake::intake;
use lockgate::transport::{self, Instance, Publisher};
use tokio::time::{Instant, timeout};

use self::peers::{Amqp, Http, Mqtt};
use super::support::http::{RawPeer, Step};
use super::support::{eventually, on_system};

/// What a peer does not take any more, in bytes.
const TOO_LARGE: usize = 64 << 10;
/// The type and trigger of every event here.
const EVENT: (&str, &str) = ("Batch", "batch_run_status");
/// The transports' own timeouts where the peer does what it should.
const PATIENT: Duration = Duration::from_secs(10);
/// And where it does not.
const IMPATIENT: Duration = Duration::from_secs(2);
/// How long anything may take here.
const DEADLINE: Duration = Duration::from_secs(60);

/// A partner that works, and what only its own kind can do. It refuses for good what has
/// [`TOO_LARGE`] bytes or more.
trait Peer {
    /// The table of an endpoint for a peer of this kind at `port`, whose every timeout is `within`.
    fn table(&self, port: u16, within: Duration) -> String;

    /// The reason of its refusals.
    fn refusal(&self) -> &'static str;

    /// Its port, also when it is down.
    fn port(&self) -> u16;

    /// The bodies that it has taken since it was started last, in order.
    async fn taken(&self) -> Vec<Bytes>;

    /// Takes it down: its port refuses.
    async fn stop(&mut self);

    /// Starts it again at its port, ready to take events.
    async fn restart(&mut self);

    /// Starts another one, that takes what it is sent and withholds its acknowledgement. Its port.
    async fn withhold(&mut self) -> u16;

    /// How many events that one has taken.
    async fn withheld(&self) -> usize;
}

/// An endpoint as the configuration makes it.
struct Endpoint {
    config: Config,
    publisher: Rc<dyn Publisher>,
}

impl Endpoint {
    fn new(peer: &impl Peer, port: u16, within: Duration) -> Self {
        let table = peer.table(port, within);
        let text = format!(
            "[source]\nurl = 'amqp://127.0.0.1/%2f'\nqueue = 'never-dialled'\n\
             [endpoints.partner]\nevents = ['*/*']\n{table}"
        );
        let config = Config::from_toml_str("the contract", &text, "development")
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let instance = Instance { id: lockgate::world::unique() };
        let publisher =
            config.endpoints.values().next().unwrap().transport.publisher("p", &instance);
        Self { publisher: publisher.unwrap(), config }
    }

    /// What an event with this body is for the endpoint.
    fn outgoing(&self, body: &str) -> Rc<Outgoing> {
        let mut headers = Headers::default();
        headers.insert("event_type".into(), HeaderValue::LongString(EVENT.0.into()));
        headers.insert("event_trigger".into(), HeaderValue::LongString(EVENT.1.into()));
        let properties = Properties::default().with_headers(headers);
        let message = Message { properties, body: body.to_owned().into(), ..Message::default() };
        let event = intake(&message, &self.config.intake, lockgate::world::now()).unwrap();
        let (name, endpoint) = self.config.endpoints.first_key_value().unwrap();
        let rendering = Rendering::default();
        let rendered =
            transport::render(&endpoint.transport, name, endpoint.body, &rendering, &event);
        Rc::new(rendered.unwrap())
    }

    async fn publish(&self, outgoing: &Rc<Outgoing>) -> Outcome {
        let attempt = Rc::clone(&self.publisher).publish(Rc::clone(outgoing));
        timeout(DEADLINE, attempt).await.expect("an attempt ends")
    }

    async fn delivers(&self, outgoing: &Rc<Outgoing>) {
        let outcome = self.publish(outgoing).await;
        assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
    }

    async fn fails(&self, outgoing: &Rc<Outgoing>, class: Class) -> Failure {
        match self.publish(outgoing).await {
            Outcome::Failed(failure) if failure.class == class => failure,
            other => panic!("no {class:?} failure: {other:?}"),
        }
    }

    async fn close(self) {
        timeout(PATIENT, self.publisher.close()).await.expect("a goodbye is short");
    }
}

/// All of it.
async fn contract(mut peer: impl Peer) {
    delivers_the_bytes_unchanged(&peer).await;
    is_refused_for_good_what_the_peer_never_takes(&peer).await;
    delivers_nothing_without_an_acknowledgement(&mut peer).await;
    ends_in_time_when_the_peer_is_silent(&peer).await;
    fails_for_now_while_the_peer_is_down_and_recovers(&mut peer).await;
}

async fn delivers_the_bytes_unchanged(peer: &impl Peer) {
    let endpoint = Endpoint::new(peer, peer.port(), PATIENT);
    let bodies = [
        "{}".to_owned(),
        "{\n  \"n\": 1.0, \"big\": 12345678901234567890,\r\n \"s\": \"\\u00e9 é \\/\" }\n".into(),
        format!("{{\"long\":\"{}\"}}", "ß\\n".repeat(8_000)),
    ];
    let mut expected = Vec::new();
    for body in &bodies {
        let outgoing = endpoint.outgoing(body);
        endpoint.delivers(&outgoing).await;
        expected.push(outgoing.body.clone());
    }
    arrives(peer, &expected).await;
    endpoint.close().await;
}

async fn is_refused_for_good_what_the_peer_never_takes(peer: &impl Peer) {
    let endpoint = Endpoint::new(peer, peer.port(), PATIENT);
    let before = peer.taken().await.len();
    let large = endpoint.outgoing(&format!("{{\"large\":\"{}\"}}", "x".repeat(TOO_LARGE)));
    let failure = endpoint.fails(&large, Class::Permanent).await;
    assert_eq!(failure.reason, peer.refusal(), "{failure:?}");
    // And the next one passes.
    let small = endpoint.outgoing("{\"small\":true}");
    endpoint.delivers(&small).await;
    let new = || async {
        let new = peer.taken().await.split_off(before);
        (!new.is_empty()).then_some(new)
    };
    assert_eq!(eventually("the small event", DEADLINE, new).await, vec![small.body.clone()]);
    endpoint.close().await;
}

async fn delivers_nothing_without_an_acknowledgement(peer: &mut impl Peer) {
    let port = peer.withhold().await;
    let peer = &*peer;
    let endpoint = Endpoint::new(peer, port, IMPATIENT);
    let failure = endpoint.fails(&endpoint.outgoing("{\"withheld\":1}"), Class::Transient).await;
    assert_eq!(failure.reason, "timeout", "{failure:?}");
    // The event did get there.
    let seen = || async { (peer.withheld().await == 1).then_some(()) };
    eventually("the event is seen", DEADLINE, seen).await;
    endpoint.close().await;
}

async fn ends_in_time_when_the_peer_is_silent(peer: &impl Peer) {
    let silent = RawPeer::start(|_| vec![Step::Hang]);
    let endpoint = Endpoint::new(peer, silent.port(), IMPATIENT);
    let outgoing = endpoint.outgoing("{}");
    for attempt in 1..=2 {
        let start = Instant::now();
        let failure = endpoint.fails(&outgoing, Class::Transient).await;
        assert_eq!(failure.reason, "timeout", "{failure:?}");
        assert!(start.elapsed() < IMPATIENT * 2, "attempt {attempt}: {:?}", start.elapsed());
    }
    endpoint.close().await;
}

async fn fails_for_now_while_the_peer_is_down_and_recovers(peer: &mut impl Peer) {
    let endpoint = Endpoint::new(peer, peer.port(), PATIENT);
    let (before, after) =
        (endpoint.outgoing("{\"t\":\"before\"}"), endpoint.outgoing("{\"t\":\"after\"}"));
    endpoint.delivers(&before).await;
    peer.stop().await;
    for _ in 0..3 {
        endpoint.fails(&before, Class::Transient).await;
    }
    peer.restart().await;
    eventually("it delivers again", DEADLINE, async || match endpoint.publish(&after).await {
        Outcome::Delivered { .. } => Some(()),
        Outcome::Failed(failure) => {
            assert_eq!(failure.class, Class::Transient, "{failure:?}");
            None
        }
    })
    .await;
    let arrived = || async { peer.taken().await.contains(&after.body).then_some(()) };
    eventually("the event arrives", DEADLINE, arrived).await;
    endpoint.close().await;
}

/// Waits until as many bodies have arrived, which must be these.
async fn arrives(peer: &impl Peer, expected: &[Bytes]) {
    let enough = || async {
        let taken = peer.taken().await;
        (taken.len() >= expected.len()).then_some(taken)
    };
    assert_eq!(eventually("everything arrives", DEADLINE, enough).await, expected);
}

macro_rules! keep_the_contract {
    ($($transport:ident: $peer:expr;)*) => {$(
        #[test]
        fn $transport() {
            on_system(async { contract($peer).await });
        }
    )*};
}

keep_the_contract! {
    mqtt_per_event: Mqtt::start("per-event").await;
    mqtt_persistent: Mqtt::start("persistent").await;
    rest: Http::start("rest", "non_2xx = 'retry'");
    webhook: Http::start("webhook", "secret = 's3cr3t'");
    amqp_per_event: Amqp::start("per-event").await;
    amqp_persistent: Amqp::start("persistent").await;
}
