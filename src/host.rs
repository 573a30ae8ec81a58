//! The host: the only module that touches files or starts processes.
//!
//! `&Host` reads, `&mut Host` changes. A function that takes `&Host` can't alter anything, which makes `plan` and
//! `preflight` safe by construction. All paths are absolute paths of the host; with a root other than
//! `/` they are resolved inside it, whatever the links of that tree say (`place`).

#![expect(clippy::disallowed_methods, reason = "this is the one place they are for")]

mod cmd;
mod conversation;
pub(crate) mod docker;
mod hardening;
mod held;
mod interruption;
mod job;
mod lock;
mod network;
mod place;
mod process;
mod writable;
mod write;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag};

pub use cmd::{Advance, Listener};
pub(crate) use cmd::{Cmd, Output};
pub(crate) use conversation::{Conversation, Received};
pub use hardening::harden;
#[cfg(any(test, fuzzing))]
pub(crate) use held::mount_of;
pub(crate) use interruption::Uninterrupted;
pub use interruption::heed_signals;
pub(crate) use job::{Job, When};
pub use lock::Lock;
pub use process::{LockHolder, Process};
pub use writable::{Obstacle, Unwritable};
pub(crate) use write::STATE_DIR;
pub use write::{Appending, Mode};

use place::{Last, Place};

use crate::error::{Context, Error, Result};
use crate::message;

/// Files larger than this are not read: nothing this program reads comes near it.
pub(crate) const MAX_FILE: u64 = 4 << 20;
/// Programs are larger, above all unoptimised ones.
const MAX_PROGRAM: u64 = 512 << 20;

/// A running host, or the tree of one mounted at some directory.
pub struct Host {
    root: PathBuf,
    root_dir: File,
    listener: Option<Listener>,
}

/// What kind of thing stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link to nowhere (links that lead somewhere are followed).
    DanglingLink,
    /// A socket, device or pipe.
    Other,
}

/// What the file system says about a path, links followed.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// The kind of thing.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Device and inode: what a bind mount holds on to.
    pub id: (u64, u64),
    /// Size in bytes.
    pub len: u64,
    /// When the content last changed.
    pub modified: SystemTime,
    /// How many names the file has. None is left when it was replaced while a bind mount held it (FN-40).
    pub links: u64,
}

impl Host {
    /// The host this program runs on.
    pub fn live() -> Self {
        let root_dir = File::open("/").expect("every process has a root directory");
        Host { root: PathBuf::from("/"), root_dir, listener: None }
    }

    /// The tree of a host mounted at `root`.
    pub fn at(root: &Path) -> Result<Self> {
        let root = fs::canonicalize(root)
            .with_context(|| message!("--root {path}", path = root.display()))
            .map_err(|e| e.with_class(crate::error::Class::Input))?;
        if !root.is_dir() {
            return Err(Error::input(message!("--root {path}: not a directory", path = root.display())));
        }
        let root_dir = File::open(&root).with_context(|| message!("--root {path}", path = root.display()))?;
        Ok(Host { root, root_dir, listener: None })
    }

    /// Whether this is the running host, with its kernel and daemons, and not a mounted tree.
    pub(crate) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The path as a person on *this* machine would type it.
    pub(crate) fn display(&self, path: &Path) -> String {
        if self.is_live() { path.display().to_string() } else { self.plain(path).display().to_string() }
    }

    /// The whole content of a regular file; `None` when nothing is there. An interrupted write counts as done, since the
    /// next run completes it.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        self.read_up_to(path, MAX_FILE)
    }

    fn read_up_to(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let pending = self.target(path).and_then(|target| target.as_ref().map_or(Ok(None), |file| self.pending(file)));
        if let Some(pending) = pending.with_context(|| message!("reading {path}", path = self.display(path)))? {
            return Ok(Some(pending));
        }
        self.read_plain(path, limit)
    }

    /// Whether a write to `path` was interrupted and waits for completion.
    pub(crate) fn is_interrupted(&self, path: &Path) -> Result<bool> {
        let pending = self.target(path).and_then(|target| target.as_ref().map_or(Ok(None), |file| self.pending(file)));
        Ok(pending.with_context(|| message!("reading {path}", path = self.display(path)))?.is_some())
    }

    /// The content of a program's database, invalid UTF-8 replaced, up to `limit` bytes.
    pub(crate) fn read_database(&self, path: &Path, limit: u64) -> Result<Option<String>> {
        Ok(self.read_plain(path, limit)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The bytes of a program or a library.
    pub(crate) fn read_program(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        self.read_plain(path, MAX_PROGRAM)
    }

    /// The bytes of the running program, wherever its file is by now.
    pub(crate) fn running_program() -> Result<Vec<u8>> {
        fs::read("/proc/self/exe").context(message!("reading the running executable"))
    }

    /// The content of a text file; other encodings than UTF-8 are bad input.
    pub(crate) fn read_text(&self, path: &Path) -> Result<Option<String>> {
        self.read_text_up_to(path, MAX_FILE)
    }

    /// As [`Host::read_text`], of a file that may be larger than others.
    pub(crate) fn read_text_up_to(&self, path: &Path, limit: u64) -> Result<Option<String>> {
        self.read_up_to(path, limit)?
            .map(|bytes| {
                String::from_utf8(bytes).map_err(|e| {
                    let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
                    let file = self.display(path);
                    let hint = message!("look at it with: {command}", command = format!("file {file}"));
                    Error::input(message!("{file}: line {line}: not UTF-8 text", file, line)).hint(hint)
                })
            })
            .transpose()
    }

    fn read_plain(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let shown = || self.display(path);
        let what = || message!("reading {path}", path = shown());
        let no_file = || Error::input(message!("{path} is not a regular file", path = shown()));
        let Some(stat) = self.stat(path)? else { return Ok(None) };
        match stat.kind {
            Kind::File => {}
            Kind::Directory => {
                let hint = format!("rmdir {}", shown());
                return Err(Error::input(message!("{path} is a directory, not a file", path = shown()))
                    .hint(message!("look into it, then remove it: {command}", command = hint)));
            }
            Kind::DanglingLink => {
                let hint = format!("readlink {}", shown());
                return Err(Error::input(message!("{path} is a link to nowhere", path = shown()))
                    .hint(message!("see where it leads: {command}", command = hint)));
            }
            Kind::Other => return Err(no_file()),
        }
        let input = |e: Error| e.with_class(crate::error::Class::Input);
        let opened = self.place(path, Last::Follow).and_then(|place| match place {
            Some(place) => place.open(OFlag::O_RDONLY, 0),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        let file = opened.with_context(what).map_err(input)?;
        // It may have become something else since it was looked at.
        let meta = file.metadata().with_context(what)?;
        if !meta.is_file() {
            return Err(no_file());
        }
        let mut bytes = write::room_for(meta.len(), limit);
        file.take(limit + 1).read_to_end(&mut bytes).with_context(what)?;
        if bytes.len() as u64 > limit {
            let hint = format!("ls -l {}", shown());
            return Err(Error::input(message!("{path} is larger than {size} MiB", path = shown(), size = limit >> 20))
                .hint(message!("this can't be the right file; see: {command}", command = hint)));
        }
        Ok(Some(bytes))
    }

    /// What stands at `path`; `None` when nothing does.
    pub fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        self.look(path)
            .with_context(|| message!("looking at {path}", path = self.display(path)))
            .map_err(|e| e.with_class(crate::error::Class::Input))
    }

    fn look(&self, path: &Path) -> io::Result<Option<Stat>> {
        let Some(entry) = self.place(path, Last::Keep)? else { return Ok(None) };
        let Some(found) = entry.stat()? else { return Ok(None) };
        if kind_of(&found) != SFlag::S_IFLNK {
            return Ok(Some(Stat::new(&found)));
        }
        let behind = match self.place(path, Last::Follow) {
            // A link to itself leads nowhere.
            Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => None,
            place => match place? {
                Some(place) => place.stat()?,
                None => None,
            },
        };
        Ok(Some(behind.map_or(Stat { kind: Kind::DanglingLink, ..Stat::new(&found) }, |found| Stat::new(&found))))
    }

    /// Names in a directory, sorted; empty when there is no such directory.
    pub fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let read = || -> io::Result<Vec<String>> {
            let Some(place) = self.place(dir, Last::Follow)? else { return Ok(Vec::new()) };
            let opened = match place.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0) {
                Err(error) if absent(&error) => return Ok(Vec::new()),
                opened => opened?,
            };
            let mut names = Vec::new();
            for entry in Dir::from_fd(opened.into())? {
                names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
            }
            names.retain(|name| name != "." && name != "..");
            names.sort();
            Ok(names)
        };
        read().with_context(|| message!("listing {path}", path = self.display(dir)))
    }

    /// Runs a command that only reads. The compiler can't check that: its callers read facts or observe.
    pub(crate) fn query(&self, cmd: &Cmd) -> Result<Output> {
        if !self.is_live() {
            let error = message!("'{command}' can't be asked of a mounted tree, only of a running host", command = cmd);
            return Err(Error::unexpected(error));
        }
        cmd.run()
    }

    /// Runs a command that changes the host.
    pub(crate) fn run(&mut self, cmd: &Cmd) -> Result<Output> {
        match &self.listener {
            Some(listener) if self.is_live() => cmd.run_before(listener),
            _ => self.query(cmd),
        }
    }

    /// Sets who is told how far long commands have come.
    pub fn report_to(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// Starts a program in the background, with our stdout and stderr. The caller waits for its end.
    pub(crate) fn start(&mut self, cmd: &Cmd) -> Result<nix::unistd::Pid> {
        cmd.start()
    }

    /// Whether a program of this name can be found.
    pub fn has_program(&self, name: &str) -> Result<bool> {
        Ok(self.program(name)?.is_some())
    }

    /// Where a program stands, links not followed: programs of a snap all lead to snap itself.
    pub fn program(&self, name: &str) -> Result<Option<PathBuf>> {
        for dir in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin"] {
            let path = Path::new(dir).join(name);
            if self.stat(&path)?.is_some_and(|stat| stat.kind == Kind::File) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Bytes free for root on the file system of `path` or of its nearest existing parent.
    pub(crate) fn free_space(&self, path: &Path) -> Result<u64> {
        let ask = || -> io::Result<u64> {
            let mut existing = path.ancestors().map(|path| self.existing(path)).filter_map(Result::transpose);
            let nearest = existing.next().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))?;
            let stat = nix::sys::statvfs::fstatvfs(nearest.open(OFlag::O_PATH, 0)?)?;
            Ok(stat.blocks_free() * stat.fragment_size())
        };
        ask().with_context(|| message!("looking at {path}", path = self.display(path)))
    }

    /// `path` under the root, no links looked at.
    fn plain(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Where a path leads; `None` where it passes something that isn't there.
    fn place(&self, path: &Path, last: Last) -> io::Result<Option<Place>> {
        match Place::find(self.root_dir.as_fd(), path, last) {
            Ok(place) => Ok(Some(place)),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where a path leads, if something stands there.
    fn existing(&self, path: &Path) -> io::Result<Option<Place>> {
        let Some(place) = self.place(path, Last::Follow)? else { return Ok(None) };
        Ok(place.stat()?.map(|_| place))
    }

    /// Where a write to `path` goes: through links, so that a link an operator made stays one; a link to nowhere is
    /// replaced.
    fn target(&self, path: &Path) -> io::Result<Option<Place>> {
        match self.existing(path) {
            Ok(Some(place)) => Ok(Some(place)),
            // A link to nowhere, or to itself.
            Ok(None) => self.place(path, Last::Keep),
            Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => self.place(path, Last::Keep),
            Err(error) => Err(error),
        }
    }

    /// As [`Host::target`], of something that is to be made: its directory must be there.
    fn target_to_make(&self, path: &Path) -> io::Result<Place> {
        self.target(path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The directory entry itself, a link taken for itself; its directory must be there.
    fn entry_to_make(&self, path: &Path) -> io::Result<Place> {
        self.place(path, Last::Keep)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

impl Stat {
    fn new(stat: &FileStat) -> Stat {
        let kind = match kind_of(stat) {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            _ => Kind::Other,
        };
        let since = Duration::new(stat.st_mtime.try_into().unwrap_or(0), stat.st_mtime_nsec.try_into().unwrap_or(0));
        Stat {
            kind,
            mode: stat.st_mode & 0o7777,
            id: (stat.st_dev, stat.st_ino),
            len: stat.st_size.try_into().unwrap_or(0),
            modified: SystemTime::UNIX_EPOCH + since,
            links: stat.st_nlink,
        }
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_link_stays_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/real"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc/real", dir.path().join("etc/link")).unwrap();
        std::os::unix::fs::symlink("../../../../etc/hostname", dir.path().join("etc/out")).unwrap();
        let host = Host::at(dir.path()).unwrap();
        assert_eq!(host.read(Path::new("/etc/link")).unwrap().unwrap(), b"inside");
        assert_eq!(host.stat(Path::new("/etc/out")).unwrap().unwrap().kind, Kind::DanglingLink);
    }

    #[test]
    fn odd_files_are_bad_input_with_their_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("l")).unwrap();
        fs::write(dir.path().join("big"), vec![b'x'; MAX_FILE as usize + 1]).unwrap();
        fs::write(dir.path().join("binary"), b"ok\n\xff\xfe").unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let host = Host::at(dir.path()).unwrap();
        for (name, words) in [
            ("/d", "is a directory"),
            ("/l", "link to nowhere"),
            ("/big", "larger than 4 MiB"),
            ("/pipe", "not a regular"),
        ] {
            let error = host.read(Path::new(name)).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.class().exit_code(), 2);
        }
        let error = host.read_text(Path::new("/binary")).unwrap_err();
        assert!(error.to_string().contains("line 2: not UTF-8"), "{error}");
        assert!(host.read(Path::new("/none/at/all")).unwrap().is_none());
    }
}
