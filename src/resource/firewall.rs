//! An opened UDP port: one rule of ours in each place that would drop what members send (FN-58).
//!
//! Additive only: a rule is added or taken away, nothing is ever flushed, restarted or reloaded, because a reload of
//! the firewall deletes Docker's rules (FN-23). Ours carries our name as its comment and is recognised by it in what the
//! firewall saves; it is counted, and there is exactly one (FN-24).
//!
//! ufw and firewalld keep their rules over a reboot; for nftables and iptables a systemd unit of ours puts the rule
//! back, because their own start-up files begin with a flush and belong to the operator.

mod firewalld;
mod iptables;
mod nft;
mod ufw;
mod unit;

use std::collections::BTreeSet;

use super::{State, mismatch};
use crate::error::{Error, Result};
use crate::facts::{Backend, firewall};
use crate::host::{Cmd, Host};
pub use crate::policy::FirewallRule;

impl FirewallRule {
    /// `Present` when exactly one rule of ours is there, and will be there after the next boot.
    pub fn observe(&self, host: &Host) -> Result<State> {
        let there = match self.backend {
            Backend::Ufw => ufw::is_there(self, host)?,
            Backend::Firewalld => firewalld::is_there(self, host)?,
            Backend::Nftables => nft::ours(self, host)?.len() == 1 && unit::is_there(self, host)?,
            Backend::IptablesNft | Backend::IptablesLegacy => {
                iptables::ours(self, host)?.len() == 1 && unit::is_there(self, host)?
            }
        };
        Ok(if there { State::Present } else { State::Absent })
    }

    /// Adds it, or removes exactly ours.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        let before = docker_chains(host)?;
        match (state, self.backend) {
            (State::Present, Backend::Ufw) => ufw::add(self, host),
            (State::Present, Backend::Firewalld) => firewalld::add(self, host),
            (State::Present, Backend::Nftables) => nft::add(self, host).and_then(|()| unit::add(self, host)),
            (State::Present, _) => iptables::add(self, host).and_then(|()| unit::add(self, host)),
            (State::Absent, Backend::Ufw) => ufw::remove(self, host),
            (State::Absent, Backend::Firewalld) => firewalld::remove(self, host),
            // The unit first: it would put the rule back.
            (State::Absent, Backend::Nftables) => unit::remove(self, host).and_then(|()| nft::remove(self, host)),
            (State::Absent, _) => unit::remove(self, host).and_then(|()| iptables::remove(self, host)),
            (other, _) => Err(mismatch(self, other)),
        }?;
        let after = docker_chains(host)?;
        if let Some(chain) = before.difference(&after).next() {
            return Err(Error::unexpected(format!("{} has lost Docker's chain {chain}", self.backend))
                .hint("let Docker make its rules again: systemctl restart docker"));
        }
        Ok(())
    }
}

fn docker_chains(host: &Host) -> Result<BTreeSet<String>> {
    let chains = firewall::iptables_chains(host)?;
    Ok(chains.into_iter().filter(|chain| chain.starts_with("DOCKER")).collect())
}

fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    for cmd in rule.additions() {
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
    }
    Ok(())
}

/// The commands that add it, for a shell.
fn script(rule: &FirewallRule) -> String {
    rule.additions().iter().map(Cmd::to_string).collect::<Vec<_>>().join(" && ")
}
