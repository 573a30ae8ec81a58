//! A rule of ufw, which keeps it in its own files and in the kernel.

use super::FirewallRule;
use crate::error::{Error, Result};
use crate::facts::firewall::ufw;
use crate::host::{Cmd, Host};
use crate::message;
use crate::resource::Opening;

fn delete(rule: &FirewallRule) -> Cmd {
    Cmd::new("ufw").args(["delete", "allow", &format!("{}/udp", rule.port)])
}

/// Whether it is in ufw's files, and in the kernel if ufw's chains are there.
pub(super) fn observe(rule: &FirewallRule, host: &Host) -> Result<Opening> {
    let whole = is_kept(rule, host)? && is_live(rule, host)? != Some(false);
    Ok(Opening::of(any_is_kept(rule, host)?, whole))
}

pub(super) fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    // ufw takes a second rule for the same packets for a change of the first, whatever that does with them.
    for ipv6 in [false, true] {
        let rules = host.read_text(ufw::rules_file(ipv6))?.unwrap_or_default();
        if let Some(twin) = ufw::twin(&rules, rule.port) {
            let (port, rule) = (rule.port.to_string(), twin.rule);
            return Err(Error::unexpected(message!(
                "ufw has a rule for UDP {port} that isn't ours: {rule}",
                port,
                rule
            ))
            .hint(message!("see: {command}", command = "ufw status numbered")));
        }
    }
    // A run was killed between file and kernel: ufw would report an existing rule and leave the kernel as it is.
    if is_kept(rule, host)? && is_live(rule, host)? == Some(false) {
        remove(rule, host)?;
    }
    super::run_additions(rule, host)
}

pub(super) fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    if any_is_kept(rule, host)? {
        let cmd = delete(rule);
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
    }
    Ok(())
}

fn families(host: &Host) -> Result<&'static [bool]> {
    Ok(if ufw::has_ipv6(host)? { &[false, true] } else { &[false] })
}

fn any_is_kept(rule: &FirewallRule, host: &Host) -> Result<bool> {
    let mut any = false;
    for ipv6 in [false, true] {
        any |= ufw::ours(&host.read_text(ufw::rules_file(ipv6))?.unwrap_or_default(), rule.port) > 0;
    }
    Ok(any)
}

fn is_kept(rule: &FirewallRule, host: &Host) -> Result<bool> {
    for &ipv6 in families(host)? {
        let rules = host.read_text(ufw::rules_file(ipv6))?.unwrap_or_default();
        if ufw::ours(&rules, rule.port) != 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `None` where ufw's chains aren't loaded. In the kernel its rules have no comment.
fn is_live(rule: &FirewallRule, host: &Host) -> Result<Option<bool>> {
    let accept = format!("--dport {} -j ACCEPT", rule.port);
    let mut live = None;
    for &ipv6 in families(host)? {
        let chain = Cmd::new(if ipv6 { "ip6tables" } else { "iptables" }).args(["-S", ufw::live_chain(ipv6)]);
        let out = host.query(&chain)?;
        if out.ok() {
            let found = out.stdout.lines().any(|line| line.contains("-p udp") && line.ends_with(&accept));
            live = Some(live.unwrap_or(true) && found);
        }
    }
    Ok(live)
}
