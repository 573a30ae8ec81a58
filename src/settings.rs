//! The settings of a run, resolved once: flags, their `MITIGATOR_VPN_…` variables, defaults.

mod endpoint;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use endpoint::Endpoint;

use crate::message::quoted;
use crate::product::{InstanceLayout, PRODUCT};

/// The settings of a run. `vpn_address` and `endpoint` are `None` where a command doesn't need them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The instance's directory.
    pub dir: PathBuf,
    /// This instance's address inside the VPN.
    pub vpn_address: Option<Ipv4Addr>,
    /// The outer address, to which the other instances send.
    pub endpoint: Option<SocketAddr>,
    /// The UDP port WireGuard listens on.
    pub port: u16,
    /// Prefix length of the VPN's network.
    pub prefix: u8,
    /// The text of a member's vpn-public.conf to join with.
    pub peers: Option<String>,
    /// Whether that text is the whole list and replaces the one here, instead of being merged with it.
    #[serde(default)]
    pub whole_list: bool,
    /// What to do about the firewall.
    pub firewall: FirewallPolicy,
    /// How far a restart may go.
    pub restart: Restart,
    /// Where packages come from, instead of the host's own mirror.
    pub apt_mirror: Option<String>,
    /// Whose compose stack it is.
    pub stack: StackKind,
    /// Checks whose failure is only a warning.
    pub ignore: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            dir: PathBuf::from(PRODUCT.directory),
            vpn_address: None,
            endpoint: None,
            port: PRODUCT.gateway.port,
            prefix: PRODUCT.prefix,
            peers: None,
            whole_list: false,
            firewall: FirewallPolicy::Auto,
            restart: Restart::Full,
            apt_mirror: None,
            stack: StackKind::Vendor,
            ignore: Vec::new(),
        }
    }
}

impl Settings {
    /// A command of this program for this instance, with the options that tell it from the usual one.
    pub(crate) fn command(&self, words: &str) -> String {
        let mut line = format!("mitigator-vpn {words}");
        if self.dir != Path::new(PRODUCT.directory) {
            line += &format!(" --dir {}", quoted(&self.dir.display().to_string()));
        }
        if self.stack == StackKind::Default && words.starts_with("install") {
            line += " --stack default";
        }
        line
    }

    /// `install` as it has to be typed on a host that has nothing of this instance yet.
    pub(crate) fn first_install(&self, options: &str) -> String {
        let mut words = "install".to_owned();
        if let (Some(address), Some(endpoint)) = (self.vpn_address, self.endpoint) {
            words += &format!(" --vpn-address {address} --endpoint {endpoint}");
        }
        if !options.is_empty() {
            words += &format!(" {options}");
        }
        self.command(&words)
    }

    /// The paths of the instance.
    pub(crate) fn layout(&self) -> InstanceLayout<'_> {
        InstanceLayout::new(&self.dir)
    }
}

/// `--firewall`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallPolicy {
    /// Add the rule where the live firewall needs one.
    #[default]
    Auto,
    /// Change nothing, print the exact commands.
    Report,
    /// Leave the firewall out altogether.
    None,
}

/// `--restart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// `down`, then `up -d`: what the vendor prescribes. DDoS protection is off in between.
    #[default]
    Full,
    /// Recreate the gateway service only.
    Gateway,
    /// Restart nothing; the new settings take effect when the operator restarts.
    None,
}

/// `--stack`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum StackKind {
    /// The vendor's docker-compose.yml, which must be there.
    #[default]
    Vendor,
    /// This project's own gateway, where no docker-compose.yml is there.
    Default,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_for_an_unusual_instance_names_it() {
        assert_eq!(Settings::default().command("install"), "mitigator-vpn install");
        let settings = Settings {
            dir: "/srv/my dir".into(),
            stack: StackKind::Default,
            vpn_address: Some([10, 8, 3, 1].into()),
            endpoint: Some("192.0.2.1:4567".parse().unwrap()),
            ..Settings::default()
        };
        assert_eq!(settings.command("undo"), "mitigator-vpn undo --dir '/srv/my dir'");
        let typed = "mitigator-vpn install --vpn-address 10.8.3.1 --endpoint 192.0.2.1:4567 --apt-mirror URL --dir '/srv/my dir' \
                     --stack default";
        assert_eq!(settings.first_install("--apt-mirror URL"), typed);
    }
}
