//! An opened UDP port: one rule in each place that would drop packets from peers (FN-58).
//!
//! A rule is added or removed, nothing is ever flushed, restarted or reloaded, because a reload of the firewall deletes
//! Docker's rules (FN-23). The rule has this program's name as its comment and is recognised by it in what the firewall
//! saves; there is exactly one (FN-24).
//!
//! ufw and firewalld keep their rules over a reboot. For nftables and iptables a systemd unit restores the rule, because
//! their own start-up files begin with a flush and belong to the operator.

mod firewalld;
mod iptables;
mod nft;
mod ufw;
mod unit;

use std::collections::BTreeSet;

use super::{Opening, Resource, ResourceKind, Verb};
use crate::error::{Error, Result};
use crate::facts::{Backend, firewall};
use crate::host::{Cmd, Host};
use crate::message;
use crate::message::Message;
pub use crate::policy::FirewallRule;

impl Resource for FirewallRule {
    type State = Opening;
    const KIND: ResourceKind = ResourceKind::FirewallRule;

    fn noun(&self) -> Message {
        self.name()
    }

    fn paths(&self) -> Vec<&std::path::Path> {
        Vec::new()
    }

    fn verb(&self, _before: &Opening, _after: &Opening) -> Verb {
        Verb::Open
    }

    /// `Present` if there is exactly one rule, and it will be there after the next boot.
    fn observe(&self, host: &Host) -> Result<Opening> {
        let (live, restorer) = match self.backend {
            Backend::Ufw => return ufw::observe(self, host),
            Backend::Firewalld => return firewalld::observe(self, host),
            Backend::Nftables => (nft::ours(self, host)?.len(), nft::restorer(self)),
            Backend::IptablesNft | Backend::IptablesLegacy => {
                (iptables::ours(self, host)?.len(), iptables::restorer(self))
            }
        };
        let unit = unit::observe(self, &restorer, host)?;
        // Without systemd there is no unit.
        let lasts = unit == Opening::Present || !unit::is_possible(host)?;
        Ok(Opening::of(live > 0 || unit != Opening::Absent, live == 1 && lasts))
    }

    /// Adds it, or removes what was added here.
    fn set(&self, host: &mut Host, state: &Opening) -> Result<()> {
        let before = docker_chains(host)?;
        match state {
            Opening::Present => add(self, host),
            Opening::Partial | Opening::Absent => remove(self, host),
        }?;
        let after = docker_chains(host)?;
        if let Some(chain) = before.difference(&after).next() {
            let backend = self.backend.to_string();
            let error = Error::unexpected(message!("{backend} has lost Docker's chain {chain}", backend, chain));
            let command = "systemctl restart docker";
            return Err(error.hint(message!("let Docker make its rules again: {command}", command)));
        }
        Ok(())
    }

    fn may_cut_connections(&self) -> bool {
        true
    }
}

fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    match rule.backend {
        Backend::Ufw => ufw::add(rule, host),
        Backend::Firewalld => firewalld::add(rule, host),
        Backend::Nftables => {
            nft::add(rule, host)?;
            unit::add(rule, &nft::restorer(rule), host)
        }
        Backend::IptablesNft | Backend::IptablesLegacy => {
            iptables::add(rule, host)?;
            unit::add(rule, &iptables::restorer(rule), host)
        }
    }
}

/// The unit is removed first, because it would restore the rule.
fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    match rule.backend {
        Backend::Ufw => ufw::remove(rule, host),
        Backend::Firewalld => firewalld::remove(rule, host),
        Backend::Nftables => {
            unit::remove(rule, host)?;
            nft::remove(rule, host)
        }
        Backend::IptablesNft | Backend::IptablesLegacy => {
            unit::remove(rule, host)?;
            iptables::remove(rule, host)
        }
    }
}

fn docker_chains(host: &Host) -> Result<BTreeSet<String>> {
    let chains = firewall::iptables_chains(host)?;
    Ok(chains.into_iter().filter(|chain| chain.starts_with("DOCKER")).collect())
}

fn run_additions(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    for cmd in rule.additions() {
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
    }
    Ok(())
}

/// The commands that add it, for a shell.
fn script(rule: &FirewallRule) -> String {
    rule.additions().iter().map(Cmd::to_string).collect::<Vec<_>>().join(" && ")
}
