//! From a wish to a proven cluster: waves of hosts, each gated on what still answers afterwards (FN-6).
//!
//! Everything is taken from what hosts say, again and again: a list that somebody else has changed meanwhile is united
//! with ours and the rest of the run goes on with that. A host that can't be reached, or can't be changed, keeps the
//! others from nothing; one that no longer hears the others stops the run, and its wave gets back what it had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use super::fleet::{Fleet, Node, State, unasked};
use super::needs::{Need, text};
use super::wire::{Probed, Reply, Request};
use crate::error::{Class, Error, Result};
use crate::progress::Progress;
use crate::settings::{Restart, Settings};
use crate::wireguard::PeerList;

/// Packages, image, restart, and another run that is waited for.
pub(super) const APPLY: Duration = Duration::from_secs(1800);
/// A member that is there answers at once, even if it has to make a session first.
pub(super) const ANSWER: Duration = Duration::from_secs(3);
/// WireGuard tries again after 5 s, and sends a keepalive of its own after 10.
pub(super) const GATE: Duration = Duration::from_secs(16);
/// So many members of those that have always answered are asked whether they still do.
const WITNESSES: usize = 16;
/// Other operators can be faster this many times.
const ROUNDS: usize = 40;
/// How long to wait, each time, for a host that another operator has declared and not finished with.
const NEWCOMER: Duration = Duration::from_secs(3);
const NEWCOMER_TRIES: usize = 20;

/// What became of a host in a run.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// The steps that were taken.
    pub steps: Vec<String>,
    /// They were taken back.
    pub taken_back: bool,
    /// What failed, with the exit code of its class.
    pub failure: Option<(u8, String)>,
    /// Members that don't answer it, though they should.
    pub silent: Vec<Ipv4Addr>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Rollout {
    /// What became of each host that something was done to.
    pub fates: BTreeMap<Ipv4Addr, Fate>,
    /// Why it stopped before its end.
    pub stopped: Option<String>,
    /// The list it was about.
    pub list: PeerList,
}

/// The rollout under way.
pub struct Run<'r> {
    /// The hosts.
    pub fleet: &'r mut Fleet,
    /// Instances whose new key somebody has vouched for.
    pub accepted: &'r [String],
    /// The most hosts in one wave.
    pub batch: usize,
    /// How long a way in may stay unproven that a change could cut off.
    pub guard: Duration,
    /// Where to say what is going on.
    pub progress: Progress,
}

impl Run<'_> {
    /// Carries out what is needed. `refresh` brings the fleet up to date with cluster.toml, which another operator may
    /// have changed, and says who is a member now.
    pub fn carry_out(
        &mut self,
        mut needs: BTreeMap<Ipv4Addr, Need>,
        mut refresh: impl FnMut(&mut Fleet) -> Result<super::members::Union>,
    ) -> Result<Rollout> {
        let mut rollout = Rollout::default();
        self.make_keys(&needs, &mut rollout)?;
        let lists = |node: &Node| Some((node.instance.address, node.seen()?.list.clone().unwrap_or_default()));
        let started: BTreeMap<Ipv4Addr, PeerList> = self.fleet.nodes.iter().filter_map(lists).collect();
        let mut patience = NEWCOMER_TRIES;
        for _ in 0..ROUNDS {
            let union = refresh(self.fleet)?;
            rollout.list = union.list;
            let settled = |fates: &BTreeMap<Ipv4Addr, Fate>, address: &Ipv4Addr| {
                fates.get(address).is_some_and(|fate| fate.failure.is_some())
            };
            for node in &self.fleet.nodes {
                let address = node.instance.address;
                let (Some(_), false) = (node.seen(), settled(&rollout.fates, &address)) else { continue };
                let current = node.digest().is_some_and(|digest| digest == rollout.list.digest());
                // Somebody else's newcomer is theirs to install; once it is a member, it gets the list from us as well.
                if !needs.contains_key(&address) && node.digest().is_none() {
                    continue;
                }
                let need = needs.entry(address).or_insert(Need::List);
                match need {
                    Need::Nothing if !current => *need = Need::List,
                    Need::List if current && rollout.fates.contains_key(&address) => *need = Need::Nothing,
                    Need::Whole(_) if current && rollout.fates.contains_key(&address) => *need = Need::Nothing,
                    _ => {}
                }
            }
            let waves = waves(self.fleet, &needs, &rollout, self.batch);
            if waves.is_empty() && patience > 0 && self.await_newcomers(&needs) {
                patience -= 1;
                continue;
            }
            if waves.is_empty() {
                self.prove(&started, &mut rollout);
                return Ok(rollout);
            }
            for (number, wave) in waves.iter().enumerate() {
                let names: Vec<&str> =
                    wave.iter().filter_map(|a| self.fleet.by_address(*a)).map(|n| n.instance.name.as_str()).collect();
                let task = self.progress.start(format!("wave {} of {}: {}", number + 1, waves.len(), names.join(", ")));
                self.wave(wave, &needs, &mut rollout)?;
                if rollout.stopped.is_some() {
                    return Ok(rollout);
                }
                task.done();
            }
        }
        rollout.stopped = Some("the lists keep changing under this run: another one is at work".to_owned());
        Ok(rollout)
    }

    /// Waits a moment for those that another operator is just making members of; whether there are any.
    fn await_newcomers(&mut self, needs: &BTreeMap<Ipv4Addr, Need>) -> bool {
        let newcomer = |node: &Node| !needs.contains_key(&node.instance.address) && node.seen().is_some();
        if !self.fleet.nodes.iter().any(newcomer) {
            return false;
        }
        let task = self.progress.start("wait for another operator's newcomers".to_owned());
        thread::sleep(NEWCOMER);
        self.fleet.each(newcomer, Node::look_again);
        task.done();
        true
    }

    /// Hosts that have no key make one. It stays there; its public half is what the list needs (FN-51).
    fn make_keys(&mut self, needs: &BTreeMap<Ipv4Addr, Need>, rollout: &mut Rollout) -> Result<()> {
        let keyless = |node: &Node| {
            let allowed = matches!(needs.get(&node.instance.address), Some(Need::Whole(_) | Need::List));
            allowed && node.seen().is_some_and(|seen| seen.look.key.is_none())
        };
        let made = self.fleet.each(keyless, |node| {
            let request = Request::MakeKey(node.settings.clone());
            let key = node.ask(&request, APPLY).and_then(|reply| match reply {
                Reply::Key(key) => Ok(key),
                other => Err(unasked(&other)),
            });
            if let (Ok(key), State::Seen(seen)) = (&key, &mut node.state) {
                seen.look.key = Some(*key);
            }
            (node.instance.address, key)
        });
        for (address, key) in made {
            if let Err(error) = key {
                rollout.fail(address, &error);
            }
        }
        Ok(())
    }

    /// One wave: who answers now, the change, who answers afterwards.
    fn wave(&mut self, wave: &[Ipv4Addr], needs: &BTreeMap<Ipv4Addr, Need>, rollout: &mut Rollout) -> Result<()> {
        let list = &rollout.list.clone();
        let guard = self.guard;
        let witnesses = witnesses(self.fleet, wave, list);
        let chosen = |node: &Node| wave.contains(&node.instance.address);
        let outcomes = self.fleet.each(chosen, |node| {
            let address = node.instance.address;
            let before = node.seen().and_then(|seen| seen.list.clone()).unwrap_or_default();
            let known: Vec<Ipv4Addr> =
                witnesses[&address].iter().copied().filter(|a| before.by_address(*a).is_some()).collect();
            let outcome = answering(node, &known, ANSWER).and_then(|answered| {
                let settings = Settings { peers: text(list), whole_list: true, ..node.settings.clone() };
                let request = Request::Apply { settings, seen: node.digest(), guard };
                let reply = node.change(&request, APPLY)?;
                Ok((answered, reply))
            });
            // A run that waits for another one isn't refused: look what that one has made of it.
            node.look_again();
            (address, before, outcome)
        });
        let mut gated: BTreeMap<Ipv4Addr, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        for (address, before, outcome) in outcomes {
            match outcome {
                Ok((answered, Reply::Applied { steps, .. })) => {
                    rollout.fates.entry(address).or_default().steps.extend(steps);
                    gated.insert(
                        address,
                        answered.into_iter().chain(changed(self.fleet, address, &before, list)).collect(),
                    );
                }
                // The next round unites it.
                Ok((_, Reply::Conflict(_))) => {}
                Ok((_, Reply::Refused(findings))) => {
                    let first = findings.iter().find(|f| f.outcome == crate::preflight::Verdict::Fail);
                    let detail = first.map_or_else(String::new, |f| format!("{}: {}", f.id, f.detail));
                    rollout.fail(address, &Error::new(Class::Refused, detail));
                }
                Ok((_, other)) => rollout.fail(address, &unasked(&other)),
                Err(error) => {
                    // Cut off once, and taken back: the others would be as well.
                    if error.class() == Class::Unproven {
                        rollout.stopped = Some("the change would cut off the way in".to_owned());
                    }
                    rollout.fail(address, &error);
                }
            }
        }
        self.gate(wave, &gated, needs, rollout);
        Ok(())
    }

    /// Whoever is new to a host, wave mates among them, answers it now that all know each other.
    fn prove(&mut self, started: &BTreeMap<Ipv4Addr, PeerList>, rollout: &mut Rollout) {
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
                (address, probe(node, &new[&address], GATE))
            },
        );
        for (address, probed) in proven {
            match probed {
                Ok(probed) => {
                    let silent = probed.iter().filter(|p| !p.answers).map(|p| p.address);
                    rollout.fates.entry(address).or_default().silent = silent.collect();
                }
                Err(error) => rollout.fail(address, &error),
            }
        }
        task.done();
    }

    /// Whoever answered before must answer still, and whoever is new must answer where the list says it is.
    fn gate(
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
                (address, probe(node, &members, GATE))
            },
        );
        let mut failed = Vec::new();
        for (address, probed) in proven {
            match probed {
                Ok(probed) => {
                    let elsewhere = |p: &&Probed| !p.answers || !is_where_the_list_says(p, &list);
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
        let joined =
            |address: &Ipv4Addr| matches!(needs.get(address), Some(Need::Whole(survey)) if survey.outage.is_none());
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
pub(super) fn witnesses(fleet: &Fleet, wave: &[Ipv4Addr], list: &PeerList) -> BTreeMap<Ipv4Addr, Vec<Ipv4Addr>> {
    let outside = || fleet.nodes.iter().filter(|node| !wave.contains(&node.instance.address));
    let of = |address: Ipv4Addr| {
        outside().filter(|other| could_answer(other, address, list)).map(|other| other.instance.address).collect()
    };
    wave.iter().map(|address| (*address, of(*address))).collect()
}

/// Those who could answer and whose section is new, or another one than before.
fn changed(fleet: &Fleet, address: Ipv4Addr, before: &PeerList, list: &PeerList) -> Vec<Ipv4Addr> {
    let changed = list.peers().filter(|peer| before.by_address(peer.address) != Some(*peer)).map(|peer| peer.address);
    changed.filter(|other| fleet.by_address(*other).is_some_and(|other| could_answer(other, address, list))).collect()
}

impl Rollout {
    pub(super) fn fail(&mut self, address: Ipv4Addr, error: &Error) {
        let fate = self.fates.entry(address).or_default();
        fate.failure = Some((error.class().exit_code(), told(error)));
    }
}

/// An error with its way out, on one line.
pub fn told(error: &Error) -> String {
    match error.way_out() {
        Some(hint) => format!("{error}; {}", hint.replace('\n', "; ")),
        None => error.to_string(),
    }
}

/// A member may send from another port than it listens on, behind NAT, but not from another address.
fn is_where_the_list_says(probed: &Probed, list: &PeerList) -> bool {
    let listed = list.by_address(probed.address).map(|peer| peer.endpoint.ip());
    probed.endpoint.map(|endpoint| endpoint.ip()) == listed
}

/// Which of the members answer; nobody is asked where nothing runs.
pub(super) fn probe(node: &mut Node, members: &[Ipv4Addr], patience: Duration) -> Result<Vec<Probed>> {
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
pub(super) fn answering(node: &mut Node, members: &[Ipv4Addr], patience: Duration) -> Result<Vec<Ipv4Addr>> {
    let some = &members[..members.len().min(WITNESSES)];
    Ok(probe(node, some, patience)?.into_iter().filter(|p| p.answers).map(|p| p.address).collect())
}

/// The waves, in order. First those that are members already and only get a list: one alone, then twice as many each
/// time. Then those whose stack has to be restarted, one by one: each of them is an outage. At last those that join, who
/// find everybody knowing them.
fn waves(fleet: &Fleet, needs: &BTreeMap<Ipv4Addr, Need>, rollout: &Rollout, batch: usize) -> Vec<Vec<Ipv4Addr>> {
    let (mut lists, mut restarts, mut joins) = (Vec::new(), Vec::new(), Vec::new());
    for node in &fleet.nodes {
        let address = node.instance.address;
        let failed = rollout.fates.get(&address).is_some_and(|fate| fate.failure.is_some());
        if failed || rollout.list.by_address(address).is_none() {
            continue;
        }
        match needs.get(&address) {
            Some(Need::List) => lists.push(address),
            Some(Need::Whole(survey)) if survey.outage.is_some() => restarts.push(vec![address]),
            Some(Need::Whole(_)) => joins.push(address),
            Some(Need::Nothing | Need::Refused(_) | Need::Down(_)) | None => {}
        }
    }
    let mut waves = doubling(&lists, batch);
    waves.extend(restarts);
    waves.extend(doubling(&joins, batch));
    waves
}

/// One, then two, then four, up to `most` at a time.
fn doubling(all: &[Ipv4Addr], most: usize) -> Vec<Vec<Ipv4Addr>> {
    let mut waves = Vec::new();
    let (mut rest, mut size) = (all, 1);
    while !rest.is_empty() {
        let (wave, others) = rest.split_at(rest.len().min(size));
        waves.push(wave.to_vec());
        (rest, size) = (others, (size * 2).min(most.max(1)));
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_goes_first_and_the_waves_grow_up_to_their_limit() {
        let all: Vec<Ipv4Addr> = (1..=20).map(|n| Ipv4Addr::new(10, 8, 3, n)).collect();
        let sizes = |most| doubling(&all, most).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(30), [1, 2, 4, 8, 5]);
        assert_eq!(sizes(3), [1, 2, 3, 3, 3, 3, 3, 2]);
        assert_eq!(sizes(0), [1; 20]);
        assert!(doubling(&[], 30).is_empty());
    }
}
