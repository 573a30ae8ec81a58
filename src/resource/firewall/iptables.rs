//! A rule in the INPUT chain of one of iptables' variants. It is the first rule, before those that drop.

use super::FirewallRule;
use super::unit::Restorer;
use crate::error::{Error, Result};
use crate::facts::firewall::iptables::{INPUT, SavedRule, rules};
use crate::facts::firewall::{TAG, save};
use crate::host::Host;
use crate::message;

/// The rules with our tag, as saved. None where the program is gone, and its rules with it.
pub(super) fn ours(rule: &FirewallRule, host: &Host) -> Result<Vec<SavedRule>> {
    if !host.has_program(rule.iptables_program())? {
        return Ok(Vec::new());
    }
    Ok(rules(&save(host, rule.iptables_program())?).into_iter().filter(|saved| saved.is_ours(rule.port)).collect())
}

/// Exactly one is there afterwards.
pub(super) fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    if ours(rule, host)?.is_empty() {
        return super::run_additions(rule, host);
    }
    leave(1, rule, host)
}

pub(super) fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    leave(0, rule, host)
}

/// Deletes rules with our tag, the last first, until `wanted` are left.
fn leave(wanted: usize, rule: &FirewallRule, host: &mut Host) -> Result<()> {
    let mut left = ours(rule, host)?;
    while left.len() > wanted {
        let last = &left[left.len() - 1];
        // By its specification: a number would hit another rule if somebody added one in the meantime. By its number only
        // where iptables doesn't find a rule that is there (FN-24).
        let by_words = rule.iptables_command("-D").args(last.words.iter().cloned());
        if !host.run(&by_words)?.ok() {
            let by_number = rule.iptables_command("-D").arg(last.number.to_string());
            host.run(&by_number)?.success(format!("'{by_number}'"))?;
        }
        let before = left.len();
        left = ours(rule, host)?;
        if left.len() >= before {
            let command = format!("{} --line-numbers -nvL {INPUT}", rule.iptables_program());
            return Err(Error::unexpected(message!("{rule}: a rule of ours doesn't go away", rule = rule.name()))
                .hint(message!("look for '{tag}' in: {command}", tag = TAG, command)));
        }
    }
    Ok(())
}

/// How to restore the rule after the packet filter has been loaded without it.
pub(super) fn restorer(rule: &FirewallRule) -> Restorer {
    let ensure = format!(
        "{}-save | grep -q \"^-A {INPUT} .*--dport {} .*{TAG}\" || {}",
        rule.iptables_program(),
        rule.port,
        super::script(rule)
    );
    Restorer { loader: "netfilter-persistent.service", ensure }
}
