//! vpn-public.conf, against `wg setconf` of a device in user space.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mitigator_vpn::wireguard::{PeerList, PublicKey};
use proptest::prelude::*;

use crate::containers::gateway::wire::{must, wait_until};
use crate::support::{has_program, is_root};

/// A WireGuard device of wireguard-go, in a network namespace of its own.
struct Device {
    name: String,
    process: Child,
}

impl Device {
    fn up() -> Self {
        let name = format!("mvd{}", std::process::id());
        must(Command::new("ip").args(["netns", "add", &name]));
        let mut process = Command::new("ip");
        process.args(["netns", "exec", &name, "wireguard-go", "-f", &name]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = process.spawn().expect("ip is there");
        wait_until("the device answers", || Path::new(&format!("/var/run/wireguard/{name}.sock")).exists());
        Device { name, process }
    }

    fn wg(&self, words: &[&str]) -> std::process::Output {
        Command::new("ip").args(["netns", "exec", &self.name, "wg"]).args(words).output().expect("ip is there")
    }

    /// Endpoint, allowed addresses and keepalive of each peer.
    fn peers(&self) -> BTreeMap<String, [String; 3]> {
        let dump = self.wg(&["show", &self.name, "dump"]);
        let text = String::from_utf8(dump.stdout).expect("wg prints text");
        let peer = |line: &str| {
            let fields: Vec<&str> = line.split('\t').collect();
            (fields[0].to_owned(), [fields[2].to_owned(), fields[3].to_owned(), fields[7].to_owned()])
        };
        text.lines().skip(1).map(peer).collect()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.name));
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Lists in many spellings, of which many are accepted.
fn lists() -> impl Strategy<Value = String> {
    let header = prop_oneof![
        12 => prop::sample::select(vec!["[Peer]", "[peer]", " [PEER] # x"]),
        1 => prop::sample::select(vec!["[ Peer ]", "[Peer]x", "#[Peer]"]),
    ];
    let equals = prop_oneof![
        12 => prop::sample::select(vec![" = ", "=", "\t=\t", " ="]),
        1 => prop::sample::select(vec![" == ", " : "]),
    ];
    let tail = prop_oneof![
        12 => prop::sample::select(vec!["", " ", " # c", "#c", "\t"]),
        1 => prop::sample::select(vec![",", " ;", "\u{a0}"]),
    ];
    let address = prop_oneof![
        8 => (1u8..9).prop_map(|n| format!("10.8.3.{n}/32")),
        1 => prop::sample::select(vec!["10.8.3.9", "10.8.3.9/31", "10.8.3.09/32", "10.8.3.9/032", "::1/128", "10.8.3.9/32,", "0x0a080309/32"])
            .prop_map(str::to_owned),
    ];
    let endpoint = prop_oneof![
        8 => (1u8..9, 1u16..).prop_map(|(n, port)| format!("192.0.2.{n}:{port}")),
        3 => (1u8..9).prop_map(|n| format!("[2001:db8::{n}]:4567")),
        2 => prop::sample::select(vec![
            "192.0.2.9:0", "192.0.2.9:65535", "192.0.2.9:65536", "192.0.2.9:+1", "192.0.2.9:01", "192.0.2.09:1", "192.0.2:1",
            "[::ffff:192.0.2.9]:4567", "[2001:DB8:0:0::9]:1", "[fe80::1%lo]:1", "[2001:db8::9]", "2001:db8::9:1", "[192.0.2.9]:1", "0300.0.2.9:1",
        ]).prop_map(str::to_owned),
    ];
    let keepalive = prop_oneof![
        4 => Just(None),
        2 => prop::sample::select(vec!["25", "0", "off", "OFF", "65535", "65536", "+5", "005", "0x10", "-1", "5s", ""]).prop_map(|v| Some(v.to_owned())),
    ];
    let key = prop_oneof![
        12 => any::<[u8; 32]>().prop_map(|bytes| PublicKey::from_bytes(bytes).to_string()),
        1 => any::<[u8; 32]>().prop_map(|bytes| PublicKey::from_bytes(bytes).to_string().replace('=', "")),
        1 => any::<[u8; 32]>().prop_map(|bytes| PublicKey::from_bytes(bytes).to_string()[..42].to_owned() + "B="),
    ];
    let name = |plain: &'static str| {
        let spellings = vec![
            plain.to_owned(),
            plain.to_owned(),
            plain.to_owned(),
            plain.to_lowercase(),
            plain.to_uppercase(),
            format!("  {plain}"),
        ];
        prop::sample::select(spellings)
    };
    let names = (name("PublicKey"), name("AllowedIPs"), name("Endpoint"), name("PersistentKeepalive"));
    let section = (header, names, equals, (key, address, endpoint, keepalive), tail, any::<prop::sample::Index>());
    let section = section.prop_map(|(header, names, equals, (key, address, endpoint, keepalive), tail, turn)| {
        let mut lines = vec![
            format!("{}{equals}{key}\n", names.0),
            format!("{}{equals}{address}{tail}\n", names.1),
            format!("{}{equals}{endpoint}\n", names.2),
        ];
        lines.extend(keepalive.map(|value| format!("{}{equals}{value}\n", names.3)));
        let turn = turn.index(lines.len());
        lines.rotate_left(turn);
        format!("{header}\n{}", lines.concat())
    });
    let between = prop::sample::select(vec!["", "\n", "# c\n", "\n\n# c\n", " \n"]);
    (prop::collection::vec((section, between), 1..4), any::<bool>()).prop_map(|(sections, ended)| {
        let text: String = sections.into_iter().map(|(section, between)| section + between).collect();
        if ended { text } else { text.trim_end_matches('\n').to_owned() }
    })
}

/// What is accepted is accepted by `wg`, and says the same to it.
pub(super) fn against_wg(count: usize, seed: Option<u64>) {
    if !is_root() || !["ip", "wg", "wireguard-go"].into_iter().all(has_program) {
        return;
    }
    let (device, dir) = (Device::up(), tempfile::tempdir().expect("a directory"));
    let file = dir.path().join("list.conf");
    let (mut accepted, mut wg_alone) = (0, 0);
    for text in super::generated(lists(), count, seed) {
        std::fs::write(&file, &text).expect("our own file");
        let Ok(list) = PeerList::parse(&text) else {
            // wg takes more: whole networks, host names, any port. Asking it costs a process, so only some are asked.
            wg_alone += 1;
            continue;
        };
        accepted += 1;
        let ran = device.wg(&["setconf", &device.name, file.to_str().expect("a path of ours")]);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "wg refuses what is accepted: {said}\n{text}");
        let ours: BTreeMap<String, [String; 3]> = list
            .peers()
            .map(|peer| {
                let keepalive = peer.keepalive.filter(|seconds| *seconds > 0).map_or("off".into(), |s| s.to_string());
                (peer.public_key.to_string(), [peer.endpoint.to_string(), format!("{}/32", peer.address), keepalive])
            })
            .collect();
        assert_eq!(device.peers(), ours, "{text}");
    }
    println!("{accepted} lists are the same to wg, {wg_alone} are refused");
    assert!(accepted * 20 > count, "only {accepted} of {count} lists are accepted");
}
