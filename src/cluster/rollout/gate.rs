//! Who must answer whom after a change, and whether they do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{APPLY, Rollout, Run};
use crate::cluster::action::Need;
use crate::cluster::hosts::{Fleet, Node, unasked};
use crate::cluster::remote::protocol::{Reply, Request};
use crate::error::Result;
use crate::settings::Restart;
use crate::tunnel::ProbedPeer;
use crate::tunnel::timings::WITH_SESSION;
use crate::wireguard::PeerList;

/// So many members of those that have always answered are asked whether they still do.
const WITNESSES: usize = 16;

impl Run<'_> {
    /// Whoever is new to a host, wave mates among them, answers it now that all know each other.
    pub(super) fn prove(&mut self, started: &BTreeMap<Ipv4Addr, PeerList>, rollout: &mut Rollout) {
        let new: BTreeMap<Ipv4Addr, Vec<Ipv4Addr>> = rollout
            .fates
            .iter()
            .filter(|(_, fate)| fate.failure.is_none())
            .filter_map(|(address, _)| {
                Some((*address, changed(self.fleet, *address, started.get(address)?, &rollout.list)))
            })
            .filter(|(_, new)| !new.is_empty())
            .collect();
        if new.is_empty() {
            return;
        }
        let task = self.progress.start("prove it by handshakes".to_owned());
        let proven = self.fleet.each(
            |node| new.contains_key(&node.instance.address),
            |node| {
                let address = node.instance.address;
                (address, probe(node, &new[&address], WITH_SESSION))
            },
        );
        for (address, probed) in proven {
            match probed {
                Ok(probed) => {
                    let silent = probed.iter().filter(|p| !p.answers()).map(|p| p.address);
                    rollout.fates.entry(address).or_default().silent = silent.collect();
                }
                Err(error) => rollout.fail(address, &error),
            }
        }
        task.done();
    }

    /// Whoever answered before must answer still, and whoever is new must answer where the list says it is.
    pub(super) fn gate(
        &mut self,
        wave: &[Ipv4Addr],
        gated: &BTreeMap<Ipv4Addr, BTreeSet<Ipv4Addr>>,
        needs: &BTreeMap<Ipv4Addr, Need>,
        rollout: &mut Rollout,
    ) {
        let list = rollout.list.clone();
        let proven = self.fleet.each(
            |node| gated.contains_key(&node.instance.address),
            |node| {
                let address = node.instance.address;
                let members: Vec<Ipv4Addr> = gated[&address].iter().copied().filter(|a| !wave.contains(a)).collect();
                (address, probe(node, &members, WITH_SESSION))
            },
        );
        let mut failed = Vec::new();
        for (address, probed) in proven {
            match probed {
                Ok(probed) => {
                    let elsewhere = |p: &&ProbedPeer| !p.answers() || !is_where_the_list_says(p, &list);
                    let silent: Vec<Ipv4Addr> = probed.iter().filter(elsewhere).map(|p| p.address).collect();
                    if !silent.is_empty() {
                        failed.push(address);
                        rollout.fates.entry(address).or_default().silent = silent;
                    }
                }
                Err(error) => {
                    failed.push(address);
                    rollout.fail(address, &error);
                }
            }
        }
        if failed.is_empty() {
            return;
        }
        let names: Vec<String> =
            failed.iter().filter_map(|a| self.fleet.by_address(*a)).map(|n| n.instance.name.clone()).collect();
        rollout.stopped = Some(format!("{} no longer reaches everybody it should", names.join(", ")));
        // What a host has joined with stays there: it was no member before, so nobody misses it.
        let joined = |address: &Ipv4Addr| matches!(needs.get(address), Some(Need::Whole(survey)) if survey.impact.outage().is_none());
        let back = |node: &Node| gated.contains_key(&node.instance.address) && !joined(&node.instance.address);
        let taken_back = self.fleet.each(back, |node| {
            let reply = node.ask(&Request::TakeBack, APPLY);
            node.look_again();
            (node.instance.address, reply)
        });
        for (address, reply) in taken_back {
            match reply {
                Ok(_) => rollout.fates.entry(address).or_default().taken_back = true,
                Err(error) => rollout.fail(address, &error),
            }
        }
    }
}

/// Whether a member is there and knows the one with this address as the list says, so that it could answer it.
fn could_answer(other: &Node, address: Ipv4Addr, list: &PeerList) -> bool {
    other.instance.address != address
        && other.seen().is_some_and(|seen| {
            let tunnel = seen.look.gateway.as_ref().and_then(|gateway| gateway.tunnel.as_ref());
            let knows = seen.list.as_ref().and_then(|list| list.by_address(address));
            tunnel.is_some() && knows.is_some() && knows == list.by_address(address)
        })
}

/// For each host of a wave the members outside of it that could answer.
pub(crate) fn witnesses(fleet: &Fleet, wave: &[Ipv4Addr], list: &PeerList) -> BTreeMap<Ipv4Addr, Vec<Ipv4Addr>> {
    let outside = || fleet.nodes.iter().filter(|node| !wave.contains(&node.instance.address));
    let of = |address: Ipv4Addr| {
        outside().filter(|other| could_answer(other, address, list)).map(|other| other.instance.address).collect()
    };
    wave.iter().map(|address| (*address, of(*address))).collect()
}

/// Those who could answer and whose section is new, or another one than before.
pub(super) fn changed(fleet: &Fleet, address: Ipv4Addr, before: &PeerList, list: &PeerList) -> Vec<Ipv4Addr> {
    let changed = list.peers().filter(|peer| before.by_address(peer.address) != Some(*peer)).map(|peer| peer.address);
    changed.filter(|other| fleet.by_address(*other).is_some_and(|other| could_answer(other, address, list))).collect()
}

/// A member may send from another port than it listens on, behind NAT, but not from another address.
fn is_where_the_list_says(probed: &ProbedPeer, list: &PeerList) -> bool {
    let listed = list.by_address(probed.address).map(|peer| peer.endpoint.ip());
    probed.endpoint.map(|endpoint| endpoint.ip()) == listed
}

/// Which of the members answer; nobody is asked where nothing runs.
pub(crate) fn probe(node: &mut Node, members: &[Ipv4Addr], patience: Duration) -> Result<Vec<ProbedPeer>> {
    if members.is_empty() || node.settings.restart == Restart::None {
        return Ok(Vec::new());
    }
    let settings = node.settings.clone();
    let request = Request::Probe { settings, members: members.to_vec(), patience, sizes: false };
    match node.ask(&request, patience + Duration::from_secs(60))? {
        Reply::Probed(probed) => Ok(probed),
        other => Err(unasked(&other)),
    }
}

/// Those of the members that answer now.
pub(crate) fn answering(node: &mut Node, members: &[Ipv4Addr], patience: Duration) -> Result<Vec<Ipv4Addr>> {
    let some = &members[..members.len().min(WITNESSES)];
    Ok(probe(node, some, patience)?.into_iter().filter(|p| p.answers()).map(|p| p.address).collect())
}
