//! Floor 6: sample events, as messages that a platform would publish.
//!
//! Owns `config/samples.ndjson`, which is compiled in: every known kind, named events, and each way
//! in which a platform says what a message is about. Refuses to publish them, and has no clock: a
//! sample's identity and time come in as arguments. Read [`message_file`] next: how they are written.

use crate::domain::delivery::Message;
use crate::logic::message_file::{self, BadMessageFile};

/// The samples as a file: one object a line.
pub const NDJSON: &str = include_str!("../config/samples.ndjson");

/// How every sample's id begins in the file; twelve digits follow.
const ID: &str = "5a3b1e00-0000-4000-8000-";
/// The digits that follow.
const ID_DIGITS: usize = 12;
/// When every sample happened, in the file, and the same in seconds.
const TIME: &str = "2026-06-18T06:00:00.000Z";
const SECONDS: &str = "1781762400";

/// How many samples there are.
#[must_use]
pub fn count() -> usize {
    lines().count()
}

/// Every sample as it stands in the file.
///
/// # Errors
/// Never for the samples that are compiled in, which a test asserts.
pub fn all() -> Result<Vec<Message>, BadMessageFile> {
    lines().map(|line| message_file::parse(line.as_bytes())).collect()
}

/// Sample `n`, counted round and round, as something new: with this id and this time wherever the
/// original has its own. The id is plain text without quotation marks or backslashes.
///
/// # Errors
/// When the id breaks the sample's JSON or is too long for a property.
pub fn sample(n: usize, id: &str, at: jiff::Timestamp) -> Result<Message, BadMessageFile> {
    let line = lines().nth(n % count().max(1)).unwrap_or_default();
    let mut fresh =
        line.replace(TIME, &format!("{at:.3}")).replace(SECONDS, &at.as_second().to_string());
    while let Some(at) = fresh.find(ID) {
        fresh.replace_range(at..at + ID.len() + ID_DIGITS, id);
    }
    message_file::parse(fresh.as_bytes())
}

fn lines() -> impl Iterator<Item = &'static str> {
    NDJSON.lines().filter(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::domain::delivery::{HeaderValue, Headers};

    #[test]
    fn there_are_a_few_dozen_samples_and_each_is_a_message() {
        let all = all().unwrap();
        assert!(all.len() >= 36, "{}", all.len());
        assert_eq!(all.len(), count());
        for message in &all {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            assert!(body.is_object(), "{body}");
        }
    }

    #[test]
    fn every_line_has_one_id_of_its_own_and_a_time() {
        let mut ids = BTreeSet::new();
        for line in lines() {
            let found: BTreeSet<&str> = line
                .match_indices(ID)
                .map(|(at, _)| &line[at..at + ID.len() + ID_DIGITS])
                .collect();
            assert_eq!(found.len(), 1, "{line}");
            ids.extend(found);
            assert!(line.contains(TIME) || line.contains(SECONDS), "{line}");
        }
        assert_eq!(ids.len(), count());
    }

    /// Everything in a message that may tell its identity and its time.
    fn told(message: &Message) -> String {
        let properties = &message.properties;
        let mut text = format!("{:?} {:?} ", properties.message_id(), properties.timestamp());
        text += std::str::from_utf8(&message.body).unwrap();
        let headers = properties.headers().iter().flat_map(Headers::inner);
        for (_, value) in headers {
            let HeaderValue::LongString(value) = value else { panic!("{value:?}") };
            text += std::str::from_utf8(value.as_bytes()).unwrap();
        }
        text
    }

    #[test]
    fn a_sample_comes_round_again_with_another_id_and_time() {
        let at: jiff::Timestamp = "2027-01-02T03:04:05.678901Z".parse().unwrap();
        for n in 0..count() * 2 {
            let id = format!("id-{n}");
            let fresh = sample(n, &id, at).unwrap();
            let text = told(&fresh);
            assert!(text.contains(&id), "{text}");
            assert!(
                !text.contains(ID) && !text.contains(TIME) && !text.contains(SECONDS),
                "{text}"
            );
            assert!(
                text.contains("2027-01-02T03:04:05.678Z") || text.contains("1798859045"),
                "{text}"
            );
            let original = &all().unwrap()[n % count()];
            assert_eq!(fresh.exchange, original.exchange);
            assert_eq!(fresh.routing_key, original.routing_key);
        }
    }
}
