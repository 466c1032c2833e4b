//! `lockgate demo`: not wired yet.

use super::{Context, Fault};

/// What `demo` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Not wired yet.
///
/// # Errors
/// Always.
pub fn demo(_context: &mut Context<'_>, _arguments: &Arguments) -> Result<(), Fault> {
    Err(Fault::failed("`demo` is not wired yet"))
}
