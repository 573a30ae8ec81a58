//! A new key for a member, without a gap longer than one handshake.
//!
//! A host has one private key and its address can be with one key only, so there is an instant at which it changes its
//! identity for everybody. The key is made beside the one in use, on its host; then all others get the list with it,
//! at once and not in waves, for each of them loses the host from then on; then the host takes the key into use and
//! greets them all. Cut off anywhere, the lists and the host are at odds over its key alone: `rotate` again goes on with
//! the key that is staged, `apply` goes back to the one that the host has.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::hosts::{Fleet, Node, unasked};
use super::remote::protocol::{Reply, Request};
use super::rollout::{APPLY, Rollout, answering, probe};
use crate::error::{Class, Error, Result};
use crate::settings::Settings;
use crate::tunnel::timings::{ANSWER, WITH_SESSION};
use crate::wireguard::{PeerList, PublicKey};

/// A host that needs longer for a list keeps the rotating one waiting for nobody else's sake: it is told later.
const SWIFTLY: Duration = Duration::from_secs(15);

/// Gives the member a new key. `list` is what all have now.
pub fn rotate(
    fleet: &mut Fleet,
    address: Ipv4Addr,
    list: &PeerList,
    guard: Duration,
    rollout: &mut Rollout,
) -> Result<()> {
    let witnesses = super::rollout::witnesses(fleet, &[address], list).remove(&address).unwrap_or_default();
    let node = fleet.by_address_mut(address).ok_or_else(|| Error::unexpected("it isn't there"))?;
    if node.seen().is_some_and(|seen| seen.look.through_vpn) {
        // The others forget its old key first, and with it the way it is told by.
        return Err(Error::new(
            Class::Refused,
            format!("{} is reached through the VPN that this cuts", node.instance.name),
        )
        .hint("give it an ssh destination outside of the VPN"));
    }
    let (own, seen) = (node.seen().and_then(|seen| seen.look.key), node.digest());
    let key = stage(node)?;
    let mut with_key = list.clone();
    with_key.set_key(address, key)?;
    // Those that have the new key already can't answer before the switch, and must afterwards.
    let answered = answering(node, &witnesses, ANSWER)?;
    let target =
        |settings: &Settings| Settings { peers: Some(with_key.to_text()), whole_list: true, ..settings.clone() };

    let parallel = std::mem::replace(&mut fleet.parallel, usize::MAX);
    let others = |node: &Node| node.instance.address != address && node.seen().is_some();
    let told = fleet.each(others, |node| {
        let request = Request::Apply { settings: target(&node.settings), seen: node.digest(), guard };
        (node.instance.address, applied(node, &request, SWIFTLY))
    });
    fleet.parallel = parallel;
    let mut knowing = BTreeSet::new();
    for (other, steps) in told {
        match steps {
            Ok(steps) => {
                knowing.insert(other);
                rollout.fates.entry(other).or_default().steps.extend(steps);
            }
            Err(error) => rollout.fail(other, &error),
        }
    }

    let node = fleet.by_address_mut(address).expect("it was there");
    let settings = target(&node.settings);
    // Cut off between the switch and its proof, there is nothing left to switch.
    let request = if own == Some(key) {
        Request::Apply { settings, seen, guard }
    } else {
        Request::SwitchKey { settings, seen, guard }
    };
    let outcome = applied(node, &request, APPLY).and_then(|steps| {
        let members: Vec<Ipv4Addr> = answered.into_iter().filter(|other| knowing.contains(other)).collect();
        Ok((steps, probe(node, &members, WITH_SESSION)?))
    });
    match outcome {
        Ok((steps, probed)) if probed.iter().all(|probed| probed.answers()) => {
            rollout.fates.entry(address).or_default().steps.extend(steps);
            done(node, &Request::DropOldKey(node.settings.clone()))?;
        }
        Ok((_, probed)) => {
            let silent = probed.iter().filter(|probed| !probed.answers()).map(|probed| probed.address);
            rollout.fates.entry(address).or_default().silent = silent.collect();
            rollout.stopped =
                Some("the host with the new key isn't answered by everybody who answered before".to_owned());
            take_back(fleet, address, &knowing, rollout);
        }
        Err(error) => {
            rollout.fail(address, &error);
            rollout.stopped = Some("the new key could not be taken into use".to_owned());
            take_back(fleet, address, &knowing, rollout);
        }
    }
    rollout.list = if rollout.stopped.is_some() { list.clone() } else { with_key };
    fleet.each(|node| node.seen().is_some(), Node::look_again);
    Ok(())
}

fn stage(node: &mut Node) -> Result<PublicKey> {
    match node.ask(&Request::StageKey(node.settings.clone()), APPLY)? {
        Reply::Key(key) => Ok(key),
        other => Err(unasked(&other)),
    }
}

fn applied(node: &mut Node, request: &Request, patience: Duration) -> Result<Vec<String>> {
    match node.change(request, patience)? {
        Reply::Applied { steps, .. } => Ok(steps),
        Reply::Conflict(_) => Err(Error::unexpected("its list has changed since: another run is at work")),
        Reply::Refused(_) => Err(Error::unexpected("it isn't as it should be; mend it first: cluster apply")),
        other => Err(unasked(&other)),
    }
}

fn done(node: &mut Node, request: &Request) -> Result<()> {
    match node.ask(request, APPLY)? {
        Reply::Done => Ok(()),
        other => Err(unasked(&other)),
    }
}

/// The host itself first: the others know it by the old key as soon as they have their list back.
fn take_back(fleet: &mut Fleet, address: Ipv4Addr, knowing: &BTreeSet<Ipv4Addr>, rollout: &mut Rollout) {
    let mut all = fleet.each(|node| node.instance.address == address, |node| (address, done(node, &Request::TakeBack)));
    let others = |node: &Node| knowing.contains(&node.instance.address);
    all.extend(fleet.each(others, |node| (node.instance.address, done(node, &Request::TakeBack))));
    for (address, outcome) in all {
        match outcome {
            Ok(()) => rollout.fates.entry(address).or_default().taken_back = true,
            Err(error) => rollout.fail(address, &error),
        }
    }
}
