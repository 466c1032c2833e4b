//! HTTP partners that answer with too much: bombs, floods and heads without an end. What it comes to,
//! and that it costs neither memory nor the neighbours anything.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use lockgate::domain::delivery::{Address, Outcome, Outgoing, Properties};
use lockgate::transport::{Instance, rest};
use serde_json::json;

use super::support::http::{HttpServer, RawPeer, Request, Step, write};
use super::support::lockgate::{Configuration, Lockgate};
use super::support::rabbitmq::{Client, node};
use super::support::{eventually, on_system};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// What a flood would send, in bytes.
const FLOOD: u64 = 1 << 30;
/// By how much the bridge may grow beside ten floods, in KiB.
const GROWTH: u64 = 64 << 10;

/// 100 MiB of zeros, as gzip packs them.
fn bomb() -> Vec<u8> {
    let packed = Command::new("sh").args(["-c", "head -c 104857600 /dev/zero | gzip -1"]).output();
    let packed = packed.expect("gzip runs").stdout;
    assert!((50_000..2_000_000).contains(&packed.len()), "{} bytes", packed.len());
    packed
}

/// Every kind of flood, and what an attempt comes to: `None` is delivered, for the answer is complete
/// as far as it counts.
fn floods() -> Vec<(&'static str, Vec<Step>, Option<&'static str>)> {
    let bomb = bomb();
    let head = |text: &str| write(&format!("HTTP/1.1 200 OK\r\n{text}"));
    let bomb_head = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
    let body = "Content-Length: 1073741824\r\n\r\n";
    let chunk = "Transfer-Encoding: chunked\r\n\r\n40000000\r\n";
    vec![
        ("bomb", vec![Step::Read, head(&bomb_head), Step::Write(bomb)], None),
        ("body", vec![Step::Read, head(body), Step::Flood(FLOOD)], None),
        ("chunk", vec![Step::Read, head(chunk), Step::Flood(FLOOD)], None),
        ("open", vec![Step::Read, head("\r\n"), Step::Flood(FLOOD)], None),
        ("header", vec![Step::Read, head("X: "), Step::Flood(FLOOD)], Some("bad_answer")),
        ("garbage", vec![Step::Read, Step::Flood(FLOOD)], Some("bad_answer")),
    ]
}

#[test]
fn an_answer_without_an_end_is_read_to_a_bound_and_no_further() {
    on_system(async {
        for (name, steps, reason) in floods() {
            let peer = RawPeer::start(move |_| steps.clone());
            let settings = json!({ "url": peer.url("/"), "timeout": "20s", "non_2xx": "retry" });
            let settings: rest::Settings = serde_json::from_value(settings).unwrap();
            let publisher = rest::publisher(&settings, "erp", &Instance { id: "test".into() });
            let outgoing = Outgoing {
                event_id: "1".into(),
                event_name: "a.b".into(),
                address: Address::Url,
                body: "{}".into(),
                trace: None,
            };
            let outcome = publisher.unwrap().publish(Rc::new(outgoing)).await;
            let found = match &outcome {
                Outcome::Delivered { .. } => None,
                Outcome::Failed(failure) => Some(failure.reason.as_str()),
            };
            assert_eq!(found, reason, "{name}: {outcome:?}");
            eventually("the peer notices", DEADLINE, async || (peer.ended() == 1).then_some(()))
                .await;
            // What the kernel buffers on both sides, and no more: nobody read the rest.
            assert!(peer.written() < 32 << 20, "{name}: {}", peer.written());
        }
    });
}

/// The most memory that a process ever had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn floods_cost_the_bridge_bounded_memory_and_its_other_partners_nothing() {
    on_system(async {
        let folder = tempfile::tempdir().unwrap();
        let place = node().place();
        let healthy = HttpServer::start();
        let peers: Vec<(&str, RawPeer)> = floods()
            .into_iter()
            .map(|(name, steps, _)| (name, RawPeer::start(move |_| steps.clone())))
            .collect();
        let mut toml = format!(
            "[source]\nurl = \"{}\"\nqueue = \"events\"\n\
             bindings = [{{ exchange = \"Batch\", type = \"topic\", routing_key = \"#\" }}]\n",
            place.url
        );
        let urls = peers.iter().map(|(name, peer)| (*name, peer.url("/")));
        for (name, url) in urls.chain([("healthy", healthy.url("/"))]) {
            write!(
                toml,
                "[endpoints.{name}]\nevents = [\"*/*\"]\nretry = {{ schedule = [\"1h\"] }}\n\
                 [endpoints.{name}.rest]\nurl = \"{url}\"\nnon_2xx = \"retry\"\n"
            )
            .unwrap();
        }
        let lockgate = Lockgate::start_ready(&Configuration::write(folder.path(), &toml)).await;
        let platform = Client::connect(&place.url).await;
        let publish = async |id: &str| {
            let body = format!(r#"{{"event_id":"{id}"}}"#);
            let properties = Properties::default();
            platform.publish("Batch", "batch_run_status", properties, body.as_bytes()).await;
        };
        let before = peak(lockgate.pid());
        let expected: BTreeSet<String> = (0..30).map(|n| format!("e-{n}")).collect();
        for id in &expected {
            publish(id).await;
        }
        eventually("every event is settled", DEADLINE, async || {
            (lockgate.metric("lockgate_events_acknowledged_total").await >= 30.0).then_some(())
        })
        .await;
        // Settled is also what was parked, and comes by that way.
        let arrived = || {
            let id = |request: Request| request.header("x-request-id").unwrap().to_owned();
            healthy.received().into_iter().map(id).collect::<BTreeSet<_>>()
        };
        eventually("every event at the healthy one", DEADLINE, async || {
            (arrived() == expected).then_some(())
        })
        .await;
        lockgate.reconciles().await;
        assert_eq!(healthy.received().len(), expected.len());
        for (name, peer) in &peers {
            assert!(peer.connections() > 0, "{name} was never tried");
        }
        let (after, written) = (peak(lockgate.pid()), peers.iter().map(|(_, p)| p.written() >> 20));
        println!("peak memory {before} KiB before, {after} KiB after {} MiB", written.sum::<u64>());
        assert!(after - before < GROWTH, "it grew by {} KiB", after - before);
        lockgate.terminate().await;
    });
}
