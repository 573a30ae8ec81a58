//! The instance's place among the members: its address, its endpoint, its key.
//!
//! A section with this instance's VPN address is its own, if it has its endpoint or its key as well (FN-53).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::facts::{PrivateConfFile, TextFile};
use crate::message::Message;
use crate::preflight::network::is_private;
use crate::preflight::{Inputs, Judgement, explained, id};
use crate::product::PRODUCT;
use crate::wireguard::{LineProblem, Network, Peer, PeerList, PublicKey};
use crate::{counted, message};

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
            TextFile::Unusable { .. } => {
                lists.unusable = Some(Judgement::unknown(message!("vpn-public.conf can't be read")))
            }
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
    let error = LineProblem::error("--peers", problems);
    Judgement::fail(Message::from(&error), Message::joined(error.hints().to_vec(), "\n"))
}

fn own_key(inputs: &Inputs) -> Option<PublicKey> {
    match &inputs.facts.instance.private_conf {
        PrivateConfFile::Present { public, .. } => Some(*public),
        PrivateConfFile::Absent | PrivateConfFile::Unusable { .. } => None,
    }
}

pub(super) fn vpn_address(inputs: &Inputs) -> Judgement {
    let settings = inputs.settings;
    let Some(address) = settings.vpn_address else { return no_address() };
    let prefix = settings.prefix;
    if !(8..=30).contains(&prefix) {
        return Judgement::fail(
            message!("a /{prefix} can't be a cluster's network", prefix),
            message!("use a prefix from 8 to 30: --prefix 24"),
        );
    }
    let lists = Lists::of(inputs);
    let network = Network::of(address, prefix);
    if let Some(kind) = unusable(address) {
        let hint = message!("use an address that a host can have: --vpn-address 10.8.3.1");
        return Judgement::fail(message!("{address} is {kind}", address, kind), hint);
    }
    if let Some(kind) = network.reserved(address) {
        return Judgement::fail(kind.message(address, network), free(network, &lists));
    }
    let mut found = Vec::new();
    if !is_private(address.into()) {
        found.push(Judgement::warn(
            message!(
                "{address} is an address of the Internet: what this host sends to {network} goes into the VPN",
                address,
                network
            ),
            message!("take a private network for the whole cluster: {option}", option = "--vpn-address 10.8.3.1"),
        ));
    }
    for (list, file) in lists.each() {
        let strangers = list.peers().filter(|peer| !network.contains(peer.address) || reserved(network, peer));
        found.extend(strangers.map(|peer| {
            let whole = format!("{address}/{prefix}");
            Judgement::fail(
                message!(
                    "the member {member} can't be in one network with {address}",
                    member = peer.address,
                    address = whole
                ),
                Message::command(format!("mitigator-vpn peers check --prefix {prefix} {file}")),
            )
        }));
    }
    let so_far = |key: &str| inputs.facts.instance.env.values.get(key).filter(|value| !value.is_empty());
    if let Some(other) = so_far(PRODUCT.env.vpn_address).filter(|value| **value != address.to_string()) {
        found.push(Judgement::warn(
            message!("the VPN address in .env is {other}, and becomes {address}", other, address),
            message!("to keep it: {option}", option = format!("--vpn-address {other}")),
        ));
    }
    if let Some(other) = so_far(PRODUCT.env.vpn_prefix).filter(|value| **value != prefix.to_string()) {
        found.push(Judgement::warn(
            message!("the network's prefix in .env is {other}, and becomes {prefix}", other, prefix),
            message!("give every instance the same --prefix"),
        ));
    }
    let fine = message!("{address} in {network}", address, network);
    Judgement::of_all(found, fine)
}

fn no_address() -> Judgement {
    Judgement::unknown(message!("--vpn-address is not given"))
}

fn reserved(network: Network, peer: &Peer) -> bool {
    network.reserved(peer.address).is_some()
}

/// Why no host can have the address, if so.
fn unusable(address: Ipv4Addr) -> Option<Message> {
    match address {
        a if a.is_loopback() => Some(message!("a loopback address")),
        a if a.is_link_local() => Some(message!("a link-local address")),
        a if a.is_multicast() => Some(message!("a multicast address")),
        a if a.octets()[0] == 0 || a.octets()[0] >= 240 => Some(message!("no host's address")),
        _ => None,
    }
}

/// The hint that names the next free address.
fn free(network: Network, lists: &Lists) -> Message {
    let taken: BTreeSet<Ipv4Addr> = lists.members().map(|peer| peer.address).collect();
    let (first, last) = (network.address().to_bits() + 1, network.broadcast().to_bits());
    match (first..last).map(Ipv4Addr::from_bits).find(|address| !taken.contains(address)) {
        Some(free) => message!("take one that is free: {option}", option = format!("--vpn-address {free}")),
        None => message!("{network} is full: give every instance a shorter --prefix", network),
    }
}

pub(super) fn address_unique(inputs: &Inputs) -> Judgement {
    let Some(address) = inputs.settings.vpn_address else { return no_address() };
    let lists = Lists::of(inputs);
    if let Some(unusable) = lists.unusable {
        return unusable;
    }
    let mut found = Vec::new();
    for (list, file) in lists.each() {
        found.extend(list.by_address(address).and_then(|entry| own_entry(inputs, entry, file, &lists)));
        found.extend(list.peers().filter(|peer| peer.address != address).filter_map(|peer| taken(inputs, peer, file)));
    }
    if let (Some(here), Some(given)) = (&lists.here, &lists.given) {
        // The own section is made new in both.
        let without_own = |list: &PeerList| {
            let mut list = list.clone();
            let _ = list.remove(address);
            list
        };
        if let Err(problems) = PeerList::merge(&without_own(here), &without_own(given)) {
            let reasons = problems.iter().map(|problem| problem.reason.clone()).collect();
            let hint = Message::command(format!("mitigator-vpn peers diff {} FILE", lists.here_file));
            found.push(Judgement::fail(Message::joined(reasons, "; "), hint));
        }
    }
    let others = lists.members().filter(|peer| peer.address != address).map(|peer| peer.address);
    let fine = counted!(
        "{address} and {count} other member" | "{address} and {count} other members",
        count = others.collect::<BTreeSet<_>>().len(),
        address
    );
    Judgement::of_all(found, fine)
}

/// What to say about a section that has this instance's VPN address.
fn own_entry(inputs: &Inputs, entry: &Peer, file: &str, lists: &Lists) -> Option<Judgement> {
    let address = entry.address;
    let moved = inputs.settings.endpoint.filter(|endpoint| *endpoint != entry.endpoint);
    match (moved, own_key(inputs)) {
        // Whether the key is the right one is the check key-pair's question.
        (None, Some(_)) => None,
        (None, None) => Some(Judgement::warn(
            message!(
                "{address} is listed with a key that isn't here; a new one will replace it, and every other member \
                 needs the new list",
                address
            ),
            message!(
                "if its vpn-private.conf is saved somewhere, put it into {dir} first",
                dir = inputs.settings.dir.display()
            ),
        )),
        (Some(endpoint), Some(key)) if key == entry.public_key => Some(Judgement::warn(
            message!(
                "the endpoint of {address} changes from {from} to {endpoint}; every other member needs the new list",
                address,
                from = entry.endpoint,
                endpoint
            ),
            message!("to keep it: {option}", option = format!("--endpoint {}", entry.endpoint)),
        )),
        (Some(_), Some(_) | None) => {
            let remove = format!("mitigator-vpn peers remove {address} {file}");
            let hints = vec![
                free(Network::of(address, inputs.settings.prefix), lists),
                message!("or, if that member is gone: {command}", command = remove),
            ];
            Some(Judgement::fail(
                message!("{address} is in use by the member at {endpoint}", address, endpoint = entry.endpoint),
                Message::joined(hints, "\n"),
            ))
        }
    }
}

/// What to say about another member that has what this instance would have.
fn taken(inputs: &Inputs, peer: &Peer, file: &str) -> Option<Judgement> {
    let (member, endpoint) = (peer.address, peer.endpoint);
    let detail = if own_key(inputs) == Some(peer.public_key) {
        message!("the key in vpn-private.conf is that of the member {member}", member)
    } else if inputs.settings.endpoint == Some(endpoint) {
        message!("the endpoint {endpoint} is that of the member {member}", endpoint, member)
    } else {
        return None;
    };
    let hints = vec![
        message!(
            "if this instance has been {address} so far: {option}",
            address = member,
            option = format!("--vpn-address {member}")
        ),
        message!(
            "if that entry is out of date: {command}",
            command = format!("mitigator-vpn peers remove {member} {file}")
        ),
    ];
    Some(Judgement::fail(detail, Message::joined(hints, "\n")))
}

pub(super) fn key_pair(inputs: &Inputs) -> Judgement {
    let key = match &inputs.facts.instance.private_conf {
        PrivateConfFile::Absent => return Judgement::pass(message!("no key yet; install makes it here")),
        PrivateConfFile::Unusable { .. } => return Judgement::unknown(message!("vpn-private.conf can't be read")),
        PrivateConfFile::Present { public, .. } => *public,
    };
    let Some(address) = inputs.settings.vpn_address else { return no_address() };
    let lists = Lists::of(inputs);
    let moved = |entry: &Peer| inputs.settings.endpoint.is_some_and(|endpoint| endpoint != entry.endpoint);
    let entry = |list: &Option<PeerList>| list.as_ref().and_then(|list| list.by_address(address).cloned());
    let (here, given) = (entry(&lists.here), entry(&lists.given));
    match (&here, &given) {
        // A section that isn't its own by its endpoint either is the check address-unique's.
        (Some(entry), _) | (None, Some(entry)) if entry.public_key != key && !moved(entry) => Judgement::fail(
            message!(
                "vpn-private.conf has the key {one}…, the section of {address} in the list {other}…",
                one = key.short(),
                address,
                other = entry.public_key.short()
            ),
            message!(
                "put the vpn-private.conf that belongs to it back; if the one here is right: {command}",
                command = explained(id::KEY_PAIR)
            ),
        ),
        (Some(_), Some(given)) if given.public_key != key && !moved(given) => Judgement::warn(
            message!("the list given has an older key for {address}; every other member needs the new list", address),
            Message::command(format!("mitigator-vpn peers diff {} FILE", lists.here_file)),
        ),
        (None, None) => Judgement::pass(message!("the key is here and in no list yet")),
        (Some(_), _) | (None, Some(_)) => Judgement::pass(message!("both have the key {key}…", key = key.short())),
    }
}

pub(super) fn sample_key(inputs: &Inputs) -> Judgement {
    let remove = format!("rm {}", inputs.settings.layout().private_conf().display());
    if own_key(inputs).is_some_and(|key| key.is_published()) {
        let hint = message!("{command}; the next install makes a new key", command = remove);
        return Judgement::fail(message!("the private key here is the documentation's example"), hint);
    }
    let lists = Lists::of(inputs);
    let own = inputs.settings.vpn_address;
    let published = lists.members().filter(|peer| Some(peer.address) != own && peer.public_key.is_published());
    let found = published.map(|peer| {
        Judgement::warn(
            message!("the member {member} has the documentation's example key", member = peer.address),
            message!("on that instance: {command}, then install", command = &remove),
        )
    });
    let mut found: Vec<Judgement> = found.collect();
    found.dedup();
    Judgement::of_all(found, message!("no key is the documentation's example"))
}

#[cfg(test)]
mod tests;
