//! Hosts with systemd, apt and their own Docker, in containers or virtual machines. They can be killed and booted.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::Host;
use super::call::{Call, Ran};
use super::evidence::Evidence;
use super::snapshot::{NOT_ON_DISK, Snapshot};

/// The path of the program under test.
pub const PROGRAM: &str = "/usr/local/bin/mitigator-vpn";

/// Commands run on a machine whose test has failed, and the file that keeps the output of each.
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
    /// Options that every command needs there.
    const RESERVATION: &str = "";
    /// How long [`Machine::wait_until`] waits.
    const PATIENCE: Duration;

    /// Its name, address and set.
    fn site(&self) -> &Site;

    /// The process on *this* machine that runs a call on that one.
    fn enter(&self, call: &Call) -> Command;

    /// Kills all its processes at once.
    fn kill(&self);

    /// Boots it after [`Machine::kill`] and waits until it is up.
    fn boot(&self);

    /// The last snapshot. A file that has not changed since is not read again.
    fn seen(&self) -> &Mutex<Snapshot> {
        &self.site().seen
    }

    /// Its name.
    fn name(&self) -> &str {
        &self.site().name
    }

    /// Its address on the hosts' network, for `--endpoint`.
    fn address(&self) -> &str {
        &self.site().address
    }

    /// An `install` with the project's own gateway as instance `n` of the VPN.
    fn install(&self, n: u8) -> Call<'_> {
        let (address, reservation) = (self.address(), Self::RESERVATION);
        self.vpn(&format!("install --vpn-address 10.8.3.{n} --endpoint {address} --stack default --yes {reservation}"))
    }

    /// Runs `status --json`.
    fn status(&self) -> Ran {
        self.vpn(&format!("status --json {}", Self::RESERVATION)).run()
    }

    /// The id and the start time of the gateway's container; empty while it doesn't run.
    fn gateway(&self) -> String {
        let script = "docker ps -q --filter label=com.docker.compose.service=gateway | \
                      xargs -r docker inspect -f '{{.Id}} {{.State.StartedAt}}'";
        self.shell(script).run().exits(0).out().trim().to_owned()
    }

    /// The installed packages with their versions.
    fn packages(&self) -> String {
        self.call("dpkg-query -W -f ${Package}=${Version}:${db:Status-Status}\\n").run().exits(0).out().into_owned()
    }

    /// Its Docker's containers, images, networks and volumes, without fields that change by themselves.
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

    /// Keeps evidence if its test is failing, and what `more` adds to it.
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

/// The name and address of a machine, and what has been recorded of it.
pub struct Site {
    pub name: String,
    pub set: Arc<Set>,
    address: String,
    evidence: Evidence,
    seen: Mutex<Snapshot>,
}

/// Machines on one network, made and removed together by a script.
pub struct Set {
    pub name: String,
    script: &'static str,
}

/// The script that makes machines.
pub struct Maker {
    /// The script, with `up NAME N SUITES` and `down NAME`.
    pub script: &'static str,
    /// The variable that `scripts/test` sets when the script's images are there.
    pub ready: &'static str,
}

impl Maker {
    /// Makes `count` of them, of one suite of Debian or of a list of suites; `None`, reported as a SKIP, where none can be
    /// made. The path is that of the program under test.
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

/// Runs a program on *this* machine, which must succeed; returns its output.
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
