//! From what was typed, and what the instance already has, to the settings of a run.

use crate::cli::{Global, InstallOptions};
use crate::facts::{InstanceFacts, PrivateConfFile, TextFile};
use crate::product::PRODUCT;
use crate::settings::{Settings, StackKind};
use crate::wireguard::PeerList;

/// What the command line said, with defaults for the rest.
pub(super) fn typed(global: &Global, options: &InstallOptions, peers: Option<String>) -> Settings {
    let port = options.port.unwrap_or(PRODUCT.gateway.port);
    options.policy.over(Settings {
        dir: global.dir.clone(),
        vpn_address: options.vpn_address,
        endpoint: options.endpoint.map(|endpoint| endpoint.with_port(port)),
        port,
        prefix: options.prefix.unwrap_or(PRODUCT.prefix),
        peers,
        ignore: global.ignore.clone(),
        ..Settings::default()
    })
}

/// The same with what the command line left open taken from the instance: a second run needs no options.
pub(super) fn complete(typed: Settings, instance: &InstanceFacts, options: &InstallOptions) -> Settings {
    let mut settings = typed;
    let value = |key: &str| instance.env.values.get(key);
    if instance.default_stack {
        settings.stack = StackKind::Default;
    }
    if let (None, PrivateConfFile::Present { port: Some(port), .. }) = (options.port, &instance.private_conf) {
        settings.port = *port;
        settings.endpoint = options.endpoint.map(|endpoint| endpoint.with_port(*port));
    }
    if let (None, Some(prefix)) = (options.prefix, value(PRODUCT.env.vpn_prefix).and_then(|v| v.parse().ok())) {
        settings.prefix = prefix;
    }
    let list = match &instance.public_conf {
        TextFile::Text(text) => PeerList::parse(text).ok(),
        _ => None,
    };
    // The vendor's update downloads `.env` anew and loses our keys (FN-9); the key says which section is ours.
    let own = list.as_ref().and_then(|list| match &instance.private_conf {
        PrivateConfFile::Present { public, .. } => list.peers().find(|peer| peer.public_key == *public),
        _ => None,
    });
    let address = value(PRODUCT.env.vpn_address).and_then(|v| v.parse().ok());
    settings.vpn_address = settings.vpn_address.or(address).or(own.map(|peer| peer.address));
    let listed = settings.vpn_address.and_then(|address| list.as_ref()?.by_address(address));
    settings.endpoint = settings.endpoint.or(listed.map(|peer| peer.endpoint));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::{Peer, PrivateConf, PrivateKey};

    /// An instance whose `.env` the vendor's update has downloaded anew.
    fn after_an_update() -> (InstanceFacts, Peer) {
        let key = PrivateKey::generate();
        let own = Peer {
            public_key: key.public(),
            address: [10, 8, 3, 7].into(),
            endpoint: "192.0.2.7:5000".parse().unwrap(),
            keepalive: None,
        };
        let mut list = PeerList::default();
        list.add(own.clone()).unwrap();
        let conf = PrivateConf::fresh(key, 5000);
        let private_conf =
            PrivateConfFile::Present { public: own.public_key, port: conf.port, mode: 0o600, template: conf.template };
        (InstanceFacts { public_conf: TextFile::Text(list.to_text()), private_conf, ..InstanceFacts::default() }, own)
    }

    fn settings(instance: &InstanceFacts, options: &InstallOptions) -> Settings {
        complete(
            Settings { port: options.port.unwrap_or(PRODUCT.gateway.port), ..Settings::default() },
            instance,
            options,
        )
    }

    #[test]
    fn a_lost_env_is_made_up_for_by_the_own_section() {
        let (instance, own) = after_an_update();
        let settings = settings(&instance, &InstallOptions::default());
        assert_eq!((settings.vpn_address, settings.endpoint), (Some(own.address), Some(own.endpoint)));
        assert_eq!(settings.port, 5000);
    }

    #[test]
    fn what_was_typed_wins_over_what_is_there() {
        let (instance, _) = after_an_update();
        let options = InstallOptions { port: Some(4600), ..InstallOptions::default() };
        assert_eq!(settings(&instance, &options).port, 4600);
    }
}
