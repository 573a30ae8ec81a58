//! The instance's place among the members: its address, its endpoint, its key.
//!
//! A section with this instance's VPN address is its own, if it has its endpoint or its key as well (FN-53).

use std::net::Ipv4Addr;

use crate::facts::{PrivateConfFile, TextFile};
use crate::preflight::{Inputs, Judgement};
use crate::product::PRODUCT;
use crate::wireguard::{LineProblem, Network, Peer, PeerList, PublicKey};

/// The lists to compare with, each with the words for it and the name it has in a command.
struct Lists {
    here: Option<PeerList>,
    given: Option<PeerList>,
    /// Why one of the two can't be judged.
    unusable: Option<Judgement>,
    here_file: String,
}

impl Lists {
    fn of(inputs: &Inputs) -> Lists {
        let here_file = inputs.settings.layout().public_conf().display().to_string();
        let mut lists = Lists { here: None, given: None, unusable: None, here_file };
        match &inputs.facts.instance.public_conf {
            TextFile::Absent => {}
            // What is here is replaced by a whole list, so it can't contradict that.
            TextFile::Text(_) if inputs.settings.whole_list => {}
            TextFile::Text(text) => lists.here = PeerList::parse(text).ok(),
            TextFile::Unusable { .. } => lists.unusable = Some(Judgement::unknown("vpn-public.conf can't be read")),
        }
        match inputs.settings.peers.as_deref().map(|text| PeerList::check("--peers", text)) {
            None => {}
            Some(Ok(list)) => lists.given = Some(list),
            Some(Err(problems)) => lists.unusable = Some(refused(&problems)),
        }
        lists
    }

    fn each(&self) -> impl Iterator<Item = (&PeerList, &str)> {
        let here = self.here.iter().map(|list| (list, self.here_file.as_str()));
        here.chain(self.given.iter().map(|list| (list, "FILE")))
    }

    fn members(&self) -> impl Iterator<Item = &Peer> {
        self.each().flat_map(|(list, _)| list.peers())
    }
}

fn refused(problems: &[LineProblem]) -> Judgement {
    let told = LineProblem::error("--peers", problems);
    Judgement::fail(told.to_string(), told.way_out().unwrap_or_default())
}

fn own_key(inputs: &Inputs) -> Option<PublicKey> {
    match &inputs.facts.instance.private_conf {
        PrivateConfFile::Present { public, .. } => Some(*public),
        _ => None,
    }
}

pub(super) fn vpn_address(inputs: &Inputs) -> Judgement {
    let settings = inputs.settings;
    let Some(address) = settings.vpn_address else { return Judgement::unknown("no --vpn-address to judge") };
    if !(8..=30).contains(&settings.prefix) {
        let detail = format!("/{} makes no network for a cluster", settings.prefix);
        return Judgement::fail(detail, "name a prefix from 8 to 30: --prefix 24");
    }
    let lists = Lists::of(inputs);
    let network = Network::of(address, settings.prefix);
    if let Some(kind) = unusable(address) {
        return Judgement::fail(
            format!("{address} is {kind}"),
            "name one that a host can have: --vpn-address 10.8.3.1",
        );
    }
    if let Some(kind) = network.reserved(address) {
        return Judgement::fail(kind.message(address, network), free(network, &lists));
    }
    let mut findings = Vec::new();
    for (list, file) in lists.each() {
        let strangers = list.peers().filter(|peer| !network.contains(peer.address) || reserved(network, peer));
        findings.extend(strangers.map(|peer| {
            let detail =
                format!("the member {} can't be in one network with {address}/{}", peer.address, network.prefix());
            Judgement::fail(detail, format!("mitigator-vpn peers check --prefix {} {file}", network.prefix()))
        }));
    }
    let so_far = |key: &str| inputs.facts.instance.env.values.get(key).filter(|value| !value.is_empty());
    if let Some(other) = so_far(PRODUCT.env.vpn_address).filter(|value| **value != address.to_string()) {
        let detail = format!("so far this instance has been {other}, by .env; now it becomes {address}");
        findings.push(Judgement::warn(detail, format!("to keep what it has: --vpn-address {other}")));
    }
    if let Some(other) = so_far(PRODUCT.env.vpn_prefix).filter(|value| **value != settings.prefix.to_string()) {
        let detail =
            format!("so far the network's prefix has been {other}, by .env; now it becomes {}", settings.prefix);
        findings.push(Judgement::warn(detail, "give every instance the same --prefix"));
    }
    Judgement::of_all(findings, format!("{address} in {network}"))
}

fn reserved(network: Network, peer: &Peer) -> bool {
    network.reserved(peer.address).is_some()
}

/// Why no host can have the address, if so.
fn unusable(address: Ipv4Addr) -> Option<&'static str> {
    match address {
        a if a.is_loopback() => Some("a loopback address"),
        a if a.is_link_local() => Some("a link-local address"),
        a if a.is_multicast() => Some("a multicast address"),
        a if a.octets()[0] == 0 || a.octets()[0] >= 240 => Some("no host's address"),
        _ => None,
    }
}

/// The hint that names the next free address.
fn free(network: Network, lists: &Lists) -> String {
    let taken: std::collections::BTreeSet<Ipv4Addr> = lists.members().map(|peer| peer.address).collect();
    let (first, last) = (network.address().to_bits() + 1, network.broadcast().to_bits());
    match (first..last).map(Ipv4Addr::from_bits).find(|address| !taken.contains(address)) {
        Some(free) => format!("take one that is free: --vpn-address {free}"),
        None => format!("{network} is full: give every instance a shorter --prefix"),
    }
}

pub(super) fn address_unique(inputs: &Inputs) -> Judgement {
    let Some(address) = inputs.settings.vpn_address else { return Judgement::unknown("no --vpn-address to judge") };
    let lists = Lists::of(inputs);
    if let Some(unusable) = lists.unusable {
        return unusable;
    }
    let mut findings = Vec::new();
    for (list, file) in lists.each() {
        findings.extend(list.by_address(address).and_then(|entry| own_entry(inputs, entry, file, &lists)));
        findings
            .extend(list.peers().filter(|peer| peer.address != address).filter_map(|peer| taken(inputs, peer, file)));
    }
    if let (Some(here), Some(given)) = (&lists.here, &lists.given) {
        // The own section is made new in both.
        let without_own = |list: &PeerList| {
            let mut list = list.clone();
            let _ = list.remove(address);
            list
        };
        if let Err(problems) = PeerList::merge(&without_own(here), &without_own(given)) {
            let detail: Vec<String> = problems.iter().map(|p| p.reason.to_string()).collect();
            let hint = format!("mitigator-vpn peers diff {} FILE", lists.here_file);
            findings.push(Judgement::fail(detail.join("; "), hint));
        }
    }
    let others = lists.members().filter(|peer| peer.address != address).map(|peer| peer.address);
    let others = others.collect::<std::collections::BTreeSet<_>>().len();
    Judgement::of_all(findings, format!("{address} among {others} other members"))
}

/// What to say about a section that has this instance's VPN address.
fn own_entry(inputs: &Inputs, entry: &Peer, file: &str, lists: &Lists) -> Option<Judgement> {
    let address = entry.address;
    let moved = inputs.settings.endpoint.filter(|endpoint| *endpoint != entry.endpoint);
    match (moved, own_key(inputs)) {
        // Whether the key is the right one is the check key-pair's question.
        (None, Some(_)) => None,
        (None, None) => Some(Judgement::warn(
            format!(
                "{address} is listed with a key that isn't here; a new one will replace it, and every other member \
                 needs the new list"
            ),
            format!("if its vpn-private.conf is saved somewhere, put it into {} first", inputs.settings.dir.display()),
        )),
        (Some(endpoint), Some(key)) if key == entry.public_key => Some(Judgement::warn(
            format!(
                "the endpoint of {address} changes from {} to {endpoint}; every other member needs the new list",
                entry.endpoint
            ),
            format!("to keep it: --endpoint {}", entry.endpoint),
        )),
        (Some(_), _) => {
            let network = Network::of(address, inputs.settings.prefix);
            Some(Judgement::fail(
                format!("{address} is in use by the member at {}", entry.endpoint),
                format!(
                    "{}\nor, if that member is gone: mitigator-vpn peers remove {address} {file}",
                    free(network, lists)
                ),
            ))
        }
    }
}

/// What to say about another member that has what this instance would have.
fn taken(inputs: &Inputs, peer: &Peer, file: &str) -> Option<Judgement> {
    let what = if own_key(inputs) == Some(peer.public_key) {
        "the key in vpn-private.conf".to_owned()
    } else if inputs.settings.endpoint == Some(peer.endpoint) {
        format!("the endpoint {}", peer.endpoint)
    } else {
        return None;
    };
    Some(Judgement::fail(
        format!("{what} is that of the member {}", peer.address),
        format!(
            "if this instance has been {0} so far: --vpn-address {0}\nif that entry is out of date: mitigator-vpn \
             peers remove {0} {file}",
            peer.address
        ),
    ))
}

pub(super) fn key_pair(inputs: &Inputs) -> Judgement {
    let key = match &inputs.facts.instance.private_conf {
        PrivateConfFile::Absent => return Judgement::pass("no key yet; it will be made here"),
        PrivateConfFile::Unusable { .. } => return Judgement::unknown("vpn-private.conf can't be read"),
        PrivateConfFile::Present { public, .. } => *public,
    };
    let Some(address) = inputs.settings.vpn_address else { return Judgement::unknown("no --vpn-address to judge") };
    let lists = Lists::of(inputs);
    let moved = |entry: &Peer| inputs.settings.endpoint.is_some_and(|endpoint| endpoint != entry.endpoint);
    let entry = |list: &Option<PeerList>| list.as_ref().and_then(|list| list.by_address(address).cloned());
    let (here, given) = (entry(&lists.here), entry(&lists.given));
    match (&here, &given) {
        // A section that isn't its own by its endpoint either is the check address-unique's.
        (Some(entry), _) | (None, Some(entry)) if entry.public_key != key && !moved(entry) => Judgement::fail(
            format!(
                "vpn-private.conf has the key {}…, the section of {address} in the list {}…",
                key.short(),
                entry.public_key.short()
            ),
            "put the vpn-private.conf that belongs to it back; if the one here is right: mitigator-vpn explain key-pair",
        ),
        (Some(_), Some(given)) if given.public_key != key && !moved(given) => Judgement::warn(
            format!("the list given has an older key for {address}; every other member needs the new list"),
            format!("mitigator-vpn peers diff {} FILE", lists.here_file),
        ),
        (None, None) => Judgement::pass("the key is here and not in a list yet"),
        _ => Judgement::pass(format!("both have {}…", key.short())),
    }
}

pub(super) fn sample_key(inputs: &Inputs) -> Judgement {
    let dir = inputs.settings.dir.display();
    if own_key(inputs).is_some_and(|key| key.is_published()) {
        let hint = format!("rm {dir}/vpn-private.conf; the next install makes a key of its own");
        return Judgement::fail("the private key here is the documentation's example", hint);
    }
    let lists = Lists::of(inputs);
    let own = inputs.settings.vpn_address;
    let published = lists.members().filter(|peer| Some(peer.address) != own && peer.public_key.is_published());
    let findings = published.map(|peer| {
        let detail = format!("the member {} has the documentation's example key", peer.address);
        Judgement::warn(detail, format!("make it a new one, there: rm {dir}/vpn-private.conf, then install"))
    });
    let mut findings: Vec<Judgement> = findings.collect();
    findings.dedup();
    Judgement::of_all(findings, "none is")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::facts::Facts;
    use crate::message::Message;
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
        case.says("vpn-address", Warn, "prefix has been 16");
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
}
