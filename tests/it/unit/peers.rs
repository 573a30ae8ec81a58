//! `peers`: a list is read strictly, edited in one place, and never lost; every error is reported with its line.

use crate::support::Host;
use crate::support::secret::Canary;
use crate::support::tree::TreeHost;

const LIST: &str = "/srv/mitigator/vpn-public.conf";
const PRIVATE: &str = "/srv/mitigator/vpn-private.conf";
const ENV: &str = "/srv/mitigator/.env";

/// A member's key: `n` and thirty-one zero bytes.
fn key(n: u8) -> String {
    use base64ct::{Base64, Encoding};
    let mut bytes = [0; 32];
    bytes[0] = n;
    Base64::encode_string(&bytes)
}

pub fn section(n: u8) -> String {
    format!("[Peer]\nPublicKey = {}\nAllowedIPs = 10.8.3.{n}/32\nEndpoint = 192.0.2.{n}:4567\n", key(n))
}

pub fn two() -> String {
    format!("# Kazan, since May\n{}\n# Omsk\n{}# until spring\n\n# end\n", section(1), section(2))
}

pub fn add(n: u8) -> String {
    format!("peers add --public-key {} --vpn-address 10.8.3.{n} --endpoint 192.0.2.{n}", key(n))
}

/// A malformed list, its line, and words of the error.
fn bad_lists() -> Vec<(&'static str, Vec<u8>, usize, &'static str)> {
    let one = section(1);
    let with = |from: &str, to: &str| one.replace(from, to).into_bytes();
    let and = |more: &str| format!("{one}\n{more}").into_bytes();
    vec![
        ("duplicate key", and(&section(2).replace(&key(2), &key(1))), 6, "already that of the [Peer] on line 1"),
        (
            "duplicate AllowedIPs",
            and(&section(2).replace("10.8.3.2", "10.8.3.1")),
            8,
            "10.8.3.1/32 is already on line 3",
        ),
        ("overlapping AllowedIPs", and(&section(2).replace("2/32", "0/24")), 8, "it would overlap other members"),
        ("prefix other than /32", with("1/32", "1/24"), 3, "not a single address"),
        ("an IPv6 AllowedIPs", with("10.8.3.1/32", "fd00::1/128"), 3, "an IPv6 address"),
        ("port 0", with(":4567", ":0"), 4, "port 0"),
        ("port over 65535", with(":4567", ":99999"), 4, "not a port from 1 to 65535"),
        ("no port", with(":4567", ""), 4, "no port"),
        ("unbracketed IPv6", with("192.0.2.1:", "2001:db8::1:"), 4, "needs brackets"),
        ("hostname endpoint", with("192.0.2.1", "msk-1.example"), 4, "a host name"),
        ("unknown key", and("Address = 10.8.3.1/24\n"), 6, "unknown key Address"),
        ("no section", b"PublicKey = x\n".to_vec(), 1, "outside of any section"),
        (
            "no PublicKey",
            one.lines().filter(|l| !l.starts_with("Pub")).collect::<Vec<_>>().join("\n").into(),
            1,
            "no PublicKey",
        ),
        ("an interface section", and("[Interface]\n"), 6, "[Interface] section"),
        ("a preshared key", and(&format!("PresharedKey = {}\n", key(9))), 6, "a secret in the public list"),
        ("keepalive", and("PersistentKeepalive = 70000\n"), 6, "not a number of seconds"),
        ("BOM", format!("\u{feff}{one}").into_bytes(), 1, "a byte order mark"),
        ("CRLF", one.replace('\n', "\r\n").into_bytes(), 1, "Windows line endings"),
        ("binary", b"\x7fELF\x02\x01\0\0".to_vec(), 1, "a NUL byte"),
        ("Latin-1", b"# \xcf\xf0\n".to_vec(), 1, "not UTF-8 text"),
        ("empty", Vec::new(), 1, "the file is empty"),
        ("comments only", b"# nobody\n".to_vec(), 1, "no [Peer] section"),
    ]
}

/// Every command that takes a list, with its words for one named `file`.
fn commands(file: &str, good: &str) -> Vec<String> {
    vec![
        format!("peers list {file}"),
        format!("peers check {file}"),
        format!("{} {file}", add(7)),
        format!("peers remove 10.8.3.1 {file}"),
        format!("peers import {file}"),
        format!("peers diff {file} {good}"),
        format!("peers diff {good} {file}"),
    ]
}

#[test]
fn a_malformed_list_is_reported_with_file_line_reason_and_hint_and_left_alone() {
    let tree = TreeHost::bare().file("/good.conf", two());
    let good = tree.at("/good.conf").display().to_string();
    for (what, bytes, line, reason) in bad_lists() {
        let tree = TreeHost::bare().file("/bad.conf", bytes);
        let before = tree.snapshot();
        let file = tree.at("/bad.conf").display().to_string();
        for command in commands(&file, &good) {
            let ran = tree.vpn(&command).run().exits(2).says(reason).says("→ ");
            assert!(ran.err().contains(&format!("{file}: line {line}: ")), "{what}: {}", ran.err());
            assert_eq!(ran.out(), "", "{what}");
        }
        before.is_untouched_in(&tree.snapshot());
    }
}

#[test]
fn a_file_that_cannot_be_read_is_reported_and_left_alone() {
    let tree = TreeHost::bare()
        .file("/good.conf", two())
        .directory("/directory")
        .link("/dangling", "/nowhere")
        .file("/huge", vec![b'#'; 10 << 20]);
    let good = tree.at("/good.conf").display().to_string();
    let before = tree.snapshot();
    for (name, reason) in [
        ("directory", "is a directory, not a file"),
        ("dangling", "is a link to nowhere"),
        ("huge", "is larger than 4 MiB"),
        ("gone.conf", "no such file"),
    ] {
        let file = tree.at(name).display().to_string();
        for command in commands(&file, &good).iter().filter(|c| name != "gone.conf" || !c.contains("peers add")) {
            tree.vpn(command).run().exits(2).says(reason).says(name).says("→ ");
        }
    }
    let missing = tree.at("missing/list.conf").display().to_string();
    for file in [format!("{good}/below"), missing] {
        tree.vpn(&format!("{} {file}", add(7))).run().exits(2).says("must be a directory");
    }
    before.is_untouched_in(&tree.snapshot());
}

#[test]
fn all_bad_lines_are_reported_at_once_also_as_json() {
    let text = format!("{}\n[Peer]\nPublicKey = x\nAllowedIPs = 10.8.3.9/24\n", section(1));
    let tree = TreeHost::bare().file(LIST, &text);
    let ran = tree.vpn("peers check").run().exits(2);
    for line in ["line 6: this [Peer] has no Endpoint", "line 7: PublicKey: not a", "line 8: AllowedIPs: 10.8.3.9/24"] {
        assert!(ran.err().contains(line), "{}", ran.err());
    }
    let document = tree.vpn("peers check --json").run().exits(2).json();
    let lines: Vec<_> = document["problems"].as_array().expect("a list").iter().map(|p| p["line"].clone()).collect();
    assert_eq!((document["schema"].clone(), lines), (1.into(), vec![6.into(), 7.into(), 8.into()]));
    assert_eq!(document["outcome"], "fail");
}

#[test]
fn members_that_dont_fit_into_one_network_fail_the_check() {
    let tree = TreeHost::bare().file(LIST, two() + &section(9).replace("10.8.3.9", "10.8.4.9"));
    tree.vpn("peers check").run().exits(3).says("10.8.4.9 lies outside of 10.8.3.0/24");
    let document = tree.vpn("peers check --json").run().exits(3).json();
    assert_eq!((&document["members"], &document["prefix"]), (&3.into(), &24.into()));
    tree.vpn("peers check --prefix 16").run().exits(0).says("3 members in one /16");
    tree.write(ENV, "MITIGATOR_VPN_PREFIX=21\n");
    tree.vpn("peers check").run().exits(0).says("/21");
    let ends = TreeHost::bare().file(LIST, section(1) + &section(255) + &section(200).replace("3.200", "3.0"));
    ends.vpn("peers check").run().exits(3).says("10.8.3.0 is the network address").says("10.8.3.255 is the broadcast");
}

#[test]
fn a_list_is_shown_with_its_digest() {
    let tree = TreeHost::bare().file(LIST, two());
    tree.vpn("peers list").run().exits(0).says("10.8.3.1").says("192.0.2.2:4567").says(&key(2));
    let document = tree.vpn("peers list --json").run().exits(0).json();
    assert_eq!(document["members"][1]["vpn_address"], "10.8.3.2");
    assert_eq!(document["members"][1]["keepalive"], serde_json::Value::Null);
    let sum = tree.call("sha256sum").arg(tree.at(LIST).display().to_string()).run().exits(0);
    assert_eq!(Some(document["digest"].as_str().expect("a digest")), sum.out().split(' ').next());
    tree.vpn("peers list -").stdin(two()).run().exits(0).says("standard input: 2 members");
}

#[test]
fn a_cluster_file_is_made_of_a_list() {
    let tree = TreeHost::bare().file(LIST, two());
    for ran in [tree.vpn("peers import").run(), tree.vpn("peers import -").stdin(two()).run()] {
        let ran = ran.exits(0);
        let file = ran.out();
        for line in ["vpn-address = \"10.8.3.2\"", "endpoint = \"192.0.2.2:4567\"", "ssh = \"root@192.0.2.2\""] {
            assert_eq!(file.lines().filter(|l| *l == line).count(), 1, "{file}");
        }
    }
}

#[test]
fn an_added_member_stands_at_the_end_and_removing_it_gives_the_bytes_back() {
    let tree = TreeHost::bare().file(LIST, two()).mode(LIST, 0o640);
    tree.vpn(&add(3)).run().exits(0).says("+ 10.8.3.3").says("reconfigure");
    assert_eq!(tree.text(LIST), format!("{}\n{}", two(), section(3)));
    assert_eq!(tree.mode_of(LIST), 0o640);
    let again = tree.snapshot();
    let document = tree.vpn(&add(3)).arg("--json").run().exits(0).json();
    assert_eq!(document["change"], serde_json::Value::Null);
    again.is_untouched_in(&tree.snapshot());
    let document = tree.vpn(&format!("peers remove {} --json", key(3))).run().exits(0).json();
    assert_eq!(document["change"]["removed"]["vpn_address"], "10.8.3.3");
    assert_eq!(tree.text(LIST), two());
    tree.vpn("peers remove 10.8.3.2").run().exits(0);
    assert_eq!(tree.text(LIST), format!("# Kazan, since May\n{}\n# end\n", section(1)));
}

#[test]
fn the_first_member_makes_the_file() {
    let tree = TreeHost::bare().directory("/lists");
    let file = tree.at("/lists/new.conf").display().to_string();
    tree.vpn(&format!("{} {file} --keepalive 25", add(1))).run().exits(0);
    assert_eq!(tree.text("/lists/new.conf"), format!("{}PersistentKeepalive = 25\n", section(1)));
    assert_eq!(tree.mode_of("/lists/new.conf"), 0o644);
}

#[test]
fn an_edit_that_would_break_the_list_is_refused() {
    let tree = TreeHost::bare().file(LIST, two());
    let before = tree.snapshot();
    for (edit, reason) in [
        (add(3).replace("10.8.3.3", "10.8.3.2"), "the VPN address 10.8.3.2 is already that of"),
        (add(3).replace(&key(3), &key(2)), "is already that of the member 10.8.3.2"),
        (add(3).replace("192.0.2.3", "192.0.2.2"), "the endpoint 192.0.2.2:4567 is already"),
        (add(3).replace("10.8.3.3", "10.8.4.3"), "outside of 10.8.3.0/24"),
        (add(3).replace("10.8.3.3", "10.8.3.255"), "the broadcast address"),
        (add(3).replace("10.8.3.3", "10.8.3.300"), "--vpn-address"),
        (add(3).replace("192.0.2.3", "msk-1.example"), "--endpoint"),
        (add(3).replace("192.0.2.3", "192.0.2.3:0"), "--endpoint"),
        (add(3).replace("192.0.2.3", "224.0.0.1"), "a multicast address"),
        (add(3).replace(&key(3), "short"), "--public-key"),
        (add(3).replace(&key(3), "acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc="), "example key"),
        ("peers remove 10.8.3.9".into(), "no member has the VPN address 10.8.3.9"),
        ("peers remove msk-1".into(), "by its VPN address or its public key"),
        ("peers remove 10.8.3.1 -".into(), "standard input can't be edited"),
        ("peers diff - -".into(), "only one of the two lists"),
    ] {
        tree.vpn(&edit).run().exits(2).says(reason);
    }
    before.is_untouched_in(&tree.snapshot());
    let lonely = TreeHost::bare().file(LIST, section(1));
    lonely.vpn("peers remove 10.8.3.1").run().exits(2).says("the only member");
    assert_eq!(lonely.text(LIST), section(1));
}

#[test]
fn an_edit_meant_for_another_list_is_refused() {
    let tree = TreeHost::bare().file(LIST, two());
    let seen = tree.vpn("peers list --json").run().exits(0).json()["digest"].as_str().expect("a digest").to_owned();
    tree.vpn(&add(3)).arg(format!("--expect-digest={}", seen.to_uppercase())).run().exits(0);
    let before = tree.snapshot();
    tree.vpn(&add(4)).arg(format!("--expect-digest={seen}")).run().exits(3).says("any more");
    tree.vpn("peers remove 10.8.3.1").arg(format!("--expect-digest={seen}")).run().exits(3);
    before.is_untouched_in(&tree.snapshot());
}

#[test]
fn edits_at_once_all_take_effect() {
    let tree = TreeHost::bare().file(LIST, two());
    let adding: Vec<_> = (10..26).map(|n| tree.vpn(&add(n)).start()).collect();
    let removing = tree.vpn("peers remove 10.8.3.2").start();
    for running in adding.into_iter().chain([removing]) {
        running.wait().exits(0);
    }
    let document = tree.vpn("peers list --json").run().exits(0).json();
    let mut left: Vec<_> =
        document["members"].as_array().expect("a list").iter().map(|m| m["vpn_address"].to_string()).collect();
    left.sort();
    let mut expected: Vec<_> = (10..26).chain([1]).map(|n| format!("\"10.8.3.{n}\"")).collect();
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn an_edit_of_the_instances_own_list_waits_for_no_install() {
    let tree = TreeHost::bare().file(LIST, two());
    let _held =
        mitigator_vpn::host::Host::at(&tree.at("/")).and_then(|mut host| host.lock()).expect("nobody else has it");
    let before = tree.snapshot();
    tree.vpn(&add(3)).run().exits(7).says("another run holds the lock");
    before.is_untouched_in(&tree.snapshot());
    // An install doesn't write lists elsewhere.
    let elsewhere = tree.at("/root.conf").display().to_string();
    tree.vpn(&format!("{} {elsewhere}", add(3))).run().exits_with_one_of(&[0, 7]);
}

#[test]
fn lists_are_compared_by_members_not_by_layout() {
    let tree = TreeHost::bare().file(LIST, two());
    let same = tree.at("/same.conf").display().to_string();
    tree.write(
        "/same.conf",
        format!("{}{}", section(2), section(1).to_lowercase().replace(&key(1).to_lowercase(), &key(1))),
    );
    tree.vpn(&format!("peers diff {same}")).run().exits(0).says("the same members, another layout");
    tree.vpn("peers diff -").stdin(two()).run().exits(0).says("the same bytes");
    let moved = two().replace("192.0.2.2:", "192.0.2.20:") + "\n" + &section(3);
    let ran = tree.vpn("peers diff -").stdin(moved.clone()).run().exits(5);
    for line in ["- 10.8.3.2 192.0.2.2:4567", "+ 10.8.3.2 192.0.2.20:4567", "+ 10.8.3.3"] {
        assert!(ran.out().lines().any(|l| l.starts_with(line)), "{ran}");
    }
    let document = tree.vpn(&format!("peers diff - {same} --json")).stdin(moved).run().exits(5).json();
    assert_eq!(document["changes"][0]["changed"]["to"]["endpoint"], "192.0.2.2:4567");
    assert_eq!(document["changes"][1]["removed"]["vpn_address"], "10.8.3.3");
}

#[test]
fn a_renewed_key_is_not_taken_back_by_a_list_from_before() {
    let canary = Canary::new();
    let before = section(1) + "\n" + &section(2);
    let tree = TreeHost::with_vendor_stack().file(PRIVATE, canary.private_conf()).file("/old.conf", &before);
    tree.write(LIST, before.replace(&key(1), &canary.public));
    let old = tree.at("/old.conf").display().to_string();
    let install = "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --yes --peers";
    tree.vpn(&format!("{install} {old}")).run().exits(0);
    assert_eq!(tree.text(LIST), before.replace(&key(1), &canary.public));
}
