//! The system calls of a command: to see that it changes nothing, or to kill it at a chosen one.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Host;
use super::call::{Call, Ran};

/// System calls by which files are opened or changed.
pub const FILES: &str = "%file,ftruncate,fallocate,fchmod,fchown,fsetxattr,fremovexattr";

/// Those of [`FILES`] that change something whatever their arguments are.
const CHANGES: [&str; 17] = [
    "creat",
    "mkdir",
    "rmdir",
    "mknod",
    "link",
    "symlink",
    "unlink",
    "rename",
    "chmod",
    "chown",
    "lchown",
    "utime",
    "futimesat",
    "truncate",
    "setxattr",
    "removexattr",
    "mount",
];

/// The system calls of a command and its children, one a line.
pub struct Trace {
    pub lines: Vec<String>,
}

impl Trace {
    /// Runs a call and records these system calls, with paths and whole strings.
    pub fn of(host: &impl Host, calls: &str, call: Call) -> (Ran, Trace) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let file =
            format!("/tmp/mitigator-vpn-trace-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let calls = format!("trace={calls}");
        let ran = call.under(["strace", "-f", "-y", "-v", "-s", "1048576", "-qq", "-o", &file, "-e", &calls]).run();
        let noted = host.shell("cat \"$0\"; rm -f \"$0\"").arg(file).run();
        (ran, Trace { lines: noted.out().lines().map(str::to_owned).collect() })
    }

    /// The lines that ask for a change, except below allowed paths (prefix and reason).
    pub fn changes(&self, allowed: &[(&str, &str)]) -> Vec<&str> {
        assert!(!self.lines.is_empty(), "an empty trace proves nothing");
        let lines = self.lines.iter().map(String::as_str).filter(|line| asks_for_a_change(line));
        lines.filter(|line| !allowed.iter().any(|(path, _)| line.contains(&format!("\"{path}")))).collect()
    }
}

fn asks_for_a_change(line: &str) -> bool {
    // `812  openat(AT_FDCWD</root>, "f", O_RDONLY) = 3</root/f>`
    let line = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let Some((name, rest)) = line.split_once('(') else { return false };
    if name.starts_with("open") {
        return ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE"]
            .iter()
            .any(|flag| rest.contains(flag));
    }
    // `mkdirat`, `fchmodat2`, `renameat2`, `utimensat`, `lsetxattr`, `ftruncate` are of the same families.
    let family = name.trim_end_matches("at2").trim_end_matches("at").trim_end_matches(['2', '4', '6']);
    let family = family.strip_prefix('f').unwrap_or(family);
    CHANGES.contains(&family)
        || family.starts_with("utime")
        || ["lsetxattr", "lremovexattr", "allocate"].contains(&family)
}

/// Runs a call that is killed when it enters this system call on one file for the `n`th time; an unkilled one has run to its
/// end.
pub fn killed_at_file(n: usize, name: &str, file: &str, call: Call) -> Ran {
    let (trace, inject) = (format!("trace={name}"), format!("inject={name}:signal=SIGKILL:when={n}"));
    call.under(["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "-P", file]).run()
}

/// Runs a call in which these system calls on one file fail with this error.
pub fn failing(calls: &str, error: &str, file: &str, call: Call) -> Ran {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}"));
    call.under(["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "-P", file]).run()
}
