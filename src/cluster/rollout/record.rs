//! What has become of each host, as a run goes on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::cluster::hosts::reason;
use crate::cluster::merge::Merged;
use crate::error::{Class, Error};
use crate::message::Message;

/// What a run has come to so far.
#[derive(Debug, Default)]
pub(crate) struct RolloutRecord {
    /// Each host that something was done to, or that something failed on.
    pub(crate) hosts: BTreeMap<Ipv4Addr, HostRecord>,
    /// Why the run stopped before its end.
    pub(crate) stopped: Option<Message>,
    /// The list that all are to have, and what is disputed.
    pub(crate) merged: Merged,
    /// Whether another run was at work at the same time.
    pub(crate) met_another: bool,
    /// How often each host had another list than this run had last seen or given.
    pub(crate) moved: BTreeMap<Ipv4Addr, usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct HostRecord {
    /// The steps that were taken.
    pub(crate) steps: Vec<Message>,
    /// Whether the instance got its VPN address in this run.
    pub(crate) sets_vpn_address: bool,
    /// Whether the steps were taken back.
    pub(crate) taken_back: bool,
    pub(crate) failure: Option<HostFailure>,
    /// Members that don't answer it, though they should.
    pub(crate) silent: Vec<Ipv4Addr>,
}

#[derive(Clone, Debug)]
pub(crate) struct HostFailure {
    pub(crate) class: Class,
    /// With the way out.
    pub(crate) reason: Message,
}

impl RolloutRecord {
    /// The record of a host, made when there is none.
    pub(crate) fn of(&mut self, address: Ipv4Addr) -> &mut HostRecord {
        self.hosts.entry(address).or_default()
    }

    pub(crate) fn fail(&mut self, address: Ipv4Addr, error: &Error) {
        self.of(address).failure = Some(HostFailure { class: error.class(), reason: reason(error) });
    }

    /// Somebody else has changed a host's list meanwhile.
    pub(crate) fn note_moved(&mut self, address: Ipv4Addr) {
        self.met_another = true;
        *self.moved.entry(address).or_default() += 1;
    }

    /// The hosts whose lists have changed most often.
    pub(crate) fn most_moved(&self) -> Vec<Ipv4Addr> {
        let most = self.moved.values().max();
        self.moved.iter().filter(|(_, times)| Some(*times) == most).map(|(address, _)| *address).collect()
    }

    pub(crate) fn has_failed(&self, address: Ipv4Addr) -> bool {
        self.hosts.get(&address).is_some_and(|host| host.failure.is_some())
    }

    /// Takes note of the hosts where something went wrong.
    pub(crate) fn note_failures(&mut self, replies: Vec<(Ipv4Addr, Result<(), Error>)>) {
        for (address, reply) in replies {
            if let Err(error) = reply {
                self.fail(address, &error);
            }
        }
    }

    /// Takes note of hosts that were told to take back their steps.
    pub(crate) fn note_taken_back(&mut self, replies: Vec<(Ipv4Addr, Result<(), Error>)>) {
        for (address, reply) in replies {
            match reply {
                Ok(()) => self.of(address).taken_back = true,
                Err(error) => self.fail(address, &error),
            }
        }
    }
}
