//! Locks: our own, and whose lock somebody else's file has (FN-20).
//!
//! One run at a time. Our lock is a flock on the root directory itself: nothing to create, nothing left behind, gone
//! with its process however that ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::Host;
use crate::error::{Class, Context, Error, Result};

/// How long an edit of one file may keep another one waiting.
const EDIT_DEADLINE: Duration = Duration::from_secs(10);

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _held: File,
}

impl Host {
    /// The process that has locked a file the POSIX way, as apt and dpkg do; 0 when it lives where we can't see it.
    /// `None` when nobody has, there is no such file, or only root may ask.
    pub fn locked_by(&self, path: &Path) -> Option<u32> {
        let file = fs::File::open(self.resolve(path).ok()?).ok()?;
        let mut lock = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_GETLK(&mut lock)).ok()?;
        (lock.l_type != libc::F_UNLCK as i16).then_some(u32::try_from(lock.l_pid).unwrap_or(0))
    }

    /// Takes the lock of the directory that a file is in, links to the file followed. An edit is short: another one is
    /// waited for.
    pub fn lock_beside(&self, path: &Path) -> Result<Lock> {
        let target = self.target(path)?;
        let dir = target.parent().unwrap_or(Path::new("/"));
        let what = || format!("locking {}", dir.display());
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir).with_context(what);
        let handle = opened.map_err(|e| {
            e.with_class(Class::Input).hint(format!("that must be a directory: ls -ld {}", dir.display()))
        })?;
        let deadline = Instant::now() + EDIT_DEADLINE;
        loop {
            match handle.try_lock() {
                Ok(()) => return Ok(Lock { _held: handle }),
                Err(TryLockError::Error(error)) => return Err(error).with_context(what),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::WouldBlock) => {
                    let holder = handle.metadata().ok().and_then(|meta| holder(meta.ino()));
                    return Err(taken(&format!("{} is locked", dir.display()), holder));
                }
            }
        }
    }

    /// Takes the lock of this host; another run that has it is named, with the time it has run.
    pub fn lock(&self) -> Result<Lock> {
        let root = File::open(&self.root).with_context(|| self.root.display().to_string())?;
        match root.try_lock() {
            Ok(()) => Ok(Lock { _held: root }),
            Err(TryLockError::Error(error)) => Err(error).context("locking the host"),
            Err(TryLockError::WouldBlock) => {
                let holder = root.metadata().ok().and_then(|meta| holder(meta.ino()));
                Err(taken("another run holds the lock", holder))
            }
        }
    }
}

fn taken(what: &str, holder: Option<(u32, String, u64)>) -> Error {
    let message = match holder {
        Some((pid, who, seconds)) => format!("{what}: {who} (pid {pid}), for {seconds} s"),
        None => what.to_owned(),
    };
    Error::new(Class::Locked, message).hint("wait until it has finished, then run this again")
}

/// Pid, command line and age of the process that has an flock on the inode.
fn holder(inode: u64) -> Option<(u32, String, u64)> {
    let pid = flock_holder(&fs::read_to_string("/proc/locks").ok()?, inode)?;
    let process = format!("/proc/{pid}");
    let argv = fs::read(format!("{process}/cmdline")).ok()?;
    // The command's name and its verb are enough; further arguments are nobody else's business.
    let words: Vec<_> = argv.split(|b| *b == 0).take(2).map(String::from_utf8_lossy).collect();
    let name = words.first()?.rsplit('/').next()?.to_owned();
    let started = fs::metadata(&process).and_then(|meta| meta.modified()).ok()?;
    let age = SystemTime::now().duration_since(started).unwrap_or_default().as_secs();
    Some((pid, format!("{name} {}", words.get(1).map_or("", |w| w)).trim().to_owned(), age))
}

/// The pid of the flock on an inode in the text of /proc/locks.
fn flock_holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, id, ..] = fields.as_slice() else { return None };
        (id.rsplit(':').next()? == inode.to_string()).then(|| pid.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path()).unwrap();
        let first = host.lock().unwrap();
        let error = host.lock().unwrap_err();
        assert_eq!(error.class().exit_code(), 7);
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        host.lock().unwrap();
    }

    #[test]
    fn waiting_and_foreign_locks_are_passed_over() {
        let locks = "1: POSIX  ADVISORY  WRITE 812 fe:00:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 fe:00:42 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 9 fe:00:42 0 EOF\n";
        assert_eq!(flock_holder(locks, 42), Some(4711));
        assert_eq!(flock_holder(locks, 77), None);
    }
}
