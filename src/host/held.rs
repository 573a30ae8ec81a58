//! What other processes see and hold: their namespaces, and files by their inode (FN-40).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
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
        let stat = match file.stat() {
            Ok(Some(stat)) if self.is_live() => stat,
            Ok(_) => return false,
            Err(_) => return true,
        };
        let name = file.name();
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
            let Ok(mounts) = fs::read(process.join("mountinfo")) else { continue };
            for (root, target) in mounts.split(|byte| *byte == b'\n').filter_map(mount_of) {
                if !root.ends_with(name.as_bytes()) {
                    continue;
                }
                let target = target.strip_prefix(b"/").unwrap_or(&target);
                let seen_there = process.join("root").join(OsStr::from_bytes(target));
                if fs::metadata(seen_there).is_ok_and(|m| (m.dev(), m.ino()) == (stat.st_dev, stat.st_ino)) {
                    return true;
                }
            }
        }
        false
    }
}

/// What a line of mountinfo says is mounted (the path in its file system), and where. Either may be any bytes.
pub(crate) fn mount_of(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut fields = line.split(|byte| *byte == b' ').skip(3).map(unescaped);
    Some((fields.next()?, fields.next()?))
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [byte, after @ ..] = rest {
        let (byte, after) = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after)
            }
            _ => (*byte, after),
        };
        path.push(byte);
        rest = after;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    // As Linux 6.1 wrote it for `mount --bind "/tmp/a b/x\\y" "/tmp/c d"`.
    const ESCAPED: &[u8] = br"66 29 254:1 /tmp/a\040b/x\134y /tmp/c\040d rw,relatime shared:1 - ext4 /dev/vda1 rw";

    #[test]
    fn a_path_with_spaces_in_it_is_read_as_it_is() {
        let mount = mount_of(ESCAPED).map(|(root, target)| (String::from_utf8(root), String::from_utf8(target)));
        assert_eq!(mount, Some((Ok(r"/tmp/a b/x\y".into()), Ok("/tmp/c d".into()))));
        assert_eq!(mount_of(b"66 29 254:1 /\xff /t"), Some((b"/\xff".to_vec(), b"/t".to_vec())));
        assert_eq!(mount_of(br"a b c /\9 /\"), Some((br"/\9".to_vec(), br"/\".to_vec())));
    }
}
