//! A rule in the INPUT chain of one of iptables' variants. It goes first, before whatever drops.

use super::FirewallRule;
use crate::error::{Error, Result};
use crate::facts::firewall::iptables::{INPUT, SavedRule, rules};
use crate::facts::firewall::{TAG, save};
use crate::host::{Cmd, Host};

/// The rule's place is the program and the chain: `ip6tables-legacy INPUT`.
fn program(rule: &FirewallRule) -> &str {
    rule.place.split(' ').next().unwrap_or_default()
}

/// Our rules, as saved; none where the program is gone, and its rules with it.
pub fn ours(rule: &FirewallRule, host: &Host) -> Result<Vec<SavedRule>> {
    if !host.has_program(program(rule)) {
        return Ok(Vec::new());
    }
    Ok(rules(&save(host, program(rule))?).into_iter().filter(|saved| saved.is_ours(rule.port)).collect())
}

/// `--wait`: another program may hold the lock of the legacy variant.
fn change(rule: &FirewallRule, option: &str) -> Cmd {
    Cmd::new(program(rule)).args(["--wait", option, INPUT])
}

pub fn insert(rule: &FirewallRule) -> Cmd {
    let port = rule.port.to_string();
    change(rule, "-I").args(["-p", "udp", "--dport", &port, "-m", "comment", "--comment", TAG, "-j", "ACCEPT"])
}

/// Leaves exactly one.
pub fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    if ours(rule, host)?.is_empty() {
        let cmd = insert(rule);
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
        return Ok(());
    }
    leave(1, rule, host)
}

pub fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    leave(0, rule, host)
}

/// Takes ours away, the last first, until so many are left.
fn leave(wanted: usize, rule: &FirewallRule, host: &mut Host) -> Result<()> {
    let mut left = ours(rule, host)?;
    while left.len() > wanted {
        let last = &left[left.len() - 1];
        // By its own words: a number would hit another rule if somebody added one in the meantime. Only where iptables
        // doesn't find a rule that is there (FN-24), by its number.
        let by_words = change(rule, "-D").args(last.words.iter().cloned());
        if !host.run(&by_words)?.ok() {
            let by_number = change(rule, "-D").arg(last.number.to_string());
            host.run(&by_number)?.success(format!("'{by_number}'"))?;
        }
        let before = left.len();
        left = ours(rule, host)?;
        if left.len() >= before {
            return Err(Error::unexpected(format!("{rule}: a rule of ours doesn't go away"))
                .hint(format!("look for '{TAG}' in: {} --line-numbers -nvL {INPUT}", program(rule))));
        }
    }
    Ok(())
}

/// A shell line that adds the rule unless it is there.
pub fn ensure(rule: &FirewallRule) -> String {
    format!("{}-save | grep -q \"^-A {INPUT} .*--dport {} .*{TAG}\" || {}", program(rule), rule.port, insert(rule))
}
