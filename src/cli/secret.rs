//! `lockgate secret`: makes keys and seals credentials.
//!
//! Owns how a value gets in (a prompt that shows nothing, or a pipe) and out. Refuses to overwrite a
//! key file. Read [`rotate`] for how a key is replaced, [`crate::logic::secret`] for what sealing is.

mod rotate;
mod staged;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use console::Term;

use super::{Context, Fault};
use crate::config;
use crate::logic::secret::{Key, Keyring};
use crate::world;

/// The largest value that is sealed, in bytes.
const MAX_VALUE: u64 = 64 * 1024;

/// What `secret` is asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a new key.
    Keygen {
        /// Writes the key into a new file that only its owner can read, instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Seals a value from standard input for one key path of the configuration.
    Seal {
        /// Where the value will stand: `endpoints.erp.rest.auth.basic.password`.
        #[arg(long, value_name = "KEY.PATH")]
        path: String,
        /// The key's file, instead of the configuration's first key.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Seals every sealed value of the configuration's folder anew, with the first key.
    ///
    /// `secret keygen --out new.key`; name it first in `secrets.key_files`, before the old one; rotate;
    /// then remove the old one. In between both are valid. Comments and formatting stay as they are.
    Rotate(rotate::Arguments),
}

/// Does it.
///
/// # Errors
/// When a file, a key or the input cannot be used.
pub fn secret(context: &mut Context<'_>, command: Command) -> Result<(), Fault> {
    match command {
        Command::Keygen { out } => keygen(context, out.as_deref()),
        Command::Seal { path, key_file } => seal(context, &path, key_file.as_deref()),
        Command::Rotate(arguments) => rotate::rotate(context, &arguments),
    }
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    world::random_bytes().map_err(|_| Fault::failed("the system gives no random bytes"))
}

fn keygen(context: &mut Context<'_>, out: Option<&Path>) -> Result<(), Fault> {
    let text = Key::from_bytes(random()?).to_text();
    let text = text.expose();
    let Some(path) = out else {
        writeln!(context.out, "{text}")?;
        return Ok(());
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written =
        options.open(path).and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()));
    written.map_err(|cause| match cause.kind() {
        std::io::ErrorKind::AlreadyExists => Fault::usage(
            format!("{} exists already", path.display()),
            "a key that is overwritten opens nothing any more: choose another file",
        ),
        _ => Fault::failed(format!("cannot write the key file {}: {cause}", path.display())),
    })?;
    writeln!(context.err, "wrote a new key to {}", path.display())?;
    Ok(())
}

fn seal(context: &mut Context<'_>, path: &str, key_file: Option<&Path>) -> Result<(), Fault> {
    let keyring = match key_file {
        Some(file) => Keyring::new([config::key_file(file).map_err(Fault::failed)?]),
        None => config::keyring(&context.location, &context.environment)?,
    };
    if keyring.is_empty() {
        return Err(Fault::usage(
            "there is no key to seal with",
            "`lockgate secret keygen --out FILE`, then --key-file FILE or secrets.key_files",
        ));
    }
    if !config::takes_credential(path) {
        writeln!(context.err, "warning: no credential stands at {path}")?;
    }
    let value = value(path)?;
    if value.is_empty() {
        return Err(Fault::usage("the value is empty", "write it to standard input"));
    }
    let sealed =
        keyring.seal(path, &value, random()?).map_err(|cause| Fault::failed(cause.to_string()))?;
    writeln!(context.out, "{sealed}")?;
    Ok(())
}

/// The value: from a prompt that shows nothing, or from a pipe, less one newline at its end.
fn value(path: &str) -> Result<String, Fault> {
    if std::io::stdin().is_terminal() {
        let terminal = Term::stderr();
        terminal.write_str(&format!("value for {path}: "))?;
        return Ok(terminal.read_secure_line()?);
    }
    let mut text = String::new();
    let read = std::io::stdin().take(MAX_VALUE + 1).read_to_string(&mut text);
    read.map_err(|cause| Fault::failed(format!("cannot read the value: {cause}")))?;
    if text.len() as u64 > MAX_VALUE {
        return Err(Fault::usage(
            "the value is larger than 64 KiB",
            "it is probably not what you meant",
        ));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
