//! Frames: all properties of a message, its headers among them, travel in one frame.
//!
//! Owns how large they are on the wire, and what is left off a parcel that would not fit: RabbitMQ
//! ends a connection over a frame that is too large, and everything else on it. A platform's message
//! may fill its frame; with our headers added it would never be stored, and would be tried for ever.
//! So its largest headers go, and a header says which. Refuses to touch the body, or a header of
//! ours. Read [`super::ledger`] next.

use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::parcel::OURS;
use crate::domain::delivery::{HeaderValue, Message, Properties};

/// Says which headers were left off.
pub(super) const DROPPED: &str = "lockgate-headers-dropped";
/// The longest list of them, in bytes.
const MAX_LIST: usize = 1_024;
/// A frame's own bytes, those of a content header's fixed fields, and the length of the headers.
const FIXED: usize = 8 + 14 + 4;
/// One in so many bytes is kept free for what RabbitMQ itself adds when it moves a message.
const SPARE: usize = 32;

/// The bytes that headers take in a frame, without their common length.
#[must_use]
pub fn table_size(table: &FieldTable) -> usize {
    table.inner().iter().map(|(name, value)| header_size(name, value)).sum()
}

fn header_size(name: &ShortString, value: &HeaderValue) -> usize {
    1 + name.as_str().len() + value_size(value)
}

/// With the byte that names the type.
fn value_size(value: &HeaderValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldArray(array) => 4 + array.as_slice().iter().map(value_size).sum::<usize>(),
        AMQPValue::FieldTable(table) => 4 + table_size(table),
    }
}

/// The bytes that everything but the headers takes at most.
fn rest_size(properties: &Properties) -> usize {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    // Delivery mode, priority and time are the other ten.
    10 + texts.into_iter().flatten().map(|text| 1 + text.as_str().len()).sum::<usize>()
}

/// The parcel so that its properties fit into a frame of `frame_max` bytes (0: of any size), and the
/// names of the headers that were left off for it: the largest ones of the platform's, as few as
/// will do.
#[must_use]
pub fn fit(parcel: Message, frame_max: u32) -> (Message, Vec<String>) {
    let Some(headers) = parcel.properties.headers() else { return (parcel, Vec::new()) };
    let frame = usize::try_from(frame_max).unwrap_or(usize::MAX);
    let room = (frame - frame / SPARE).saturating_sub(FIXED + rest_size(&parcel.properties));
    let mut size = table_size(headers);
    if frame == 0 || size <= room {
        return (parcel, Vec::new());
    }
    let mut kept = headers.inner().clone();
    let before = match kept.remove(DROPPED) {
        Some(AMQPValue::LongString(names)) => names.to_string(),
        _ => String::new(),
    };
    let room = room.saturating_sub(header_size(&DROPPED.into(), &list(MAX_LIST, "")));
    let foreign = headers.inner().iter().filter(|(name, _)| !name.as_str().starts_with(OURS));
    let mut foreign: Vec<(usize, &ShortString)> =
        foreign.map(|(name, value)| (header_size(name, value), name)).collect();
    foreign.sort();
    let mut dropped = Vec::new();
    while size > room
        && let Some((bytes, name)) = foreign.pop()
    {
        kept.remove(name);
        size -= bytes;
        dropped.push(name.to_string());
    }
    let all = before.split_terminator(", ").map(str::to_owned).chain(dropped.clone());
    kept.insert(DROPPED.into(), list(MAX_LIST, &all.collect::<Vec<_>>().join(", ")));
    let properties = parcel.properties.clone().with_headers(FieldTable::from(kept));
    (Message { properties, ..parcel }, dropped)
}

/// A text of at most so many bytes; an empty one stands for one of that length.
fn list(most: usize, names: &str) -> HeaderValue {
    let names = if names.is_empty() { " ".repeat(most) } else { names.to_owned() };
    let cut = names.get(..names.floor_char_boundary(most)).unwrap_or_default();
    AMQPValue::LongString(LongString::from(cut))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lapin::types::generation::gen_field_table;
    use proptest::prelude::*;

    use super::*;

    const FRAME: u32 = 131_072;

    fn text(length: usize) -> HeaderValue {
        AMQPValue::LongString("x".repeat(length).into())
    }

    fn message(headers: &[(&str, HeaderValue)]) -> Message {
        let headers: BTreeMap<ShortString, HeaderValue> =
            headers.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let properties = Properties::default().with_headers(FieldTable::from(headers));
        Message { properties, ..Message::default() }
    }

    fn names(message: &Message) -> Vec<&str> {
        message
            .properties
            .headers()
            .as_ref()
            .unwrap()
            .inner()
            .keys()
            .map(ShortString::as_str)
            .collect()
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let small = message(&[("a", text(100_000)), ("lockgate-reason", text(5_000))]);
        assert_eq!(fit(small.clone(), FRAME), (small, Vec::new()));
        let large = message(&[("a", text(1_000_000))]);
        assert_eq!(fit(large.clone(), 0), (large, Vec::new()));
        assert_eq!(fit(Message::default(), FRAME), (Message::default(), Vec::new()));
    }

    #[test]
    fn the_largest_headers_go_and_one_says_which() {
        let full = message(&[
            ("big", text(60_000)),
            ("bigger", text(68_000)),
            ("plant", text(10)),
            ("lockgate-last-error", text(512)),
        ]);
        let (fitted, dropped) = fit(full, FRAME);
        assert_eq!(dropped, ["bigger"]);
        assert_eq!(names(&fitted), ["big", DROPPED, "lockgate-last-error", "plant"]);
        assert_eq!(fitted.header(DROPPED), Some(&AMQPValue::LongString("bigger".into())));
        // Kept again, later, in a smaller frame.
        let (again, dropped) = fit(fitted, 50_000);
        assert_eq!(dropped, ["big"]);
        assert_eq!(again.header(DROPPED), Some(&AMQPValue::LongString("bigger, big".into())));
    }

    fn value() -> impl Strategy<Value = HeaderValue> {
        let leaf = prop_oneof![
            Just(AMQPValue::Void),
            any::<bool>().prop_map(AMQPValue::Boolean),
            any::<i8>().prop_map(AMQPValue::ShortShortInt),
            any::<u16>().prop_map(AMQPValue::ShortUInt),
            any::<u32>().prop_map(AMQPValue::LongUInt),
            any::<i64>().prop_map(AMQPValue::LongLongInt),
            any::<u64>().prop_map(AMQPValue::Timestamp),
            ".{0,40}".prop_map(|text| AMQPValue::LongString(text.into())),
            (0..40_000_usize).prop_map(text),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|b| AMQPValue::ByteArray(b.into())),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|all| AMQPValue::FieldArray(all.into())),
                table(inner).prop_map(AMQPValue::FieldTable),
            ]
        })
    }

    fn table(value: impl Strategy<Value = HeaderValue>) -> impl Strategy<Value = FieldTable> {
        prop::collection::btree_map("(lockgate-)?[a-z]{1,12}", value, 0..12).prop_map(|all| {
            let all = all.into_iter().map(|(name, value)| (ShortString::from(name), value));
            FieldTable::from(all.collect::<BTreeMap<_, _>>())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_size_is_that_on_the_wire(table in table(value())) {
            let (_, written) = gen_field_table(&table)(Vec::new().into()).unwrap().into_inner();
            prop_assert_eq!(table_size(&table) as u64 + 4, written);
        }

        #[test]
        fn a_parcel_fits_whatever_the_platform_sent(foreign in table(value())) {
            let ours = |name: &ShortString| name.as_str().starts_with(OURS);
            let mut all = foreign.inner().clone();
            all.retain(|name, _| !ours(name));
            all.insert("lockgate-event-id".into(), text(1_024));
            let properties = Properties::default().with_headers(FieldTable::from(all));
            let parcel = Message { properties, ..Message::default() };
            let (fitted, dropped) = fit(parcel.clone(), FRAME);
            let headers = fitted.properties.headers().as_ref().unwrap();
            prop_assert!(table_size(headers) + FIXED + 10 <= 131_072 - 4_096);
            prop_assert!(fitted.header("lockgate-event-id").is_some());
            prop_assert_eq!(fitted.header(DROPPED).is_some(), !dropped.is_empty());
            if dropped.is_empty() { prop_assert_eq!(fitted, parcel) }
        }
    }
}
