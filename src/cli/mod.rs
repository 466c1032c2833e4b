//! Floor 6: the commands.
//!
//! Owns the command line, the exit codes (0 ok, 1 failed while running, 2 bad configuration or
//! usage) and how failures are told. One file is one command. Read [`check`] first.

pub mod check;
pub mod completions;
pub mod config;
pub mod dead;
#[cfg(feature = "demo")]
pub mod demo;
pub mod explain;
mod front;
mod input;
pub mod run;
pub mod secret;
pub mod send;
pub mod topology;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Environment, Location, Problems, load};

/// Bridges a platform's RabbitMQ bus to its partners' endpoints.
#[derive(Debug, Parser)]
#[command(name = "lockgate", version)]
pub struct Cli {
    /// The folder with NAME.toml.
    #[arg(long = "config", value_name = "DIR", default_value = "config", global = true)]
    folder: PathBuf,
    /// The environment.
    #[arg(
        long = "env",
        value_name = "NAME",
        env = "LOCKGATE_ENV",
        default_value = "development",
        global = true
    )]
    environment: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the bridge.
    Run(run::Arguments),
    /// Shows what the configuration says and everything that is wrong with it; with --connect,
    /// whether its peers can be reached.
    Check(check::Arguments),
    /// Shows what becomes of an event, to the byte; sends nothing.
    Explain(explain::Arguments),
    /// Publishes events on the bus.
    Send(send::Arguments),
    /// Lists, shows, replays and purges dead letters.
    #[command(subcommand)]
    Dead(dead::Command),
    /// Prints the RabbitMQ definitions and permissions that an operator has to provide.
    Topology,
    /// Shows everything at work in this process alone.
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
    /// Makes keys, seals credentials, and seals them anew.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Says what a configuration file may hold.
    #[command(subcommand)]
    Config(config::Command),
    /// Prints a shell's completions.
    Completions(completions::Completions),
    /// Prints the manual's page, or writes one for each command.
    Man(completions::Man),
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The configuration cannot be used: exit 2.
    #[error("{0}")]
    Configuration(#[from] Problems),
    /// The command line cannot be used: exit 2.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It failed while running: exit 1.
    #[error("{message}")]
    Failed {
        /// What failed.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Nobody reads the output any more.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Fault {
    /// A failure while running, without a hint.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None }
    }

    /// A wrong use, with a hint.
    #[must_use]
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// The process's exit code for it.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Usage { .. } => 2,
            Self::Failed { .. } | Self::Output(_) => 1,
        }
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

/// What a command works with.
pub struct Context<'a> {
    /// Where the configuration is.
    pub location: Location,
    /// The process's environment variables.
    pub environment: Environment,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
}

impl Context<'_> {
    /// The configuration. Its warnings are printed to standard error.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn config(&mut self) -> Result<Config, Fault> {
        let config = load(&self.location, &self.environment)?;
        for warning in &config.warnings {
            writeln!(self.err, "warning: {warning}")?;
        }
        Ok(config)
    }
}

/// Parses the command line, runs the command, tells what went wrong, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version are told in the same way, with exit code 0. A closed pipe is fine.
            let _ = told.print();
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
        }
    };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let result = dispatch(cli, &mut out, &mut err).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fault::Output(cause)) if cause.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(fault) => {
            // There is nobody else to tell.
            let _ = tell(&fault, &mut err);
            ExitCode::from(fault.code())
        }
    }
}

fn dispatch(cli: Cli, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Fault> {
    let location = Location { folder: cli.folder, environment: cli.environment };
    let mut context = Context { location, environment: Environment::of_process(), out, err };
    match cli.command {
        Command::Run(arguments) => run::run(&mut context, &arguments),
        Command::Check(arguments) => check::check(&mut context, &arguments),
        Command::Explain(arguments) => explain::explain(&mut context, &arguments),
        Command::Send(arguments) => send::send(&mut context, &arguments),
        Command::Dead(command) => dead::dead(&mut context, &command),
        Command::Topology => topology::topology(&mut context),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::demo(&mut context, &arguments),
        Command::Secret(command) => secret::secret(&mut context, command),
        Command::Config(command) => config::config(&mut context, &command),
        Command::Completions(arguments) => completions::completions(&mut context, &arguments),
        Command::Man(arguments) => completions::man(&mut context, &arguments),
    }
}

/// `error: …` and `hint: …`.
fn tell(fault: &Fault, err: &mut dyn Write) -> io::Result<()> {
    match fault {
        Fault::Configuration(problems) => {
            for warning in &problems.warnings {
                writeln!(err, "warning: {warning}")?;
            }
            writeln!(err, "{problems}")
        }
        Fault::Usage { message, hint } | Fault::Failed { message, hint } => {
            writeln!(err, "error: {message}")?;
            hint.as_ref().map_or(Ok(()), |hint| writeln!(err, "hint: {hint}"))
        }
        Fault::Output(_) => writeln!(err, "error: {fault}"),
    }
}
