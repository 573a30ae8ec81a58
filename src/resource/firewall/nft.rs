//! A rule in a native nftables chain. It is the first rule of the chain that drops: an accept in a chain of our own would
//! not keep a later chain from dropping (FN-58).

use super::FirewallRule;
use super::unit::Restorer;
use crate::error::Result;
use crate::facts::firewall::{self, TAG};
use crate::host::{Cmd, Host};

/// Handles of the rules with our tag.
pub(super) fn ours(rule: &FirewallRule, host: &Host) -> Result<Vec<u64>> {
    Ok(firewall::listing(host)?.ours(&rule.place, rule.port))
}

/// Exactly one is there afterwards.
pub(super) fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    match &ours(rule, host)?[..] {
        [] => super::run_additions(rule, host),
        [_, surplus @ ..] => delete(rule, host, surplus),
    }
}

pub(super) fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    delete(rule, host, &ours(rule, host)?)
}

fn delete(rule: &FirewallRule, host: &mut Host, handles: &[u64]) -> Result<()> {
    for handle in handles {
        let cmd = Cmd::new("nft").args(["delete", "rule"]).args(rule.place.split(' '));
        let cmd = cmd.args(["handle".to_owned(), handle.to_string()]);
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
    }
    Ok(())
}

/// How to restore the rule after the packet filter has been loaded without it.
pub(super) fn restorer(rule: &FirewallRule) -> Restorer {
    let list = Cmd::new("nft").args(["list", "chain"]).args(rule.place.split(' '));
    let ensure = format!("{list} | grep -q \"udp dport {} .*{TAG}\" || {}", rule.port, super::script(rule));
    Restorer { loader: "nftables.service", ensure }
}
