//! ssh through the VPN itself: a change that could cut it off stays only if a new connection confirms it.

use super::cluster::{Cluster, FILE, said_of};
use crate::support::Host;

/// The second host is reached by its VPN address alone, through the first. `condition` is a shell's, for every
/// connection to it.
fn reach_through_the_vpn(cluster: &Cluster, condition: &str) {
    let (jump, inside) = (cluster.host(1), cluster.host(2));
    let set = jump.ssh_config();
    let config = format!(
        "Host inside\n  HostName 10.8.3.2\n  HostKeyAlias {}\n  \
         ProxyCommand sh -c '{condition} && exec ssh -F {} -W %h:%p {}'\nMatch all\n  Include {}\n",
        inside.address(),
        set.display(),
        jump.name(),
        set.display()
    );
    cluster.operator.write("ssh_config", config);
    let toml = cluster.operator.text(FILE);
    cluster.operator.write(FILE, toml.replace(&format!("ssh = \"{}\"", inside.name()), "ssh = \"inside\""));
}

#[test]
fn a_change_over_the_vpn_stays_once_a_new_connection_confirms_it_and_is_taken_back_without_one() {
    let Some(mut cluster) = Cluster::up("way-in", 4, 3) else { return };
    cluster.call("apply").run().exits(0);
    let three = cluster.list(2);
    reach_through_the_vpn(&cluster, "echo once >>connections");
    cluster.config = Some("ssh_config");

    cluster.add(4).run().exits(0);
    cluster.assert_agree(1..=4, 4);
    assert_eq!(cluster.operator.text("connections").lines().count(), 2, "one to work over, one to confirm by");
    let guards = cluster.host(2).shell("ls /var/lib/mitigator-vpn").run();
    assert!(!guards.out().contains("guard"), "{guards}");
    cluster.call("status").run().exits(0);

    // From now on only the first connection of each run works.
    reach_through_the_vpn(&cluster, "mkdir first");
    let four = cluster.list(2);
    let ran = cluster.call("remove h4 --confirm-within 3").run().exits(5);
    assert!(said_of(&ran, 2)["reason"].as_str().is_some_and(|reason| reason.contains("new connection")), "{ran}");
    assert_eq!(cluster.list(2), four, "the host itself has taken it back\n{ran}");

    // New connections work again, and the next run completes the change.
    reach_through_the_vpn(&cluster, "true");
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(1..=3, 3);
    assert_eq!(cluster.list(2), three);
}
