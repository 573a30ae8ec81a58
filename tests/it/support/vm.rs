//! A virtual machine: a kernel of its own, and a disk that keeps only flushed data over a power cut. It is emulated, so
//! everything takes ten times as long.

use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::Host;
use super::call::Call;
use super::machine::{Machine, Maker, PROGRAM, Site, run};
use super::snapshot::Snapshot;

const MAKER: Maker =
    Maker { script: concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/vms"), ready: "MITIGATOR_VPN_TEST_VM" };

/// One of them.
pub struct VmHost {
    site: Site,
}

/// The last snapshot of any of them. They all start from one disk, so a file that is known from one need not be read on
/// another.
static SEEN: Mutex<Snapshot> = Mutex::new(Snapshot::NOTHING);

impl VmHost {
    /// A fresh one with the program under test in it; `None`, reported as a SKIP, where none can be made.
    pub fn up(label: &str) -> Option<Self> {
        Self::cluster(label).map(|[host]: [Self; 1]| host)
    }

    /// As [`VmHost::up`], with the kernel, apt and Docker of that suite.
    pub fn of(suite: &str, label: &str) -> Option<Self> {
        Self::several(label, suite).map(|[host]: [Self; 1]| host)
    }

    /// Several that reach each other.
    pub fn cluster<const N: usize>(label: &str) -> Option<[Self; N]> {
        Self::several(label, "bookworm")
    }

    fn several<const N: usize>(label: &str, suite: &str) -> Option<[Self; N]> {
        let (sites, program) = MAKER.up(label, N, suite)?;
        let hosts: Vec<Self> = sites.into_iter().map(|site| VmHost { site }).collect();
        let program = std::fs::read(program).expect("scripts/test has built it");
        for host in &hosts {
            host.write(PROGRAM, &program);
            // flushed, so that a power cut leaves the program on the disk
            host.shell("chmod 755 $0 && sync").arg(PROGRAM).run().exits(0);
        }
        hosts.try_into().ok()
    }

    /// The modules loaded in its kernel.
    pub fn modules(&self) -> Vec<String> {
        self.call("ls /sys/module").run().exits(0).out().lines().map(str::to_owned).collect()
    }

    /// Boots it after [`Machine::kill`] with this one of its kernels.
    pub fn boot_with(&self, kernel: &str) {
        run(MAKER.script, &["boot", self.name(), kernel]);
    }

    /// Reboots it into its newest kernel and waits until everything in it has started.
    pub fn reboot(&self) {
        run(MAKER.script, &["reboot", self.name()]);
    }
}

impl Machine for VmHost {
    const PATIENCE: Duration = Duration::from_secs(600);

    fn site(&self) -> &Site {
        &self.site
    }

    fn seen(&self) -> &Mutex<Snapshot> {
        &SEEN
    }

    fn enter(&self, call: &Call) -> Command {
        let mut command = Command::new(MAKER.script);
        // ssh would pass on the developer's locale.
        command.args(["ssh", self.name()]).env("LC_ALL", "C.UTF-8");
        if !call.env.is_empty() {
            command.arg("env").args(call.env.iter().map(|(name, value)| quoted(&format!("{name}={value}"))));
        }
        command.args(call.words.iter().map(|word| quoted(word)));
        command
    }

    /// Cuts its power: data not flushed to its disk is lost.
    fn kill(&self) {
        run(MAKER.script, &["cut", self.name()]);
    }

    /// Boots it. Its file system is checked on the way.
    fn boot(&self) {
        run(MAKER.script, &["boot", self.name()]);
    }
}

impl Drop for VmHost {
    fn drop(&mut self) {
        self.keep_evidence(|dir| {
            // Its console and its network capture, before the questions below add to them.
            for kind in ["console", "pcap"] {
                let copied = Command::new(MAKER.script).args(["show", self.name(), kind]).output();
                let _ = std::fs::write(dir.join(kind), copied.map(|out| out.stdout).unwrap_or_default());
            }
        });
    }
}

/// Quotes a word for the remote shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
