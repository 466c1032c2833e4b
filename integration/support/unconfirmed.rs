//! A RabbitMQ that says less than the real one, or says it later: a relay that looks at frames.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a frame from the server.
enum Fate {
    Pass,
    Drop,
    /// It, and all that follows, comes so much later.
    Late(Duration),
}

/// A method's class and number.
type Method = [u8; 4];

const BASIC_ACK: Method = [0, 60, 0, 80];
const BASIC_CONSUME_OK: Method = [0, 60, 0, 21];

/// A listening relay. It ends with its runtime.
pub struct Unconfirmed {
    pub port: u16,
}

impl Unconfirmed {
    /// Starts one in front of the server at this port: it takes messages and never confirms them.
    pub async fn start(server: u16) -> Self {
        Self::with(server, |method| if method == BASIC_ACK { Fate::Drop } else { Fate::Pass }).await
    }

    /// Starts one whose answer to the first `basic.consume` comes so much later.
    pub async fn first_consume_after(server: u16, delay: Duration) -> Self {
        let first = AtomicBool::new(true);
        let fate = move |method| match method {
            BASIC_CONSUME_OK if first.swap(false, Ordering::SeqCst) => Fate::Late(delay),
            _ => Fate::Pass,
        };
        Self::with(server, fate).await
    }

    async fn with(server: u16, fate: impl Fn(Method) -> Fate + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fate = Rc::new(fate);
        actix_rt::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                actix_rt::spawn(relay(client, server, Rc::clone(&fate)));
            }
        });
        Self { port }
    }
}

async fn relay(client: TcpStream, server: u16, fate: Rc<impl Fn(Method) -> Fate>) {
    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    let (mut client_says, client_hears) = client.into_split();
    let (server_says, mut server_hears) = server.into_split();
    tokio::select! {
        _ = tokio::io::copy(&mut client_says, &mut server_hears) => (),
        _ = filtered(server_says, client_hears, &*fate) => (),
    }
}

async fn filtered(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fate: &impl Fn(Method) -> Fate,
) -> std::io::Result<()> {
    const METHOD: u8 = 1;
    loop {
        // Type, channel and length; then so much and a closing byte.
        let mut head = [0; 7];
        from.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut rest = vec![0; usize::try_from(length).unwrap() + 1];
        from.read_exact(&mut rest).await?;
        let method = rest.first_chunk().filter(|_| head[0] == METHOD);
        match method.map_or(Fate::Pass, |method| fate(*method)) {
            Fate::Drop => continue,
            Fate::Late(delay) => tokio::time::sleep(delay).await,
            Fate::Pass => {}
        }
        to.write_all(&head).await?;
        to.write_all(&rest).await?;
    }
}
