//! Where a path leads inside a root, and what can be done there.
//!
//! A path is walked one component at a time. The kernel follows no link for us and no `..`: each directory is opened by its
//! name in the one before it, a link is read and walked by the same rules, `..` goes back to a directory that was passed, and
//! above the root there is only the root. The result is an open directory and a name in it, and everything is done by these
//! two. The path is never looked up a second time: a tree that changes meanwhile, or lies, leads to another place inside
//! itself and never outside. No system call newer than Linux 2.6.39 is needed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// A name in an open directory.
#[derive(Debug)]
pub(super) struct Place {
    dir: OwnedFd,
    /// One component, with no link behind it that would have been followed. `.` for the root itself.
    name: OsString,
}

/// What to do with a link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// Go where it leads.
    Follow,
    /// Stop at the link itself.
    Keep,
}

impl Place {
    /// Where `path` leads. Nothing needs to stand there, but its directory must.
    pub(super) fn find(root: BorrowedFd, path: &Path, last: Last) -> io::Result<Place> {
        let mut passed = vec![open_dir(root, OsStr::new("."))?];
        let mut ahead: VecDeque<OsString> = VecDeque::new();
        put_in_front(&mut ahead, path);
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                if passed.len() > 1 {
                    passed.pop();
                }
                continue;
            }
            let here = passed.last().expect("the root stays").as_fd();
            let at_the_end = ahead.is_empty();
            if at_the_end && last == Last::Keep {
                return Ok(Place { dir: passed.pop().expect("the root stays"), name });
            }
            match readlinkat(here, name.as_os_str()) {
                Ok(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::ELOOP.into());
                    }
                    let target = Path::new(&target);
                    if target.is_absolute() {
                        passed.truncate(1);
                    }
                    put_in_front(&mut ahead, target);
                }
                // It is no link, or it isn't there, which matters only where it has to be passed.
                Err(Errno::EINVAL | Errno::ENOENT) if at_the_end => {
                    return Ok(Place { dir: passed.pop().expect("the root stays"), name });
                }
                Err(Errno::EINVAL) => {
                    let next = open_dir(here, &name)?;
                    passed.push(next);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Place { dir: passed.pop().expect("the root stays"), name: ".".into() })
    }

    /// Another name in the same directory, made from this one's.
    pub(super) fn beside(&self, name: impl FnOnce(&OsStr) -> OsString) -> io::Result<Place> {
        Ok(Place { dir: self.dir.try_clone()?, name: name(&self.name) })
    }

    /// The last component.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// What stands here, a link taken for itself; `None` when nothing does.
    pub(super) fn stat(&self) -> io::Result<Option<FileStat>> {
        match fstatat(&self.dir, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what stands here, or makes it; a link is refused. Opening a pipe doesn't wait for its other end.
    pub(super) fn open(&self, flags: OFlag, mode: u32) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(openat(&self.dir, self.name.as_os_str(), flags, Mode::from_bits_truncate(mode))?.into())
    }

    /// Opens a file that doesn't exist yet. Whatever stands here is removed, not followed.
    pub(super) fn create_anew(&self, mode: u32) -> io::Result<File> {
        self.remove()?;
        self.open(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, mode)
    }

    /// Gives what stands here the name of `other`, in place of what stands there.
    pub(super) fn rename_to(&self, other: &Place) -> io::Result<()> {
        Ok(renameat(&self.dir, self.name.as_os_str(), &other.dir, other.name.as_os_str())?)
    }

    /// Removes a file, or a link itself. That nothing is there is fine.
    pub(super) fn remove(&self) -> io::Result<()> {
        match unlinkat(&self.dir, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT | Errno::ENOTDIR) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory here.
    pub(super) fn make_dir(&self, mode: u32) -> io::Result<()> {
        Ok(mkdirat(&self.dir, self.name.as_os_str(), Mode::from_bits_truncate(mode))?)
    }

    /// Removes an empty directory.
    pub(super) fn remove_dir(&self) -> io::Result<()> {
        Ok(unlinkat(&self.dir, self.name.as_os_str(), UnlinkatFlags::RemoveDir)?)
    }

    /// Makes the directory's entries durable.
    pub(super) fn sync_dir(&self) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        File::from(openat(&self.dir, ".", flags, Mode::empty())?).sync_all()
    }

    /// Device and inode of the directory of this name.
    pub(super) fn dir_id(&self) -> io::Result<(u64, u64)> {
        let stat = fstat(&self.dir)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The directory of this name.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn open_dir(at: BorrowedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

/// Puts the components of a path before those that are ahead already.
fn put_in_front(ahead: &mut VecDeque<OsString>, path: &Path) {
    let components = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    for (at, component) in components.enumerate() {
        ahead.insert(at, component);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use proptest::prelude::*;

    use super::*;

    /// Inode of what is found, if anything is.
    fn found(root: &Path, path: &str, last: Last) -> Option<u64> {
        let root = File::open(root).unwrap();
        let place = Place::find(root.as_fd(), Path::new(path), last).ok()?;
        place.stat().unwrap().map(|stat| stat.st_ino)
    }

    #[test]
    fn links_lead_where_they_would_in_a_running_host() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc/sub")).unwrap();
        fs::write(root.join("etc/file"), "").unwrap();
        symlink("/etc", root.join("absolute")).unwrap();
        symlink("../file", root.join("etc/sub/up")).unwrap();
        symlink("../../../../../etc/file", root.join("etc/far")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let file = fs::metadata(root.join("etc/file")).unwrap().ino();
        for path in ["/etc/file", "/absolute/file", "/etc/sub/up", "/etc/far", "/../etc/./file", "/etc/sub/../file"] {
            assert_eq!(found(&root, path, Last::Follow), Some(file), "{path}");
        }
        assert_ne!(found(&root, "/etc/far", Last::Keep), Some(file));
        assert_eq!(found(&root, "/loop", Last::Follow), None);
        assert_eq!(found(&root, "/", Last::Follow), Some(fs::metadata(&root).unwrap().ino()));
        assert_eq!(found(&root, "/etc/file/x", Last::Follow), None);
    }

    proptest! {
        /// Whatever the links of a tree say, nothing outside is ever found.
        #[test]
        fn nothing_leads_out(
            links in prop::collection::vec(("[ab]{1,2}", "(/|(\\.\\./){0,5})[ab]{1,2}(/(\\.\\.|[ab])){0,4}|/outside/secret|\\.\\./outside(/secret)?|(\\.\\./){1,6}"), 1..8),
            paths in prop::collection::vec("(/(\\.\\.|[ab]{1,2}|outside|secret)){1,6}", 1..16),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
            fs::create_dir_all(root.join("a/b")).unwrap();
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("secret"), "").unwrap();
            for (name, target) in &links {
                let _ = symlink(target, root.join(name));
                let _ = symlink(dir.path().join(target.trim_start_matches('/')), root.join("a").join(name));
            }
            let forbidden: Vec<u64> = [dir.path(), &outside, &outside.join("secret")]
                .map(|path| fs::metadata(path).unwrap().ino()).into();
            for path in &paths {
                for last in [Last::Follow, Last::Keep] {
                    if let Some(inode) = found(&root, path, last) {
                        prop_assert!(!forbidden.contains(&inode), "{path} leads out");
                    }
                }
            }
        }
    }
}
