//! A queue's arguments, as far as RabbitMQ lets them be seen over AMQP.
//!
//! A queue that exists is declared again with a dead-letter exchange that is a number. No queue can
//! have that, so this never succeeds: where the queue exists, RabbitMQ refuses it as different, and
//! names what the queue has instead; where it was deleted a moment ago, it refuses the argument's
//! type. Either way nothing is made or changed. The queue's time limits are compared first: where
//! they are in the way, the same is asked again with them. The delivery limit is not compared by
//! every version, so it is not asked for: a declaration that differs in it alone may succeed.

use std::fmt;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

use super::super::{ANSWER_TIMEOUT, short};
use crate::transport::amqp_link::{Link, LinkError, bounded};

/// What is asked for.
const WANTED: &str = "x-dead-letter-exchange";
/// What may be in the way, compared before it: whole numbers.
const BEFORE: [&str; 2] = ["x-expires", "x-message-ttl"];

/// One argument of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// It has none.
    None,
    /// It has this one.
    Value(String),
    /// It cannot be told, for this reason.
    Unknown(&'static str),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Value(value) => f.write_str(value),
            Self::Unknown(why) => write!(f, "unknown ({why})"),
        }
    }
}

/// The dead-letter exchange among a queue's arguments. Policies do not show.
///
/// # Errors
/// When there is no answer.
pub(super) async fn dead_letter_exchange(link: &Link, queue: &str) -> Result<Argument, LinkError> {
    let mut arguments = FieldTable::default();
    arguments.insert(WANTED.into(), AMQPValue::LongInt(1));
    for _ in 0..=BEFORE.len() {
        let channel = link.channel(ANSWER_TIMEOUT).await?;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let asked = channel.queue_declare(short(queue)?, options, arguments.clone());
        let text = match bounded(ANSWER_TIMEOUT, asked).await {
            Err(LinkError::Reply { code: 406, text }) => text,
            Err(LinkError::Reply { code: 403, .. }) => {
                return Ok(Argument::Unknown("it shows only to who may configure the queue"));
            }
            Err(LinkError::Reply { .. }) | Ok(_) => break,
            Err(error) => return Err(error),
        };
        match read(&text) {
            Some((WANTED, argument)) => return Ok(argument),
            Some((key, Argument::Value(value))) if BEFORE.contains(&key) => {
                let Ok(number) = value.parse() else { break };
                arguments.insert(key.into(), AMQPValue::LongLongInt(number));
            }
            _ => break,
        }
    }
    Ok(Argument::Unknown("the server does not say"))
}

/// The key that RabbitMQ says is different, and what the queue has.
fn read(text: &str) -> Option<(&str, Argument)> {
    let (_, rest) = text.split_once("inequivalent arg '")?;
    let (key, _) = rest.split_once('\'')?;
    let (_, current) = rest.rsplit_once(" but current is ")?;
    if current.starts_with("none") {
        return Some((key, Argument::None));
    }
    let quoted = current.strip_prefix("the value ").unwrap_or(current).strip_prefix('\'')?;
    let quoted = quoted.rsplit_once("' of type '").map_or(quoted, |(value, _)| value);
    Some((key, Argument::Value(quoted.strip_suffix('\'').unwrap_or(quoted).to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rabbitmq_says_is_read() {
        let value = |text: &str| Argument::Value(text.into());
        for (said, wanted) in [
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'full' \
                 in vhost 'v01': received '1' but current is 'dlx'",
                Some((WANTED, value("dlx"))),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'plain' \
                 in vhost 'v01': received the value '1' of type 'signedint' but current is none",
                Some((WANTED, Argument::None)),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'ttl' in vhost \
                 'v01': received none but current is the value '500000' of type 'long'",
                Some(("x-message-ttl", value("500000"))),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'q' in \
                 vhost '/': received '1' but current is 'it's odd'",
                Some((WANTED, value("it's odd"))),
            ),
            ("PRECONDITION_FAILED - invalid type 'signedint' for arg 'x' in queue 'q'", None),
            ("", None),
        ] {
            assert_eq!(read(said), wanted, "{said}");
        }
    }
}
