//! A host in a container: systemd, sshd, apt and a Docker of its own. What it lacks is a kernel of its own: the
//! gateway's WireGuard runs in user space here.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::Host;
use super::call::Call;
use super::evidence::Evidence;
use super::snapshot::{NOT_ON_DISK, Snapshot};

/// The check that such a host fails where this machine's kernel has no WireGuard, in every call of a scenario.
pub const NO_MODULES_HERE: &str = "--ignore kernel-wireguard";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/hosts");
const PROGRAM: &str = "/usr/local/bin/mitigator-vpn";

/// One of them.
pub struct ContainerHost {
    name: String,
    address: String,
    evidence: Evidence,
    last_snapshot: Mutex<Snapshot>,
    set: Arc<Set>,
}

/// Hosts on one network, which go together.
struct Set {
    name: String,
}

impl Drop for Set {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT).args(["down", &self.name]).output();
    }
}

impl ContainerHost {
    /// A fresh one with the program under test in it; `None`, said as a SKIP, where there can be none.
    pub fn up(label: &str) -> Option<Self> {
        Self::cluster(label).map(|[host]: [Self; 1]| host)
    }

    /// Several that reach each other.
    pub fn cluster<const N: usize>(label: &str) -> Option<[Self; N]> {
        Self::cluster_of(label, ["bookworm"; N])
    }

    /// Several of these releases of Debian.
    pub fn cluster_of<const N: usize>(label: &str, suites: [&str; N]) -> Option<[Self; N]> {
        let variable = |name: &str| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty());
            if value.is_none() {
                super::skip(&format!("{name} is not set; scripts/test sets it"));
            }
            value
        };
        let (prefix, program) = variable("MITIGATOR_VPN_TEST_IMAGE")
            .and_then(|_| Some((variable("MITIGATOR_VPN_TEST_PREFIX")?, variable("MITIGATOR_VPN_TEST_BIN")?)))?;
        let set = Arc::new(Set { name: format!("{prefix}-{label}") });
        let listed = script(&["up", &set.name, &N.to_string(), &suites.join(",")]);
        let hosts: Vec<Self> = listed.lines().map(|line| Self::of(line, &set)).collect();
        for host in &hosts {
            docker(&["cp", &program, &format!("{}:{PROGRAM}", host.name)]);
        }
        hosts.try_into().ok()
    }

    fn of(line: &str, set: &Arc<Set>) -> Self {
        let (name, address) = line.split_once(' ').expect("a name and an address");
        let evidence = Evidence::of(name);
        let (name, address) = (name.to_owned(), address.to_owned());
        ContainerHost { name, address, evidence, last_snapshot: Mutex::default(), set: Arc::clone(set) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address among the others: what `--endpoint` wants.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The configuration of the operator's ssh, which knows the hosts by name.
    pub fn ssh_config(&self) -> PathBuf {
        Path::new("/run/mitigator-vpn-testbed/hosts").join(format!("{}.ssh_config", self.set.name))
    }

    /// An `install` with the project's own gateway as instance `n` of the VPN.
    pub fn install(&self, n: u8) -> Call<'_> {
        let address = &self.address;
        self.vpn(&format!(
            "install --vpn-address 10.8.3.{n} --endpoint {address} --stack default --yes {NO_MODULES_HERE}"
        ))
    }

    /// The packages that are installed, with their versions.
    pub fn packages(&self) -> String {
        self.call("dpkg-query -W -f ${Package}=${Version}:${db:Status-Status}\\n").run().exits(0).out().into_owned()
    }

    /// What its Docker has: containers, images and networks, without the things that change by themselves.
    pub fn docker_things(&self) -> String {
        let script = "docker ps -a --format '{{.Names}} {{.Image}}'; docker image ls --format '{{.Repository}}:{{.Tag}}'; \
                      docker network ls --format '{{.Name}}'; docker volume ls -q";
        self.shell(script).run().exits(0).out().into_owned()
    }

    /// Its compose: `v1`, `v2` under both spellings, or `v2-plugin`.
    pub fn use_compose(&self, version: &str) {
        script(&["compose", &self.name, version]);
    }

    /// Takes its network away.
    pub fn cut_off(&self) {
        docker(&["network", "disconnect", "--force", &self.set.name, &self.name]);
    }

    /// Gives it back.
    pub fn reconnect(&self) {
        docker(&["network", "connect", "--ip", &self.address, &self.set.name, &self.name]);
    }

    /// Ends every process of it at once, as a power cut would; unlike there, what was written is on the disk.
    pub fn kill(&self) {
        docker(&["kill", "--signal", "KILL", &self.name]);
    }

    /// Boots it again after [`ContainerHost::kill`] and waits until its Docker answers.
    pub fn boot(&self) {
        docker(&["start", &self.name]);
        self.wait_until("its Docker answers", || self.call("docker info").run().code == Some(0));
    }

    /// Waits for something to become true.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_true() {
            assert!(start.elapsed() < Duration::from_secs(60), "{}: waited a minute until {what}", self.name);
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Host for ContainerHost {
    fn program(&self) -> Vec<String> {
        vec![PROGRAM.to_owned()]
    }

    fn command(&self, call: &Call) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", "--interactive"]);
        for (name, value) in &call.env {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.arg(&self.name).args(&call.words);
        command
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
        let mut last = self.last_snapshot.lock().expect("nobody panics with it");
        *last = Snapshot::take(self, "/", NOT_ON_DISK, &last);
        last.clone()
    }

    fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

impl Drop for ContainerHost {
    fn drop(&mut self) {
        self.evidence.keep_on_failure(|dir| {
            for (file, script) in [
                ("journal.ndjson", "cat /var/lib/mitigator-vpn/journal.ndjson"),
                ("systemd.log", "journalctl -b --no-pager | tail -n 300"),
                ("docker.txt", "docker ps -a; docker image ls; docker network ls"),
                (
                    "gateway.log",
                    "docker ps -aq --filter label=com.docker.compose.service=gateway | xargs -r -n1 docker logs 2>&1",
                ),
                ("instance.txt", "cd /srv/mitigator && ls -lai && cat docker-compose*.yml .env vpn-public.conf"),
                ("network.txt", "ip address; ip route; ss -lunp; nft list ruleset"),
            ] {
                let kept = Command::new("docker").args(["exec", &self.name, "sh", "-c", script]).output();
                let bytes = kept.map(|out| [out.stdout, out.stderr].concat()).unwrap_or_default();
                let _ = std::fs::write(dir.join(file), bytes);
            }
        });
    }
}

#[track_caller]
fn script(words: &[&str]) -> String {
    let out = Command::new(SCRIPT).args(words).output().expect("scripts/hosts is there");
    said("scripts/hosts", words, &out)
}

#[track_caller]
fn docker(words: &[&str]) -> String {
    let out = Command::new("docker").args(words).output().expect("docker is there");
    said("docker", words, &out)
}

#[track_caller]
fn said(program: &str, words: &[&str], out: &Output) -> String {
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {}: {}: {err}", words.join(" "), out.status);
    String::from_utf8_lossy(&out.stdout).into_owned()
}
