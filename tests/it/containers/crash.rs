//! Killed at any instant: the next run reaches the same end state with the same key, and undo restores the same tree.

use crate::support::container::ContainerHost;
use crate::support::fault::{Moment, moments};
use crate::support::machine::Machine;
use crate::support::secret::Canary;
use crate::support::snapshot::Snapshot;
use crate::support::strace::killed_at_file;
use crate::support::tree::TreeHost;
use crate::support::{Host, has_program};
use crate::unit::peers::section;
use mitigator_vpn::converge::journal::Receipt;
use mitigator_vpn::wireguard::{PeerList, PrivateKey};

pub const INSTALL: &str = "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --yes";
pub const JOURNAL: &str = "/var/lib/mitigator-vpn/journal.ndjson";
const PRIVATE: &str = "/srv/mitigator/vpn-private.conf";
pub const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";
const ENV: &str = "/srv/mitigator/.env";
const OVERLAY: &str = "/srv/mitigator/docker-compose.vpn.yml";
const AUTOLOAD: &str = "/etc/modules-load.d/mitigator.conf";
/// What install writes.
const WRITTEN: [&str; 5] = [PRIVATE, PUBLIC, ENV, OVERLAY, AUTOLOAD];

pub const MEMBER: &str = "# Kazan\n[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 10.8.3.9/32\nEndpoint = 192.0.2.9:4567\n";

/// Every system call by which a call on such a tree changes files.
pub fn moments_on(tree: &TreeHost, call: &str) -> Vec<Moment> {
    let root = tree.at("/").display().to_string();
    moments(tree.vpn(call), &[root.trim_end_matches('/'), "/run/mitigator-vpn"])
}

/// An instance with files of its own, of which some have to change.
pub fn lived_in(canary: &Canary) -> TreeHost {
    TreeHost::with_vendor_stack()
        .file(ENV, "TOKEN=x\nMITIGATOR_VPN_ADDRESS=\"10.8.3.7\" # old\n")
        .file(PUBLIC, MEMBER)
        .file(PRIVATE, format!("# ours\n[Interface]\nPrivateKey = {}\n", canary.text))
        .mode(ENV, 0o640)
        .mode(PRIVATE, 0o600)
}

/// The key in vpn-private.conf, if there is a whole one.
pub fn key(host: &impl Host) -> Option<String> {
    let text = String::from_utf8(host.read(PRIVATE)?).expect("a private file is text");
    let line = text.lines().find_map(|line| line.strip_prefix("PrivateKey = "))?;
    Some(line.to_owned())
}

/// Every record that was ended with a newline is one.
pub fn assert_journal_is_whole(host: &impl Host) {
    let Some(journal) = host.read(JOURNAL) else { return };
    let whole = journal.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    for line in journal[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: Result<serde_json::Value, _> = serde_json::from_slice(line);
        assert!(record.is_ok_and(|record| record.is_object()), "torn: {}", String::from_utf8_lossy(line));
    }
}

/// Each file has the old bytes, or the new ones, or was not there yet.
pub fn assert_nothing_is_torn(tree: &TreeHost, old: &TreeHost, new: &TreeHost) {
    for path in WRITTEN {
        let now = tree.read(path);
        let steps = [old.read(path), new.read(path)];
        // `.env` goes from one to the other in two steps.
        let half =
            path == ENV && now.as_deref().is_some_and(|now| now.starts_with(b"TOKEN=x\n") && now.ends_with(b"\n"));
        assert!(
            half || steps.contains(&now),
            "{path} is torn: {:?}",
            now.map(|n| String::from_utf8_lossy(&n).into_owned())
        );
    }
}

#[test]
fn install_killed_at_any_system_call_is_completed_by_the_next_run_and_taken_back_by_undo() {
    if !has_program("strace") {
        return;
    }
    let canary = Canary::new();
    let (old, new) = (lived_in(&canary), lived_in(&canary));
    new.vpn(INSTALL).run().exits(0);
    let (original, end_state) = (old.snapshot(), new.snapshot().without(&[(JOURNAL, "it tells of every run")]));

    let mut kills = 0;
    for moment in moments_on(&lived_in(&canary), INSTALL) {
        // Undo has to cope with what a kill left, and with nothing to take back, as well as after a second run.
        for undo_comes_first in [true, false] {
            let tree = lived_in(&canary);
            kills += usize::from(moment.kill(tree.vpn(INSTALL)).was_killed());
            assert_journal_is_whole(&tree);
            assert_nothing_is_torn(&tree, &old, &new);
            assert_eq!(key(&tree).as_deref(), Some(canary.text.as_str()), "killed at {moment:?}");
            if undo_comes_first {
                tree.vpn("undo --yes").run().exits(0);
                original.is_given_back_in(&tree.snapshot());
            } else {
                tree.vpn(INSTALL).run().exits(0);
                end_state.is_given_back_in(&tree.snapshot().without(&[(JOURNAL, "it tells of every run")]));
                tree.vpn("undo --yes").run().exits(0);
                original.is_given_back_in(&tree.snapshot());
            }
        }
    }
    assert!(kills > 100, "killed only {kills} times: is strace counting?");
}

#[test]
fn a_new_key_that_reached_its_file_is_never_replaced() {
    if !has_program("strace") {
        return;
    }
    for moment in moments_on(&TreeHost::with_vendor_stack(), INSTALL) {
        let tree = TreeHost::with_vendor_stack();
        let original = tree.snapshot();
        assert!(moment.kill(tree.vpn(INSTALL)).was_killed(), "not killed at {moment:?}");
        let then = key(&tree);
        tree.vpn(INSTALL).run().exits(0);
        let now = key(&tree).expect("an installed instance has a key");
        assert!(then.is_none_or(|then| then == now), "killed at {moment:?}: the key was replaced");
        let list = PeerList::parse(&tree.text(PUBLIC)).expect("a good list");
        let public = now.parse::<PrivateKey>().expect("a key").public();
        let listed: Vec<_> = list.peers().map(|peer| peer.public_key).collect();
        assert_eq!(listed, [public], "killed at {moment:?}");
        tree.vpn("undo --yes").run().exits(0);
        original.is_given_back_in(&tree.snapshot());
    }
}

#[test]
fn undo_killed_at_any_system_call_is_completed_by_the_next_undo() {
    if !has_program("strace") {
        return;
    }
    let canary = Canary::new();
    let original = lived_in(&canary).snapshot();
    let installed = || {
        let tree = lived_in(&canary);
        tree.vpn(INSTALL).run().exits(0);
        tree
    };
    for moment in moments_on(&installed(), "undo --yes") {
        let tree = installed();
        assert!(moment.kill(tree.vpn("undo --yes")).was_killed(), "not killed at {moment:?}");
        assert_journal_is_whole(&tree);
        assert_eq!(key(&tree).as_deref(), Some(canary.text.as_str()), "killed at {moment:?}");
        tree.vpn("undo --yes").run().exits(0);
        original.is_given_back_in(&tree.snapshot());
    }
}

/// An instance whose list was changed so often that the next run compacts the journal. What was there first, and the run.
fn about_to_compact(canary: &Canary) -> (TreeHost, Snapshot, String) {
    let tree = lived_in(canary);
    let members: String = (20..26).map(|n| format!("\n{}", section(n))).collect();
    tree.write(PUBLIC, format!("{MEMBER}{members}"));
    let original = tree.snapshot();
    for port in 4567..4600 {
        let call = INSTALL.replace("192.0.2.1", &format!("192.0.2.1:{port}"));
        let before = tree.read(JOURNAL);
        let copy = copy_of(&tree);
        tree.vpn(&call).run().exits(0);
        let (before, after) =
            (before.map_or(0, |journal| journal.len()), tree.read(JOURNAL).map(|journal| journal.len()));
        if after.is_some_and(|after| after < before) {
            return (copy, original, call);
        }
    }
    panic!("no run has compacted the journal");
}

/// The same files in another tree.
fn copy_of(tree: &TreeHost) -> TreeHost {
    let copy = TreeHost::bare();
    for part in ["srv", "etc/modules-load.d", "var/lib"] {
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(tree.at(part))
            .arg(copy.at(part).parent().expect("below"))
            .status();
        assert!(copied.expect("cp is there").success());
    }
    copy
}

/// The journal is replaced by a shorter one: it is the one or the other, and undo takes back the same by both.
#[test]
fn a_run_killed_at_any_system_call_while_it_compacts_the_journal_leaves_one_that_tells_the_same() {
    if !has_program("strace") {
        return;
    }
    let canary = Canary::new();
    let (full, original, call) = about_to_compact(&canary);
    let long = full.read(JOURNAL).expect("it has one").len();
    let end = copy_of(&full);
    let state = end.at("/var/lib/mitigator-vpn").display().to_string();
    let moments = moments(end.vpn(&call), &[&state, "/run/mitigator-vpn"]);
    let end_state = end.snapshot().without(&[(JOURNAL, "it tells of every run")]);

    let (mut before, mut after) = (0, 0);
    for (number, moment) in moments.iter().enumerate() {
        let tree = copy_of(&full);
        assert!(moment.kill(tree.vpn(&call)).was_killed(), "not killed at {moment:?}");
        assert_journal_is_whole(&tree);
        let host = mitigator_vpn::host::Host::at(&tree.at("")).expect("a tree");
        let receipt = Receipt::load(&host).unwrap_or_else(|error| panic!("killed at {moment:?}: {error}"));
        assert!(receipt.changes.len() >= 6, "killed at {moment:?}: {receipt:?}");
        let compacted = tree.read(JOURNAL).expect("it has one").len() < long;
        *(if compacted { &mut after } else { &mut before }) += 1;
        if number % 2 == 0 {
            tree.vpn(&call).run().exits(0);
            end_state.is_given_back_in(&tree.snapshot().without(&[(JOURNAL, "it tells of every run")]));
        }
        tree.vpn("undo --yes").run().exits(0);
        original.is_given_back_in(&tree.snapshot());
    }
    println!("killed {before} times before the shorter journal was there, {after} times after");
    assert!(
        before >= 5 && after >= 5,
        "killed {before} times before the shorter journal was there, {after} times after"
    );
}

/// The steps that the journal has as finished.
fn steps_done(host: &ContainerHost) -> usize {
    let journal = host.read(JOURNAL).unwrap_or_default();
    String::from_utf8_lossy(&journal).lines().filter(|line| line.contains(r#""done""#)).count()
}

/// Simulated: all processes end at once, but what was written is on the disk.
#[test]
fn a_host_that_loses_power_while_its_stack_starts_goes_on_after_the_boot() {
    let Some(host) = ContainerHost::up("power") else { return };
    let install = host.install(1);
    let running = install.start();
    host.wait_until("the stack is being started", || {
        host.read(JOURNAL).is_some_and(|journal| String::from_utf8_lossy(&journal).contains(r#""resource":{"stack""#))
    });
    host.kill();
    running.wait();
    host.boot();
    assert_journal_is_whole(&host);
    let cut_off = key(&host).expect("the key was there before the stack");
    host.install(1).run().exits(0);
    assert_eq!(key(&host), Some(cut_off));
    host.vpn("status --ignore kernel-wireguard").run().exits(0);
}

/// On a host with packages, Docker and a stack: each run is killed a moment later in the journal than what the last one
/// had come to, so that together they are killed between any two records.
#[test]
fn a_host_whose_install_is_killed_at_every_record_of_the_journal_ends_up_the_same() {
    let Some(host) = ContainerHost::up("crash") else { return };
    let canary = Canary::new();
    host.write("/srv/mitigator/.env", "TOKEN=x\n");
    host.write(PRIVATE, canary.private_conf());
    let (packages, docker) = (host.packages(), host.docker_things());
    let before = host.snapshot();

    let mut kills = 0;
    for n in 1..60 {
        // A run notes its start first; then each step has two records, and each run completes one step at least.
        let record = 2 + n % 2;
        let ran = killed_at_file(record, "fsync", JOURNAL, host.install(1));
        if !ran.was_killed() {
            ran.exits(0);
            break;
        }
        kills += 1;
        assert_journal_is_whole(&host);
        assert_eq!(key(&host).as_deref(), Some(canary.text.as_str()));
    }
    let steps = steps_done(&host);
    assert!(steps >= 8 && kills + 1 >= 2 * steps, "{kills} kills for {steps} steps");
    assert_eq!(key(&host).as_deref(), Some(canary.text.as_str()));

    host.install(1).run().exits(0).does_not_say("change ");
    host.vpn("status --ignore kernel-wireguard").run().exits(0);
    host.vpn("undo --yes").run().exits(0);
    assert_eq!(host.packages(), packages);
    assert_eq!(host.docker_things(), docker);
    let excluded = crate::support::snapshot::PACKAGES_CAME_AND_WENT;
    before.without(excluded).is_given_back_in(&host.snapshot().without(excluded));
}
