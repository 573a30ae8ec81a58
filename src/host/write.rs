//! Changing files so that a crash at any instant leaves the old content or the new, never a mixture.
//!
//! By rename where nothing holds the file. Where a container has bind-mounted it, a rename would leave that container
//! with the old inode for ever (FN-40), so the file is written in place behind a *redo copy*: the new content is made
//! durable beside the file first; if the in-place write is cut off, the next run finds the copy and repeats it. The write is
//! announced before that, by a digest of name and content, where only root writes.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::place::{Last, Place};
use super::{Host, MAX_FILE, absent};
use crate::error::{Context, Error, Result};
use crate::message;

/// The directory for this program's own state.
pub(crate) const STATE_DIR: &str = "/var/lib/mitigator-vpn";
/// The kernel bounds an attribute's value, and all names together, by this.
const MOST_ATTRIBUTES: usize = 65_536;
/// Its access list, as an attribute.
const ACCESS_LIST: &[u8] = b"system.posix_acl_access";
/// What the names of the files there begin with that announce a write in place.
const ANNOUNCED: &str = "redo-";

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
        let write = || -> io::Result<()> {
            let target = self.target_to_make(path)?;
            if self.is_held(&target) { self.redo_in_place(&target, bytes) } else { replace(&target, bytes, mode) }
        };
        write()
            .with_context(|| message!("writing {path}", path = self.display(path)))
            .map_err(|e| self.way_out(e, path))
    }

    /// Makes a file readable by its owner alone; that nothing is there is fine.
    pub(crate) fn make_secret(&mut self, path: &Path) -> Result<()> {
        let make = || match self.target(path)? {
            Some(target) if target.stat()?.is_some() => target
                .open(OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK, 0)?
                .set_permissions(fs::Permissions::from_mode(Mode::SECRET.0)),
            Some(_) | None => Ok(()),
        };
        make().with_context(|| message!("writing {path}", path = self.display(path)))
    }

    /// Completes a write to `path` that a crash cut off, and clears what it left beside it. Says whether there was one.
    pub fn recover(&mut self, path: &Path) -> Result<bool> {
        let recover = || -> io::Result<bool> {
            let Some(target) = self.target(path)? else { return Ok(false) };
            // A read-only file system refuses to remove even what isn't there.
            let temporary = temporary(&target)?;
            if temporary.stat()?.is_some() {
                temporary.remove()?;
            }
            let Some(bytes) = self.pending(&target)?.map(Zeroizing::new) else { return Ok(false) };
            overwrite(&target, &bytes)?;
            remove_durably(&redo(&target)?)?;
            self.entry_to_make(&announcement(&target, &bytes))?.remove()?;
            Ok(true)
        };
        recover()
            .with_context(|| message!("completing an interrupted write to {path}", path = self.display(path)))
            .map_err(|e| self.way_out(e, path))
    }

    /// Removes a file; that nothing is there is fine.
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        let remove = || match self.place(path, Last::Keep)? {
            Some(entry) => remove_durably(&entry),
            None => Ok(()),
        };
        remove().with_context(|| message!("removing {path}", path = self.display(path)))
    }

    /// Makes one directory; its parent must be there.
    pub fn create_dir(&mut self, path: &Path, mode: Mode) -> Result<()> {
        let make = || -> io::Result<()> {
            let entry = self.entry_to_make(path)?;
            entry.make_dir(mode.0)?;
            entry.sync_dir()
        };
        match make() {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other
                .with_context(|| message!("creating {path}", path = self.display(path)))
                .map_err(|e| self.way_out(e, path)),
        }
    }

    /// Removes a directory if it is empty; says whether it is gone.
    pub fn remove_dir(&mut self, path: &Path) -> Result<bool> {
        let remove = || match self.place(path, Last::Keep)? {
            Some(entry) => entry.remove_dir(),
            None => Ok(()),
        };
        match remove() {
            Ok(()) => Ok(true),
            Err(e) if absent(&e) => Ok(true),
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(e) => Err(e).with_context(|| message!("removing {path}", path = self.display(path))),
        }
    }

    /// Opens a regular file for appending, made with `mode` if it isn't there: the journal's way of writing. A link is
    /// refused.
    pub fn append(&mut self, path: &Path, mode: Mode) -> Result<Appending> {
        let open = || -> io::Result<File> {
            let entry = self.entry_to_make(path)?;
            let file = entry.open(OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT, mode.0)?;
            regular(&file)?;
            entry.sync_dir()?;
            Ok(file)
        };
        let file = open().with_context(|| message!("opening {path}", path = self.display(path)));
        let file = file.map_err(|e| self.way_out(e, path))?;
        let dir = self.display(path.parent().unwrap_or(path));
        Ok(Appending { file, shown: self.display(path), dir })
    }

    /// What a write in place that was cut off was going to write. A file under that name counts only if it is one that this
    /// program makes, regular, of one name, ours, readable by its owner alone, and if this very write was announced. Whoever
    /// can write the directory could plant another, or move a key file there, and have it published.
    pub(super) fn pending(&self, target: &Place) -> io::Result<Option<Vec<u8>>> {
        let file = match redo(target)?.open(OFlag::O_RDONLY, 0) {
            Ok(file) => file,
            Err(e) if absent(&e) || e.raw_os_error() == Some(Errno::ELOOP as i32) => return Ok(None),
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        let ours =
            meta.is_file() && meta.nlink() == 1 && meta.uid() == geteuid().as_raw() && meta.mode() & 0o7777 == 0o600;
        if !ours {
            return Ok(None);
        }
        let mut bytes = room_for(meta.len(), MAX_FILE);
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(self.is_announced(target, &bytes)?.then_some(bytes))
    }

    /// Removes what announced writes that were never begun.
    pub(crate) fn forget_announcements(&mut self) -> Result<()> {
        let names = self.list(Path::new(STATE_DIR))?.into_iter().filter(|name| name.starts_with(ANNOUNCED));
        names.map(|name| Path::new(STATE_DIR).join(name)).try_for_each(|path| self.remove(&path))
    }

    fn is_announced(&self, target: &Place, bytes: &[u8]) -> io::Result<bool> {
        // Others can't announce anything, and have only files of their own to lose.
        if !geteuid().is_root() {
            return Ok(true);
        }
        let place = self.place(&announcement(target, bytes), Last::Keep)?;
        Ok(place.map(|place| place.stat()).transpose()?.flatten().is_some())
    }

    /// Notes in the directory that only root writes what is about to be written in place. Says whether it made that
    /// directory.
    fn announce(&self, announcement: &Path) -> io::Result<bool> {
        let mut made = false;
        for dir in Path::new(STATE_DIR).ancestors().collect::<Vec<_>>().iter().rev().skip(1) {
            let place = self.entry_to_make(dir)?;
            match place.make_dir(Mode::DIRECTORY.0) {
                Ok(()) => {
                    place.sync_dir()?;
                    made = true;
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        let place = self.entry_to_make(announcement)?;
        create_secret(&place, b"")?.sync_all()?;
        place.sync_dir()?;
        Ok(made)
    }

    /// Announce it, make a redo copy, write into the same inode, drop the copy and what announced it.
    fn redo_in_place(&self, target: &Place, bytes: &[u8]) -> io::Result<()> {
        if !geteuid().is_root() {
            return write_behind_a_copy(target, bytes);
        }
        let announcement = announcement(target, bytes);
        let made = self.announce(&announcement)?;
        let written = write_behind_a_copy(target, bytes);
        // A write that was begun and failed is still to be completed.
        if written.is_ok() || redo(target)?.stat()?.is_none() {
            self.entry_to_make(&announcement)?.remove()?;
            if made {
                // Something else may be in it by now.
                let _ = self.entry_to_make(Path::new(STATE_DIR))?.remove_dir();
            }
        }
        written
    }

    fn way_out(&self, error: Error, path: &Path) -> Error {
        way_out(error, &self.display(path.parent().unwrap_or(path)))
    }
}

/// A file that grows piece by piece.
#[derive(Debug)]
pub struct Appending {
    file: File,
    /// Its path and its directory's, for messages.
    shown: String,
    dir: String,
}

impl Appending {
    /// Waits until nobody else has this file locked; the lock is held as long as this is.
    pub(crate) fn lock(&self) -> Result<()> {
        self.file.lock().with_context(|| message!("locking {path}", path = &self.shown))
    }

    /// Cuts off what stands behind the first `length` bytes.
    pub(crate) fn cut(&mut self, length: u64) -> Result<()> {
        self.file.set_len(length).with_context(|| message!("shortening {path}", path = &self.shown))
    }

    /// Adds these bytes; they are durable when this has returned.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_all());
        written.with_context(|| message!("writing {path}", path = &self.shown)).map_err(|e| way_out(e, &self.dir))
    }
}

/// Where the new content waits while a held file is written in place.
fn redo(target: &Place) -> io::Result<Place> {
    target.beside(|name| hidden(name, "redo"))
}

/// The file that announces this content under this name.
fn announcement(target: &Place, bytes: &[u8]) -> PathBuf {
    let mut digest = Sha256::new_with_prefix(target.name().as_encoded_bytes());
    digest.update([0]);
    digest.update(bytes);
    let name: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(STATE_DIR).join(format!("{ANNOUNCED}{name}"))
}

fn temporary(target: &Place) -> io::Result<Place> {
    target.beside(|name| hidden(name, "tmp"))
}

fn hidden(name: &OsStr, kind: &str) -> OsString {
    format!(".{}.mitigator-vpn-{kind}", name.to_string_lossy()).into()
}

/// Write beside, make durable, rename over. The new file has the old one's owner, mode and extended attributes, access
/// lists and labels among them.
fn replace(target: &Place, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let temporary = temporary(target)?;
    let result = (|| {
        let file = create_secret(&temporary, bytes)?;
        match target.open(OFlag::O_RDONLY, 0) {
            Ok(old) => {
                let meta = old.metadata()?;
                fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
                file.set_permissions(fs::Permissions::from_mode(meta.mode() & 0o7777))?;
                copy_attributes(&old, &file)?;
            }
            // Nothing there, or a link to nowhere.
            Err(e) if absent(&e) || e.raw_os_error() == Some(Errno::ELOOP as i32) => {
                file.set_permissions(fs::Permissions::from_mode(mode.0))?;
            }
            Err(e) => return Err(e),
        }
        file.sync_all()?;
        temporary.rename_to(target)?;
        target.sync_dir()
    })();
    if result.is_err() {
        let _ = temporary.remove();
    }
    result
}

fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let mut value = vec![0; MOST_ATTRIBUTES];
    for name in attributes(from)? {
        let length = fgetxattr(from, &name[..], &mut value[..])?;
        fsetxattr(to, &name[..], &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

/// The names of a file's extended attributes; none on a file system without them.
fn attributes(file: &File) -> io::Result<Vec<Vec<u8>>> {
    let mut names = vec![0; MOST_ATTRIBUTES];
    match flistxattr(file, &mut names[..]) {
        Ok(length) => {
            let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
            Ok(names.map(<[u8]>::to_vec).collect())
        }
        Err(rustix::io::Errno::NOTSUP) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Takes away the access list that a new file has from its directory: who may read it is its mode's to say, or that of the
/// file it replaces.
fn drop_inherited_access(file: &File) -> io::Result<()> {
    if attributes(file)?.iter().any(|name| name == ACCESS_LIST) {
        fremovexattr(file, ACCESS_LIST)?;
    }
    Ok(())
}

fn write_behind_a_copy(target: &Place, bytes: &[u8]) -> io::Result<()> {
    let redo = redo(target)?;
    let temporary = temporary(target)?;
    let prepared = create_secret(&temporary, bytes)
        .and_then(|file| file.sync_all())
        .and_then(|()| temporary.rename_to(&redo))
        .and_then(|()| target.sync_dir());
    if prepared.is_err() {
        let _ = temporary.remove();
        return prepared;
    }
    overwrite(target, bytes)?;
    remove_durably(&redo)
}

fn overwrite(target: &Place, bytes: &[u8]) -> io::Result<()> {
    let file = target.open(OFlag::O_WRONLY | OFlag::O_CREAT, 0o600)?;
    regular(&file)?;
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// For all of a file at once: what is read into less leaves copies behind as it grows, which nobody wipes.
pub(super) fn room_for(length: u64, limit: u64) -> Vec<u8> {
    Vec::with_capacity(usize::try_from(length.min(limit)).unwrap_or(0) + 1)
}

fn regular(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { Ok(()) } else { Err(io::Error::other("not a regular file")) }
}

/// A new file that only its owner can read, however the umask stands. Whatever stood at the path is removed, not
/// followed: a link planted there must not be written through.
fn create_secret(place: &Place, bytes: &[u8]) -> io::Result<File> {
    let mut file = place.create_anew(0o600)?;
    drop_inherited_access(&file)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    Ok(file)
}

fn remove_durably(place: &Place) -> io::Result<()> {
    place.remove()?;
    place.sync_dir()
}

/// What to do about a failed write below a directory.
fn way_out(error: Error, dir: &str) -> Error {
    let io = std::error::Error::source(&error).and_then(|s| s.downcast_ref::<io::Error>()).map(|e| e.kind());
    let hint = match io {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            message!("make room, then run it again; see: {command}", command = format!("df -h {dir}"))
        }
        Some(ErrorKind::ReadOnlyFilesystem) => {
            let remount = format!("mount -o remount,rw \"$(findmnt -n -o TARGET -T {dir})\"");
            message!("remount it writable: {command}", command = remount)
        }
        Some(ErrorKind::PermissionDenied) => message!("run it as root, with sudo for example"),
        Some(ErrorKind::NotFound) => {
            message!("make the directory first: {command}", command = format!("mkdir -p {dir}"))
        }
        _ => return error,
    };
    error.hint(hint)
}

#[cfg(test)]
mod tests;
