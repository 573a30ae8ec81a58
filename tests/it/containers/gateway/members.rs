//! Members join, leave and change without disturbing the others.

use std::process::Child;

use super::wire::{BINARY, Instance, Wire, list, must, possible, said, wait_until};

/// (sent, received) of a finished ping.
fn packets(ping: Child) -> (u32, u32) {
    let text = String::from_utf8(ping.wait_with_output().unwrap().stdout).unwrap();
    let number = |what: &str| {
        let line = text.lines().find(|line| line.contains("packets transmitted")).unwrap_or_else(|| panic!("{text}"));
        let part = line.split(", ").find(|part| part.contains(what)).unwrap();
        part.split(' ').next().unwrap().parse().unwrap()
    };
    (number("transmitted"), number("received"))
}

#[test]
fn a_third_member_joins_and_leaves_without_a_lost_packet_between_the_first_two() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(3);
    let two = list(&all[..2]);
    let three = list(&all);
    for instance in &mut all[..2] {
        instance.write_public(&two);
        instance.up(&wire);
    }
    assert!(all[0].reaches(&all[1]), "{}", all[0].status());
    assert_eq!(all[0].peers(), ["10.8.3.2"]);

    let ping = all[0].ping_steadily(&all[1], 8);
    all[2].up(&wire);
    for instance in &all[..2] {
        instance.write_public(&three);
        let output = instance.reconfigure();
        assert!(output.status.success() && said(&output).contains("1 peer added"), "{}", said(&output));
    }
    assert_eq!(all[0].peers(), ["10.8.3.2", "10.8.3.3"]);
    assert!(all[2].reaches(&all[0]) && all[1].reaches(&all[2]));
    for _ in 0..3 {
        let output = all[1].reconfigure();
        assert!(output.status.success() && said(&output).contains("nothing"), "{}", said(&output));
    }
    for instance in &all[..2] {
        instance.write_public(&two);
        assert!(instance.reconfigure().status.success());
    }
    assert_eq!(all[0].peers(), ["10.8.3.2"]);
    assert!(!all[2].pings("10.8.3.1"));
    let (sent, received) = packets(ping);
    assert_eq!((sent, received), (400, 400));
}

#[test]
fn a_member_that_moves_changes_its_key_or_its_keepalive_is_followed() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(2);
    all.iter_mut().for_each(|instance| instance.up(&wire));
    assert!(all[0].reaches(&all[1]));

    // Another outer address: the session goes on there.
    must(all[1].inside("ip").args(["addr", "add", "192.0.2.9/24", "dev", "eth0"]));
    must(all[0].inside("ip").args(["neigh", "del", "192.0.2.9", "dev", "eth0"]));
    let moved = list(&all).replace("192.0.2.2:4567", "192.0.2.9:4567");
    all[0].write_public(&format!("{moved}PersistentKeepalive = 25\n"));
    let output = all[0].reconfigure();
    assert!(said(&output).contains("1 peer changed"), "{}", said(&output));
    let peer = &all[0].status()["peers"][0];
    assert_eq!((&peer["endpoint"], &peer["keepalive"]), (&"192.0.2.9:4567".into(), &25.into()));
    assert!(all[0].reaches(&all[1]));

    // Another key at the same address (FN-53).
    all[1].key = mitigator_vpn::wireguard::PrivateKey::generate();
    all[1].write_private(4567);
    let text = list(&all);
    for instance in &all {
        instance.write_public(&text);
        let output = instance.reconfigure();
        assert!(output.status.success(), "{}", said(&output));
    }
    assert_eq!(all[1].status()["public_key"], all[1].key.public().to_string());
    assert_eq!(all[0].peers(), ["10.8.3.2"]);
    assert!(all[0].reaches(&all[1]));
}

#[test]
fn status_says_what_the_tunnel_does() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(2);
    all[0].up(&wire);
    assert_eq!(all[0].status()["peers"][0]["handshake_age"], serde_json::Value::Null);
    all[1].up(&wire);
    // Nobody has sent anything but the gateways themselves.
    wait_until("they have greeted each other", || all[0].status()["peers"][0]["handshake_age"].is_u64());
    assert!(all[0].reaches(&all[1]));

    let status = all[0].status();
    assert_eq!(status["schema"], 1);
    assert_eq!((&status["interface"], &status["vpn"]), (&"wg0".into(), &true.into()));
    assert_eq!(status["addresses"], serde_json::json!(["10.8.3.1/24"]));
    assert_eq!(status["public_key"], all[0].key.public().to_string());
    assert_eq!(status["listen_port"], 4567);
    let sum = must(std::process::Command::new("sha256sum").arg(all[0].public_conf()));
    assert_eq!(status["public_sha256"], sum.split(' ').next().unwrap());
    assert_eq!((&status["applied_sha256"], &status["stale"]), (&status["public_sha256"], &false.into()));
    let peer = &status["peers"][0];
    assert_eq!(peer["public_key"], all[1].key.public().to_string());
    assert_eq!(peer["endpoint"], "192.0.2.2:4567");
    assert!(peer["handshake_age"].as_u64().unwrap() < 60, "{peer}");
    assert!(peer["rx_bytes"].as_u64().unwrap() > 0 && peer["tx_bytes"].as_u64().unwrap() > 0, "{peer}");

    // A list that has changed since is a difference to be seen (FN-50).
    all[0].write_public(&format!("# a comment\n{}", list(&all)));
    let status = all[0].status();
    assert_ne!(status["applied_sha256"], status["public_sha256"]);
    let text = must(all[0].inside(BINARY).args(["gateway", "status"]));
    assert!(text.contains("run reconfigure") && text.contains("10.8.3.2"), "{text}");
}

#[test]
fn a_malformed_file_keeps_the_live_configuration() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(2);
    all.iter_mut().for_each(|instance| instance.up(&wire));
    let good = list(&all);
    let private = all[0].dir.path().join("vpn-private.conf");
    for (text, reason) in [
        (good.replace("/32", "/24"), "line"),
        (format!("{good}{good}"), "line"),
        (good.replace("192.0.2.2", "example.org"), "line"),
        (String::new(), "empty"),
        ("\u{feff}".to_owned() + &good, "line 1"),
    ] {
        all[0].write_public(&text);
        let output = all[0].reconfigure();
        assert_eq!(output.status.code(), Some(2), "{text:?}: {}", said(&output));
        assert!(said(&output).contains(reason) && said(&output).contains("/srv/public.conf"), "{}", said(&output));
    }
    all[0].write_public(&good);
    let right = std::fs::read(&private).unwrap();
    std::fs::write(&private, "[Interface]\nPrivateKey = no key at all\n").unwrap();
    let output = all[0].reconfigure();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    std::fs::write(&private, right).unwrap();

    assert!(all[0].reaches(&all[1]));
    let output = all[0].reconfigure();
    assert!(output.status.success() && said(&output).contains("nothing"), "{}", said(&output));
}

#[test]
fn a_file_replaced_behind_its_bind_mount_is_called_stale() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(2);
    all[0].up(&wire);
    let beside = all[0].dir.path().join("new");
    std::fs::write(&beside, list(&all[..1])).unwrap();
    std::fs::rename(&beside, all[0].public_conf()).unwrap();
    let output = all[0].reconfigure();
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains("still sees the old one"), "{}", said(&output));
    assert_eq!(all[0].status()["stale"], true);
    assert_eq!(all[0].peers(), ["10.8.3.2"]);
}

#[test]
fn many_reconfigures_at_once_end_with_the_newest_list() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(4);
    all[0].up(&wire);
    let running: Vec<_> = (1..=4)
        .flat_map(|count| {
            all[0].write_public(&list(&all[..count]));
            (0..3).map(|_| all[0].inside(BINARY).args(["gateway", "reconfigure"]).spawn().unwrap()).collect::<Vec<_>>()
        })
        .collect();
    for mut child in running {
        child.wait().unwrap();
    }
    assert_eq!(all[0].peers(), ["10.8.3.2", "10.8.3.3", "10.8.3.4"]);
    let output = all[0].reconfigure();
    assert!(said(&output).contains("nothing"), "{}", said(&output));
}

#[test]
fn a_port_that_is_taken_leaves_the_old_one_and_its_sessions() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(2);
    all.iter_mut().for_each(|instance| instance.up(&wire));
    assert!(all[0].reaches(&all[1]));
    let held = all[0].bind_udp(4568);
    all[0].write_private(4568);
    let output = all[0].reconfigure();
    assert!(!output.status.success() && said(&output).contains("UDP port 4568 is in use"), "{}", said(&output));
    assert_eq!(all[0].status()["listen_port"], 4567);
    assert!(all[0].reaches(&all[1]));

    drop(held);
    let output = all[0].reconfigure();
    assert!(output.status.success() && said(&output).contains("port 4568"), "{}", said(&output));
    assert!(all[0].reaches(&all[1]));
}
