//! A peer for each transport: real servers for what partners should do, scripts for what they should
//! not.

use std::cell::RefCell;
use std::sync::MutexGuard;
use std::time::Duration;

use bytes::Bytes;
use lapin::ExchangeKind;

use super::{EVENT, Peer, TOO_LARGE};
use crate::mqtt::peer::{self, Script};
use crate::support::http::{Answer, HttpServer, RawPeer, Step};
use crate::support::mosquitto::{Mosquitto, PASSWORD, Subscriber, USER};
use crate::support::rabbitmq::{Client, Node, Place, rough_node};
use crate::support::unconfirmed::Unconfirmed;

/// Mosquitto; and a script that ends with PUBREC.
pub(super) struct Mqtt {
    session: &'static str,
    broker: Mosquitto,
    subscriber: Subscriber,
    withholding: Option<peer::Peer>,
}

impl Mqtt {
    pub(super) async fn start(session: &'static str) -> Self {
        let broker = Mosquitto::start().await;
        let subscriber = broker.subscribe("#").await;
        Self { session, broker, subscriber, withholding: None }
    }
}

impl Peer for Mqtt {
    fn table(&self, port: u16, within: Duration) -> String {
        let (session, ms) = (self.session, within.as_millis());
        format!(
            "[endpoints.partner.mqtt]\nurl = 'mqtt://127.0.0.1:{port}'\nsession = '{session}'\n\
             username = '{USER}'\npassword = '{PASSWORD}'\nmax_packet_size = {TOO_LARGE}\n\
             connect_timeout = '{ms}ms'\npublish_timeout = '{ms}ms'"
        )
    }

    fn refusal(&self) -> &'static str {
        "too_large"
    }

    fn port(&self) -> u16 {
        let url = self.broker.url("mqtt");
        url.rsplit(':').next().unwrap().parse().unwrap()
    }

    async fn taken(&self) -> Vec<Bytes> {
        self.subscriber.messages().into_iter().map(|message| message.payload.into()).collect()
    }

    async fn stop(&mut self) {
        self.broker.stop();
    }

    async fn restart(&mut self) {
        self.broker.restart().await;
        self.subscriber = self.broker.subscribe("#").await;
    }

    async fn withhold(&mut self) -> u16 {
        self.withholding.insert(peer::Peer::start(Script::Pubrec).await).port
    }

    async fn withheld(&self) -> usize {
        self.withholding.as_ref().unwrap().topics().len()
    }
}

/// An HTTP server; and a script that reads a request and answers nothing.
pub(super) struct Http {
    kind: &'static str,
    lines: &'static str,
    port: u16,
    server: Option<HttpServer>,
    withholding: Option<RawPeer>,
}

impl Http {
    /// For the endpoint's table `kind`, with these lines in it.
    pub(super) fn start(kind: &'static str, lines: &'static str) -> Self {
        let server = picky(HttpServer::start());
        Self { kind, lines, port: server.port(), server: Some(server), withholding: None }
    }
}

fn picky(server: HttpServer) -> HttpServer {
    server.answer(|request| Answer::status(if request.body.len() < TOO_LARGE { 204 } else { 400 }));
    server
}

impl Peer for Http {
    fn table(&self, port: u16, within: Duration) -> String {
        let (kind, lines, ms) = (self.kind, self.lines, within.as_millis());
        format!(
            "[endpoints.partner.{kind}]\nurl = 'http://127.0.0.1:{port}/'\n{lines}\n\
             timeout = '{ms}ms'"
        )
    }

    fn refusal(&self) -> &'static str {
        "http_400"
    }

    fn port(&self) -> u16 {
        self.port
    }

    async fn taken(&self) -> Vec<Bytes> {
        let all = self.server.as_ref().unwrap().received().into_iter();
        all.map(|request| request.body).filter(|body| body.len() < TOO_LARGE).collect()
    }

    async fn stop(&mut self) {
        self.server = None;
    }

    async fn restart(&mut self) {
        self.server = Some(picky(HttpServer::start_on(self.port)));
    }

    async fn withhold(&mut self) -> u16 {
        let silent = RawPeer::start(|_| vec![Step::Read, Step::Hang]);
        self.withholding.insert(silent).port()
    }

    async fn withheld(&self) -> usize {
        self.withholding.as_ref().unwrap().requests().len()
    }
}

const QUEUE: &str = "partner";

/// RabbitMQ; and a relay to it that keeps its confirms.
pub(super) struct Amqp {
    session: &'static str,
    node: MutexGuard<'static, Node>,
    place: Place,
    client: Option<Client>,
    taken: RefCell<Vec<Bytes>>,
    taken_before: usize,
}

impl Amqp {
    pub(super) async fn start(session: &'static str) -> Self {
        let mut peer = Self::lent(session, rough_node());
        let client = peer.client.insert(Client::connect(&peer.place.url).await);
        client.declare(QUEUE, true).await;
        client.bind(EVENT.0, ExchangeKind::Topic, QUEUE, EVENT.1).await;
        peer
    }

    fn lent(session: &'static str, node: MutexGuard<'static, Node>) -> Self {
        node.refuse_larger_than(TOO_LARGE);
        let place = node.place();
        Self { session, node, place, client: None, taken: RefCell::default(), taken_before: 0 }
    }
}

impl Peer for Amqp {
    fn table(&self, port: u16, within: Duration) -> String {
        let (session, vhost, ms) = (self.session, &self.place.vhost, within.as_millis());
        format!(
            "[endpoints.partner.amqp]\nurl = 'amqp://guest:guest@127.0.0.1:{port}/{vhost}'\n\
             session = '{session}'\ntimeout = '{ms}ms'"
        )
    }

    fn refusal(&self) -> &'static str {
        "too_large"
    }

    fn port(&self) -> u16 {
        self.node.port
    }

    async fn taken(&self) -> Vec<Bytes> {
        let more = self.client.as_ref().unwrap().drain(QUEUE).await;
        self.taken.borrow_mut().extend(more.into_iter().map(|message| message.body));
        self.taken.borrow().clone()
    }

    async fn stop(&mut self) {
        self.client = None;
        self.node.save_tables();
        self.node.kill();
    }

    async fn restart(&mut self) {
        self.node.restart();
        self.taken.borrow_mut().clear();
        self.client = Some(Client::connect(&self.place.url).await);
    }

    async fn withhold(&mut self) -> u16 {
        self.taken_before = self.taken().await.len();
        Unconfirmed::start(self.node.port).await.port
    }

    async fn withheld(&self) -> usize {
        self.taken().await.len() - self.taken_before
    }
}
