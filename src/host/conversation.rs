//! A dialogue with a running program, line by line: ssh, with this program at its far end.
//!
//! Each line has a deadline, in both directions: a far side that hangs delays nobody else.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Host;
use crate::error::{Context, Result};
use crate::message;

/// As many bytes of the program's standard error are kept.
const MAX_COMPLAINT: usize = 8 << 10;
/// How long a program may take to end after its standard input is closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// What came of waiting for a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A line, without its end.
    Line(String),
    /// The program has closed its standard output.
    End,
    /// The deadline has passed.
    Timeout,
    /// More bytes than the line may have, and no end of it.
    TooLong,
}

/// A running program and the pipes to it.
#[derive(Debug)]
pub(crate) struct Conversation {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: ChildStderr,
    stdout_bytes: Vec<u8>,
    /// Up to here there is no line end in `stdout_bytes`.
    searched: usize,
    stderr_bytes: Vec<u8>,
    /// So many bytes of standard output are kept. What comes beyond waits in the pipe, so that no program fills our memory.
    most: usize,
    ended: bool,
}

impl Host {
    /// Takes as many open files as the system lets us have: three pipes for each conversation, of which there may be
    /// hundreds, and 1024 files in all is what a login gives.
    pub(crate) fn raise_open_files_limit(&self) -> Result<()> {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context(message!("raising the limit of open files"))?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most).context(message!("raising the limit of open files"))
    }

    /// Starts a program to talk to, with our own environment and terminal: ssh needs the operator's agent, and may ask.
    /// A line of `most` bytes is its longest.
    pub(crate) fn converse(&self, program: &str, args: &[String], most: usize) -> Result<Conversation> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| message!("starting '{command}'", command = program))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let stdout = stdout.expect("it is piped");
        let stderr = stderr.expect("it is piped");
        for fd in [stdout.as_fd(), stderr.as_fd()].into_iter().chain(stdin.as_ref().map(AsFd::as_fd)) {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context(message!("opening a pipe to a command"))?;
        }
        let (stdout_bytes, stderr_bytes) = (Vec::new(), Vec::new());
        Ok(Conversation { child, stdin, stdout, stderr, stdout_bytes, searched: 0, stderr_bytes, most, ended: false })
    }
}

impl Conversation {
    /// Writes these bytes to its standard input. What it prints meanwhile is kept.
    pub(crate) fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.stdin.is_none() || self.ended {
                return Err(ErrorKind::BrokenPipe.into());
            }
            self.wait(true, deadline)?;
            let Some(stdin) = &mut self.stdin else { return Err(ErrorKind::BrokenPipe.into()) };
            match stdin.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.listen()?;
        }
        Ok(())
    }

    /// Waits for the next line.
    pub(crate) fn receive(&mut self, deadline: Instant) -> io::Result<Received> {
        loop {
            if let Some(at) = self.stdout_bytes[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.stdout_bytes.split_off(self.searched + at + 1);
                let line = String::from_utf8_lossy(self.stdout_bytes.trim_ascii_end()).into_owned();
                (self.stdout_bytes, self.searched) = (rest, 0);
                return Ok(Received::Line(line));
            }
            self.searched = self.stdout_bytes.len();
            if self.searched > self.most {
                return Ok(Received::TooLong);
            }
            if self.ended {
                return Ok(Received::End);
            }
            match self.wait(false, deadline) {
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(Received::Timeout),
                other => other?,
            }
            self.listen()?;
        }
    }

    /// The end of its standard error.
    pub(crate) fn stderr(&mut self) -> String {
        // The rest of it comes with its end.
        if self.ended {
            let _ = self.end(Instant::now() + FAREWELL);
            let _ = self.listen();
        }
        String::from_utf8_lossy(&self.stderr_bytes).trim().to_owned()
    }

    /// As [`Self::stderr`], of a program that has said its last line: the complaint beside it comes over another pipe, perhaps
    /// later. Its end is waited for.
    pub(crate) fn last_complaint(&mut self) -> String {
        self.close();
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline && matches!(self.receive(deadline), Ok(Received::Line(_))) {}
        self.stderr()
    }

    /// Closes its standard input. The program is expected to end by itself.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Waits until something can be read, or written.
    fn wait(&self, writing: bool, deadline: Instant) -> io::Result<()> {
        let mut fds = vec![PollFd::new(self.stderr.as_fd(), PollFlags::POLLIN)];
        if !self.ended && self.stdout_bytes.len() <= self.most {
            fds.push(PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN));
        }
        if let (true, Some(stdin)) = (writing, &self.stdin) {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is there.
    fn listen(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64 << 10];
        while self.stdout_bytes.len() <= self.most {
            match self.stdout.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.stdout_bytes.extend_from_slice(&buffer[..count]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            break;
        }
        while let Ok(count @ 1..) = self.stderr.read(&mut buffer) {
            self.stderr_bytes.extend_from_slice(&buffer[..count]);
            let surplus = self.stderr_bytes.len().saturating_sub(MAX_COMPLAINT);
            self.stderr_bytes.drain(..surplus);
        }
        Ok(())
    }

    fn end(&mut self, deadline: Instant) -> bool {
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Conversation {
    /// Lets it end by itself if it does so in time: an ssh that other connections go through must not be killed.
    fn drop(&mut self) {
        self.close();
        if !self.end(Instant::now() + FAREWELL) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Conversation {
        Host::live().converse("sh", &["-c".into(), script.into()], 2 << 20).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn lines_come_back_one_by_one_and_the_end_is_told_with_the_complaint() {
        let mut talk = shell("read a; echo \"1 $a\"; echo 2; echo why >&2");
        talk.send(b"x\n", soon()).unwrap();
        let received: Vec<Received> = (0..3).map(|_| talk.receive(soon()).unwrap()).collect();
        assert_eq!(received, [Received::Line("1 x".into()), Received::Line("2".into()), Received::End]);
        assert_eq!(talk.stderr(), "why");
    }

    #[test]
    fn a_complaint_that_comes_after_the_last_line_is_heard() {
        let mut talk = shell("echo failed; sleep 0.2; echo why >&2");
        assert_eq!(talk.receive(soon()).unwrap(), Received::Line("failed".into()));
        assert_eq!(talk.stderr(), "", "it hasn't come yet");
        assert_eq!(talk.last_complaint(), "why");
    }

    #[test]
    fn a_program_that_says_nothing_is_waited_for_until_the_deadline() {
        let mut talk = shell("read a");
        assert_eq!(talk.receive(Instant::now() + Duration::from_millis(50)).unwrap(), Received::Timeout);
    }

    #[test]
    fn an_endless_line_is_refused_and_what_comes_behind_it_stays_in_the_pipe() {
        let mut talk = shell("tr '\\0' x </dev/zero");
        assert_eq!(talk.receive(soon()).unwrap(), Received::TooLong);
        let _ = talk.send(b"x\n", soon());
        assert!(talk.stdout_bytes.len() <= (2 << 20) + (64 << 10), "{}", talk.stdout_bytes.len());
    }

    #[test]
    fn lines_without_end_are_not_kept() {
        let mut talk = shell("yes");
        for _ in 0..100 {
            assert_eq!(talk.receive(soon()).unwrap(), Received::Line("y".into()));
        }
        assert!(talk.stdout_bytes.len() <= (2 << 20) + (64 << 10), "{}", talk.stdout_bytes.len());
    }

    #[test]
    fn more_than_a_pipe_holds_goes_through_in_both_directions_at_once() {
        let mut talk = shell("cat");
        let line = "x".repeat(1 << 20) + "\n";
        talk.send(line.as_bytes(), soon()).unwrap();
        assert_eq!(talk.receive(soon()).unwrap(), Received::Line(line.trim_end().into()));
    }
}
