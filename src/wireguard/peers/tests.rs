mod properties;

use super::*;
use crate::wireguard::PrivateKey;

const TWO: &str = "\
# the cluster, north first

# msk-1
[Peer]
PublicKey = acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=
AllowedIPs = 10.8.3.1/32
Endpoint = 192.0.2.1:4567   # second uplink

[peer]
\tpublickey=UguPyBThx/+xMXeTbRYkKlP0Wh/QZT3vTLPOVaaXTD8=
allowedips = 10.8.3.2/32
Endpoint = [2001:db8::2]:4567
PersistentKeepalive = off
# until the autumn

# end of list
";

fn key(seed: u8) -> PublicKey {
    PublicKey::from_bytes([seed; 32])
}

fn peer(n: u8) -> Peer {
    let endpoint = SocketAddr::from(([192, 0, 2, n], 4567));
    Peer { public_key: key(n), address: Ipv4Addr::new(10, 8, 3, n), endpoint, keepalive: None }
}

fn list(members: impl IntoIterator<Item = u8>) -> PeerList {
    let mut list = PeerList::default();
    members.into_iter().for_each(|n| list.add(peer(n)).unwrap());
    list
}

fn member(n: u8) -> String {
    section_text(&peer(n))
}

fn set_endpoint(list: &mut PeerList, address: &str, endpoint: &str) -> Result<()> {
    let peer = list.by_address(address.parse().unwrap()).unwrap().clone();
    list.put(Peer { endpoint: endpoint.parse().unwrap(), ..peer })
}

fn problems(text: &str) -> Vec<String> {
    PeerList::parse(text).unwrap_err().iter().map(LineProblem::to_string).collect()
}

/// The only problem of this text.
fn problem(text: &str) -> LineProblem {
    let mut problems = PeerList::parse(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn what_wg_reads_is_read_and_given_back_byte_for_byte() {
    let list = PeerList::parse(TWO).unwrap();
    assert_eq!(list.to_text(), TWO);
    let read: Vec<String> = list.peers().map(|peer| Message::from(peer).to_string()).collect();
    assert_eq!(read, ["10.8.3.1 192.0.2.1:4567 key acfzxE6Z…", "10.8.3.2 [2001:db8::2]:4567 key UguPyBTh…"]);
    assert_eq!(list.section("10.8.3.2".parse().unwrap()).map(|section| section.line), Some(9));
}

#[test]
fn a_new_section_looks_like_the_vendors_example() {
    let mut list = PeerList::default();
    list.add(Peer {
        public_key: "acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=".parse().unwrap(),
        address: "10.8.3.1".parse().unwrap(),
        endpoint: "192.0.2.1:4567".parse().unwrap(),
        keepalive: None,
    })
    .unwrap();
    list.add(Peer { keepalive: Some(25), ..peer(2) }).unwrap();
    let second = format!("[Peer]\nPublicKey = {}\nAllowedIPs = 10.8.3.2/32\n", key(2));
    let expected = format!(
        "[Peer]\nPublicKey = acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=\nAllowedIPs = 10.8.3.1/32\n\
         Endpoint = 192.0.2.1:4567\n\n{second}Endpoint = 192.0.2.2:4567\nPersistentKeepalive = 25\n"
    );
    assert_eq!(list.to_text(), expected);
}

#[test]
fn every_bad_line_is_reported_with_its_number_and_a_way_out() {
    let key = key(7);
    let valid =
        [("PublicKey", key.to_string()), ("AllowedIPs", "10.8.3.7/32".into()), ("Endpoint", "192.0.2.7:1".into())];
    let with = |name: &str, value: &str| {
        let lines = valid.iter().map(|(n, v)| format!("{n} = {}\n", if *n == name { value } else { v }));
        format!("[Peer]\n{}", lines.collect::<String>())
    };
    for (name, value, reason) in [
        ("PublicKey", "", "not a WireGuard key"),
        ("PublicKey", "acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc", "not a WireGuard key"),
        ("PublicKey", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "a placeholder"),
        ("AllowedIPs", "10.8.3.7/24", "10.8.3.7/24 is not a single address"),
        ("AllowedIPs", "10.8.3.7", "10.8.3.7 without /32"),
        ("AllowedIPs", "10.8.3.7/032", "not a single address"),
        ("AllowedIPs", "10.8.3.7/33", "not a single address"),
        ("AllowedIPs", "010.8.3.7/32", "not an IPv4 address"),
        ("AllowedIPs", "10.8.3.7/32, 10.8.3.8/32", "several networks"),
        ("AllowedIPs", "fd00::1/128", "an IPv6 address"),
        ("AllowedIPs", "0.0.0.0/32", "the unspecified address"),
        ("AllowedIPs", "224.0.0.1/32", "a multicast address"),
        ("AllowedIPs", "255.255.255.255/32", "the broadcast address"),
        ("AllowedIPs", "0.0.0.0/0", "not a single address"),
        ("Endpoint", "192.0.2.7", "no port"),
        ("Endpoint", "192.0.2.7:0", "port 0"),
        ("Endpoint", "192.0.2.7:65536", "not a port from 1 to 65535"),
        ("Endpoint", "192.0.2.7:99999", "not a port from 1 to 65535"),
        ("Endpoint", "192.0.2.7:", "not a port from 1 to 65535"),
        ("Endpoint", "192.0.2.7:-1", "not a port from 1 to 65535"),
        ("Endpoint", "2001:db8::2:4567", "needs brackets"),
        ("Endpoint", "2001:db8::2", "needs brackets"),
        ("Endpoint", "[2001:db8::2]", "no"),
        ("Endpoint", "[2001:db8::2]:0", "port 0"),
        ("Endpoint", "[fe80::1]:4567", "link-local"),
        ("Endpoint", "[fe80::1%eth0]:4567", "link-local"),
        ("Endpoint", "[::ffff:192.0.2.7]:4567", "an IPv4-mapped IPv6 address"),
        ("Endpoint", "[192.0.2.7]:4567", "brackets are for IPv6"),
        ("Endpoint", "0.0.0.0:4567", "the unspecified address"),
        ("Endpoint", "192.0.2.300:4567", "not an IP address"),
        ("Endpoint", ":4567", "not an IP address"),
        ("Endpoint", "msk-1.example:4567", "a host name"),
    ] {
        let problem = problem(&with(name, value));
        let line = 2 + valid.iter().position(|(n, _)| *n == name).unwrap();
        assert!(problem.reason.to_string().contains(reason), "{name} = {value}: {problem}");
        assert_eq!(problem.line, line, "{problem}");
        assert!(problem.reason.to_string().starts_with(name) && !problem.hint.to_string().is_empty(), "{problem}");
    }
    for (line, reason) in [
        ("PersistentKeepalive = 65536", "not a number of seconds"),
        ("PersistentKeepalive = +5", "not a number of seconds"),
        ("PersistentKeepalive = never", "not a number of seconds"),
        ("Endpoint = 192.0.2.9:4567", "second time"),
        ("Address = 10.8.3.7/24", "unknown key Address"),
        ("PresharedKey = UguPyBThx/+xMXeTbRYkKlP0Wh/QZT3vTLPOVaaXTD8=", "a secret in the public list"),
        ("PrivateKey = UguPyBThx/+xMXeTbRYkKlP0Wh/QZT3vTLPOVaaXTD8=", "a secret in the public list"),
        ("garbage", "neither a section"),
        ("; msk-1", "neither a section"),
        ("[Interface]", "[Interface] section"),
        ("[Peers]", "an unknown section"),
        ("# \x07", "a control character"),
        ("# nul \0", "a NUL byte"),
        ("# windows\r", "CRLF"),
    ] {
        let problem = problem(&format!("{}{line}\n", member(7)));
        assert!(
            problem.reason.to_string().contains(reason) && !problem.hint.to_string().is_empty(),
            "{line}: {problem}"
        );
        assert_eq!(problem.line, 5, "{problem}");
    }
}

#[test]
fn all_problems_come_at_once() {
    let text = "Endpoint = 192.0.2.1:1\n[Peer]\nPublicKey = x\n[Peer]\nAllowedIPs = 10.8.3.1/24\nEndpoint = a:1\n";
    let expected = [
        "line 1: stands outside of any section",
        "line 2: this [Peer] has no AllowedIPs",
        "line 2: this [Peer] has no Endpoint",
        "line 3: PublicKey: not a WireGuard key (44 characters of base64, the last one '=')",
        "line 4: this [Peer] has no PublicKey",
        "line 5: AllowedIPs: 10.8.3.1/24 is not a single address: it would overlap other members",
        "line 6: Endpoint: a:1: a host name; it would be resolved once and never again",
    ];
    assert_eq!(problems(text), expected);
    let error = PeerList::parse_named("list.conf", text).unwrap_err();
    assert_eq!(error.class().exit_code(), 2);
    let printed = error.to_string();
    assert!(printed.lines().zip(expected).all(|(line, problem)| line == format!("list.conf: {problem}")), "{printed}");
    assert!(error.way_out().unwrap().contains("line 3: copy the whole line"), "{error:?}");
}

#[test]
fn members_share_neither_key_nor_address_nor_endpoint() {
    let second = |edit: fn(&mut Peer)| {
        let mut other = peer(2);
        edit(&mut other);
        format!("{}\n{}", member(1), section_text(&other))
    };
    for (text, reason) in [
        (
            second(|p| p.public_key = key(1)),
            "line 6: the PublicKey of this [Peer] is already that of the [Peer] on line 1",
        ),
        (second(|p| p.address = peer(1).address), "line 8: AllowedIPs 10.8.3.1/32 is already on line 3"),
        (
            second(|p| p.endpoint = peer(1).endpoint),
            "line 6: Endpoint 192.0.2.1:4567 is already that of the [Peer] on line 1",
        ),
    ] {
        assert_eq!(problems(&text), [reason]);
    }
}

#[test]
fn files_that_are_no_list_say_so_once() {
    for (text, reason) in [
        ("", "line 1: the file is empty"),
        ("\n# nobody yet\n", "line 1: no [Peer] section in it"),
        ("\0\x01\x02", "line 1: a NUL byte: this is not a text file"),
    ] {
        assert_eq!(problems(text), [reason]);
    }
    let bom = format!("\u{feff}{}", member(1));
    assert_eq!(problems(&bom), ["line 1: a byte order mark: wg refuses the file"]);
    let windows = member(1).replace('\n', "\r\n");
    assert_eq!(problems(&windows), ["line 1: Windows line endings (CRLF)"]);
    let many = problems(&"garbage\n".repeat(1000));
    assert!(many.len() == 50 && many[49].ends_with("(and 950 more problems)"), "{many:?}");
}

#[test]
fn the_way_out_of_windows_line_endings_keeps_the_inode() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a list.conf");
    std::fs::write(&file, TWO.replace('\n', "\r\n")).unwrap();
    let inode = std::fs::metadata(&file).unwrap().ino();
    let name = file.to_str().unwrap();
    let error = PeerList::parse_named(name, &std::fs::read_to_string(&file).unwrap()).unwrap_err();
    let hint = error.way_out().unwrap();
    let (_, command) = hint.split_once(": ").unwrap();
    let mut host = Host::live();
    assert!(host.run(&crate::host::Cmd::new("sh").args(["-c", command])).unwrap().ok());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), TWO);
    assert_eq!(std::fs::metadata(&file).unwrap().ino(), inode);
}

#[test]
fn no_message_repeats_what_could_be_a_private_key() {
    for secret in ["cGxhaW4gbGV0dGVycyBvbmx5LCBubyBzaWduczEyMzQ=", "+/cvL+/cvL+/cvL+/cvL+/cvL+/cvL+/cvL+/cvL+/c="] {
        secret.parse::<PrivateKey>().unwrap();
        nothing_repeats(secret);
    }
}

fn nothing_repeats(secret: &str) {
    let bare = secret.trim_end_matches('=');
    for line in [
        format!("PrivateKey = {secret}"),
        format!("PresharedKey = {secret}"),
        format!("Privat Key {secret}"),
        format!("{bare} = x"),
        secret.to_owned(),
        format!("AllowedIPs = {secret}"),
        format!("Endpoint = {secret}"),
        format!("Endpoint = {bare}:4567"),
        format!("PersistentKeepalive = {secret}"),
        format!("[{secret}]"),
        format!("PublicKey = {secret}{secret}"),
    ] {
        let text = format!("[Peer]\n{line}\n");
        let error = PeerList::parse_named("f", &text).unwrap_err();
        assert!(!format!("{error:?}{error}").contains(&bare[..20]), "{error:?}");
    }
}

#[test]
fn a_new_key_replaces_the_old_one_in_place_and_keeps_the_comments() {
    let mut list = PeerList::parse(TWO).unwrap();
    list.set_key("10.8.3.1".parse().unwrap(), key(9)).unwrap();
    set_endpoint(&mut list, "10.8.3.1", "198.51.100.1:5000").unwrap();
    let expected = TWO
        .replace("acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=", &key(9).to_string())
        .replace("192.0.2.1:4567   #", "198.51.100.1:5000   #");
    assert_eq!(list.to_text(), expected);
    let before = list.clone();
    assert!(list.set_key("10.8.3.2".parse().unwrap(), key(9)).is_err());
    assert!(set_endpoint(&mut list, "10.8.3.2", "198.51.100.1:0").is_err());
    assert!(list.set_key("10.8.3.3".parse().unwrap(), key(8)).is_err());
    assert_eq!(list, before);
}

#[test]
fn removing_a_member_takes_its_own_comments_and_nobody_elses() {
    let mut list = PeerList::parse(TWO).unwrap();
    list.remove("10.8.3.2".parse().unwrap()).unwrap();
    let (start, end) = (TWO.find("\n[peer]").unwrap(), TWO.find("\n# end of list").unwrap());
    assert_eq!(list.to_text(), format!("{}{}", &TWO[..start], &TWO[end..]));
    let mut list = PeerList::parse(TWO).unwrap();
    list.remove("10.8.3.1".parse().unwrap()).unwrap();
    assert_eq!(list.to_text(), format!("# the cluster, north first\n{}", &TWO[start..]));
    let tight = format!("{}# of 2\n{}", member(1), member(2));
    let mut list = PeerList::parse(&tight).unwrap();
    list.remove(peer(1).address).unwrap();
    assert_eq!(list.to_text(), format!("# of 2\n{}", member(2)));
}

#[test]
fn a_taken_address_key_or_endpoint_is_refused_with_its_owner() {
    let mut two = list([1, 2]);
    for taken in [
        Peer { address: peer(1).address, ..peer(3) },
        Peer { public_key: key(1), ..peer(3) },
        Peer { endpoint: peer(1).endpoint, ..peer(3) },
    ] {
        let error = two.add(taken).unwrap_err();
        assert!(error.to_string().contains("is already that of the member 10.8.3.1 192.0.2.1:4567"), "{error}");
        assert_eq!(error.class().exit_code(), 2);
    }
    assert_eq!(two, list([1, 2]));
}

#[test]
fn one_slip_out_of_the_network_is_one_problem() {
    let mut three = list([1, 2, 3]);
    assert!(three.check_network(24).is_empty());
    three.add(Peer { address: "10.8.4.4".parse().unwrap(), ..peer(4) }).unwrap();
    let problems = three.check_network(24);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].to_string(), "line 18: 10.8.4.4 lies outside of 10.8.3.0/24, where the others are");
    assert!(three.check_network(21).is_empty());
    let mut ends = list([1, 2]);
    ends.add(Peer { address: "10.8.3.0".parse().unwrap(), ..peer(4) }).unwrap();
    ends.add(Peer { address: "10.8.3.255".parse().unwrap(), ..peer(5) }).unwrap();
    let reasons: Vec<String> = ends.check_network(24).into_iter().map(|p| p.reason.to_string()).collect();
    assert_eq!(
        reasons,
        ["10.8.3.0 is the network address of 10.8.3.0/24", "10.8.3.255 is the broadcast address of 10.8.3.0/24"]
    );
    assert!(ends.check_network(16).is_empty());
}

#[test]
fn a_merge_drops_nobody_and_keeps_the_larger_list_as_it_is() {
    let theirs = PeerList::parse(&format!("# from msk-1\n\n{}\n{}", member(1), member(2))).unwrap();
    let smaller = list([2]);
    assert_eq!(PeerList::merge(&smaller, &theirs).unwrap(), theirs);
    assert_eq!(PeerList::merge(&theirs, &smaller).unwrap(), theirs);
    let ours = PeerList::parse(&format!("{}\n# the new one\n{}", member(1), member(3))).unwrap();
    let merged = PeerList::merge(&ours, &theirs).unwrap();
    assert_eq!(merged.to_text(), format!("{}\n# the new one\n{}", theirs.to_text(), member(3)));
    assert_eq!(PeerList::merge(&merged, &theirs).unwrap(), merged, "a second time changes nothing");
    assert_eq!(PeerList::merge(&PeerList::default(), &theirs).unwrap(), theirs);
}

#[test]
fn a_merge_names_the_line_of_a_conflict() {
    let ours = list([1, 2]);
    for other in [
        Peer { public_key: key(9), ..peer(2) },
        Peer { endpoint: peer(9).endpoint, ..peer(2) },
        Peer { public_key: key(2), ..peer(9) },
        Peer { endpoint: peer(2).endpoint, ..peer(9) },
    ] {
        let theirs = PeerList::parse(&format!("{}\n{}", member(1), section_text(&other))).unwrap();
        let problems = PeerList::merge(&ours, &theirs).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].line == 6 && problems[0].reason.to_string().starts_with("two different members with one"),
            "{problems:?}"
        );
    }
}

#[test]
fn a_difference_is_about_members_not_about_layout() {
    let ours = PeerList::parse(&format!("# one\n{}\n\n{}", member(2), member(1))).unwrap();
    assert_eq!(ours.diff(&list([1, 2])), []);
    let changes = ours.diff(&list([1, 3]));
    assert_eq!(changes, [ListChange::Removed(peer(2)), ListChange::Added(peer(3))]);
    let mut renewed = list([1, 2]);
    renewed.set_key(peer(2).address, key(9)).unwrap();
    let changes = ours.diff(&renewed);
    assert_eq!(changes, [ListChange::Changed { from: peer(2), to: Peer { public_key: key(9), ..peer(2) } }]);
    assert_ne!(ours.digest(), list([1, 2]).digest());
}

#[test]
fn a_list_beyond_the_bounds_is_refused_with_the_file_and_the_bound() {
    let one = |n: u32| Peer {
        public_key: PublicKey::from_bytes([[0; 28].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap()),
        address: Ipv4Addr::from_bits(0x0a08_0000 + n),
        endpoint: SocketAddr::from((Ipv4Addr::from_bits(0xc612_0000 + n), 4567)),
        keepalive: None,
    };
    let sections: Vec<String> = (1..=MAX_MEMBERS as u32 + 1).map(|n| section_text(&one(n))).collect();
    let error = PeerList::parse_named("x.conf", &sections.join("\n")).unwrap_err();
    assert!(error.to_string().contains("x.conf: line") && error.to_string().contains("more than 10000 members"));
    let most = PeerList::parse(&sections[..MAX_MEMBERS].join("\n")).unwrap();
    assert!(most.clone().add(one(MAX_MEMBERS as u32 + 1)).is_err(), "and an edit can't come to it either");
    let bomb = format!("{}# {}\n", sections[0], "x".repeat(MAX_LIST));
    let error = PeerList::parse_named("x.conf", &bomb).unwrap_err().to_string();
    assert!(error.contains("x.conf: line 1: a list of more than 2 MiB"), "{error}");
}

#[test]
fn of_a_file_with_a_private_key_nothing_is_told_but_where_it_is() {
    let key = PrivateKey::generate().expose().to_string();
    let half = &key[..22];
    for (text, line) in [
        (format!("[Interface]\nListenPort = 4567\nPrivateKey = {key}\n"), 3),
        (format!("PrivateKey = {key}\n"), 1),
        (format!("[Interface]\nPrivateKey = {half}\n{}\n[Peer]\nEndpoint = {half}\n", &key[22..]), 2),
        (format!("{TWO}privatekey={key}\n[Peer]\n{half} = 1\nAllowedIPs = 1.1.1.{}\n", &key[..9]), 17),
        (format!("{TWO}# PrivateKey = {key}\n"), 17),
        (format!("[Peer]\nPresharedKey = {key}\nEndpoint = {half}\n"), 2),
    ] {
        let problems = PeerList::parse(&text).unwrap_err();
        assert!(problems.iter().any(|problem| problem.line == line), "{problems:?}\n{text}");
        let told = format!("{problems:?}{:?}", LineProblem::error("x", &problems));
        let piece = |at: usize| &key[at..at + 6];
        assert!((0..38).all(|at| !told.contains(piece(at))), "{told}");
    }
}
