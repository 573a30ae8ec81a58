//! A host that lies, in its list and on the wire: the others keep what they have and go on, and it is named.

use super::cluster::{Cluster, PUBLIC, members, said_of};
use crate::support::Host;

/// A key that nobody has, and another one.
const KEYS: [&str; 2] =
    ["UguPyBThx/+xMXeTbRYkKlP0Wh/QZT3vTLPOVaaXTD8=", "yWEEyvxNAzDhzYTCZJDZvnEIUZgrq7ueZ8WDnIGgPDk="];

fn section(address: &str, key: &str) -> String {
    format!("\n[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32\nEndpoint = 198.51.100.66:4567\n")
}

/// The first host says this from now on, whatever it is asked.
fn says(cluster: &Cluster, command: &str) {
    let host = cluster.host(1);
    let config = host.text("/etc/ssh/sshd_config");
    let (config, _) = config.split_once("ForceCommand").unwrap_or((&config, ""));
    let force = if command.is_empty() { String::new() } else { format!("ForceCommand {command}\n") };
    host.write("/etc/ssh/sshd_config", format!("{config}{force}"));
    host.call("pkill -HUP -o -x sshd").run().exits(0);
    // It starts itself anew, and refuses connections until it listens again.
    std::thread::sleep(std::time::Duration::from_secs(1));
}

#[test]
fn a_host_whose_list_lies_changes_nobody_elses() {
    let Some(cluster) = Cluster::up("lies", 5, 4) else { return };
    cluster.call("apply").run().exits(0);
    let honest = cluster.list(2).expect("it has one");
    let liar = cluster.host(1);

    // Members of its own, one of them outside of the network, and a bomb of comments.
    let bomb = "# by the liar\n".repeat(20_000);
    let lie = format!("{bomb}{honest}{}", section("10.8.3.66", KEYS[0]));
    let outside = section("10.9.9.9", KEYS[1]).replace(".66:", ".99:");
    liar.write(PUBLIC, format!("{lie}{outside}"));
    let plan = cluster.call("plan").run().exits(5);
    plan.says("10.8.3.66 is a member that neither").says("10.9.9.9 lies outside of 10.8.3.0/24");
    cluster.call("apply").run().exits(5).says("--accept-member 10.8.3.66");
    cluster.call("apply --accept-member 10.9.9.9").run().exits(5);
    (2..=4).for_each(|n| assert_eq!(cluster.list(n).as_ref(), Some(&honest), "h{n}"));
    cluster.call("plan --accept-member 10.8.3.66").run().exits(5).says("\"added\"");

    // A newcomer gets the others' list.
    cluster.add(5).run().exits(5);
    cluster.assert_agree(2..=5, 5);
    assert!(!cluster.list(5).is_some_and(|list| list.contains("liar")));
    assert_eq!(members(&cluster.list(1).expect("it has one")), 7);

    // Another key for a member that is down.
    let honest = cluster.list(2).expect("it has one");
    let key = |n: usize| {
        let list = honest.split("[Peer]").find(|s| s.contains(&format!("10.8.3.{n}/32"))).expect("it is a member");
        list.split("PublicKey = ").nth(1).and_then(|rest| rest.lines().next()).expect("it has a key").to_owned()
    };
    liar.write(PUBLIC, honest.replace(&key(3), KEYS[0]));
    cluster.host(3).kill();
    cluster.call("plan").run().exits(5).says("not all lists say of 10.8.3.3");
    cluster.call("apply").run().exits(5);
    [2, 4, 5].iter().for_each(|n| assert_eq!(cluster.list(*n).as_ref(), Some(&honest), "h{n}"));
    assert_eq!(
        said_of(&cluster.call("status").run().exits(5), 2)["disk"],
        said_of(&cluster.call("status").run(), 4)["disk"]
    );

    // Removed while it says that, and that the others are nobody.
    liar.write(PUBLIC, section("10.8.3.1", &key(1)));
    cluster.call("remove h1").run().exits(5);
    cluster.assert_agree([2, 4, 5], 4);
    assert!(!cluster.list(2).is_some_and(|list| list.contains("10.8.3.1/32")));
    cluster.host(3).boot();
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(2..=5, 4);
}

#[test]
fn a_host_that_talks_nonsense_is_named_and_the_others_go_on() {
    let Some(cluster) = Cluster::up("nonsense", 3, 2) else { return };
    cluster.call("apply").run().exits(0);
    let real = "/bin/sh -c \"$SSH_ORIGINAL_COMMAND\"";
    cluster.declare([1, 2, 3]);
    for (command, words) in [
        (
            format!("{real} | sed -u 's/\"seen\":\"[0-9a-f]*\"/\"seen\":\"a\\xc3\\xa9\\xc3\\xa9\\xc3\\xa9\"/'"),
            "SHA-256",
        ),
        (format!("{real} | sed -u 's/\"pending\":\\[\\]/\"pending\":[7]/'"), "message"),
        (format!("{real} | (head -n 1; tr '\\0' x </dev/zero)"), "5 MiB"),
        ("tr '\\0' x </dev/zero".to_owned(), "5 MiB"),
        ("yes".to_owned(), "login shell"),
        ("printf '\\033]52;c;eA==\\007\\342\\200\\256evil' >&2; false".to_owned(), "evil"),
    ] {
        says(&cluster, &command);
        let ran = cluster.call("status").run().exits(5);
        let document = ran.json();
        let differences: Vec<&str> =
            document["differences"].as_array().expect("a list").iter().filter_map(|d| d.as_str()).collect();
        let named = differences.iter().find(|difference| difference.starts_with("h1: "));
        let named = named.unwrap_or_else(|| panic!("{command}\n{ran}"));
        assert!(named.contains(words) && !named.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{command}: {named}");
    }
    // The third joins meanwhile.
    cluster.call("apply").run().exits(5);
    assert_eq!(members(&cluster.list(2).expect("it has one")), 3);
    assert_eq!(cluster.list(2), cluster.list(3));
    says(&cluster, "");
    cluster.call("apply").run().exits(0);
    cluster.assert_agree(1..=3, 3);

    // One whose list is another one, whenever it is to be changed.
    let honest = cluster.list(1).expect("it has one");
    let (rest, _) = honest.rsplit_once("[Peer]").expect("there are members");
    cluster.host(1).write(PUBLIC, rest);
    let other = "0".repeat(64);
    says(&cluster, &format!("sed -u 's/\"seen\":\"[0-9a-f]*\"/\"seen\":\"{other}\"/' | {real}"));
    let ran = cluster.call("apply").run().exits_with_one_of(&[5, 6]);
    let stopped = ran.json()["stopped"].as_str().unwrap_or_default().to_owned();
    assert!(stopped.contains("keep changing") && stopped.contains("h1") && !stopped.contains("h2"), "{ran}");
    says(&cluster, "");
    cluster.call("apply").run().exits(0);

    // Five megabytes of comments: no host can read such a list, and no other gets it.
    let honest = cluster.list(2).expect("it has one");
    cluster.host(1).write(PUBLIC, format!("{}{honest}", "# by the liar\n".repeat(360_000)));
    let ran = cluster.call("apply").run().exits(5);
    assert!(said_of(&ran, 1)["reason"].as_str().is_some_and(|reason| reason.contains("MiB")), "{ran}");
    [2, 3].iter().for_each(|n| assert_eq!(cluster.list(*n).as_ref(), Some(&honest), "h{n}"));
}
