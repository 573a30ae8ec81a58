//! Mounts that nobody else sees and nothing leaves behind: they end with the thread that made them.

use nix::sched::{CloneFlags, unshare};

/// Runs a scenario on a thread with a mount namespace of its own: processes it starts live in there as well.
pub fn with_private_mounts(scenario: impl FnOnce() + Send + 'static) {
    let name = super::test_name();
    let thread = std::thread::Builder::new().name(name).spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("root can have a mount namespace");
        mount("--make-rprivate /");
        scenario();
    });
    if let Err(panic) = thread.expect("a thread can be started").join() {
        std::panic::resume_unwind(panic);
    }
}

/// `mount` with these words.
#[track_caller]
pub fn mount(words: &str) {
    let out = std::process::Command::new("mount").args(words.split(' ')).output().expect("mount is there");
    assert!(out.status.success(), "mount {words}: {}", String::from_utf8_lossy(&out.stderr));
}
