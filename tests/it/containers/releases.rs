//! A cluster over the releases of Debian that can be had, each with the compose it brings: 1.25, 1.29 and 2.

use std::cell::RefCell;
use std::path::PathBuf;

use crate::support::Host;
use crate::support::container::{ContainerHost, NO_MODULES_HERE};
use crate::support::life::{self, Node, PUBLIC, Tier};
use crate::support::machine::Machine;

const PEERS: &str = "/tmp/peers.conf";

/// Container hosts, on each of which the operator does what the README says.
struct Containers {
    ssh_config: PathBuf,
    spare: RefCell<Option<ContainerHost>>,
}

impl Node for ContainerHost {
    const RESERVATION: &str = NO_MODULES_HERE;

    fn name(&self) -> &str {
        Machine::name(self)
    }

    fn restart(&self) {
        self.kill();
        self.boot();
    }
}

impl Tier for Containers {
    type Node = ContainerHost;

    /// Debian 11 has no wireguard-go, and a container no module: there the VPN works if the stack's own image brings
    /// what stands in for it. Such a stack has the image of a member that runs another release.
    fn prepare(&self, members: &[ContainerHost], newcomer: &ContainerHost) {
        if newcomer.call("apt-cache show wireguard-go").run().code == Some(0) {
            return;
        }
        newcomer.vpn("preflight --stack default").run().exits(3).says("apt has no WireGuard in userspace");
        let image = "docker image ls --format '{{.Repository}}:{{.Tag}}' mitigator-vpn-gateway";
        let save = format!(
            "docker tag $({image}) vendor/gateway:21 && docker save vendor/gateway:21 && docker rmi vendor/gateway:21 >&2"
        );
        let saved = members[0].shell(&save).run().exits(0).stdout;
        newcomer.call("docker load").stdin(saved).run().exits(0);
        let stack = "version: \"2.2\"\nservices:\n  gateway:\n    image: vendor/gateway:21\n    network_mode: host\n    \
                     cap_add: [NET_ADMIN]\n    devices: [/dev/net/tun]\n    restart: unless-stopped\n";
        newcomer.write("/srv/mitigator/docker-compose.yml", stack);
    }

    fn join(&self, members: &[ContainerHost], newcomer: &ContainerHost, n: u8) {
        let mut install = newcomer.install(n);
        if let Some(member) = members.first() {
            newcomer.write(PEERS, member.text(PUBLIC));
            install = install.arg("--peers").arg(PEERS);
        }
        install.run().exits_with_one_of(&[0, 5]);
        // The others hear of it only now, and the first of them that there is somebody to tell yet.
        for member in members {
            member.write(PEERS, newcomer.text(PUBLIC));
            let told = member.vpn(&format!("install --yes --peers {PEERS} {NO_MODULES_HERE}")).run();
            told.exits_with_one_of(&[0, 5]);
        }
    }

    fn again(&self, members: &[ContainerHost]) {
        for (n, member) in (1..).zip(members) {
            let again = member.install(n).arg("--json").run().exits(0);
            assert_eq!(again.json()["steps"], serde_json::json!([]), "{again}");
        }
    }

    fn one_more(&self, members: &[ContainerHost]) -> ContainerHost {
        let spare = self.spare.take().expect("it is asked for once");
        self.join(members, &spare, 4);
        spare
    }

    fn ssh_config(&self) -> PathBuf {
        self.ssh_config.clone()
    }
}

#[test]
fn a_cluster_over_three_releases_of_debian_lives_and_leaves_every_host_as_it_was() {
    let suites = ["bookworm", "trixie", "bullseye", "bookworm"];
    let Some([bookworm, trixie, bullseye, spare]) = ContainerHost::cluster_of("releases", suites) else { return };
    spare.use_compose("v2-plugin");
    let containers = Containers { ssh_config: spare.ssh_config(), spare: RefCell::new(Some(spare)) };
    life::live(&containers, &[bookworm, trixie, bullseye]);
}
