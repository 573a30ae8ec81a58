//! The operator's cluster.toml: what can't be read touches nobody, and what breaks in the middle of a run ends none.

use super::cluster::{Cluster, FILE, said_of};
use crate::support::Host;

/// What says which system a host has.
const RELEASE: &str = "/usr/lib/os-release";

#[test]
fn a_cluster_file_without_instances_is_bad_input_for_all_but_add() {
    let Some(cluster) = Cluster::up("empty", 1, 1) else { return };
    for text in ["", "\n", "# ours\n", "\u{feff}", "[defaults]\nport = 4567\n"] {
        cluster.operator.write(FILE, text);
        for command in ["apply", "plan", "status", "remove h1", "rotate h1"] {
            cluster.call(command).run().exits(2).says("no [[instance]] in it");
        }
        assert_eq!(cluster.operator.text(FILE), text);
    }
    cluster.call("apply -f other.toml").run().exits(2).says("no such file");

    let begun = "# ours\n";
    cluster.operator.write(FILE, begun);
    cluster.add(1).run().exits(0);
    assert!(cluster.operator.text(FILE).starts_with(begun));
    cluster.call("status").run().exits(0);
}

#[test]
fn a_cluster_file_that_breaks_during_a_run_is_told_and_the_run_goes_on_with_what_it_had() {
    for (label, broken) in [("broken", Some("[[instance\n")), ("gone", None)] {
        let Some(cluster) = Cluster::up(label, 3, 2) else { return };
        cluster.call("apply").run().exits(0);
        let toml = cluster.operator.text(FILE);
        let running = cluster.add(3).start();
        // By then the file has been written and the rollout is under way.
        while cluster.list(1).is_none_or(|list| !list.contains("10.8.3.3/32")) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        match broken {
            Some(text) => cluster.operator.write(FILE, text),
            None => std::fs::remove_file(cluster.operator.at(FILE)).expect("it is there"),
        }
        let ran = running.wait().exits(0);
        assert!(ran.json()["next"].to_string().contains("cluster.toml was changed under this run"), "{ran}");
        cluster.assert_agree(1..=3, 3);
        cluster.operator.write(FILE, toml);
    }
}

/// A declared host that gets no key adds nothing to the list.
#[test]
fn members_stay_untouched_while_a_declared_host_can_not_be_changed() {
    let Some(cluster) = Cluster::up("keyless", 3, 2) else { return };
    cluster.call("apply").run().exits(0);
    cluster.declare(1..=3);
    let release = cluster.host(3).text(RELEASE);
    cluster.host(3).write(RELEASE, "ID=elsewhere\nVERSION_ID=1\n");
    let before: Vec<_> = (1..=2).map(|n| cluster.host(n).snapshot()).collect();
    for _ in 0..2 {
        let ran = cluster.call("apply").run().exits_with_one_of(&[3, 5]);
        assert_eq!(said_of(&ran, 3)["fate"], "refused", "{ran}");
        for n in 1..=2 {
            assert_eq!(said_of(&ran, n)["fate"], "unchanged", "{ran}");
            before[n - 1].is_untouched_in(&cluster.host(n).snapshot());
        }
    }
    cluster.host(3).write(RELEASE, release);
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(1..=3, 3);
}
