//! A rich rule of firewalld, in the running and in the permanent configuration, without a reload.
//!
//! With the first permanent rule firewalld copies the zone's file to /etc/firewalld/zones, and leaves the copy there when
//! the rule is removed: after an undo it has the content of the packaged file.

use super::FirewallRule;
use crate::error::Result;
use crate::host::Host;
use crate::message;
use crate::resource::Opening;

/// In the running and in the permanent configuration. One that doesn't run says neither yes nor no.
pub(super) fn observe(rule: &FirewallRule, host: &Host) -> Result<Opening> {
    let mut there = 0;
    let queries = rule.firewalld_commands("query");
    let both = queries.len();
    // Its rules are gone with it.
    if !host.has_program("firewall-cmd")? {
        return Ok(Opening::Absent);
    }
    for query in queries {
        let said = host.query(&query)?;
        match said.code {
            Some(0) => there += 1,
            Some(1) => {}
            Some(_) | None => {
                let hint = message!("start it: {command}", command = "systemctl start firewalld");
                said.success(format!("'{query}'")).map_err(|error| error.hint(hint))?;
            }
        }
    }
    Ok(Opening::of(there > 0, there == both))
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
