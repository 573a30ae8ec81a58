//! The list that every host is to have, from who is a member (`membership`) and from the texts that the hosts have. Pure.
//!
//! No member leaves by being absent: a host that is down, or left out of a run, stays a member (FN-49). Copies that have
//! drifted apart are united. The text, comments and order, is that of most hosts, edited: what one host alone has of it
//! reaches no other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::hosts::{Fleet, Node};
use super::inventory::Inventory;
use super::membership::{Dispute, Membership, Testimony, Weight, Witness, Word, decide};
use crate::error::Result;
use crate::message::Message;
use crate::wireguard::{History, Note, Peer, PeerList};

/// What a person has accepted for this run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted<'a> {
    /// Who has left or comes back.
    pub(crate) history: &'a History,
    /// Who says so.
    pub(crate) note: &'a Note,
    /// Names of instances whose new key may be the right one.
    pub(crate) keys: &'a [String],
    /// Members that neither cluster.toml nor most lists know.
    pub(crate) members: &'a [Ipv4Addr],
}

/// Who is a member, and as which list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Merged {
    /// The list of all members.
    pub(crate) list: PeerList,
    /// Declared instances whose key is not known: it has to be made there first.
    pub(crate) keyless: Vec<Ipv4Addr>,
    pub(crate) disputes: Vec<Dispute>,
    /// What every host is to remember of members.
    pub(crate) history: History,
    /// Who retires a key in this run.
    pub(crate) note: Note,
}

/// Unites the inventory with what was seen of the hosts.
pub(crate) fn merge(fleet: &Fleet, inventory: &Inventory, accepted: Accepted) -> Result<Merged> {
    let witnesses: Vec<Witness> = inventory
        .instances
        .iter()
        .map(|instance| {
            let node = fleet.nodes.iter().find(|node| node.instance == *instance);
            let says = node.and_then(Node::seen).map(|seen| Testimony {
                key: seen.look.key,
                staged: seen.look.staged,
                rotating: seen.look.rotating,
                list: seen.list.as_ref(),
                history: &seen.look.history,
            });
            Witness { instance, says }
        })
        .collect();
    let word = Word {
        history: &inventory.history().with(accepted.history),
        note: accepted.note,
        network: inventory.network(),
        keys: accepted.keys,
        members: accepted.members,
    };
    unite(&witnesses, word)
}

pub(super) fn unite(witnesses: &[Witness], word: Word) -> Result<Merged> {
    let Membership { members, keyless, disputes, history } = decide(witnesses, word);
    let lists: Vec<&PeerList> = witnesses.iter().filter_map(|witness| witness.says?.list).collect();
    let base = most_common(&lists, &members).cloned().unwrap_or_default();
    let order: Vec<Ipv4Addr> = witnesses.iter().map(|witness| witness.instance.address).collect();
    let ordered = order.iter().chain(members.keys()).filter_map(|address| members.get(address));
    let list = Merged::edited(base, ordered, |_| false)?;
    Ok(Merged { list, keyless, disputes, history, note: word.note.clone() })
}

/// The text that most hosts have. Of several it is always the same one, so that two operators at once come to one text.
fn most_common<'a>(lists: &[&'a PeerList], members: &BTreeMap<Ipv4Addr, Peer>) -> Option<&'a PeerList> {
    let mut counts: Vec<(&PeerList, usize)> = Vec::new();
    for list in lists {
        match counts.iter_mut().find(|(known, _)| known == list) {
            Some((_, count)) => *count += 1,
            None => counts.push((list, 1)),
        }
    }
    let is_complete = |list: &PeerList| {
        list.len() == members.len() && list.peers().all(|peer| members.get(&peer.address) == Some(peer))
    };
    let first = counts.into_iter().min_by_key(|(list, count)| (Reverse(*count), !is_complete(list), list.digest()));
    first.map(|(list, _)| list)
}

impl Merged {
    /// The list that a host is to have: the common one. Members that aren't decided stay in the lists that have them; such a
    /// list keeps its own text. Whoever is gone by the host's own memory doesn't come back there.
    pub(crate) fn for_host(&self, own: Option<&PeerList>, memory: &History) -> Result<PeerList> {
        let history = self.history.with(memory);
        let mut common = self.list.clone();
        for address in self.list.peers().filter(|peer| history.is_gone(peer)).map(|peer| peer.address) {
            common.remove(address)?;
        }
        let Some(own) = own.filter(|own| **own != common) else { return Ok(common) };
        // A retired key isn't taken in; where it is, its member stays until the list says another key.
        let members: BTreeSet<Ipv4Addr> = common.peers().map(|peer| peer.address).collect();
        let is_undecided = |peer: &Peer| !members.contains(&peer.address) && !history.is_removed(peer.address);
        if own.peers().any(is_undecided) { Self::edited(own.clone(), common.peers(), is_undecided) } else { Ok(common) }
    }

    /// Everybody whom any list has and who isn't gone: also those that too few hosts were seen to be sure of.
    pub(crate) fn everybody(&self, fleet: &Fleet) -> BTreeSet<Ipv4Addr> {
        let listed = fleet.nodes.iter().filter_map(Node::list).flat_map(PeerList::peers);
        listed
            .chain(self.list.peers())
            .map(|peer| peer.address)
            .filter(|address| !self.history.is_removed(*address))
            .collect()
    }

    /// The list for a host, or why it is left as it is.
    pub(crate) fn target(&self, node: &Node) -> Result<PeerList, Message> {
        let about = |dispute: &&Dispute| dispute.weight == Weight::LeaveAlone && dispute.about == node.instance.address;
        match self.disputes.iter().find(about) {
            Some(dispute) => Err(dispute.message().on_one_line()),
            None => self.for_host(node.list(), node.history()).map_err(|error| super::hosts::reason(&error)),
        }
    }

    /// Whether the lists stay different until a person decides.
    pub(crate) fn is_disputed(&self) -> bool {
        self.disputes.iter().any(|dispute| dispute.weight != Weight::Note)
    }

    /// A text with the decided section for each member, and without those that are none and aren't kept.
    fn edited<'p>(
        mut list: PeerList,
        members: impl Iterator<Item = &'p Peer> + Clone,
        is_kept: impl Fn(&Peer) -> bool,
    ) -> Result<PeerList> {
        let addresses: BTreeSet<Ipv4Addr> = members.clone().map(|peer| peer.address).collect();
        let gone = list.peers().filter(|peer| !addresses.contains(&peer.address) && !is_kept(peer));
        for address in gone.map(|peer| peer.address).collect::<Vec<_>>() {
            list.remove(address)?;
        }
        // A key or an endpoint that goes over to another member is free first.
        let passed_on = list.peers().filter(|listed| {
            let takes = |peer: &Peer| peer.public_key == listed.public_key || peer.endpoint == listed.endpoint;
            addresses.contains(&listed.address) && members.clone().any(|p| p.address != listed.address && takes(p))
        });
        for address in passed_on.map(|peer| peer.address).collect::<Vec<_>>() {
            list.remove(address)?;
        }
        for peer in members {
            list.put(peer.clone())?;
        }
        Ok(list)
    }
}

impl Dispute {
    /// With its way out.
    pub(crate) fn message(&self) -> Message {
        Message::joined(vec![self.reason.clone(), self.hint.clone()], "\n")
    }
}

#[cfg(test)]
mod tests;
