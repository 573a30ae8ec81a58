//! The way to a host: the system's ssh, as the operator has set it up, one connection per host and run.
//!
//! What runs at its far end is this very executable. It is copied once per version, through the same connection, into
//! a cache that only root writes; it gets its name there when its digest was found right, so whatever has that name
//! is whole. Nothing else is asked of the host than a shell, and sudo where the login isn't root.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::protocol::{Hello, PROTOCOL, Reply, Request};
use crate::error::{Class, Context, Error, Result};
use crate::gateway::image;
use crate::host::{Conversation, Heard, Host};

/// How long a host may take until it says its first word: a jump host, a slow reverse lookup, a busy sshd.
const GREETING: Duration = Duration::from_secs(45);
/// How long the executable may take to arrive: 10 MB over a poor line.
const UPLOAD: Duration = Duration::from_secs(300);
/// What a login shell may print before us.
const NOISE: usize = 200;

/// Becomes root, then does `$1` with the connection's addresses. No quotes, exclamation marks or line ends in it: the
/// login shell may be any.
const AS_ROOT: &str = "if [ $(id -u) = 0 ]; then exec sh -c \"$1\" sh \"$SSH_CONNECTION\"; fi; \
    if command -v sudo >/dev/null; then exec sudo -n sh -c \"$1\" sh \"$SSH_CONNECTION\"; fi; echo failed root";

/// Starts the executable, or says that it isn't there and takes it. The same restrictions.
const START: &str = "trap \"\" HUP; d=/var/cache/mitigator-vpn; f=$d/{digest}; [ -x $f ] && exec $f session \"$1\"; \
    echo absent $(uname -s) $(uname -m); t=$f.$$; trap \"rm -f $t\" EXIT; \
    mkdir -p $d && chmod 755 $d || { echo failed directory; exit 1; }; \
    find $d -type f -mtime +30 -exec rm -f {} +; \
    head -c {size} >$t || { echo failed copy; exit 1; }; \
    [ \"$(sha256sum <$t | cut -c1-64)\" = {digest} ] || { echo failed digest; exit 1; }; \
    chmod 700 $t && $t --version >/dev/null || { echo failed start; exit 1; }; \
    sync; mv $t $f && exec $f session \"$1\"; echo failed start";

/// The executable that is spoken to on the far side.
#[derive(Debug)]
pub struct Program {
    digest: String,
    size: u64,
    bytes: OnceLock<Vec<u8>>,
}

impl Program {
    /// The running executable.
    pub fn running(host: &Host) -> Result<Program> {
        let path = image::executable()?;
        let size = host.stat(&path)?.map_or(0, |stat| stat.len);
        Ok(Program { digest: image::digest(host, &path)?, size, bytes: OnceLock::new() })
    }

    /// Read when the first host asks for it, and once for all.
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
pub struct Ssh {
    /// Another configuration file than the user's own.
    pub config: Option<String>,
    /// Whether ssh may ask a person at the terminal.
    pub may_ask: bool,
    /// What runs at the far end.
    pub program: Program,
}

/// A connection, with ourselves at its far end.
#[derive(Debug)]
pub struct Session {
    talk: Conversation,
    /// How far the host's clock is ahead of ours, in milliseconds; right to within the way there.
    pub clock: i64,
    /// The connection didn't survive something; nothing more is said over it.
    broken: bool,
}

impl Ssh {
    /// Connects, brings the executable if it isn't there, and hears its greeting.
    pub fn open(&self, host: &Host, destination: &str) -> Result<Session> {
        self.open_with(host, destination, &[])
    }

    /// Over a connection of its own, whatever others ssh may share: it proves the way in.
    pub fn open_anew(&self, host: &Host, destination: &str) -> Result<Session> {
        self.open_with(host, destination, &["-o", "ControlMaster=no", "-o", "ControlPath=none"])
    }

    fn open_with(&self, host: &Host, destination: &str, options: &[&str]) -> Result<Session> {
        let options = options.iter().map(|option| (*option).to_owned()).chain(self.arguments(destination));
        let mut talk = host.converse("ssh", &options.collect::<Vec<_>>())?;
        let deadline = Instant::now() + GREETING;
        let first = first_word(&mut talk, deadline).and_then(|first| match first {
            Word::Absent(system, machine) => {
                self.bring(host, &mut talk, &system, &machine)?;
                first_word(&mut talk, Instant::now() + GREETING)
            }
            word => Ok(word),
        });
        match first? {
            Word::Hello(hello) if hello.protocol == PROTOCOL => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                Ok(Session { talk, clock: hello.now as i64 - now as i64, broken: false })
            }
            Word::Failed(what) => Err(failed(&what, &talk.complaint(), destination)),
            other => Err(Error::unexpected(format!("the far side says {other:?}"))),
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
        let Program { digest, size, .. } = &self.program;
        let start = START.replace("{digest}", digest).replace("{size}", &size.to_string());
        words.extend(["--".into(), destination.into(), format!("exec sh -c '{AS_ROOT}' sh '{start}'")]);
        words
    }

    fn bring(&self, host: &Host, talk: &mut Conversation, system: &str, machine: &str) -> Result<()> {
        if (system, machine) != ("Linux", std::env::consts::ARCH) {
            return Err(Error::new(Class::Refused, format!("another kind of machine: {system} {machine}")).hint(
                format!(
                    "this executable is for Linux {}; run the cluster's commands from a machine of the hosts' kind",
                    std::env::consts::ARCH
                ),
            ));
        }
        // What goes wrong with it is what the far side says next.
        let _ = talk.say(self.program.bytes(host)?, Instant::now() + UPLOAD);
        Ok(())
    }
}

impl Session {
    /// Asks, and waits for the answer. A far side that fails says so itself; one that doesn't answer is given up.
    pub fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply> {
        let reply = self.exchange(request, patience);
        self.broken |= reply.is_err();
        match reply? {
            Reply::Failed(failure) => Err(failure.into()),
            reply => Ok(reply),
        }
    }

    fn exchange(&mut self, request: &Request, patience: Duration) -> Result<Reply> {
        if self.broken {
            return Err(Error::unexpected("the connection is lost"));
        }
        let deadline = Instant::now() + patience;
        let line = serde_json::to_string(request).context("a request")? + "\n";
        self.talk.say(line.as_bytes(), deadline).context("the connection is lost")?;
        match self.talk.hear(deadline).context("the connection is lost")? {
            Heard::Line(line) => serde_json::from_str(&line).context("the far side's answer"),
            Heard::End => Err(Error::unexpected(with("the connection was lost", &self.talk.complaint()))),
            Heard::Silence => Err(Error::unexpected(format!("no answer within {} s", patience.as_secs()))),
        }
    }

    /// Whether nothing can be asked any more.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Lets the far side end; the connection goes with this value.
    pub fn hang_up(&mut self) {
        self.talk.hang_up();
    }
}

#[derive(Debug)]
enum Word {
    Hello(Hello),
    Absent(String, String),
    Failed(String),
}

/// The first line that is ours.
fn first_word(talk: &mut Conversation, deadline: Instant) -> Result<Word> {
    for _ in 0..NOISE {
        match talk.hear(deadline).context("ssh")? {
            Heard::Line(line) => match line.split(' ').collect::<Vec<_>>()[..] {
                ["absent", system, machine] => return Ok(Word::Absent(system.into(), machine.into())),
                ["failed", what] => return Ok(Word::Failed(what.into())),
                _ => match serde_json::from_str(&line) {
                    Ok(hello) => return Ok(Word::Hello(hello)),
                    Err(_) => continue,
                },
            },
            Heard::End => return Err(unreachable(&talk.complaint())),
            Heard::Silence => {
                return Err(Error::unexpected("it hangs: no word from it in time"));
            }
        }
    }
    Err(Error::unexpected("its login shell talks without end")
        .hint("keep .bashrc and the like silent without a terminal"))
}

/// Why ssh ended before anything of ours ran.
fn unreachable(complaint: &str) -> Error {
    let last = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("ssh ended without a word");
    let error = Error::unexpected(last.trim().trim_end_matches('.'));
    if complaint.contains("sudo:") {
        return error
            .with_class(Class::Refused)
            .hint("log in as root, or let this login use sudo without a password (NOPASSWD)");
    }
    if complaint.contains("Host key verification failed") {
        return error
            .hint("is it the same machine? Then take its new key: ssh-keygen -R HOST, and log in once by hand");
    }
    error
}

/// What the shell on the far side could not do.
fn failed(what: &str, complaint: &str, destination: &str) -> Error {
    let refused = |message: &str, hint: &str| Error::new(Class::Refused, with(message, complaint)).hint(hint);
    match what {
        "root" => refused("the login isn't root, and there is no sudo", "log in as root, or install sudo there"),
        "directory" => {
            refused("/var/cache/mitigator-vpn can't be made", &format!("see: ssh {destination} df -h /var/cache"))
        }
        "copy" => refused("the executable can't be copied", &format!("make room: ssh {destination} df -h /var/cache")),
        "digest" => refused("the executable arrived damaged", "run it again; a disk that is full shows so as well"),
        _ => refused(
            "the executable doesn't start there",
            "a system this old needs the static build: scripts/build-static; /var/cache must not be mounted noexec",
        ),
    }
}

fn with(message: &str, complaint: &str) -> String {
    match complaint.lines().rfind(|line| !line.trim().is_empty()) {
        Some(last) => format!("{message}: {}", last.trim()),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh() -> Ssh {
        let program = Program { digest: "d".repeat(64), size: 10, bytes: OnceLock::new() };
        Ssh { config: None, may_ask: false, program }
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
    fn what_ssh_complains_about_is_the_reason() {
        let refused = "Warning: Permanently added 'x'.\nssh: connect to host x port 22: Connection refused\n";
        assert_eq!(unreachable(refused).to_string(), "ssh: connect to host x port 22: Connection refused");
        assert!(unreachable("sudo: a password is required").way_out().unwrap().contains("NOPASSWD"));
        assert!(unreachable("@@@\nHost key verification failed.\n").way_out().unwrap().contains("ssh-keygen -R"));
    }
}
