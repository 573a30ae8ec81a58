//! From the command line to the settings of a run, and back for a run that continues after a reboot.

use std::path::Path;

use clap::ValueEnum;

use crate::cli::{Global, InstallOptions};
use crate::converge::survey::PartialSettings;
use crate::product::PRODUCT;
use crate::settings::{Endpoint, Settings};

/// What the command line said, with defaults for the rest.
pub(super) fn typed(global: &Global, options: &InstallOptions, peers: Option<String>) -> PartialSettings {
    let port = options.port.unwrap_or(PRODUCT.gateway.port);
    let settings = options.policy.over(Settings {
        dir: global.dir.clone(),
        vpn_address: options.vpn_address,
        endpoint: options.endpoint.map(|endpoint| endpoint.with_port(port)),
        port,
        prefix: options.prefix.unwrap_or(PRODUCT.prefix),
        peers,
        ignore: global.ignore.clone(),
        ..Settings::default()
    });
    PartialSettings {
        settings,
        port_is_open: options.port.is_none(),
        endpoint_port_is_open: matches!(options.endpoint, Some(Endpoint::Address(_))),
        prefix_is_open: options.prefix.is_none(),
    }
}

/// The arguments of an install with these settings that arms no further resume. `peers` is the file for `--peers`.
pub(super) fn retyped(settings: &Settings, peers: &Path) -> Vec<String> {
    let mut words: Vec<String> = ["install", "--yes", "--no-resume"].map(str::to_owned).into();
    let mut option = |name: &str, value: String| words.push(format!("--{name}={value}"));
    option("dir", settings.dir.display().to_string());
    if let Some(address) = settings.vpn_address {
        option("vpn-address", address.to_string());
    }
    if let Some(endpoint) = settings.endpoint {
        option("endpoint", endpoint.to_string());
    }
    option("port", settings.port.to_string());
    option("prefix", settings.prefix.to_string());
    if settings.peers.is_some() {
        option("peers", peers.display().to_string());
    }
    option("firewall", name(settings.firewall));
    option("restart", name(settings.restart));
    option("stack", name(settings.stack));
    if let Some(mirror) = &settings.apt_mirror {
        option("apt-mirror", mirror.clone());
    }
    if !settings.ignore.is_empty() {
        option("ignore", settings.ignore.join(","));
    }
    words
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::settings::{FirewallPolicy, Restart, StackKind};
    use clap::Parser;

    const PEERS: &str = "/var/lib/peers.conf";

    fn typed_again(settings: &Settings) -> Cli {
        Cli::try_parse_from(std::iter::once("mitigator-vpn".to_owned()).chain(retyped(settings, Path::new(PEERS))))
            .unwrap()
    }

    #[test]
    fn what_is_typed_after_the_reboot_says_all_that_was_said_before_it() {
        let settings = Settings {
            dir: "/srv/other".into(),
            vpn_address: Some([10, 8, 3, 2].into()),
            endpoint: Some("[2001:db8::1]:99".parse().unwrap()),
            port: 99,
            prefix: 16,
            peers: Some("[Peer]\n".into()),
            whole_list: false,
            firewall: FirewallPolicy::Report,
            restart: Restart::Gateway,
            apt_mirror: Some("http://mirror.example/debian".into()),
            stack: StackKind::Default,
            ignore: vec!["clock".into(), "endpoint".into()],
        };
        let Cli { global, command: Command::Install(options) } = typed_again(&settings) else {
            panic!("another command")
        };
        assert!(global.yes && options.no_resume);
        assert_eq!(options.peers, Some(PEERS.into()));
        let again = typed(&global, &options, settings.peers.clone()).settings;
        assert_eq!(again, settings);
    }

    #[test]
    fn a_run_that_was_told_nothing_is_typed_again_with_nothing() {
        let Cli { command: Command::Install(options), .. } = typed_again(&Settings::default()) else {
            panic!("another command")
        };
        assert!(options.vpn_address.is_none() && options.endpoint.is_none() && options.peers.is_none());
    }
}
