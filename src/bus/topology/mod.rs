//! Names and arguments of everything that lockgate owns on RabbitMQ.
//!
//! Owns the topology as plain data: which exchanges, queues and bindings there are for these
//! endpoints and rungs, as objects to declare, as a definitions file to import, and as the
//! permissions that they need (both in `export`). Refuses to talk to a server: that is [`super::rabbitmq`]. Read
//! that next.
//!
//! Every queue is a quorum queue, and every queue refuses what it cannot hold instead of dropping
//! it. The delivery limits are there because a newer RabbitMQ would otherwise drop a message that
//! has been looked at twenty times.

mod export;

use std::collections::BTreeSet;
use std::time::Duration;

pub use self::export::{Permissions, definitions, permissions};

use super::{Queue, Target};
use crate::domain::delivery::{HeaderValue, Headers};
use crate::domain::names::Name;

/// The longest prefix, in bytes: the longest name made of it stays under 255 bytes.
pub const MAX_PREFIX: usize = 100;
/// Deliveries of a parked event before RabbitMQ itself moves it to the dead letters.
const PARKED_DELIVERIES: i64 = 100;
/// As good as no limit. Not -1: RabbitMQ 3.10 then drops the message after one requeue.
const UNLIMITED_DELIVERIES: i64 = 2_147_483_647;

/// The names of lockgate's exchanges and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

/// What is wrong with a prefix, in words; `None` when it can be used.
#[must_use]
pub fn prefix_problem(prefix: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if prefix.is_empty() || prefix.len() > MAX_PREFIX {
        return Some(format!("must have 1 to {MAX_PREFIX} bytes"));
    }
    if prefix.starts_with("amq.") {
        return Some("names that begin with `amq.` belong to RabbitMQ".into());
    }
    (!prefix.chars().all(legal)).then(|| "may hold letters, digits, `.`, `_` and `-` only".into())
}

impl Names {
    /// Names that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    fn of(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    /// The exchange of what is parked at once.
    #[must_use]
    pub fn park(&self) -> String {
        self.of("park")
    }

    /// The exchange of dead letters.
    #[must_use]
    pub fn dead(&self) -> String {
        self.of("dead")
    }

    /// The exchange and the queue of parcels whose endpoint has no queue.
    #[must_use]
    pub fn orphan(&self) -> String {
        self.of("orphan")
    }

    /// The exchange and the queue of messages that are no event.
    #[must_use]
    pub fn rejected(&self) -> String {
        self.of("rejected")
    }

    /// The exchange and the queue of a rung.
    #[must_use]
    pub fn wait(&self, delay: Duration) -> String {
        self.of(&format!("wait.{}", rung(delay)))
    }

    /// An endpoint's parked queue.
    #[must_use]
    pub fn parked_queue(&self, endpoint: &Name) -> String {
        self.of(&format!("ep.{endpoint}.parked"))
    }

    /// An endpoint's dead-letter queue.
    #[must_use]
    pub fn dead_queue(&self, endpoint: &Name) -> String {
        self.of(&format!("ep.{endpoint}.dead"))
    }

    /// The queue's name on RabbitMQ; `source` is that of the platform's.
    #[must_use]
    pub fn queue(&self, queue: &Queue, source: &str) -> String {
        match queue {
            Queue::Source => source.to_owned(),
            Queue::Parked(name) => self.parked_queue(name),
            Queue::Dead(name) => self.dead_queue(name),
            Queue::Wait(delay) => self.wait(*delay),
            Queue::Rejected => self.rejected(),
            Queue::Orphan => self.orphan(),
        }
    }

    /// The exchange and routing key that lead to a target. Only [`Target::Source`] uses the
    /// default exchange: nothing else reaches a queue that has no bindings.
    #[must_use]
    pub fn route(&self, target: Target, source: &str) -> (String, String) {
        match target {
            Target::Park(name) => (self.park(), name.to_string()),
            Target::Wait(name, delay) => (self.wait(delay), name.to_string()),
            Target::Dead(name) => (self.dead(), name.to_string()),
            Target::Rejected => (self.rejected(), String::new()),
            Target::Platform { exchange, routing_key } => (exchange, routing_key),
            Target::Source => (String::new(), source.to_owned()),
        }
    }
}

/// A delay by the largest unit that divides it: `200ms`, `5s`, `90s`, `2m`, `1h`.
#[must_use]
pub fn rung(delay: Duration) -> String {
    let millis = delay.as_millis();
    for (unit, size) in [("h", 3_600_000_u128), ("m", 60_000), ("s", 1_000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

/// A binding of the source queue to an exchange of the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBinding {
    /// The platform's exchange.
    pub exchange: String,
    /// `topic`, `direct`, `fanout` or `headers`.
    pub kind: String,
    /// The routing key.
    pub routing_key: String,
}

/// The platform's queue. It is ours to declare only where it has bindings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceQueue {
    /// Its name.
    pub queue: String,
    /// How it is bound; empty: it must be there already.
    pub bindings: Vec<SourceBinding>,
}

/// One thing on RabbitMQ. All are durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// An exchange.
    Exchange {
        /// Its name.
        name: String,
        /// `direct`, `fanout`, `topic`, `headers`.
        kind: String,
        /// Its arguments.
        arguments: Headers,
    },
    /// A queue.
    Queue {
        /// Its name.
        name: String,
        /// Its arguments, the queue's type among them.
        arguments: Headers,
    },
    /// A binding of a queue.
    Binding {
        /// From here.
        exchange: String,
        /// To here.
        queue: String,
        /// For these.
        routing_key: String,
    },
}

impl Object {
    /// The object in words: `queue 'lockgate.rejected'`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Exchange { name, .. } => format!("exchange '{name}'"),
            Self::Queue { name, .. } => format!("queue '{name}'"),
            Self::Binding { exchange, queue, routing_key } => {
                format!("binding of queue '{queue}' to exchange '{exchange}' with '{routing_key}'")
            }
        }
    }
}

/// Everything that these endpoints and rungs need, in an order in which it can be declared.
#[must_use]
pub fn objects(
    names: &Names,
    source: &SourceQueue,
    endpoints: &[Name],
    rungs: &[Duration],
) -> Vec<Object> {
    let mut all = shared(names);
    for delay in rungs.iter().collect::<BTreeSet<_>>() {
        all.extend(rung_objects(names, *delay));
    }
    for endpoint in endpoints.iter().collect::<BTreeSet<_>>() {
        all.extend(endpoint_objects(names, endpoint));
    }
    if !source.bindings.is_empty() {
        all.extend(source_objects(source));
    }
    all
}

fn shared(names: &Names) -> Vec<Object> {
    let mut all = Vec::new();
    for name in [names.orphan(), names.rejected()] {
        all.extend(pair(&name, &[text("x-overflow", "reject-publish"), unlimited()]));
    }
    let to_orphans = || table(&[text("alternate-exchange", &names.orphan())]);
    all.push(Object::Exchange {
        name: names.park(),
        kind: "direct".into(),
        arguments: to_orphans(),
    });
    all.push(Object::Exchange {
        name: names.dead(),
        kind: "direct".into(),
        arguments: to_orphans(),
    });
    all
}

/// A fanout exchange with one queue of its own name.
fn pair(name: &str, arguments: &[(&str, HeaderValue)]) -> [Object; 3] {
    [
        Object::Exchange { name: name.into(), kind: "fanout".into(), arguments: table(&[]) },
        Object::Queue { name: name.into(), arguments: queue_table(arguments) },
        Object::Binding { exchange: name.into(), queue: name.into(), routing_key: String::new() },
    ]
}

fn rung_objects(names: &Names, delay: Duration) -> [Object; 3] {
    let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    // No dead-letter routing key: the endpoint's own is kept, and leads to its parked queue.
    let arguments = [
        ("x-message-ttl", HeaderValue::LongLongInt(millis)),
        text("x-dead-letter-exchange", &names.park()),
        text("x-dead-letter-strategy", "at-least-once"),
        text("x-overflow", "reject-publish"),
    ];
    pair(&names.wait(delay), &arguments)
}

fn endpoint_objects(names: &Names, endpoint: &Name) -> [Object; 4] {
    let (parked, dead) = (names.parked_queue(endpoint), names.dead_queue(endpoint));
    let key = endpoint.to_string();
    let parked_arguments = queue_table(&[
        text("x-dead-letter-exchange", &names.dead()),
        text("x-dead-letter-routing-key", &key),
        text("x-dead-letter-strategy", "at-least-once"),
        text("x-overflow", "reject-publish"),
        ("x-delivery-limit", HeaderValue::LongLongInt(PARKED_DELIVERIES)),
    ]);
    let dead_arguments = queue_table(&[text("x-overflow", "reject-publish"), unlimited()]);
    // The dead-letter queue first: a parked event must never find its way out missing.
    [
        Object::Queue { name: dead.clone(), arguments: dead_arguments },
        Object::Binding { exchange: names.dead(), queue: dead, routing_key: key.clone() },
        Object::Queue { name: parked.clone(), arguments: parked_arguments },
        Object::Binding { exchange: names.park(), queue: parked, routing_key: key },
    ]
}

fn source_objects(source: &SourceQueue) -> Vec<Object> {
    // Every crash of an instance, and every lost connection, is a delivery.
    let arguments = queue_table(&[unlimited()]);
    let mut all = vec![Object::Queue { name: source.queue.clone(), arguments }];
    for binding in &source.bindings {
        all.push(Object::Exchange {
            name: binding.exchange.clone(),
            kind: binding.kind.clone(),
            arguments: table(&[]),
        });
        all.push(Object::Binding {
            exchange: binding.exchange.clone(),
            queue: source.queue.clone(),
            routing_key: binding.routing_key.clone(),
        });
    }
    all
}

fn unlimited() -> (&'static str, HeaderValue) {
    ("x-delivery-limit", HeaderValue::LongLongInt(UNLIMITED_DELIVERIES))
}

fn text<'a>(key: &'a str, value: &str) -> (&'a str, HeaderValue) {
    (key, HeaderValue::LongString(value.into()))
}

fn table(arguments: &[(&str, HeaderValue)]) -> Headers {
    let mut table = Headers::default();
    for (key, value) in arguments {
        table.insert((*key).into(), value.clone());
    }
    table
}

fn queue_table(arguments: &[(&str, HeaderValue)]) -> Headers {
    let mut table = table(arguments);
    table.insert("x-queue-type".into(), HeaderValue::LongString("quorum".into()));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn source(bindings: &[&str]) -> SourceQueue {
        let bindings = bindings.iter().map(|exchange| SourceBinding {
            exchange: (*exchange).to_owned(),
            kind: "topic".into(),
            routing_key: "#".into(),
        });
        SourceQueue { queue: "platform.events".into(), bindings: bindings.collect() }
    }

    #[test]
    fn a_rung_is_named_by_the_largest_unit_that_divides_it() {
        for (millis, wanted) in [
            (200, "200ms"),
            (1_500, "1500ms"),
            (5_000, "5s"),
            (90_000, "90s"),
            (120_000, "2m"),
            (3_600_000, "1h"),
            (21_600_000, "6h"),
            (86_400_000, "24h"),
        ] {
            assert_eq!(rung(Duration::from_millis(millis)), wanted);
        }
    }

    #[test]
    fn a_prefix_makes_legal_names() {
        for good in ["lockgate", "a", "plant-7.lockgate_x"] {
            assert_eq!(prefix_problem(good), None, "{good}");
        }
        for bad in ["", "amq.x", "a b", "ä", &"a".repeat(101)] {
            assert!(prefix_problem(bad).is_some(), "{bad}");
        }
        let longest = Names::new("a".repeat(MAX_PREFIX)).parked_queue(&name(&"b".repeat(63)));
        assert!(longest.len() <= 255);
    }

    #[test]
    fn everything_a_binding_names_is_declared_before_it() {
        let names = Names::new("lockgate");
        let rungs = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(5)];
        let all = objects(&names, &source(&["platform"]), &[name("erp"), name("scada")], &rungs);
        let mut seen = BTreeSet::new();
        for object in &all {
            match object {
                Object::Exchange { name, .. } => {
                    assert!(seen.insert(format!("exchange {name}")), "twice: {name}");
                }
                Object::Queue { name, arguments } => {
                    assert!(seen.insert(format!("queue {name}")), "twice: {name}");
                    assert_eq!(arguments.inner().get("x-queue-type"), Some(&text("", "quorum").1));
                }
                Object::Binding { exchange, queue, .. } => {
                    assert!(seen.contains(&format!("exchange {exchange}")), "{object:?}");
                    assert!(seen.contains(&format!("queue {queue}")), "{object:?}");
                }
            }
        }
        assert_eq!(all.len(), 2 * 3 + 2 + 2 * 3 + 2 * 4 + 3);
        assert!(seen.contains("queue lockgate.ep.scada.dead"));
        assert!(seen.contains("queue lockgate.wait.30s"));
    }

    #[test]
    fn no_queue_of_ours_drops_a_message() {
        let names = Names::new("lockgate");
        let all = objects(&names, &source(&[]), &[name("erp")], &[Duration::from_secs(5)]);
        for object in all {
            let Object::Queue { name, arguments } = object else { continue };
            let arguments = arguments.inner();
            assert_eq!(arguments.get("x-overflow"), Some(&text("", "reject-publish").1), "{name}");
            assert_eq!(
                arguments.contains_key("x-dead-letter-exchange"),
                arguments.get("x-dead-letter-strategy") == Some(&text("", "at-least-once").1),
                "{name}"
            );
            assert!(!arguments.contains_key("x-max-length"), "{name}");
        }
    }

    #[test]
    fn however_often_instances_crash_the_source_keeps_its_messages() {
        let all = objects(&Names::new("lockgate"), &source(&["platform"]), &[], &[]);
        let limit = all.iter().find_map(|object| match object {
            Object::Queue { name, arguments } if name == "platform.events" => {
                arguments.inner().get("x-delivery-limit")
            }
            _ => None,
        });
        assert_eq!(limit, Some(&unlimited().1));
    }

    #[test]
    fn the_source_queue_is_declared_only_where_it_is_bound() {
        let names = Names::new("lockgate");
        let count = |bindings: &[&str]| objects(&names, &source(bindings), &[], &[]).len();
        assert_eq!(count(&[]), 8);
        assert_eq!(count(&["platform", "other"]), 8 + 1 + 2 * 2);
    }

    #[test]
    fn permissions_name_what_is_needed_and_no_more() {
        let names = Names::new("lock.gate");
        let found = permissions(&names, &source(&["platform"]), true);
        assert_eq!(found.configure, r"^(lock\.gate\..*|platform\.events|platform)$");
        assert_eq!(found.write, r"^(lock\.gate\..*|platform\.events)$");
        assert_eq!(found.read, found.configure);
        let found = permissions(&names, &source(&[]), false);
        assert_eq!(found.configure, "^$");
        assert_eq!(found.write, r"^(lock\.gate\.(park|dead|orphan|rejected|wait\..*))$");
        assert_eq!(found.read, r"^(lock\.gate\..*|platform\.events)$");
    }

    #[test]
    fn definitions_hold_every_object_with_its_arguments() {
        let names = Names::new("lockgate");
        let all =
            objects(&names, &source(&["platform"]), &[name("erp")], &[Duration::from_secs(5)]);
        let file = definitions(&all, "plant");
        let count = |key: &str| file[key].as_array().map_or(0, Vec::len);
        assert_eq!(count("exchanges") + count("queues") + count("bindings"), all.len());
        let rung =
            file["queues"].as_array().unwrap().iter().find(|q| q["name"] == "lockgate.wait.5s");
        assert_eq!(rung.unwrap()["arguments"]["x-message-ttl"], 5_000);
        assert_eq!(file["bindings"][0]["vhost"], "plant");
    }
}
