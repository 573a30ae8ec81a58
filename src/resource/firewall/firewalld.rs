//! A rich rule of firewalld: once in the running rules, once in the kept ones, without a reload.
//!
//! With the first kept rule firewalld copies the zone's file to /etc/firewalld/zones, and leaves the copy there when the
//! rule goes: after an undo it says what the packaged file says.

use super::FirewallRule;
use crate::error::Result;
use crate::facts::firewall::firewalld::rich_rule;
use crate::host::{Cmd, Host};

/// The two commands that add or remove it.
pub fn changes(rule: &FirewallRule, verb: &str) -> [Cmd; 2] {
    [command(rule, verb), command(rule, verb).arg("--permanent")]
}

fn command(rule: &FirewallRule, verb: &str) -> Cmd {
    Cmd::new("firewall-cmd")
        .arg(format!("--zone={}", rule.place))
        .arg(format!("--{verb}-rich-rule={}", rich_rule(rule.port)))
}

pub fn is_there(rule: &FirewallRule, host: &Host) -> Result<bool> {
    for query in changes(rule, "query") {
        if !host.query(&query)?.ok() {
            return Ok(false);
        }
    }
    Ok(true)
}

pub fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    apply(rule, host, "add")
}

pub fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    apply(rule, host, "remove")
}

/// Saying it twice is only warned about.
fn apply(rule: &FirewallRule, host: &mut Host, verb: &str) -> Result<()> {
    for cmd in changes(rule, verb) {
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
    }
    Ok(())
}
