//! From a wish to a proven cluster: waves of hosts, each gated on what still answers afterwards (FN-6).
//!
//! Everything is taken from what hosts say, again and again: a list that somebody else has changed meanwhile is united
//! with ours and the rest of the run goes on with that. A host that can't be reached, or can't be changed, keeps the
//! others from nothing; one that no longer hears the others stops the run, and its wave gets back what it had.

mod gate;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use self::gate::changed;
pub(super) use self::gate::{answering, probe, witnesses};
use self::waves::waves;
use super::action::{Need, text};
use super::hosts::{Fleet, Node, State, unasked};
use super::remote::protocol::{Reply, Request};
use crate::error::{Class, Error, Result};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::tunnel::timings::ANSWER;
use crate::wireguard::PeerList;

/// Packages, image, restart, and another run that is waited for.
pub(super) const APPLY: Duration = Duration::from_secs(1800);
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
        mut refresh: impl FnMut(&mut Fleet) -> Result<super::merge::Union>,
    ) -> Result<Rollout> {
        let mut rollout = Rollout::default();
        self.make_keys(&needs, &mut rollout)?;
        let lists = |node: &Node| Some((node.instance.address, node.seen()?.list.clone().unwrap_or_default()));
        let started: BTreeMap<Ipv4Addr, PeerList> = self.fleet.nodes.iter().filter_map(lists).collect();
        let mut patience = NEWCOMER_TRIES;
        for _ in 0..ROUNDS {
            let union = refresh(self.fleet)?;
            rollout.list = union.list;
            self.revise(&mut needs, &rollout);
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

    /// What each host needs now that the list may be another one, or that it has it already.
    fn revise(&self, needs: &mut BTreeMap<Ipv4Addr, Need>, rollout: &Rollout) {
        for node in &self.fleet.nodes {
            let address = node.instance.address;
            let fate = rollout.fates.get(&address);
            if node.seen().is_none() || fate.is_some_and(|fate| fate.failure.is_some()) {
                continue;
            }
            // Somebody else's newcomer is theirs to install; once it is a member, it gets the list from us as well.
            if !needs.contains_key(&address) && node.digest().is_none() {
                continue;
            }
            let current = node.digest().is_some_and(|digest| digest == rollout.list.digest());
            let need = needs.entry(address).or_insert(Need::List);
            match need {
                Need::Nothing if !current => *need = Need::List,
                Need::List | Need::Whole(_) if current && fate.is_some() => *need = Need::Nothing,
                _ => {}
            }
        }
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
                    let first = findings.iter().find(|f| f.outcome == crate::preflight::Severity::Fail);
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
