//! `lockgate run`: not wired yet.

use super::{Context, Fault};

/// What `run` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Not wired yet.
///
/// # Errors
/// Always.
pub fn run(_context: &mut Context<'_>, _arguments: &Arguments) -> Result<(), Fault> {
    Err(Fault::failed("`run` is not wired yet"))
}
