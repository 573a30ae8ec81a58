//! Who holds a file: containers that bind-mount its inode (FN-40), processes that have locked it (FN-20).

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::Host;

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

    /// Whether some other mount namespace has this very file mounted, so that replacing it by rename would leave a
    /// container with the old content. Where that can't be found out, the answer is yes: writing in place is always
    /// right for the content, it only lacks the atomicity of a rename.
    pub(super) fn is_held(&self, path: &Path) -> bool {
        let (Ok(path), true) = (self.resolve(path), self.is_live()) else { return false };
        let (Ok(meta), Some(name)) = (fs::metadata(&path), path.file_name().and_then(|n| n.to_str())) else {
            return false;
        };
        let Ok(processes) = fs::read_dir("/proc") else { return true };
        let mut seen: HashSet<PathBuf> = fs::read_link("/proc/self/ns/mnt").into_iter().collect();
        for process in processes.filter_map(|e| e.ok()) {
            if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let process = process.path();
            let Ok(namespace) = fs::read_link(process.join("ns/mnt")) else { continue };
            if !seen.insert(namespace) {
                continue;
            }
            let Ok(mounts) = fs::read_to_string(process.join("mountinfo")) else { continue };
            for (root, target) in mounts.lines().filter_map(root_and_target) {
                if !root.ends_with(name) {
                    continue;
                }
                let seen_there = process.join("root").join(target.trim_start_matches('/'));
                if fs::metadata(seen_there).is_ok_and(|m| (m.dev(), m.ino()) == (meta.dev(), meta.ino())) {
                    return true;
                }
            }
        }
        false
    }
}

/// The fields of a mountinfo line that say what is mounted (path in its file system) and where.
pub fn root_and_target(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split(' ').skip(3);
    Some((fields.next()?, fields.next()?))
}
