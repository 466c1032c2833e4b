//! A listener on a free port with a thread of its own: what partners, proxies and balancers stand on.
//!
//! Owns accepting and the end. Refuses to know what is done with a connection.

use std::net::TcpListener;
use std::thread::JoinHandle;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Its port closes when it is dropped, and every connection with it.
pub struct Listening {
    /// Its port, on 127.0.0.1.
    pub port: u16,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// Starts one that serves each connection by a task of its own.
    pub fn start<F: Future<Output = ()> + Send + 'static>(
        mut serve: impl FnMut(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let accepting = async {
                    loop {
                        // Out of descriptors, say: the test finds out by its deadline.
                        if let Ok((stream, _)) = listener.accept().await {
                            tokio::spawn(serve(stream));
                        }
                    }
                };
                tokio::select! { () = stopped.cancelled() => (), () = accepting => () }
            });
        });
        Self { port, stop, thread: Some(thread) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
