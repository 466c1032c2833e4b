//! A TCP load balancer, as an operator has one before a cluster: each connection goes to the first
//! server that accepts it, beginning with another one each time.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// How long a server may take to accept.
const ACCEPT: Duration = Duration::from_secs(2);

/// A balancer in a thread of its own, which lives as long as the test run.
pub struct Balancer {
    /// Its port.
    pub port: u16,
}

impl Balancer {
    /// Starts one before these ports of this machine.
    pub fn start(servers: Vec<u16>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                for turn in 0.. {
                    let (client, _) = listener.accept().await.unwrap();
                    let (mut servers, count) = (servers.clone(), servers.len());
                    servers.rotate_left(turn % count);
                    tokio::spawn(relay(client, servers));
                }
            });
        });
        Self { port }
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
