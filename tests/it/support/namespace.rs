//! A host in namespaces: one of many. Its files, its network, sshd and WireGuard (in user space) are real; there is no
//! systemd, and its Docker is a simulation (`scripts/lib/namespace/docker`) that runs the real gateway.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use super::Host;
use super::call::Call;
use super::evidence::Evidence;
use super::snapshot::{NOT_ON_DISK, Snapshot};
use super::tree::TreeHost;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/namespaces");
/// Where scripts/namespaces keeps its sets.
const SETS: &str = "/run/mitigator-vpn-testbed/namespaces";
const PROGRAM: &str = "/opt/mitigator-vpn/mitigator-vpn";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One of them.
pub struct NamespaceHost {
    name: String,
    address: String,
    dir: PathBuf,
    /// The upper layer of its root: the files it has written.
    disk: TreeHost,
    evidence: Evidence,
    last_snapshot: Mutex<Snapshot>,
    _set: Arc<Set>,
}

/// Hosts on one network. They are removed together.
struct Set {
    name: String,
}

impl Drop for Set {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT).args(["down", &self.name]).output();
    }
}

impl NamespaceHost {
    /// `count` hosts that reach each other; `None`, reported as a SKIP, where none can be made.
    pub fn fleet(label: &str, count: usize) -> Option<Vec<Self>> {
        let prefix = std::env::var("MITIGATOR_VPN_TEST_PREFIX").ok().filter(|prefix| !prefix.is_empty());
        let Some(prefix) = prefix else {
            super::skip("MITIGATOR_VPN_TEST_PREFIX is not set; scripts/test sets it");
            return None;
        };
        let set = Arc::new(Set { name: format!("{prefix}-{label}") });
        let listed = script(&["up", &set.name, &count.to_string()]);
        Some(listed.lines().map(|line| Self::of(line, &set)).collect())
    }

    fn of(line: &str, set: &Arc<Set>) -> Self {
        let (name, address) = line.split_once(' ').expect("a name and an address");
        let number = name.rsplit('-').next().expect("a name ends with a number");
        let dir = Path::new(SETS).join(&set.name).join(number);
        NamespaceHost {
            disk: TreeHost::of(&dir.join("disk/up"), Evidence::of(&format!("{name}-disk"))),
            evidence: Evidence::of(name),
            name: name.to_owned(),
            address: address.to_owned(),
            dir,
            last_snapshot: Mutex::default(),
            _set: Arc::clone(set),
        }
    }

    /// Its name: also the alias that the operator's ssh knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the hosts' network, for `--endpoint`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The operator's ssh configuration: aliases and keys; host keys are checked strictly.
    pub fn ssh_config(&self) -> PathBuf {
        self.dir.with_file_name("ssh_config")
    }

    /// The known_hosts file of that ssh, one line a host.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.with_file_name("known_hosts")
    }

    /// Runs a command over the operator's ssh, with more options.
    pub fn ssh(&self, options: &[&str], command: &str) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.ssh_config()).args(options).args([&self.name, command]).stdin(Stdio::null());
        ssh.output().expect("ssh is installed")
    }

    /// The path on this machine of a file that the host has written. It can be read at any moment.
    pub fn on_disk(&self, path: &str) -> PathBuf {
        self.disk.at(path)
    }

    /// Takes its network away: packets to it are dropped without an answer.
    pub fn cut_off(&self) {
        script(&["cut", &self.name]);
    }

    /// Gives its network back.
    pub fn reconnect(&self) {
        script(&["plug", &self.name]);
    }

    /// Kills all its processes at once. What they have written stays on its disk.
    pub fn kill(&self) {
        script(&["kill", &self.name]);
    }

    /// Boots it again after [`NamespaceHost::kill`].
    pub fn boot(&self) {
        script(&["boot", &self.name]);
    }

    /// Its Docker daemon stops answering; the gateway keeps running.
    pub fn stop_docker(&self) {
        fs::rename(self.dir.join("run/docker.sock"), self.dir.join("run/docker.sock.off")).expect("it ran");
    }

    /// Its Docker daemon answers again.
    pub fn start_docker(&self) {
        fs::rename(self.dir.join("run/docker.sock.off"), self.dir.join("run/docker.sock")).expect("it was stopped");
    }

    /// Fills its disk to the last byte.
    pub fn fill_disk(&self) {
        let mut filler = File::create(self.filler()).expect("our own file");
        for piece in [vec![0; 1 << 20], vec![0]] {
            while filler.write_all(&piece).is_ok() {}
        }
    }

    /// Frees its disk again.
    pub fn free_disk(&self) {
        fs::remove_file(self.filler()).expect("it was full");
    }

    /// The file that fills the disk, outside the host's root.
    fn filler(&self) -> PathBuf {
        self.dir.join("disk/filler")
    }

    /// Makes its root read-only.
    pub fn make_read_only(&self) {
        self.call("mount -o remount,ro,bind /").run().exits(0);
    }

    /// Makes its root writable again.
    pub fn make_writable(&self) {
        self.call("mount -o remount,rw,bind /").run().exits(0);
    }

    /// Stops sshd with SIGSTOP: connections are accepted and get no answer.
    pub fn hang(&self) {
        self.call("pkill -STOP -o -x sshd").run().exits(0);
    }

    /// Lets sshd continue.
    pub fn unhang(&self) {
        self.call("pkill -CONT -o -x sshd").run().exits(0);
    }

    /// Stops sshd: connections are refused.
    pub fn stop_sshd(&self) {
        self.call("pkill -o -x sshd").run().exits(0);
    }

    /// Starts sshd again.
    pub fn start_sshd(&self) {
        self.call("/usr/sbin/sshd").run().exits(0);
    }

    /// The pid of its first process.
    fn pid(&self) -> String {
        fs::read_to_string(self.dir.join("pid")).expect("it has been up").trim().to_owned()
    }
}

impl Host for NamespaceHost {
    fn program(&self) -> Vec<String> {
        vec![PROGRAM.to_owned()]
    }

    fn command(&self, call: &Call) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid(), "--mount", "--uts", "--pid", "--net", "--"]);
        command.args(["env", "-i", "--chdir=/root", "HOME=/root", PATH]);
        command.args(call.env.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(&call.words);
        command
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(format!("/proc/{}/root{path}", self.pid())).ok()
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = PathBuf::from(format!("/proc/{}/root{path}", self.pid()));
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("its root can be written");
        fs::write(path, bytes).expect("its root can be written");
    }

    /// The files it has written or changed: what it hasn't touched is not in its upper layer.
    fn snapshot(&self) -> Snapshot {
        let mut last = self.last_snapshot.lock().expect("nobody panics with it");
        *last = Snapshot::take(&self.disk, &self.disk.at("/").display().to_string(), NOT_ON_DISK, &last);
        last.clone()
    }

    fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

impl Drop for NamespaceHost {
    fn drop(&mut self) {
        self.evidence.keep_on_failure(|dir| {
            let _ = fs::copy(self.dir.join("run/gateway.log"), dir.join("gateway.log"));
            let _ = fs::copy(self.dir.join("log"), dir.join("init.log"));
        });
    }
}

#[track_caller]
fn script(words: &[&str]) -> String {
    let out = Command::new(SCRIPT).args(words).output().expect("scripts/namespaces is there");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "scripts/namespaces {}: {said}", words.join(" "));
    String::from_utf8_lossy(&out.stdout).into_owned()
}
