//! The doctor at the bus itself: login, virtual host, what is missing, what the user may not do, what
//! can be told of the source queue; and that nothing there is changed by it.

use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;

use super::super::support::http::HttpServer;
use super::super::support::on_system;
use super::super::support::rabbitmq::{Client, Place, node};
use super::{Told, doctor};

/// Every queue and exchange of a virtual host, with its arguments, and every binding.
pub(super) fn objects(vhost: &str) -> String {
    node().eval(&format!(
        "V = <<\"{vhost}\">>, io:format(\"~p\", [{{\
         lists:sort([rabbit_amqqueue:info(Q, [name, arguments]) \
         || Q <- rabbit_amqqueue:list(V)]), \
         lists:sort([rabbit_exchange:info(X, [name, type, arguments]) \
         || X <- rabbit_exchange:list(V)]), lists:sort(rabbit_binding:list(V))}}])."
    ))
}

/// The configuration of a bus with one sound endpoint.
fn configuration(place: &Place, url: &str, lines: &str, partner: &HttpServer) -> String {
    format!(
        "[source]\nurl = '{url}'\nqueue = 'events'\nprefix = '{}'\n{lines}\n\
         [endpoints.erp.rest]\nurl = '{}'\n",
        place.prefix,
        partner.url("/")
    )
}

fn step(told: &Told, name: &str) -> Value {
    let report = told.report();
    let mut steps = report["source"]["steps"].as_array().unwrap().iter();
    steps.find(|step| step["step"] == name).cloned().unwrap_or(Value::Null)
}

/// The step fails for this reason, and these words are said; nothing on the bus is changed.
async fn fails(
    place: &Place,
    configuration: &str,
    (name, reason): (&str, &str),
    words: &[&str],
) -> Told {
    let before = objects(&place.vhost);
    let told = doctor(configuration, &["--json"]).await;
    assert_eq!(objects(&place.vhost), before, "the bus was changed");
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(told.err.contains("the bus"), "{}", told.err);
    let found = step(&told, name);
    assert_eq!(
        (&found["verdict"], &found["reason"]),
        (&"failed".into(), &reason.into()),
        "{found:#}"
    );
    let said = format!("{} {}", found["detail"], found["remedy"]);
    for words in words {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    assert_eq!(told.report()["endpoints"][0]["verdict"], "ok", "the endpoint is well");
    told
}

#[test]
fn it_names_the_fault_of_the_bus() {
    on_system(async {
        let place = node().place();
        let partner = HttpServer::start();
        let vhost = &place.vhost;
        Client::connect(&place.url).await.declare("events", true).await;
        // What an operator forgets: it may read the source queue, and nothing else.
        node().user("reader", "hush", vhost, ["^$", "^$", "^events$"]);
        let at = |url: &str, lines: &str| configuration(&place, url, lines, &partner);
        let wrong = at(&node().url("guest:hush", vhost), "");
        fails(&place, &wrong, ("login", "access_refused"), &["check username and password"]).await;
        let nowhere = at(&node().url("guest:guest", "nowhere"), "");
        let told = fails(&place, &nowhere, ("vhost", "vhost_missing"), &["virtual host"]).await;
        assert_eq!(step(&told, "permissions")["verdict"], "skipped");
        let parked = format!("queue '{}.ep.erp.parked'", place.prefix);
        let verify = at(&place.url, "topology = 'verify'");
        let missing = ("topology", "queue_missing");
        fails(&place, &verify, missing, &["lockgate topology", &parked]).await;
        let absent = at(&place.url, "").replace("'events'", "'absent'");
        fails(&place, &absent, missing, &["queue 'absent' is missing", "source.bindings"]).await;
        let refused = at(&node().url("reader:hush", vhost), "");
        let write = format!("write on exchange '{}.park'", place.prefix);
        let configure = format!("configure on exchange '{}.park'", place.prefix);
        let words = ["set_permissions", write.as_str()];
        let told = fails(&place, &refused, ("permissions", "access_refused"), &words).await;
        let detail = step(&told, "permissions")["detail"].as_str().unwrap().to_owned();
        assert!(!detail.contains("read on queue 'events'"), "{detail}");
        assert!(detail.contains(&configure), "{detail}");
        let seen = &step(&told, "source_queue")["seen"];
        let unknown = seen["dead_letter_exchange"].as_str().unwrap();
        assert!(unknown.starts_with("unknown"), "{unknown}");
    });
}

#[test]
fn it_tells_the_dead_letter_exchange_of_the_source_queue_and_changes_nothing() {
    on_system(async {
        let place = node().place();
        let partner = HttpServer::start();
        let client = Client::connect(&place.url).await;
        let text = |value: &str| AMQPValue::LongString(value.into());
        let exchange = ("x-dead-letter-exchange", text("dlx"));
        let limit = ("x-delivery-limit", AMQPValue::LongLongInt(5));
        let times = [
            ("x-expires", AMQPValue::LongLongInt(600_000)),
            ("x-message-ttl", AMQPValue::LongLongInt(500_000)),
        ];
        let quorum = ("x-queue-type", text("quorum"));
        let [expires, ttl] = times;
        for (queue, arguments, told, verdict) in [
            ("bare", vec![], "none", "warning"),
            ("quorum", vec![quorum.clone(), limit.clone()], "none", "warning"),
            ("covered", vec![quorum, limit, exchange.clone()], "dlx", "ok"),
            ("timed", vec![expires.clone(), ttl.clone()], "none", "warning"),
            ("both", vec![expires, ttl, exchange], "dlx", "ok"),
        ] {
            let mut table = FieldTable::default();
            for (key, value) in arguments {
                table.insert(key.into(), value);
            }
            client.declare_with(queue, table).await;
            let before = objects(&place.vhost);
            let configuration = configuration(&place, &place.url, "", &partner)
                .replace("'events'", &format!("'{queue}'"));
            let done = doctor(&configuration, &["--json"]).await;
            assert_eq!(objects(&place.vhost), before, "{queue} was changed");
            assert_eq!(done.code, 0, "{}{}", done.out, done.err);
            let found = step(&done, "source_queue");
            assert_eq!(found["seen"]["dead_letter_exchange"], told, "{queue}: {found:#}");
            assert_eq!(found["verdict"], verdict, "{queue}: {found:#}");
        }
    });
}
