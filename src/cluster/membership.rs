//! Who is a member, decided from cluster.toml, each host's list, each host's own key, and what a person accepts. Pure.
//!
//! cluster.toml is the operator's word. A host is a witness that may be wrong, or lie:
//!
//! - It vouches for its own key, unless those that know it say another one. Its own list doesn't count for that.
//! - What nobody vouches for in this way counts if most of the other declared instances' lists have it. Hosts that are down
//!   or left out of the run count as not having it, so who takes others off the network wins no majority.
//! - What isn't decided is neither spread nor dropped: it stays in the lists that have it, and is told.
//! - Who has left, and a key that was retired, comes back by a person's word alone, whatever lists still have it.
//!
//! docs/threat-model.md says what that comes to.

#[cfg(test)]
mod model;
mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

pub(crate) use self::past::by;
use self::past::{believed, electorate};
use super::inventory::DeclaredInstance;
use crate::message;
use crate::message::Message;
use crate::wireguard::{History, Network, Note, Peer, PeerList, PublicKey};

/// A declared instance, and what its host says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness<'a> {
    pub(crate) instance: &'a DeclaredInstance,
    /// `None` for a host that could not be looked at, or takes no part in the run.
    pub(crate) says: Option<Testimony<'a>>,
}

/// What a host says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Testimony<'a> {
    /// The public half of its own key.
    pub(crate) key: Option<PublicKey>,
    /// The public half of a key that a rotation has staged there.
    pub(crate) staged: Option<PublicKey>,
    /// Whether another run is just giving it a new key.
    pub(crate) rotating: bool,
    pub(crate) list: Option<&'a PeerList>,
    /// What it remembers of members.
    pub(crate) history: &'a History,
}

/// What the operator says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    /// Who has left or comes back, and keys that are used up.
    pub(crate) history: &'a History,
    /// Who says it, and when.
    pub(crate) note: &'a Note,
    /// The network that all members are in.
    pub(crate) network: Option<Network>,
    /// Names of instances whose new key is accepted.
    pub(crate) keys: &'a [String],
    /// Members that cluster.toml doesn't have and that are accepted.
    pub(crate) members: &'a [Ipv4Addr],
}

/// Who is a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) members: BTreeMap<Ipv4Addr, Peer>,
    /// Declared instances that were seen and have no key that may be used: it has to be made there first.
    pub(crate) keyless: Vec<Ipv4Addr>,
    pub(crate) disputes: Vec<Dispute>,
    /// What has become of members, and is to be remembered by every host.
    pub(crate) history: History,
}

/// What isn't decided, or was decided against somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dispute {
    /// The member that it is about.
    pub(crate) about: Ipv4Addr,
    pub(crate) weight: Weight,
    /// With all that is said of it, a line each.
    pub(crate) reason: Message,
    /// The way out.
    pub(crate) hint: Message,
}

/// What a dispute means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It is told; nothing that was seen contradicts the result.
    Note,
    /// The lists stay different until a person decides.
    Differs,
    /// The member's own host is left as it is until a person decides.
    LeaveAlone,
}

/// Decides. A majority is more than half of the declared instances but the one in question and those without any list.
pub(crate) fn decide(witnesses: &[Witness], word: Word) -> Membership {
    let mut result = Membership { history: believed(witnesses, word.history), ..Membership::default() };
    let claims = Claims::of(witnesses, &result.history);
    let mut standing = BTreeMap::new();
    let declared: BTreeSet<Ipv4Addr> = witnesses.iter().map(|witness| witness.instance.address).collect();
    for witness in witnesses {
        let question = Question::new(witness.instance.address, Some(witness), witnesses, &claims);
        let is_vouched = word.keys.contains(&witness.instance.name);
        let (ruling, dispute) = question.of_declared(is_vouched, &result.history, word.history);
        result.disputes.extend(dispute);
        if let (true, Ruling::Key(key, _), Some(former)) = (is_vouched, &ruling, question.key_of_most())
            && former != *key
        {
            result.history.retire(question.address, former, word.note.clone());
        }
        match ruling {
            Ruling::Keyless => result.keyless.push(question.address),
            Ruling::Undecided => {}
            Ruling::Key(key, known) => {
                let (endpoint, keepalive) = (witness.instance.endpoint, question.keepalive());
                let peer = Peer { public_key: key, address: question.address, endpoint, keepalive };
                standing.insert(question.address, known);
                result.members.insert(question.address, peer);
            }
        }
    }
    for address in claims.0.keys().filter(|address| !declared.contains(address)) {
        let question = Question::new(*address, None, witnesses, &claims);
        match question.of_undeclared(word) {
            Ok(peer) => {
                standing.insert(*address, Standing::Known);
                result.members.insert(*address, peer);
            }
            Err(dispute) => result.disputes.push(*dispute),
        }
    }
    for (about, weight, reason) in result.shared(&standing, &declared, &claims) {
        let witness = witnesses.iter().find(|witness| witness.instance.address == about);
        let hint = message!("every instance has a key and an endpoint of its own: look which of the two is right");
        result.members.remove(&about);
        result.disputes.push(Question::new(about, witness, witnesses, &claims).dispute(weight, reason, hint));
    }
    let doubts = result.doubts(witnesses);
    result.disputes.extend(doubts);
    result
}

/// What all lists say of each address, without those that have left, and who says it; and how many lists there are.
struct Claims<'a>(BTreeMap<Ipv4Addr, Vec<(&'a DeclaredInstance, &'a Peer)>>, usize);

impl<'a> Claims<'a> {
    fn of(witnesses: &[Witness<'a>], history: &History) -> Self {
        let mut claims: BTreeMap<Ipv4Addr, Vec<(&DeclaredInstance, &Peer)>> = BTreeMap::new();
        let mut lists = 0;
        for (witness, list) in witnesses.iter().filter_map(|w| Some((w, w.says?.list?))) {
            lists += 1;
            for peer in list.peers().filter(|peer| !history.is_gone(peer)) {
                claims.entry(peer.address).or_default().push((witness.instance, peer));
            }
        }
        Claims(claims, lists)
    }
}

/// How well a member's key is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// By its own host alone.
    OwnWord,
    /// By another list, or a person.
    Vouched,
    /// By most lists.
    Known,
}

enum Ruling {
    Key(PublicKey, Standing),
    Keyless,
    Undecided,
}

/// All that is said of one address.
struct Question<'a> {
    address: Ipv4Addr,
    declared: Option<&'a Witness<'a>>,
    /// What others say.
    others: Vec<(&'a DeclaredInstance, &'a Peer)>,
    /// What its own host's list says.
    own: Option<(&'a DeclaredInstance, &'a Peer)>,
    /// The others that have a list.
    voters: usize,
    /// The others that a majority is counted among.
    electorate: usize,
}

impl<'a> Question<'a> {
    fn new(
        address: Ipv4Addr,
        declared: Option<&'a Witness<'a>>,
        witnesses: &'a [Witness<'a>],
        claims: &Claims<'a>,
    ) -> Self {
        let all = claims.0.get(&address).map_or(&[][..], Vec::as_slice);
        let (own, others) = all.iter().partition::<Vec<_>, _>(|(instance, _)| instance.address == address);
        let others_of = || witnesses.iter().filter(move |witness| witness.instance.address != address);
        let has_list = |witness: &&Witness| witness.says.is_some_and(|says| says.list.is_some());
        Question {
            address,
            declared,
            others,
            own: own.first().copied(),
            voters: others_of().filter(has_list).count(),
            electorate: electorate(witnesses, address).count(),
        }
    }

    fn key_of_most(&self) -> Option<PublicKey> {
        self.others.iter().map(|(_, peer)| peer.public_key).find(|key| {
            let count = self.others.iter().filter(|(_, peer)| peer.public_key == *key).count();
            2 * count > self.electorate
        })
    }

    /// The keepalive that most lists have for it; a list that lacks it has none.
    fn keepalive(&self) -> Option<u16> {
        let all = || self.others.iter().chain(self.own.iter()).map(|(_, peer)| peer.keepalive);
        let lists = self.voters + usize::from(self.declared.is_some_and(|w| w.says.is_some_and(|s| s.list.is_some())));
        all().find(|one| 2 * all().filter(|other| other == one).count() > lists).flatten()
    }

    /// The key of a declared instance, and what is to be told about it.
    fn of_declared(&self, is_vouched: bool, history: &History, word: &History) -> (Ruling, Option<Dispute>) {
        let Some(Witness { instance: DeclaredInstance { name, .. }, says }) = self.declared else {
            return (Ruling::Undecided, None);
        };
        if let Some(past) = history.of(self.address).filter(|past| past.is_removed()) {
            return (Ruling::Undecided, Some(self.of_removed(past)));
        }
        let of_most = self.key_of_most();
        let fallback = of_most.map_or(Ruling::Undecided, |key| Ruling::Key(key, Standing::Known));
        let Some(says) = says else { return (fallback, self.differing(of_most)) };
        let says_so = |key: PublicKey| self.others.iter().any(|(_, peer)| peer.public_key == key);
        // Some of the lists that were seen have another key: a few liars can't keep a newcomer out by that.
        let is_contradicted = !self.others.is_empty() && 2 * self.others.len() >= self.voters;
        let option = format!("--accept-key {name}");
        if says.rotating {
            let reason = message!("another run is giving {name} a new key", name);
            let hint = message!("wait until it has finished, then run this again");
            return (Ruling::Undecided, Some(self.dispute(Weight::Differs, reason, hint)));
        }
        let note_of = |key: PublicKey| history.of(self.address).and_then(|past| past.retired().get(&key));
        if let Some((key, note)) = says.key.and_then(|key| Some((key, note_of(key)?))) {
            let comes_back = word.of(self.address).is_some_and(|past| past.generation() > 0 && !past.is_removed());
            let is_replaced = is_vouched || comes_back;
            return if is_replaced { (Ruling::Keyless, None) } else { (fallback, Some(self.of_retired(key, note))) };
        }
        match says.key {
            Some(own) if of_most == Some(own) => (Ruling::Key(own, Standing::Known), None),
            Some(own) if is_vouched || says_so(own) => (Ruling::Key(own, Standing::Vouched), None),
            // A rotation was interrupted when all others knew its new key, and it didn't use it yet.
            Some(own) if !is_contradicted || says.staged.is_some_and(says_so) => {
                (Ruling::Key(own, Standing::OwnWord), None)
            }
            Some(own) => {
                let reason =
                    message!("{name} has a key that no other instance knows: {key}", name, key = own.to_string());
                let hint = message!("if that is right, because the host was made anew: {option}", option);
                (fallback, Some(self.dispute(Weight::LeaveAlone, reason, hint)))
            }
            None if is_vouched || (!is_contradicted && self.own.is_none()) => (Ruling::Keyless, None),
            None => {
                let reason = message!("{name} has lost its private key", name);
                let hint = message!("put its vpn-private.conf back; to make a new key: {option}", option);
                (fallback, Some(self.dispute(Weight::LeaveAlone, reason, hint)))
            }
        }
    }

    /// What is to be told of an instance that can't be asked, if the lists don't all say the same of it.
    fn differing(&self, of_most: Option<PublicKey>) -> Option<Dispute> {
        let address = self.address;
        let first = self.others.first()?.1.public_key;
        let is_unanimous = self.others.iter().all(|(_, peer)| peer.public_key == first);
        let hint = || message!("its own host decides, once it is up");
        match of_most {
            Some(_) if is_unanimous => None,
            Some(_) => {
                let reason = message!("not all lists say of {address} what most do, which counts", address);
                Some(self.dispute(Weight::Note, reason, hint()))
            }
            None if is_unanimous && self.others.len() == self.voters => None,
            None => {
                let reason =
                    message!("the lists contradict each other about {address}, and no majority is up", address);
                Some(self.dispute(Weight::Differs, reason, hint()))
            }
        }
    }

    /// A member that cluster.toml doesn't have.
    fn of_undeclared(&self, word: Word) -> Result<Peer, Box<Dispute>> {
        let address = self.address;
        let command = format!("mitigator-vpn peers remove {address}");
        if let Some(reason) = word.network.and_then(|network| network.objection(address)) {
            let hint = message!(
                "take it out on those hosts: {command}; or name the network's prefix in [defaults] of cluster.toml",
                command
            );
            return Err(Box::new(self.dispute(Weight::Differs, reason, hint)));
        }
        let said: BTreeSet<(PublicKey, SocketAddr)> =
            self.others.iter().map(|(_, peer)| (peer.public_key, peer.endpoint)).collect();
        let count_of = |one: &(PublicKey, SocketAddr)| {
            self.others.iter().filter(|(_, p)| (p.public_key, p.endpoint) == *one).count()
        };
        let of_most = said.iter().find(|one| 2 * count_of(one) > self.electorate);
        let accepted = said.first().filter(|_| said.len() == 1 && word.members.contains(&address));
        if let Some((public_key, endpoint)) = of_most.or(accepted).copied() {
            return Ok(Peer { public_key, address, endpoint, keepalive: self.keepalive() });
        }
        let is_everywhere = said.len() == 1 && self.others.len() == self.voters;
        let weight = if is_everywhere { Weight::Note } else { Weight::Differs };
        let reason = message!("{address} is a member that neither cluster.toml nor most of the lists know", address);
        let option = format!("--accept-member {address}");
        let hint = message!("if it is one: {option}; if not, on the hosts that have it: {command}", option, command);
        Err(Box::new(self.dispute(weight, reason, hint)))
    }

    /// With all that is said of it, a line each.
    fn dispute(&self, weight: Weight, reason: Message, hint: Message) -> Dispute {
        let mut lines = vec![reason];
        if let Some(Witness { instance, .. }) = self.declared {
            let (address, endpoint) = (self.address, instance.endpoint);
            lines.push(message!("cluster.toml: {address} at {endpoint}", address, endpoint));
        }
        let mut versions: Vec<(&Peer, Vec<&str>)> = Vec::new();
        for (instance, peer) in self.others.iter().chain(self.own.iter()) {
            match versions.iter_mut().find(|(known, _)| known == peer) {
                Some((_, holders)) => holders.push(&instance.name),
                None => versions.push((peer, vec![&instance.name])),
            }
        }
        lines.extend(versions.into_iter().map(|(peer, holders)| {
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
        Dispute { about: self.address, weight, reason: Message::joined(lines, "\n  "), hint }
    }
}

impl Membership {
    /// Who has the key or the endpoint of another member that is known as well or better.
    fn shared(
        &self,
        standing: &BTreeMap<Ipv4Addr, Standing>,
        declared: &BTreeSet<Ipv4Addr>,
        claims: &Claims,
    ) -> Vec<(Ipv4Addr, Weight, Message)> {
        let mut of_key: BTreeMap<PublicKey, Vec<Ipv4Addr>> = BTreeMap::new();
        let mut of_endpoint: BTreeMap<SocketAddr, Vec<Ipv4Addr>> = BTreeMap::new();
        for peer in self.members.values() {
            of_key.entry(peer.public_key).or_default().push(peer.address);
            of_endpoint.entry(peer.endpoint).or_default().push(peer.address);
        }
        // Undecided members keep their keys as well, if those that know them aren't few.
        for (address, sections) in claims.0.iter().filter(|(address, _)| !self.members.contains_key(address)) {
            for key in sections.iter().map(|(_, peer)| peer.public_key).collect::<BTreeSet<_>>() {
                let count = sections.iter().filter(|(_, peer)| peer.public_key == key).count();
                if 2 * count >= claims.1 {
                    of_key.entry(key).or_default().push(*address);
                }
            }
        }
        let mut shared = Vec::new();
        for peer in self.members.values() {
            let rank = |address: &Ipv4Addr| standing.get(address).copied().unwrap_or(Standing::Vouched);
            let others = |addresses: &[Ipv4Addr]| addresses.iter().copied().filter(|a| *a != peer.address).collect();
            let (same_key, same_endpoint): (Vec<_>, Vec<_>) =
                (others(&of_key[&peer.public_key]), others(&of_endpoint[&peer.endpoint]));
            let by_key = same_key.into_iter().find(|other| rank(other) >= rank(&peer.address));
            let is_declared = |address: &Ipv4Addr| declared.contains(address);
            let by_endpoint = same_endpoint.into_iter().find(|other| is_declared(other) >= is_declared(&peer.address));
            let reason = match (by_key, by_endpoint) {
                (Some(other), _) => message!("{address} has the key of {other}", address = peer.address, other),
                (None, Some(other)) => message!("{address} has the endpoint of {other}", address = peer.address, other),
                (None, None) => continue,
            };
            let weight = if is_declared(&peer.address) { Weight::LeaveAlone } else { Weight::Differs };
            shared.push((peer.address, weight, reason));
        }
        shared
    }
}
