//! Mounts in a namespace of their own, which end with the thread that made them.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs a scenario on a thread with a mount namespace of its own. Its child processes are in that namespace, too.
pub fn with_private_mounts(scenario: impl FnOnce() + Send + 'static) {
    let name = super::test_name();
    let thread = std::thread::Builder::new().name(name).spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("root can have a mount namespace");
        mount(&["--make-rprivate", "/"]);
        scenario();
    });
    if let Err(panic) = thread.expect("a thread can be started").join() {
        std::panic::resume_unwind(panic);
    }
}

/// A mount that ends when this is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// A tmpfs of a size, as a disk that can be filled.
    pub fn tmpfs(at: &Path, size: &str) -> Self {
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", &at.display().to_string()]);
        Mount(at.to_owned())
    }

    /// A read-only bind mount of a directory onto itself.
    pub fn read_only(at: &Path) -> Self {
        let path = at.display().to_string();
        mount(&["--bind", &path, &path]);
        let mounted = Mount(at.to_owned());
        mount(&["-o", "remount,ro,bind", &path]);
        mounted
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A busy mount ends with the thread.
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[track_caller]
fn mount(words: &[&str]) {
    let out = Command::new("mount").args(words).output().expect("mount is there");
    assert!(out.status.success(), "mount {words:?}: {}", String::from_utf8_lossy(&out.stderr));
}
