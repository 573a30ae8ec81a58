//! Promises that need a real kernel, on virtual machines with Debian's own.

mod long;

use std::thread;
use std::time::Duration;

use crate::support::Host;
use crate::support::call::Ran;
use crate::support::machine::Machine;
use crate::support::snapshot::{Exclusion, PACKAGES_CAME_AND_WENT, Snapshot};
use crate::support::vm::VmHost;
use mitigator_vpn::wireguard::PrivateConf;

const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";
const PRIVATE: &str = "/srv/mitigator/vpn-private.conf";
const AUTOLOAD: &str = "/etc/modules-load.d/mitigator.conf";
/// Not compared over a reboot.
const REBOOTED: &[Exclusion] = &[("/var/lib/systemd/random-seed", "another one for each boot")];
const RESUME: &str = "mitigator-vpn-resume.service";
const FIRST: &str = "--vpn-address 10.8.3.1 --endpoint 10.97.0.1 --stack default";

fn has_wireguard(host: &VmHost) -> bool {
    host.modules().contains(&"wireguard".to_owned())
}

/// The tunnel is in the kernel, its port is open, and `status` is clean.
fn assert_tunnel_in_the_kernel(host: &VmHost) {
    assert!(has_wireguard(host));
    host.call("ip -details link show dev wg0").run().exits(0).says("wireguard");
    host.call("pgrep --list-full wireguard-go").run().exits(1);
    host.call("ufw status").run().exits(0).says("4567/udp");
    let status = host.status().exits(0);
    assert_eq!(status.json()["instance"]["implementation"], "kernel", "{status}");
}

/// The module is loaded at boot, and the gateway makes its tunnel again.
fn assert_tunnel_comes_back_after_a_reboot(host: &VmHost) {
    host.reboot();
    assert_loaded_at_boot(host);
    host.wait_until("its gateway runs again", || !host.gateway().is_empty());
    assert_tunnel_in_the_kernel(host);
}

fn assert_loaded_at_boot(host: &VmHost) {
    assert_eq!(host.text(AUTOLOAD), "wireguard\n");
    host.call("journalctl -b -t systemd-modules-load").run().exits(0).says("Inserted module 'wireguard'");
}

#[test]
fn looking_at_a_fresh_machine_loads_no_module_and_touches_no_file() {
    let Some(host) = VmHost::up("look") else { return };
    let (modules, before) = (host.modules(), host.snapshot());

    let preflight = host.vpn(&format!("preflight --json {FIRST}")).run().exits(0);
    let findings = preflight.json()["findings"].clone();
    let kernel = findings.as_array().into_iter().flatten().find(|finding| finding["id"] == "kernel-wireguard");
    let kernel = kernel.unwrap_or_else(|| panic!("no such finding\n{preflight}"));
    assert_eq!(kernel["outcome"], "pass", "{kernel}");
    assert!(
        kernel["detail"].as_str().is_some_and(|detail| detail.starts_with("6.1") && detail.contains("has the module")),
        "{kernel}"
    );
    host.vpn(&format!("plan --json {FIRST}")).run().exits(0).says("kernel module wireguard");
    assert_eq!(host.status().code, Some(5), "there is no VPN here");

    assert_eq!(host.modules(), modules);
    before.is_untouched_in(&host.snapshot());
}

#[test]
fn a_machine_gets_its_tunnel_in_the_kernel_keeps_it_over_a_reboot_and_gives_everything_back() {
    let Some(host) = VmHost::up("kernel") else { return };
    let (packages, before) = (host.packages(), host.snapshot());
    assert!(!packages.contains("wireguard") && !has_wireguard(&host));

    let ran = host.install(1).arg("--json").run().exits(0);
    assert_eq!(ran.json()["outcome"], "pass", "{ran}");
    assert_tunnel_in_the_kernel(&host);
    assert!(host.packages().contains("wireguard-tools=") && !host.packages().contains("wireguard-go="));
    let running = host.gateway();
    assert_eq!(host.install(1).arg("--json").run().exits(0).json()["steps"], serde_json::json!([]));
    assert_eq!(host.gateway(), running, "it was not disturbed");

    assert_tunnel_comes_back_after_a_reboot(&host);

    host.vpn("undo --yes").run().exits(0);
    assert_eq!(host.packages(), packages);
    assert!(!has_wireguard(&host), "nobody uses it any more");
    let lasting = |snapshot: Snapshot| snapshot.without(PACKAGES_CAME_AND_WENT).without(REBOOTED);
    lasting(before).is_given_back_in(&lasting(host.snapshot()));
}

#[test]
fn a_run_that_needs_another_kernel_goes_on_by_itself_after_the_reboot() {
    let Some(host) = VmHost::of("bullseye", "resume") else { return };
    let packages = host.packages();
    host.call("docker-compose version --short").run().exits(0).says("1.25.");
    // The running kernel has lost its module; the kernel of the next boot has it.
    host.kill();
    host.boot_with("5.10.0-30-cloud-amd64");
    host.shell("find /lib/modules/$(uname -r) -name wireguard.ko -delete && depmod").run().exits(0);

    host.install(1).run().exits(4).says("systemctl reboot").says(RESUME);
    assert!(!has_wireguard(&host) && host.gateway().is_empty());
    host.reboot();

    host.call("uname -r").run().exits(0).says("5.10.0-32-");
    host.call("journalctl -b --no-pager -u").arg(RESUME).run().exits(0).does_not_say("error");
    assert_tunnel_in_the_kernel(&host);
    host.call("systemctl cat").arg(RESUME).run().exits(1);
    host.call("test -e /var/lib/mitigator-vpn/resume").run().exits(1);
    host.vpn("undo --yes").run().exits(0);
    assert_eq!(host.packages(), packages);
}

#[test]
fn three_machines_reach_each_other_and_a_third_that_joins_costs_the_first_two_no_packet() {
    let Some(hosts) = VmHost::cluster::<3>("mesh") else { return };
    let [first, second, third] = &hosts;
    first.install(1).run().exits(0);
    join(2, second, &[(1, first)]);
    first.wait_until("it reaches the second", || first.status().code == Some(0));

    let ping = first.call("ping -n -i 0.2 10.8.3.2").start();
    join(3, third, &[(1, first), (2, second)]);
    first.call("pkill -INT ping").run().exits(0);
    assert_none_lost(&ping.wait().exits(0));

    for host in &hosts {
        host.wait_until("it reaches all the others", || host.status().code == Some(0));
        assert_tunnel_in_the_kernel(host);
        let document = host.status().json();
        let members = document["instance"]["members"].as_array().expect("a list").clone();
        assert_eq!(members.len(), 2, "{document:#}");
        assert!(members.iter().all(|member| member["reached"] == true && member["handshake_age"].is_u64()));
    }
}

/// Every packet has its answer, but for the one on its way at the end.
fn assert_none_lost(ping: &Ran) {
    let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok();
    let mut answered: Vec<usize> = ping.out().lines().filter_map(number).collect();
    answered.sort_unstable();
    assert!(!answered.is_empty() && answered.iter().copied().eq(1..=answered.len()), "{ping}");
}

/// A new member takes the first one's list, and the others get the new list.
fn join(n: u8, newcomer: &VmHost, members: &[(u8, &VmHost)]) {
    newcomer.write("/root/peers.conf", members[0].1.text(PUBLIC));
    newcomer.install(n).arg("--peers=/root/peers.conf").run().exits(0);
    let list = newcomer.text(PUBLIC);
    for (m, member) in members {
        let running = member.gateway();
        member.write("/root/peers.conf", &list);
        member.install(*m).arg("--peers=/root/peers.conf").run().exits_with_one_of(&[0, 5]);
        assert_eq!(member.gateway(), running, "a new member restarts nobody");
    }
}

/// When the power is cut: a shell condition that is true on the machine at that moment.
const MOMENTS: [(&str, &str); 4] = [
    ("dpkg is at work", "grep -qs 'unpacked wireguard-tools' /var/log/dpkg.log"),
    ("the image has been loaded", "test -e /srv/mitigator/docker-compose.yml"),
    ("the key has been written", "test -e /srv/mitigator/vpn-private.conf"),
    ("the tunnel comes up", "test -e /sys/class/net/wg0"),
];

#[test]
fn an_install_whose_power_fails_while_the_tunnel_comes_up_goes_on_and_keeps_its_key() {
    let Some(host) = VmHost::up("power") else { return };
    install_with_power_cuts(&host, &MOMENTS[2..]);
}

/// Installs, with a power cut at each of these moments; the run after the last one completes.
fn install_with_power_cuts(host: &VmHost, moments: &[(&str, &str)]) {
    let mut key = None;
    for (moment, sign) in moments {
        let mut install = host.install(1).start();
        let mut sight = host.shell(&format!("until {sign}; do sleep 0.1; done")).start();
        while sight.is_alive() {
            assert!(install.is_alive(), "{moment}: never\n{}", install.wait());
            thread::sleep(Duration::from_millis(5));
        }
        host.kill();
        sight.wait().exits(0);
        install.wait();
        host.boot();

        host.shell("dmesg | grep 'EXT4-fs.*error'").run().exits(1);
        host.shell("cat /run/initramfs/fsck.log").run().exits(0).does_not_say("INCONSISTENCY");
        let private = host.read(PRIVATE).map(|bytes| String::from_utf8(bytes).expect("it is text"));
        let now = private.map(|text| PrivateConf::parse(&text).expect("it is whole").key.public());
        assert!(key.is_none() || now == key, "{moment}: the key was {key:?} and is {now:?}");
        key = now;
    }
    let ran = host.install(1).arg("--json").run().exits(0);
    assert_eq!(ran.json()["outcome"], "pass", "{ran}");
    assert_tunnel_in_the_kernel(host);
    let own = host.status().json()["instance"]["public_key"].clone();
    assert_eq!(own, key.expect("it was made before the end").to_string());
    assert_eq!(host.install(1).arg("--json").run().exits(0).json()["steps"], serde_json::json!([]));
}
