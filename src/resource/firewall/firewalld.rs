//! A rich rule of firewalld, in the running and in the permanent configuration, without a reload.
//!
//! With the first permanent rule firewalld copies the zone's file to /etc/firewalld/zones, and leaves the copy there when
//! the rule is removed: after an undo it has the content of the packaged file.

use super::FirewallRule;
use crate::error::Result;
use crate::host::Host;

pub(super) fn is_there(rule: &FirewallRule, host: &Host) -> Result<bool> {
    for query in rule.firewalld_commands("query") {
        if !host.query(&query)?.ok() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// firewalld only warns if it is added twice.
pub(super) fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    super::run_additions(rule, host)
}

pub(super) fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    for cmd in rule.firewalld_commands("remove") {
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
    }
    Ok(())
}
