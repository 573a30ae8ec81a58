//! Who is a member: the union of what cluster.toml declares and what any host's list says. Pure.
//!
//! No member leaves by being absent: a host that is down, or left out of a run, stays a member (FN-49). Copies that have
//! drifted apart are united. Where they contradict each other and neither cluster.toml nor the host in question decides,
//! all versions are shown and nothing is done (FN-52).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use super::hosts::{Fleet, Node};
use super::inventory::{DeclaredInstance, Inventory, RemovedMember};
use crate::error::{Class, Error, Result};
use crate::message;
use crate::message::Message;
use crate::product::PRODUCT;
use crate::wireguard::{LineProblem, Peer, PeerList, PublicKey};

/// What is known of one declared instance.
#[derive(Clone, Debug)]
struct KnownInstance<'a> {
    instance: &'a DeclaredInstance,
    /// Whether its host could be looked at.
    seen: bool,
    /// The public half of its own key.
    key: Option<PublicKey>,
    /// The public half of a key that a rotation has staged there.
    staged: Option<PublicKey>,
    list: Option<&'a PeerList>,
}

impl<'a> From<&'a Node> for KnownInstance<'a> {
    fn from(node: &'a Node) -> Self {
        let look = node.seen().map(|seen| &seen.look);
        KnownInstance {
            instance: &node.instance,
            seen: look.is_some(),
            key: look.and_then(|look| look.key),
            staged: look.and_then(|look| look.staged),
            list: node.list(),
        }
    }
}

/// Who is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// The list that every instance is to have.
    pub(crate) list: PeerList,
    /// Declared instances whose key is not known: it has to be made there first.
    pub(crate) keyless: Vec<Ipv4Addr>,
}

/// Unites the inventory with what was seen of the hosts. `accepted` are the names of the instances whose new key a person
/// has vouched for.
pub(crate) fn merge(fleet: &Fleet, inventory: &Inventory, accepted: &[String]) -> Result<Merged> {
    let known: Vec<KnownInstance> = fleet.nodes.iter().map(KnownInstance::from).collect();
    unite(&known, &inventory.removed, accepted)
}

fn unite(known: &[KnownInstance], removed: &[RemovedMember], accepted: &[String]) -> Result<Merged> {
    let copies = Copies::of(known, removed);
    let mut disputes = Vec::new();
    let mut members: BTreeMap<Ipv4Addr, Peer> = BTreeMap::new();
    let mut keyless = Vec::new();
    let declared = known.iter().map(|k| (k.instance.address, Some(k)));
    let listed = copies.versions.keys().map(|address| (*address, None));
    for (address, declared) in declared.chain(listed) {
        if members.contains_key(&address) || keyless.contains(&address) {
            continue;
        }
        let versions = copies.versions.get(&address).map_or(&[][..], Vec::as_slice);
        let evidence = Evidence { address, declared, versions };
        match (evidence.key(accepted), evidence.endpoint()) {
            (Ok(None), _) => keyless.push(address),
            (Ok(Some(public_key)), Ok(endpoint)) => {
                let keepalive = versions.first().and_then(|version| version.peer.keepalive);
                members.insert(address, Peer { public_key, address, endpoint, keepalive });
            }
            (Err(dispute), _) | (_, Err(dispute)) => disputes.push(dispute),
        }
    }
    if !disputes.is_empty() {
        let (reasons, hints): (Vec<Message>, BTreeSet<Message>) =
            disputes.into_iter().map(|dispute| (dispute.reason, dispute.hint)).unzip();
        let error = Error::new(Class::Refused, Message::joined(reasons, "\n"));
        return Err(hints.into_iter().fold(error, Error::then));
    }
    let order: Vec<Ipv4Addr> = known.iter().map(|k| k.instance.address).collect();
    copies.write(&members, &order).map(|list| Merged { list, keyless })
}

/// What can't be decided, with all versions of it, and the way out.
struct Dispute {
    reason: Message,
    hint: Message,
}

/// A section for an address, and the names of the instances that have it.
struct SectionVersion<'a> {
    peer: Peer,
    holders: Vec<&'a str>,
}

/// The different lists there are, and what they say of each address.
struct Copies<'a> {
    /// Each different text once, with the number of hosts that have it.
    lists: Vec<(&'a PeerList, usize)>,
    versions: BTreeMap<Ipv4Addr, Vec<SectionVersion<'a>>>,
}

impl<'a> Copies<'a> {
    fn of(known: &[KnownInstance<'a>], removed: &[RemovedMember]) -> Copies<'a> {
        let mut lists: Vec<(&PeerList, usize)> = Vec::new();
        let mut versions: BTreeMap<Ipv4Addr, Vec<SectionVersion>> = BTreeMap::new();
        for (list, name) in known.iter().filter_map(|k| Some((k.list?, k.instance.name.as_str()))) {
            match lists.iter_mut().find(|(known, _)| *known == list) {
                Some((_, count)) => *count += 1,
                None => lists.push((list, 1)),
            }
            for peer in list.peers().filter(|peer| !removed.iter().any(|gone| gone.is(peer))) {
                let versions = versions.entry(peer.address).or_default();
                match versions.iter_mut().find(|version| version.peer == *peer) {
                    Some(version) => version.holders.push(name),
                    None => versions.push(SectionVersion { peer: peer.clone(), holders: vec![name] }),
                }
            }
        }
        Copies { lists, versions }
    }

    /// The text: that of a copy which says all this already, byte for byte; else the most common copy, edited. Of several
    /// copies that say all this it is always the same one, so that two operators at once come to one text.
    fn write(&self, members: &BTreeMap<Ipv4Addr, Peer>, order: &[Ipv4Addr]) -> Result<PeerList> {
        let is_complete = |list: &PeerList| {
            list.len() == members.len() && list.peers().all(|peer| members.get(&peer.address) == Some(peer))
        };
        let complete = self.lists.iter().map(|(list, _)| *list).filter(|list| is_complete(list));
        if let Some(list) = complete.min_by_key(|list| list.digest()) {
            return Ok(list.clone());
        }
        let mut lists = self.lists.clone();
        lists.sort_by_key(|(list, count)| (Reverse(*count), list.digest()));
        let mut merged = PeerList::default();
        for (list, _) in lists {
            // With what differs settled, the copies can't contradict each other.
            let settled = settle(list, members)?;
            merged = PeerList::merge(&settled, &merged)
                .map_err(|problems| LineProblem::error(PRODUCT.files.public_conf, &problems))?;
        }
        for peer in order.iter().filter_map(|address| members.get(address)) {
            merged.put(peer.clone())?;
        }
        Ok(merged)
    }
}

/// The list with the decided section for each of its members, and without those that are no members any more.
fn settle(list: &PeerList, members: &BTreeMap<Ipv4Addr, Peer>) -> Result<PeerList> {
    let mut settled = list.clone();
    for peer in list.peers() {
        match members.get(&peer.address) {
            Some(member) => settled.put(member.clone())?,
            None => settled.remove(peer.address)?,
        }
    }
    Ok(settled)
}

impl RemovedMember {
    fn is(&self, peer: &Peer) -> bool {
        (self.vpn_address, self.public_key) == (peer.address, peer.public_key)
    }
}

/// All that is said of one address.
struct Evidence<'e, 'a> {
    address: Ipv4Addr,
    declared: Option<&'e KnownInstance<'a>>,
    versions: &'e [SectionVersion<'a>],
}

impl Evidence<'_, '_> {
    /// Its key: the host's own, if the others know it by that one or no list has it yet; otherwise what all others say.
    /// `None` when it has none so far.
    fn key(&self, accepted: &[String]) -> Result<Option<PublicKey>, Box<Dispute>> {
        let listed: BTreeSet<PublicKey> = self.versions.iter().map(|version| version.peer.public_key).collect();
        let one = (listed.len() == 1).then(|| listed.first().copied()).flatten();
        match self.declared {
            Some(known) if known.seen => {
                let name = &known.instance.name;
                let option = format!("--accept-key {name}");
                let vouched = accepted.contains(name);
                match known.key {
                    Some(own) if listed.is_empty() || listed.contains(&own) || vouched => Ok(Some(own)),
                    // A rotation was interrupted when all others knew its new key, and it didn't use it yet.
                    Some(own) if known.staged.is_some_and(|staged| listed.contains(&staged)) => Ok(Some(own)),
                    Some(own) => Err(self.dispute(
                        message!("{name} has a key that no other instance knows: {key}", name, key = own.to_string()),
                        message!("if that is right, because the host was made anew: {option}", option),
                    )),
                    None if listed.is_empty() || vouched => Ok(None),
                    None => Err(self.dispute(
                        message!("{name} has lost its private key", name),
                        message!("put its vpn-private.conf back; to make a new key: {option}", option),
                    )),
                }
            }
            Some(_) | None if listed.is_empty() => Ok(None),
            Some(_) | None => one.map(Some).ok_or_else(|| self.contradiction()),
        }
    }

    /// Where its packets go: what is declared, else what all lists say.
    fn endpoint(&self) -> Result<SocketAddr, Box<Dispute>> {
        if let Some(known) = self.declared {
            return Ok(known.instance.endpoint);
        }
        let listed: BTreeSet<SocketAddr> = self.versions.iter().map(|version| version.peer.endpoint).collect();
        let one = (listed.len() == 1).then(|| listed.first().copied()).flatten();
        one.ok_or_else(|| self.contradiction())
    }

    fn contradiction(&self) -> Box<Dispute> {
        self.dispute(
            message!("the lists contradict each other about {address}", address = self.address),
            message!(
                "log in where it is wrong and correct it: mitigator-vpn peers remove ADDRESS; an instance that cluster.toml \
                 names and that is up decides by itself"
            ),
        )
    }

    /// With all versions, a line each.
    fn dispute(&self, reason: Message, hint: Message) -> Box<Dispute> {
        let mut lines = vec![reason];
        if let Some(known) = self.declared {
            let (address, endpoint) = (self.address, known.instance.endpoint);
            lines.push(message!("cluster.toml: {address} at {endpoint}", address, endpoint));
        }
        lines.extend(self.versions.iter().map(|SectionVersion { peer, holders }| {
            let (named, more) = holders.split_at(holders.len().min(3));
            let names = match more {
                [] => Message::foreign(named.join(", ")),
                more => message!("{names} and {count} more", names = named.join(", "), count = more.len()),
            };
            message!(
                "{names}: {address} at {endpoint} with the key {key}",
                names,
                address = peer.address,
                endpoint = peer.endpoint,
                key = peer.public_key.to_string()
            )
        }));
        Box::new(Dispute { reason: Message::joined(lines, "\n  "), hint })
    }
}

#[cfg(test)]
mod tests;
