//! The topology for an operator: a definitions file to import, and the permissions to grant.
//!
//! Owns the two outputs of `lockgate topology`. Refuses to know what objects there are: that is
//! [`super`].

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Names, Object, SourceQueue};
use crate::domain::delivery::{HeaderValue, Headers};

/// What an operator has to grant: regular expressions as RabbitMQ takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// To declare.
    pub configure: String,
    /// To publish.
    pub write: String,
    /// To consume.
    pub read: String,
}

/// The permissions that lockgate needs on its virtual host. With `declare` it makes what is
/// missing itself; without, everything is there already.
#[must_use]
pub fn permissions(names: &Names, source: &SourceQueue, declare: bool) -> Permissions {
    let ours = format!("{}\\..*", escape(&names.prefix));
    let queue = escape(&source.queue);
    let exchanges: BTreeSet<String> = source.bindings.iter().map(|b| escape(&b.exchange)).collect();
    let any = |parts: Vec<String>| format!("^({})$", parts.join("|"));
    if !declare {
        let targets = "(park|dead|orphan|rejected|wait\\..*)";
        return Permissions {
            configure: "^$".into(),
            write: any(vec![format!("{}\\.{targets}", escape(&names.prefix))]),
            read: any(vec![ours, queue]),
        };
    }
    if exchanges.is_empty() {
        let read = any(vec![ours.clone(), queue]);
        return Permissions { configure: any(vec![ours.clone()]), write: any(vec![ours]), read };
    }
    let mut configure = vec![ours, queue];
    let write = any(configure.clone());
    configure.extend(exchanges);
    Permissions { read: any(configure.clone()), configure: any(configure), write }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The objects as a definitions file that RabbitMQ imports, for one virtual host that exists.
#[must_use]
pub fn definitions(objects: &[Object], vhost: &str) -> Value {
    let (mut exchanges, mut queues, mut bindings) = (Vec::new(), Vec::new(), Vec::new());
    for object in objects {
        match object {
            Object::Exchange { name, kind, arguments } => exchanges.push(json!({
                "name": name, "vhost": vhost, "type": kind, "durable": true, "auto_delete": false,
                "internal": false, "arguments": plain(arguments),
            })),
            Object::Queue { name, arguments } => queues.push(json!({
                "name": name, "vhost": vhost, "durable": true, "auto_delete": false,
                "arguments": plain(arguments),
            })),
            Object::Binding { exchange, queue, routing_key } => bindings.push(json!({
                "source": exchange, "vhost": vhost, "destination": queue,
                "destination_type": "queue", "routing_key": routing_key, "arguments": {},
            })),
        }
    }
    json!({ "exchanges": exchanges, "queues": queues, "bindings": bindings })
}

fn plain(arguments: &Headers) -> Value {
    let mut map = Map::new();
    for (key, value) in arguments {
        let value = match value {
            HeaderValue::LongLongInt(number) => json!(number),
            HeaderValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
            _ => Value::Null,
        };
        map.insert(key.as_str().to_owned(), value);
    }
    Value::Object(map)
}
