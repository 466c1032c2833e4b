//! The proxy that other tests put before servers does what it says: these tests hold it to that.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::support::proxy::{End, Fault, Proxy, Way};
use super::support::{eventually, on_system};

/// How long anything may take.
const SOON: Duration = Duration::from_secs(20);
/// Nothing comes within this long: only what must not come is waited for so.
const QUIET: Duration = Duration::from_millis(300);

/// A proxy before a server that sends back whatever it gets.
async fn before_an_echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    actix_rt::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            actix_rt::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    Proxy::start(port)
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap()
}

/// A connection over which something has gone both ways.
async fn used(proxy: &Proxy) -> TcpStream {
    let mut stream = connect(proxy).await;
    echoes(&mut stream, b"hello").await;
    stream
}

async fn echoes(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    comes(stream, bytes).await;
}

async fn comes(stream: &mut TcpStream, bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    timeout(SOON, stream.read_exact(&mut back)).await.expect("it comes").unwrap();
    assert!(back == bytes, "other bytes came back");
}

async fn nothing_comes(stream: &mut TcpStream) {
    let read = timeout(QUIET, stream.read_u8()).await;
    assert!(read.is_err(), "{read:?}");
}

/// How the connection ends; what comes before its end is counted.
async fn end(stream: &mut TcpStream) -> (usize, Result<(), ErrorKind>) {
    let mut rest = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it ends");
    (rest.len(), read.map(|_| ()).map_err(|error| error.kind()))
}

/// How a new connection ends, over which nothing comes. A reset may come so fast that to connect
/// fails with it.
async fn end_of_new(proxy: &Proxy) -> Result<(), ErrorKind> {
    match TcpStream::connect(("127.0.0.1", proxy.port())).await {
        Err(error) => Err(error.kind()),
        Ok(mut stream) => {
            let (count, how) = end(&mut stream).await;
            assert_eq!(count, 0);
            how
        }
    }
}

#[test]
fn it_passes_every_byte_and_the_end_of_each_direction() {
    on_system(async {
        let proxy = before_an_echo().await;
        let body: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(3_000_000).collect();
        let mut stream = connect(&proxy).await;
        let (mut from, mut to) = stream.split();
        let send = async {
            to.write_all(&body).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let mut back = Vec::new();
        let (read, ()) = tokio::join!(timeout(SOON, from.read_to_end(&mut back)), send);
        read.expect("it ends").unwrap();
        assert!(back == body);
        assert_eq!(proxy.carried(), (3_000_000, 3_000_000));
        eventually("the connection is over", SOON, async || (proxy.open() == 0).then_some(()))
            .await;
        assert_eq!(proxy.accepted(), 1);
    });
}

#[test]
fn a_cut_ends_old_connections_orderly_or_by_a_reset_and_new_ones_pass() {
    on_system(async {
        let proxy = before_an_echo().await;
        for (how, seen) in [(End::Fin, Ok(())), (End::Reset, Err(ErrorKind::ConnectionReset))] {
            let mut old = [used(&proxy).await, used(&proxy).await];
            proxy.cut(how);
            for stream in &mut old {
                assert_eq!(end(stream).await, (0, seen), "{how:?}");
            }
            used(&proxy).await;
        }
    });
}

#[test]
fn a_lasting_cut_ends_new_connections_too() {
    on_system(async {
        let proxy = before_an_echo().await;
        for (how, seen) in [(End::Fin, Ok(())), (End::Reset, Err(ErrorKind::ConnectionReset))] {
            let mut old = used(&proxy).await;
            proxy.set(Fault::Cut(how));
            assert_eq!(end(&mut old).await, (0, seen), "{how:?}");
            assert_eq!(end_of_new(&proxy).await, seen, "{how:?}");
            proxy.set(Fault::Pass);
            used(&proxy).await;
        }
    });
}

#[test]
fn a_frozen_connection_is_silent_both_ways_and_loses_nothing() {
    on_system(async {
        let proxy = before_an_echo().await;
        let mut old = used(&proxy).await;
        proxy.set(Fault::Freeze(Way::Both));
        let mut new = connect(&proxy).await;
        for stream in [&mut old, &mut new] {
            stream.write_all(b"frozen").await.unwrap();
            nothing_comes(stream).await;
        }
        assert_eq!(proxy.carried(), (5, 5));
        proxy.set(Fault::Pass);
        comes(&mut old, b"frozen").await;
        comes(&mut new, b"frozen").await;
        // A cut reaches those that are frozen.
        proxy.set(Fault::Freeze(Way::Both));
        proxy.cut(End::Reset);
        assert_eq!(end(&mut old).await, (0, Err(ErrorKind::ConnectionReset)));
    });
}

#[test]
fn a_half_open_connection_carries_one_way_only() {
    on_system(async {
        let proxy = before_an_echo().await;
        let mut stream = used(&proxy).await;
        proxy.set(Fault::Freeze(Way::ToClient));
        stream.write_all(b"one way").await.unwrap();
        eventually("the server has it", SOON, || async {
            (proxy.carried() == (5 + 7, 5)).then_some(())
        })
        .await;
        nothing_comes(&mut stream).await;
        assert_eq!(proxy.carried(), (5 + 7, 5));
        proxy.set(Fault::Freeze(Way::ToServer));
        comes(&mut stream, b"one way").await;
        stream.write_all(b"other").await.unwrap();
        nothing_comes(&mut stream).await;
        assert_eq!(proxy.carried(), (5 + 7, 5 + 7));
        proxy.set(Fault::Pass);
        comes(&mut stream, b"other").await;
    });
}

#[test]
fn a_delay_lies_on_each_byte_once_and_does_not_add_up() {
    on_system(async {
        let proxy = before_an_echo().await;
        let mut stream = used(&proxy).await;
        let delay = Duration::from_millis(200);
        proxy.set(Fault::Delay(delay));
        let start = Instant::now();
        echoes(&mut stream, b"later").await;
        assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());
        // A hundred parts, each 200 ms late on both ways, are not 40 s late.
        let start = Instant::now();
        for _ in 0..100 {
            stream.write_all(b"part").await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        comes(&mut stream, &b"part".repeat(100)).await;
        let took = start.elapsed();
        assert!(took >= 2 * delay && took < 50 * delay, "{took:?}");
    });
}

#[test]
fn a_reset_comes_after_exactly_so_many_bytes() {
    on_system(async {
        let proxy = before_an_echo().await;
        let mut old = used(&proxy).await;
        for way in [Way::ToClient, Way::Both] {
            proxy.set(Fault::ResetAfter(way, 1_000));
            let mut new = connect(&proxy).await;
            for stream in [&mut old, &mut new] {
                let _ = stream.write_all(&[b'x'; 600]).await;
                let mut part = [0; 600];
                stream.read_exact(&mut part).await.unwrap();
                let _ = stream.write_all(&[b'x'; 600]).await;
                let (rest, how) = end(stream).await;
                assert_eq!(how, Err(ErrorKind::ConnectionReset), "{way:?}");
                assert!(rest <= 400, "{rest}");
                if way == Way::ToClient {
                    assert_eq!(rest, 400);
                }
            }
            proxy.set(Fault::Pass);
            old = used(&proxy).await;
        }
    });
}

#[test]
fn a_trickle_is_one_byte_at_a_time() {
    on_system(async {
        let proxy = before_an_echo().await;
        let mut stream = used(&proxy).await;
        proxy.set(Fault::Trickle(Duration::from_millis(100)));
        let start = Instant::now();
        stream.write_all(b"0123456789").await.unwrap();
        let mut first = [0; 10];
        let count = timeout(SOON, stream.read(&mut first)).await.unwrap().unwrap();
        comes(&mut stream, &b"0123456789"[count..]).await;
        assert!(start.elapsed() >= Duration::from_millis(11 * 100), "{:?}", start.elapsed());
        assert!(count < 10, "they came together");
        proxy.set(Fault::Pass);
        echoes(&mut stream, &[b'x'; 10_000]).await;
    });
}

#[test]
fn new_connections_are_refused_while_old_ones_go_on() {
    on_system(async {
        let proxy = before_an_echo().await;
        let mut old = used(&proxy).await;
        for _ in 0..3 {
            proxy.set(Fault::Refuse);
            let refused = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            echoes(&mut old, b"still here").await;
            proxy.set(Fault::Pass);
            used(&proxy).await;
            echoes(&mut old, b"still here").await;
        }
    });
}

#[test]
fn a_server_that_is_gone_ends_the_connection_at_once() {
    on_system(async {
        let proxy = Proxy::start(super::support::free_port());
        assert_eq!(end_of_new(&proxy).await, Err(ErrorKind::ConnectionReset));
    });
}
