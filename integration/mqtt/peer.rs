//! A scripted broker: it answers exactly what a test wants, and no more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How far the peer goes with each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Reads, and never answers.
    Silence,
    /// Answers CONNECT with this return code, then reads.
    Connack(u8),
    /// Answers PUBLISH with PUBREC, and withholds PUBCOMP.
    Pubrec,
    /// Closes the connection at this PUBLISH.
    CloseAtPublish(usize),
    /// Does everything, and closes the connection together with PUBCOMP.
    PubcompAndClose,
    /// Does everything.
    All,
    /// Answers with this text, whatever it read.
    Text(&'static str),
}

/// A listening peer. What it saw can be read while it runs; it ends with its runtime.
pub struct Peer {
    pub port: u16,
    script: Rc<Cell<Script>>,
    topics: Rc<RefCell<Vec<String>>>,
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
            connections: Rc::default(),
            closed: Rc::default(),
        };
        let (script, topics) = (Rc::clone(&peer.script), Rc::clone(&peer.topics));
        let (connections, closed) = (Rc::clone(&peer.connections), Rc::clone(&peer.closed));
        actix_rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.set(connections.get() + 1);
                let (script, topics, closed) = (script.get(), Rc::clone(&topics), closed.clone());
                actix_rt::spawn(async move {
                    serve(stream, script, &topics).await;
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

    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    pub fn closed(&self) -> usize {
        self.closed.get()
    }
}

async fn serve(mut stream: TcpStream, script: Script, topics: &RefCell<Vec<String>>) {
    if let Script::Text(text) = script {
        let mut some = [0; 1_024];
        let _ = stream.read(&mut some).await;
        let _ = stream.write_all(text.as_bytes()).await;
        return;
    }
    let mut published = 0;
    while let Some((kind, body)) = packet(&mut stream).await {
        let answer: &[u8] = match (kind, script) {
            (1, Script::Connack(code)) => &[0x20, 2, 0, code],
            (1, Script::Silence) => &[],
            (1, _) => &[0x20, 2, 0, 0],
            (3, _) => {
                let (topic, id) = publish(&body);
                topics.borrow_mut().push(topic);
                published += 1;
                match script {
                    Script::CloseAtPublish(at) if published == at => return,
                    Script::Pubrec | Script::All | Script::PubcompAndClose => {
                        &[0x50, 2, id[0], id[1]]
                    }
                    _ => &[],
                }
            }
            (6, Script::All | Script::PubcompAndClose) => &[0x70, 2, body[0], body[1]],
            (14, _) => return,
            _ => &[],
        };
        if stream.write_all(answer).await.is_err() || (kind, script) == (6, Script::PubcompAndClose)
        {
            return;
        }
    }
}

/// The next packet's type and what follows its header; `None` at the end.
async fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await.ok()? >> 4;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((kind, body))
}

fn publish(body: &[u8]) -> (String, [u8; 2]) {
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    (String::from_utf8_lossy(&body[2..end]).into_owned(), [body[end], body[end + 1]])
}
