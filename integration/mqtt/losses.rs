//! Brokers that drop the link at a packet of their choice, and come back with a session or without.

use lockgate::domain::delivery::{Class, Outcome};

use super::peer::{Peer, Script};
use super::{SESSIONS, SOON, check, failure, publish, publisher};
use crate::support::{eventually, on_system};

/// The types of CONNECT, PUBLISH and PUBREL.
const WHOLE: [u8; 3] = [1, 3, 6];

#[test]
fn a_link_dropped_at_any_packet_is_transient_and_the_event_goes_whole_again() {
    on_system(async {
        for dropped in [
            Script::CloseAtConnect,
            Script::CloseAtPublish(1),
            Script::CloseAfterPubrec,
            Script::CloseAtPubrel,
        ] {
            // It comes back without the session, as it should, or says that it still has one.
            for back in [Script::All, Script::AllWithSession] {
                for session in SESSIONS {
                    let what = format!("{dropped:?}, {back:?}, {session}");
                    let peer = Peer::start(dropped).await;
                    let url = format!("mqtt://127.0.0.1:{}", peer.port);
                    let publisher = publisher(&url, &format!("session = '{session}'"));
                    check(&failure(&publisher).await, Class::Transient, "connection_lost");
                    peer.follow(back);
                    let outcome = publish(&publisher, "again", b"{}").await;
                    assert_eq!(outcome, Outcome::delivered(), "{what}");
                    publisher.close().await;
                    let over = async || (peer.closed() == 2).then_some(());
                    eventually("both connections are over", SOON, over).await;
                    // Nothing of the old connection is said on the new one.
                    let second: Vec<u8> =
                        peer.packets(1).into_iter().filter(|kind| *kind != 14).collect();
                    assert_eq!(second, WHOLE, "{what}");
                    assert_eq!(peer.topics().last().map(String::as_str), Some("again"), "{what}");
                }
            }
        }
    });
}

#[test]
fn every_refusal_of_connect_ends_the_attempt_at_once_and_leaves_no_connection() {
    on_system(async {
        for code in (1..=5).chain([6, 128, 255]) {
            for session in SESSIONS {
                let peer = Peer::start(Script::Connack(code)).await;
                let url = format!("mqtt://127.0.0.1:{}", peer.port);
                let failed = failure(&publisher(&url, &format!("session = '{session}'"))).await;
                let class = if code == 3 { Class::Transient } else { Class::Misconfigured };
                assert_eq!(failed.class, class, "{code} {failed:?}");
                let over = async || (peer.closed() == 1).then_some(());
                eventually("the connection is over", SOON, over).await;
                assert_eq!(peer.packets(0), [1], "{code}: nothing but CONNECT was said");
            }
        }
    });
}
