//! A file's new text, beside the old one until it is put in its place.
//!
//! Owns that a file is whole at every moment: the new text is written and synced under another name
//! in the same folder, with the old one's owner and permissions, and then renamed. Refuses to know
//! what is in it. Read [`super::rotate`] next: who stages.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A new text that waits. Dropped, it is gone, and the file is as it was.
pub(super) struct Staged {
    /// The file itself, where its name is a link.
    target: PathBuf,
    before: String,
    new: NamedTempFile,
}

/// Writes the new text of a file beside it; `before` is what stands there.
pub(super) fn stage(path: &Path, before: String, after: &str) -> io::Result<Staged> {
    let target = fs::canonicalize(path)?;
    // Not `.toml`: it must not be taken for a configuration.
    let mut new = tempfile::Builder::new()
        .prefix(".lockgate-")
        .suffix(".tmp")
        .tempfile_in(folder(&target))?;
    new.write_all(after.as_bytes())?;
    let old = fs::metadata(&target)?;
    keep_owner(new.as_file(), &old)?;
    new.as_file().set_permissions(old.permissions())?;
    new.as_file().sync_all()?;
    Ok(Staged { target, before, new })
}

impl Staged {
    /// Puts it in its place, at once and for good.
    pub(super) fn put(self) -> io::Result<()> {
        if fs::read_to_string(&self.target)? != self.before {
            return Err(io::Error::other("somebody else has changed it meanwhile"));
        }
        let folder = File::open(folder(&self.target))?;
        self.new.persist(&self.target).map_err(|failed| failed.error)?;
        folder.sync_all()
    }
}

fn folder(target: &Path) -> &Path {
    target.parent().unwrap_or(Path::new("/"))
}

/// The owner of the old file: who rotates may be another than who runs the bridge.
#[cfg(unix)]
fn keep_owner(new: &File, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let mine = new.metadata()?;
    let (user, group) = (old.uid(), old.gid());
    if (mine.uid(), mine.gid()) == (user, group) {
        return Ok(());
    }
    fchown(new, Some(user), Some(group))
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_is_as_it_was_until_the_new_text_is_put_in_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.toml");
        fs::write(&path, "old").expect("written");
        let staged = stage(&path, "old".into(), "new").expect("staged");
        assert_eq!(fs::read_to_string(&path).expect("read"), "old");
        drop(staged);
        assert_eq!(names(folder.path()), ["a.toml"], "what was staged is gone");
        stage(&path, "old".into(), "new").expect("staged").put().expect("put");
        assert_eq!(fs::read_to_string(&path).expect("read"), "new");
        assert_eq!(names(folder.path()), ["a.toml"]);
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.toml");
        fs::write(&path, "old").expect("written");
        let staged = stage(&path, "old".into(), "new").expect("staged");
        fs::write(&path, "theirs").expect("written");
        let told = staged.put().expect_err("changed").to_string();
        assert!(told.contains("changed it meanwhile"), "{told}");
        assert_eq!(fs::read_to_string(&path).expect("read"), "theirs");
        assert_eq!(names(folder.path()), ["a.toml"]);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_are_kept() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        symlink("a.toml", &link).expect("linked");
        stage(&link, "old".into(), "new").expect("staged").put().expect("put");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_to_string(&path).expect("read"), "new");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }
}
