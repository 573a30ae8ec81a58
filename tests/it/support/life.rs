//! The life of a cluster: bare hosts join one after the other, one more joins and leaves, a host loses its power, and at
//! the end everything is undone. How hosts are made and join differs from tier to tier; the assertions don't.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::Host;
use super::call::Ran;
use super::snapshot::{PACKAGES_CAME_AND_WENT, Snapshot};

/// The peer list, the same on all members.
pub const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";

/// How long a member may take to be healthy after a change, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A host that can be a member.
pub trait Node: Host + Sized {
    /// Options that every command needs there.
    const RESERVATION: &str;

    /// Its name, also for ssh.
    fn name(&self) -> &str;

    /// Takes its power away and gives it back.
    fn restart(&self);
}

/// A kind of host: how it is made and how it becomes a member.
pub trait Tier {
    /// The host's type.
    type Node: Node;

    /// Prepares a node before the program runs on it for the first time.
    fn prepare(&self, _members: &[Self::Node], _newcomer: &Self::Node) {}

    /// Makes it the `n`th member; `members` are there already.
    fn join(&self, members: &[Self::Node], newcomer: &Self::Node, n: u8);

    /// Installs once more on all of them.
    fn again(&self, members: &[Self::Node]);

    /// Makes one more node and has it join.
    fn one_more(&self, members: &[Self::Node]) -> Self::Node;

    /// An ssh configuration for root on all of them.
    fn ssh_config(&self) -> PathBuf;
}

/// Runs the whole life on these bare hosts.
pub fn live<T: Tier>(tier: &T, nodes: &[T::Node]) {
    let mut bare = Vec::new();
    for (n, newcomer) in nodes.iter().enumerate() {
        let members = &nodes[..n];
        tier.prepare(members, newcomer);
        bare.push(Bare::of(newcomer));
        newcomer.vpn(&format!("preflight --stack default {}", T::Node::RESERVATION)).run().exits(0);
        tier.join(members, newcomer, number(n));
    }
    all_reach_each_other(tier, nodes, None);

    let installed: Vec<_> = nodes.iter().map(|node| (node.snapshot(), gateway(node))).collect();
    tier.again(nodes);
    for (node, (files, gateway)) in nodes.iter().zip(&installed) {
        files.is_untouched_in(&node.snapshot());
        assert_eq!(&self::gateway(node), gateway, "{}: the gateway was not disturbed", node.name());
    }

    let newcomer = tier.one_more(nodes);
    all_reach_each_other(tier, nodes, Some(&newcomer));
    for node in nodes {
        node.vpn(&format!("peers remove {}", vpn_address(nodes.len()))).run().exits(0);
        node.vpn(&format!("install --yes {}", T::Node::RESERVATION)).run().exits(0);
    }
    newcomer.vpn("undo --yes").run().exits(0);
    for (node, (_, gateway)) in nodes.iter().zip(&installed) {
        assert_eq!(&self::gateway(node), gateway, "{}: who comes and leaves restarts nobody", node.name());
    }

    nodes[1].restart();
    all_reach_each_other(tier, nodes, None);

    for (node, bare) in nodes.iter().zip(&bare) {
        node.vpn("undo --yes").run().exits(0);
        bare.is_given_back_in(&Bare::of(node));
    }
}

/// The state of a host before the first install, to be compared with its state after the undo.
struct Bare {
    packages: String,
    docker: String,
    files: Snapshot,
}

impl Bare {
    fn of(node: &impl Host) -> Self {
        let packages = node.call("dpkg-query -W -f ${Package}=${Version}:${db:Status-Status}\\n").run().exits(0);
        let docker = "docker ps -a --format '{{.Names}} {{.Image}}'; docker network ls --format '{{.Name}}'; \
                      docker image ls --format '{{.Repository}}:{{.Tag}}'; docker volume ls -q";
        let docker = node.shell(docker).run().exits(0);
        let files = node.snapshot().without(PACKAGES_CAME_AND_WENT);
        Bare { packages: packages.out().into_owned(), docker: docker.out().into_owned(), files }
    }

    #[track_caller]
    fn is_given_back_in(&self, later: &Self) {
        assert_eq!(self.packages, later.packages);
        assert_eq!(self.docker, later.docker);
        self.files.is_given_back_in(&later.files);
    }
}

/// The id and the start time of the gateway's container.
fn gateway(node: &impl Host) -> String {
    let script = "docker ps -q --filter label=com.docker.compose.service=gateway | \
                  xargs docker inspect -f '{{.Id}} {{.State.StartedAt}}'";
    node.shell(script).run().exits(0).out().into_owned()
}

fn number(at: usize) -> u8 {
    u8::try_from(at + 1).expect("there are few")
}

fn vpn_address(at: usize) -> String {
    format!("10.8.3.{}", number(at))
}

/// All members have the same list and a clean status, and each reaches each other one by handshake and ping.
fn all_reach_each_other<T: Tier>(tier: &T, nodes: &[T::Node], newcomer: Option<&T::Node>) {
    let nodes: Vec<&T::Node> = nodes.iter().chain(newcomer).collect();
    for node in &nodes {
        let status = clean_status(*node);
        let others = status.json()["instance"]["members"].as_array().map(Vec::len);
        assert_eq!(others, Some(nodes.len() - 1), "{status}");
        assert_eq!(node.text(PUBLIC), nodes[0].text(PUBLIC), "{} has another list", node.name());
    }
    let matrix = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/matrix");
    let pairs = nodes.iter().enumerate().map(|(at, node)| format!("{}={}", node.name(), vpn_address(at)));
    let picture = Command::new(matrix).arg(tier.ssh_config()).args(pairs).output().expect("it is there");
    eprintln!("{}", String::from_utf8_lossy(&picture.stdout));
    let said = String::from_utf8_lossy(&picture.stderr);
    assert!(picture.status.success(), "not everybody is reached; the picture is above\n{said}");
}

/// Waits for a clean status: after a restart or a new member it takes a moment.
#[track_caller]
fn clean_status<N: Node>(node: &N) -> Ran {
    let start = Instant::now();
    loop {
        let status = node.vpn(&format!("status --json {}", N::RESERVATION)).run();
        if status.code == Some(0) {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "{} isn't as it should be\n{status}", node.name());
        thread::sleep(Duration::from_millis(500));
    }
}
