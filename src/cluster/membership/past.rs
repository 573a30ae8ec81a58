//! What has become of members, as far as it is believed: the operator's word, and what most hosts remember. One host's
//! memory binds that host alone, for it may be wrong, or lie.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{Dispute, Membership, Question, Weight, Witness};
use crate::message;
use crate::message::Message;
use crate::wireguard::{History, Note, Past, Peer, PublicKey};

/// Those that a majority about an address is counted among: the other declared instances. One that was seen with nothing
/// has nothing to say yet; one that is down counts as saying no.
pub(super) fn electorate<'w, 'a>(
    witnesses: &'w [Witness<'a>],
    address: Ipv4Addr,
) -> impl Iterator<Item = &'w Witness<'a>> + Clone {
    let has_a_say = |witness: &&Witness| witness.says.is_none_or(|s| s.list.is_some() || !s.history.is_empty());
    witnesses.iter().filter(move |witness| witness.instance.address != address).filter(has_a_say)
}

/// What the operator says, and what most hosts remember.
pub(super) fn believed(witnesses: &[Witness], word: &History) -> History {
    let mut believed = word.clone();
    let histories = witnesses.iter().filter_map(|witness| witness.says.map(|says| says.history));
    for address in histories.flat_map(History::addresses).collect::<BTreeSet<_>>() {
        let voters: Vec<Option<&Past>> =
            electorate(witnesses, address).map(|witness| witness.says.and_then(|s| s.history.of(address))).collect();
        let pasts = || voters.iter().copied().flatten();
        let mut generations: Vec<u32> = voters.iter().map(|past| past.map_or(0, Past::generation)).collect();
        generations.sort_unstable_by_key(|generation| Reverse(*generation));
        if let Some(generation) = generations.get(voters.len() / 2).copied().filter(|generation| *generation > 0) {
            let notes = pasts().filter(|past| past.generation() == generation).filter_map(Past::note);
            believed.raise(address, generation, notes.min().cloned());
        }
        for key in pasts().flat_map(|past| past.retired().keys()).copied().collect::<BTreeSet<PublicKey>>() {
            let notes = pasts().filter_map(|past| past.retired().get(&key));
            if 2 * notes.clone().count() > voters.len()
                && let Some(first) = notes.min()
            {
                believed.retire(address, key, first.clone());
            }
        }
    }
    believed
}

/// By whom, and when.
pub(crate) fn by(note: Option<&Note>) -> Message {
    match note {
        Some(Note { on, by }) if !by.is_empty() => message!("by {who} on {day}", who = by.as_str(), day = on.as_str()),
        Some(_) | None => message!("by cluster.toml"),
    }
}

impl Membership {
    /// What single hosts remember against members, and nobody else does.
    pub(super) fn doubts(&self, witnesses: &[Witness]) -> Vec<Dispute> {
        let doubt = |peer: &Peer| {
            let others = || witnesses.iter().filter(|witness| witness.instance.address != peer.address);
            // What came back since is no doubt.
            let remembers = |w: &&Witness| w.says.is_some_and(|says| self.history.with(says.history).is_gone(peer));
            let names: Vec<&str> = others().filter(remembers).map(|w| w.instance.name.as_str()).collect();
            let first = others().find(remembers)?.says?.history.of(peer.address)?;
            let (address, names) = (peer.address, names.join(", "));
            let reason = if first.is_removed() {
                message!(
                    "{names}: {address} was removed {by}; most hosts don't know it",
                    names,
                    address,
                    by = by(first.note())
                )
            } else {
                let by = by(first.retired().get(&peer.public_key));
                message!("{names}: the key of {address} was retired {by}; most hosts don't know it", names, address, by)
            };
            let name = witnesses.iter().find(|w| w.instance.address == address).map(|w| w.instance.name.clone());
            let name = name.unwrap_or_else(|| address.to_string());
            let (remove, rotate) = (format!("cluster remove {name}"), format!("cluster rotate {name}"));
            let hint = if first.is_removed() {
                let again = format!("cluster add {name} --again …");
                message!("if that is right: {remove}; if not: {again}", remove, again)
            } else {
                message!("give it another key: {rotate}", rotate)
            };
            Some(Dispute { about: address, weight: Weight::Differs, reason, hint })
        };
        self.members.values().filter_map(doubt).collect()
    }
}

impl Question<'_> {
    /// A declared instance that has left.
    pub(super) fn of_removed(&self, past: &Past) -> Dispute {
        let name = self.declared.map(|witness| witness.instance.name.as_str()).unwrap_or_default();
        let reason = message!("{name} was removed {by}; cluster.toml still has it", name, by = by(past.note()));
        let (remove, again) = (format!("cluster remove {name}"), format!("cluster add {name} --again …"));
        let hint = message!("to leave it out: {remove}; to take it in again: {again}", remove, again);
        self.dispute(Weight::LeaveAlone, reason, hint)
    }

    /// A declared instance that uses a key that is used up.
    pub(super) fn of_retired(&self, key: PublicKey, note: &Note) -> Dispute {
        let name = self.declared.map(|witness| witness.instance.name.as_str()).unwrap_or_default();
        let reason = message!(
            "{name} uses a key that was retired {by}: {key}",
            name,
            by = by(Some(note)),
            key = key.to_string()
        );
        let option = format!("--accept-key {name}");
        let hint = message!("it needs a key that nobody has had; to have one made there: {option}", option);
        self.dispute(Weight::LeaveAlone, reason, hint)
    }
}
