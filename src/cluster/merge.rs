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
use crate::wireguard::{Peer, PeerList, Problem, PublicKey};

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
struct Version<'a> {
    peer: Peer,
    holders: Vec<&'a str>,
}

/// The different lists there are, and what they say of each address.
struct Copies<'a> {
    /// Each different text once, with the number of hosts that have it.
    lists: Vec<(&'a PeerList, usize)>,
    versions: BTreeMap<Ipv4Addr, Vec<Version<'a>>>,
}

impl<'a> Copies<'a> {
    fn of(known: &[KnownInstance<'a>], removed: &[RemovedMember]) -> Copies<'a> {
        let mut lists: Vec<(&PeerList, usize)> = Vec::new();
        let mut versions: BTreeMap<Ipv4Addr, Vec<Version>> = BTreeMap::new();
        for (list, name) in known.iter().filter_map(|k| Some((k.list?, k.instance.name.as_str()))) {
            match lists.iter_mut().find(|(known, _)| *known == list) {
                Some((_, count)) => *count += 1,
                None => lists.push((list, 1)),
            }
            for peer in list.peers().filter(|peer| !removed.iter().any(|gone| gone.is(peer))) {
                let versions = versions.entry(peer.address).or_default();
                match versions.iter_mut().find(|version| version.peer == *peer) {
                    Some(version) => version.holders.push(name),
                    None => versions.push(Version { peer: peer.clone(), holders: vec![name] }),
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
                .map_err(|problems| Problem::error(PRODUCT.files.public_conf, &problems))?;
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
    versions: &'e [Version<'a>],
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
        lines.extend(self.versions.iter().map(|Version { peer, holders }| {
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
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    fn instance(n: u8) -> DeclaredInstance {
        DeclaredInstance {
            name: format!("h{n}"),
            ssh: format!("h{n}"),
            address: [10, 8, 3, n].into(),
            endpoint: SocketAddr::from(([192, 0, 2, n], 4567)),
        }
    }

    fn peer(n: u8) -> Peer {
        let DeclaredInstance { address, endpoint, .. } = instance(n);
        Peer { public_key: key(n), address, endpoint, keepalive: None }
    }

    fn list(members: &[Peer]) -> PeerList {
        let mut list = PeerList::default();
        members.iter().for_each(|peer| list.add(peer.clone()).unwrap());
        list
    }

    /// Instances that are up, with their own key and this list each.
    fn united(lists: &[(u8, &PeerList)], removed: &[RemovedMember], accepted: &[String]) -> Result<Merged> {
        let instances: Vec<DeclaredInstance> = lists.iter().map(|(n, _)| instance(*n)).collect();
        let known: Vec<KnownInstance> = lists
            .iter()
            .zip(&instances)
            .map(|((n, list), instance)| KnownInstance {
                instance,
                seen: true,
                key: Some(key(*n)),
                staged: None,
                list: Some(list),
            })
            .collect();
        unite(&known, removed, accepted)
    }

    #[test]
    fn copies_that_agree_stay_as_they_are_byte_for_byte() {
        let text = format!("# ours\n{}# end\n", list(&[peer(1), peer(2)]).to_text());
        let list = PeerList::parse(&text).unwrap();
        assert_eq!(united(&[(1, &list), (2, &list)], &[], &[]).unwrap().list.to_text(), text);
    }

    #[test]
    fn concurrent_joins_are_united_in_any_order_of_the_copies() {
        let (a, b) = (list(&[peer(1), peer(2), peer(3)]), list(&[peer(1), peer(2), peer(4)]));
        let one = united(&[(1, &a), (2, &b)], &[], &[]).unwrap().list;
        let other = united(&[(2, &b), (1, &a)], &[], &[]).unwrap().list;
        assert_eq!(one, other);
        assert_eq!(one.len(), 4);
        // The result beside an older copy stays as it is.
        assert_eq!(united(&[(1, &one), (2, &a)], &[], &[]).unwrap().list, one);
    }

    #[test]
    fn an_instance_that_is_down_or_unknown_here_stays_a_member() {
        let all = list(&[peer(1), peer(2), peer(9)]);
        let (up, down) = (instance(1), instance(2));
        let known = [
            KnownInstance { instance: &up, seen: true, key: Some(key(1)), staged: None, list: Some(&all) },
            KnownInstance { instance: &down, seen: false, key: None, staged: None, list: None },
        ];
        let merged = unite(&known, &[], &[]).unwrap();
        assert_eq!(merged.list, all);
        assert!(merged.keyless.is_empty());
    }

    #[test]
    fn a_removed_member_does_not_come_back_with_an_older_list() {
        let (old, new) = (list(&[peer(1), peer(2), peer(3)]), list(&[peer(1), peer(2)]));
        let removed = [RemovedMember { vpn_address: peer(3).address, public_key: key(3) }];
        assert_eq!(united(&[(1, &new), (2, &old)], &removed, &[]).unwrap().list, new);
        // With another key it is another member.
        let renewed = list(&[peer(1), peer(2), Peer { public_key: key(33), ..peer(3) }]);
        assert_eq!(united(&[(1, &new), (2, &renewed)], &removed, &[]).unwrap().list, renewed);
    }

    #[test]
    fn an_unexpected_key_is_shown_and_refused_until_a_person_vouches_for_it() {
        let stranger = Peer { public_key: key(77), ..peer(2) };
        let known = list(&[peer(1), stranger]);
        let error = united(&[(1, &known), (2, &known)], &[], &[]).unwrap_err();
        assert_eq!(error.class().exit_code(), 3);
        assert!(error.to_string().contains(&key(2).to_string()) && error.to_string().contains(&key(77).to_string()));
        assert!(error.way_out().unwrap().contains("--accept-key h2"));
        let merged = united(&[(1, &known), (2, &known)], &[], &["h2".into()]).unwrap();
        assert_eq!(merged.list, list(&[peer(1), peer(2)]));
    }

    #[test]
    fn the_host_itself_decides_between_two_keys_of_it() {
        let (old, new) = (list(&[peer(1), Peer { public_key: key(22), ..peer(2) }]), list(&[peer(1), peer(2)]));
        assert_eq!(united(&[(1, &old), (2, &new)], &[], &[]).unwrap().list, new);
    }

    #[test]
    fn the_staged_key_of_an_interrupted_rotation_is_accepted() {
        let listed = list(&[peer(1), Peer { public_key: key(22), ..peer(2) }]);
        let instance = instance(2);
        let known = KnownInstance {
            instance: &instance,
            seen: true,
            key: Some(key(2)),
            staged: Some(key(22)),
            list: Some(&listed),
        };
        assert_eq!(unite(&[known], &[], &[]).unwrap().list, list(&[peer(1), peer(2)]));
    }

    #[test]
    fn copies_that_contradict_each_other_are_shown_and_refused() {
        let other = Peer { public_key: key(99), ..peer(9) };
        let (a, b) = (list(&[peer(1), peer(9)]), list(&[peer(1), other]));
        let said = united(&[(1, &a), (2, &b)], &[], &[]).unwrap_err().to_string();
        assert!(
            said.contains("about 10.8.3.9") && said.contains("h1: 10.8.3.9") && said.contains("h2: 10.8.3.9"),
            "{said}"
        );
    }

    #[test]
    fn what_is_declared_wins_over_an_older_endpoint() {
        let moved = Peer { endpoint: "198.51.100.2:4567".parse().unwrap(), ..peer(2) };
        let old = list(&[peer(1), moved]);
        assert_eq!(united(&[(1, &old), (2, &old)], &[], &[]).unwrap().list, list(&[peer(1), peer(2)]));
    }

    #[test]
    fn a_new_instance_without_a_key_waits_for_one() {
        let (first, second) = (instance(1), instance(2));
        let known = [
            KnownInstance { instance: &first, seen: true, key: Some(key(1)), staged: None, list: None },
            KnownInstance { instance: &second, seen: true, key: None, staged: None, list: None },
        ];
        let merged = unite(&known, &[], &[]).unwrap();
        assert_eq!((merged.list.len(), merged.keyless), (1, vec![second.address]));
    }
}
