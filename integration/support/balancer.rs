//! A TCP load balancer, as an operator has one before a cluster: each connection goes to the first
//! server that accepts it, beginning with another one each time.

use std::time::Duration;

use tokio::net::TcpStream;

use super::listening::Listening;

/// How long a server may take to accept.
const ACCEPT: Duration = Duration::from_secs(2);

/// A running balancer.
pub struct Balancer {
    listening: Listening,
}

impl Balancer {
    /// Starts one before these ports of this machine.
    pub fn start(servers: Vec<u16>) -> Self {
        let mut turn = 0;
        let listening = Listening::start(move |client| {
            let mut servers = servers.clone();
            let count = servers.len();
            servers.rotate_left(turn % count);
            turn += 1;
            relay(client, servers)
        });
        Self { listening }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listening.port
    }
}

async fn relay(mut client: TcpStream, servers: Vec<u16>) {
    for server in servers {
        let reaching = TcpStream::connect(("127.0.0.1", server));
        if let Ok(Ok(mut server)) = tokio::time::timeout(ACCEPT, reaching).await {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
    // None is there: the client is told by the end of its connection.
}
