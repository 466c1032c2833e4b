//! `lockgate dead`: dead letters are listed, shown, replayed, purged.
//!
//! Owns which letters an operator means, and what is told when there is no queue or no bus. Needs no
//! running bridge, and works beside running ones. Read [`list`] first; [`crate::bus::dead`] is what
//! moves letters.

mod list;
mod order;
mod show;
mod table;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Context, Fault};
use crate::bus::dead::DeadError;
use crate::bus::rabbitmq::RabbitMq;
use crate::bus::{Bus, BusError};
use crate::config::Config;
use crate::domain::names::Name;
use crate::logic::dead::Filter;
use crate::logic::routing::Pattern;
use crate::transport::Instance;
use crate::world;

/// What is done with dead letters.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Shows how many events wait and are dead, and the dead letters; changes nothing.
    List(list::Arguments),
    /// Shows one dead letter, headers and body; changes nothing.
    Show(show::Arguments),
    /// Sends dead letters to their endpoint once more, as if never attempted.
    Replay(order::Replay),
    /// Deletes dead letters for good.
    Purge(order::Purge),
}

/// Runs one of them.
///
/// # Errors
/// When the configuration cannot be used, there is no such queue, or the bus fails.
pub fn dead(context: &mut Context<'_>, command: &Command) -> Result<(), Fault> {
    match command {
        Command::List(arguments) => list::list(context, arguments),
        Command::Show(arguments) => show::show(context, arguments),
        Command::Replay(arguments) => order::replay(context, arguments),
        Command::Purge(arguments) => order::purge(context, arguments),
    }
}

/// Which letters are meant: those that meet all that is given.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// Events of this kind: type/trigger or a dotted name; `*` stands for one whole part.
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<Pattern>,
    /// Exactly this reason, for example `http_400` or `delivery_limit`.
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// Dead for so long or longer, for example 2h or 3d.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Dead for less than that.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    newer_than: Option<Duration>,
    /// The event with this id.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl Wanted {
    fn filter(&self, now: Timestamp) -> Filter {
        Filter {
            event_ids: self.id.clone().map(|id| [id].into()),
            kind: self.kind.clone(),
            reason: self.reason.clone(),
            dead_by: self.older_than.map(|age| before(now, age)),
            dead_after: self.newer_than.map(|age| before(now, age)),
        }
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    now.checked_sub(age).unwrap_or(Timestamp::MIN)
}

/// Does something on the bus that the configuration names, and closes it whatever came of it.
fn on_bus<T>(
    config: &Config,
    work: impl AsyncFnOnce(&RabbitMq) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let instance = Instance { id: world::unique() };
    actix_rt::System::new().block_on(async {
        let bus = super::run::connect(config, &instance)?;
        let done = work(&bus).await;
        bus.close().await;
        done
    })
}

/// Why letters could not be looked at or moved, and what to do about it.
fn fault(error: DeadError, config: &Config) -> Fault {
    let message = error.to_string();
    let hint = match error {
        DeadError::Bus(error) => return bus_fault(&error),
        DeadError::NoQueue(name) | DeadError::NoParkedQueue(name) => {
            if config.endpoints.contains_key(&name) {
                "`lockgate run` declares it with topology = \"declare\"; `lockgate topology` prints \
                 what somebody else has to declare"
                    .to_owned()
            } else {
                configured(config)
            }
        }
    };
    Fault::Failed { message, hint: Some(hint) }
}

fn bus_fault(error: &BusError) -> Fault {
    let hint = match error {
        BusError::Lost(_) => "is RabbitMQ up, and source.url right?",
        BusError::Blocked(_) => "RabbitMQ has a memory or disk alarm: free some",
        BusError::Refused(_) => "`lockgate topology` prints the permissions that are needed",
    };
    Fault::Failed { message: error.to_string(), hint: Some(hint.to_owned()) }
}

/// The endpoints that there are, in words.
fn configured(config: &Config) -> String {
    let names: Vec<&str> = config.endpoints.keys().map(Name::as_str).collect();
    format!("configured endpoints: {}", names.join(", "))
}

/// `1 dead letter`, `1,000 dead letters`.
fn letters(count: u32) -> String {
    format!("{} dead {}", grouped(count), if count == 1 { "letter" } else { "letters" })
}

/// A number with its thousands apart.
fn grouped(count: u32) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (count, wanted) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (65_535, "65,535"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(count), wanted);
        }
    }

    #[test]
    fn an_age_beyond_all_time_is_the_beginning() {
        assert_eq!(before(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MIN);
        let hour = before(Timestamp::UNIX_EPOCH, Duration::from_secs(3_600));
        assert_eq!(hour.as_second(), -3_600);
    }
}
