//! The rollout itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use super::decide::{Decision, HostView, decide};
use super::gate::{self, Reach, answering, newly_listed, witnesses};
use super::record::RolloutRecord;
use super::spent;
use crate::cluster::action::{Action, Actions, Required, required};
use crate::cluster::hosts::{ApplyReply, ChangeRequest, Fleet, HostState, Node, reason};
use crate::cluster::merge::Merged;
use crate::error::{Class, Error, Result};
use crate::message;
use crate::message::Message;
use crate::preflight::{Finding, Severity};
use crate::progress::Progress;
use crate::tunnel::timings::ANSWER;
use crate::wireguard::PeerList;

/// Other operators can be faster this many times.
const ROUNDS: usize = 40;
/// How long to wait, each time, for a host that another operator has declared and not finished with.
const NEWCOMER: Duration = Duration::from_secs(3);
const NEWCOMER_TRIES: usize = 20;

/// What each host needs to become as all are to be. Changes nothing.
pub(crate) fn plan(fleet: &mut Fleet, merged: &Merged) -> Actions {
    fleet.each_by_address(|_| true, |node| action(node, merged)).into_iter().collect()
}

fn action(node: &mut Node, merged: &Merged) -> Action {
    let seen = match &node.state {
        HostState::Unreachable(error) => return Action::Unreachable(reason(error)),
        HostState::Seen(seen) => seen,
    };
    let list = match merged.target(node) {
        Ok(list) => list,
        Err(reason) => return Action::Disputed(reason),
    };
    match required(seen, &list) {
        // It lacks a key that the others' list is to have.
        Required::Nothing if merged.keyless.contains(&node.instance.address) => Action::List,
        Required::Nothing => Action::Nothing,
        Required::List => Action::List,
        Required::Survey => match node.survey(&list) {
            Ok(survey) => survey.into(),
            Err(error) => Action::Unreachable(reason(&error)),
        },
    }
}

/// A rollout under way.
pub(crate) struct Rollout<'r> {
    pub(crate) fleet: &'r mut Fleet,
    /// The most hosts in one wave.
    pub(crate) batch: usize,
    /// How long a change that could cut off the connection may stay unconfirmed.
    pub(crate) guard: Duration,
    pub(crate) progress: Progress,
}

impl Rollout<'_> {
    /// Carries out what is needed. `refresh` brings the fleet up to date with cluster.toml, which another operator may have
    /// changed, and says who is a member now.
    pub(crate) fn carry_out(
        &mut self,
        mut actions: Actions,
        mut refresh: impl FnMut(&mut Fleet) -> Result<Merged>,
    ) -> RolloutRecord {
        let mut record = RolloutRecord::default();
        let lists = |node: &Node| Some((node.instance.address, node.seen()?.list.clone().unwrap_or_default()));
        let started: BTreeMap<Ipv4Addr, PeerList> = self.fleet.nodes.iter().filter_map(lists).collect();
        let mut newcomer_tries = NEWCOMER_TRIES;
        let (mut keys_are_made, mut looked_again) = (false, false);
        for _ in 0..ROUNDS {
            match refresh(self.fleet) {
                Ok(merged) => record.merged = merged,
                // Hosts may have been changed: how they stand is told all the same.
                Err(error) => {
                    record.stopped = Some(reason(&error));
                    return record;
                }
            }
            if !std::mem::replace(&mut keys_are_made, true) {
                self.make_keys(&actions, &mut record);
                continue;
            }
            let hosts: Vec<HostView> = self.fleet.nodes.iter().map(|node| HostView::of(node, &record.merged)).collect();
            let waves = match decide(&hosts, &mut actions, &record, self.batch, newcomer_tries > 0) {
                Decision::Change(waves) => waves,
                Decision::Await(newcomers) => {
                    newcomer_tries -= 1;
                    self.await_newcomers(&newcomers);
                    continue;
                }
                Decision::Prove if record.met_another || (record.merged.is_disputed() && !looked_again) => {
                    // Others may have changed what was seen of hosts that this run was done with.
                    (record.met_another, looked_again) = (false, true);
                    self.look_again(&mut record);
                    continue;
                }
                Decision::Prove => {
                    self.remember(&mut record);
                    self.prove(&started, &mut record);
                    return record;
                }
            };
            for (number, wave) in (1_usize..).zip(&waves) {
                let task = self.progress.start(message!(
                    "wave {number} of {count}: {names}",
                    number,
                    count = waves.len(),
                    names = self.fleet.names(wave)
                ));
                let is_outdated = self.wave(wave, &actions, &mut record);
                if record.stopped.is_some() {
                    return record;
                }
                task.done();
                if is_outdated {
                    self.look_again(&mut record);
                    break;
                }
            }
        }
        record.stopped = Some(self.restless(&record));
        record
    }

    /// Looks at all hosts once more, and takes note of those whose lists are others than before.
    fn look_again(&mut self, record: &mut RolloutRecord) {
        let moved = self.fleet.each(
            |node| node.seen().is_some(),
            |node| {
                let before = node.digest();
                node.look_again();
                (node.seen().is_some() && node.digest() != before).then_some(node.instance.address)
            },
        );
        moved.into_iter().flatten().for_each(|address| record.note_moved(address));
    }

    /// Why a run gives up on lists that keep changing, with the hosts that it was.
    fn restless(&self, record: &RolloutRecord) -> Message {
        match &record.most_moved()[..] {
            [] => message!("the lists keep changing under this run: another one is at work"),
            most => message!(
                "the lists keep changing under this run, most often on {names}: another run is at work, or something on the host",
                names = self.fleet.names(most)
            ),
        }
    }

    /// What has become of members is remembered by the hosts whose list stays as it is, too; and rotations that are over
    /// leave no key behind.
    fn remember(&mut self, record: &mut RolloutRecord) {
        let is_over = spent::retire(self.fleet, &mut record.merged);
        let merged = record.merged.clone();
        let seen = |node: &Node| node.seen().is_some();
        let remembered = self.fleet.each_by_address(seen, |node| node.remember(&merged.history));
        record.note_failures(remembered);
        if is_over {
            self.fleet.each(seen, Node::look_again);
            let is_over =
                |node: &&Node| !spent::is_rotating(node) && spent::is_over(self.fleet, node, &merged, |_| false);
            let over: Vec<Ipv4Addr> =
                self.fleet.nodes.iter().filter(is_over).map(|node| node.instance.address).collect();
            let dropped = self.fleet.each_by_address(|node| over.contains(&node.instance.address), Node::drop_old_key);
            record.note_failures(dropped);
        }
    }

    /// Waits a moment for hosts that another operator is just making members of.
    fn await_newcomers(&mut self, newcomers: &[Ipv4Addr]) {
        let task = self.progress.start(message!("wait for hosts that another operator is adding"));
        thread::sleep(NEWCOMER);
        self.fleet.each(|node| newcomers.contains(&node.instance.address), Node::look_again);
        task.done();
    }

    /// Hosts that have no key that may be used make one. It stays there; its public half is what the list needs (FN-51).
    fn make_keys(&mut self, actions: &Actions, record: &mut RolloutRecord) {
        let Merged { keyless, history, .. } = &record.merged;
        let is_keyless = |node: &Node| {
            let address = node.instance.address;
            let changes = actions.get(&address).is_some_and(Action::changes);
            changes && keyless.contains(&address) && node.seen().is_some()
        };
        let made = self.fleet.each_by_address(is_keyless, |node| node.make_key(history));
        record.note_failures(made);
    }

    /// One wave: who answers now, the change, who answers afterwards. Whether another run has changed a host since it was
    /// looked at: what was decided then rests on an old picture.
    fn wave(&mut self, wave: &[Ipv4Addr], actions: &Actions, record: &mut RolloutRecord) -> bool {
        let merged = &record.merged.clone();
        let (list, guard) = (&merged.list, self.guard);
        let witnesses = witnesses(self.fleet, wave, list);
        let chosen = |node: &Node| wave.contains(&node.instance.address);
        let replies = self.fleet.each(chosen, |node| {
            let address = node.instance.address;
            let before = node.list().cloned().unwrap_or_default();
            let known: Vec<Ipv4Addr> =
                witnesses[&address].iter().copied().filter(|a| before.by_address(*a).is_some()).collect();
            let target = merged.target(node);
            let reply = answering(node, &known, ANSWER).and_then(|answered| {
                let list = target.as_ref().map_err(|reason| Error::new(Class::Refused, reason.clone()))?;
                let change =
                    ChangeRequest { list, seen: node.digest(), guard, switch_key: false, history: &merged.history };
                Ok((answered, node.apply(change, None)?))
            });
            // The host's lock is waited for, not refused: look at what another run has done there.
            node.look_again();
            let has_moved = match &reply {
                Ok((_, ApplyReply::Applied { .. })) => is_overtaken(node, target.ok().as_ref()),
                Ok((_, ApplyReply::Conflict)) => Ok(true),
                Ok((_, ApplyReply::Refused(_))) | Err(_) => Ok(false),
            };
            let reply = reply.and_then(|reply| Ok((reply, has_moved?)));
            (address, before, reply)
        });
        let mut expected: BTreeMap<Ipv4Addr, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        // Those that join risk nothing but themselves.
        let joins = |address: &Ipv4Addr| actions.get(address).is_some_and(Action::joins);
        let is_canary = !wave.iter().any(joins) && !record.hosts.values().any(|host| !host.steps.is_empty());
        let mut is_outdated = false;
        for (address, before, reply) in replies {
            let reply = reply.map(|(reply, has_moved)| {
                if has_moved {
                    record.note_moved(address);
                }
                reply
            });
            match reply {
                Ok((answered, ApplyReply::Applied { steps, sets_vpn_address })) => {
                    let host = record.of(address);
                    host.steps.extend(steps);
                    host.sets_vpn_address |= sets_vpn_address;
                    let new = newly_listed(self.fleet, address, &before, list);
                    expected.insert(address, answered.into_iter().chain(new).collect());
                }
                // The next round decides again.
                Ok((_, ApplyReply::Conflict)) => is_outdated = true,
                Ok((_, ApplyReply::Refused(findings))) => record.fail(address, &refused(&findings)),
                Err(error) => {
                    // The connection to one host was cut off, and the change taken back: the others' would be as well.
                    if error.class() == Class::Unproven {
                        record.stopped = Some(message!("the change would cut off the connection to the hosts"));
                    } else if is_canary {
                        let name = self.fleet.names(&[address]);
                        record.stopped = Some(message!("{name}, the first to be changed, failed", name));
                    }
                    record.fail(address, &error);
                }
            }
        }
        self.gate(wave, &expected, actions, record);
        is_outdated
    }

    /// Stops the run and takes the wave back, if one of its hosts no longer reaches what it should.
    fn gate(
        &mut self,
        wave: &[Ipv4Addr],
        expected: &BTreeMap<Ipv4Addr, BTreeSet<Ipv4Addr>>,
        actions: &Actions,
        record: &mut RolloutRecord,
    ) {
        let reaches = gate::reach(self.fleet, wave, expected, &record.merged.list);
        let failed = note_reach(reaches, record);
        if failed.is_empty() {
            return;
        }
        let names = self.fleet.names(&failed);
        record.stopped = Some(message!("{names} no longer reaches all members that it should", names));
        // What a host has joined with stays there: it was no member before, so nobody misses it.
        let has_joined = |address: &Ipv4Addr| actions.get(address).is_some_and(Action::joins);
        let goes_back =
            |node: &Node| expected.contains_key(&node.instance.address) && !has_joined(&node.instance.address);
        let replies = self.fleet.each_by_address(goes_back, |node| {
            let reply = node.take_back();
            node.look_again();
            reply
        });
        record.note_taken_back(replies);
    }

    /// The members that are new to a host, those of its own wave among them, answer it now that all have the list.
    fn prove(&mut self, started: &BTreeMap<Ipv4Addr, PeerList>, record: &mut RolloutRecord) {
        let changed = record.hosts.iter().filter(|(_, host)| host.failure.is_none()).map(|(address, _)| *address);
        let new = |address: Ipv4Addr| {
            let before = started.get(&address)?;
            Some((address, newly_listed(self.fleet, address, before, &record.merged.list)))
        };
        let new: BTreeMap<Ipv4Addr, Vec<Ipv4Addr>> =
            changed.filter_map(new).filter(|(_, members)| !members.is_empty()).collect();
        if new.is_empty() {
            return;
        }
        let task = self.progress.start(message!("prove it by handshakes"));
        note_reach(gate::prove(self.fleet, &new), record);
        task.done();
    }
}

/// Takes note of what each host reaches. The hosts that don't reach all that they should.
fn note_reach(reaches: Vec<(Ipv4Addr, Reach)>, record: &mut RolloutRecord) -> Vec<Ipv4Addr> {
    let mut failed = Vec::new();
    for (address, reach) in reaches {
        match reach {
            Reach::Everybody => continue,
            Reach::Without(silent) => record.of(address).silent = silent,
            Reach::Unknown(error) => record.fail(address, &error),
        }
        failed.push(address);
    }
    failed
}

/// Whether somebody has added to the list that a host has just taken. Who lacks a part of it has not taken it.
fn is_overtaken(node: &Node, given: Option<&PeerList>) -> Result<bool> {
    if let HostState::Unreachable(error) = &node.state {
        let reason = reason(error);
        return Err(Error::unexpected(message!("it can't be looked at after the change: {reason}", reason)));
    }
    if node.digest() == given.map(PeerList::digest) {
        return Ok(false);
    }
    let has_all =
        |(given, now): (&PeerList, &PeerList)| given.peers().all(|peer| now.by_address(peer.address) == Some(peer));
    if given.zip(node.list()).is_some_and(has_all) {
        return Ok(true);
    }
    Err(Error::unexpected(message!("it says that it has taken the list, and has another one")))
}

fn refused(findings: &[Finding]) -> Error {
    let first = findings.iter().find(|finding| finding.outcome == Severity::Fail);
    let reason = first.map(|Finding { id, detail, .. }| message!("{check}: {detail}", check = id, detail));
    Error::new(Class::Refused, reason.unwrap_or(Message::fixed("preflight")))
}
