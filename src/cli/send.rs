//! `lockgate send`: not wired yet.

use super::{Context, Fault};

/// What `send` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Not wired yet.
///
/// # Errors
/// Always.
pub fn send(_context: &mut Context<'_>, _arguments: &Arguments) -> Result<(), Fault> {
    Err(Fault::failed("`send` is not wired yet"))
}
