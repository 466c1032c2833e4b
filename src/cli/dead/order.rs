//! `lockgate dead replay` and `lockgate dead purge`: orders for dead letters.
//!
//! Owns what is asked before and told after, the progress shown meanwhile, and the end on Ctrl-C: what
//! is under way is finished, nothing is half done. Refuses to move a letter itself: that is
//! [`crate::bus::dead`].

use std::io::{IsTerminal as _, Write as _};
use std::ops::ControlFlow;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Context, Fault, Wanted, configured, fault, grouped, letters, on_bus};
use crate::bus::dead::{Act, End, Looked, News, Order, Tally, carry_out, given_back, look};
use crate::bus::{Bus, Queue};
use crate::config::Config;
use crate::config::endpoint::RateLimit;
use crate::domain::names::Name;
use crate::logic::dead::{Filter, Letter};
use crate::world;

/// What both are told.
#[derive(Debug, clap::Args)]
struct Chosen {
    /// Whose dead letters.
    #[arg(long, value_name = "NAME")]
    endpoint: Name,
    #[command(flatten)]
    wanted: Wanted,
    /// All of them.
    #[arg(long, conflicts_with_all = ["kind", "reason", "older_than", "newer_than", "id"])]
    all: bool,
    /// Says how many it would be, and moves nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What `dead replay` is told.
#[derive(Debug, clap::Args)]
pub struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// Letters at most, for example 50/s or 100/m. Default: as fast as the bus confirms.
    #[arg(long, value_name = "RATE")]
    rate: Option<RateLimit>,
}

/// What `dead purge` is told.
#[derive(Debug, clap::Args)]
pub struct Purge {
    #[command(flatten)]
    chosen: Chosen,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

impl Chosen {
    fn filter(&self) -> Result<Filter, Fault> {
        let filter = self.wanted.filter(world::now());
        if filter.is_everything() && !self.all {
            return Err(Fault::usage(
                "nothing says which dead letters are meant",
                "--type, --reason, --older-than, --newer-than or --id; or --all",
            ));
        }
        Ok(filter)
    }
}

/// Sends letters to their endpoint once more.
///
/// # Errors
/// When the endpoint is not configured, its queues are missing, the bus fails, or it is stopped.
pub fn replay(context: &mut Context<'_>, arguments: &Replay) -> Result<(), Fault> {
    let chosen = &arguments.chosen;
    let filter = chosen.filter()?;
    let pace = match arguments.rate {
        Some(rate) if rate.per.as_secs() > 60 * u64::from(rate.count) => {
            return Err(Fault::usage("--rate is below one a minute", "for example --rate 1/m"));
        }
        rate => rate.and_then(|rate| rate.per.checked_div(rate.count)),
    };
    let config = context.config()?;
    let name = chosen.endpoint.clone();
    match config.endpoints.get(&name) {
        None => {
            return Err(Fault::usage(
                format!("endpoint {name} is not configured: nobody would take what is replayed"),
                format!("configure it again, or purge its dead letters; {}", configured(&config)),
            ));
        }
        Some(endpoint) if !endpoint.enabled => {
            writeln!(context.err, "warning: {name} is disabled: what is replayed waits")?;
        }
        Some(_) => {}
    }
    let order = Order { endpoint: name, filter, act: Act::Replay, pace };
    on_bus(&config, async |bus| {
        if chosen.dry_run {
            return dry_run(context, &config, bus, &order).await;
        }
        perform(context, &config, bus, &order).await
    })
}

/// Deletes letters for good.
///
/// # Errors
/// When nobody has confirmed it, there is no such queue, the bus fails, or it is stopped.
pub fn purge(context: &mut Context<'_>, arguments: &Purge) -> Result<(), Fault> {
    let chosen = &arguments.chosen;
    let filter = chosen.filter()?;
    if !(chosen.dry_run || arguments.yes || std::io::stdin().is_terminal()) {
        return Err(Fault::usage(
            "nobody can be asked whether dead letters are to be deleted",
            "--yes deletes them without asking; --dry-run says how many they are",
        ));
    }
    let config = context.config()?;
    let order = Order { endpoint: chosen.endpoint.clone(), filter, act: Act::Purge, pace: None };
    on_bus(&config, async |bus| {
        if chosen.dry_run {
            return dry_run(context, &config, bus, &order).await;
        }
        if !arguments.yes {
            let (meant, looked) = count(&config, bus, &order).await?;
            confirm(meant, looked, &order.endpoint)?;
        }
        perform(context, &config, bus, &order).await
    })
}

/// How many of the letters are meant. It looks at 65,535 of them at most.
async fn count(config: &Config, bus: &dyn Bus, order: &Order) -> Result<(u32, Looked), Fault> {
    let mut meant = 0;
    let looked = look(bus, &order.endpoint, u16::MAX, |message| {
        meant += u32::from(order.filter.matches(&Letter::of(&message)));
        ControlFlow::Continue(())
    });
    let looked = looked.await.map_err(|error| fault(error, config))?;
    Ok((meant, looked))
}

/// `250 of the 1,000 dead letters of erp`.
fn share(meant: u32, looked: Looked, name: &Name) -> String {
    let all = letters(looked.ready);
    if looked.seen < looked.ready {
        let seen = grouped(looked.seen);
        return format!("{} of the {seen} looked at, of {all} of {name},", grouped(meant));
    }
    format!("{} of {all} of {name}", grouped(meant))
}

async fn dry_run(
    context: &mut Context<'_>,
    config: &Config,
    bus: &dyn Bus,
    order: &Order,
) -> Result<(), Fault> {
    let (meant, looked) = count(config, bus, order).await?;
    let done = done_word(order.act);
    let share = share(meant, looked, &order.endpoint);
    writeln!(context.out, "{share} would be {done}; nothing was moved")?;
    Ok(())
}

fn confirm(meant: u32, looked: Looked, name: &Name) -> Result<(), Fault> {
    let terminal = Term::stderr();
    let question = format!("Delete {} for good? [y/N] ", share(meant, looked, name));
    terminal.write_str(&question)?;
    let answer = terminal.read_line()?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Fault::failed("not confirmed: nothing was deleted"))
}

fn done_word(act: Act) -> &'static str {
    match act {
        Act::Replay => "replayed",
        Act::Purge => "purged",
    }
}

/// Carries the order out, and tells how far it came however it ends.
async fn perform(
    context: &mut Context<'_>,
    config: &Config,
    bus: &dyn Bus,
    order: &Order,
) -> Result<(), Fault> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let twice = async {
        signalled().await;
        stop.cancel();
        signalled().await;
    };
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    let tell = |news| match news {
        News::Progress(Tally { round, taken, skipped, .. }) => {
            bar.set_length(u64::from(round));
            bar.set_position(u64::from(taken) + u64::from(skipped));
        }
        News::Waiting => bar.suspend(|| {
            let told =
                "warning: RabbitMQ confirms nothing; it may have a memory or disk alarm. Waiting";
            // Nobody else is there to be told.
            let _ = writeln!(std::io::stderr(), "{told}");
        }),
    };
    let done = tokio::select! {
        done = carry_out(bus, order, &stop, tell) => done,
        () = twice => {
            let message = "ended by a second signal; letters under way may be there twice";
            return Err(Fault::failed(message));
        }
    };
    bar.finish_and_clear();
    let (tally, end) = done.map_err(|error| fault(error, config))?;
    report(context, bus, order, tally).await?;
    match end {
        End::Done => Ok(()),
        End::Stopped => {
            Err(Fault::failed("stopped before it had gone round; nothing is half done"))
        }
        End::Failed(error) => Err(Fault::Failed {
            message: format!("the bus failed: {error}"),
            hint: Some(
                "no letter is lost; the same command goes on, and what was under way may be there \
                 twice"
                    .into(),
            ),
        }),
    }
}

async fn report(
    context: &mut Context<'_>,
    bus: &dyn Bus,
    order: &Order,
    tally: Tally,
) -> Result<(), Fault> {
    let (taken, done) = (letters(tally.taken), done_word(order.act));
    write!(
        context.out,
        "{taken} of {} {done}, {} skipped",
        order.endpoint,
        grouped(tally.skipped)
    )?;
    // What had been fetched beyond the round is on its way back.
    let expected = tally.round.saturating_sub(tally.taken);
    let left = given_back(bus, Queue::Dead(order.endpoint.clone()), expected).await;
    if let Ok(Some(left)) = left {
        write!(context.out, ", {} left", grouped(left))?;
    }
    writeln!(context.out)?;
    Ok(())
}
