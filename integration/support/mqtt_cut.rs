//! A proxy before an MQTT broker that cuts connections at a chosen packet of the handshake or of a
//! `QoS` 2 publish.
//!
//! Owns the points at which a link can be cut, and the counting of what passes them. Every other
//! cut is a reset, the rest are orderly ends. Refuses to answer anything itself: the broker behind it is
//! a real one. See [`super::proxy`] for faults that know nothing of MQTT.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::listening::Listening;

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The broker has answered CONNECT; the client never hears it.
    BeforeConnack,
    /// The broker has the PUBLISH; the client hears nothing of it.
    AfterPublish,
    /// The client has PUBREC, and can say nothing more.
    AfterPubrec,
    /// The broker has PUBREL, with which the message goes to its subscribers.
    AfterPubrel,
    /// The broker has said PUBCOMP; the client never hears it.
    BeforePubcomp,
    /// The client has PUBCOMP.
    AfterPubcomp,
}

impl Point {
    /// All of them, in the order in which a publish passes them.
    pub const ALL: [Self; 6] = [
        Self::BeforeConnack,
        Self::AfterPublish,
        Self::AfterPubrec,
        Self::AfterPubrel,
        Self::BeforePubcomp,
        Self::AfterPubcomp,
    ];

    /// For endpoints and topics: `after-pubrel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeConnack => "before-connack",
            Self::AfterPublish => "after-publish",
            Self::AfterPubrec => "after-pubrec",
            Self::AfterPubrel => "after-pubrel",
            Self::BeforePubcomp => "before-pubcomp",
            Self::AfterPubcomp => "after-pubcomp",
        }
    }

    /// The packet that counts, and whether it still goes on.
    fn packet(self) -> (u8, bool) {
        match self {
            Self::BeforeConnack => (CONNACK, false),
            Self::AfterPublish => (PUBLISH, true),
            Self::AfterPubrec => (PUBREC, true),
            Self::AfterPubrel => (PUBREL, true),
            Self::BeforePubcomp => (PUBCOMP, false),
            Self::AfterPubcomp => (PUBCOMP, true),
        }
    }
}

/// When a connection is cut.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where.
    pub point: Point,
    /// At every so-many-th packet of that point, over all connections.
    pub every: usize,
    /// Ends a connection after so many PUBCOMPs too: a lasting one has no CONNACK but its first.
    pub lasts: usize,
}

#[derive(Default)]
struct Counts {
    passed: AtomicUsize,
    cuts: AtomicUsize,
}

/// The proxy. Ends with this value, and every connection with it.
pub struct CutProxy {
    listening: Listening,
    counts: Arc<Counts>,
}

impl CutProxy {
    /// Starts one before the broker on this port of 127.0.0.1.
    pub fn start(broker: u16, plan: Plan) -> Self {
        let counts = Arc::<Counts>::default();
        let theirs = Arc::clone(&counts);
        let serve = move |client| connection(client, broker, plan, Arc::clone(&theirs));
        Self { listening: Listening::start(serve), counts }
    }

    /// Where clients connect to.
    pub fn port(&self) -> u16 {
        self.listening.port
    }

    /// How often it has cut at its point.
    pub fn cuts(&self) -> usize {
        self.counts.cuts.load(Ordering::SeqCst)
    }
}

async fn connection(mut client: TcpStream, broker: u16, plan: Plan, counts: Arc<Counts>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", broker)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let cut = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let up = carry(&mut from_client, &mut to_server, plan, &counts);
        let down = carry(&mut from_server, &mut to_client, plan, &counts);
        tokio::select! { cut = up => cut, cut = down => cut }
    };
    if let Some(number) = cut
        && number % 2 == 0
    {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    } else {
        let _ = (client.shutdown().await, server.shutdown().await);
    }
}

/// Carries packets one way until the connection ends, or is to end: then the number of the cut.
async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    plan: Plan,
    counts: &Counts,
) -> Option<usize> {
    let (wanted, goes_on) = plan.point.packet();
    let mut completed = 0;
    while let Some(packet) = read_packet(from).await {
        let kind = packet[0] >> 4;
        let here = kind == wanted
            && counts.passed.fetch_add(1, Ordering::SeqCst) % plan.every == plan.every - 1;
        if !here || goes_on {
            to.write_all(&packet).await.ok()?;
        }
        if here {
            return Some(counts.cuts.fetch_add(1, Ordering::SeqCst));
        }
        completed += usize::from(kind == PUBCOMP);
        if completed >= plan.lasts {
            return None;
        }
    }
    None
}

/// The next packet, whole, with its header; `None` at the end.
pub async fn read_packet(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut packet = vec![stream.read_u8().await.ok()?];
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        packet.push(byte);
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let head = packet.len();
    packet.resize(head + length, 0);
    stream.read_exact(&mut packet[head..]).await.ok()?;
    Some(packet)
}
