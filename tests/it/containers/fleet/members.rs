//! Members that join, stay, or are down.

use std::thread;

use super::cluster::{Cluster, FILE, said_of};
use crate::support::Host;
use crate::support::operator::Operator;

#[test]
fn fifty_converge_and_again_without_a_write_and_those_who_were_down_are_caught_up() {
    let Some(cluster) = Cluster::up("fifty", 51, 50) else { return };
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(1..=50, 50);
    let status = cluster.call("status").run().exits(0).json();
    assert_eq!(status["cells"].as_array().expect("a list").len(), 50 * 49);

    let before: Vec<_> = cluster.hosts.iter().map(Host::snapshot).collect();
    let toml = cluster.operator.snapshot();
    let again = cluster.call("apply").run().exits(0);
    assert!((1..=50).all(|n| said_of(&again, n)["fate"] == "unchanged"), "{again}");
    for (host, before) in cluster.hosts.iter().zip(&before).take(50) {
        before.is_untouched_in(&host.snapshot());
    }
    toml.is_untouched_in(&cluster.operator.snapshot());

    // Five are down while one more joins.
    let down = [7, 19, 28, 36, 50];
    down.iter().for_each(|n| cluster.host(*n).kill());
    let ran = cluster.add(51).run().exits(5);
    for n in down {
        let said = said_of(&ran, n);
        assert_eq!(said["fate"], "behind", "h{n}: {ran}");
        assert!(said["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "h{n}: {ran}");
    }
    cluster.assert_agree((1..=51).filter(|n| !down.contains(n)), 51);
    cluster.assert_agree(down, 50);

    down.iter().for_each(|n| cluster.host(*n).boot());
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(1..=51, 51);
}

#[test]
fn two_operators_who_add_at_the_same_time_both_get_their_member_in() {
    let Some(cluster) = Cluster::up("both", 4, 2) else { return };
    add_two_at_the_same_time(&cluster, 10);
}

mod long {
    use super::{Cluster, add_two_at_the_same_time};

    #[test]
    fn two_operators_who_add_at_the_same_time_fifty_times_get_their_members_in_each_time() {
        let Some(cluster) = Cluster::up("both-often", 4, 2) else { return };
        add_two_at_the_same_time(&cluster, 50);
    }
}

/// The first two are members; the other two join at the same time, in each round.
fn add_two_at_the_same_time(cluster: &Cluster, rounds: usize) {
    cluster.call("apply").run().exits(0);
    let (base, toml) = (cluster.list(1).expect("it has one"), cluster.operator.text(FILE));
    for round in 1..=rounds {
        let both = [cluster.add(3).start(), cluster.add(4).start()];
        // One that ends first may not see the handshake of the other's newcomer; both have it in their list.
        for running in both {
            running.wait().exits_with_one_of(&[0, 5]);
        }
        cluster.assert_agree(1..=4, 4);
        assert_eq!(cluster.operator.text(FILE).matches("[[instance]]").count(), 4, "round {round}");
        if round < rounds {
            reset(cluster, &base, &toml);
        }
    }
    cluster.call("status").run().exits(0);
}

/// Back to the state before the newcomers joined.
fn reset(cluster: &Cluster, base: &str, toml: &str) {
    cluster.operator.write(FILE, toml);
    thread::scope(|scope| {
        for n in 1..=4 {
            scope.spawn(move || {
                if n <= 2 {
                    cluster.host(n).write(super::cluster::PUBLIC, base);
                    let reconfigure = "cd /srv/mitigator && docker-compose exec -T gateway reconfigure";
                    cluster.host(n).shell(reconfigure).run().exits(0);
                } else {
                    cluster.host(n).vpn("undo --yes").run().exits(0);
                }
            });
        }
    });
}

#[test]
fn a_run_limited_to_some_hosts_shortens_no_list() {
    let Some(cluster) = Cluster::up("only", 4, 3) else { return };
    cluster.call("apply").run().exits(0);
    let before = cluster.list(1).expect("it has one");

    // A cluster.toml that lacks a member, and runs limited to one host.
    cluster.declare([1, 2]);
    for only in ["--only h1", "--only h2", ""] {
        cluster.call(&format!("apply {only}")).run().exits(0);
        cluster.assert_agree(1..=3, 3);
        assert_eq!(cluster.list(1).as_ref(), Some(&before), "{only}");
    }
    // One more member, and runs limited to one host.
    cluster.declare(1..=4);
    cluster.call("apply --only h4").run().exits_with_one_of(&[0, 5]);
    cluster.call("apply --only h1").run().exits_with_one_of(&[0, 5]);
    for n in 1..=3 {
        let list = cluster.list(n).expect("it has one");
        assert!((1..=3).all(|m| list.contains(&format!("AllowedIPs = 10.8.3.{m}/32"))), "h{n}:\n{list}");
    }
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(1..=4, 4);
}

/// The two have a file each, and neither knows the other's newcomer.
#[test]
fn operators_with_files_of_their_own_drop_nobody() {
    let Some(cluster) = Cluster::up("own", 4, 2) else { return };
    let Some(colleague) = Operator::new() else { return };
    cluster.call("apply").run().exits(0);
    colleague.write(FILE, cluster.operator.text(FILE));
    let (ssh, endpoint) = (cluster.host(4).name(), cluster.host(4).address());
    let theirs = format!("add h4 --ssh {ssh} --vpn-address 10.8.3.4 --endpoint {endpoint}");
    for running in [cluster.add(3).start(), cluster.call_as(&colleague, &theirs).start()] {
        running.wait().exits_with_one_of(&[0, 5]);
    }
    // Hosts that both operators reach have both newcomers; the others are caught up by the next run of each.
    cluster.assert_agree(1..=2, 4);
    cluster.call("apply").run().exits(0);
    cluster.call_as(&colleague, "apply").run().exits(0);
    cluster.assert_agree(1..=4, 4);
}

#[test]
fn a_wrong_endpoint_stops_the_run_and_everything_is_taken_back() {
    let Some(cluster) = Cluster::up("endpoint", 6, 6) else { return };
    cluster.call("apply").run().exits(0);
    let live: Vec<_> = (1..=6).map(|n| cluster.live(n)).collect();
    let lists: Vec<_> = (1..=6).map(|n| cluster.list(n)).collect();
    let before: Vec<_> = cluster.hosts.iter().map(|host| host.snapshot().below("/srv")).collect();

    // Nobody is at that address.
    let right = format!("\"{}\"", cluster.host(6).address());
    let wrong = right.replace(".6\"", ".250\"");
    let toml = cluster.operator.text(FILE);
    cluster.operator.write(FILE, toml.replace(&format!("endpoint = {right}"), &format!("endpoint = {wrong}")));
    let ran = cluster.call("apply").run().exits(5);
    assert!(ran.json()["stopped"].as_str().is_some_and(|stopped| stopped.contains("h1")), "{ran}");
    assert_eq!(said_of(&ran, 1)["fate"], "taken-back", "{ran}");
    assert_eq!(said_of(&ran, 1)["silent"], serde_json::json!(["10.8.3.6"]), "{ran}");

    for n in 1..=6 {
        assert_eq!(cluster.list(n), lists[n - 1], "h{n}");
        assert_eq!(cluster.live(n), live[n - 1], "h{n}");
    }
    before[0].is_given_back_in(&cluster.host(1).snapshot().below("/srv"));
    for n in 2..=6 {
        before[n - 1].is_untouched_in(&cluster.host(n).snapshot().below("/srv"));
    }
    cluster.operator.write(FILE, toml);
    cluster.call("apply").run().exits(0);
}
