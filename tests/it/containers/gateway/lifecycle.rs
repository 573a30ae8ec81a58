//! How a gateway starts, runs and stops.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wire::{BINARY, Instance, Wire, must, neighbours, possible, said, wait_until};

#[test]
fn without_a_full_configuration_it_runs_and_makes_no_vpn() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let whole = Some("10.8.3.1/24");
    for (gone, address, words) in [
        ("vpn-public.conf", whole, "missing: /srv/public.conf"),
        ("vpn-private.conf", whole, "missing: /srv/private.conf"),
        ("none of them", None, "missing: GATEWAY_ADDRESS"),
        ("none of them", Some(""), "missing: GATEWAY_ADDRESS"),
    ] {
        let mut instance = Instance::cluster(1).remove(0);
        let _ = fs::remove_file(instance.dir.path().join(gone));
        instance.start(&wire, address);
        wait_until("it says so", || instance.log().contains(words));
        assert_eq!(instance.status()["vpn"], false);
        if address == whole {
            let output = instance.reconfigure();
            assert!(output.status.success() && said(&output).contains("clustering is off"), "{}", said(&output));
        }
        let (code, took) = instance.stop(Signal::SIGTERM);
        assert_eq!(code, 0);
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn it_ends_quickly_when_told_to_and_takes_its_interface_along() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut instance = Instance::cluster(1).remove(0);
        instance.up(&wire);
        let network = instance.network();
        let (code, took) = instance.stop(signal);
        assert_eq!(code, 0, "{}", instance.log());
        assert!(took < Duration::from_secs(3), "{took:?}");
        let path = format!("--net=/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
        let links = must(Command::new("nsenter").args([&path, "ip", "-br", "link"]));
        assert!(links.contains("eth0") && !links.contains("wg0"), "{links}");
    }
}

#[test]
fn it_fails_when_wireguard_go_dies_so_that_it_is_restarted() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut instance = Instance::cluster(1).remove(0);
    instance.up(&wire);
    let Some(wireguard_go) = neighbours(instance.pid(), "wireguard-go").pop() else {
        // This kernel has WireGuard: there is no wireguard-go that could die, and nothing to promise.
        return;
    };
    kill(wireguard_go, Signal::SIGKILL).unwrap();
    assert_eq!(instance.ended(), 1);
    assert!(instance.log().contains("wireguard-go has ended"), "{}", instance.log());
}

#[test]
fn a_reconfigure_of_an_interface_that_is_not_there_names_the_one_that_is() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut instance = Instance::cluster(1).remove(0);
    instance.up(&wire);
    let output = instance.inside(BINARY).args(["gateway", "reconfigure", "--interface", "wg7"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("reconfigure --interface wg0"), "{}", said(&output));
}

#[test]
fn it_reaps_children_that_were_left_to_it() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut instance = Instance::new(1);
    instance.start(&wire, None);
    wait_until("it runs", || instance.log().contains("clustering is off"));
    must(instance.inside("sh").args(["-c", "(sleep 0.2; exit 3) >/dev/null 2>&1 &"]));
    let children = format!("/proc/{0}/task/{0}/children", instance.pid());
    wait_until("the orphan is gone", || {
        std::thread::sleep(Duration::from_millis(300));
        fs::read_to_string(&children).unwrap().trim().is_empty()
    });
}

#[test]
fn a_malformed_file_at_the_start_is_refused_with_its_line() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    for (public, address, words) in [
        ("[Peer]\nPublicKey = short\n", "10.8.3.1/24", "/srv/public.conf: line 2"),
        ("", "10.8.3.1/24", "empty"),
        ("whole", "10.8.3.1", "GATEWAY_ADDRESS: '10.8.3.1' has no prefix"),
        ("whole", "10.8.3.0/24", "network address"),
    ] {
        let mut instance = Instance::cluster(1).remove(0);
        if public != "whole" {
            instance.write_public(public);
        }
        instance.start(&wire, Some(address));
        assert_eq!(instance.ended(), 2, "{}", instance.log());
        assert!(instance.log().contains(words), "{}", instance.log());
    }
}

#[test]
fn an_interface_of_somebody_else_is_left_alone() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut instance = Instance::cluster(1).remove(0);
    instance.up(&wire);
    // A second gateway in the same network and mounts, with another key.
    let other = Instance::cluster(1).remove(0);
    let private = other.dir.path().join("vpn-private.conf");
    let second = |interface: &str| {
        let mut command = instance.inside(BINARY);
        command.args(["gateway", "run", "--address", "10.9.0.1/24", "--interface", interface, "--private"]);
        command.arg(&private).output().unwrap()
    };
    let output = second("wg0");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("GATEWAY_INTERFACE"), "{}", said(&output));
    let output = second("eth0");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    // And one whose port is taken: it takes its own interface away again.
    let output = second("wg1");
    assert!(said(&output).contains("UDP port 4567 is in use"), "{}", said(&output));
    let links = must(instance.inside("ip").args(["-br", "link"]));
    assert!(links.contains("eth0") && links.contains("wg0") && !links.contains("wg1"), "{links}");
    assert_eq!(instance.status()["public_key"], instance.key.public().to_string());
}

#[test]
fn a_gateway_that_was_killed_leaves_nothing_that_the_next_one_trips_over() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(2);
    all.iter_mut().for_each(|instance| instance.up(&wire));
    // Beside the running one, under another name and port, so that its namespaces outlive the kill.
    all[0].write_private(4568);
    let log = all[0].dir.path().join("second");
    for starts in 1..=2 {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = all[0].inside(BINARY);
        command.args(["gateway", "run", "--address", "10.9.0.1/24", "--interface", "wg1"]).stderr(file);
        let mut outer = command.stdout(Stdio::null()).spawn().unwrap();
        wait_until("wg1 is up", || fs::read_to_string(&log).unwrap().matches("wg1 is up").count() == starts);
        // nsenter --pid forks: the gateway is its child.
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let inner: i32 = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(inner), Signal::SIGKILL).unwrap();
        outer.wait().unwrap();
        assert!(must(all[0].inside("ip").args(["-br", "link"])).contains("wg1"), "the kill left no interface");
    }
    assert!(all[0].reaches(&all[1]));
}
