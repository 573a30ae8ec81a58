//! A guard takes back a run that could cut off the operator's connection, unless it is confirmed over a new connection.
//!
//! It is a file and a job. The job is begun before the change and belongs to the host, not to the run: it outlives the agent,
//! its connection and a boot, and tries until the run is taken back. Confirming removes the file. Whoever decides about a
//! guard has the host's lock, so it is either confirmed or taken back.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::journal::{RunId, STATE_DIR};
use super::undo::{self, Fate, Undone};
use crate::error::{Class, Context, Error, Result};
use crate::host::{Cmd, Host, Job, Mode, When};
use crate::lang;
use crate::message;
use crate::message::Message;
use crate::progress::Progress;

/// How long to wait before the next try.
const PACE: Duration = Duration::from_secs(1);
/// A job's command has a deadline; this one has none that counts.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The file of a guard.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Guard {
    run: RunId,
    /// In seconds.
    patience: u64,
    /// When it takes back, in seconds since 1970; `None` while the change is made.
    deadline: Option<u64>,
    /// It is being taken back: too late to confirm it.
    expired: bool,
}

impl Guard {
    /// How long it still waits. A clock that was set back doesn't make it wait longer than its patience.
    fn remaining(&self) -> u64 {
        match self.deadline {
            Some(deadline) if !self.expired => deadline.saturating_sub(now()).min(self.patience),
            // Whoever made the change had the lock, and has it no more.
            Some(_) | None => 0,
        }
    }

    fn write(&self, host: &mut Host) -> Result<()> {
        let text = serde_json::to_string(self).context(message!("a guard"))?;
        host.write(&file(&self.run), text.as_bytes(), Mode::SECRET)
    }
}

/// Sets a guard for a run that is about to start. Without one the run must not.
pub(crate) fn arm(host: &mut Host, run: &RunId, patience: Duration) -> Result<()> {
    let set = |host: &mut Host| {
        for (dir, mode) in [("/var", Mode::DIRECTORY), ("/var/lib", Mode::DIRECTORY), (STATE_DIR, Mode::DIRECTORY)] {
            host.create_dir(Path::new(dir), mode)?;
        }
        host.create_dir(&dir(), Mode::PROGRAM)?;
        // The running one may be in a place that is emptied.
        host.write(&program(), &Host::running_program()?, Mode::PROGRAM)?;
        Guard { run: run.clone(), patience: patience.as_secs(), deadline: None, expired: false }.write(host)?;
        let command = Cmd::new(program().display().to_string()).args(["guard", &run.to_string()]).deadline(YEAR);
        host.begin_job(&Job { name: job(run), commands: vec![command], when: When::After(patience) })
    };
    set(host)
        .map_err(|error| {
            let _ = forget(host, run);
            error.with_class(Class::Step)
        })
        .with_context(|| message!("nothing has changed, because the change can't be guarded"))
}

/// The change is made: the guard's patience begins.
pub(crate) fn begin_to_wait(host: &mut Host, run: &RunId) -> Result<()> {
    match read(host, &file(run))? {
        Some(guard) => Guard { deadline: Some(now() + guard.patience), ..guard }.write(host),
        None => Ok(()),
    }
}

/// Whether it is neither confirmed nor taken back yet.
pub(crate) fn is_open(host: &Host, run: &RunId) -> Result<bool> {
    Ok(host.stat(&file(run))?.is_some())
}

/// Confirms a run. The caller has the host's lock.
pub(crate) fn confirm(host: &mut Host, name: &str) -> Result<()> {
    let guard = match RunId::try_from(name.to_owned()) {
        Ok(run) => read(host, &file(&run))?.filter(|guard| guard.remaining() > 0),
        Err(_) => None,
    };
    match guard {
        Some(guard) => {
            // This alone confirms it; a job without its guard does nothing.
            host.remove(&file(&guard.run))?;
            if let Err(error) = forget(host, &guard.run) {
                lang::warn(&Message::from(&error));
            }
            Ok(())
        }
        None => Err(Error::new(Class::Unproven, message!("too late: it has been taken back"))),
    }
}

/// Refuses a run beside one that waits for its confirmation. The caller has the host's lock.
pub(crate) fn refuse_beside_open(host: &Host) -> Result<()> {
    for guard in all(host)? {
        let seconds = guard.remaining();
        if seconds > 0 {
            let run = &guard.run;
            let what = message!("run {run} waits for its confirmation, {seconds} s at most", run, seconds);
            return Err(
                Error::new(Class::Locked, what).hint(message!("wait until it has finished, then run this again"))
            );
        }
    }
    Ok(())
}

/// Warns of what nobody has confirmed in time and is still there: without a systemd that starts the guard again, a boot or a
/// kill ends it.
pub(crate) fn warn_of_ended(host: &Host) -> Result<()> {
    for guard in all(host)?.into_iter().filter(|guard| guard.remaining() == 0) {
        let run = &guard.run;
        lang::warn(&message!(
            "run {run} is neither confirmed nor taken back: its guard does that, or the next install",
            run
        ));
    }
    Ok(())
}

/// As [`refuse_beside_open`]. What nobody has confirmed in time, and is still there, is taken back first.
pub(crate) fn settle(host: &mut Host) -> Result<()> {
    refuse_beside_open(host)?;
    all(host)?.into_iter().try_for_each(|guard| take_back(host, guard))
}

/// The job: waits, and takes back what isn't confirmed, however often that takes.
pub(crate) fn watch(host: &mut Host, run: &RunId) -> Result<()> {
    let mut seen: Option<Instant> = None;
    loop {
        match try_to_settle(host, run, &mut seen) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => lang::warn(&Message::from(&error)),
        }
        thread::sleep(PACE);
    }
}

/// Whether there is nothing left to wait for.
fn try_to_settle(host: &mut Host, run: &RunId, seen: &mut Option<Instant>) -> Result<bool> {
    let _lock = match host.lock() {
        Err(error) if error.class() == Class::Locked => return Ok(false),
        other => other?,
    };
    let Some(guard) = read(host, &file(run))? else {
        forget(host, run)?;
        return Ok(true);
    };
    let waited = seen.get_or_insert_with(Instant::now).elapsed().as_secs();
    if guard.remaining() > 0 && waited <= guard.patience {
        return Ok(false);
    }
    lang::warn(&message!("nobody has confirmed the change over a new connection: it is taken back"));
    take_back(host, guard).map(|()| true)
}

fn take_back(host: &mut Host, guard: Guard) -> Result<()> {
    let guard = Guard { expired: true, ..guard };
    guard.write(host)?;
    for Undone { resource, fate, hints } in undo::of_run(host, &guard.run, &Progress::Silent)? {
        match fate {
            Fate::TakenBack => {}
            Fate::Kept(now) => {
                lang::warn(&message!("{resource} stays: somebody has changed it since: {now}", resource, now));
            }
            Fate::Needed(reason) => {
                lang::warn(&message!("{resource} stays: {reason}", resource, reason));
            }
            Fate::Failed(reason) => {
                let error = Error::new(Class::Step, message!("{left}: {right}", left = resource, right = reason));
                return Err(hints.into_iter().fold(error, Error::then));
            }
        }
    }
    forget(host, &guard.run)
}

/// The file goes first: without it there is no guard.
fn forget(host: &mut Host, run: &RunId) -> Result<()> {
    host.remove(&file(run))?;
    if all(host)?.is_empty() {
        host.remove(&program())?;
        host.remove_dir(&dir())?;
    }
    host.forget_job(&job(run))
}

fn all(host: &Host) -> Result<Vec<Guard>> {
    let names = host.list(&dir())?.into_iter().filter(|name| name.ends_with(".json"));
    let guards: Result<Vec<Option<Guard>>> = names.map(|name| read(host, &dir().join(name))).collect();
    Ok(guards?.into_iter().flatten().collect())
}

fn read(host: &Host, path: &Path) -> Result<Option<Guard>> {
    let Some(text) = host.read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text).with_context(|| Message::foreign(path.display())).map(Some)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn dir() -> PathBuf {
    Path::new(STATE_DIR).join("guard")
}

fn program() -> PathBuf {
    dir().join("mitigator-vpn")
}

fn file(run: &RunId) -> PathBuf {
    dir().join(format!("{run}.json"))
}

fn job(run: &RunId) -> String {
    format!("guard-{run}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converge::apply;
    use crate::converge::journal::RunStart;
    use crate::converge::plan::Plan;
    use crate::resource::{Content, File, Transition};

    /// A host with a run that is guarded, and nobody beside us who watches the guard.
    fn guarded(deadline: Option<u64>) -> (tempfile::TempDir, Host, RunId) {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let start = RunStart::ignoring(&[]);
        let (resource, after) = (File { path: "/f".into() }, Content::Text("x".into()));
        let plan = Plan { steps: vec![Transition { resource, before: Content::Absent, after }.into()] };
        apply::run(&mut host, &plan, &start, &Progress::Silent).unwrap();
        host.create_dir(&super::dir(), Mode::PROGRAM).unwrap();
        Guard { run: start.id.clone(), patience: 60, deadline, expired: false }.write(&mut host).unwrap();
        (dir, host, start.id)
    }

    #[test]
    fn a_confirmed_run_stays_and_its_guard_is_gone() {
        let (dir, mut host, run) = guarded(Some(now() + 60));
        assert!(confirm(&mut host, "0123456789abcdef").is_err() && confirm(&mut host, "../../etc/passwd").is_err());
        confirm(&mut host, &run.to_string()).unwrap();
        watch(&mut host, &run).unwrap();
        settle(&mut host).unwrap();
        assert!(dir.path().join("f").exists() && !dir.path().join("var/lib/mitigator-vpn/guard").exists());
        assert!(confirm(&mut host, &run.to_string()).unwrap_err().to_string().contains("too late"));
    }

    #[test]
    fn what_nobody_has_confirmed_in_time_or_could_is_taken_back() {
        // Too late, and a change during which its run was killed.
        for deadline in [Some(now() - 1), None] {
            let (dir, mut host, run) = guarded(deadline);
            assert!(confirm(&mut host, &run.to_string()).is_err());
            watch(&mut host, &run).unwrap();
            assert!(!dir.path().join("f").exists() && !is_open(&host, &run).unwrap());
        }
    }

    #[test]
    fn another_run_is_refused_while_a_guard_waits_and_takes_back_what_an_ended_one_has_left() {
        let (dir, mut host, run) = guarded(Some(now() + 60));
        let error = settle(&mut host).unwrap_err();
        assert_eq!(error.class(), Class::Locked);
        assert!(error.to_string().contains(&run.to_string()) && dir.path().join("f").exists(), "{error}");
        let guard = read(&host, &file(&run)).unwrap().unwrap();
        Guard { deadline: Some(now() - 1), ..guard }.write(&mut host).unwrap();
        settle(&mut host).unwrap();
        assert!(!dir.path().join("f").exists());
    }
}
