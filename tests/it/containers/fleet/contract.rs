//! The documents and exit codes of `cluster` are those recorded in `tests/documents/`.

use super::cluster::{Cluster, FILE};
use crate::support::Host;
use crate::support::golden::Golden;

/// Checks whose result depends on the machine that runs the test.
const OF_THIS_MACHINE: &[&str] = &[
    "virtualization",
    "clock",
    "kernel-wireguard",
    "kernel-next",
    "secure-boot",
    "memory",
    "disk-space",
    "reboot-required",
];

#[test]
fn the_documents_of_a_cluster_are_as_recorded() {
    let Some(cluster) = Cluster::up("contract", 4, 3) else { return };
    let first = cluster.host(1);
    let (set, _) = first.name().rsplit_once('-').expect("a name ends with a number");
    let (network, _) = first.address().rsplit_once('.').expect("an address");
    let mut golden = Golden::of("cluster.txt")
        .mask(set, "(set)")
        .mask(format!("{network}."), "10.96.x.")
        .without_findings(OF_THIS_MACHINE);
    let mut note = |words: &str| golden.note(words, &cluster.call(words).run());

    note("status");
    note("plan");
    note("apply");
    note("status");
    note("plan");
    note("apply");
    let newcomer = cluster.host(4);
    let add = format!("add h4 --ssh {} --vpn-address 10.8.3.4 --endpoint {}", newcomer.name(), newcomer.address());
    note(&add);
    note("status");
    note("rotate h3");
    note("remove h4");
    note("remove h4");

    // The third member's new endpoint is wrong.
    let toml = cluster.operator.text(FILE);
    let right = format!("endpoint = \"{}\"", cluster.host(3).address());
    cluster.operator.write(FILE, toml.replace(&right, &right.replace(".3\"", ".250\"")));
    note("plan");
    note("apply");
    cluster.operator.write(FILE, &toml);
    note("apply");

    cluster.host(2).kill();
    note("plan");
    note("apply");
    note("status");
    cluster.host(2).boot();
    cluster.host(3).stop_docker();
    note("status");
    cluster.host(3).start_docker();
    cluster.operator.write(FILE, toml.replace("name = \"h2\"", "name = \"h1\""));
    note("status");
    note("apply");
    golden.assert_as_recorded();
}
