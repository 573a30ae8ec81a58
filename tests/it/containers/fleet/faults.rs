//! Hosts that are broken, each in its own way: a clear line for each, the others go on, and the next run completes them.

use std::thread;
use std::time::Duration;

use super::cluster::{Cluster, FILE, said_of};
use crate::support::Host;

#[test]
fn each_broken_host_has_a_clear_line_and_the_others_go_on() {
    let Some(cluster) = Cluster::up("faults", 11, 11) else { return };
    let host = |n: usize| cluster.host(n);
    let (known, refused_key) =
        (host(1).known_hosts(), "AAAAC3NzaC1lZDI1NTE5AAAAIJ0JQ8wM3nPjGkUqwyXDmQbCb1yoyBMzOOo1dV5gTeY0");
    let known_hosts = std::fs::read_to_string(&known).expect("it is there");

    host(3).cut_off();
    host(4).stop_sshd();
    host(5).hang();
    let wrong: Vec<String> = known_hosts
        .lines()
        .map(|line| match line.split(' ').next() {
            Some(address) if address == host(6).address() => format!("{address} ssh-ed25519 {refused_key}"),
            _ => line.to_owned(),
        })
        .collect();
    std::fs::write(&known, wrong.join("\n") + "\n").expect("our own file");
    host(7).write("/etc/sudoers.d/operator", "");
    let toml = cluster.operator.text(FILE);
    let login =
        |toml: &str| toml.replace(&format!("\"{}\"", host(7).name()), &format!("\"operator@{}\"", host(7).name()));
    cluster.operator.write(FILE, login(&toml));
    host(8).fill_disk();
    host(9).make_read_only();
    host(10)
        .write("/usr/local/bin/uname", "#!/bin/sh\n[ \"$1\" = -m ] && echo aarch64 || exec /usr/bin/uname \"$@\"\n");
    host(10).call("chmod 755 /usr/local/bin/uname").run().exits(0);
    host(11).stop_docker();

    let ran = cluster.call("apply").run().exits_with_one_of(&[3, 5, 6]);
    for (n, words) in [
        (3, "No route to host"),
        (4, "Connection refused"),
        (5, "timed out"),
        (6, "Host key verification failed"),
        (7, "sudo"),
        (8, "df -h"),
        (9, "Read-only file system"),
        (10, "another kind of machine: Linux aarch64"),
        (11, "the Docker daemon at /var/run/docker.sock: No such file or directory"),
    ] {
        let said = said_of(&ran, n);
        let reason = said["reason"].as_str().unwrap_or_default();
        assert!(["behind", "refused", "failed"].iter().any(|fate| said["fate"] == *fate), "h{n}: {said:#}");
        assert!(reason.contains(words), "h{n}: expected the words '{words}': {said:#}");
    }
    cluster.assert_agree([1, 2], 2);

    host(3).reconnect();
    host(4).start_sshd();
    host(5).unhang();
    std::fs::write(&known, known_hosts).expect("our own file");
    host(7).write("/etc/sudoers.d/operator", "operator ALL=(ALL) NOPASSWD: ALL\n");
    host(8).free_disk();
    host(9).make_writable();
    host(10).call("rm /usr/local/bin/uname").run().exits(0);
    host(11).start_docker();
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(1..=11, 11);
}

/// A member whose disk fills up, or whose Docker stops, between two runs.
#[test]
fn a_member_that_breaks_keeps_its_list_and_is_caught_up() {
    let Some(cluster) = Cluster::up("breaks", 6, 5) else { return };
    cluster.call("apply").run().exits(0);
    cluster.host(2).fill_disk();
    cluster.host(3).make_read_only();
    cluster.host(4).stop_docker();
    let ran = cluster.add(6).run().exits_with_one_of(&[5, 6]);
    cluster.assert_agree([2, 3], 5);
    cluster.assert_agree([1, 5, 6], 6);
    for n in [2, 3, 4] {
        let said = said_of(&ran, n);
        assert!(said["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "h{n}: {said:#}");
    }
    cluster.host(2).free_disk();
    cluster.host(3).make_writable();
    cluster.host(4).start_docker();
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(1..=6, 6);
}

/// A wrong clock doesn't stop the tunnel; it is reported. The clock itself can't be another one in a namespace: here the
/// host's words are changed on their way.
#[test]
fn a_clock_a_day_off_is_named() {
    let Some(cluster) = Cluster::up("clock", 3, 3) else { return };
    let force = "ForceCommand /bin/sh -c \"$SSH_ORIGINAL_COMMAND\" | sed -u 's/\"now\":1/\"now\":2/'\n";
    let config = cluster.host(2).text("/etc/ssh/sshd_config");
    cluster.call("apply").run().exits(0);
    cluster.host(2).write("/etc/ssh/sshd_config", format!("{config}{force}"));
    cluster.host(2).call("pkill -HUP -o -x sshd").run().exits(0);
    let status = cluster.call("status").run().exits(5).json();
    let differences = status["differences"].as_array().expect("a list");
    assert!(
        differences.iter().any(|d| d.as_str().is_some_and(|d| d.starts_with("h2: its clock is"))),
        "{differences:#?}"
    );
}

#[test]
fn a_host_that_reboots_in_the_middle_is_caught_up() {
    let Some(cluster) = Cluster::up("reboot", 7, 6) else { return };
    cluster.call("apply").run().exits(0);
    let running = cluster.add(7).start();
    // Until the first member has the new list: then the others are about to get it.
    for _ in 0..600 {
        if cluster.list(1).is_some_and(|list| list.contains("10.8.3.7/32")) {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    cluster.host(3).kill();
    running.wait().exits_with_one_of(&[0, 5, 6]);
    cluster.host(3).boot();
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(1..=7, 7);
    cluster.call("status").run().exits(0);
}

#[test]
fn a_cluster_file_that_contradicts_itself_touches_nobody() {
    let Some(cluster) = Cluster::up("bad", 2, 2) else { return };
    let toml = cluster.operator.text(FILE);
    let (one, other) = (cluster.host(1), cluster.host(2));
    for (what, from, to) in [
        ("name", "\"h2\"".to_owned(), "\"h1\"".to_owned()),
        ("ssh destination", format!("\"{}\"", other.name()), format!("\"{}\"", one.name())),
        ("VPN address", "10.8.3.2".to_owned(), "10.8.3.1".to_owned()),
        ("endpoint", format!("endpoint = \"{}\"", other.address()), format!("endpoint = \"{}\"", one.address())),
        ("10.8.4.2", "10.8.3.2".to_owned(), "10.8.4.2".to_owned()),
        ("unknown field", "name = \"h2\"".to_owned(), "name = \"h2\"\nadress = \"x\"".to_owned()),
    ] {
        cluster.operator.write(FILE, toml.replace(&from, &to));
        let before: Vec<_> = cluster.hosts.iter().map(Host::snapshot).collect();
        cluster.call("apply").run().exits(2).says(&format!("{FILE}:")).says(what);
        for (host, before) in cluster.hosts.iter().zip(&before) {
            before.is_untouched_in(&host.snapshot());
        }
    }
}
