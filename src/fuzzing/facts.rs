//! What the host's own programs write and print.

use super::is_sayable;
use crate::facts::firewall::{VpnPacket, firewalld, iptables, nft, ufw};
use crate::facts::os;
use crate::facts::packages::{dpkg, sources};
use crate::host::mount_of;
use crate::message::{Message, printable};

const PACKETS: [VpnPacket; 4] = [
    VpnPacket { port: 4567, ipv6: false, forwarded: false },
    VpnPacket { port: 4567, ipv6: true, forwarded: false },
    VpnPacket { port: 4567, ipv6: false, forwarded: true },
    VpnPacket { port: 0, ipv6: true, forwarded: true },
];

/// Nothing of a release can be obeyed by a terminal, and all of it is one line.
pub(super) fn os_release(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let os = os::parse(&text);
    let mut all = os.id_like.clone();
    all.extend([os.id, os.version_id, os.codename, os.pretty_name]);
    all.extend(os.parent_codename);
    assert!(all.iter().all(|field| printable(field) == *field && !field.contains(['\n', '\t'])), "{all:?}");
    assert!(all.iter().map(String::len).sum::<usize>() <= 8 * bytes.len());
}

/// As many sources as words at most, each an address and a suite, and no password in what is shown.
pub(super) fn apt_sources(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let found = [sources::one_line(&text), sources::deb822(&text)].concat();
    assert!(found.len() <= sources::MOST + text.lines().count(), "{} sources", found.len());
    for (uri, suite) in found.iter().take(1000) {
        assert!([uri, suite].iter().all(|word| !word.is_empty() && !word.contains(char::is_whitespace)));
        let shown = sources::without_user(uri);
        assert_eq!(sources::without_user(&shown), shown);
        if let Some((_, rest)) = shown.split_once("//") {
            assert!(!rest.split('/').next().unwrap_or_default().contains('@'), "{shown}");
        }
        if let Some(prefix) = sources::list_prefix(uri, suite) {
            assert!(!prefix.contains(['/', '@', ' ']), "{prefix}");
        }
    }
}

/// A package that is read and written again is the same package.
pub(super) fn dpkg_status(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let packages = dpkg::parse(&text);
    assert!(packages.len() <= text.matches("Package:").count());
    for package in packages {
        assert!((2..=3).contains(&package.letters.len()) && !package.name.contains('\n'));
        let known = |letter: char| package.letters.chars().nth(1) == Some(letter);
        let stages = [
            ("installed", 'i'),
            ("config-files", 'c'),
            ("half-installed", 'H'),
            ("unpacked", 'U'),
            ("half-configured", 'F'),
        ];
        if let Some((stage, _)) = stages.iter().find(|(_, letter)| known(*letter)) {
            let flag = if package.letters.ends_with('R') { "reinstreq" } else { "ok" };
            let want = match package.letters.chars().next() {
                Some('i') => "install",
                Some('h') => "hold",
                Some('r') => "deinstall",
                Some('p') => "purge",
                Some(_) | None => "unknown",
            };
            let (name, version) = (&package.name, &package.version);
            let written = format!("Package: {name}\nStatus: {want} {flag} {stage}\nVersion: {version}\n");
            assert_eq!(dpkg::parse(&written), [package]);
        }
    }
}

/// Every ruleset comes to a decision, soon, and what isn't there isn't ours.
pub(super) fn nft(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let listing = match nft::Listing::parse(&text) {
        Ok(listing) => listing,
        Err(error) => return is_sayable(&error.to_string(), bytes),
    };
    for hook in ["input", "forward", "prerouting"] {
        for chain in listing.base_chains(hook) {
            listing.is_of_iptables(&chain);
            let ours = listing.ours(&chain.to_string(), 4567);
            assert!(ours.is_empty() || text.contains("dport"));
            for packet in PACKETS {
                listing.ruleset(packet).drops(&chain.to_string());
            }
        }
    }
}

/// Every ruleset comes to a decision, soon; rules are numbered by their place in their chain.
pub(super) fn iptables_save(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    iptables::is_incompatible(&text);
    let rules = iptables::rules(&text);
    for (at, rule) in rules.iter().enumerate() {
        assert!((1..=at + 1).contains(&rule.number));
    }
    for packet in PACKETS {
        let ruleset = iptables::ruleset(&text, packet);
        for chain in iptables::chains(&text).take(16).chain([iptables::INPUT]) {
            ruleset.drops(chain);
        }
    }
}

/// A rule that is ours is a twin of none.
pub(super) fn ufw(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let tuples = text.lines().filter(|line| line.starts_with("### tuple ###")).count();
    assert!(ufw::ours(&text, 4567) + usize::from(ufw::twin(&text, 4567).is_some()) <= tuples);
    for packet in PACKETS {
        let [open, closed] = [false, true].map(|drops| ufw::ruleset(&text, packet, drops).drops("user"));
        // A default that drops never lets in what another default keeps out.
        assert!(closed || !open);
    }
    ufw::value_of(&text, "ENABLED");
}

/// As many zones as lines that begin without a space.
pub(super) fn firewalld(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let zones = firewalld::parse_zones(&text);
    assert!(zones.len() <= text.lines().count());
    for zone in zones {
        assert!(!zone.name.is_empty() && !zone.name.contains(char::is_whitespace));
        zone.drops(4567);
        assert!(zone.ours(4567) <= zone.rules.len());
        is_sayable(&Message::foreign(zone.name).to_string(), bytes);
    }
}

/// A mount that is read and written again as the kernel writes it is the same mount.
pub(super) fn mountinfo(bytes: &[u8]) {
    for (root, target) in bytes.split(|byte| *byte == b'\n').filter_map(mount_of) {
        let written = [b"1 2 8:1", &*escaped(&root), &*escaped(&target), b"rw - ext4 /dev/sda rw"].join(&b' ');
        assert_eq!(mount_of(&written), Some((root, target)));
    }
}

/// As the kernel writes a path in mountinfo.
fn escaped(path: &[u8]) -> Vec<u8> {
    let byte = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        byte => vec![*byte],
    };
    path.iter().flat_map(byte).collect()
}
