//! `lockgate dead show`: one dead letter, whole.
//!
//! Owns the view of its headers and its body. Changes nothing. Read [`super::order`] next.

use std::io::{self, IsTerminal as _, Write};
use std::ops::ControlFlow;

use serde_json::{Value, json};

use super::table::{printable, printable_lines};
use super::{Context, Fault, fault, grouped, letters, on_bus};
use crate::bus::dead::{LOOK, look};
use crate::domain::delivery::Message;
use crate::domain::names::Name;
use crate::logic::dead::Letter;
use crate::logic::dead_view::{LetterView, original, written};

/// What `dead show` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The event's id.
    id: String,
    /// Whose dead letter.
    #[arg(long, value_name = "NAME")]
    endpoint: Name,
    /// Looks for it among so many letters, from the head of the queue.
    #[arg(long, value_name = "N", default_value_t = LOOK, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Prints one JSON object. Its `message` is the event as it came, as `explain` and `send` read it.
    #[arg(long)]
    json: bool,
}

/// Shows the first letter with this id.
///
/// # Errors
/// When the configuration cannot be used, there is no such queue or letter, or the bus fails.
pub fn show(context: &mut Context<'_>, arguments: &Arguments) -> Result<(), Fault> {
    let config = context.config()?;
    let name = &arguments.endpoint;
    let (found, more, looked) = on_bus(&config, async |bus| {
        let (mut found, mut more) = (None, 0_u32);
        let looked = look(bus, name, arguments.limit, |message| {
            if Letter::of(&message).event_id.as_deref() == Some(arguments.id.as_str()) {
                match found {
                    None => found = Some(message),
                    Some(_) => more += 1,
                }
            }
            ControlFlow::Continue(())
        });
        let looked = looked.await.map_err(|error| fault(error, &config))?;
        Ok((found, more, looked))
    })?;
    let Some(found) = found else {
        let (seen, all) = (grouped(looked.seen), letters(looked.ready));
        let hint = if looked.seen < looked.ready {
            format!("--limit {} looks further", looked.ready.min(u32::from(u16::MAX)))
        } else {
            format!("`lockgate dead list --endpoint {name}` shows what is there")
        };
        return Err(Fault::Failed {
            message: format!(
                "event {:?} is not among the {seen} looked at, of {all} of {name}",
                arguments.id
            ),
            hint: Some(hint),
        });
    };
    if arguments.json {
        let text = serde_json::to_string_pretty(&as_json(name, &found))
            .map_err(|cause| Fault::failed(format!("cannot write the letter: {cause}")))?;
        writeln!(context.out, "{text}")?;
    } else {
        print(name, &found, context.out)?;
    }
    if more > 0 {
        writeln!(context.err, "{} more with this id", letters(more))?;
    }
    Ok(())
}

fn as_json(endpoint: &Name, letter: &Message) -> Value {
    let mut all = json!(LetterView::new(endpoint, Letter::of(letter)));
    if let Value::Object(all) = &mut all {
        all.insert("headers".into(), written(letter));
        all.insert("message".into(), original(letter));
    }
    all
}

fn print(endpoint: &Name, letter: &Message, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |name: &str, value: &Value| match value {
        Value::Null => Ok(()),
        Value::String(text) => writeln!(out, "{name}: {}", printable(text)),
        other => writeln!(out, "{name}: {}", printable(&other.to_string())),
    };
    let facts = json!(LetterView::new(endpoint, Letter::of(letter)));
    let (own, came) = (written(letter), original(letter));
    for (title, table) in [
        ("", Some(&facts)),
        ("header ", Some(&own)),
        ("header ", came.get("headers")),
        ("property ", came.get("properties")),
    ] {
        for (name, value) in table.and_then(Value::as_object).into_iter().flatten() {
            line(&format!("{title}{}", printable(name)), value)?;
        }
    }
    writeln!(out)?;
    match std::str::from_utf8(&letter.body) {
        Ok(text) if io::stdout().is_terminal() => writeln!(out, "{}", printable_lines(text)),
        _ => {
            out.write_all(&letter.body)?;
            writeln!(out)
        }
    }
}
