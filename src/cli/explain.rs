//! `lockgate explain`: what becomes of an event, to the byte. Sends nothing.
//!
//! Owns how an event gets in: a file or a pipe, with everything a bus message has, or a bare body
//! with flags. Read [`view`] next: what is shown of it.

pub mod view;

use clap::Args;

use super::{Context, Fault, input};
use crate::domain::delivery::{HeaderValue, Headers, Message};
use crate::logic::intake::intake;
use crate::logic::message_file;
use crate::world;

/// What `explain` is told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A message as JSON (exchange, `routing_key`, headers, properties, body) or a bare body; `-` is
    /// standard input.
    #[arg(long, value_name = "FILE")]
    event: String,
    /// The exchange that it was published to.
    #[arg(long)]
    exchange: Option<String>,
    /// Its routing key.
    #[arg(long)]
    routing_key: Option<String>,
    /// A header of the message; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Explains one event.
///
/// # Errors
/// When the configuration or the file cannot be used, and when the message is no event.
pub fn explain(context: &mut Context<'_>, arguments: &Arguments) -> Result<(), Fault> {
    let message = message(arguments)?;
    let config = context.config()?;
    let event = intake(&message, &config.intake, world::now()).map_err(|reason| Fault::Failed {
        message: format!("this message is no event: {reason}"),
        hint: Some(format!("it would go to the queue {}.rejected", config.source.prefix)),
    })?;
    let explanation = view::Explanation::new(&event, &message, &config);
    if arguments.json {
        let text = serde_json::to_string_pretty(&explanation)
            .map_err(|cause| Fault::failed(format!("cannot write the explanation: {cause}")))?;
        writeln!(context.out, "{text}")?;
    } else {
        explanation.print(context.out)?;
    }
    Ok(())
}

/// The message in the file, with what the flags say laid over it.
fn message(arguments: &Arguments) -> Result<Message, Fault> {
    let bytes = input::read("--event", &arguments.event)?;
    let mut message = if message_file::is_message_file(&bytes) {
        message_file::parse(&bytes).map_err(|cause| {
            Fault::usage(
                format!("{} is no message: {cause}", arguments.event),
                format!("an object with {}, or a bare body", message_file::KEYS.join(", ")),
            )
        })?
    } else {
        Message { body: bytes.into(), ..Message::default() }
    };
    if let Some(exchange) = &arguments.exchange {
        message.exchange.clone_from(exchange);
    }
    if let Some(routing_key) = &arguments.routing_key {
        message.routing_key.clone_from(routing_key);
    }
    let mut headers = message.properties.headers().clone().unwrap_or_else(Headers::default);
    for header in &arguments.headers {
        let Some((name, value)) = header.split_once('=') else {
            return Err(Fault::usage("--header takes NAME=VALUE", "--header event_type=Batch"));
        };
        headers.insert(name.into(), HeaderValue::LongString(value.into()));
    }
    message.properties = message.properties.with_headers(headers);
    Ok(message)
}
