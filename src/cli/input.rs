//! What people hand to a command: a file, or standard input.
//!
//! Owns how it is read, within a bound. Refuses to understand it. Read
//! [`crate::logic::message_file`] next.

use std::fs::File;
use std::io::Read as _;

use super::Fault;

/// The largest input, in bytes: larger than any event can be.
const MAX_INPUT: u64 = 256 * 1024 * 1024;

/// Reads a file whole; `-` is standard input. `option` is the option that names it.
///
/// # Errors
/// When it cannot be read, or is larger than 256 MiB.
pub(super) fn read(option: &str, name: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let read = if name == "-" {
        std::io::stdin().take(MAX_INPUT + 1).read_to_end(&mut bytes)
    } else {
        File::open(name).and_then(|file| file.take(MAX_INPUT + 1).read_to_end(&mut bytes))
    };
    read.map_err(|cause| {
        let hint = format!("{option} takes a file, or - for standard input");
        Fault::usage(format!("cannot read events from {name}: {cause}"), hint)
    })?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(Fault::usage(format!("{name} is larger than 256 MiB"), "give it in parts"));
    }
    Ok(bytes)
}
