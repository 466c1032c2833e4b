//! A RabbitMQ that takes messages and never says so: a relay to a real one, without its confirms.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A listening relay. It ends with its runtime.
pub struct Unconfirmed {
    pub port: u16,
}

impl Unconfirmed {
    /// Starts one in front of the server at this port.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        actix_rt::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                actix_rt::spawn(relay(client, server));
            }
        });
        Self { port }
    }
}

async fn relay(client: TcpStream, server: u16) {
    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    let (mut client_says, client_hears) = client.into_split();
    let (server_says, mut server_hears) = server.into_split();
    tokio::select! {
        _ = tokio::io::copy(&mut client_says, &mut server_hears) => (),
        _ = without_confirms(server_says, client_hears) => (),
    }
}

/// Passes every frame on but basic.ack.
async fn without_confirms(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    const METHOD: u8 = 1;
    const BASIC_ACK: [u8; 4] = [0, 60, 0, 80];
    loop {
        // Type, channel and length; then so much and a closing byte.
        let mut head = [0; 7];
        from.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut rest = vec![0; usize::try_from(length).unwrap() + 1];
        from.read_exact(&mut rest).await?;
        if head[0] != METHOD || !rest.starts_with(&BASIC_ACK) {
            to.write_all(&head).await?;
            to.write_all(&rest).await?;
        }
    }
}
