//! A host in a container. It has no kernel of its own, so the gateway's WireGuard runs in user space.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Host;
use super::call::Call;
use super::machine::{Machine, Maker, PROGRAM, Site, run};

/// Ignores the check that such a host fails when this machine's kernel has no WireGuard.
pub const NO_MODULES_HERE: &str = "--ignore kernel-wireguard";

const MAKER: Maker =
    Maker { script: concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/hosts"), ready: "MITIGATOR_VPN_TEST_IMAGE" };

/// One of them.
pub struct ContainerHost {
    site: Site,
}

impl ContainerHost {
    /// A fresh one with the program under test in it; `None`, reported as a SKIP, where none can be made.
    pub fn up(label: &str) -> Option<Self> {
        Self::cluster(label).map(|[host]: [Self; 1]| host)
    }

    /// Several that reach each other.
    pub fn cluster<const N: usize>(label: &str) -> Option<[Self; N]> {
        Self::cluster_of(label, ["bookworm"; N])
    }

    /// Several of these releases of Debian.
    pub fn cluster_of<const N: usize>(label: &str, suites: [&str; N]) -> Option<[Self; N]> {
        let (sites, program) = MAKER.up(label, N, &suites.join(","))?;
        let hosts: Vec<Self> = sites.into_iter().map(|site| ContainerHost { site }).collect();
        for host in &hosts {
            docker(&["cp", &program.display().to_string(), &format!("{}:{PROGRAM}", host.name())]);
        }
        hosts.try_into().ok()
    }

    /// The operator's ssh configuration, which knows the hosts by name.
    pub fn ssh_config(&self) -> PathBuf {
        Path::new("/run/mitigator-vpn-testbed/hosts").join(format!("{}.ssh_config", self.site.set.name))
    }

    /// Selects its compose: `v1`, `v2` (both spellings), or `v2-plugin`.
    pub fn use_compose(&self, version: &str) {
        run(MAKER.script, &["compose", self.name(), version]);
    }

    /// Takes its network away.
    pub fn cut_off(&self) {
        docker(&["network", "disconnect", "--force", &self.site.set.name, self.name()]);
    }

    /// Gives its network back.
    pub fn reconnect(&self) {
        docker(&["network", "connect", "--ip", self.address(), &self.site.set.name, self.name()]);
    }
}

impl Machine for ContainerHost {
    const RESERVATION: &str = NO_MODULES_HERE;
    const PATIENCE: Duration = Duration::from_secs(180);

    fn site(&self) -> &Site {
        &self.site
    }

    fn enter(&self, call: &Call) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", "--interactive"]);
        for (name, value) in &call.env {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.arg(self.name()).args(&call.words);
        command
    }

    /// Kills all its processes at once. Unlike after a power cut, all written data is on the disk.
    fn kill(&self) {
        docker(&["kill", "--signal", "KILL", self.name()]);
    }

    fn boot(&self) {
        docker(&["start", self.name()]);
        self.wait_until("its Docker answers", || self.call("docker info").run().code == Some(0));
    }
}

impl Drop for ContainerHost {
    fn drop(&mut self) {
        self.keep_evidence(|_| {});
    }
}

#[track_caller]
fn docker(words: &[&str]) -> String {
    run("docker", words)
}
