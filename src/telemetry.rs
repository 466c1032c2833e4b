//! Floor 6: the log. Where it goes, in which form, and what may never be in it.
//!
//! Owns the subscriber that the process installs once: standard error, text or JSON, `RUST_LOG`.
//! Libraries print frames, headers and bodies at `debug` and `trace`, credentials among them; so
//! whatever `RUST_LOG` says, only lockgate's own targets may go below `info`. Refuses metrics:
//! those are [`crate::meter`]. Read [`crate::admin`] next.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// What is logged where `RUST_LOG` says nothing.
const DEFAULT: &str = "info";
/// Heard only when asked for by name: the demo's embedded broker calls every client that goes away
/// an error.
const QUIET: &str = "rumqttd=off,actix_server=warn";

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` cannot be read.
    #[error("RUST_LOG is no list of log directives such as `info,lockgate=debug`")]
    Directives(#[source] tracing_subscriber::filter::ParseError),
    /// The process has a log already.
    #[error("the log is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Sets up the process's log on standard error, for panics too. `directives` is what `RUST_LOG` says, if anything.
///
/// # Errors
/// When the directives cannot be read, or the log is set up already.
pub fn init(format: LogFormat, directives: Option<&str>) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal();
    subscriber(format, directives, colours, std::io::stderr)?
        .try_init()
        .map_err(TelemetryError::Twice)?;
    log_panics();
    Ok(())
}

/// From now on a panic is one line in the log: where it was, and what the code itself says of it. A
/// text that was made at run time is left out: it may hold a part of an event, or a secret.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let words = panic.payload().downcast_ref::<&'static str>();
        let thread = std::thread::current();
        let (thread, words) = (thread.name(), words.copied());
        tracing::error!(place, thread, words, "panicked: a fault of lockgate");
    }));
}

/// The subscriber that [`init`] installs, for any writer.
///
/// # Errors
/// When the directives cannot be read.
pub fn subscriber<W>(
    format: LogFormat,
    directives: Option<&str>,
    colours: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let plain = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => plain.with_ansi(colours).boxed(),
        LogFormat::Json => plain.json().flatten_event(true).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(filter(directives)?)))
}

/// What is logged: what the directives ask for, except what [`may_be_logged`] refuses.
///
/// # Errors
/// When the directives cannot be read.
pub fn filter(directives: Option<&str>) -> Result<impl Filter<Registry> + use<>, TelemetryError> {
    let asked = match directives.map(str::trim) {
        None | Some("") => DEFAULT,
        Some(text) => text,
    };
    let asked = EnvFilter::builder()
        .parse(format!("{QUIET},{asked}"))
        .map_err(TelemetryError::Directives)?;
    Ok(asked.and(filter_fn(may_be_logged).with_max_level_hint(LevelFilter::TRACE)))
}

/// Whether a line or a span may be in the log at all: lockgate's own at any level, lapin's and
/// OpenTelemetry's never, others from `info` upward. lapin prints user names, and whole messages that
/// were returned, as warnings and errors; OpenTelemetry has a line for each batch that fails. What
/// matters of these, lockgate says itself.
#[must_use]
pub fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let of = |name: &str| {
        target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let silent = of("lapin") || target.starts_with("opentelemetry");
    of("lockgate") || (!silent && *metadata.level() <= Level::INFO)
}
