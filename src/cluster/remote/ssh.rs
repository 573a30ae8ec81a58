//! The connection to a host: the system's ssh, as the operator has set it up, one connection a host and run.
//!
//! The agent at its far end is this very executable. It is copied once per version, through the same connection, into a
//! cache that only root writes. The copy gets its final name after its digest was verified, so a file of that name is
//! complete. A host needs nothing else than a shell, and sudo where the login isn't root.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::protocol::{self, Hello, MAX_LINE, PROTOCOL, Reply, Request};
use crate::error::{Class, Context, Error, Result};
use crate::gateway::image;
use crate::host::{Conversation, Host, Received};
use crate::message;
use crate::message::Message;

/// How long a host may take until its first line: a jump host, a slow reverse lookup, a busy sshd.
const GREETING: Duration = Duration::from_secs(45);
/// How long the executable may take to arrive: 10 MB over a slow line.
const UPLOAD: Duration = Duration::from_secs(300);
/// Lines that a login shell may print before the agent's first one.
const LOGIN_LINES: usize = 200;

/// Becomes root, then does `$1` with the connection's addresses. No quotes, exclamation marks or line ends in it: the
/// login shell may be any.
const AS_ROOT: &str = "if [ $(id -u) = 0 ]; then exec sh -c \"$1\" sh \"$SSH_CONNECTION\"; fi; \
    if command -v sudo >/dev/null; then exec sudo -n sh -c \"$1\" sh \"$SSH_CONNECTION\"; fi; echo failed root";

/// Starts the executable, or says that it is absent and receives it. The same restrictions.
const START: &str = "trap \"\" HUP; d=/var/cache/mitigator-vpn; f=$d/{digest}; [ -x $f ] && exec $f session \"$1\"; \
    echo absent $(uname -s) $(uname -m); t=$f.$$; trap \"rm -f $t\" EXIT; \
    mkdir -p $d && chmod 755 $d || { echo failed directory; exit 1; }; \
    find $d -type f -mtime +30 -exec rm -f {} +; \
    (umask 077; head -c {size} >$t) || { echo failed copy; exit 1; }; \
    [ \"$(sha256sum <$t | cut -c1-64)\" = {digest} ] || { echo failed digest; exit 1; }; \
    chmod 700 $t && $t --version >/dev/null || { echo failed start; exit 1; }; \
    sync; mv $t $f && exec $f session \"$1\"; echo failed start";

/// The executable that becomes the agent on a host.
#[derive(Debug)]
pub(crate) struct AgentExecutable {
    digest: String,
    /// In bytes.
    size: u64,
    bytes: OnceLock<Vec<u8>>,
}

impl AgentExecutable {
    /// The running executable.
    pub(crate) fn running(host: &Host) -> Result<AgentExecutable> {
        let path = image::executable()?;
        let size = host.stat(&path)?.map_or(0, |stat| stat.len);
        Ok(AgentExecutable { digest: image::digest(host, &path)?, size, bytes: OnceLock::new() })
    }

    /// Read when the first host needs them.
    fn bytes(&self, host: &Host) -> Result<&[u8]> {
        if self.bytes.get().is_none() {
            let read = host.read_program(&image::executable()?)?.unwrap_or_default();
            let _ = self.bytes.set(read);
        }
        Ok(self.bytes.get().map_or(&[], Vec::as_slice))
    }
}

/// How hosts are reached.
#[derive(Debug)]
pub(crate) struct Ssh {
    /// Another configuration file than the user's own.
    pub(crate) config: Option<String>,
    /// Whether ssh may ask a person at the terminal.
    pub(crate) may_ask: bool,
    pub(crate) executable: AgentExecutable,
}

/// A connection with an agent at its far end.
#[derive(Debug)]
pub(crate) struct SshSession {
    connection: Conversation,
    /// How far the host's clock is ahead of ours, in milliseconds; exact to the time a packet takes.
    pub(crate) clock: i64,
    /// A request failed on the connection itself; no other is sent over it.
    broken: bool,
}

impl Ssh {
    /// Connects, copies the executable if it is absent, and reads its greeting.
    pub(crate) fn open(&self, host: &Host, destination: &str) -> Result<SshSession> {
        self.open_with(host, destination, &[])
    }

    /// As [`Ssh::open`], over a connection of its own whatever others ssh may share: it proves that a new one can be made.
    pub(crate) fn open_anew(&self, host: &Host, destination: &str) -> Result<SshSession> {
        self.open_with(host, destination, &["-o", "ControlMaster=no", "-o", "ControlPath=none"])
    }

    fn open_with(&self, host: &Host, destination: &str, options: &[&str]) -> Result<SshSession> {
        let options = options.iter().map(|option| (*option).to_owned()).chain(self.arguments(destination));
        let mut connection = host.converse("ssh", &options.collect::<Vec<_>>(), MAX_LINE)?;
        let first = first_line(&mut connection, Instant::now() + GREETING).and_then(|first| match first {
            FirstLine::Absent { system, machine } => {
                self.upload(host, &mut connection, &system, &machine)?;
                first_line(&mut connection, Instant::now() + GREETING)
            }
            FirstLine::Hello(_) | FirstLine::Failed(_) => Ok(first),
        });
        match first? {
            FirstLine::Hello(hello) if hello.protocol == PROTOCOL => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                Ok(SshSession { connection, clock: hello.now as i64 - now as i64, broken: false })
            }
            FirstLine::Hello(_) | FirstLine::Absent { .. } => Err(Error::unexpected(message!(
                "the agent doesn't start: the copy of this executable on the host is damaged"
            ))),
            FirstLine::Failed(failure) => Err(failure.error(&connection.last_complaint(), destination)),
        }
    }

    fn arguments(&self, destination: &str) -> Vec<String> {
        let mut words: Vec<String> =
            ["-T", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15"].map(String::from).to_vec();
        if let Some(config) = &self.config {
            words.extend(["-F".into(), config.clone()]);
        }
        if !self.may_ask {
            words.extend(["-o".into(), "BatchMode=yes".into()]);
        }
        let AgentExecutable { digest, size, .. } = &self.executable;
        let start = START.replace("{digest}", digest).replace("{size}", &size.to_string());
        words.extend(["--".into(), destination.into(), format!("exec sh -c '{AS_ROOT}' sh '{start}'")]);
        words
    }

    fn upload(&self, host: &Host, connection: &mut Conversation, system: &str, machine: &str) -> Result<()> {
        let arch = std::env::consts::ARCH;
        if (system, machine) != ("Linux", arch) {
            return Err(Error::new(
                Class::Refused,
                message!("another kind of machine: {system} {machine}", system, machine),
            )
            .hint(message!(
                "this executable is for Linux {arch}; run the cluster's commands from a machine of the hosts' kind",
                arch
            )));
        }
        // If this fails, the next line from the host says why.
        let _ = connection.send(self.executable.bytes(host)?, Instant::now() + UPLOAD);
        Ok(())
    }
}

impl SshSession {
    /// Sends a request and waits for the reply. An agent that does not reply in time is not asked again.
    pub(crate) fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply> {
        let reply = self.exchange(request, patience);
        self.broken |= reply.is_err();
        let reply = reply?;
        if let Reply::Failed(error) = reply { Err(error.into()) } else { Ok(reply) }
    }

    fn exchange(&mut self, request: &Request, patience: Duration) -> Result<Reply> {
        if self.broken {
            return Err(Error::unexpected(message!("the connection is lost")));
        }
        let deadline = Instant::now() + patience;
        let line = serde_json::to_string(request).context(message!("a request"))? + "\n";
        self.connection.send(line.as_bytes(), deadline).context(message!("the connection is lost"))?;
        match self.connection.receive(deadline).context(message!("the connection is lost"))? {
            Received::Line(line) => protocol::decode(&line).context(message!("the host's answer")),
            Received::TooLong => Err(protocol::too_long()).context(message!("the host's answer")),
            Received::End => {
                let complaint = self.connection.stderr();
                Err(Error::unexpected(with_complaint(message!("the connection was lost"), &complaint)))
            }
            Received::Timeout => {
                Err(Error::unexpected(message!("no answer within {seconds} s", seconds = patience.as_secs())))
            }
        }
    }

    /// Lets the agent end; the connection is closed with this value.
    pub(crate) fn hang_up(&mut self) {
        self.connection.close();
    }
}

/// The first line that the scripts above, or the agent, print.
#[derive(Debug)]
enum FirstLine {
    Hello(Hello),
    /// The executable isn't there yet.
    Absent {
        /// `uname -s`.
        system: String,
        /// `uname -m`.
        machine: String,
    },
    Failed(StartFailure),
}

/// What the scripts above could not do: the word behind `failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartFailure {
    Root,
    Directory,
    Copy,
    Digest,
    Start,
}

impl StartFailure {
    fn of_word(word: &str) -> Option<StartFailure> {
        match word {
            "root" => Some(StartFailure::Root),
            "directory" => Some(StartFailure::Directory),
            "copy" => Some(StartFailure::Copy),
            "digest" => Some(StartFailure::Digest),
            "start" => Some(StartFailure::Start),
            _ => None,
        }
    }

    fn error(self, complaint: &str, destination: &str) -> Error {
        let disk = format!("ssh {destination} df -h /var/cache");
        let (reason, hint) = match self {
            StartFailure::Root => (
                message!("the login isn't root, and there is no sudo"),
                message!("log in as root, or install sudo there"),
            ),
            StartFailure::Directory => {
                (message!("/var/cache/mitigator-vpn can't be made"), message!("see: {command}", command = disk))
            }
            StartFailure::Copy => {
                (message!("the executable can't be copied"), message!("make room: {command}", command = disk))
            }
            StartFailure::Digest => (
                message!("the executable arrived damaged"),
                message!("run it again; a full disk is another cause: {command}", command = disk),
            ),
            StartFailure::Start => (
                message!("the executable doesn't start there"),
                message!(
                    "a system this old needs the static build: scripts/build-static; /var/cache must not be mounted noexec"
                ),
            ),
        };
        Error::new(Class::Refused, with_complaint(reason, complaint)).hint(hint)
    }
}

/// Skips what the login shell prints.
fn first_line(connection: &mut Conversation, deadline: Instant) -> Result<FirstLine> {
    for _ in 0..LOGIN_LINES {
        let line = match connection.receive(deadline).context(Message::foreign("ssh"))? {
            Received::Line(line) => line,
            Received::End => return Err(unreachable(&connection.stderr())),
            Received::TooLong => return Err(protocol::too_long()).context(message!("what its login shell prints")),
            Received::Timeout => {
                return Err(Error::unexpected(message!(
                    "it hangs: ssh prints nothing within {seconds} s",
                    seconds = GREETING.as_secs()
                )));
            }
        };
        let first = match line.split(' ').collect::<Vec<_>>()[..] {
            ["absent", system, machine] => {
                Some(FirstLine::Absent { system: system.to_owned(), machine: machine.to_owned() })
            }
            ["failed", word] => StartFailure::of_word(word).map(FirstLine::Failed),
            _ => protocol::decode(&line).ok().map(FirstLine::Hello),
        };
        if let Some(first) = first {
            return Ok(first);
        }
    }
    Err(Error::unexpected(message!("its login shell prints more than {count} lines", count = LOGIN_LINES))
        .hint(message!("make .bashrc and the like print nothing where there is no terminal")))
}

/// Why ssh ended before a script of ours ran.
fn unreachable(complaint: &str) -> Error {
    let error = match last_line(complaint) {
        Some(last) => Error::unexpected(Message::foreign(last.trim_end_matches('.'))),
        None => Error::unexpected(message!("ssh ended without a message")),
    };
    if complaint.contains("sudo:") {
        return error
            .with_class(Class::Refused)
            .hint(message!("log in as root, or let this login use sudo without a password (NOPASSWD)"));
    }
    if complaint.contains("Host key verification failed") {
        return error.hint(message!(
            "is it the same machine? Then take its new key: ssh-keygen -R HOST, and log in once by hand"
        ));
    }
    error
}

fn with_complaint(reason: Message, complaint: &str) -> Message {
    match last_line(complaint) {
        Some(complaint) => message!("{reason}: {complaint}", reason, complaint),
        None => reason,
    }
}

fn last_line(complaint: &str) -> Option<&str> {
    complaint.lines().map(str::trim).rfind(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh() -> Ssh {
        let executable = AgentExecutable { digest: "d".repeat(64), size: 10, bytes: OnceLock::new() };
        Ssh { config: None, may_ask: false, executable }
    }

    #[test]
    fn the_command_line_survives_every_login_shell() {
        let command = ssh().arguments("-oProxyCommand=x").pop().unwrap();
        assert!(!command.contains(['\n', '!']), "{command}");
        assert_eq!(command.matches('\'').count(), 4, "quoted twice, and no quote inside: {command}");
    }

    #[test]
    fn a_destination_can_not_become_an_option() {
        let words = ssh().arguments("-oProxyCommand=x");
        assert_eq!(words[words.len() - 3], "--");
    }

    #[test]
    fn every_failure_of_the_scripts_is_known() {
        for word in format!("{AS_ROOT};{START}").split("echo failed ").skip(1) {
            let word: String = word.chars().take_while(|c| c.is_ascii_lowercase()).collect();
            let failure = StartFailure::of_word(&word).unwrap_or_else(|| panic!("{word}"));
            assert!(failure.error("", "h1").way_out().is_some());
        }
    }

    /// A session whose far side is this script.
    fn session(script: &str) -> SshSession {
        let connection = Host::live().converse("sh", &["-c".into(), script.into()], MAX_LINE).unwrap();
        SshSession { connection, clock: 0, broken: false }
    }

    #[test]
    fn an_agent_that_talks_nonsense_is_told_as_that_and_is_not_asked_again() {
        for (script, words) in [
            ("read a; tr '\\0' x </dev/zero", "the host's answer: a line of more than 5 MiB"),
            ("tr '\\0' x </dev/zero", "the host's answer: a line of more than 5 MiB"),
            ("read a; echo {}", "the host's answer: a line that is no message"),
            ("read a; printf '\\377\\n'", "the host's answer: a line that is no message"),
            ("read a; printf '{\"refused\":['; yes '0,' | head -n 400000 | tr -d '\\n'; echo '0]}'", "200000 values"),
            ("read a; printf 'x\\033[2J\\342\\200\\256y\\n' >&2", "x\u{fffd}[2J\u{fffd}y"),
        ] {
            let mut session = session(script);
            let error = session.ask(&Request::TakeBack, Duration::from_secs(60)).unwrap_err();
            assert!(error.to_string().contains(words), "{script}: {error}");
            let error = session.ask(&Request::TakeBack, Duration::from_secs(60)).unwrap_err();
            assert!(error.to_string().contains("the connection is lost"), "{script}: {error}");
        }
    }

    #[test]
    fn what_ssh_complains_about_is_the_reason() {
        let refused = "Warning: Permanently added 'x'.\nssh: connect to host x port 22: Connection refused\n";
        assert_eq!(unreachable(refused).to_string(), "ssh: connect to host x port 22: Connection refused");
        assert!(unreachable("sudo: a password is required").way_out().unwrap().contains("NOPASSWD"));
        assert!(unreachable("@@@\nHost key verification failed.\n").way_out().unwrap().contains("ssh-keygen -R"));
    }
}
