//! A rule of ufw, which keeps it in its own files and in the kernel.

use super::FirewallRule;
use crate::error::{Error, Result};
use crate::facts::firewall::ufw;
use crate::host::{Cmd, Host};
use crate::message;

fn delete(rule: &FirewallRule) -> Cmd {
    Cmd::new("ufw").args(["delete", "allow", &format!("{}/udp", rule.port)])
}

/// Whether it is in ufw's files, and in the kernel if ufw's chains are there.
pub(super) fn is_there(rule: &FirewallRule, host: &Host) -> Result<bool> {
    Ok(is_kept(rule, host)? && is_live(rule, host)? != Some(false))
}

pub(super) fn add(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    let rules = host.read_text(ufw::rules_file(false))?.unwrap_or_default();
    if ufw::has_twin(&rules, rule.port) {
        let port = rule.port.to_string();
        return Err(Error::unexpected(message!("ufw lets UDP {port} in already, by a rule that isn't ours", port))
            .hint(message!("see: {command}", command = "ufw status numbered")));
    }
    // A run was killed between file and kernel: ufw would report an existing rule and leave the kernel as it is.
    if is_kept(rule, host)? && is_live(rule, host)? == Some(false) {
        remove(rule, host)?;
    }
    super::run_additions(rule, host)
}

pub(super) fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    let kept = |ipv6| -> Result<bool> {
        Ok(ufw::ours(&host.read_text(ufw::rules_file(ipv6))?.unwrap_or_default(), rule.port) > 0)
    };
    if kept(false)? || kept(true)? {
        let cmd = delete(rule);
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
    }
    Ok(())
}

fn families(host: &Host) -> Result<&'static [bool]> {
    Ok(if ufw::has_ipv6(host)? { &[false, true] } else { &[false] })
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
