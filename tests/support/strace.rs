//! What a command asks of the kernel: to see that it changes nothing, or to kill it at a chosen moment.

use std::path::PathBuf;

use super::call::{Call, Ran};

/// System calls that make something durable: after a kill at each of them, everything has to be in order.
pub const DURABLE: &str = "write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,\
                           mkdirat,fchmod,fchown";

/// A record of system calls.
pub struct Strace {
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Strace {
    /// For calls that run on this machine.
    pub fn here() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        Strace { file: dir.path().join("strace"), _dir: dir }
    }

    /// Runs a call and notes these system calls of all its processes, with paths and whole strings.
    pub fn record(&self, calls: &str, call: Call) -> Ran {
        let file = self.file.display().to_string();
        let words = ["strace", "-f", "-y", "-v", "-s", "1048576", "-qq", "-o", &file, "-e"];
        let calls = format!("trace={calls}");
        call.under(words.into_iter().chain([calls.as_str()])).run()
    }

    /// What was noted, a line a system call.
    pub fn lines(&self) -> Vec<String> {
        let bytes = std::fs::read(&self.file).expect("strace has written it");
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

/// Runs a call that is killed when it enters the `n`th of these system calls; an unkilled one has run to its end.
pub fn killed_at(n: usize, calls: &str, call: Call) -> Ran {
    killed_at_with(n, calls, &[], call)
}

/// As [`killed_at`], counting only system calls on one file.
pub fn killed_at_file(n: usize, calls: &str, file: &str, call: Call) -> Ran {
    killed_at_with(n, calls, &["-P", file], call)
}

fn killed_at_with(n: usize, calls: &str, more: &[&str], call: Call) -> Ran {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:signal=SIGKILL:when={n}"));
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", trace.as_str(), "-e", inject.as_str()];
    call.under(words.into_iter().chain(more.iter().copied())).run()
}
