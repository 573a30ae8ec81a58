//! Who has left stays out and a retired key stays retired, whoever comes back with an old list; and runs that meet leave no
//! pair broken without saying so.

use super::cluster::{Cluster, FILE};
use crate::support::Host;
use crate::support::operator::Operator;

/// The key that a list has of an instance.
fn key(list: &str, n: usize) -> String {
    let section = list.split("[Peer]").find(|section| section.contains(&format!("10.8.3.{n}/32")));
    let line = section.and_then(|section| section.lines().find_map(|line| line.strip_prefix("PublicKey = ")));
    line.unwrap_or_else(|| panic!("it has no 10.8.3.{n}:\n{list}")).to_owned()
}

#[test]
fn who_was_removed_stays_out_and_its_keys_with_it_whoever_comes_back() {
    let Some(cluster) = Cluster::up("history", 5, 5) else { return };
    cluster.call("apply").run().exits(0);
    let (all, first) = (cluster.operator.text(FILE), key(&cluster.list(1).expect("it has one"), 4));

    // A member that would be cut off by it: refused, or left behind by its name.
    cluster.host(5).kill();
    let before = cluster.list(1);
    for call in ["rotate h4", "rotate h4 --only h4", "rotate h4 --only h4 --leave-behind h5"] {
        cluster.call(call).run().exits(3).says("--leave-behind");
        assert_eq!((cluster.list(1), cluster.list(4)), (before.clone(), before.clone()), "{call}");
    }
    cluster.call("rotate h4 --leave-behind h5").run().exits(5);
    let second = key(&cluster.list(1).expect("it has one"), 4);
    assert_ne!(first, second);

    cluster.call("remove h4").run().exits(5);
    cluster.assert_agree([1, 2, 3], 4);
    cluster.host(5).boot();
    assert_eq!(key(&cluster.list(5).expect("it has one"), 4), first);

    // Somebody else, whose cluster.toml still has it.
    let other = Operator::new().expect("there was one");
    other.write(FILE, &all);
    for _ in 0..2 {
        let ran = cluster.call_as(&other, "apply").run().exits_with_one_of(&[3, 5]);
        ran.says("h4 was removed by").says("cluster add h4 --again");
        cluster.assert_agree([1, 2, 3, 5], 4);
    }
    cluster.call("apply").run().exits(0);

    cluster.add(4).run().exits(3).says("--again");
    cluster.assert_agree([1, 2, 3, 5], 4);
    cluster.add(4).arg("--again").run().exits(0);
    cluster.assert_agree(1..=5, 5);
    let third = key(&cluster.list(1).expect("it has one"), 4);
    assert!(third != first && third != second, "a key that was retired is not used again");
    cluster.call("status").run().exits(0);
    cluster.call_as(&other, "apply").run().exits(0);
    let before: Vec<_> = cluster.hosts.iter().map(Host::snapshot).collect();
    cluster.call("apply").run().exits(0);
    cluster.hosts.iter().zip(&before).for_each(|(host, before)| before.is_untouched_in(&host.snapshot()));
}

#[test]
fn runs_that_meet_leave_no_pair_broken_without_saying_so() {
    let Some(cluster) = Cluster::up("meet", 5, 4) else { return };
    meet(&cluster, 3);
}

mod long {
    use super::{Cluster, meet};

    #[test]
    fn runs_that_meet_fifty_times_leave_no_pair_broken_without_saying_so() {
        let Some(cluster) = Cluster::up("meet-often", 5, 4) else { return };
        meet(&cluster, 50);
    }
}

/// Two rotations at once, and a rotation beside a member that joins.
fn meet(cluster: &Cluster, rounds: usize) {
    cluster.call("apply").run().exits(0);
    let other = Operator::new().expect("there was one");
    for round in 1..=rounds {
        other.write(FILE, cluster.operator.text(FILE));
        let joins = || if round == 1 { cluster.add(5) } else { cluster.add(5).arg("--again") };
        for first in ["h1", "h3"] {
            let second = if first == "h1" { cluster.call("rotate h2") } else { joins() };
            let running = [cluster.call_as(&other, &format!("rotate {first}")).start(), second.start()];
            let ran = running.map(|running| running.wait());
            // Whoever was overtaken says so; where nobody says so, all is well.
            if ran.iter().all(|ran| ran.code == Some(0)) {
                cluster.call("status").run().exits(0);
            }
            cluster.call("apply").run().exits(0);
            cluster.call("status").run().exits(0);
        }
        cluster.assert_agree(1..=5, 5);
        cluster.call("remove h5").run().exits(0);
        cluster.assert_agree(1..=4, 4);
    }
}
