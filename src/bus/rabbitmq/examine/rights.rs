//! What the user may do, asked without doing it.
//!
//! RabbitMQ looks at the permission first, then at whether the object exists, then at what is
//! asked. So each question is one that it refuses in any case: 403 says that the permission is
//! missing, anything else that it is there. A consumer with a priority that is no number never
//! comes to be; a message whose expiration is no number is never routed; a declaration whose
//! argument has an impossible type creates nothing, whether the object exists or not. Each refusal
//! closes the channel, and writes a line to the server's log.

use lapin::Channel;
use lapin::ExchangeKind;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};

use super::super::{ANSWER_TIMEOUT, short};
use crate::bus::topology::Object;
use crate::domain::delivery::Properties;
use crate::transport::amqp_link::{Link, LinkError, bounded};

/// What is no number, where one has to be.
const NO_NUMBER: &str = "lockgate-check";

/// A right on one object.
pub(super) enum Right {
    /// To consume from a queue.
    Read(String),
    /// To publish to an exchange.
    Write(String),
    /// To declare an object that is missing.
    Configure(Object),
}

impl Right {
    /// In words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Read(queue) => format!("read on queue '{queue}'"),
            Self::Write(exchange) => format!("write on exchange '{exchange}'"),
            Self::Configure(object) => format!("configure on {}", object.describe()),
        }
    }
}

/// Whether the user has this right.
///
/// # Errors
/// When there is no answer.
pub(super) async fn ask(link: &Link, right: &Right) -> Result<bool, LinkError> {
    let channel = link.channel(ANSWER_TIMEOUT).await?;
    let asked = match right {
        Right::Read(queue) => consume(&channel, queue).await,
        Right::Write(exchange) => publish(&channel, exchange).await,
        Right::Configure(object) => declare(&channel, object).await,
    };
    match asked {
        Err(LinkError::Reply { code: 403, .. }) => Ok(false),
        // RabbitMQ takes none of them; had it, nothing would be left of it with the channel.
        Ok(()) => {
            bounded(ANSWER_TIMEOUT, channel.close(200, "OK".into())).await?;
            Ok(true)
        }
        Err(LinkError::Reply { code: 404 | 406, .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

async fn consume(channel: &Channel, queue: &str) -> Result<(), LinkError> {
    // So that a server that is no RabbitMQ, and takes such a consumer, hands out one message at most.
    bounded(ANSWER_TIMEOUT, channel.basic_qos(1, BasicQosOptions::default())).await?;
    let mut impossible = FieldTable::default();
    impossible.insert("x-priority".into(), AMQPValue::LongString(NO_NUMBER.into()));
    let options = BasicConsumeOptions::default();
    let asked = channel.basic_consume(short(queue)?, NO_NUMBER.into(), options, impossible);
    bounded(ANSWER_TIMEOUT, asked).await.map(drop)
}

async fn publish(channel: &Channel, exchange: &str) -> Result<(), LinkError> {
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    bounded(ANSWER_TIMEOUT, confirms).await?;
    let impossible = Properties::default().with_expiration(NO_NUMBER.into());
    let options = BasicPublishOptions::default();
    let (exchange, key) = (short(exchange)?, NO_NUMBER.into());
    let sent = channel.basic_publish(exchange, key, options, &[], impossible);
    let asked = async { sent.await?.await };
    bounded(ANSWER_TIMEOUT, asked).await.map(drop)
}

async fn declare(channel: &Channel, object: &Object) -> Result<(), LinkError> {
    let mut impossible = FieldTable::default();
    match object {
        Object::Exchange { name, kind, .. } => {
            impossible.insert("alternate-exchange".into(), AMQPValue::LongInt(1));
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let kind = ExchangeKind::Custom(kind.clone());
            let asked = channel.exchange_declare(short(name)?, kind, options, impossible);
            bounded(ANSWER_TIMEOUT, asked).await
        }
        Object::Queue { name, .. } => {
            impossible.insert("x-dead-letter-exchange".into(), AMQPValue::LongInt(1));
            let options = QueueDeclareOptions { durable: true, ..Default::default() };
            let asked = channel.queue_declare(short(name)?, options, impossible);
            bounded(ANSWER_TIMEOUT, asked).await.map(drop)
        }
        // Nothing that one could be asked about a binding is harmless.
        Object::Binding { .. } => Ok(()),
    }
}
