//! Dead letters over the API: looked at, replayed, purged; whatever interrupts it, none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lockgate::bus::memory::MemoryBus;
use lockgate::bus::{Bus, BusError, Queue, Subscription, Target, TopologyReport};
use lockgate::domain::delivery::Message;
use lockgate::domain::names::Name;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::partner::{Answer, Partner};
use super::stage::{DEADLINE, Listener, admin, endpoint, eventually, letter};

const LIST: &str = "/api/dead-letters?endpoint=erp";
const REPLAY: &str = "/api/dead-letters/replay";
const PURGE: &str = "/api/dead-letters/purge";

/// A partner that takes everything, and a bridge whose endpoint `erp` has these dead letters.
async fn with(letters: impl IntoIterator<Item = Message>) -> (Partner, Listener) {
    let partner = Partner::start(Answer::Status(200));
    let listener = Listener::open(&endpoint("erp", &partner, "")).ready().await;
    listener.bury("erp", letters).await;
    (partner, listener)
}

fn numbered(count: usize) -> impl Iterator<Item = Message> {
    (0..count).map(|n| letter(&format!("d-{n}"), "Batch", "http_400", 1_750_000_100))
}

fn ids(answer: &Value) -> Vec<&str> {
    let letters = answer["letters"].as_array().unwrap();
    letters.iter().map(|letter| letter["event_id"].as_str().unwrap()).collect()
}

#[actix_rt::test]
async fn letters_are_listed_oldest_first_and_filtered() {
    let (_partner, listener) = with([
        letter("young", "Batch", "http_400", 1_750_000_300),
        letter("old", "Procedure Run", "http_400", 1_750_000_100),
        letter("other", "Batch", "expired", 1_750_000_200),
    ])
    .await;
    let (code, all) = listener.get(LIST).await;
    assert_eq!((code, &all["ready"], &all["seen"]), (200, &json!(3), &json!(3)));
    assert_eq!(ids(&all), ["old", "other", "young"]);
    let first = &all["letters"][0];
    for (key, value) in [
        ("endpoint", json!("erp")),
        ("event_type", json!("Procedure Run")),
        ("event_trigger", json!("batch_run_status")),
        ("configuration", json!("erp")),
        ("reason", json!("http_400")),
        ("last_error", json!("400 Bad Request")),
        ("attempts", json!(7)),
        ("received_at", json!("2025-06-15T15:06:40.000Z")),
        ("parked_at", json!("2025-06-15T15:08:20.000Z")),
    ] {
        assert_eq!(first[key], value, "{key} in {first:#}");
    }
    for (query, wanted) in [
        ("&reason=expired", vec!["other"]),
        ("&event_id=young", vec!["young"]),
        ("&event_type=procedure%20run", vec!["old"]),
        ("&event_type=Batch", vec!["other", "young"]),
        ("&event_type=Batch/batch_run_status", vec!["other", "young"]),
        ("&event_type=*/nothing", vec![]),
        ("&event_type=Batch&reason=http_400", vec!["young"]),
    ] {
        let (code, answer) = listener.get(&format!("{LIST}{query}")).await;
        assert_eq!((code, ids(&answer)), (200, wanted), "{query}");
    }
    let (_, few) = listener.get(&format!("{LIST}&limit=2")).await;
    assert_eq!((&few["ready"], &few["seen"]), (&json!(3), &json!(2)));
    assert_eq!(listener.dead("erp"), 3, "looking changes nothing");

    for query in ["&limit=0", "&limit=1001", "&limit=x", "&event_type=a*/b", "&unknown=1"] {
        assert_eq!(listener.get(&format!("{LIST}{query}")).await.0, 422, "{query}");
    }
    assert_eq!(listener.get("/api/dead-letters").await.0, 422);
    assert_eq!(listener.get("/api/dead-letters?endpoint=No").await.0, 404);
}

#[actix_rt::test]
async fn one_letter_is_shown_whole_whatever_its_event_is_called() {
    let odd = ["replay", "purge", "a/b ü?%41"];
    let (_partner, listener) =
        with(odd.map(|id| letter(id, "Batch", "http_400", 1_750_000_100))).await;
    for (id, path) in [("replay", "replay"), ("purge", "purge"), (odd[2], "a%2Fb%20%C3%BC%3F%2541")]
    {
        let (code, found) = listener.get(&format!("/api/dead-letters/{path}?endpoint=erp")).await;
        assert_eq!((code, &found["letter"]["event_id"]), (200, &json!(id)), "{found:#}");
        assert_eq!(found["message"]["exchange"], "Batch");
        assert_eq!(found["message"]["routing_key"], "batch_run_status");
        assert_eq!(found["message"]["body"], "{\"n\": 1.0}");
        assert_eq!(found["message"]["properties"]["message_id"], "e-1");
        assert_eq!(found["headers"]["lockgate-event-id"], id);
    }
    let (code, none) = listener.get("/api/dead-letters/none?endpoint=erp").await;
    assert_eq!(code, 404);
    assert!(none["detail"].as_str().unwrap().contains("not among the 3 looked at"), "{none}");
    assert_eq!(listener.get("/api/dead-letters/replay").await.0, 422);
    assert_eq!(listener.dead("erp"), 3);
}

#[actix_rt::test]
async fn what_is_replayed_arrives_and_the_rest_stays() {
    let (partner, listener) = with(numbered(20)).await;
    let some = json!({"endpoint": "erp", "event_ids": ["d-3", "d-7", "d-7", "d-99"]});
    let (code, done) = listener.post(REPLAY, &some).await;
    assert_eq!(code, 200, "{done}");
    assert_eq!(done, json!({"endpoint": "erp", "matched": 2, "moved": 2, "left": 18}));
    eventually("both arrive", || partner.count() == 2).await;
    let mut came = partner.ids();
    came.sort();
    assert_eq!(came, ["d-3", "d-7"]);

    let (_, done) = listener.post(REPLAY, &json!({"endpoint": "erp", "all": true})).await;
    assert_eq!(done, json!({"endpoint": "erp", "matched": 18, "moved": 18, "left": 0}));
    eventually("all arrive", || partner.count() == 20).await;
    let (_, done) = listener.post(REPLAY, &json!({"endpoint": "erp", "all": true})).await;
    assert_eq!(done, json!({"endpoint": "erp", "matched": 0, "moved": 0, "left": 0}));
}

#[actix_rt::test]
async fn what_is_purged_is_gone_also_of_an_endpoint_that_is_no_longer_there() {
    let (partner, listener) = with(numbered(5)).await;
    let one = json!({"endpoint": "erp", "event_ids": ["d-2"]});
    let (_, done) = listener.post(PURGE, &one).await;
    assert_eq!(done, json!({"endpoint": "erp", "matched": 1, "moved": 1, "left": 4}));
    let (_, done) = listener.post(PURGE, &json!({"endpoint": "erp", "all": true})).await;
    assert_eq!(done, json!({"endpoint": "erp", "matched": 4, "moved": 4, "left": 0}));
    assert_eq!((listener.dead("erp"), partner.count()), (0, 0));

    listener.bury("former", numbered(2)).await;
    let former = json!({"endpoint": "former", "all": true});
    let (code, refused) = listener.post(REPLAY, &former).await;
    assert_eq!(code, 404, "{refused}");
    assert_eq!(listener.get("/api/dead-letters?endpoint=former").await.1["ready"], 2);
    assert_eq!(listener.post(PURGE, &former).await.1["moved"], 2);
}

#[actix_rt::test]
async fn an_order_says_exactly_which_letters_are_meant() {
    let (_partner, listener) = with(numbered(2)).await;
    let many: Vec<String> = (0..1_001).map(|n| format!("d-{n}")).collect();
    for wrong in [
        json!({"endpoint": "erp"}),
        json!({"endpoint": "erp", "all": false}),
        json!({"endpoint": "erp", "all": true, "event_ids": ["d-1"]}),
        json!({"endpoint": "erp", "event_ids": []}),
        json!({"endpoint": "erp", "event_ids": many}),
        json!({"endpoint": "erp", "event_ids": "d-1"}),
        json!({"endpoint": "erp", "all": true, "reason": "http_400"}),
        json!({"all": true}),
        json!([]),
    ] {
        for path in [REPLAY, PURGE] {
            assert_eq!(listener.post(path, &wrong).await.0, 422, "{wrong}");
        }
    }
    for endpoint in ["nobody", "No Name", ""] {
        let code = listener.post(REPLAY, &json!({"endpoint": endpoint, "all": true})).await.0;
        assert_eq!(code, 404, "{endpoint:?}");
    }
    let most: Vec<&String> = many.iter().take(1_000).collect();
    let (_, done) = listener.post(PURGE, &json!({"endpoint": "erp", "event_ids": most})).await;
    assert_eq!(done["moved"], 2);
}

/// A bus that stores nothing among the parked until it may, and lacks some queues.
struct Slow {
    memory: MemoryBus,
    begun: Arc<AtomicUsize>,
    stores: Arc<AtomicBool>,
    lacks: fn(&Queue) -> bool,
}

impl Bus for Slow {
    fn consume(
        &self,
        queue: Queue,
        prefetch: u16,
    ) -> BoxFuture<'static, Result<Subscription, BusError>> {
        self.memory.consume(queue, prefetch)
    }

    fn store(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), BusError>> {
        let (memory, stores) = (self.memory.clone(), Arc::clone(&self.stores));
        let begun = Arc::clone(&self.begun);
        async move {
            begun.fetch_add(1, Ordering::Relaxed);
            while !stores.load(Ordering::Relaxed) && matches!(target, Target::Park(_)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            memory.store(target, message).await
        }
        .boxed()
    }

    fn prepare(
        &self,
        endpoints: Vec<Name>,
        rungs: Vec<Duration>,
    ) -> BoxFuture<'static, Result<TopologyReport, BusError>> {
        self.memory.prepare(endpoints, rungs)
    }

    fn depth(&self, queue: Queue) -> BoxFuture<'static, Result<Option<u32>, BusError>> {
        if (self.lacks)(&queue) {
            return futures_util::future::ready(Ok(None)).boxed();
        }
        self.memory.depth(queue)
    }

    fn connected(&self) -> bool {
        self.memory.connected()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.memory.close()
    }
}

/// A listener on a bus that stores when the flag says so, and counts what it has been given to store.
async fn slow(
    partner: &Partner,
    lacks: fn(&Queue) -> bool,
) -> (Listener, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let memory = MemoryBus::default();
    let (stores, begun): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
    let bus = Slow {
        memory: memory.clone(),
        begun: Arc::clone(&begun),
        stores: Arc::clone(&stores),
        lacks,
    };
    let open = admin("127.0.0.1:0", None, &[]);
    let listener = Listener::on(&open, Arc::new(bus), memory, &endpoint("erp", partner, ""));
    (listener.ready().await, stores, begun)
}

#[actix_rt::test]
async fn one_order_at_a_time_and_it_goes_on_when_its_caller_goes_away() {
    let partner = Partner::start(Answer::Status(200));
    let (listener, stores, _) = slow(&partner, |_| false).await;
    listener.bury("erp", numbered(10)).await;
    let body = json!({"endpoint": "erp", "all": true}).to_string();
    let mut caller = TcpStream::connect(listener.address).await.unwrap();
    let request = format!(
        "POST {REPLAY} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    caller.write_all(request.as_bytes()).await.unwrap();
    eventually("its letters are under way", || listener.bus.unacknowledged() == 10).await;
    for path in [REPLAY, PURGE] {
        let (code, busy) = listener.post(path, &json!({"endpoint": "erp", "all": true})).await;
        assert_eq!(code, 409, "{busy}");
        assert!(busy["detail"].as_str().unwrap().contains("erp's dead letters is under way"));
    }
    // Another endpoint's are another matter.
    listener.bury("other", numbered(1)).await;
    let other = json!({"endpoint": "other", "all": true});
    assert_eq!(listener.post(PURGE, &other).await.1["moved"], 1);

    drop(caller);
    stores.store(true, Ordering::Relaxed);
    eventually("all arrive", || partner.count() == 10).await;
    eventually("no letter is left", || {
        listener.dead("erp") == 0 && listener.bus.unacknowledged() == 0
    })
    .await;
    let (code, done) = listener.post(REPLAY, &json!({"endpoint": "erp", "all": true})).await;
    assert_eq!((code, &done["moved"]), (200, &json!(0)));
}

#[actix_rt::test]
async fn orders_are_bounded_over_all_endpoints() {
    let partner = Partner::start(Answer::Status(200));
    let (memory, stores) = (MemoryBus::default(), Arc::new(AtomicBool::new(false)));
    let begun: Arc<AtomicUsize> = Arc::default();
    let (counted, until) = (Arc::clone(&begun), Arc::clone(&stores));
    let bus = Slow { memory: memory.clone(), begun: counted, stores: until, lacks: |_| false };
    let names: Vec<String> = (0..17).map(|n| format!("p-{n}")).collect();
    let endpoints: String = names.iter().map(|name| endpoint(name, &partner, "")).collect();
    let open = admin("127.0.0.1:0", None, &[]);
    let listener = Listener::on(&open, Arc::new(bus), memory, &endpoints).ready().await;
    for name in &names {
        listener.bury(name, numbered(1)).await;
    }
    begun.store(0, Ordering::Relaxed);
    let replay = |name: &String| listener.post(REPLAY, &json!({"endpoint": name, "all": true}));
    let under_way: Vec<_> = names[..16].iter().map(|name| actix_rt::spawn(replay(name))).collect();
    eventually("16 are under way", || begun.load(Ordering::Relaxed) == 16).await;
    let (code, refused) = replay(&names[16]).await;
    let told = "16 replays and purges are under way";
    assert_eq!((code, &refused["detail"]), (503, &json!(told)));
    stores.store(true, Ordering::Relaxed);
    for order in under_way {
        assert_eq!(order.await.unwrap().1["moved"], 1);
    }
    assert_eq!(replay(&names[16]).await.1["moved"], 1);
}

#[actix_rt::test]
async fn an_order_that_does_not_get_on_is_answered_and_every_letter_is_still_there() {
    let partner = Partner::start(Answer::Status(200));
    let (listener, stores, _) = slow(&partner, |_| false).await;
    listener.bury("erp", numbered(10)).await;
    let began = Instant::now();
    let (code, silent) = listener.post(REPLAY, &json!({"endpoint": "erp", "all": true})).await;
    assert_eq!(code, 503, "{silent}");
    assert!(silent["detail"].as_str().unwrap().contains("0 of 10 letters were moved"), "{silent}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // It ends by itself, the bus silent as it is; then the letters are there again.
    eventually("the letters are back", || listener.dead("erp") == 10).await;
    stores.store(true, Ordering::Relaxed);
    let began = Instant::now();
    loop {
        let (code, done) = listener.post(PURGE, &json!({"endpoint": "erp", "all": true})).await;
        if code == 200 {
            break assert_eq!(done["moved"], 10);
        }
        assert!(code == 409 && began.elapsed() < DEADLINE, "{code} {done}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_rt::test]
async fn an_order_ends_orderly_when_lockgate_is_stopped() {
    let partner = Partner::start(Answer::Status(200));
    let (listener, stores, begun) = slow(&partner, |_| false).await;
    listener.bury("erp", numbered(300)).await;
    // The letters themselves were stored among the dead.
    begun.store(0, Ordering::Relaxed);
    let order = actix_rt::spawn(listener.post(REPLAY, &json!({"endpoint": "erp", "all": true})));
    eventually("a window of it is under way", || begun.load(Ordering::Relaxed) == 256).await;
    let mut stopping = std::pin::pin!(listener.orders.stop());
    assert!(futures_util::poll!(&mut stopping).is_pending(), "it waits for what is under way");
    // The order hears of it on this thread; until then it would take more as soon as there is room.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    stores.store(true, Ordering::Relaxed);
    stopping.await;
    let (code, stopped) = order.await.unwrap();
    assert_eq!(code, 503, "{stopped}");
    let detail = stopped["detail"].as_str().unwrap();
    assert!(detail.contains("stopped before it had gone round; 256 of 256"), "{detail}");
    eventually("those under way arrive", || partner.count() == 256).await;
    eventually("the others stay", || listener.dead("erp") == 44).await;
    // A later one does not begin.
    let (code, late) = listener.post(REPLAY, &json!({"endpoint": "erp", "all": true})).await;
    assert_eq!((code, listener.dead("erp")), (503, 44), "{late}");
}

#[actix_rt::test]
async fn without_a_bus_or_a_queue_the_cause_is_told_in_time() {
    let partner = Partner::start(Answer::Status(200));
    let (listener, _, _) = slow(&partner, |queue| matches!(queue, Queue::Dead(_))).await;
    let all = json!({"endpoint": "erp", "all": true});
    for (code, answer) in [
        listener.get(LIST).await,
        listener.get("/api/dead-letters/d-1?endpoint=erp").await,
        listener.post(REPLAY, &all).await,
        listener.post(PURGE, &all).await,
    ] {
        assert_eq!(code, 404, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("no queue of erp's dead letters"));
    }
    // Nothing is replayed into a queue that is not there; a purge needs none.
    let (listener, _, _) = slow(&partner, |queue| matches!(queue, Queue::Parked(_))).await;
    listener.bury("erp", numbered(1)).await;
    let (code, refused) = listener.post(REPLAY, &all).await;
    assert_eq!((code, listener.dead("erp")), (409, 1), "{refused}");
    assert_eq!(listener.post(PURGE, &all).await.1["moved"], 1);

    let (_partner, listener) = with(numbered(1)).await;
    listener.bus.cut(true);
    let began = Instant::now();
    for (code, answer) in [
        listener.get(LIST).await,
        listener.get("/api/dead-letters/d-1?endpoint=erp").await,
        listener.post(REPLAY, &all).await,
        listener.post(PURGE, &all).await,
    ] {
        assert_eq!(code, 503, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("the bus is out of reach"), "{answer}");
        assert!(answer["hint"].as_str().unwrap().contains("is RabbitMQ up"), "{answer}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    listener.bus.restore();
    assert_eq!(listener.get(LIST).await.1["ready"], 1);
}
