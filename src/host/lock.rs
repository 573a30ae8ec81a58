//! Locks: our own, and whose lock somebody else's file has (FN-20).
//!
//! One run at a time. The lock is gone with its process, however that ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use super::place::{Last, Place};
use super::{Host, LockHolder, Process, absent};
use crate::error::{Class, Context, Error, Result};
use crate::message;
use crate::message::Message;

/// Where root's locks are.
const LOCKS: &str = "/run/mitigator-vpn";
/// How long an edit of one file may keep another one waiting.
const EDIT_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take others to ask whether the host is claimed.
const CLAIM_DEADLINE: Duration = Duration::from_secs(1);

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _held: File,
}

impl Host {
    /// Who has locked a file the POSIX way, as apt and dpkg do. `None` when nobody has, there is no such file, or only
    /// root may ask.
    pub(crate) fn locked_by(&self, path: &Path) -> Result<Option<LockHolder>> {
        let ask = || -> io::Result<Option<LockHolder>> {
            let Some(place) = self.place(path, Last::Follow)? else { return Ok(None) };
            let file = match place.open(OFlag::O_RDONLY, 0) {
                Err(error) if absent(&error) || !geteuid().is_root() => return Ok(None),
                opened => opened?,
            };
            let mut lock = libc::flock {
                l_type: libc::F_WRLCK as i16,
                l_whence: libc::SEEK_SET as i16,
                l_start: 0,
                l_len: 0,
                l_pid: 0,
            };
            fcntl(&file, FcntlArg::F_GETLK(&mut lock))?;
            Ok((lock.l_type != libc::F_UNLCK as i16).then(|| LockHolder::of(u32::try_from(lock.l_pid).unwrap_or(0))))
        };
        ask().with_context(|| message!("asking who has locked {path}", path = self.display(path)))
    }

    /// Takes the lock of the directory that a file is in, links to the file followed. An edit is short: another one is
    /// waited for.
    pub(crate) fn lock_beside(&self, path: &Path) -> Result<Lock> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let shown = self.display(dir);
        let what = || message!("locking {path}", path = &shown);
        let look = format!("ls -ld {shown}");
        let hint = |e: Error| {
            e.with_class(Class::Input).hint(message!("that must be a directory: {command}", command = &look))
        };
        let target = self.target_to_make(path).with_context(what).map_err(hint)?;
        let id = target.dir_id().with_context(what)?;
        let handle = lock_file(id, target.dir()).with_context(what)?;
        let deadline = Instant::now() + EDIT_DEADLINE;
        loop {
            match handle.try_lock() {
                Ok(()) => return Ok(Lock { _held: handle }),
                Err(TryLockError::Error(error)) => return Err(error).with_context(what),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::WouldBlock) => {
                    return Err(taken(match LockingRun::of(&handle) {
                        Some(run) => message!(
                            "{path} is locked: {run}, for {seconds} s",
                            path = &shown,
                            run = &run.process,
                            seconds = run.seconds
                        ),
                        None => message!("{path} is locked", path = &shown),
                    }));
                }
            }
        }
    }

    /// Takes the host for one kind of work, beside its lock; `None` while another process has it.
    pub(crate) fn claim(&self, work: &str) -> Result<Option<Lock>> {
        let claim = || -> io::Result<Option<Lock>> {
            let file = named_lock(&self.claim_name(work)?, OFlag::O_RDWR | OFlag::O_CREAT)?;
            let deadline = Instant::now() + CLAIM_DEADLINE;
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(Some(Lock { _held: file })),
                    Err(TryLockError::Error(error)) => return Err(error),
                    // Somebody may just be asking whether it is claimed.
                    Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                        thread::sleep(Duration::from_millis(5))
                    }
                    Err(TryLockError::WouldBlock) => return Ok(None),
                }
            }
        };
        claim().context(message!("locking the host"))
    }

    /// Whether a process has it for this kind of work.
    pub(crate) fn is_claimed(&self, work: &str) -> Result<bool> {
        let ask = || match named_lock(&self.claim_name(work)?, OFlag::O_RDONLY) {
            Err(error) if absent(&error) || !geteuid().is_root() => Ok(false),
            Err(error) => Err(error),
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Ok(false),
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(error)) => Err(error),
            },
        };
        ask().context(message!("locking the host"))
    }

    fn claim_name(&self, work: &str) -> io::Result<String> {
        let meta = self.root_dir.metadata()?;
        Ok(format!("{:x}-{:x}.{work}", meta.dev(), meta.ino()))
    }

    /// Takes the lock of this host; another run that has it is named, with the time it has run. What earlier runs have begun
    /// and left to itself is let come to its end.
    pub fn lock(&mut self) -> Result<Lock> {
        let lock = self.lock_alone()?;
        self.settle_jobs()?;
        Ok(lock)
    }

    fn lock_alone(&self) -> Result<Lock> {
        let id = self.root_dir.metadata().map(|meta| (meta.dev(), meta.ino())).context(message!("locking the host"))?;
        let root = lock_file(id, self.root_dir.as_fd()).context(message!("locking the host"))?;
        match root.try_lock() {
            Ok(()) => Ok(Lock { _held: root }),
            Err(TryLockError::Error(error)) => Err(error).context(message!("locking the host")),
            Err(TryLockError::WouldBlock) => Err(taken(match LockingRun::of(&root) {
                Some(run) => message!(
                    "another run holds the lock: {run}, for {seconds} s",
                    run = &run.process,
                    seconds = run.seconds
                ),
                None => message!("another run holds the lock"),
            })),
        }
    }
}

/// What is locked in place of a directory: anybody who may open a directory may lock it, so root locks a file where only
/// root comes. It goes with the next boot.
fn lock_file((device, inode): (u64, u64), dir: BorrowedFd) -> io::Result<File> {
    if !geteuid().is_root() {
        return Ok(openat(dir, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?.into());
    }
    named_lock(&format!("{device:x}-{inode:x}"), OFlag::O_RDWR | OFlag::O_CREAT)
}

fn named_lock(name: &str, flags: OFlag) -> io::Result<File> {
    let root = File::open("/")?;
    let locks = Place::find(root.as_fd(), Path::new(LOCKS), Last::Keep)?;
    if flags.contains(OFlag::O_CREAT) {
        match locks.make_dir(0o700) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let entered = locks.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
    let meta = entered.metadata()?;
    if meta.uid() != 0 || meta.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("{LOCKS} is not root's alone")));
    }
    let name = Path::new(LOCKS).join(format!("{name}.lock"));
    Place::find(root.as_fd(), &name, Last::Keep)?.open(flags, 0o600)
}

fn taken(message: Message) -> Error {
    Error::new(Class::Locked, message).hint(message!("wait until it has finished, then run this again"))
}

/// The run of this program that has a lock.
struct LockingRun {
    /// Its name is that of the command and its verb: further arguments are nobody else's business.
    process: Process,
    /// How long it has run.
    seconds: u64,
}

impl LockingRun {
    /// By the flock on the file.
    fn of(file: &File) -> Option<LockingRun> {
        let pid = flock_holder(&fs::read_to_string("/proc/locks").ok()?, file.metadata().ok()?.ino())?;
        let proc = format!("/proc/{pid}");
        let argv = fs::read(format!("{proc}/cmdline")).ok()?;
        let words: Vec<_> = argv.split(|b| *b == 0).take(2).map(String::from_utf8_lossy).collect();
        let name = words.first()?.rsplit('/').next()?;
        let name = format!("{name} {}", words.get(1).map_or("", |word| word)).trim().to_owned();
        let started = fs::metadata(&proc).and_then(|meta| meta.modified()).ok()?;
        let seconds = SystemTime::now().duration_since(started).unwrap_or_default().as_secs();
        Some(LockingRun { process: Process { name, pid }, seconds })
    }
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
        let mut host = Host::at(dir.path()).unwrap();
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
