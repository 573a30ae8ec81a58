//! A command as data, and how it is run: scrubbed environment, a fixed search path, input and output in files, a deadline
//! that also reaches grandchildren.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Write};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, access};

use super::docker;
use super::job::quoted;
use crate::error::{Context, Error, Result};
use crate::message;
use crate::message::Argument;

/// How long a command may take when its caller sets nothing else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Variables that reach a command from our own environment. Everything else is left out, so that an operator's
/// exported `COMPOSE_FILE`, `MITIGATOR_VPN_ADDRESS` or `DOCKER_HOST` can't turn a run into a different one (FN-32).
const INHERITED: &[&str] =
    &["HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy", "TMPDIR"];

/// What prints more than this has no end. What would, is ended within a [`PACE`].
const MOST_OUTPUT: u64 = 64 << 20;
/// How often a running command is looked at.
const PACE: Duration = Duration::from_millis(20);

/// A file in memory, without a name: what a command reads or prints.
struct Spool(File);

impl Spool {
    fn new() -> Result<Spool> {
        let file = memfd_create(c"mitigator-vpn", MFdFlags::MFD_CLOEXEC);
        Ok(Spool(file.context(message!("opening a file for a command's output"))?.into()))
    }

    fn fill(&self, bytes: &[u8]) -> Result<()> {
        self.0.write_all_at(bytes, 0).context(message!("opening a file for a command's output"))
    }

    fn reader(&self) -> Result<File> {
        self.0.try_clone().context(message!("opening a file for a command's output"))
    }

    /// Appends, also after a program has opened /dev/stdout anew and cut it off.
    fn writer(&self) -> Result<File> {
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_APPEND))
            .context(message!("opening a file for a command's output"))?;
        self.reader()
    }

    fn length(&self) -> Result<u64> {
        Ok(self.0.metadata().context(message!("reading a command's output"))?.len())
    }

    /// What was printed from this byte on.
    fn read(&self, from: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.length()?.saturating_sub(from).min(MOST_OUTPUT) as usize];
        let mut read = 0;
        while read < bytes.len() {
            match self.0.read_at(&mut bytes[read..], from + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(message!("reading a command's output")),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }
}

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
        let file = Spool::new()?;
        // This one is for the command to inherit.
        fcntl(&file.0, FcntlArg::F_SETFD(FdFlag::empty()))
            .context(message!("opening a file for a command's output"))?;
        let mut told = self.clone();
        told.args.splice(0..0, (reports.args)(file.0.as_raw_fd()));
        let mut read = 0;
        told.run_watched(|| {
            let Ok(bytes) = file.read(read) else { return };
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            read += whole as u64;
            let lines = String::from_utf8_lossy(&bytes[..whole]);
            lines.lines().filter_map(reports.read).for_each(|advance| listener(advance));
        })
    }

    /// Runs it to its end. A non-zero exit is an [`Output`], not an error; failing to start, running past the deadline and
    /// printing without end are errors.
    pub(super) fn run(&self) -> Result<Output> {
        self.run_watched(|| {})
    }

    /// All it reads and writes are files in memory: it isn't ended by our end, what it leaves running keeps nobody waiting,
    /// and it never gets half of its input.
    fn run_watched(&self, mut watch: impl FnMut()) -> Result<Output> {
        tracing::debug!(command = %self, "run");
        let (stdin, stdout, stderr) = (Spool::new()?, Spool::new()?, Spool::new()?);
        stdin.fill(&self.stdin)?;
        let mut expression = duct::cmd(self.found(), &self.args)
            .full_env(self.environment())
            .stdin_file(stdin.reader()?)
            .stdout_file(stdout.writer()?)
            .stderr_file(stderr.writer()?)
            .unchecked()
            // Its own process group, which `kill` reaches as a whole, and a terminal's Ctrl-C doesn't.
            .before_spawn(|command| {
                command.process_group(0);
                Ok(())
            });
        if let Some(dir) = &self.dir {
            expression = expression.dir(dir);
        }
        let handle = expression.start().with_context(|| message!("starting '{command}'", command = &self.program))?;
        let begun = Instant::now();
        let code = loop {
            let ended = handle.wait_timeout(PACE).with_context(|| message!("running '{command}'", command = self))?;
            watch();
            let error = if let Some(output) = ended {
                break output.status.code();
            } else if stdout.length()?.max(stderr.length()?) > MOST_OUTPUT {
                message!("'{command}' prints without end", command = self)
            } else if begun.elapsed() > self.deadline {
                let seconds = self.deadline.as_secs();
                message!("'{command}' gave no answer within {seconds} s", command = self, seconds)
            } else {
                continue;
            };
            for pid in handle.pids() {
                // The group may be gone already; there is nothing more to do then.
                let _ = killpg(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
            let _ = handle.wait();
            return Err(Error::unexpected(error));
        };
        let text = |spool: &Spool| spool.read(0).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let output = Output { code, stdout: text(&stdout)?, stderr: text(&stderr)? };
        tracing::debug!(command = %self, code = ?output.code, "done");
        Ok(output)
    }

    /// Starts it and leaves it to itself, in a process group of its own: a Ctrl-C meant for us doesn't reach it.
    pub(super) fn start(&self) -> Result<Pid> {
        tracing::debug!(command = %self, "start");
        let child = Command::new(self.found())
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
        let executable = |file: &PathBuf| file.is_file() && access(file, AccessFlags::X_OK).is_ok();
        PATH.split(':')
            .map(|dir| Path::new(dir).join(&self.program))
            .find(executable)
            .unwrap_or_else(|| PathBuf::from(&self.program))
    }

    /// As a line of a shell script, with its directory, environment and deadline.
    pub(super) fn in_shell(&self) -> String {
        let mut line = String::new();
        if let Some(dir) = &self.dir {
            let _ = write!(line, "cd {} && ", quoted(&dir.to_string_lossy()));
        }
        for (name, value) in self.environment() {
            let _ = write!(line, "export {}={} && ", name.to_string_lossy(), quoted(&value.to_string_lossy()));
        }
        let _ =
            write!(line, "exec timeout -k 10 {} {}", self.deadline.as_secs(), quoted(&self.found().to_string_lossy()));
        for arg in &self.args {
            let _ = write!(line, " {}", quoted(arg));
        }
        line
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> = INHERITED
            .iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (OsString::from(name), value)))
            .collect();
        env.push(("PATH".into(), PATH.into()));
        // Whatever context Docker's client is set to: an instance's files and processes are here.
        env.push(("DOCKER_HOST".into(), format!("unix://{}", docker::SOCKET).into()));
        env.push(("LC_ALL".into(), "C.UTF-8".into()));
        env.extend(self.env.iter().map(|(name, value)| (name.into(), value.into())));
        env
    }
}

/// Where programs are, whatever the PATH of whoever has started us. The snaps come last: one of them may be all there is.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin";

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
    use std::thread;

    #[test]
    fn a_deadline_reaches_grandchildren_that_hold_the_pipe() {
        let start = Instant::now();
        let cmd = Cmd::new("sh").args(["-c", "sleep 30 & sleep 30"]).deadline(Duration::from_millis(200));
        let error = cmd.run().unwrap_err();
        assert!(error.to_string().contains("no answer within"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn who_prints_without_end_is_ended() {
        let error = Cmd::new("yes").run().unwrap_err();
        assert_eq!(error.to_string(), "'yes' prints without end");
    }

    #[test]
    fn a_program_that_is_left_running_keeps_nobody_waiting() {
        let out = Cmd::new("sh").args(["-c", "sleep 20 & echo x >/dev/stdout; echo y"]).run().unwrap();
        assert_eq!(out.stdout, "x\ny\n");
    }

    #[test]
    fn input_of_any_size_is_there_before_the_command_starts() {
        let input = "x".repeat(1 << 20);
        assert_eq!(Cmd::new("cat").stdin(input.clone()).run().unwrap().stdout, input);
    }

    #[test]
    fn the_environment_is_scrubbed() {
        let out = Cmd::new("env").env("A", "b").run().unwrap();
        let names: Vec<&str> = out.stdout.lines().filter_map(|l| l.split_once('=')).map(|(n, _)| n).collect();
        assert!(names.contains(&"A") && names.contains(&"PATH"));
        assert!(!names.iter().any(|n| n.starts_with("CARGO")), "{names:?}");
        assert!(out.stdout.contains("DOCKER_HOST=unix:///var/run/docker.sock\n"), "{}", out.stdout);
        assert!(out.stdout.contains(&format!("PATH={PATH}\n")), "{}", out.stdout);
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
