//! The duties of a container's first process: to stop on a signal, and to reap child processes.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::{lang, message};

/// How long a child may take to end by itself: wireguard-go ends at once when its interface is gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// The signals a gateway waits for. While this exists, none of them is lost or ends the process.
pub(super) struct Signals(SigSet);

impl Signals {
    pub(super) fn block() -> Result<Self> {
        let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
        set.thread_block().context(message!("blocking signals"))?;
        Ok(Signals(set))
    }

    /// Returns when told to stop; an error if `child` ends before that. Orphaned processes are reaped meanwhile.
    pub(super) fn until_stopped(&self, child: Option<Pid>) -> Result<()> {
        loop {
            let signal = self.0.wait().context(message!("waiting for a signal"))?;
            if signal != Signal::SIGCHLD {
                lang::info(&message!("{signal}: stopping", signal = signal.as_str()));
                return Ok(());
            }
            // One signal may stand for several ended processes.
            while let Some(pid) = reap(Pid::from_raw(-1)) {
                if Some(pid) == child {
                    return Err(Error::unexpected(message!("wireguard-go has ended, and the VPN with it")));
                }
            }
        }
    }
}

/// The next child, among those that `which` selects, that has ended; `None` when none has.
pub(super) fn reap(which: Pid) -> Option<Pid> {
    loop {
        match waitpid(which, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => return Some(pid),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Waits for a child that is about to end, and kills it when that takes too long. SIGTERM would not do: a child inherits
/// the blocked signals.
pub(super) fn await_end(child: Pid) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
    lang::warn(&message!("process {pid} doesn't end by itself: killing it", pid = child.as_raw()));
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
}
