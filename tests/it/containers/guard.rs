//! A change that could cut off the operator's way in is taken back in time, whatever dies meanwhile: its run, the guard, the
//! host. It stays if it is confirmed.

use std::thread;
use std::time::{Duration, Instant};

use mitigator_vpn::wireguard::ListDigest;
use serde_json::{Value, json};

use crate::support::Host;
use crate::support::call::{Call, Ran, Running};
use crate::support::container::{ContainerHost, NO_MODULES_HERE};
use crate::support::machine::{Machine, PROGRAM};

const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";
const NEWCOMER: &str = "[Peer]\nPublicKey = UguPyBThx/+xMXeTbRYkKlP0Wh/QZT3vTLPOVaaXTD8=\nAllowedIPs = 10.8.3.7/32\n\
                        Endpoint = 192.0.2.7:4567\n";
/// What taking it back may need, once the patience is over or the host is up again.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// A connection to the host that goes through the VPN, and says these.
fn session<'h>(host: &'h ContainerHost, request: &Value) -> Call<'h> {
    host.vpn("session").arg("10.8.3.9 4000 10.8.3.1 22").stdin(format!("{request}\n"))
}

/// Begins a change that is to be confirmed, and waits until it is made. Its connection waits for its fate.
fn begin(host: &ContainerHost, patience: u64) -> (Running<'_>, String) {
    let list = host.text(PUBLIC);
    let request = json!({ "apply": {
        "settings": {
            "dir": "/srv/mitigator", "vpn_address": "10.8.3.1", "endpoint": format!("{}:4567", host.address()), "port": 4567,
            "prefix": 24, "peers": format!("{list}\n{NEWCOMER}"), "whole_list": true, "firewall": "auto", "restart": "full",
            "apt_mirror": null, "stack": "default", "ignore": []
        },
        "seen": ListDigest::of(list.as_bytes()).to_string(),
        "guard": { "secs": patience, "nanos": 0 },
        "history": {}
    }});
    let running = session(host, &request).start();
    let script = "grep -lE '\"deadline\":[0-9]' /var/lib/mitigator-vpn/guard/*.json";
    let mut file = String::new();
    host.wait_until("the change is made", || {
        file = host.shell(script).run().out().trim().to_owned();
        !file.is_empty()
    });
    let run = file.rsplit_once('/').and_then(|(_, name)| name.strip_suffix(".json")).expect("a guard's file");
    assert!(has_changed(host));
    host.call(&format!("systemctl is-enabled mitigator-vpn-guard-{run}.timer")).run().exits(0);
    (running, run.to_owned())
}

fn has_changed(host: &ContainerHost) -> bool {
    host.text(PUBLIC).contains("10.8.3.7/32")
}

/// The change is taken back in time, and the guard is gone with all that it was.
#[track_caller]
fn assert_taken_back(host: &ContainerHost, since: Instant, patience: u64) {
    let deadline = Duration::from_secs(patience) + AFTERWARDS;
    while has_changed(host) || !is_unguarded(host) {
        assert!(since.elapsed() < deadline, "{}", traces(host));
        thread::sleep(Duration::from_millis(200));
    }
    assert_no_unit(host);
    host.status().exits(0);
}

fn is_unguarded(host: &ContainerHost) -> bool {
    host.shell("[ ! -e /var/lib/mitigator-vpn/guard ] && [ ! -e /var/lib/mitigator-vpn/jobs ]").run().code == Some(0)
}

#[track_caller]
fn assert_no_unit(host: &ContainerHost) {
    host.shell("ls -R /etc/systemd/system | grep mitigator-vpn-guard").run().exits(1);
    host.wait_until("systemd has forgotten the unit", || {
        !host.call("systemctl list-units --all --no-legend mitigator-vpn-guard*").run().out().contains("guard")
    });
}

fn traces(host: &ContainerHost) -> Ran {
    host.shell(
        "ls -lR /var/lib/mitigator-vpn; head /var/lib/mitigator-vpn/guard/*.json /var/lib/mitigator-vpn/jobs/*/*; \
         systemctl list-units --all --no-legend 'mitigator-vpn*'; journalctl --no-pager -n 40 -u 'mitigator-vpn*'",
    )
    .run()
}

/// Each of these must happen while the guard can't take back: somebody has the host's lock.
fn with_the_hosts_lock(host: &ContainerHost, script: &str) {
    let lock = "exec 8>>/run/mitigator-vpn/$(printf '%x-%x.lock' $(stat -c '%d %i' /)); flock 8";
    host.shell(&format!("set -e; {lock}; {script}")).run().exits(0);
}

#[test]
fn a_change_that_nobody_confirms_is_taken_back_whatever_dies_meanwhile() {
    let Some(host) = ContainerHost::up("guard") else { return };
    host.install(1).run().exits(0);

    // The agent, then what the guard runs as: its own process, by two signals, and all processes of its unit.
    let (running, _) = begin(&host, 5);
    let since = Instant::now();
    host.shell(&format!("pkill -KILL -f '^{PROGRAM} session'")).run().exits(0);
    assert!(running.wait().was_killed());
    let guard = "pgrep -f '^/var/lib/mitigator-vpn/guard/mitigator-vpn guard'";
    let anew =
        |kill: &str| format!("until p=$({guard}); do sleep 0.1; done; {kill}; while kill -0 $p; do sleep 0.1; done; ");
    let unit = "systemctl kill --kill-who=all --signal=SIGNAL 'mitigator-vpn-guard-*.service'";
    let kills = [
        anew("kill -KILL $p"),
        anew("kill -TERM $p"),
        anew(&unit.replace("SIGNAL", "SIGKILL")),
        anew(&unit.replace("SIGNAL", "SIGTERM")),
    ];
    with_the_hosts_lock(&host, &kills.concat());
    assert_taken_back(&host, since, 5);

    // The host.
    let (running, _) = begin(&host, 10);
    host.kill();
    running.wait();
    host.boot();
    assert!(has_changed(&host), "as it was left");
    assert_taken_back(&host, Instant::now(), 10);

    // Nobody, and meanwhile no other run is let in.
    let (running, run) = begin(&host, 20);
    for words in [
        &format!("install --yes {NO_MODULES_HERE}"),
        "undo --yes",
        "peers remove 10.8.3.7",
        "peers add --public-key yWEEyvxNAzDhzYTCZJDZvnEIUZgrq7ueZ8WDnIGgPDk= --vpn-address 10.8.3.8 --endpoint 192.0.2.8",
    ] {
        host.vpn(words).run().exits(7).says(&run).says("waits for its confirmation");
    }
    let confirmed = session(&host, &json!({ "confirm": run })).run().exits(0);
    assert!(confirmed.out().ends_with("\"done\"\n"), "{confirmed}");
    running.wait().exits(0);
    assert!(is_unguarded(&host), "{}", traces(&host));
    assert_no_unit(&host);
    thread::sleep(Duration::from_secs(21));
    assert!(has_changed(&host));
    host.vpn("peers remove 10.8.3.7").run().exits(0);
}
