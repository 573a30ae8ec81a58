//! SIGINT, SIGTERM and SIGHUP: while a change is under way they wait until what was begun is complete.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::signal::Signal;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::error::{Class, Context, Error, Result};
use crate::lang;
use crate::message;
use crate::message::Message;

/// What this process is at, and the signal that waits for its end.
struct Work {
    under_way: Option<Message>,
    received: Option<i32>,
}

static WORK: Mutex<Work> = Mutex::new(Work { under_way: None, received: None });

fn work() -> MutexGuard<'static, Work> {
    WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on these signals end the process between changes alone. One that whoever started us has set to be ignored
/// (`nohup`) stays so.
pub fn heed_signals() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let ignored = ignored.unwrap_or_default();
    let heeded = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].map(|signal| signal as i32);
    let heeded = heeded.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(heeded).context(message!("waiting for a signal"))?;
    let listen = move || signals.forever().for_each(heed);
    thread::Builder::new().spawn(listen).context(message!("waiting for a signal")).map(drop)
}

fn heed(signal: i32) {
    // Held until this process has ended: it begins nothing meanwhile.
    let mut work = work();
    match &work.under_way {
        None => drop(emulate_default_handler(signal)),
        Some(step) => {
            let signal = name(signal);
            lang::warn(&message!("{signal}: '{step}' is finished first, then this run stops", signal, step));
        }
    }
    work.received = Some(signal);
}

fn name(signal: i32) -> &'static str {
    Signal::try_from(signal).map_or("signal", Signal::as_str)
}

/// A sequence of changes. While it exists, signals wait for the next place between two of them.
#[derive(Debug)]
pub(crate) struct Uninterrupted(());

impl Uninterrupted {
    pub(crate) fn begin() -> Uninterrupted {
        work().under_way = Some(message!("opening the journal"));
        Uninterrupted(())
    }

    /// Goes on to the next change, unless a signal has come.
    pub(crate) fn go_on(&self, to: Message) -> Result<()> {
        self.stop_if_told()?;
        work().under_way = Some(to);
        Ok(())
    }

    /// An error if a signal has come. The next one is another.
    pub(crate) fn stop_if_told(&self) -> Result<()> {
        let Some(signal) = work().received.take() else { return Ok(()) };
        let signal = name(signal);
        let what = message!("{signal}: stopped; what was begun is finished, and nothing further was begun", signal);
        Err(Error::new(Class::Step, what))
    }
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        work().under_way = None;
    }
}
