//! A scripted broker: it answers exactly what a test wants, and no more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::mqtt_cut::read_packet;

/// How far the peer goes with each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Reads, and never answers.
    Silence,
    /// Answers CONNECT with this return code, then reads.
    Connack(u8),
    /// Answers PUBLISH with PUBREC, and withholds PUBCOMP.
    Pubrec,
    /// Closes the connection at CONNECT.
    CloseAtConnect,
    /// Closes the connection at this PUBLISH.
    CloseAtPublish(usize),
    /// Answers PUBLISH with PUBREC, and closes the connection.
    CloseAfterPubrec,
    /// Closes the connection at PUBREL.
    CloseAtPubrel,
    /// Does everything, and closes the connection together with PUBCOMP.
    PubcompAndClose,
    /// Does everything, and knows no session of before.
    All,
    /// Does everything, and says that it has a session of before.
    AllWithSession,
    /// Answers with this text, whatever it read.
    Text(&'static str),
}

/// A listening peer. What it saw can be read while it runs; it ends with its runtime.
pub struct Peer {
    pub port: u16,
    script: Rc<Cell<Script>>,
    topics: Rc<RefCell<Vec<String>>>,
    packets: Rc<RefCell<Vec<Vec<u8>>>>,
    connections: Rc<Cell<usize>>,
    closed: Rc<Cell<usize>>,
}

impl Peer {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            port: listener.local_addr().unwrap().port(),
            script: Rc::new(Cell::new(script)),
            topics: Rc::default(),
            packets: Rc::default(),
            connections: Rc::default(),
            closed: Rc::default(),
        };
        let (script, topics) = (Rc::clone(&peer.script), Rc::clone(&peer.topics));
        let packets = Rc::clone(&peer.packets);
        let (connections, closed) = (Rc::clone(&peer.connections), Rc::clone(&peer.closed));
        actix_rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = connections.replace(connections.get() + 1);
                packets.borrow_mut().push(Vec::new());
                let packets = Rc::clone(&packets);
                let (script, topics, closed) = (script.get(), Rc::clone(&topics), closed.clone());
                actix_rt::spawn(async move {
                    let seen = |kind| packets.borrow_mut()[number].push(kind);
                    serve(stream, script, &topics, seen).await;
                    closed.set(closed.get() + 1);
                });
            }
        });
        peer
    }

    /// Changes the script for the connections to come.
    pub fn follow(&self, script: Script) {
        self.script.set(script);
    }

    /// The topics of every PUBLISH on all connections, in order.
    pub fn topics(&self) -> Vec<String> {
        self.topics.borrow().clone()
    }

    /// The types of the packets that came over this connection, counted from 0.
    pub fn packets(&self, connection: usize) -> Vec<u8> {
        self.packets.borrow()[connection].clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    pub fn closed(&self) -> usize {
        self.closed.get()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Script,
    topics: &RefCell<Vec<String>>,
    seen: impl Fn(u8),
) {
    if let Script::Text(text) = script {
        let mut some = [0; 1_024];
        let _ = stream.read(&mut some).await;
        let _ = stream.write_all(text.as_bytes()).await;
        return;
    }
    let mut published = 0;
    while let Some((kind, body)) = packet(&mut stream).await {
        seen(kind);
        let answer: &[u8] = match (kind, script) {
            (1, Script::CloseAtConnect) | (6, Script::CloseAtPubrel) | (14, _) => return,
            (1, Script::Connack(code)) => &[0x20, 2, 0, code],
            (1, Script::Silence) => &[],
            (1, Script::AllWithSession) => &[0x20, 2, 1, 0],
            (1, _) => &[0x20, 2, 0, 0],
            (3, _) => {
                let (topic, id) = publish(&body);
                topics.borrow_mut().push(topic);
                published += 1;
                match script {
                    Script::CloseAtPublish(at) if published == at => return,
                    Script::Pubrec
                    | Script::CloseAfterPubrec
                    | Script::CloseAtPubrel
                    | Script::All
                    | Script::AllWithSession
                    | Script::PubcompAndClose => &[0x50, 2, id[0], id[1]],
                    _ => &[],
                }
            }
            (6, Script::All | Script::AllWithSession | Script::PubcompAndClose) => {
                &[0x70, 2, body[0], body[1]]
            }
            _ => &[],
        };
        let last =
            matches!((kind, script), (3, Script::CloseAfterPubrec) | (6, Script::PubcompAndClose));
        if stream.write_all(answer).await.is_err() || last {
            return;
        }
    }
}

/// The next packet's type and what follows its header; `None` at the end.
async fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut packet = read_packet(stream).await?;
    let kind = packet[0] >> 4;
    let head = 1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    Some((kind, packet.split_off(head)))
}

fn publish(body: &[u8]) -> (String, [u8; 2]) {
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    (String::from_utf8_lossy(&body[2..end]).into_owned(), [body[end], body[end + 1]])
}
