//! The systemd unit that restores a rule after a boot, or after the firewall has been reloaded.

use std::path::{Path, PathBuf};

use super::FirewallRule;
use crate::error::Result;
use crate::host::{Cmd, Host, Mode};
use crate::resource::{Opening, Resource};

/// How to restore a rule.
pub(super) struct Restorer {
    /// The service that loads the packet filter without the rule.
    pub(super) loader: &'static str,
    /// A shell line that adds the rule unless it is there.
    pub(super) ensure: String,
}

const DIR: &str = "/etc/systemd/system";

/// Whether it is written and enabled.
pub(super) fn observe(rule: &FirewallRule, restorer: &Restorer, host: &Host) -> Result<Opening> {
    let text = host.read_text(&path(rule))?;
    let enabled = is_enabled(rule, host)?;
    let whole = enabled && text.as_ref().is_some_and(|text| *text == content(rule, restorer));
    Ok(Opening::of(enabled || text.is_some(), whole))
}

pub(super) fn add(rule: &FirewallRule, restorer: &Restorer, host: &mut Host) -> Result<()> {
    if !is_possible(host)? {
        return Ok(());
    }
    host.write(&path(rule), content(rule, restorer).as_bytes(), Mode::PUBLIC)?;
    reload(host)?;
    systemctl(host, &["enable", &name(rule)])?;
    if is_running(host)? {
        // A started unit follows reloads of the firewall's service. The rule is there already, so it adds nothing now.
        systemctl(host, &["start", &name(rule)])?;
    }
    Ok(())
}

/// Its link may have outlived its file.
pub(super) fn remove(rule: &FirewallRule, host: &mut Host) -> Result<()> {
    if host.stat(&path(rule))?.is_some() {
        if is_running(host)? {
            systemctl(host, &["stop", &name(rule)])?;
        }
        if is_possible(host)? {
            systemctl(host, &["disable", &name(rule)])?;
        }
        host.remove(&path(rule))?;
    }
    host.remove(&link(rule))?;
    reload(host)
}

fn name(rule: &FirewallRule) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    format!("mitigator-vpn-firewall-{}-{}.service", rule.port, rule.place.chars().map(plain).collect::<String>())
}

fn path(rule: &FirewallRule) -> PathBuf {
    Path::new(DIR).join(name(rule))
}

fn link(rule: &FirewallRule) -> PathBuf {
    Path::new(DIR).join("multi-user.target.wants").join(name(rule))
}

fn content(rule: &FirewallRule, restorer: &Restorer) -> String {
    let Restorer { loader, ensure } = restorer;
    let rule = rule.noun();
    format!(
        "\
# Written by mitigator-vpn; 'mitigator-vpn undo' takes it away.
# Puts one rule back when the packet filter has been loaded without it: at boot, or anew.

[Unit]
Description={rule}
After={loader} network.target ferm.service shorewall.service rc-local.service
PartOf={loader}
ReloadPropagatedFrom={loader}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '{ensure}'
ExecReload=/bin/sh -c '{ensure}'

[Install]
WantedBy=multi-user.target {loader}
"
    )
}

fn is_enabled(rule: &FirewallRule, host: &Host) -> Result<bool> {
    Ok(host.stat(&link(rule))?.is_some())
}

/// Whether this host has systemd.
pub(super) fn is_possible(host: &Host) -> Result<bool> {
    host.has_program("systemctl")
}

/// Whether systemd is running. In a chroot or a plain container it may be installed and not run.
fn is_running(host: &Host) -> Result<bool> {
    Ok(host.stat(Path::new("/run/systemd/system"))?.is_some())
}

fn reload(host: &mut Host) -> Result<()> {
    if is_running(host)? { systemctl(host, &["daemon-reload"]) } else { Ok(()) }
}

fn systemctl(host: &mut Host, args: &[&str]) -> Result<()> {
    let cmd = Cmd::new("systemctl").args(args.iter().copied());
    host.run(&cmd)?.success(format!("'{cmd}'"))?;
    Ok(())
}
