//! `lockgate dead list`: how much waits and is dead, and the dead letters themselves.
//!
//! Owns the two views. Changes nothing: depths are asked for, letters given back. Read [`super::show`]
//! next.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::{age, printable, render, terminal_width};
use super::{Context, Fault, Wanted, bus_fault, fault, grouped, on_bus};
use crate::app;
use crate::bus::dead::{DeadError, LOOK, Looked, look};
use crate::bus::topology::rung;
use crate::bus::{Bus, Queue};
use crate::config::Config;
use crate::domain::names::Name;
use crate::logic::dead::Letter;
use crate::logic::dead_view::LetterView;
use crate::world;

/// What `dead list` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The dead letters of this endpoint only; also of one that is no longer configured.
    #[arg(long, value_name = "NAME")]
    endpoint: Option<Name>,
    #[command(flatten)]
    wanted: Wanted,
    /// Looks at so many letters of each endpoint, from the head of its queue.
    #[arg(long, value_name = "N", default_value_t = LOOK, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows the depths of all queues, then the letters.
///
/// # Errors
/// When the configuration cannot be used, there is no such queue, or the bus fails.
pub fn list(context: &mut Context<'_>, arguments: &Arguments) -> Result<(), Fault> {
    let config = context.config()?;
    let now = world::now();
    let (depths, found) = on_bus(&config, async |bus| {
        let depths = Depths::ask(bus, &config, arguments.endpoint.as_ref()).await?;
        Ok((depths, letters(bus, &config, arguments, now).await?))
    })?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&as_json(&depths, &found))
            .map_err(|cause| Fault::failed(format!("cannot write the letters: {cause}")))?;
        writeln!(context.out, "{text}")?;
        return Ok(());
    }
    for line in depths.lines(terminal_width()) {
        writeln!(context.out, "{line}")?;
    }
    if found.letters.is_empty() {
        let filtered = !arguments.wanted.filter(now).is_everything();
        let which = if filtered { "no dead letter matches" } else { "no dead letters" };
        writeln!(context.out, "\n{which}")?;
    } else {
        writeln!(context.out)?;
        for line in found.lines(now, terminal_width()) {
            writeln!(context.out, "{line}")?;
        }
    }
    for (name, Looked { ready, seen }) in &found.looked {
        if seen < ready {
            let (seen, ready) = (grouped(*seen), grouped(*ready));
            writeln!(context.out, "{name}: {seen} of {ready} looked at; --limit looks further")?;
        }
    }
    Ok(())
}

/// Letters by endpoint, and how far was looked.
struct Found {
    letters: Vec<(Name, Letter)>,
    looked: Vec<(Name, Looked)>,
}

async fn letters(
    bus: &dyn Bus,
    config: &Config,
    arguments: &Arguments,
    now: Timestamp,
) -> Result<Found, Fault> {
    let filter = arguments.wanted.filter(now);
    let mut found = Found { letters: Vec::new(), looked: Vec::new() };
    let names: Vec<&Name> = match &arguments.endpoint {
        Some(name) => vec![name],
        None => config.endpoints.keys().collect(),
    };
    for name in names {
        let mut own = Vec::new();
        let looked = look(bus, name, arguments.limit, |message| {
            let letter = Letter::of(&message);
            if filter.matches(&letter) {
                own.push((name.clone(), letter));
            }
            ControlFlow::Continue(())
        });
        match looked.await {
            Ok(looked) => found.looked.push((name.clone(), looked)),
            // Of one among all, the table of depths says so.
            Err(DeadError::NoQueue(_)) if arguments.endpoint.is_none() => {}
            Err(error) => return Err(fault(error, config)),
        }
        own.sort_by_key(|(_, letter)| letter.dead_since);
        found.letters.append(&mut own);
    }
    Ok(found)
}

impl Found {
    fn lines(&self, now: Timestamp, width: Option<usize>) -> Vec<String> {
        let headings =
            ["endpoint", "event id", "event", "reason", "attempts", "dead for", "last error"];
        let text =
            |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
        let rows = self.letters.iter().map(|(name, letter)| {
            let since = letter.dead_since.map(|at| now.duration_since(at).unsigned_abs());
            [
                name.to_string(),
                text(&letter.event_id),
                format!("{}/{}", text(&letter.event_type), text(&letter.event_trigger)),
                text(&letter.reason),
                letter.attempts.to_string(),
                since.map_or_else(|| "-".to_owned(), age),
                text(&letter.last_error),
            ]
        });
        render(headings, &[4, 5], &rows.collect::<Vec<_>>(), width)
    }
}

/// How much is in which queue.
struct Depths {
    endpoints: Vec<(Name, Own)>,
    rungs: BTreeMap<Duration, u32>,
    rejected: u32,
    orphaned: u32,
}

struct Own {
    dead: Option<u32>,
    parked: Option<u32>,
    /// In rungs; `None` where others use them too and something is in them.
    waiting: Option<u32>,
}

impl Depths {
    async fn ask(bus: &dyn Bus, config: &Config, also: Option<&Name>) -> Result<Self, Fault> {
        let depth = async |queue| bus.depth(queue).await.map_err(|error| bus_fault(&error));
        let mut rungs = BTreeMap::new();
        for rung in app::rungs(config) {
            rungs.insert(rung, depth(Queue::Wait(rung)).await?.unwrap_or(0));
        }
        let names: BTreeSet<&Name> = config.endpoints.keys().chain(also).collect();
        let mut endpoints = Vec::new();
        for name in names {
            let own = Own {
                dead: depth(Queue::Dead(name.clone())).await?,
                parked: depth(Queue::Parked(name.clone())).await?,
                waiting: waiting(config, name, &rungs),
            };
            endpoints.push((name.clone(), own));
        }
        let rejected = depth(Queue::Rejected).await?.unwrap_or(0);
        let orphaned = depth(Queue::Orphan).await?.unwrap_or(0);
        Ok(Self { endpoints, rungs, rejected, orphaned })
    }

    fn lines(&self, width: Option<usize>) -> Vec<String> {
        let number =
            |depth: Option<u32>, none: &str| depth.map_or_else(|| none.to_owned(), grouped);
        let rows = self.endpoints.iter().map(|(name, own)| {
            let (dead, parked) = (number(own.dead, "no queue"), number(own.parked, "no queue"));
            [name.to_string(), dead, parked, number(own.waiting, "shared")]
        });
        let headings = ["endpoint", "dead", "parked", "waiting"];
        let mut lines = render(headings, &[1, 2, 3], &rows.collect::<Vec<_>>(), width);
        let held = self.rungs.iter().filter(|(_, depth)| **depth > 0);
        let held: Vec<String> = held
            .map(|(delay, depth)| format!("{} for {}", grouped(*depth), rung(*delay)))
            .collect();
        if !held.is_empty() {
            lines.push(format!("waiting, all endpoints together: {}", held.join(", ")));
        }
        lines.push(format!(
            "rejected {}, orphaned {}",
            grouped(self.rejected),
            grouped(self.orphaned)
        ));
        lines
    }
}

/// What waits for an endpoint in its rungs, where that can be told: rungs are shared.
fn waiting(config: &Config, name: &Name, rungs: &BTreeMap<Duration, u32>) -> Option<u32> {
    let mut sum = 0_u32;
    let own = config.endpoints.get(name).map(|endpoint| endpoint.retry.schedule.as_slice());
    for rung in own.unwrap_or_default().iter().collect::<BTreeSet<_>>() {
        let depth = rungs.get(rung).copied().unwrap_or(0);
        let users = config.endpoints.values().filter(|other| other.retry.schedule.contains(rung));
        if depth > 0 && users.count() > 1 {
            return None;
        }
        sum = sum.saturating_add(depth);
    }
    Some(sum)
}

fn as_json(depths: &Depths, found: &Found) -> Value {
    let endpoints = depths.endpoints.iter().map(|(name, own)| {
        let looked = found.looked.iter().find(|(looked, _)| looked == name);
        json!({
            "endpoint": name.as_str(), "dead": own.dead, "parked": own.parked,
            "waiting": own.waiting, "looked_at": looked.map(|(_, looked)| looked.seen),
        })
    });
    let letters = found.letters.iter();
    let letters = letters.map(|(name, letter)| LetterView::new(name, letter.clone()));
    let rungs = depths.rungs.iter().map(|(delay, depth)| (rung(*delay), json!(depth)));
    json!({
        "endpoints": endpoints.collect::<Vec<_>>(),
        "waiting": rungs.collect::<serde_json::Map<_, _>>(),
        "rejected": depths.rejected,
        "orphaned": depths.orphaned,
        "letters": letters.collect::<Vec<_>>(),
    })
}
