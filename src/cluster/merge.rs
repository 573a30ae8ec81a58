//! Who is a member: the union of what cluster.toml declares and what any host's list says. Pure.
//!
//! Nobody leaves by not being there: a host that is down, or left out of a run, stays a member (FN-49). Copies that have
//! drifted apart are united; where they contradict each other and neither cluster.toml nor the host in question decides,
//! all versions are shown and nothing is done (FN-52).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};

use super::inventory::{Instance, Removed};
use crate::error::{Class, Error, Result};
use crate::product::PRODUCT;
use crate::wireguard::{Peer, PeerList, Problem, PublicKey};

/// What is known of one declared instance.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// As it is declared.
    pub instance: &'a Instance,
    /// Whether it could be looked at.
    pub seen: bool,
    /// The public half of its own key.
    pub key: Option<PublicKey>,
    /// The public half of a key that a rotation has staged there.
    pub staged: Option<PublicKey>,
    /// Its list.
    pub list: Option<&'a PeerList>,
}

/// Who is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Union {
    /// The list that every instance is to have.
    pub list: PeerList,
    /// Declared instances whose key nobody knows yet: it has to be made there first.
    pub keyless: Vec<Ipv4Addr>,
}

/// Unites. `accepted` are the instances whose new key somebody has vouched for.
pub fn unite(known: &[Known], removed: &[Removed], accepted: &[String]) -> Result<Union> {
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
        let member = Claim { address, declared, versions };
        match (member.key(accepted), member.endpoint()) {
            (Ok(None), _) => keyless.push(address),
            (Ok(Some(public_key)), Ok(endpoint)) => {
                let keepalive = versions.first().and_then(|(peer, _)| peer.keepalive);
                members.insert(address, Peer { public_key, address, endpoint, keepalive });
            }
            (Err(dispute), _) | (_, Err(dispute)) => disputes.push(dispute),
        }
    }
    if !disputes.is_empty() {
        let (lines, hints): (Vec<String>, BTreeSet<String>) = disputes.into_iter().unzip();
        let hints: Vec<String> = hints.into_iter().collect();
        return Err(Error::new(Class::Refused, lines.join("\n")).hint(hints.join("\n")));
    }
    let order: Vec<Ipv4Addr> = known.iter().map(|k| k.instance.address).collect();
    copies.write(&members, &order).map(|list| Union { list, keyless })
}

/// What is wrong, with all versions of it, and the way out.
type Dispute = (String, String);

/// The different lists there are, and what they say of each address.
struct Copies<'a> {
    /// Each different text once, with the number of hosts that have it.
    lists: Vec<(&'a PeerList, usize)>,
    /// The different sections of an address, each with those who have it.
    versions: BTreeMap<Ipv4Addr, Vec<(Peer, Vec<&'a str>)>>,
}

impl<'a> Copies<'a> {
    fn of(known: &[Known<'a>], removed: &[Removed]) -> Copies<'a> {
        let mut lists: Vec<(&PeerList, usize)> = Vec::new();
        let mut versions: BTreeMap<Ipv4Addr, Vec<(Peer, Vec<&str>)>> = BTreeMap::new();
        for (list, name) in known.iter().filter_map(|k| Some((k.list?, k.instance.name.as_str()))) {
            match lists.iter_mut().find(|(known, _)| *known == list) {
                Some((_, count)) => *count += 1,
                None => lists.push((list, 1)),
            }
            for peer in list.peers().filter(|peer| !removed.iter().any(|gone| gone.is(peer))) {
                let versions = versions.entry(peer.address).or_default();
                match versions.iter_mut().find(|(version, _)| version == peer) {
                    Some((_, holders)) => holders.push(name),
                    None => versions.push((peer.clone(), vec![name])),
                }
            }
        }
        Copies { lists, versions }
    }

    /// The text: that of a copy which says all this already, byte for byte; else the most common copy, edited. Of several
    /// that say all this it is always the same one, so that two operators at once come to one text.
    fn write(&self, members: &BTreeMap<Ipv4Addr, Peer>, order: &[Ipv4Addr]) -> Result<PeerList> {
        let says_it = |list: &PeerList| {
            list.len() == members.len() && list.peers().all(|peer| members.get(&peer.address) == Some(peer))
        };
        let whole = self.lists.iter().map(|(list, _)| *list).filter(|list| says_it(list));
        if let Some(list) = whole.min_by_key(|list| list.digest()) {
            return Ok(list.clone());
        }
        let mut lists = self.lists.clone();
        lists.sort_by_key(|(list, count)| (std::cmp::Reverse(*count), list.digest()));
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

impl Removed {
    fn is(&self, peer: &Peer) -> bool {
        (self.vpn_address, self.public_key) == (peer.address, peer.public_key)
    }
}

/// All that is said of one address.
struct Claim<'c, 'a> {
    address: Ipv4Addr,
    declared: Option<&'c Known<'a>>,
    versions: &'c [(Peer, Vec<&'a str>)],
}

impl Claim<'_, '_> {
    /// Its key: the host's own, if the others know it by that one or nobody knows it yet; otherwise what all others say.
    /// `None` when it has none so far.
    fn key(&self, accepted: &[String]) -> Result<Option<PublicKey>, Dispute> {
        let listed: BTreeSet<PublicKey> = self.versions.iter().map(|(peer, _)| peer.public_key).collect();
        let one = (listed.len() == 1).then(|| listed.first().copied()).flatten();
        match self.declared {
            Some(known) if known.seen => {
                let name = &known.instance.name;
                let vouched = accepted.contains(name);
                match known.key {
                    Some(own) if listed.is_empty() || listed.contains(&own) || vouched => Ok(Some(own)),
                    // A rotation was cut off when all others knew its new key, and it didn't yet.
                    Some(own) if known.staged.is_some_and(|staged| listed.contains(&staged)) => Ok(Some(own)),
                    Some(own) => Err((
                        format!("{} has a key that no other instance knows: {}\n{}", name, own, self.told()),
                        format!("if that is right, because the host was made anew: --accept-key {name}"),
                    )),
                    None if listed.is_empty() || vouched => Ok(None),
                    None => Err((
                        format!("{name} has lost its private key\n{}", self.told()),
                        format!("put its vpn-private.conf back; to make a new key: --accept-key {name}"),
                    )),
                }
            }
            _ if listed.is_empty() => Ok(None),
            _ => one.map(Some).ok_or_else(|| self.contradiction()),
        }
    }

    /// Where its packets go: what is declared, else what all say.
    fn endpoint(&self) -> Result<SocketAddr, Dispute> {
        if let Some(known) = self.declared {
            return Ok(known.instance.endpoint);
        }
        let listed: BTreeSet<SocketAddr> = self.versions.iter().map(|(peer, _)| peer.endpoint).collect();
        let one = (listed.len() == 1).then(|| listed.first().copied()).flatten();
        one.ok_or_else(|| self.contradiction())
    }

    fn contradiction(&self) -> Dispute {
        let hint = "log in where it is wrong and mend it: mitigator-vpn peers remove ADDRESS; an instance that cluster.toml \
                    names and that is up decides by itself";
        (format!("the lists contradict each other about {}\n{}", self.address, self.told()), hint.to_owned())
    }

    /// All versions, a line each.
    fn told(&self) -> String {
        let mut told = String::new();
        if let Some(known) = self.declared {
            let _ = write!(told, "  cluster.toml: {} at {}", self.address, known.instance.endpoint);
        }
        for (peer, holders) in self.versions {
            let more = holders.len().saturating_sub(3);
            let names = holders.iter().take(3).copied().collect::<Vec<_>>().join(", ");
            let names = if more > 0 { format!("{names} and {more} more") } else { names };
            let _ = write!(
                told,
                "{}  {names}: {} at {} with the key {}",
                if told.is_empty() { "" } else { "\n" },
                peer.address,
                peer.endpoint,
                peer.public_key
            );
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    fn instance(n: u8) -> Instance {
        Instance {
            name: format!("h{n}"),
            ssh: format!("h{n}"),
            address: [10, 8, 3, n].into(),
            endpoint: SocketAddr::from(([192, 0, 2, n], 4567)),
        }
    }

    fn peer(n: u8) -> Peer {
        let Instance { address, endpoint, .. } = instance(n);
        Peer { public_key: key(n), address, endpoint, keepalive: None }
    }

    fn list(members: &[Peer]) -> PeerList {
        let mut list = PeerList::default();
        members.iter().for_each(|peer| list.add(peer.clone()).unwrap());
        list
    }

    /// Instances that are up, with their own key and this list each.
    fn united(lists: &[(u8, &PeerList)], removed: &[Removed], accepted: &[String]) -> Result<Union> {
        let instances: Vec<Instance> = lists.iter().map(|(n, _)| instance(*n)).collect();
        let known: Vec<Known> = lists
            .iter()
            .zip(&instances)
            .map(|((n, list), instance)| Known {
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
    fn concurrent_joins_are_united_whichever_copy_one_saw_first() {
        let (a, b) = (list(&[peer(1), peer(2), peer(3)]), list(&[peer(1), peer(2), peer(4)]));
        let one = united(&[(1, &a), (2, &b)], &[], &[]).unwrap().list;
        let other = united(&[(2, &b), (1, &a)], &[], &[]).unwrap().list;
        assert_eq!(one, other);
        assert_eq!(one.len(), 4);
        // Whoever sees the result next to an older copy changes nothing about it.
        assert_eq!(united(&[(1, &one), (2, &a)], &[], &[]).unwrap().list, one);
    }

    #[test]
    fn an_instance_that_is_down_or_unknown_here_stays_a_member() {
        let all = list(&[peer(1), peer(2), peer(9)]);
        let (up, down) = (instance(1), instance(2));
        let known = [
            Known { instance: &up, seen: true, key: Some(key(1)), staged: None, list: Some(&all) },
            Known { instance: &down, seen: false, key: None, staged: None, list: None },
        ];
        let union = unite(&known, &[], &[]).unwrap();
        assert_eq!(union.list, all);
        assert!(union.keyless.is_empty());
    }

    #[test]
    fn a_removed_member_does_not_come_back_with_an_older_list() {
        let (old, new) = (list(&[peer(1), peer(2), peer(3)]), list(&[peer(1), peer(2)]));
        let removed = [Removed { vpn_address: peer(3).address, public_key: key(3) }];
        assert_eq!(united(&[(1, &new), (2, &old)], &removed, &[]).unwrap().list, new);
        // With another key it is another member.
        let renewed = list(&[peer(1), peer(2), Peer { public_key: key(33), ..peer(3) }]);
        assert_eq!(united(&[(1, &new), (2, &renewed)], &removed, &[]).unwrap().list, renewed);
    }

    #[test]
    fn an_unexpected_key_is_shown_and_refused_until_somebody_vouches_for_it() {
        let stranger = Peer { public_key: key(77), ..peer(2) };
        let known = list(&[peer(1), stranger]);
        let error = united(&[(1, &known), (2, &known)], &[], &[]).unwrap_err();
        assert_eq!(error.class().exit_code(), 3);
        assert!(error.to_string().contains(&key(2).to_string()) && error.to_string().contains(&key(77).to_string()));
        assert!(error.way_out().unwrap().contains("--accept-key h2"));
        let union = united(&[(1, &known), (2, &known)], &[], &["h2".into()]).unwrap();
        assert_eq!(union.list, list(&[peer(1), peer(2)]));
    }

    #[test]
    fn the_host_itself_decides_between_two_keys_of_it() {
        let (old, new) = (list(&[peer(1), Peer { public_key: key(22), ..peer(2) }]), list(&[peer(1), peer(2)]));
        assert_eq!(united(&[(1, &old), (2, &new)], &[], &[]).unwrap().list, new);
    }

    #[test]
    fn a_rotation_that_was_cut_off_is_no_stranger() {
        let listed = list(&[peer(1), Peer { public_key: key(22), ..peer(2) }]);
        let instance = instance(2);
        let known =
            Known { instance: &instance, seen: true, key: Some(key(2)), staged: Some(key(22)), list: Some(&listed) };
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
            Known { instance: &first, seen: true, key: Some(key(1)), staged: None, list: None },
            Known { instance: &second, seen: true, key: None, staged: None, list: None },
        ];
        let union = unite(&known, &[], &[]).unwrap();
        assert_eq!((union.list.len(), union.keyless), (1, vec![second.address]));
    }
}
