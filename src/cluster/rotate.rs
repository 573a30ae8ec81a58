//! A new key for a member, with no gap longer than one handshake.
//!
//! A host has one private key, and its address can be with one key only, so there is an instant at which its identity
//! changes for everybody. The new key is made on its host, beside the one in use. Then all others get the list with it, at
//! once and not in waves, for each of them loses the host from then on. Then the host takes the key into use and begins a
//! handshake with each of them. Interrupted anywhere, the lists and the host differ in this key alone: `rotate` again goes
//! on with the staged key, `apply` goes back to the key that the host uses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::hosts::{ApplyReply, ChangeRequest, Fleet, Node};
use super::merge::Merged;
use super::rollout::RolloutRecord;
use super::rollout::gate::{answering, probe, witnesses};
use crate::error::{Class, Error, Result};
use crate::message;
use crate::message::Message;
use crate::tunnel::timings::{ANSWER, WITH_SESSION};

/// A host that takes longer for the list is left behind: all others have lost the rotating host until it has switched.
const TAKE_LIST: Duration = Duration::from_secs(15);

/// Gives the member a new key. `merged` is what all have now.
pub(crate) fn rotate(
    fleet: &mut Fleet,
    address: Ipv4Addr,
    merged: &Merged,
    guard: Duration,
    record: &mut RolloutRecord,
) -> Result<()> {
    let witnesses = witnesses(fleet, &[address], &merged.list).remove(&address).unwrap_or_default();
    let node = fleet.by_address_mut(address).ok_or_else(|| Error::unexpected(message!("it isn't there")))?;
    if node.seen().is_some_and(|seen| seen.look.through_vpn) {
        // The others forget its old key first, and with it the connection to it.
        let name = &node.instance.name;
        let reason = message!("{name} is reached through the VPN, which this interrupts", name);
        return Err(Error::new(Class::Refused, reason).hint(message!("give it an ssh destination outside of the VPN")));
    }
    merged.target(node).map_err(|reason| Error::new(Class::Refused, reason))?;
    let (own, seen) = (node.seen().and_then(|seen| seen.look.key), node.digest());
    let key = node.stage_key()?;
    let mut with_key = merged.clone();
    with_key.list.set_key(address, key)?;
    // Those that have the new key already can't answer before the switch, and must afterwards.
    let answered = answering(node, &witnesses, ANSWER)?;

    let informed = give_list(fleet, address, &with_key, guard, record);

    let node = fleet.by_address_mut(address).expect("it was there");
    // If an earlier run was interrupted between the switch and its proof, there is nothing left to switch.
    let list = &with_key.target(node).map_err(|reason| Error::new(Class::Refused, reason))?;
    let change = ChangeRequest { list, seen, guard, switch_key: own != Some(key) };
    let outcome = apply(node, change, None).and_then(|steps| {
        let members: Vec<Ipv4Addr> = answered.into_iter().filter(|other| informed.contains(other)).collect();
        Ok((steps, probe(node, &members, WITH_SESSION)?))
    });
    match outcome {
        Ok((steps, probed)) if probed.iter().all(|probed| probed.answers()) => {
            record.of(address).steps.extend(steps);
            node.drop_old_key()?;
        }
        Ok((_, probed)) => {
            let silent = probed.iter().filter(|probed| !probed.answers()).map(|probed| probed.address);
            record.of(address).silent = silent.collect();
            record.stopped = Some(message!("not all members that answered the host before answer it with the new key"));
            take_back(fleet, address, &informed, record);
        }
        Err(error) => {
            record.fail(address, &error);
            record.stopped = Some(message!("the new key could not be taken into use"));
            take_back(fleet, address, &informed, record);
        }
    }
    record.merged = if record.stopped.is_some() { merged.clone() } else { with_key };
    fleet.each(|node| node.seen().is_some(), Node::look_again);
    Ok(())
}

/// Gives all hosts but the rotating one the list with the new key. Those that have it now.
fn give_list(
    fleet: &mut Fleet,
    rotating: Ipv4Addr,
    merged: &Merged,
    guard: Duration,
    record: &mut RolloutRecord,
) -> BTreeSet<Ipv4Addr> {
    let parallel = std::mem::replace(&mut fleet.parallel, usize::MAX);
    let others = |node: &Node| node.instance.address != rotating && node.seen().is_some();
    let replies = fleet.each_by_address(others, |node| {
        let list = &merged.target(node).map_err(|reason| Error::new(Class::Refused, reason))?;
        let change = ChangeRequest { list, seen: node.digest(), guard, switch_key: false };
        apply(node, change, Some(TAKE_LIST))
    });
    fleet.parallel = parallel;
    let mut informed = BTreeSet::new();
    for (address, steps) in replies {
        match steps {
            Ok(steps) => {
                informed.insert(address);
                record.of(address).steps.extend(steps);
            }
            Err(error) => record.fail(address, &error),
        }
    }
    informed
}

fn apply(node: &mut Node, change: ChangeRequest, patience: Option<Duration>) -> Result<Vec<Message>> {
    match node.apply(change, patience)? {
        ApplyReply::Applied { steps, .. } => Ok(steps),
        ApplyReply::Conflict => Err(Error::unexpected(message!("its list has changed since: another run is at work"))),
        ApplyReply::Refused(_) => Err(Error::unexpected(message!(
            "it isn't as it should be; mend it first: {command}",
            command = "cluster apply"
        ))),
    }
}

/// The host itself first: the others know it by the old key as soon as they have their list back.
fn take_back(fleet: &mut Fleet, address: Ipv4Addr, informed: &BTreeSet<Ipv4Addr>, record: &mut RolloutRecord) {
    let rotating = |node: &Node| node.instance.address == address;
    let replies = fleet.each_by_address(rotating, Node::take_back);
    record.note_taken_back(replies);
    let replies = fleet.each_by_address(|node| informed.contains(&node.instance.address), Node::take_back);
    record.note_taken_back(replies);
}
