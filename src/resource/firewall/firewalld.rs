//! A rich rule of firewalld: once in the running rules, once in the kept ones, without a reload.
//!
//! With the first kept rule firewalld copies the zone's file to /etc/firewalld/zones, and leaves the copy there when the
//! rule goes: after an undo it says what the packaged file says.

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

/// Adding it twice is only warned about.
pub(super) fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    super::run_additions(rule, host)
}

pub(super) fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    for cmd in rule.firewalld_commands("remove") {
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
    }
    Ok(())
}
