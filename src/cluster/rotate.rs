//! A new key for a member, with no gap longer than one handshake.
//!
//! A host has one private key, and its address can be with one key only, so there is an instant at which its identity
//! changes for everybody. The host is claimed, so that no other run decides about it. The new key is made there, beside the
//! one in use. Then every other member gets it into the list that it has, at once and not in waves, for each of them loses
//! the host from then on. Then the host takes the key into use and begins a handshake with each of them. The key before is
//! retired in everybody's memory, and deleted. A member that can't get the new key would be cut off from the host, so the
//! rotation isn't begun, or is taken back, unless a person leaves that member behind by its name.
//!
//! Interrupted anywhere, the lists and the host differ in this key alone: `rotate` again goes on with the staged key,
//! `apply` goes back to the key that the host uses, and deletes the other once all members have that one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::hosts::{ApplyReply, ChangeRequest, Fleet, Node};
use super::merge::Merged;
use super::rollout::gate::{answering, probe, witnesses};
use super::rollout::{RolloutRecord, spent};
use crate::error::{Class, Error, Result};
use crate::message;
use crate::message::Message;
use crate::tunnel::timings::{ANSWER, WITH_SESSION};
use crate::wireguard::{History, PublicKey};

/// A host that takes longer for the list is left behind: all others have lost the rotating host until it has switched.
const TAKE_LIST: Duration = Duration::from_secs(15);

/// Other runs can be faster this many times.
const TRIES: usize = 10;

/// A rotation that was asked for.
pub(crate) struct Rotation<'r> {
    /// The member that gets a new key.
    pub(crate) address: Ipv4Addr,
    /// Who needn't learn of it: names of instances, or VPN addresses.
    pub(crate) left_behind: &'r [String],
    /// How long a change that could cut off the connection may stay unconfirmed.
    pub(crate) guard: Duration,
}

/// Gives the member a new key. `merged` is what all have now.
pub(crate) fn rotate(
    fleet: &mut Fleet,
    rotation: &Rotation,
    merged: &Merged,
    record: &mut RolloutRecord,
) -> Result<()> {
    let Rotation { address, guard, .. } = *rotation;
    refuse_missing(fleet, rotation, merged)?;
    let witnesses = witnesses(fleet, &[address], &merged.list).remove(&address).unwrap_or_default();
    let node = fleet.by_address_mut(address).ok_or_else(|| Error::unexpected(message!("it isn't there")))?;
    if node.seen().is_some_and(|seen| seen.look.through_vpn) {
        // The others forget its old key first, and with it the connection to it.
        let name = &node.instance.name;
        let reason = message!("{name} is reached through the VPN, which this interrupts", name);
        return Err(Error::new(Class::Refused, reason).hint(message!("give it an ssh destination outside of the VPN")));
    }
    merged.target(node).map_err(|reason| Error::new(Class::Refused, reason))?;
    let key = node.stage_key()?;
    // From here on no other run changes its keys; one may have since it was looked at.
    node.look_again();
    let Some(keys) = node.seen().map(|seen| seen.look.keys()) else {
        return Err(Error::unexpected(message!("it can't be looked at any more")));
    };
    let listed = merged.list.by_address(address).map(|peer| peer.public_key);
    if keys.used != listed && keys.used != Some(key) {
        let reason = message!("its keys have changed since: another run is at work");
        return Err(Error::new(Class::Refused, reason).hint(Message::command("mitigator-vpn cluster apply")));
    }
    let mut with_key = merged.clone();
    with_key.list.set_key(address, key)?;
    // Those that have the new key already can't answer before the switch, and must afterwards.
    let answered = answering(node, &witnesses, ANSWER)?;

    let informed = give_key(fleet, rotation, key, merged, record);
    let lacks =
        |member: &Ipv4Addr| *member != address && !informed.contains(member) && !rotation.leaves(fleet, *member);
    let lacking: Vec<Ipv4Addr> = merged.everybody(fleet).into_iter().filter(lacks).collect();
    if !lacking.is_empty() {
        let names = fleet.names(&lacking);
        record.stopped = Some(message!("{names} could not be given the new key", names));
        take_back(fleet, address, &informed, record);
        record.merged = merged.clone();
        fleet.each(|node| node.seen().is_some(), Node::look_again);
        return Ok(());
    }

    let node = fleet.by_address_mut(address).expect("it was there");
    // If an earlier run was interrupted between the switch and its proof, there is nothing left to switch.
    let is_switched = keys.used == Some(key);
    let outcome = change_key(node, address, key, &merged.history, guard, !is_switched, None).and_then(|steps| {
        let members: Vec<Ipv4Addr> = answered.into_iter().filter(|other| informed.contains(other)).collect();
        Ok((steps, probe(node, &members, WITH_SESSION)?))
    });
    match outcome {
        Ok((steps, probed)) if probed.iter().all(|probed| probed.answers()) => {
            record.of(address).steps.extend(steps);
            let before = if is_switched { keys.previous } else { keys.used };
            if let Some(before) = before.filter(|before| *before != key) {
                with_key.history.retire(address, before, merged.note.clone());
            }
            finish(fleet, rotation, &with_key, record);
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

/// Deletes the key before, once every member takes the new one alone. Whoever joins meanwhile is a member, too. Where that
/// isn't so, the next apply does it.
fn finish(fleet: &mut Fleet, rotation: &Rotation, with_key: &Merged, record: &mut RolloutRecord) {
    let seen = |node: &Node| node.seen().is_some();
    let remembered = fleet.each_by_address(seen, |node| node.remember(&with_key.history));
    record.note_failures(remembered);
    fleet.each(seen, Node::look_again);
    let node = fleet.by_address(rotation.address).expect("it was there");
    if spent::is_over(fleet, node, with_key, |member| rotation.leaves(fleet, member)) {
        let dropped = fleet.each_by_address(|node| node.instance.address == rotation.address, Node::drop_old_key);
        record.note_failures(dropped);
    }
}

impl Rotation<'_> {
    /// Whether a person leaves this member behind.
    fn leaves(&self, fleet: &Fleet, member: Ipv4Addr) -> bool {
        let name = fleet.by_address(member).map(|node| node.instance.name.as_str());
        let is_named = |word: &String| name == Some(word.as_str()) || word.parse() == Ok(member);
        self.left_behind.iter().any(is_named)
    }
}

/// Every member has to learn the new key, or it doesn't hear the host any more.
fn refuse_missing(fleet: &Fleet, rotation: &Rotation, merged: &Merged) -> Result<()> {
    let name = |member: Ipv4Addr| match fleet.by_address(member) {
        Some(node) => node.instance.name.clone(),
        None => member.to_string(),
    };
    let takes_part = |member: Ipv4Addr| {
        fleet.by_address(member).is_some_and(|node| merged.target(node).is_ok() && node.seen().is_some())
    };
    let missing = merged.everybody(fleet).into_iter().filter(|member| !takes_part(*member));
    let missing: Vec<String> = missing.filter(|member| !rotation.leaves(fleet, *member)).map(name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (names, option) = (missing.join(", "), format!("--leave-behind {}", missing.join(",")));
    let reason = message!(
        "{names} can't be given the new key, and would be cut off from {host}",
        names,
        host = name(rotation.address)
    );
    let hint = message!("bring them up first; or leave them without it until the next apply: {option}", option);
    Err(Error::new(Class::Refused, reason).hint(hint))
}

/// Puts the new key into the lists of all hosts but the rotating one. Those that have it now.
fn give_key(
    fleet: &mut Fleet,
    rotation: &Rotation,
    key: PublicKey,
    merged: &Merged,
    record: &mut RolloutRecord,
) -> BTreeSet<Ipv4Addr> {
    let Rotation { address: rotating, guard, .. } = *rotation;
    let parallel = std::mem::replace(&mut fleet.parallel, usize::MAX);
    let others = |node: &Node| node.instance.address != rotating && node.seen().is_some();
    let replies = fleet.each_by_address(others, |node| {
        merged.target(node).map_err(|reason| Error::new(Class::Refused, reason))?;
        change_key(node, rotating, key, &merged.history, guard, false, Some(TAKE_LIST))
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

/// Puts the key of one member into the list that a host has, whatever else another run makes of that list meanwhile.
fn change_key(
    node: &mut Node,
    member: Ipv4Addr,
    key: PublicKey,
    history: &History,
    guard: Duration,
    switch_key: bool,
    patience: Option<Duration>,
) -> Result<Vec<Message>> {
    for _ in 0..TRIES {
        let mut list = node.list().cloned().ok_or_else(|| Error::unexpected(message!("it has no list")))?;
        list.set_key(member, key)?;
        let change = ChangeRequest { list: &list, seen: node.digest(), guard, switch_key, history };
        match node.apply(change, patience)? {
            ApplyReply::Applied { steps, .. } => return Ok(steps),
            ApplyReply::Conflict => node.look_again(),
            ApplyReply::Refused(_) => {
                return Err(Error::unexpected(message!(
                    "it isn't as it should be; mend it first: {command}",
                    command = "cluster apply"
                )));
            }
        }
    }
    Err(Error::unexpected(message!("its list has changed since: another run is at work")))
}

/// The host itself first: the others know it by the old key as soon as they have their list back. If it doesn't say that it
/// has gone back, they keep the new one: whichever key it uses then, `apply` finds it out.
fn take_back(fleet: &mut Fleet, address: Ipv4Addr, informed: &BTreeSet<Ipv4Addr>, record: &mut RolloutRecord) {
    let rotating = |node: &Node| node.instance.address == address;
    let replies = fleet.each_by_address(rotating, Node::take_back);
    let is_back = replies.iter().all(|(_, reply)| reply.is_ok());
    record.note_taken_back(replies);
    if is_back {
        let replies = fleet.each_by_address(|node| informed.contains(&node.instance.address), Node::take_back);
        record.note_taken_back(replies);
    }
}
