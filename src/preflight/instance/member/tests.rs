//! The checks of an instance among its members.

use std::net::SocketAddr;

use super::*;
use crate::facts::Facts;
use crate::preflight::Severity::{self, Fail, Pass, Unknown, Warn};
use crate::preflight::tests::outcome_with;
use crate::settings::Settings;

const SAMPLE: &str = "acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=";

fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

fn peer(n: u8) -> Peer {
    let endpoint = SocketAddr::from(([192, 0, 2, n], 4567));
    Peer { public_key: key(n), address: Ipv4Addr::new(10, 8, 3, n), endpoint, keepalive: None }
}

fn list(peers: impl IntoIterator<Item = Peer>) -> String {
    let mut list = PeerList::default();
    peers.into_iter().for_each(|peer| list.add(peer).unwrap());
    list.to_text()
}

/// The instance 10.8.3.1 at 192.0.2.1 on a host that has this key and this list.
struct Case {
    facts: Facts,
    settings: Settings,
}

impl Case {
    fn new(own: Option<u8>, here: &[Peer]) -> Case {
        let mut facts = Facts::healthy();
        if let Some(n) = own {
            let public = key(n);
            facts.instance.private_conf =
                PrivateConfFile::Present { public, port: Some(4567), mode: 0o600, template: String::new() };
        }
        if !here.is_empty() {
            facts.instance.public_conf = TextFile::Text(list(here.to_vec()));
        }
        let Peer { address, endpoint, .. } = peer(1);
        let settings = Settings { vpn_address: Some(address), endpoint: Some(endpoint), ..Settings::default() };
        Case { facts, settings }
    }

    fn given(mut self, peers: &[Peer]) -> Case {
        self.settings.peers = Some(list(peers.to_vec()));
        self
    }

    fn says(&self, id: &str, severity: Severity, words: &str) {
        let (found, text) = outcome_with(id, &self.facts, &self.settings);
        assert!(found == severity && text.contains(words), "{id}: {found:?} {text}");
    }
}

#[test]
fn a_new_instance_and_an_installed_one_are_fine() {
    let new = Case::new(None, &[]).given(&[peer(2), peer(3)]);
    let installed = Case::new(Some(1), &[peer(1), peer(2)]);
    let again = Case::new(Some(1), &[peer(1), peer(2)]).given(&[peer(2), peer(1), peer(3)]);
    for case in [new, installed, again] {
        for id in ["vpn-address", "address-unique", "key-pair", "sample-key"] {
            case.says(id, Pass, "");
        }
    }
}

#[test]
fn without_an_address_nothing_is_judged() {
    let mut case = Case::new(Some(1), &[peer(2)]);
    case.settings.vpn_address = None;
    for id in ["vpn-address", "address-unique", "key-pair"] {
        case.says(id, Unknown, "--vpn-address");
    }
}

#[test]
fn an_address_no_host_can_have_fails() {
    for (address, words) in [
        ("10.8.3.0", "network address of 10.8.3.0/24"),
        ("10.8.3.255", "broadcast address of 10.8.3.0/24"),
        ("127.0.0.5", "loopback"),
        ("224.0.0.5", "multicast"),
        ("169.254.1.1", "link-local"),
        ("0.1.2.3", "no host's"),
        ("240.1.2.3", "no host's"),
    ] {
        let mut case = Case::new(None, &[]);
        case.settings.vpn_address = Some(address.parse().unwrap());
        case.says("vpn-address", Fail, words);
    }
    let mut case = Case::new(None, &[peer(1), peer(2)]);
    case.settings.vpn_address = Some("10.8.3.0".parse().unwrap());
    case.says("vpn-address", Fail, "--vpn-address 10.8.3.3");
}

#[test]
fn members_of_another_network_fail_unless_the_prefix_takes_them_in() {
    let stranger = Peer { address: "10.8.4.4".parse().unwrap(), ..peer(4) };
    let mut case = Case::new(None, &[]).given(&[peer(2), stranger]);
    case.says("vpn-address", Fail, "the member 10.8.4.4 can't be in one network with 10.8.3.1/24");
    case.settings.prefix = 16;
    case.says("vpn-address", Pass, "10.8.0.0/16");
    case.settings.prefix = 31;
    case.says("vpn-address", Fail, "--prefix 24");
}

#[test]
fn another_address_or_prefix_than_so_far_warns() {
    let mut case = Case::new(None, &[]);
    case.facts.instance.env.values.insert("MITIGATOR_VPN_ADDRESS".into(), "10.8.3.9".into());
    case.says("vpn-address", Warn, "--vpn-address 10.8.3.9");
    case.facts.instance.env.values.insert("MITIGATOR_VPN_ADDRESS".into(), "".into());
    case.says("vpn-address", Pass, "");
    case.facts.instance.env.values.insert("MITIGATOR_VPN_PREFIX".into(), "16".into());
    case.says("vpn-address", Warn, "prefix in .env is 16");
}

#[test]
fn an_instance_made_anew_replaces_its_key() {
    let case = Case::new(None, &[]).given(&[Peer { public_key: key(9), ..peer(1) }, peer(2)]);
    case.says("address-unique", Warn, "every other member needs the new list");
    case.says("key-pair", Pass, "");
}

#[test]
fn a_moved_instance_is_known_by_its_key() {
    let before = Peer { endpoint: peer(9).endpoint, ..peer(1) };
    let case = Case::new(Some(1), &[before, peer(2)]);
    case.says("address-unique", Warn, "changes from 192.0.2.9:4567 to 192.0.2.1:4567");
    case.says("key-pair", Pass, "");
}

#[test]
fn somebody_elses_address_is_taken() {
    let other = Peer { public_key: key(9), endpoint: peer(9).endpoint, ..peer(1) };
    for own in [None, Some(1)] {
        let case = Case::new(own, &[]).given(&[other.clone(), peer(2)]);
        case.says("address-unique", Fail, "10.8.3.1 is in use by the member at 192.0.2.9:4567");
        case.says("address-unique", Fail, "--vpn-address 10.8.3.3");
        case.says("key-pair", Pass, "");
    }
}

#[test]
fn somebody_elses_endpoint_or_key_is_taken() {
    let case = Case::new(None, &[]).given(&[Peer { endpoint: peer(1).endpoint, ..peer(2) }]);
    case.says("address-unique", Fail, "the endpoint 192.0.2.1:4567 is that of the member 10.8.3.2");
    let case = Case::new(Some(2), &[peer(2)]);
    case.says("address-unique", Fail, "the key in vpn-private.conf is that of the member 10.8.3.2");
}

#[test]
fn another_key_than_the_listed_one_fails() {
    Case::new(Some(9), &[peer(1), peer(2)]).says("key-pair", Fail, "of 10.8.3.1 in the list AQEBAQEB…");
    Case::new(Some(9), &[]).given(&[peer(1)]).says("key-pair", Fail, "vpn-private.conf has the key");
    let renewed = Case::new(Some(9), &[Peer { public_key: key(9), ..peer(1) }, peer(2)]).given(&[peer(1), peer(2)]);
    renewed.says("key-pair", Warn, "an older key for 10.8.3.1");
    renewed.says("address-unique", Pass, "");
}

#[test]
fn lists_that_contradict_each_other_fail() {
    let case = Case::new(Some(1), &[peer(1), peer(2)]).given(&[Peer { public_key: key(8), ..peer(2) }]);
    case.says("address-unique", Fail, "two different members with one VPN address");
}

#[test]
fn a_list_that_cant_be_read_is_told_line_by_line() {
    let mut case = Case::new(None, &[]);
    case.settings.peers = Some("[Peer]\n".into());
    case.says("address-unique", Fail, "--peers: line 1: this [Peer] has no PublicKey");
    case.settings.peers = None;
    case.facts.instance.public_conf = TextFile::Unusable { reason: Message::fixed(""), directory: true };
    case.says("address-unique", Unknown, "can't be read");
}

#[test]
fn the_published_key_fails_here_and_warns_elsewhere() {
    let sample = Peer { public_key: SAMPLE.parse().unwrap(), ..peer(2) };
    Case::new(None, std::slice::from_ref(&sample)).given(&[sample]).says("sample-key", Warn, "10.8.3.2");
    let mut case = Case::new(None, &[]);
    let public = SAMPLE.parse().unwrap();
    case.facts.instance.private_conf =
        PrivateConfFile::Present { public, port: None, mode: 0o600, template: String::new() };
    case.says("sample-key", Fail, "rm /srv/mitigator/vpn-private.conf");
}
