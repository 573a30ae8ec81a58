//! Bad input of every kind: the exit code, the place, the reason and the hint are right, and nothing is changed.

use crate::support::Host;
use crate::support::call::Ran;
use crate::support::tree::TreeHost;

pub const INSTANCE: &str = "--vpn-address 10.8.3.1 --endpoint 192.0.2.1";
const PRIVATE: &str = "/srv/mitigator/vpn-private.conf";
pub const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";
pub const ENV: &str = "/srv/mitigator/.env";

pub const KEY_A: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
pub const KEY_B: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// One section with its lines as given.
pub fn section(key: &str, allowed: &str, endpoint: &str) -> String {
    format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {allowed}\nEndpoint = {endpoint}\n")
}

/// The commands that read vpn-public.conf.
fn readers(tree: &TreeHost) -> Vec<(String, Ran)> {
    [
        format!("plan {INSTANCE}"),
        format!("install {INSTANCE} --yes"),
        "peers list".to_owned(),
        "peers check".to_owned(),
        format!("peers add --public-key {KEY_B} --vpn-address 10.8.3.200 --endpoint 192.0.2.200:4567"),
        "peers remove 10.8.3.7".to_owned(),
    ]
    .into_iter()
    .map(|words| (words.clone(), tree.vpn(&words).run()))
    .collect()
}

#[test]
fn a_malformed_list_is_refused_with_line_reason_and_hint() {
    let good = section(KEY_A, "10.8.3.7/32", "192.0.2.7:4567");
    let second = |allowed: &str, endpoint: &str| format!("{good}\n{}", section(KEY_B, allowed, endpoint));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a duplicate key", format!("{good}\n{}", section(KEY_A, "10.8.3.8/32", "192.0.2.8:4567")).into(), "line 6"),
        ("a duplicate address", second("10.8.3.7/32", "192.0.2.8:4567").into(), "line 8"),
        ("a whole network", second("10.8.3.0/24", "192.0.2.8:4567").into(), "line 8"),
        ("a prefix other than /32", second("10.8.3.8/31", "192.0.2.8:4567").into(), "line 8"),
        ("no prefix", second("10.8.3.8", "192.0.2.8:4567").into(), "line 8"),
        ("two addresses", second("10.8.3.8/32, 10.8.3.9/32", "192.0.2.8:4567").into(), "line 8"),
        ("port 0", second("10.8.3.8/32", "192.0.2.8:0").into(), "line 9"),
        ("a port over 65535", second("10.8.3.8/32", "192.0.2.8:99999").into(), "line 9"),
        ("no port", second("10.8.3.8/32", "192.0.2.8").into(), "line 9"),
        ("IPv6 without brackets", second("10.8.3.8/32", "2001:db8::8:4567").into(), "line 9"),
        ("a host name", second("10.8.3.8/32", "gw.example:4567").into(), "line 9"),
        ("a byte order mark", format!("\u{feff}{good}").into(), "line 1"),
        ("CRLF", good.replace('\n', "\r\n").into(), "line 1"),
        ("binary", b"[Peer]\nPublicKey = \x00\xff\xfe\n".to_vec(), "line 2"),
        ("a key that is none", section("nokey", "10.8.3.7/32", "192.0.2.7:4567").into(), "line 2"),
        (
            "a section without an address",
            format!("[Peer]\nPublicKey = {KEY_A}\nEndpoint = 192.0.2.7:4567\n").into(),
            "line 1",
        ),
        ("an [Interface]", format!("[Interface]\nListenPort = 1\n{good}").into(), "line 1"),
        ("no section at all", b"hello\n".to_vec(), "line 1"),
    ];
    for (what, bytes, line) in cases {
        let tree = TreeHost::with_vendor_stack().file(PUBLIC, bytes);
        let before = tree.snapshot();
        for (command, ran) in readers(&tree) {
            let note = format!("{what}: {command}");
            let ran = ran.exits(2).says(line).says("vpn-public.conf");
            assert!(ran.stdout.is_empty(), "{note}: a result beside an error\n{ran}");
            assert!(ran.err().contains("→ "), "{note}: no way out\n{ran}");
        }
        tree.vpn(&format!("preflight {INSTANCE}")).run().exits(3).says(line).says("peers check");
        tree.vpn("status").run().exits(5).says(line).says("peers check");
        before.is_untouched_in(&tree.snapshot());
    }
}

#[test]
fn addresses_that_are_no_members_of_the_network_are_refused() {
    for (what, allowed) in
        [("outside", "10.9.3.8/32"), ("the network's own address", "10.8.3.0/32"), ("broadcast", "10.8.3.255/32")]
    {
        let tree = TreeHost::with_vendor_stack().file(PUBLIC, section(KEY_A, allowed, "192.0.2.8:4567"));
        let before = tree.snapshot();
        for command in [format!("plan {INSTANCE}"), format!("install {INSTANCE} --yes")] {
            let ran = tree.vpn(&command).run().exits_with_one_of(&[2, 3]).says(allowed.trim_end_matches("/32"));
            assert!(ran.out().contains("→ ") || ran.err().contains("→ "), "{what}: no way out\n{ran}");
        }
        before.is_untouched_in(&tree.snapshot());
    }
}

#[test]
fn a_path_that_is_no_file_is_refused_by_name() {
    type Plant = fn(TreeHost, &str) -> TreeHost;
    let cases: [(&str, Plant); 4] = [
        ("a directory", |tree, path| tree.directory(path)),
        ("link to nowhere", |tree, path| tree.link(path, "nowhere")),
        ("larger than", |tree, path| tree.file(path, vec![b'#'; 10 << 20])),
        ("not a regular file", |tree, path| {
            tree.call("mkfifo").arg(tree.at(path).display().to_string()).run().exits(0);
            tree
        }),
    ];
    for path in [PUBLIC, PRIVATE, ENV] {
        let name = path.rsplit('/').next().expect("a name");
        for (reason, plant) in cases {
            let tree = plant(TreeHost::with_vendor_stack(), path);
            let before = tree.call("ls -lnR").arg(tree.at("/srv").display().to_string()).run();
            for command in [format!("plan {INSTANCE}"), format!("install {INSTANCE} --yes")] {
                tree.vpn(&command).run().exits_with_one_of(&[2, 3]).says(name).says(reason);
            }
            let after = tree.call("ls -lnR").arg(tree.at("/srv").display().to_string()).run();
            assert_eq!(before.stdout, after.stdout, "{name} that is {reason}");
        }
    }
}

#[test]
fn a_bad_private_file_is_refused_and_never_quoted() {
    let cases = [
        ("a short key", "[Interface]\nPrivateKey = yDPg5doavYH7fdD86nt+cOzSBL4znVZcrcrJwjY\n"),
        (
            "two keys",
            "[Interface]\nPrivateKey = MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\nPrivateKey = MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWc=\n",
        ),
        ("no key", "[Interface]\nListenPort = 4567\n"),
        ("a member", "[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n"),
        ("the published sample key", "[Interface]\nPrivateKey = yDPg5doavYH7fdD86nt+cOzSBL4znVZcrcrJwjY/Xmw=\n"),
    ];
    for (what, text) in cases {
        let tree = TreeHost::with_vendor_stack().file(PRIVATE, text);
        let before = tree.snapshot();
        for command in
            [format!("preflight {INSTANCE}"), format!("plan {INSTANCE}"), format!("install {INSTANCE} --yes")]
        {
            let ran = tree.vpn(&command).run().exits_with_one_of(&[2, 3]).says("key");
            for secret in ["yDPg5doa", "MDEyMzQ1", "znVZcrcr"] {
                assert!(!ran.out().contains(secret) && !ran.err().contains(secret), "{what} is quoted\n{ran}");
            }
        }
        before.is_untouched_in(&tree.snapshot());
    }
}

#[test]
fn a_bad_env_is_refused_and_its_oddities_are_reported_with_their_lines() {
    let endpoint_only = "--endpoint 192.0.2.1";
    for (what, bytes, options, words) in [
        ("a file that isn't there", &b"COMPOSE_FILE=docker-compose.yml:gone.yml\n"[..], INSTANCE, "gone.yml"),
        ("no address", b"MITIGATOR_VPN_ADDRESS=nonsense\n", endpoint_only, "--vpn-address"),
        ("a value that spoils ours", b"A=1\nCOMPOSE_FILE=a\xff.yml\n", INSTANCE, "line 2"),
    ] {
        let tree = TreeHost::with_vendor_stack().file(ENV, bytes);
        let before = tree.snapshot();
        for command in [format!("plan {options}"), format!("install {options} --yes")] {
            let ran = tree.vpn(&command).run().exits_with_one_of(&[2, 3]).says(words);
            assert!(ran.out().contains("→ ") || ran.err().contains("→ "), "{what}: no way out\n{ran}");
        }
        before.is_untouched_in(&tree.snapshot());
    }
    // A tree doesn't tell which generation of compose will read it.
    let tree = TreeHost::with_vendor_stack().file(ENV, "A=1\nTOKEN=\"x\nB=2\n");
    tree.vpn(&format!("plan {INSTANCE}")).run().says("line 2").says("compose v2 refuses the file");
}

#[test]
fn an_unknown_release_is_refused_with_the_nearest_one() {
    for text in ["ID=debian\nVERSION_ID=\"9\"\n", "ID=arch\n", "", "NAME=\"\n", "\0\0\0"] {
        let tree = TreeHost::with_vendor_stack().file("/etc/os-release", text);
        let before = tree.snapshot();
        tree.vpn(&format!("install {INSTANCE} --yes")).run().exits(3).says("supported-release");
        before.is_untouched_in(&tree.snapshot());
    }
}

#[test]
fn a_bad_option_is_refused_before_anything_is_read() {
    let tree = TreeHost::with_vendor_stack();
    let before = tree.snapshot();
    for words in [
        "install --frobnicate",
        "frobnicate",
        "install --vpn-address 10.8.3.256 --endpoint 192.0.2.1 --yes",
        "install --vpn-address 10.8.3.1 --endpoint gw.example --yes",
        "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1:0 --yes",
        "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1:65536 --yes",
        "install --vpn-address 10.8.3.1 --endpoint 2001:db8::1:4567:99999 --yes",
        "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --port 0 --yes",
        "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --port 65536 --yes",
        "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --prefix 33 --yes",
        "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --stack mine --yes",
        "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --ignore no-such-check --yes",
        "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --peers /no/such/file --yes",
        "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --peers / --yes",
        "install --vpn-address 10.8.3.1/24 --endpoint 192.0.2.1 --yes",
        "install --vpn-address 10.8.3.1 --yes",
        "install --endpoint 192.0.2.1 --yes",
        "preflight --json=yes",
        "explain no-such-check",
        "--dir relative install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --yes",
        "--root /no/such/tree status",
    ] {
        let ran = tree.vpn(words).run().exits(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{words}\n{ran}");
    }
    before.is_untouched_in(&tree.snapshot());
}

#[test]
fn an_address_that_no_member_can_have_is_refused() {
    for address in ["10.8.3.0", "10.8.3.255", "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
        let tree = TreeHost::with_vendor_stack();
        let before = tree.snapshot();
        let install = format!("install --vpn-address {address} --endpoint 192.0.2.1 --yes");
        tree.vpn(&install).run().exits_with_one_of(&[2, 3]).says(address);
        before.is_untouched_in(&tree.snapshot());
    }
}

#[test]
fn an_address_that_another_member_has_is_refused() {
    let tree = TreeHost::with_vendor_stack().file(PUBLIC, section(KEY_B, "10.8.3.1/32", "192.0.2.7:4567"));
    let before = tree.snapshot();
    tree.vpn(&format!("install {INSTANCE} --yes")).run().exits_with_one_of(&[2, 3]).says("10.8.3.1");
    before.is_untouched_in(&tree.snapshot());
}

#[test]
fn a_damaged_journal_is_refused() {
    let tree = TreeHost::with_vendor_stack();
    tree.vpn(&format!("install {INSTANCE} --yes")).run().exits(0);
    let journal = "/var/lib/mitigator-vpn/journal.ndjson";
    tree.write(journal, tree.text(journal).replacen("begin", "began", 1));
    let before = tree.snapshot();
    tree.vpn("undo --yes").run().exits(2).says("journal.ndjson").says("line 2");
    before.is_untouched_in(&tree.snapshot());
}

/// Anybody who may open a directory may lock it.
#[test]
fn a_lock_on_the_root_directory_stops_no_run_of_root() {
    let tree = TreeHost::with_vendor_stack();
    let root = std::fs::File::open(tree.at("/")).expect("our own directory");
    root.lock().expect("nobody else has it");
    tree.vpn(&format!("install {INSTANCE} --yes")).run().exits(0);
}

#[test]
fn a_second_run_at_the_same_time_names_the_first() {
    let tree = TreeHost::with_vendor_stack();
    let before = tree.snapshot();
    let _held =
        mitigator_vpn::host::Host::at(&tree.at("/")).and_then(|mut host| host.lock()).expect("nobody else has it");
    for command in [format!("install {INSTANCE} --yes"), "undo --yes".to_owned()] {
        let pid = format!("pid {}", std::process::id());
        tree.vpn(&command).run().exits(7).says("lock").says(&pid);
    }
    // Reading needs no lock.
    tree.vpn(&format!("plan {INSTANCE}")).run().exits(0);
    before.is_untouched_in(&tree.snapshot());
}

/// A terminal obeys escape sequences, C1 controls and characters that change the direction of text. JSON is printed to one, too.
#[test]
fn what_files_say_is_shown_without_what_a_terminal_obeys() {
    let evil = "\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}evil";
    let tree = TreeHost::with_vendor_stack()
        .file("/srv/mitigator/docker-compose.vpn.yml", format!("# {evil}\nversion: \"2.2\"\n"))
        .file(PUBLIC, format!("# \u{202e}\n{}", section(KEY_A, "10.8.3.7/32", "192.0.2.7:4567")))
        .file(ENV, format!("# {evil}\nX=\"{evil}\"\n"));
    for words in ["preflight", "plan", "install --yes"] {
        for more in ["", "--json"] {
            let ran = tree.vpn(&format!("{words} {INSTANCE} {more}")).run();
            let said = format!("{}{}", ran.out(), ran.err());
            assert!(!said.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']) && !said.contains("\\u001b"), "{ran}");
        }
    }
}
