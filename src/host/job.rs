//! Jobs: commands that run to their end whatever becomes of the run that began them.
//!
//! A job is a shell script in a directory that only root enters, with the files its commands' output and exit codes go to.
//! Where systemd runs, a unit starts it, outside of our session and its control group; the unit is enabled first, so that a
//! job that a power cut ended is run again at the next boot. Elsewhere it is a process of a session of its own, which no
//! boot brings back. A job that runs holds a lock on a file of its directory, and the next run finds it by that. A job for
//! later is there to be kept: its commands are tried until they succeed, and systemd starts it again, whoever kills it.

use std::fmt::Write;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::place::Last;
use super::{Cmd, Host, Mode, Output};
use crate::error::{Class, Context, Error, Result};
use crate::lang;
use crate::message;

/// Where jobs are, in the directory for this program's state.
const STATE: &str = "/var/lib/mitigator-vpn";
const JOBS: &str = "/var/lib/mitigator-vpn/jobs";
const UNITS: &str = "/etc/systemd/system";
/// Where systemctl links the timers to that it enables.
const WANTS: &str = "/etc/systemd/system/timers.target.wants";
/// As much of a command's output is kept.
const MOST_OUTPUT: usize = 64 << 10;
/// How long systemd may take to start a job.
const START: Duration = Duration::from_secs(60);
/// How long a run waits for the jobs of earlier ones.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a job is looked at.
const PACE: Duration = Duration::from_millis(50);

/// Commands that are run one after the other, each whatever became of the one before. None of them gets an input.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// There is one job of a name at a time; a word that can stand in the name of a unit.
    pub name: String,
    pub commands: Vec<Cmd>,
    pub when: When,
}

/// When a job begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// At once. No other run may change the host before it has ended.
    Now,
    /// After this long, and as long after each boot, until [`Host::forget_job`]. It excludes nobody: its commands take the
    /// host's lock themselves, and each is run again until it succeeds or the job is forgotten.
    After(Duration),
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Running,
    /// It was ended half way: by a power cut, or by somebody who killed it.
    Broken,
    Done,
}

impl Host {
    /// Begins a job. It goes on when this process ends, in whatever way.
    pub(crate) fn begin_job(&mut self, job: &Job) -> Result<()> {
        let (dir, systemd) = (dir(&job.name), self.has_systemd()?);
        self.forget_job(&job.name)?;
        for parent in ["/var", "/var/lib", STATE] {
            self.create_dir(Path::new(parent), Mode::DIRECTORY)?;
        }
        for private in [Path::new(JOBS), &dir] {
            self.create_dir(private, Mode::PROGRAM)?;
        }
        if let When::After(_) = job.when {
            self.write(&dir.join("later"), b"", Mode::SECRET)?;
        }
        // The last file that a job needs: without it there is no job.
        self.write(&dir.join("script"), self.script(job, systemd).as_bytes(), Mode::SECRET)?;
        let begun = if systemd { self.enable_unit(job) } else { self.launch(&job.name) };
        begun.inspect_err(|_| drop(self.forget_job(&job.name)))
    }

    /// Waits for the end of a job, at most this long, and takes what its commands printed.
    pub(crate) fn finish_job(&mut self, job: &Job, patience: Duration) -> Result<Vec<Output>> {
        let begun = Instant::now();
        loop {
            match self.job_progress(&job.name)? {
                Progress::Done => break,
                Progress::Waiting if begun.elapsed() > START.min(patience) && self.claim_job(&job.name)? => {
                    self.forget_job(&job.name)?;
                    return Err(Error::unexpected(message!("'{job}' was not started", job = unit(&job.name))));
                }
                Progress::Broken => {
                    return Err(Error::unexpected(message!("'{job}' was ended half way", job = unit(&job.name))));
                }
                Progress::Waiting | Progress::Running if begun.elapsed() > patience => {
                    return Err(Error::unexpected(message!("'{job}' is still under way", job = unit(&job.name))));
                }
                Progress::Waiting | Progress::Running => thread::sleep(PACE),
            }
        }
        let outputs = (0..job.commands.len()).map(|number| self.job_output(&job.name, number)).collect();
        self.forget_job(&job.name)?;
        if self.has_systemd()? {
            // It has taken its unit's files away itself.
            self.query(&Cmd::new("systemctl").arg("daemon-reload"))?;
        }
        outputs
    }

    /// Warns of the jobs of earlier runs that haven't ended.
    pub(crate) fn warn_of_jobs(&self) -> Result<()> {
        for name in self.list(Path::new(JOBS))? {
            if self.is_for_later(&name)? {
                continue;
            }
            let job = unit(&name);
            match self.job_progress(&name)? {
                Progress::Running => lang::warn(&message!("'{job}', begun by an earlier run, is still under way", job)),
                Progress::Broken => {
                    lang::warn(&message!(
                        "'{job}', begun by an earlier run, was ended half way; the next install, undo or boot runs it again",
                        job
                    ));
                }
                Progress::Waiting | Progress::Done => {}
            }
        }
        Ok(())
    }

    fn is_for_later(&self, name: &str) -> Result<bool> {
        Ok(self.stat(&dir(name).join("later"))?.is_some())
    }

    /// Lets jobs of earlier runs come to their end, and runs those again that were ended half way. The caller has the host's
    /// lock, so nobody begins one meanwhile.
    pub(super) fn settle_jobs(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for name in self.list(Path::new(JOBS))? {
            if self.is_for_later(&name)? {
                continue;
            }
            let (mut relaunched, mut said) = (false, false);
            loop {
                match self.job_progress(&name)? {
                    Progress::Done => break,
                    Progress::Waiting if self.claim_job(&name)? => break,
                    Progress::Broken if !relaunched => {
                        relaunched = true;
                        self.launch(&name)?;
                    }
                    Progress::Waiting | Progress::Running | Progress::Broken if Instant::now() > deadline => {
                        let what = message!("'{job}', begun by an earlier run, is still under way", job = unit(&name));
                        return Err(Error::new(Class::Locked, what)
                            .hint(message!("wait until it has finished, then run this again")));
                    }
                    Progress::Waiting | Progress::Running | Progress::Broken => {}
                }
                if !said {
                    lang::warn(&message!("waiting for '{job}', which an earlier run has begun", job = unit(&name)));
                    said = true;
                }
                thread::sleep(PACE);
            }
            self.forget_job(&name)?;
        }
        Ok(())
    }

    /// Removes a job that doesn't run, and its units. That there is none is fine.
    pub(crate) fn forget_job(&mut self, name: &str) -> Result<()> {
        let units = [format!("{}.timer", unit(name)), format!("{}.service", unit(name))];
        let mut reload = false;
        for unit in units {
            let path = Path::new(UNITS).join(&unit);
            if self.is_live() && self.stat(&path)?.is_some() {
                let kind = if unit.ends_with(".timer") { &["disable", "--now"][..] } else { &["disable"][..] };
                self.systemctl(kind, &unit)?;
                self.remove(&path)?;
                reload = true;
            }
        }
        if reload {
            self.query(&Cmd::new("systemctl").arg("daemon-reload"))?;
        }
        // The script goes first: without it there is no job.
        self.remove(&dir(name).join("script"))?;
        for file in self.list(&dir(name))? {
            self.remove(&dir(name).join(file))?;
        }
        self.remove_dir(&dir(name))?;
        self.remove_dir(Path::new(JOBS)).map(drop)
    }

    fn has_systemd(&self) -> Result<bool> {
        Ok(self.is_live() && self.stat(Path::new("/run/systemd/system"))?.is_some())
    }

    /// The files of a unit, enabled before it is started: a boot runs what was begun and not done.
    fn enable_unit(&mut self, job: &Job) -> Result<()> {
        let name = unit(&job.name);
        let (limit, kind) = match job.when {
            When::Now => ("", "Type=oneshot"),
            // What ends it on purpose is its own success, `systemctl stop` or a shutdown. Of the signals, systemd takes some
            // for an end in good order.
            When::After(_) => (
                "StartLimitIntervalSec=0\n",
                "Restart=on-failure\nRestartSec=1\nRestartForceExitStatus=SIGHUP SIGINT SIGPIPE SIGTERM",
            ),
        };
        let service = format!(
            "\
# Written by mitigator-vpn; it takes itself away.

[Unit]
Description=A job of mitigator-vpn: {}
Wants=network-online.target
After=network-online.target docker.service
ConditionPathExists={script}
{limit}
[Service]
{kind}
ExecStart=/bin/sh {script}

[Install]
WantedBy=multi-user.target
",
            job.name,
            script = dir(&job.name).join("script").display()
        );
        self.write(&Path::new(UNITS).join(format!("{name}.service")), service.as_bytes(), Mode::PUBLIC)?;
        match job.when {
            When::Now => {
                self.systemctl(&["enable"], &format!("{name}.service"))?;
                self.launch(&job.name)
            }
            When::After(delay) => {
                let timer = format!(
                    "\
# Written by mitigator-vpn; it takes itself away.

[Unit]
Description=A job of mitigator-vpn: {}

[Timer]
OnActiveSec={}
AccuracySec=1

[Install]
WantedBy=timers.target
",
                    job.name,
                    delay.as_secs()
                );
                self.write(&Path::new(UNITS).join(format!("{name}.timer")), timer.as_bytes(), Mode::PUBLIC)?;
                self.systemctl(&["enable", "--now"], &format!("{name}.timer"))?;
                // What follows rests on it, and a power cut may come at any moment.
                let sync = Cmd::new("sync").args([UNITS, WANTS]);
                self.query(&sync)?.success(format!("'{sync}'")).map(drop)
            }
        }
    }

    /// Starts a job's script, if it isn't running.
    fn launch(&mut self, name: &str) -> Result<()> {
        let service = format!("{}.service", unit(name));
        if self.has_systemd()? && self.stat(&Path::new(UNITS).join(&service))?.is_some() {
            return self.systemctl(&["start", "--no-block"], &service);
        }
        let script = self.plain(&dir(name).join("script"));
        let cmd = Cmd::new("setsid").args(["--fork", "sh"]).arg(script.display().to_string());
        cmd.run()?.success(format!("'{cmd}'")).map(drop)
    }

    fn systemctl(&mut self, verb: &[&str], unit: &str) -> Result<()> {
        let cmd = Cmd::new("systemctl").args(verb.iter().copied()).arg(unit);
        self.query(&cmd)?.success(format!("'{cmd}'")).map(drop)
    }

    fn script(&self, job: &Job, systemd: bool) -> String {
        let here = self.plain(&dir(&job.name)).display().to_string();
        let mut script =
            "# Written by mitigator-vpn. It runs to its end whatever becomes of the run that began it.\n".to_owned();
        if let (When::After(delay), false) = (job.when, systemd) {
            let _ = writeln!(script, "sleep {}", delay.as_secs());
        }
        let _ = write!(
            script,
            "exec </dev/null >/dev/null 2>&1\numask 077\ncd {} && exec 9>lock && flock -w 20 9 || exit 1\nif [ ! -e done ]; then\n",
            quoted(&here)
        );
        if systemd {
            // What systemctl has linked is to survive a power cut from here on.
            let _ = writeln!(script, "sync {UNITS} {UNITS}/*.wants");
        }
        script.push_str(": >begun\nsync . begun\n");
        for (number, command) in job.commands.iter().enumerate() {
            // A reader that outlives its own interest: who prints more than is kept isn't ended by it.
            let once = format!(
                "{{ ({}) </dev/null; echo $? >{number}.status; }} 2>&1 9>&- | {{ head -c {MOST_OUTPUT}; exec cat >/dev/null; }} \
                 >{number}.out 9>&-",
                command.in_shell()
            );
            let _ = match job.when {
                When::Now => writeln!(script, "{once}"),
                // A command that forgets the job takes this directory along.
                When::After(_) => writeln!(
                    script,
                    "while [ -e script ]; do\n{once}\n[ \"$(cat {number}.status)\" != 0 ] || break\nsleep 1\ndone\n\
                     [ -e script ] || exit 0"
                ),
            };
        }
        script.push_str(": >done\nsync . done\nfi\n");
        if systemd && job.when == When::Now {
            let service = format!("{}.service", unit(&job.name));
            let _ = writeln!(script, "rm -f {UNITS}/{service} {UNITS}/multi-user.target.wants/{service}");
        }
        script
    }

    fn job_progress(&self, name: &str) -> Result<Progress> {
        let there = |file: &str| self.stat(&dir(name).join(file)).map(|stat| stat.is_some());
        if !there("begun")? {
            // One that was claimed has an end, and no beginning.
            return Ok(if there("done")? { Progress::Done } else { Progress::Waiting });
        }
        let what = || message!("looking at {path}", path = self.display(&dir(name)));
        let Some(place) = self.place(&dir(name).join("lock"), Last::Keep).with_context(what)? else {
            return Ok(Progress::Broken);
        };
        let lock = place.open(OFlag::O_RDWR, 0).with_context(what)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(Progress::Running),
            Err(TryLockError::Error(error)) => Err(error).with_context(what),
            // It holds the lock until it has taken its unit away.
            Ok(()) => Ok(if there("done")? { Progress::Done } else { Progress::Broken }),
        }
    }

    /// Keeps a job that hasn't begun from ever doing so; false if it has begun.
    fn claim_job(&mut self, name: &str) -> Result<bool> {
        let what = || message!("looking at {path}", path = Path::new(JOBS).join(name).display());
        let Some(place) = self.place(&dir(name).join("lock"), Last::Keep).with_context(what)? else { return Ok(true) };
        let lock = place.open(OFlag::O_RDWR | OFlag::O_CREAT, 0o600).with_context(what)?;
        if lock.try_lock().is_err() || self.stat(&dir(name).join("begun"))?.is_some() {
            return Ok(false);
        }
        self.write(&dir(name).join("done"), b"", Mode::SECRET)?;
        Ok(true)
    }

    fn job_output(&self, name: &str, number: usize) -> Result<Output> {
        let read = |kind: &str| self.read(&dir(name).join(format!("{number}.{kind}")));
        let text = |bytes: Option<Vec<u8>>| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let code = text(read("status")?).trim().parse().ok();
        Ok(Output { code, stdout: text(read("out")?), stderr: String::new() })
    }
}

fn dir(name: &str) -> PathBuf {
    Path::new(JOBS).join(name)
}

/// The name of a job's unit, without its kind.
fn unit(name: &str) -> String {
    format!("mitigator-vpn-{name}")
}

/// One word of a shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
