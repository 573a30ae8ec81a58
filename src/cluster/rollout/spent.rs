//! Keys that a rotation has left beside the one in use: it was interrupted, or not all members were there.

use std::net::Ipv4Addr;

use crate::cluster::hosts::{Fleet, Node};
use crate::cluster::merge::Merged;
use crate::wireguard::PublicKey;

/// Retires the keys before those in use that nobody needs any more: every member has the key that the host uses. Whether
/// there are any.
pub(super) fn retire(fleet: &Fleet, merged: &mut Merged) -> bool {
    let over: Vec<&Node> =
        fleet.nodes.iter().filter(|node| !is_rotating(node) && is_known(fleet, node, merged, |_| false)).collect();
    for node in &over {
        // A key that was only staged was never in use, and may be yet.
        if let Some(previous) = previous(node) {
            merged.history.retire(node.instance.address, previous, merged.note.clone());
        }
    }
    !over.is_empty()
}

/// Whether the other keys of a host can be deleted: every member, but those that a person leaves behind, has the one in use
/// and takes no earlier one.
pub(crate) fn is_over(fleet: &Fleet, node: &Node, merged: &Merged, is_left_behind: impl Fn(Ipv4Addr) -> bool) -> bool {
    let address = node.instance.address;
    let refuses = |key: PublicKey| {
        fleet.nodes.iter().all(|other| other.seen().is_none() || other.history().is_retired(address, key))
    };
    is_known(fleet, node, merged, is_left_behind) && previous(node).is_none_or(refuses)
}

/// Whether a run is at it: then it is that run's to decide.
pub(super) fn is_rotating(node: &Node) -> bool {
    node.seen().is_some_and(|seen| seen.look.rotating)
}

/// The key before the one in use.
fn previous(node: &Node) -> Option<PublicKey> {
    let look = &node.seen()?.look;
    look.previous.filter(|previous| Some(*previous) != look.key)
}

/// Whether there are keys beside the one in use, and that one is known to all members.
fn is_known(fleet: &Fleet, node: &Node, merged: &Merged, is_left_behind: impl Fn(Ipv4Addr) -> bool) -> bool {
    let Some(look) = node.seen().map(|seen| &seen.look) else { return false };
    let address = node.instance.address;
    let knows = |member: Ipv4Addr| {
        let listed = fleet.by_address(member).and_then(|other| other.list()?.by_address(address).cloned());
        is_left_behind(member) || listed.is_some_and(|peer| Some(peer.public_key) == look.key)
    };
    (look.staged.is_some() || look.previous.is_some()) && merged.everybody(fleet).into_iter().all(knows)
}
