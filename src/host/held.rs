//! What other processes see and hold: their namespaces, and files by their inode (FN-40).

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};

use super::Host;
use super::place::Place;

impl Host {
    /// Runs something inside the network and the mount namespace of a process, on a thread of its own: a namespace belongs
    /// to a thread, and this one is given up afterwards. Only the host that `work` is given sees the files there.
    pub(crate) fn inside<T: Send>(&self, pid: u32, work: impl FnOnce(&Host) -> T + Send) -> std::io::Result<T> {
        let namespace = |kind: &str| fs::File::open(format!("/proc/{pid}/ns/{kind}"));
        let (network, mounts) = (namespace("net")?, namespace("mnt")?);
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // A root directory that threads share can't be another for one of them.
                unshare(CloneFlags::CLONE_FS)?;
                setns(mounts, CloneFlags::CLONE_NEWNS)?;
                setns(network, CloneFlags::CLONE_NEWNET)?;
                // Our own root directory was opened outside.
                Ok(work(&Host::live()))
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Device and inode of what a process sees at `path` through its own mounts; `None` where it sees nothing.
    pub(crate) fn seen_by(&self, pid: u32, path: &Path) -> Option<(u64, u64)> {
        // Opened as it is: resolving the magic link /proc/PID/root by name would lead back to our own root.
        let seen = Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").ok()?);
        fs::metadata(seen).ok().map(|meta| (meta.dev(), meta.ino()))
    }

    /// The content of what a process sees at `path` through its own mounts; `None` where it sees no file.
    pub(crate) fn read_seen_by(&self, pid: u32, path: &Path) -> Option<Vec<u8>> {
        let seen = Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").ok()?);
        let mut bytes = Vec::new();
        fs::File::open(seen).ok()?.take(super::MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Whether some other mount namespace has this very file mounted, so that replacing it by rename would leave a
    /// container with the old content. Where that can't be found out, the answer is yes: writing in place is always
    /// right for the content, it only lacks the atomicity of a rename.
    pub(super) fn is_held(&self, file: &Place) -> bool {
        let (Ok(Some(stat)), Some(name), true) = (file.stat(), file.name().to_str(), self.is_live()) else {
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
                if fs::metadata(seen_there).is_ok_and(|m| (m.dev(), m.ino()) == (stat.st_dev, stat.st_ino)) {
                    return true;
                }
            }
        }
        false
    }
}

/// The fields of a mountinfo line that say what is mounted (path in its file system) and where.
pub(crate) fn root_and_target(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split(' ').skip(3);
    Some((fields.next()?, fields.next()?))
}
