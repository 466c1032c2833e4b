//! `lockgate config`: what is to be known about the configuration as such.
//!
//! Owns the commands that say something about any configuration. Refuses to check one, which is
//! [`super::check`]. Read [`crate::config::schema`] for what the schema says.

use clap::Subcommand;

use super::{Context, Fault};

/// What `config` is asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints the JSON Schema of a configuration file, for editors.
    ///
    /// `lockgate config schema > lockgate.schema.json`, and `#:schema lockgate.schema.json` as the first
    /// line of the file: Even Better TOML and other editors with taplo then complete and check it.
    Schema,
}

/// Does it.
///
/// # Errors
/// When nobody reads the output.
pub fn config(context: &mut Context<'_>, command: &Command) -> Result<(), Fault> {
    match command {
        Command::Schema => writeln!(context.out, "{:#}", crate::config::schema())?,
    }
    Ok(())
}
