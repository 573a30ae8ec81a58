//! One command on a host, and its result.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Host;
use super::evidence::Evidence;

/// A command that takes longer counts as hung.
const DEADLINE: Duration = Duration::from_secs(900);

/// A command line that has not run yet.
pub struct Call<'h> {
    host: &'h dyn Caller,
    pub words: Vec<String>,
    pub env: Vec<(String, String)>,
    pub stdin: Vec<u8>,
}

/// The part of [`Host`] that a call needs.
trait Caller {
    fn command(&self, call: &Call) -> Command;
    fn evidence(&self) -> &Evidence;
}

impl<H: Host> Caller for H {
    fn command(&self, call: &Call) -> Command {
        Host::command(self, call)
    }
    fn evidence(&self) -> &Evidence {
        Host::evidence(self)
    }
}

impl<'h> Call<'h> {
    pub fn new<'w>(host: &'h impl Host, words: impl IntoIterator<Item = &'w str>) -> Self {
        let words = words.into_iter().map(str::to_owned).collect();
        Call { host, words, env: Vec::new(), stdin: Vec::new() }
    }

    /// One more argument, spaces and all.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.words.push(argument.into());
        self
    }

    /// With a variable in the caller's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this on its standard input, which is empty otherwise.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Run by another program, such as `strace -f -o FILE`.
    pub fn under<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.splice(0..0, words.into_iter().map(Into::into));
        self
    }

    /// Runs it to its end.
    pub fn run(&self) -> Ran {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(&self) -> Running<'h> {
        let mut command = self.host.command(self);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", self.words[0]));
        let stdin = self.stdin.clone();
        let mut pipe = child.stdin.take().expect("it is piped");
        // A command need not read its input.
        thread::spawn(move || pipe.write_all(&stdin));
        Running {
            evidence: self.host.evidence(),
            line: self.words.join(" "),
            stdout: drain(child.stdout.take().expect("it is piped")),
            stderr: drain(child.stderr.take().expect("it is piped")),
            started: Instant::now(),
            child,
        }
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// A running command.
pub struct Running<'h> {
    evidence: &'h Evidence,
    line: String,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    started: Instant,
}

impl Running<'_> {
    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("our own child can be waited for").is_none()
    }

    /// Kills it and its process group.
    pub fn kill(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let mut pause = Duration::from_millis(1);
        while self.is_alive() {
            if self.started.elapsed() > DEADLINE {
                self.kill();
                let _ = self.child.wait();
                panic!("still running after {DEADLINE:?}: {}", self.line);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        let status = self.child.wait().expect("our own child can be waited for");
        let ran = Ran {
            line: self.line,
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.join().expect("a reader doesn't panic"),
            stderr: self.stderr.join().expect("a reader doesn't panic"),
            took: self.started.elapsed(),
        };
        self.evidence.note(&ran.to_string());
        ran
    }
}

/// The result of a command. Its assertions return it, so that they can be chained.
#[derive(Clone, Debug)]
pub struct Ran {
    line: String,
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    signal: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Its standard output, as text.
    pub fn out(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Its standard error, as text.
    pub fn err(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }

    /// The one JSON document it printed.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("stdout is no JSON document: {e}\n{self}"))
    }

    /// It exited with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code}\n{self}");
        self
    }

    /// It exited with one of these codes.
    #[track_caller]
    pub fn exits_with_one_of(self, codes: &[i32]) -> Self {
        assert!(
            self.code.is_some_and(|code| codes.contains(&code)),
            "expected one of the exit codes {codes:?}\n{self}"
        );
        self
    }

    /// These words are in its standard output or error.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.out().contains(words) || self.err().contains(words), "expected the words '{words}'\n{self}");
        self
    }

    /// These words are in neither.
    #[track_caller]
    pub fn does_not_say(self, words: &str) -> Self {
        assert!(!self.out().contains(words) && !self.err().contains(words), "unexpected words '{words}'\n{self}");
        self
    }

    /// Whether SIGKILL ended it, directly or as reported by a program that ran it.
    pub fn was_killed(&self) -> bool {
        self.signal == Some(9) || self.code == Some(137)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ran { line, code, signal, took, .. } = self;
        let end = code.map_or_else(|| format!("signal {}", signal.unwrap_or(0)), |code| format!("exit code {code}"));
        writeln!(f, "$ {line}\n  {end} after {:.2} s", took.as_secs_f32())?;
        for (name, text) in [("stdout", self.out()), ("stderr", self.err())] {
            // A cluster's document has thousands of lines; its end tells what is wrong.
            let lines: Vec<&str> = text.lines().collect();
            let (head, tail) = if lines.len() > 200 { (40, lines.len() - 100) } else { (lines.len(), lines.len()) };
            lines[..head].iter().try_for_each(|line| writeln!(f, "  {name}: {line}"))?;
            if head < tail {
                writeln!(f, "  {name}: … {} lines …", tail - head)?;
            }
            lines[tail..].iter().try_for_each(|line| writeln!(f, "  {name}: {line}"))?;
        }
        Ok(())
    }
}
