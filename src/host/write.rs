//! Changing files so that a crash at any instant leaves the old content or the new, never a mixture.
//!
//! By rename where nothing holds the file. Where a container has bind-mounted it, a rename would leave that container
//! with the old inode for ever (FN-40), so the file is written in place behind a *redo copy*: the new content is made
//! durable beside the file first; if the in-place write is cut off, the next run finds the copy and repeats it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::{Host, absent};
use crate::error::{Context, Error, Result};

/// Permission bits of a file or directory made by us; one that exists keeps its own mode and owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Mode {
    /// Readable by root alone from the first byte.
    pub const SECRET: Mode = Mode(0o600);
    /// Readable by all.
    pub const PUBLIC: Mode = Mode(0o644);
    /// Started by root alone.
    pub const PROGRAM: Mode = Mode(0o700);
    /// A directory all may enter.
    pub const DIRECTORY: Mode = Mode(0o755);
}

impl Host {
    /// Gives `path` this content, durably. `mode` counts for a new file only.
    pub fn write(&mut self, path: &Path, bytes: &[u8], mode: Mode) -> Result<()> {
        let what = || format!("writing {}", self.display(path));
        let target = self.target(path)?;
        let outcome = if target.exists() && self.is_held(path) {
            redo_in_place(&target, bytes)
        } else {
            replace(&target, bytes, mode)
        };
        outcome.with_context(what).map_err(|e| way_out(e, &target))
    }

    /// Completes a write to `path` that a crash cut off, and clears what it left beside it. Says whether there was one.
    pub fn recover(&mut self, path: &Path) -> Result<bool> {
        let target = self.target(path)?;
        let what = || format!("completing an interrupted write to {}", self.display(path));
        let _ = fs::remove_file(temporary_path(&target));
        let redo = redo_path(&target);
        match fs::read(&redo) {
            Ok(bytes) => {
                overwrite(&target, &bytes).with_context(what)?;
                remove_durably(&redo).with_context(what)?;
                Ok(true)
            }
            Err(e) if absent(&e) => Ok(false),
            Err(e) => Err(e).with_context(what),
        }
    }

    /// Removes a file; that nothing is there is fine.
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        let entry = self.entry(path)?;
        match remove_durably(&entry) {
            Err(e) if !absent(&e) => Err(e).with_context(|| format!("removing {}", self.display(path))),
            _ => Ok(()),
        }
    }

    /// Makes one directory; its parent must be there.
    pub fn create_dir(&mut self, path: &Path, mode: Mode) -> Result<()> {
        let entry = self.entry(path)?;
        let make = || -> std::io::Result<()> {
            fs::DirBuilder::new().mode(mode.0).create(&entry)?;
            sync_parent(&entry)
        };
        match make() {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other.with_context(|| format!("creating {}", self.display(path))).map_err(|e| way_out(e, &entry)),
        }
    }

    /// Removes a directory if it is empty; says whether it is gone.
    pub fn remove_dir(&mut self, path: &Path) -> Result<bool> {
        let entry = self.entry(path)?;
        match fs::remove_dir(&entry) {
            Ok(()) => Ok(true),
            Err(e) if absent(&e) => Ok(true),
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(e) => Err(e).with_context(|| format!("removing {}", self.display(path))),
        }
    }

    /// Opens a file for appending, made with `mode` if it isn't there: the journal's way of writing.
    pub fn append(&mut self, path: &Path, mode: Mode) -> Result<Appending> {
        let entry = self.entry(path)?;
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new().append(true).create(true).mode(mode.0).open(&entry)?;
            sync_parent(&entry)?;
            Ok(file)
        };
        let file = open().with_context(|| format!("opening {}", self.display(path)));
        file.map_err(|e| way_out(e, &entry)).map(|file| Appending { file, path: entry })
    }
}

/// A file that grows piece by piece.
#[derive(Debug)]
pub struct Appending {
    file: File,
    path: PathBuf,
}

impl Appending {
    /// Waits until nobody else has this file locked; the lock is held as long as this is.
    pub fn lock(&self) -> Result<()> {
        self.file.lock().with_context(|| format!("locking {}", self.path.display()))
    }

    /// Cuts off what stands behind the first `length` bytes.
    pub fn cut(&mut self, length: u64) -> Result<()> {
        self.file.set_len(length).with_context(|| format!("shortening {}", self.path.display()))
    }

    /// Adds these bytes; they are durable when this has returned.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_all());
        written.with_context(|| format!("writing {}", self.path.display())).map_err(|e| way_out(e, &self.path))
    }
}

/// Where the new content waits while a held file is written in place.
pub(super) fn redo_path(target: &Path) -> PathBuf {
    beside(target, "redo")
}

fn temporary_path(target: &Path) -> PathBuf {
    beside(target, "tmp")
}

fn beside(target: &Path, kind: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.mitigator-vpn-{kind}"))
}

/// Write beside, make durable, rename over.
fn replace(target: &Path, bytes: &[u8], mode: Mode) -> std::io::Result<()> {
    let temporary = temporary_path(target);
    let result = (|| {
        let old = fs::metadata(target).ok();
        let file = create_secret(&temporary, bytes)?;
        match &old {
            Some(old) => {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
                file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            }
            None => file.set_permissions(fs::Permissions::from_mode(mode.0))?,
        }
        file.sync_all()?;
        fs::rename(&temporary, target)?;
        sync_parent(target)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Make a redo copy, write into the same inode, drop the copy.
fn redo_in_place(target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let redo = redo_path(target);
    let temporary = temporary_path(target);
    let prepared = create_secret(&temporary, bytes)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&temporary, &redo))
        .and_then(|()| sync_parent(target));
    if prepared.is_err() {
        let _ = fs::remove_file(&temporary);
        return prepared;
    }
    overwrite(target, bytes)?;
    remove_durably(&redo)
}

fn overwrite(target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(target)?;
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// A new file that only its owner can read, however the umask stands. Whatever stood at the path is removed, not
/// followed: a link planted there must not be written through.
fn create_secret(path: &Path, bytes: &[u8]) -> std::io::Result<File> {
    match fs::remove_file(path) {
        Err(e) if !absent(&e) => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn remove_durably(path: &Path) -> std::io::Result<()> {
    fs::remove_file(path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn way_out(error: Error, path: &Path) -> Error {
    let dir = path.parent().unwrap_or(path).display().to_string();
    let io = std::error::Error::source(&error).and_then(|s| s.downcast_ref::<std::io::Error>()).map(|e| e.kind());
    match io {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            error.hint(format!("make room, then run it again; see: df -h {dir}"))
        }
        Some(ErrorKind::ReadOnlyFilesystem) => {
            error.hint(format!("remount it writable: mount -o remount,rw \"$(findmnt -n -o TARGET -T {dir})\""))
        }
        Some(ErrorKind::PermissionDenied) => error.hint("run it as root, with sudo for example"),
        Some(ErrorKind::NotFound) => error.hint(format!("make the directory first: mkdir -p {dir}")),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(dir: &Path) -> Host {
        Host::at(dir).unwrap()
    }

    #[test]
    fn a_rewrite_keeps_mode_owner_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        host(dir.path()).write(Path::new("/link"), b"new", Mode::PUBLIC).unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(dir.path().join("link")).unwrap().is_symlink());
    }

    #[test]
    fn a_cut_off_write_in_place_reads_as_done_and_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "new contold content").unwrap();
        fs::write(redo_path(&file), "new content").unwrap();
        let inode = fs::metadata(&file).unwrap().ino();
        let mut host = host(dir.path());
        assert_eq!(host.read(Path::new("/f")).unwrap().unwrap(), b"new content");
        assert!(host.recover(Path::new("/f")).unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"new content");
        assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
        assert!(!host.recover(Path::new("/f")).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_cut_off_write_through_a_link_reads_as_done_as_well() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/f"), "torn").unwrap();
        fs::write(redo_path(&dir.path().join("real/f")), "whole").unwrap();
        std::os::unix::fs::symlink("/real/f", dir.path().join("link")).unwrap();
        let mut host = host(dir.path());
        assert!(host.is_interrupted(Path::new("/link")));
        assert_eq!(host.read(Path::new("/link")).unwrap().unwrap(), b"whole");
        assert!(host.recover(Path::new("/link")).unwrap());
        assert!(!host.is_interrupted(Path::new("/link")));
        assert_eq!(fs::read(dir.path().join("real/f")).unwrap(), b"whole");
    }

    #[test]
    fn in_place_keeps_the_inode_and_shortens() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "something long").unwrap();
        let inode = fs::metadata(&file).unwrap().ino();
        redo_in_place(&file, b"short").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"short");
        assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    }

    #[test]
    fn a_planted_link_at_the_temporary_name_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, temporary_path(&dir.path().join("f"))).unwrap();
        host(dir.path()).write(Path::new("/f"), b"new", Mode::PUBLIC).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_full_disk_names_the_way_out_and_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let error = host(dir.path()).write(Path::new("/no/such/f"), b"x", Mode::PUBLIC).unwrap_err();
        assert!(error.way_out().unwrap().starts_with("make the directory first"), "{error}");
    }
}
