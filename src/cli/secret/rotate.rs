//! `lockgate secret rotate`: every sealed value of the configuration's folder, sealed anew.
//!
//! Owns which files are rewritten, and in which order things happen: everything is opened and
//! staged before the first file changes. Refuses to remove a key. Read [`crate::config::rotate`] for
//! what changes in a file's text.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{Context, Fault};
use super::staged::{Staged, stage};
use crate::config::{self, Held, Problems, Rotated};

/// What `secret rotate` is asked to do.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Shows what would be sealed anew; writes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only the file of `--env`, instead of every `*.toml` of the folder.
    #[arg(long)]
    only_env: bool,
}

/// A file, its text, and what becomes of it.
struct Planned {
    path: PathBuf,
    before: String,
    rotated: Rotated,
}

/// Does it.
///
/// # Errors
/// When a value cannot be opened: then no file has changed. When a file cannot be written: then
/// those that are told have changed.
pub(super) fn rotate(context: &mut Context<'_>, arguments: &Arguments) -> Result<(), Fault> {
    let files = files(context, arguments.only_env)?;
    let planned = plan(context, files)?;
    let held = config::held_by_variables(&context.location, &context.environment)?;
    for Planned { path, rotated, .. } in &planned {
        for change in &rotated.changes {
            let (path, at) = (path.display(), &change.path);
            writeln!(context.out, "{path}: {at}: {} -> {}", change.from, change.to)?;
        }
    }
    mention(context, &held)?;
    let current: usize = planned.iter().map(|file| file.rotated.current).sum();
    let changing: Vec<Planned> =
        planned.into_iter().filter(|file| !file.rotated.changes.is_empty()).collect();
    let values: usize = changing.iter().map(|file| file.rotated.changes.len()).sum();
    let count = changing.len();
    if !arguments.dry_run {
        write(context, changing)?;
    }
    let done = if arguments.dry_run { "would be sealed anew" } else { "sealed anew" };
    match (values, current) {
        (0, 0) => writeln!(context.out, "nothing to do: no sealed value")?,
        (0, _) => writeln!(
            context.out,
            "nothing to do: {} sealed with the first key already",
            counted(current, "value")
        )?,
        _ => writeln!(
            context.out,
            "{} in {} {done}; {current} had the first key already",
            counted(values, "value"),
            counted(count, "file")
        )?,
    }
    Ok(())
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The files, each of them once, however many names it has.
fn files(context: &Context<'_>, only_env: bool) -> Result<Vec<PathBuf>, Fault> {
    let folder = &context.location.folder;
    if only_env {
        return Ok(vec![folder.join(format!("{}.toml", context.location.environment))]);
    }
    let unreadable = |cause: io::Error| {
        Fault::usage(
            format!("cannot read {}: {cause}", folder.display()),
            "name the folder with --config DIR",
        )
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|kind| kind == "toml") && !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut seen = BTreeSet::new();
    paths.retain(|path| fs::canonicalize(path).is_ok_and(|target| seen.insert(target)));
    Ok(paths)
}

/// What becomes of the files; or everything that cannot be opened in any of them.
fn plan(context: &Context<'_>, files: Vec<PathBuf>) -> Result<Vec<Planned>, Fault> {
    let mut planned = Vec::new();
    let mut problems = Problems::default();
    for path in files {
        let before =
            fs::read_to_string(&path).map_err(|cause| cannot("read", &path, &cause, ""))?;
        match config::rotate(&path.display().to_string(), &before, &context.environment) {
            Ok(rotated) => planned.push(Planned { path, before, rotated }),
            Err(found) => problems.errors.extend(found.errors),
        }
    }
    if problems.errors.is_empty() { Ok(planned) } else { Err(problems.into()) }
}

/// Variables cannot be rewritten: says which ones hold what.
fn mention(context: &mut Context<'_>, held: &[Held]) -> io::Result<()> {
    for Held { variable, path, key } in held {
        let key = key.as_deref().unwrap_or("that cannot be told");
        writeln!(
            context.err,
            "warning: {path}: sealed with the key {key}\n  in {variable}\n  hint: no command can rewrite it: seal it anew with `lockgate secret seal --path {path}`, and keep that key until then"
        )?;
    }
    Ok(())
}

/// Stages every file, then puts one after the other in its place.
fn write(context: &mut Context<'_>, files: Vec<Planned>) -> Result<(), Fault> {
    let mut all: Vec<(PathBuf, Staged)> = Vec::new();
    for Planned { path, before, rotated } in files {
        let staged = stage(&path, before, &rotated.text)
            .map_err(|cause| cannot("write", &path, &cause, "no file has changed"))?;
        all.push((path, staged));
    }
    let mut done = Vec::new();
    for (path, staged) in all {
        if let Err(cause) = staged.put() {
            let state = match done.as_slice() {
                [] => "no file has changed".to_owned(),
                names => format!(
                    "sealed anew already: {}; the others are as they were. Both keys are in use: keep both, and rotate again",
                    names.join(", ")
                ),
            };
            return Err(cannot("write", &path, &cause, &state));
        }
        done.push(path.display().to_string());
    }
    if !done.is_empty() {
        writeln!(context.err, "rewrote {}", done.join(", "))?;
    }
    Ok(())
}

fn cannot(what: &str, path: &Path, cause: &io::Error, hint: &str) -> Fault {
    let message = format!("cannot {what} {}: {cause}", path.display());
    Fault::Failed { message, hint: (!hint.is_empty()).then(|| hint.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Change, Environment, Location};

    /// A file with `text`, planned as if `before` stood in it.
    fn planned(folder: &Path, name: &str, text: &str, before: &str) -> Planned {
        let path = folder.join(name);
        fs::write(&path, text).expect("written");
        let change = Change { path: "a.b".into(), from: "old".into(), to: "new".into() };
        let rotated = Rotated { text: "new".into(), changes: vec![change], current: 0 };
        Planned { path, before: before.into(), rotated }
    }

    /// What is told where the second of three files cannot be put in its place, and their texts.
    fn interrupted(first: &str) -> (String, String, [String; 3]) {
        let folder = tempfile::tempdir().expect("a folder");
        let files = vec![
            planned(folder.path(), "a.toml", "old", first),
            planned(folder.path(), "b.toml", "old", "other"),
            planned(folder.path(), "c.toml", "old", "old"),
        ];
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut context = Context {
            location: Location { folder: folder.path().into(), environment: "a".into() },
            environment: Environment::default(),
            out: &mut out,
            err: &mut err,
        };
        let told = write(&mut context, files).expect_err("the second file was changed");
        let Fault::Failed { message, hint } = told else { panic!("{told:?}") };
        let text = |name| fs::read_to_string(folder.path().join(name)).expect("there");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3, "nothing is left");
        (message, hint.unwrap_or_default(), ["a.toml", "b.toml", "c.toml"].map(text))
    }

    #[test]
    fn where_a_file_cannot_be_put_in_its_place_it_is_said_which_ones_are() {
        let (message, hint, texts) = interrupted("old");
        assert!(message.contains("b.toml: somebody else has changed it"), "{message}");
        assert!(hint.contains("sealed anew already: ") && hint.contains("a.toml; "), "{hint}");
        assert!(hint.contains("keep both, and rotate again"), "{hint}");
        assert_eq!(texts, ["new", "old", "old"]);
    }

    #[test]
    fn where_the_first_file_cannot_be_put_in_its_place_none_has_changed() {
        let (message, hint, texts) = interrupted("other");
        assert!(message.contains("a.toml: somebody else has changed it"), "{message}");
        assert_eq!(hint, "no file has changed");
        assert_eq!(texts, ["old", "old", "old"]);
    }
}
