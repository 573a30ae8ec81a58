//! The operator's machine dies in the middle of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cluster::{Cluster, members};

/// A host's list, and the file in which a new list waits while it is written.
const LIST: &str = "/srv/mitigator/vpn-public.conf";
const REDO: &str = "/srv/mitigator/.vpn-public.conf.mitigator-vpn-redo";

#[test]
fn an_operator_killed_at_any_moment_leaves_whole_lists_and_the_next_run_completes_them() {
    let Some(cluster) = Cluster::up("killed", 21, 20) else { return };
    kill_the_operator(&cluster, 6);
}

mod long {
    use super::{Cluster, kill_the_operator};

    #[test]
    fn an_operator_killed_twenty_times_leaves_whole_lists_and_the_next_run_completes_them() {
        let Some(cluster) = Cluster::up("killed-often", 21, 20) else { return };
        kill_the_operator(&cluster, 20);
    }
}

/// Kills that many runs of an operator who adds and removes the twenty-first member, each at a random moment.
fn kill_the_operator(cluster: &Cluster, kills: u32) {
    cluster.call("apply").run().exits(0);
    // How long a rollout takes that is not killed.
    let whole = cluster.add(21).run().exits(0).took;
    cluster.assert_agree(1..=21, 21);

    let mut random = Random::seeded();
    watched(cluster, || {
        for kill in 1..=kills {
            let is_member = members(&cluster.list(1).expect("it has one")) == 21;
            let call = if is_member { cluster.call("remove h21") } else { cluster.add(21).arg("--again") };
            let mut running = call.start();
            let moment = whole.mul_f64(random.fraction());
            thread::sleep(moment);
            if running.is_alive() {
                running.kill();
            }
            running.wait();
            // A step begun on a host is completed by the host itself or by the next run.
            let ran = cluster.call("apply").run();
            assert_eq!(ran.code, Some(0), "kill {kill}, after {moment:?}\n{ran}");
            let count = members(&cluster.list(1).expect("it has one"));
            assert!(count == 20 || count == 21, "kill {kill}, after {moment:?}: {count} members");
            cluster.assert_agree(1..=20, count);
        }
    });
}

/// Reads every host's list all the time during a scenario, and asserts afterwards that each was whole.
fn watched(cluster: &Cluster, scenario: impl FnOnce()) {
    let over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                for n in 1..=20 {
                    look(cluster, n, &mut seen);
                }
                thread::sleep(Duration::from_millis(1));
            }
            seen
        });
        // The watcher has to end when the scenario panics, too.
        let end = OnDrop(&over);
        scenario();
        drop(end);
        watch.join().expect("a watcher doesn't panic")
    });
    assert!(seen.len() >= 2, "nothing was seen to change");
    for (text, n) in seen {
        let count = members(&text);
        let sections = text.split("[Peer]").skip(1);
        let whole = sections
            .filter(|section| ["PublicKey = ", "AllowedIPs = ", "Endpoint = "].iter().all(|key| section.contains(key)));
        assert!(
            text.ends_with('\n') && whole.count() == count && count >= 20,
            "h{n} had a torn or short list:\n{text}"
        );
    }
}

/// What a host would read at this moment: the redo copy while there is one. A read during which a file changed is
/// dropped.
fn look(cluster: &Cluster, n: usize, seen: &mut BTreeMap<String, usize>) {
    let stamp = |path: &str| {
        let meta = std::fs::metadata(cluster.host(n).on_disk(path)).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    let before = (stamp(REDO), stamp(LIST));
    let path = if before.0.is_some() { REDO } else { LIST };
    let Ok(text) = std::fs::read_to_string(cluster.host(n).on_disk(path)) else { return };
    if before == (stamp(REDO), stamp(LIST)) {
        seen.entry(text).or_insert(n);
    }
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Numbers that look random, and are the same again with the same seed: MITIGATOR_VPN_TEST_SEED.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let given = std::env::var("MITIGATOR_VPN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as u64;
        let seed = given.unwrap_or(now);
        eprintln!("MITIGATOR_VPN_TEST_SEED={seed}");
        Random(seed | 1)
    }

    /// Between 0 and 1.
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
