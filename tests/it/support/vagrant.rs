//! The nodes of vagrant/, with any of its providers.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::Host;
use super::call::Call;
use super::evidence::Evidence;
use super::life::{Node, Tier};
use super::snapshot::{Exclusion, NOT_ON_DISK, Snapshot};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vagrant");

/// Never compared: the provider writes it at each start.
const PROVIDERS: &[Exclusion] = &[("/etc/resolv.conf", "Docker and DHCP clients write it with each start")];

/// All nodes. They are destroyed when this is dropped.
pub struct Lab {
    provider: String,
    /// The ssh configuration and the sockets of its shared connections.
    dir: tempfile::TempDir,
}

impl Lab {
    /// A lab without nodes; `None`, reported as a SKIP, where there is no provider.
    pub fn new() -> Option<Self> {
        let Ok(provider) = std::env::var("MITIGATOR_VPN_TEST_VAGRANT") else {
            super::skip("MITIGATOR_VPN_TEST_VAGRANT is not set; scripts/vagrant-test sets it");
            return None;
        };
        Some(Lab { provider, dir: tempfile::tempdir().expect("a temporary directory") })
    }

    /// Starts these nodes. The program is on them and has not run yet.
    pub fn bare<const N: usize>(&self, names: [&str; N]) -> [VagrantHost; N] {
        let up = ["up", "--provider", &self.provider, "--provision-with", "program,server"];
        vagrant(&[&up[..], &names].concat());
        self.write_ssh_config();
        names.map(|name| self.node(name))
    }

    fn node(&self, name: &str) -> VagrantHost {
        let (name, evidence) = (name.to_owned(), Evidence::of(name));
        VagrantHost { name, ssh_config: self.ssh_config(), evidence, last_snapshot: Mutex::default() }
    }

    /// Writes the ssh configuration: as root, over one shared connection a node, without `vagrant ssh`.
    fn write_ssh_config(&self) {
        // it fails for nodes that don't exist and prints the others
        let asked = Command::new("vagrant").arg("ssh-config").current_dir(DIR).output().expect("vagrant is there");
        let mut config = String::from("Host *\n  User root\n  ControlMaster auto\n  ControlPersist 60\n");
        config += &format!("  ControlPath {}/%C\n", self.dir.path().display());
        // ssh takes the first value of an option
        config += &String::from_utf8_lossy(&asked.stdout);
        fs::write(self.ssh_config(), config).expect("a temporary directory");
    }
}

impl Tier for Lab {
    type Node = VagrantHost;

    fn join(&self, _: &[VagrantHost], newcomer: &VagrantHost, _: u8) {
        vagrant(&["provision", &newcomer.name, "--provision-with", "member"]);
    }

    fn again(&self, _: &[VagrantHost]) {
        vagrant(&["provision"]);
    }

    fn one_more(&self, members: &[VagrantHost]) -> VagrantHost {
        let name = format!("node-{}", members.len() + 1);
        vagrant(&["up", "--provider", &self.provider, &name]);
        self.write_ssh_config();
        self.node(&name)
    }

    fn ssh_config(&self) -> PathBuf {
        self.dir.path().join("ssh_config")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new("vagrant").args(["destroy", "--force"]).current_dir(DIR).output();
    }
}

/// One of them.
pub struct VagrantHost {
    name: String,
    ssh_config: PathBuf,
    evidence: Evidence,
    last_snapshot: Mutex<Snapshot>,
}

impl Node for VagrantHost {
    const RESERVATION: &str = "";

    fn name(&self) -> &str {
        &self.name
    }

    fn restart(&self) {
        vagrant(&["halt", "--force", &self.name]);
        // the shared connection is dead now
        let _ = Command::new("ssh").arg("-F").arg(&self.ssh_config).args(["-O", "exit", &self.name]).output();
        vagrant(&["up", "--no-provision", &self.name]);
    }
}

impl Host for VagrantHost {
    fn program(&self) -> Vec<String> {
        vec!["mitigator-vpn".to_owned()]
    }

    fn command(&self, call: &Call) -> Command {
        let mut command = Command::new("ssh");
        // ssh would pass on the developer's locale
        command.arg("-F").arg(&self.ssh_config).arg(&self.name).env("LC_ALL", "C.UTF-8");
        // quoted for the remote shell
        command.args(call.words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))));
        command
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let ran = self.call("cat").arg(path).run();
        (ran.code == Some(0)).then_some(ran.stdout)
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        self.shell(r#"cat >"$0""#).arg(path).stdin(bytes.as_ref()).run().exits(0);
    }

    fn snapshot(&self) -> Snapshot {
        let mut last = self.last_snapshot.lock().expect("nobody panics with it");
        *last = Snapshot::take(self, "/", NOT_ON_DISK, &last);
        last.clone().without(PROVIDERS)
    }

    fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

impl Drop for VagrantHost {
    fn drop(&mut self) {
        self.evidence.keep_on_failure(|dir| {
            let journal = self.read("/var/lib/mitigator-vpn/journal.ndjson").unwrap_or_default();
            let _ = fs::write(dir.join("journal.ndjson"), journal);
        });
    }
}

/// Runs vagrant; its output goes to ours.
#[track_caller]
fn vagrant(words: &[&str]) {
    eprintln!("vagrant {}", words.join(" "));
    let status = Command::new("vagrant").args(words).current_dir(DIR).stdin(Stdio::null()).status();
    assert!(status.expect("vagrant is there").success(), "vagrant {} failed; what it said is above", words.join(" "));
}
