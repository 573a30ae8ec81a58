//! A command as data, and how it is run: scrubbed environment, closed stdin, a deadline that also reaches
//! grandchildren.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, access};

use crate::error::{Context, Error, Result};
use crate::message;
use crate::message::Argument;

/// How long a command may take when its caller sets nothing else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Variables that reach a command from our own environment. Everything else is left out, so that an operator's
/// exported `COMPOSE_FILE`, `MITIGATOR_VPN_ADDRESS` or `DOCKER_HOST` can't turn a run into a different one (FN-32).
const INHERITED: &[&str] =
    &["HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy", "TMPDIR"];

/// A command line, its input and its limits. Never put a key into `args`: use `stdin`.
#[derive(Clone, Debug)]
pub(crate) struct Cmd {
    program: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    dir: Option<PathBuf>,
    stdin: Vec<u8>,
    deadline: Duration,
    reports: Option<Reports>,
}

/// How a program says how far it has come: in lines, on a descriptor whose number its first arguments tell it.
#[derive(Clone, Copy, Debug)]
struct Reports {
    args: fn(RawFd) -> Vec<String>,
    read: fn(&str) -> Option<Advance>,
}

/// How far a long command has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// 0 to 100.
    pub percent: f32,
    /// What it is at, in its own words.
    pub doing: String,
}

/// Who is told how far a command has come, from a thread beside it.
pub type Listener = Arc<dyn Fn(Advance) + Send + Sync>;

impl Cmd {
    pub(crate) fn new(program: impl Into<String>) -> Self {
        Cmd {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            dir: None,
            stdin: Vec::new(),
            deadline: DEADLINE,
            reports: None,
        }
    }

    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one environment variable on top of the scrubbed environment.
    pub(crate) fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    pub(crate) fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Feeds these bytes to standard input; without them it is closed.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Kills the command and all it started after this long.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Has it report how far it has come, if anybody listens: `args` tells it the descriptor, `read` reads a line.
    pub(crate) fn reporting(mut self, args: fn(RawFd) -> Vec<String>, read: fn(&str) -> Option<Advance>) -> Self {
        self.reports = Some(Reports { args, read });
        self
    }

    /// Runs it to its end, with its reports, if it makes any, to a listener.
    pub(super) fn run_before(&self, listener: &Listener) -> Result<Output> {
        let Some(reports) = self.reports else { return self.run() };
        let (reader, writer) = std::io::pipe().context(message!("making a pipe"))?;
        // This one is for the command to inherit.
        fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty())).context(message!("opening a pipe to a command"))?;
        let listener = Arc::clone(listener);
        // Nobody waits for it: something that the command has left running may keep the pipe open.
        thread::spawn(move || {
            let lines = BufReader::new(reader).lines().map_while(|line| line.ok());
            lines.filter_map(|line| (reports.read)(&line)).for_each(|advance| listener(advance));
        });
        let mut told = self.clone();
        told.args.splice(0..0, (reports.args)(writer.as_raw_fd()));
        told.run()
    }

    /// Runs it to its end. A non-zero exit is an [`Output`], not an error; failing to start and running past the
    /// deadline are errors.
    pub(super) fn run(&self) -> Result<Output> {
        tracing::debug!(command = %self, "run");
        let mut expression = duct::cmd(self.found(), &self.args)
            .full_env(self.environment())
            .stdin_bytes(self.stdin.clone())
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            // Its own process group: `kill` reaches the child alone, and a grandchild that keeps the pipe open
            // would hold us long past the deadline.
            .before_spawn(|command| {
                command.process_group(0);
                Ok(())
            });
        if let Some(dir) = &self.dir {
            expression = expression.dir(dir);
        }
        let handle = expression.start().with_context(|| message!("starting '{command}'", command = &self.program))?;
        let Some(output) =
            handle.wait_timeout(self.deadline).with_context(|| message!("running '{command}'", command = self))?
        else {
            for pid in handle.pids() {
                // The group may be gone already; there is nothing more to do then.
                let _ = killpg(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
            let _ = handle.wait();
            let seconds = self.deadline.as_secs();
            let error = message!("'{command}' gave no answer within {seconds} s", command = self, seconds);
            return Err(Error::unexpected(error));
        };
        let output = Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        tracing::debug!(command = %self, code = ?output.code, "done");
        Ok(output)
    }

    /// Starts it and leaves it to itself, in a process group of its own: a Ctrl-C meant for us doesn't reach it.
    pub(super) fn start(&self) -> Result<Pid> {
        tracing::debug!(command = %self, "start");
        let child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(self.environment())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| message!("starting '{command}'", command = &self.program))?;
        Ok(Pid::from_raw(child.id() as i32))
    }

    /// Where the program stands. Given a path, the standard library starts a process without first copying this one.
    fn found(&self) -> PathBuf {
        let path = search_path();
        let executable = |file: &PathBuf| file.is_file() && access(file, AccessFlags::X_OK).is_ok();
        let files = path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(&self.program));
        files.into_iter().find(executable).unwrap_or_else(|| PathBuf::from(&self.program))
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> = INHERITED
            .iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (OsString::from(name), value)))
            .collect();
        env.push(("PATH".into(), search_path().into()));
        env.push(("LC_ALL".into(), "C.UTF-8".into()));
        env.extend(self.env.iter().map(|(name, value)| (name.into(), value.into())));
        env
    }
}

/// Our own PATH, and the usual directories that it lacks: an operator's may have no sbin.
fn search_path() -> String {
    let mut path = std::env::var("PATH").unwrap_or_default();
    for dir in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        if !path.split(':').any(|d| d == dir) {
            path = if path.is_empty() { dir.into() } else { format!("{path}:{dir}") };
        }
    }
    path
}

impl From<&Cmd> for Argument {
    fn from(cmd: &Cmd) -> Self {
        cmd.to_string().into()
    }
}

impl fmt::Display for Cmd {
    /// As one would type it; arguments with anything unusual in them are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        for arg in &self.args {
            let plain = !arg.is_empty() && arg.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b));
            if plain {
                write!(f, " {arg}")?;
            } else {
                write!(f, " '{}'", arg.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

/// What a finished command left behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    pub(crate) fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Itself if it exited with 0, else an error that quotes the last lines the command printed.
    pub(crate) fn success(self, what: impl Into<Argument>) -> Result<Output> {
        if self.ok() {
            return Ok(self);
        }
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(4)..].join("; ");
        let what = what.into();
        Err(Error::unexpected(match self.code {
            Some(code) => message!("{what} failed with exit code {code}: {tail}", what, code, tail),
            None => message!("{what} was ended by a signal: {tail}", what, tail),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_deadline_reaches_grandchildren_that_hold_the_pipe() {
        let start = Instant::now();
        let cmd = Cmd::new("sh").args(["-c", "sleep 30 & sleep 30"]).deadline(Duration::from_millis(200));
        let error = cmd.run().unwrap_err();
        assert!(error.to_string().contains("no answer within"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_environment_is_scrubbed() {
        let out = Cmd::new("env").env("A", "b").run().unwrap();
        let names: Vec<&str> = out.stdout.lines().filter_map(|l| l.split_once('=')).map(|(n, _)| n).collect();
        assert!(names.contains(&"A") && names.contains(&"PATH"));
        assert!(!names.iter().any(|n| n.starts_with("CARGO")), "{names:?}");
    }

    #[test]
    fn a_failure_quotes_what_the_command_said() {
        let out = Cmd::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]).run().unwrap();
        assert_eq!(out.success("probe").unwrap_err().to_string(), "probe failed with exit code 3: two");
    }

    #[test]
    fn a_command_that_reports_is_heard_whatever_it_leaves_running() {
        let (tell, heard) = std::sync::mpsc::channel();
        let listener: Listener = Arc::new(move |advance| drop(tell.send(advance)));
        // By its path: `>&10` is more than a plain sh understands.
        let args = |fd: RawFd| {
            let script = "exec 3>/dev/fd/FD; echo noise >&3; echo 7 >&3; read a; sleep 5 >&2 & echo 9 >&3";
            vec!["-c".to_owned(), script.replace("FD", &fd.to_string())]
        };
        let read = |line: &str| Some(Advance { percent: line.parse().ok()?, doing: String::new() });
        let cmd = Cmd::new("sh").reporting(args, read);
        let running = thread::spawn(move || cmd.run_before(&listener).unwrap());
        let percents = [heard.recv().unwrap().percent, heard.recv().unwrap().percent];
        assert_eq!(percents, [7.0, 9.0]);
        assert!(running.join().unwrap().ok());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Cmd::new("no-such-program").run().unwrap_err();
        assert!(error.to_string().contains("'no-such-program'"), "{error}");
    }
}
