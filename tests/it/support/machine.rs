//! Hosts that are whole machines, in containers or virtual: systemd, apt and a Docker of their own. One can kill them,
//! and they boot again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::Host;
use super::call::{Call, Ran};
use super::evidence::Evidence;
use super::snapshot::{NOT_ON_DISK, Snapshot};

/// Where the program under test is.
pub const PROGRAM: &str = "/usr/local/bin/mitigator-vpn";

/// What to ask of a machine whose test has failed, and the file that keeps its answer.
const QUESTIONS: [(&str, &str); 6] = [
    ("journal.ndjson", "cat /var/lib/mitigator-vpn/journal.ndjson"),
    ("systemd.log", "journalctl -b --no-pager | tail -n 300"),
    ("docker.txt", "docker ps -a; docker image ls; docker network ls"),
    ("gateway.log", "docker ps -aq --filter label=com.docker.compose.service=gateway | xargs -r -n1 docker logs 2>&1"),
    ("instance.txt", "cd /srv/mitigator && ls -lai && cat docker-compose*.yml .env vpn-public.conf"),
    ("network.txt", "ip address; ip route; ss -lunp; nft list ruleset"),
];

/// One of them. Every [`Machine`] is a [`Host`].
pub trait Machine: Sync + Sized {
    /// What every command of a scenario has to put up with there.
    const RESERVATION: &str = "";
    /// How long something may take there that is no call by itself.
    const PATIENCE: Duration;

    /// Where it is.
    fn site(&self) -> &Site;

    /// The process on *this* machine that makes a call on that one.
    fn enter(&self, call: &Call) -> Command;

    /// Ends it at once.
    fn kill(&self);

    /// Starts it again after [`Machine::kill`] and waits until it is up.
    fn boot(&self);

    /// The last snapshot: what has not been touched since need not be read again.
    fn seen(&self) -> &Mutex<Snapshot> {
        &self.site().seen
    }

    /// Its name.
    fn name(&self) -> &str {
        &self.site().name
    }

    /// Its address among the others: what `--endpoint` wants.
    fn address(&self) -> &str {
        &self.site().address
    }

    /// An `install` with the project's own gateway as instance `n` of the VPN.
    fn install(&self, n: u8) -> Call<'_> {
        let (address, reservation) = (self.address(), Self::RESERVATION);
        self.vpn(&format!("install --vpn-address 10.8.3.{n} --endpoint {address} --stack default --yes {reservation}"))
    }

    /// What the program says about this instance.
    fn status(&self) -> Ran {
        self.vpn(&format!("status --json {}", Self::RESERVATION)).run()
    }

    /// The gateway's container, and since when it runs; nothing while it doesn't.
    fn gateway(&self) -> String {
        let script = "docker ps -q --filter label=com.docker.compose.service=gateway | \
                      xargs -r docker inspect -f '{{.Id}} {{.State.StartedAt}}'";
        self.shell(script).run().exits(0).out().trim().to_owned()
    }

    /// The packages that are installed, with their versions.
    fn packages(&self) -> String {
        self.call("dpkg-query -W -f ${Package}=${Version}:${db:Status-Status}\\n").run().exits(0).out().into_owned()
    }

    /// What its Docker has: containers, images and networks, without the things that change by themselves.
    fn docker_things(&self) -> String {
        let script = "docker ps -a --format '{{.Names}} {{.Image}}'; docker image ls --format '{{.Repository}}:{{.Tag}}'; \
                      docker network ls --format '{{.Name}}'; docker volume ls -q";
        self.shell(script).run().exits(0).out().into_owned()
    }

    /// Waits for something to become true.
    #[track_caller]
    fn wait_until(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_true() {
            assert!(start.elapsed() < Self::PATIENCE, "{}: waited {:?} until {what}", self.name(), Self::PATIENCE);
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Keeps what it has to say if its test is failing, and whatever `more` puts beside it.
    fn keep_evidence(&self, more: impl FnOnce(&Path)) {
        self.site().evidence.keep_on_failure(|dir| {
            more(dir);
            for (file, script) in QUESTIONS {
                let kept = self.enter(&self.shell(script)).output();
                let bytes = kept.map(|out| [out.stdout, out.stderr].concat()).unwrap_or_default();
                let _ = std::fs::write(dir.join(file), bytes);
            }
        });
    }
}

impl<M: Machine> Host for M {
    fn program(&self) -> Vec<String> {
        vec![PROGRAM.to_owned()]
    }

    fn command(&self, call: &Call) -> Command {
        self.enter(call)
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let ran = self.call("cat").arg(path).run();
        (ran.code == Some(0)).then_some(ran.stdout)
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let script = r#"mkdir -p "$(dirname "$0")" && cat >"$0""#;
        self.shell(script).arg(path).stdin(bytes.as_ref()).run().exits(0);
    }

    fn snapshot(&self) -> Snapshot {
        let earlier = self.seen().lock().expect("nobody panics with it").clone();
        let snapshot = Snapshot::take(self, "/", NOT_ON_DISK, &earlier);
        *self.seen().lock().expect("nobody panics with it") = snapshot.clone();
        snapshot
    }

    fn evidence(&self) -> &Evidence {
        &self.site().evidence
    }
}

/// Where a machine is, and what is known of it.
pub struct Site {
    pub name: String,
    pub set: Arc<Set>,
    address: String,
    evidence: Evidence,
    seen: Mutex<Snapshot>,
}

/// Machines on one network, which a script of ours has made and takes away together.
pub struct Set {
    pub name: String,
    script: &'static str,
}

/// Where machines come from.
pub struct Maker {
    /// The script, with `up NAME N SUITES` and `down NAME`.
    pub script: &'static str,
    /// The variable by which `scripts/test` says that it is ready.
    pub ready: &'static str,
}

impl Maker {
    /// Has them made, of this suite of Debian, or of these; `None`, said as a SKIP, where there can be none. The path is
    /// the program's under test.
    pub fn up(&self, label: &str, count: usize, suites: &str) -> Option<(Vec<Site>, PathBuf)> {
        let variable = |name: &str| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty());
            if value.is_none() {
                super::skip(&format!("{name} is not set; scripts/test sets it"));
            }
            value
        };
        variable(self.ready)?;
        let (prefix, program) = (variable("MITIGATOR_VPN_TEST_PREFIX")?, variable("MITIGATOR_VPN_TEST_BIN")?);
        let set = Arc::new(Set { name: format!("{prefix}-{label}"), script: self.script });
        let count = count.to_string();
        let listed = run(self.script, &["up", &set.name, &count, suites]);
        let sites = listed.lines().map(|line| {
            let (name, address) = line.split_once(' ').expect("a name and an address");
            Site {
                name: name.to_owned(),
                set: Arc::clone(&set),
                address: address.to_owned(),
                evidence: Evidence::of(name),
                seen: Mutex::default(),
            }
        });
        Some((sites.collect(), program.into()))
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        let _ = Command::new(self.script).args(["down", &self.name]).output();
    }
}

/// Runs a program on *this* machine that has to succeed, and gives what it prints.
#[track_caller]
pub fn output(program: &str, words: &[&str]) -> Vec<u8> {
    let Output { status, stdout, stderr } =
        Command::new(program).args(words).output().unwrap_or_else(|e| panic!("cannot start {program}: {e}"));
    assert!(status.success(), "{program} {}: {status}: {}", words.join(" "), String::from_utf8_lossy(&stderr));
    stdout
}

/// As [`output`], as text.
#[track_caller]
pub fn run(program: &str, words: &[&str]) -> String {
    String::from_utf8_lossy(&output(program, words)).into_owned()
}
