//! Who must answer whom after a change, and whether they do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::cluster::hosts::{Fleet, Node};
use crate::error::{Error, Result};
use crate::tunnel::ProbedPeer;
use crate::tunnel::timings::WITH_SESSION;
use crate::wireguard::PeerList;

/// At most so many members are asked whether they still answer a host.
const MAX_WITNESSES: usize = 16;

/// What a host that was changed reaches.
#[derive(Debug)]
pub(crate) enum Reach {
    Everybody,
    /// All that it should but these.
    Without(Vec<Ipv4Addr>),
    /// It could not be asked.
    Unknown(Error),
}

/// For each host of a wave, the members outside of the wave that could answer it.
pub(crate) fn witnesses(fleet: &Fleet, wave: &[Ipv4Addr], list: &PeerList) -> BTreeMap<Ipv4Addr, Vec<Ipv4Addr>> {
    let outside = || fleet.nodes.iter().filter(|node| !wave.contains(&node.instance.address));
    let of = |address: Ipv4Addr| {
        outside().filter(|other| could_answer(other, address, list)).map(|other| other.instance.address).collect()
    };
    wave.iter().map(|address| (*address, of(*address))).collect()
}

/// The members that could answer a host and whose section is new to it, or another one than before.
pub(super) fn newly_listed(fleet: &Fleet, address: Ipv4Addr, before: &PeerList, list: &PeerList) -> Vec<Ipv4Addr> {
    let changed = list.peers().filter(|peer| before.by_address(peer.address) != Some(*peer)).map(|peer| peer.address);
    changed.filter(|other| fleet.by_address(*other).is_some_and(|other| could_answer(other, address, list))).collect()
}

/// Those of the members that answer now.
pub(crate) fn answering(node: &mut Node, members: &[Ipv4Addr], patience: Duration) -> Result<Vec<Ipv4Addr>> {
    let some = &members[..members.len().min(MAX_WITNESSES)];
    Ok(probe(node, some, patience)?
        .into_iter()
        .filter(|probed| probed.answers())
        .map(|probed| probed.address)
        .collect())
}

/// Which of the members answer; none is asked where no tunnel is to run.
pub(crate) fn probe(node: &mut Node, members: &[Ipv4Addr], patience: Duration) -> Result<Vec<ProbedPeer>> {
    if members.is_empty() || !node.may_be_probed() {
        return Ok(Vec::new());
    }
    node.probe(members, patience, false)
}

/// Whether a wave reaches what each of its hosts should: a member that answered before must still answer, and one that is
/// new must answer where the list says it is. The hosts of the wave are not asked of each other: not all have the list yet.
pub(super) fn reach(
    fleet: &mut Fleet,
    wave: &[Ipv4Addr],
    expected: &BTreeMap<Ipv4Addr, BTreeSet<Ipv4Addr>>,
    list: &PeerList,
) -> Vec<(Ipv4Addr, Reach)> {
    fleet.each_by_address(
        |node| expected.contains_key(&node.instance.address),
        |node| {
            let expected = &expected[&node.instance.address];
            let members: Vec<Ipv4Addr> = expected.iter().copied().filter(|a| !wave.contains(a)).collect();
            let is_reached = |probed: &ProbedPeer| probed.answers() && is_where_the_list_says(probed, list);
            Reach::of(probe(node, &members, WITH_SESSION), is_reached)
        },
    )
}

/// Whether these members answer the hosts that they are new to, now that all have the list.
pub(super) fn prove(fleet: &mut Fleet, new: &BTreeMap<Ipv4Addr, Vec<Ipv4Addr>>) -> Vec<(Ipv4Addr, Reach)> {
    fleet.each_by_address(
        |node| new.contains_key(&node.instance.address),
        |node| Reach::of(probe(node, &new[&node.instance.address], WITH_SESSION), |probed| probed.answers()),
    )
}

impl Reach {
    fn of(probed: Result<Vec<ProbedPeer>>, is_reached: impl Fn(&ProbedPeer) -> bool) -> Reach {
        match probed {
            Err(error) => Reach::Unknown(error),
            Ok(probed) => {
                let silent: Vec<Ipv4Addr> =
                    probed.iter().filter(|probed| !is_reached(probed)).map(|probed| probed.address).collect();
                if silent.is_empty() { Reach::Everybody } else { Reach::Without(silent) }
            }
        }
    }
}

/// Whether a member is up with the key that the list has for it, and has the same section for this address as the list, so
/// that it could answer its host.
fn could_answer(other: &Node, address: Ipv4Addr, list: &PeerList) -> bool {
    let tunnel = other.seen().and_then(|seen| seen.look.gateway.as_ref()?.tunnel.as_ref());
    let listed = list.by_address(other.instance.address).map(|peer| peer.public_key);
    let uses_its_key = tunnel.is_some_and(|tunnel| tunnel.key.is_some() && tunnel.key == listed);
    let section = other.list().and_then(|list| list.by_address(address));
    other.instance.address != address && uses_its_key && section.is_some() && section == list.by_address(address)
}

/// A member may send from another port than it listens on, behind NAT, but not from another address.
fn is_where_the_list_says(probed: &ProbedPeer, list: &PeerList) -> bool {
    let listed = list.by_address(probed.address).map(|peer| peer.endpoint.ip());
    probed.endpoint.map(|endpoint| endpoint.ip()) == listed
}
