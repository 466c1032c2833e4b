//! `lockgate completions` and `lockgate man`: the command line, told to shells and to readers.
//!
//! Owns where they are written to. What is in them is made from the command line itself, so that
//! they cannot fall behind it. Read [`super`] next.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Context, Fault};

/// What `completions` is asked for.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

/// What `man` is asked for.
#[derive(Debug, Args)]
pub struct Man {
    /// Writes a page for lockgate and one for each command into this folder, instead of printing
    /// the first. The folder is made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints a shell's script.
///
/// # Errors
/// When nobody reads it.
pub fn completions(context: &mut Context<'_>, arguments: &Completions) -> Result<(), Fault> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "lockgate", &mut script);
    context.out.write_all(&script)?;
    Ok(())
}

/// Prints the manual's page, or writes all pages.
///
/// # Errors
/// When the folder cannot be written, or nobody reads.
pub fn man(context: &mut Context<'_>, arguments: &Man) -> Result<(), Fault> {
    let Some(folder) = &arguments.out else {
        let mut page = Vec::new();
        titled(command()).render(&mut page)?;
        context.out.write_all(&page)?;
        return Ok(());
    };
    let cannot = |cause: std::io::Error| {
        Fault::failed(format!("cannot write the pages to {}: {cause}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let mut all = command();
    all.build();
    let count = pages(&all, folder).map_err(cannot)?;
    writeln!(context.err, "wrote {count} pages to {}", folder.display())?;
    Ok(())
}

fn command() -> Command {
    Cli::command().disable_help_subcommand(true)
}

/// The page of a command, which says what it belongs to.
fn titled(command: Command) -> clap_mangen::Man {
    let source = concat!("lockgate ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).source(source).manual("lockgate")
}

/// Writes the page of a command and those of the commands below it; says how many.
fn pages(command: &Command, folder: &Path) -> std::io::Result<usize> {
    let mut count = 1;
    titled(command.clone()).generate_to(folder)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        count += pages(below, folder)?;
    }
    Ok(count)
}
